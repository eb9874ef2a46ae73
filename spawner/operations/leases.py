"""The life of a lease: acquired, active, released, closed; each step one transaction."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..errors import LeaseLost, UnknownName
from ..ledger import AuditEntry, Books
from ..policy.accounting import booked_end, idle_ms, length_ms
from ..policy.extension import extend as decide_extension
from ..policy.leases import (
    Allot,
    GpuRequest,
    Lease,
    LeaseState,
    Ticket,
    TicketState,
    UsageRow,
    Wait,
)
from ..policy.leasing import decide, describe
from ..policy.model import AtEnd, Deny, IfBusy, LimitRules, Person
from ..policy.pool import Pool
from ..policy.quota import Quota
from .desk import Desk
from .offers import end_offer, make_offers
from .pools import load_pool, queue_terms, spent_by


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease that its server may start with.

    Attributes
    ----------
    note
        How it differs from what was asked for.
    """

    lease: Lease
    note: str = ""


@dataclass(frozen=True, slots=True)
class Queued:
    """A place in the queue."""

    ticket: Ticket
    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class OnCpu:
    """To be started without GPUs, as its user wished for this case.

    Attributes
    ----------
    code
        ``busy``, or ``no_gpus`` where there are none such.
    """

    reason: str
    code: str = "busy"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The server's last lease is still open: its container has to be confirmed gone first."""

    lease: Lease


_BY_ADMIN = "ended_by_admin"
_ENDED = Deny("lease_over", "An admin is ending this lease; ask them if you need it for longer.")

_SEAT = Deny("reserved", "This GPU is the class's until its session ends. Ask its staff if you need more time.")

Check = Callable[[Lease], None]
Unless = Callable[[Books, datetime], Deny | None]
Answer = Granted | Queued | OnCpu | Unfinished | Deny


