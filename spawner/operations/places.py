"""What admins do to the queue besides moving somebody up: see who has an offer, send somebody away."""

from dataclasses import replace
from datetime import datetime

from ..errors import UnknownName
from ..ledger import AuditEntry, Books
from ..policy.leases import Lease, LeaseState, Ticket, TicketState
from .desk import Desk
from .offers import end_offer, make_offers


def offered(desk: Desk) -> list[tuple[Ticket, Lease]]:
    """List the tickets that hold an offer, each with the offered lease, the oldest first."""
    with desk.ledger.reading() as books:
        found = []
        for ticket in books.tickets.live():
            lease = books.leases.get(ticket.lease) if ticket.state is TicketState.OFFERED else None
            if lease is not None:
                found.append((ticket, lease))
    return sorted(found, key=lambda place: place[1].granted_at)


def drop(desk: Desk, user: str, server: str | None, actor: str, why: str) -> list[Ticket]:
    """Take places out of the queue, offers included.

    Parameters
    ----------
    server
        Of one server; None for all of the user's.

    Raises
    ------
    UnknownName
        If none of them waits.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        dropped = [
            ticket for ticket in books.tickets.live() if ticket.user == user and server in {None, ticket.request.server}
        ]
        if not dropped:
            what = user if server is None else f"server {server!r} of {user}"
            raise UnknownName(f"Nobody waits for {what}; `berth queue` lists who does.")
        for ticket in dropped:
            _drop(books, ticket, actor, why, now)
        make_offers(desk, books, now)
        return dropped


def drop_ticket(desk: Desk, ticket_id: str, actor: str, why: str) -> Ticket:
    """Take one place out of the queue, with the offer if it holds one.

    Raises
    ------
    UnknownName
        If it does not wait.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        ticket = next((one for one in books.tickets.live() if one.id == ticket_id), None)
        if ticket is None:
            raise UnknownName(f"No ticket {ticket_id} waits; `berth queue` lists those that do.")
        _drop(books, ticket, actor, why, now)
        make_offers(desk, books, now)
        return ticket


def _drop(books: Books, ticket: Ticket, actor: str, why: str, now: datetime) -> None:
    held = books.leases.get(ticket.lease) if ticket.lease else None
    if held is not None and held.state is LeaseState.OFFERED:
        end_offer(books, held, TicketState.CANCELLED, "ended_by_admin", now)
    else:
        books.tickets.update(replace(ticket, state=TicketState.CANCELLED), ticket)
    entry = AuditEntry(
        at=now,
        actor=actor,
        action="ticket.drop",
        subject=f"ticket {ticket.id}",
        before={"user": ticket.user, "server": ticket.request.server, "state": ticket.state},
        after={"state": TicketState.CANCELLED},
        why=why,
    )
    books.audit.append(entry)
