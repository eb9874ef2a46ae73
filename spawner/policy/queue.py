"""The queue: its order, who is served next, who may pass whom, and how long it will take."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from .leases import LeaseRules, Ticket
from .placement import Placement, Promises, earliest, place
from .pool import Pool, SlotClass
from .quota import ALL


def order(tickets: Iterable[Ticket], pool: Pool, rules: LeaseRules, now: datetime) -> list[Ticket]:
    """Sort tickets, next first.

    What an admin moved up; then what has waited for ``rules.patience``, by arrival; then by priority, by decayed use
    (who used less goes first), by arrival.

    The bound on waiting: while nothing is moved up, reserved or drained, a ticket that could be served at all waits
    at most ``patience + (k + 1) * (L + turnover + offer)``, with `k` tickets that were impatient before it and `L`
    the longest lease. For then nobody goes before it any more but those `k`, nobody passes without being done before
    its promised start (`spawner.policy.placement.place`), and nobody extends while it waits
    (`spawner.policy.extension.extend`).
    """
    return list(in_order(tickets, pool, rules, now))


def in_order(tickets: Iterable[Ticket], pool: Pool, rules: LeaseRules, now: datetime) -> Iterator[Ticket]:
    """Give tickets as `order` sorts them, sorted only as far as they are asked for."""
    shares = pool.shares
    line = [(*_key(ticket, shares, rules, now), ticket) for ticket in tickets]
    heapq.heapify(line)
    while line:
        yield heapq.heappop(line)[-1]


def ahead_of(ticket: Ticket, pool: Pool, rules: LeaseRules, now: datetime) -> list[Ticket]:
    """List those in the queue who go before a ticket, in no order."""
    shares = pool.shares
    own = _key(ticket, shares, rules, now)
    return [other for other in pool.queue.values() if other.id != ticket.id and _key(other, shares, rules, now) < own]


_Key = tuple[int, bool, int, float, datetime, str]


def _key(ticket: Ticket, shares: Mapping[str, float], rules: LeaseRules, now: datetime) -> _Key:
    arrived = ticket.arrived_at
    if now - arrived >= rules.patience:
        return -ticket.moved_up, False, 0, 0.0, arrived, ticket.id
    return -ticket.moved_up, True, -ticket.priority, shares.get(ticket.request.user, 0.0), arrived, ticket.id


@dataclass(frozen=True, slots=True)
class Terms:
    """What a user's quota gives for one request, or why it gives nothing.

    Attributes
    ----------
    classes
        Of slots that will do.
    length
        Of the lease.
    note
        How the length differs from what was asked for.
    """

    classes: tuple[SlotClass, ...]
    length: timedelta
    note: str = ""


TermsOf = Callable[[Ticket], Terms | None]
"""Gives a ticket's terms; None while its user's quota allows nothing."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A waiting ticket, what it can have, and when.

    Attributes
    ----------
    placement
        Starts now, or at the ticket's estimated time; None where nobody can tell.
    blocked
        Whether its user's quota allows nothing at the moment.
    """

    ticket: Ticket
    position: int
    placement: Placement | None
    blocked: bool = False
    note: str = ""


def walk(
    line: Iterable[Ticket], pool: Pool, terms_of: TermsOf, rules: LeaseRules, now: datetime, depth: int | None = None
) -> Iterator[tuple[Serving, Promises]]:
    """Go through a line in order: each gets what is free now, or a promise, and leaves the rest to those behind.

    Parameters
    ----------
    depth
        How many tickets that have to wait for slots of a class get a promise; all if None. From the next one on, the
        class is closed: those behind get nothing of it, so that nobody is passed who was promised nothing.

    Yields
    ------
    tuple
        The ticket's serving, and the promises made up to and including it.
    """
    promises = Promises()
    promised: Counter[SlotClass] = Counter()
    for position, ticket in enumerate(line, start=1):
        if promises.closed and promises.closed.issuperset(pool.classes(ticket.request, ALL)):
            yield Serving(ticket, position, None), promises
            continue
        terms = terms_of(ticket)
        if terms is None:
            yield Serving(ticket, position, None, blocked=True), promises
            continue
        request, length = ticket.request, terms.length
        # Who can have nothing of a class, as long as GPUs are out of service, holds nobody up there.
        able = [slot_class for slot_class in terms.classes if pool.widest(slot_class, usable=True) >= request.count]
        found = place(pool, request, able, length, rules, now, promises)
        if found:
            promises.promise(found.slots, now, found.until + rules.turnover)
        elif depth is None or any(promised[slot_class] < depth for slot_class in able):
            promised.update(able)
            found = earliest(pool, request, able, length, rules, now, promises)
            if found:
                promises.promise(found.slots, found.start, found.until + rules.turnover)
        else:
            promises.closed.update(able)
        yield Serving(ticket, position, found, note=terms.note), promises


def offers(pool: Pool, terms_of: TermsOf, rules: LeaseRules, now: datetime) -> list[Serving]:
    """List the tickets that can be served now, in order, with their slots.

    Not two for one user at once: what the second may have depends on what the first got. The next look finds it.
    """
    served: list[Serving] = []
    users: set[str] = set()
    if not any(ids for slot_class in pool.all_classes() for ids in pool.free(slot_class).values()):
        return served

    def once(ticket: Ticket) -> Terms | None:
        return None if ticket.user in users else terms_of(ticket)

    for serving, _ in walk(order(pool.queue.values(), pool, rules, now), pool, once, rules, now, rules.depth):
        if serving.placement is not None and serving.placement.start <= now:
            served.append(serving)
            users.add(serving.ticket.user)
    return served


def forecast(pool: Pool, terms_of: TermsOf, rules: LeaseRules, now: datetime) -> list[Serving]:
    """Estimate when each ticket is served, if every lease runs to its end and nobody else comes."""
    line = order(pool.queue.values(), pool, rules, now)
    return [serving for serving, _ in walk(line, pool, terms_of, rules, now)]
