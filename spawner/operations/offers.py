"""The queue's transactions: offers made and withdrawn, places left and changed."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from ..errors import UnknownName
from ..ledger import AuditEntry, Books
from ..policy.leases import Lease, LeaseRules, LeaseState, Ticket, TicketState
from ..policy.placement import Placement
from ..policy.pool import Pool
from ..policy.queue import Serving, forecast, offers
from .desk import Desk
from .pools import load_pool, queue_terms


def make_offers(desk: Desk, books: Books, now: datetime) -> list[Lease]:
    """Offer what is free to those who wait, next first; called wherever slots become free."""
    made: list[Lease] = []
    while True:
        pool = load_pool(books, desk.rules, now)
        if not pool.queue:
            return made
        servings = offers(pool, queue_terms(desk, books, pool, now), desk.rules, now)
        if not servings:
            return made
        made += [
            _offer(desk, books, serving.ticket, serving.placement, now) for serving in servings if serving.placement
        ]


def _offer(desk: Desk, books: Books, ticket: Ticket, placement: Placement, now: datetime) -> Lease:
    lease = offered_lease(desk.new_id(), ticket, placement, desk.rules, now)
    books.leases.insert(lease)
    books.tickets.update(replace(ticket, state=TicketState.OFFERED, lease=lease.id), ticket)
    return lease


def offered_lease(lease_id: str, ticket: Ticket, placement: Placement, rules: LeaseRules, now: datetime) -> Lease:
    """Make the lease that is offered to a ticket."""
    request = ticket.request
    return Lease(
        lease_id,
        request.user,
        request.server,
        request.profile,
        LeaseState.OFFERED,
        placement.slots,
        granted_at=now,
        # It runs from the offer on: what is promised behind it stays true however late it is taken.
        ends_at=placement.until,
        changed_at=now,
        groups=request.groups,
        course=request.course,
        at_end=request.at_end,
        offered_until=min(now + rules.offer, placement.until),
        ticket=ticket.id,
    )


def servable(desk: Desk) -> list[Serving]:
    """List who could be served now; changes nothing."""
    now = desk.clock()
    with desk.ledger.reading() as books:
        pool = load_pool(books, desk.rules, now)
        return offers(pool, queue_terms(desk, books, pool, now), desk.rules, now) if pool.queue else []


def offer_now(desk: Desk) -> list[Lease]:
    """Look whether somebody can be served now; the janitor's loop, for what becomes free by time alone."""
    with desk.ledger.transaction() as books:
        return make_offers(desk, books, desk.clock())


def withdraw(desk: Desk, lease_id: str) -> bool:
    """Take back an offer that has lapsed; its ticket is over. False if it stands, or was taken."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        lease = books.leases.get(lease_id)
        if lease is None or lease.state is not LeaseState.OFFERED:
            return False
        if lease.offered_until is not None and lease.offered_until > now:
            return False
        end_offer(books, lease, TicketState.EXPIRED, "offer_lapsed", now)
        make_offers(desk, books, now)
        return True


def end_offer(books: Books, lease: Lease, state: TicketState, why: str, now: datetime) -> None:
    """Take back an offer; its slots are free and its ticket is over."""
    books.leases.update(replace(lease, state=LeaseState.CLOSED, closed_at=now, changed_at=now, ending=why), lease)
    ticket = books.tickets.get(lease.ticket) if lease.ticket else None
    if ticket is not None and ticket.state is TicketState.OFFERED:
        books.tickets.update(replace(ticket, state=state), ticket)


def cancel(desk: Desk, user: str, server: str) -> bool:
    """Leave the queue, or decline an offer. False if the server does not wait."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        ticket = books.tickets.of_server(user, server)
        if ticket is None:
            return False
        held = books.leases.get(ticket.lease) if ticket.lease else None
        if held is not None and held.state is LeaseState.OFFERED:
            end_offer(books, held, TicketState.CANCELLED, "declined", now)
        else:
            books.tickets.update(replace(ticket, state=TicketState.CANCELLED), ticket)
        make_offers(desk, books, now)
        return True


def move_up(desk: Desk, ticket_id: str, actor: str, why: str) -> Ticket:
    """Put a ticket before all others."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        waiting = books.tickets.waiting()
        ticket = next((ticket for ticket in waiting if ticket.id == ticket_id), None)
        if ticket is None:
            raise UnknownName(f"No ticket {ticket_id} waits; `berth queue` lists those that do.")
        moved = replace(ticket, moved_up=1 + max(other.moved_up for other in waiting))
        books.tickets.update(moved, ticket)
        entry = AuditEntry(
            at=now,
            actor=actor,
            action="ticket.move_up",
            subject=f"ticket {ticket_id}",
            before={"moved_up": ticket.moved_up},
            after={"moved_up": moved.moved_up},
            why=why,
        )
        books.audit.append(entry)
        make_offers(desk, books, now)
        return moved


@dataclass(frozen=True, slots=True)
class Place:
    """A server's place in the queue.

    Attributes
    ----------
    eta
        When it is likely served; None where nobody can tell.
    offered
        What is offered to it; None while it waits.
    """

    ticket: Ticket
    position: int
    eta: datetime | None
    waiting: int
    offered: Lease | None = None
    blocked: bool = False


def look_up(desk: Desk, user: str, server: str) -> Place | None:
    """Tell a server's place in the queue; None if it does not wait."""
    now = desk.clock()
    with desk.ledger.reading() as books:
        ticket = books.tickets.of_server(user, server)
        if ticket is None:
            return None
        if ticket.state is TicketState.OFFERED:
            return Place(ticket, 0, now, len(books.tickets.waiting()), books.leases.get(ticket.lease))
        servings = line_of(desk, books, load_pool(books, desk.rules, now), {ticket.id}, now)
        found = next(serving for serving in servings if serving.ticket.id == ticket.id)
        eta = found.placement.start if found.placement else None
        return Place(ticket, found.position, eta, len(servings), blocked=found.blocked)


def whole_queue(desk: Desk) -> list[Serving]:
    """List who waits, next first, with the estimated times."""
    with desk.ledger.reading() as books:
        return _servings(desk, books, desk.clock())


def line_of(desk: Desk, books: Books, pool: Pool, wanted: Collection[str], now: datetime) -> list[Serving]:
    """Give who waits, next first, for pages of those who do: as of some seconds ago, where it takes long.

    Parameters
    ----------
    wanted
        Ids of tickets that have to be in it.
    """

    def work() -> list[Serving]:
        return forecast(pool, queue_terms(desk, books, pool, now, everybody=True), desk.rules, now)

    return desk.forecasts.servings(pool, now, wanted, work, lambda: whole_queue(desk))


def _servings(desk: Desk, books: Books, now: datetime) -> list[Serving]:
    pool = load_pool(books, desk.rules, now)
    return forecast(pool, queue_terms(desk, books, pool, now, everybody=True), desk.rules, now)


def ticket_of(desk: Desk, lease: Lease) -> Ticket | None:
    """Give the ticket that a lease is offered to."""
    with desk.ledger.reading() as books:
        return books.tickets.get(lease.ticket) if lease.ticket else None