def acquire(
    desk: Desk,
    request: GpuRequest,
    if_busy: IfBusy = IfBusy.QUEUE,
    *,
    first: bool = False,
    unless: Unless | None = None,
) -> Answer:
    """Ask for GPUs for a server: a lease, a place in the queue, or a refusal.

    A server that has been offered what it asks for gets that. One that waits keeps its place as long as it asks for
    the same.

    Parameters
    ----------
    first
        Whether it goes before all who wait, but for those who do so already.
    unless
        Tells what else refuses it, while nobody else can get anything.

    Returns
    -------
    Granted, Queued, OnCpu, Unfinished or Deny
        ``Deny`` codes: those of `spawner.policy.leasing.terms`, ``busy``, and those of `unless`.

    Raises
    ------
    LedgerUnavailable
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        held = books.leases.of_server(request.user, request.server)
        ticket = books.tickets.of_server(request.user, request.server)
        if held is not None and held.state is not LeaseState.OFFERED:
            return Unfinished(held)
        if unless is not None and (wrong := unless(books, now)) is not None:
            return wrong
        place = ticket
        if held is not None:
            if ticket is not None and _same(ticket.request, request) and _stands(held, now):
                return _take_offer(books, held, ticket, now)
            end_offer(books, held, TicketState.CANCELLED, "declined", now)
            place = None
        elif ticket is not None and not _same(ticket.request, request):
            _finish(books, ticket, TicketState.CANCELLED)
            place = None
        answer = _ask(desk, books, request, place, if_busy, now, first=first)
        left = place is None or not isinstance(answer, Queued | Granted)
        if left and (held is not None or ticket is not None):
            # Who leaves the queue was in the way of others, or had slots on offer.
            make_offers(desk, books, now)
        return answer


def _stands(offer: Lease, now: datetime) -> bool:
    return offer.offered_until is not None and offer.offered_until > now and offer.ends_at > now


def _take_offer(books: Books, offer: Lease, ticket: Ticket, now: datetime) -> Granted:
    lease = replace(offer, state=LeaseState.PENDING, granted_at=now, changed_at=now, offered_until=None)
    rewrite(books, lease, offer)
    _finish(books, ticket, TicketState.SERVED)
    return Granted(lease)


def _ask(
    desk: Desk,
    books: Books,
    request: GpuRequest,
    ticket: Ticket | None,
    if_busy: IfBusy,
    now: datetime,
    *,
    first: bool,
) -> Answer:
    pool = load_pool(books, desk.rules, now, [request.user])
    quota = desk.quota(books, Person(request.user, request.groups), now)
    place = ticket or Ticket(desk.new_id(), request, TicketState.WAITING, now, quota.priority)
    if first:
        place = replace(place, moved_up=max(1, *(other.moved_up for other in (place, *pool.queue.values()))))
    spent = spent_by(books, pool, request.user, desk.rules, now)
    decision = decide(pool, request, quota, spent, desk.rules, now, queue_terms(desk, books, pool, now), place)
    if isinstance(decision, Allot):
        lease = _lease(desk, request, decision, now)
        if ticket is not None:
            lease = replace(lease, ticket=ticket.id)
            books.tickets.update(replace(ticket, state=TicketState.SERVED, lease=lease.id), ticket)
        books.leases.insert(lease)
        return Granted(lease, decision.note)
    if isinstance(decision, Wait) and if_busy is IfBusy.QUEUE:
        if ticket is None:
            books.tickets.insert(place)
        elif place != ticket:
            books.tickets.update(place, ticket)
        return Queued(place, decision.position, decision.reason)
    if ticket is not None:
        _finish(books, ticket, TicketState.CANCELLED)
    if if_busy is IfBusy.CPU and (isinstance(decision, Wait) or decision.code == "no_gpus"):
        return OnCpu(decision.reason, "busy" if isinstance(decision, Wait) else decision.code)
    return Deny("busy", decision.reason) if isinstance(decision, Wait) else decision


def _lease(desk: Desk, request: GpuRequest, allot: Allot, now: datetime) -> Lease:
    return Lease(
        desk.new_id(),
        request.user,
        request.server,
        request.profile,
        LeaseState.PENDING,
        allot.slots,
        granted_at=now,
        ends_at=allot.until,
        changed_at=now,
        groups=request.groups,
        course=request.course,
        at_end=request.at_end,
    )


def _same(one: GpuRequest, other: GpuRequest) -> bool:
    """Tell whether two requests want the same GPUs for as long; what else differs costs nobody their place."""
    return replace(one, groups=other.groups, options=other.options, at_end=other.at_end) == other


def _finish(books: Books, ticket: Ticket, state: TicketState) -> None:
    books.tickets.update(replace(ticket, state=state), ticket)


def rewrite(books: Books, lease: Lease, was: Lease) -> None:
    """Write a lease anew that was read in the same transaction."""
    if not books.leases.update(lease, was):
        raise LeaseLost(f"Lease {was.id} has changed meanwhile; look again and repeat.")


def _known(books: Books, lease_id: str) -> Lease:
    lease = books.leases.get(lease_id)
    if lease is None:
        raise UnknownName(f"There is no lease {lease_id}; `berth leases` lists those there are.")
    return lease


def bind(desk: Desk, lease_id: str, container: str) -> None:
    """Note which container a pending lease belongs to."""
    with desk.ledger.transaction() as books:
        lease = _known(books, lease_id)
        if lease.state in {LeaseState.PENDING, LeaseState.ACTIVE}:
            rewrite(books, replace(lease, container=container), lease)


def activate(
    desk: Desk, lease_id: str, container: str, started_at: datetime, answered_at: datetime | None = None
) -> Lease:
    """Note that a lease's server is ready; its time is booked from the start of its container.

    Does nothing more to a lease that is active already.

    Parameters
    ----------
    answered_at
        When its server answered, see `Lease.seen_at`; its start, where that is not known.

    Raises
    ------
    LeaseLost
        If the lease has ended meanwhile: its server must not run.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        lease = _known(books, lease_id)
        if lease.state is LeaseState.ACTIVE:
            return lease
        if lease.state is not LeaseState.PENDING:
            raise LeaseLost(f"The lease {lease_id} ended while its server started ({lease.ending or lease.state}).")
        return make_active(books, lease, container, started_at, answered_at or started_at, now)


def make_active(
    books: Books, lease: Lease, container: str, started_at: datetime, seen_at: datetime, now: datetime
) -> Lease:
    """Note that a pending lease's server runs."""
    # The engine's clock is the host's, but a container is never billed for the future, nor before its grant.
    started = min(max(started_at, lease.granted_at), now)
    seen = max(started, min(seen_at, now))
    active = replace(
        lease, state=LeaseState.ACTIVE, container=container, started_at=started, seen_at=seen, changed_at=now
    )
    rewrite(books, active, lease)
    return active


def release(desk: Desk, lease_id: str, why: str) -> Lease:
    """Begin to end a lease: its server is being stopped, its slots stay held until `close`.

    Parameters
    ----------
    why
        A code, see `spawner.policy.leases.Lease.ending`; the first one stays.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        lease = _known(books, lease_id)
        if lease.state in {LeaseState.RELEASING, LeaseState.CLOSED}:
            return lease
        releasing = replace(lease, state=LeaseState.RELEASING, changed_at=now, ending=why)
        rewrite(books, releasing, lease)
        return releasing


def close(desk: Desk, lease_id: str, ended_at: datetime | None, why: str = "stopped") -> Lease:
    """End a lease whose container is confirmed gone: books its time, frees its slots, offers them to who waits.

    Parameters
    ----------
    ended_at
        The engine's finish time; None where nobody knows, and then it is when the container was last seen.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        lease = _known(books, lease_id)
        if lease.state is LeaseState.CLOSED:
            return lease
        closed = book_and_close(books, lease, ended_at, why, now)
        make_offers(desk, books, now)
        return closed


def book_and_close(books: Books, lease: Lease, ended_at: datetime | None, why: str, now: datetime) -> Lease:
    """Close a lease and book its time; offers are the caller's."""
    end = booked_end(lease, ended_at, now)
    idle = idle_ms(lease, end)
    ending = lease.ending or why
    closed = replace(lease, state=LeaseState.CLOSED, closed_at=now, changed_at=now, ending=ending, idle_ms=idle)
    rewrite(books, closed, lease)
    if lease.started_at is not None:
        books.usage.insert(_usage(books, closed, lease.started_at, end))
    return closed


def _usage(books: Books, lease: Lease, start: datetime, end: datetime) -> list[UsageRow]:
    # Those of slots that are no more, too: a MIG instance may be gone before its lease is.
    models = books.gpus.models(lease.slots)
    whose = lease.id, lease.user, lease.groups, lease.course
    booked = length_ms(start, end)
    return [UsageRow(*whose, slot, models.get(slot, ""), start, end, booked, lease.idle_ms) for slot in lease.slots]


def extend(
    desk: Desk,
    lease_id: str,
    hours: float | None,
    actor: str,
    why: str = "",
    *,
    by_admin: bool = False,
    check: Check | None = None,
) -> Lease | Deny:
    """Make a lease last longer, as far as its user's quota and the queue allow.

    Parameters
    ----------
    by_admin
        Whether it may also be one that an admin is ending.
    check
        Is given the lease as it is, while nobody else can change it; nothing is done if it raises.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        lease = _known(books, lease_id)
        if check is not None:
            check(lease)
        if lease.ending == _BY_ADMIN and not by_admin:
            return _ENDED
        if lease.course and not by_admin:
            return _SEAT
        pool = load_pool(books, desk.rules, now, [lease.user])
        quota = desk.quota(books, Person(lease.user, lease.groups), now)
        end = _extended(desk, books, pool, lease, hours, quota, now)
        if isinstance(end, Deny):
            return end
        extended = replace(lease, ends_at=end, warned=None, ending="")
        rewrite(books, extended, lease)
        _audit(books, now, actor, "lease.extend", lease, extended, why)
        return extended


def _extended(
    desk: Desk, books: Books, pool: Pool, lease: Lease, hours: float | None, quota: Quota, now: datetime
) -> datetime | Deny:
    spending = spent_by(books, pool, lease.user, desk.rules, now)
    terms = queue_terms(desk, books, pool, now, everybody=True)
    return decide_extension(pool, lease, hours, quota, spending, desk.rules, now, terms)


def can_extend(desk: Desk, lease_id: str) -> datetime | Deny:
    """Tell how long a lease could last, without changing anything."""
    now = desk.clock()
    with desk.ledger.reading() as books:
        lease = _known(books, lease_id)
        return longest(desk, books, load_pool(books, desk.rules, now, [lease.user]), lease, now)


def longest(desk: Desk, books: Books, pool: Pool, lease: Lease, now: datetime) -> datetime | Deny:
    """Tell how long a lease could last, as `can_extend` does."""
    if lease.ending == _BY_ADMIN:
        return _ENDED
    if lease.course:
        return _SEAT
    quota = desk.quota(books, Person(lease.user, lease.groups), now)
    return _extended(desk, books, pool, lease, None, quota, now)


def end(
    desk: Desk,
    lease_id: str,
    actor: str,
    why: str,
    notice: timedelta = timedelta(0),
    code: str = _BY_ADMIN,
    check: Check | None = None,
) -> Lease:
    """Let a lease end, after `notice`; the janitor then ends it as any other.

    Parameters
    ----------
    code
        Why, see `spawner.policy.leases.Lease.ending`; ``released`` where its own user gives it back.
    check
        As in `extend`.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        lease = _known(books, lease_id)
        if check is not None:
            check(lease)
        if lease.state not in {LeaseState.OFFERED, LeaseState.PENDING, LeaseState.ACTIVE}:
            raise LeaseLost(f"Lease {lease_id} is {lease.state} already.")
        if lease.state is LeaseState.OFFERED:
            end_offer(books, lease, TicketState.CANCELLED, code, now)
            withdrawn = _known(books, lease_id)
            _audit(books, now, actor, "lease.end", lease, withdrawn, why)
            make_offers(desk, books, now)
            return withdrawn
        ended = replace(lease, ends_at=min(lease.ends_at, now + notice), ending=code, warned=None)
        rewrite(books, ended, lease)
        _audit(books, now, actor, "lease.end", lease, ended, why)
        return ended


def choose_at_end(desk: Desk, lease_id: str, at_end: AtEnd) -> Lease:
    """Choose what becomes of the server when the lease ends.

    Raises
    ------
    LeaseLost
        If it has ended.
    """
    with desk.ledger.transaction() as books:
        lease = _known(books, lease_id)
        if lease.state is LeaseState.CLOSED:
            raise LeaseLost(f"Lease {lease_id} is {lease.state} already.")
        changed = replace(lease, at_end=at_end)
        rewrite(books, changed, lease)
        return changed


def _audit(books: Books, now: datetime, actor: str, action: str, before: Lease, after: Lease, why: str) -> None:
    books.audit.append(
        AuditEntry(
            at=now,
            actor=actor,
            action=action,
            subject=f"lease {before.id}",
            before={"ends_at": before.ends_at.isoformat(), "state": before.state},
            after={"ends_at": after.ends_at.isoformat(), "state": after.state},
            why=why or f"{describe(max(after.ends_at - now, timedelta(0)))} left",
        )
    )


def of_server(desk: Desk, user: str, server: str) -> Lease | None:
    """Give the open lease of a server, an offer included."""
    with desk.ledger.reading() as books:
        return books.leases.of_server(user, server)


def rules_now(desk: Desk) -> LimitRules:
    """Give the quotas' rules that hold now."""
    with desk.ledger.reading() as books:
        return desk.quotas.rules(books, desk.clock())


def report(desk: Desk, lease_id: str, *, busy: bool, problem: str) -> None:
    """Note what a lease's server says of itself: whether a kernel works, and what is wrong with its GPUs."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        lease = books.leases.get(lease_id)
        if lease is not None and lease.state is LeaseState.ACTIVE:
            books.leases.update(replace(lease, busy_at=now if busy else lease.busy_at, problem=problem), lease)
