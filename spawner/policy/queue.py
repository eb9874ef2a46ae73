"""The queue: its order, who is served next, who may pass whom, and how long it will take."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from .leases import GpuRequest, LeaseRules, Ticket
from .placement import Placement, Promises, earliest, place, place_in_seat
from .pool import Pool, SlotClass
from .quota import ALL


def order(tickets: Iterable[Ticket], pool: Pool, rules: LeaseRules, now: datetime) -> list[Ticket]:
    """Sort tickets, next first.

    What an admin moved up; then what has waited for ``rules.patience``, by arrival; then by priority, by decayed use
    (who used less goes first), by arrival.

    The bound on waiting: while nothing is moved up, reserved or drained, and slots are free again within
    ``rules.turnover`` of a lease's end, a ticket that its user's quota allows waits at most
    ``patience + (k + 1) * (L + turnover)``, with `k` tickets that were impatient before it and `L` the longest lease.
    For then nobody goes before it any more but those `k`. Whoever of them is first is promised slots within `L` and
    ``turnover``, as every lease has ended by then; nobody behind gets slots that are not free again at a promised start
    (`spawner.policy.placement.place`), an offer's time counts from when it was made, and nobody extends while others
    wait (`spawner.policy.extension.extend`).
    """
    shares, impatient = pool.shares, now - rules.patience
    return sorted(tickets, key=lambda ticket: _key(ticket, shares, impatient))


_Key = tuple[int, bool, int, float, datetime, str]


def _key(ticket: Ticket, shares: Mapping[str, float], impatient: datetime) -> _Key:
    arrived = ticket.arrived_at
    if arrived <= impatient:
        return -ticket.moved_up, False, 0, 0.0, arrived, ticket.id
    return -ticket.moved_up, True, -ticket.priority, shares.get(ticket.request.user, 0.0), arrived, ticket.id


_Entry = tuple[_Key, Ticket]


def ahead_of(ticket: Ticket | None, pool: Pool, rules: LeaseRules, now: datetime) -> list[_Entry]:
    """List those in the queue who go before a ticket, in no order; all for None."""
    shares, impatient = pool.shares, now - rules.patience
    line = pool.queue.values()
    if ticket is None:
        return [(_key(other, shares, impatient), other) for other in line]
    own = _key(ticket, shares, impatient)
    return [(key, other) for other in line if (key := _key(other, shares, impatient)) < own]


class Rivals:
    """Those ahead who may want the same slots, or the same as such want; the others cannot be passed. Next first.

    Sorted only as far as they are asked for: a decision seldom looks at more than a few.

    Parameters
    ----------
    ahead
        From `ahead_of`.
    classes
        Of the slots.

    Attributes
    ----------
    closed
        To be set while going through them: classes that nobody behind gets. Who wants nothing else is left out then.
    """

    def __init__(self, pool: Pool, ahead: list[_Entry], classes: Iterable[SlotClass], now: datetime) -> None:
        self.closed: frozenset[SlotClass] = frozenset()
        # Few lines of many tickets, one per wish: the pool gives the same classes for the same wish. A course's seats
        # are its own, whatever is closed.
        wishes: dict[tuple[object, ...], list[_Entry]] = {}
        for entry in ahead:
            request = entry[1].request
            wish = request.models, request.kinds, request.memory, request.count > 1, request.course
            alike = wishes.get(wish)
            if alike is None:
                wishes[wish] = [entry]
            else:
                alike.append(entry)
        lines: dict[tuple[int, bool], tuple[tuple[SlotClass, ...], list[_Entry]]] = {}
        for alike in wishes.values():
            request = alike[0][1].request
            wanted, seated = pool.classes(request, ALL), bool(pool.reservations_of(request.course, now))
            lines.setdefault((id(wanted), seated), (wanted, []))[1].extend(alike)
        concerned, before = set(classes), 0
        while before < len(concerned):
            before = len(concerned)
            concerned.update(*(wanted for wanted, _ in lines.values() if not concerned.isdisjoint(wanted)))
        self._lines = [
            (frozenset() if seated else frozenset(wanted), line)
            for (_, seated), (wanted, line) in lines.items()
            if not concerned.isdisjoint(wanted)
        ]

    def __iter__(self) -> Iterator[Ticket]:
        for _, line in self._lines:
            heapq.heapify(line)
        while True:
            closed = self.closed
            lines = [line for wanted, line in self._lines if line and not (wanted and wanted <= closed)]
            if not lines:
                return
            while closed is self.closed and lines:
                line = min(lines)
                yield heapq.heappop(line)[1]
                if not line:
                    lines.remove(line)


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
) -> Iterator[tuple[Serving, frozenset[SlotClass]]]:
    """Go through a line in order: each gets what is free now, or a promise, and leaves the rest to those behind.

    Parameters
    ----------
    depth
        How many tickets that have to wait for slots of a class get a promise. From the next one on, the class is
        closed: those behind get nothing of it, so that nobody is passed who was promised nothing. None promises to
        all, and tells each ticket's time; else promises are made only once they matter, and not told.

    Yields
    ------
    tuple
        The ticket's serving, and the classes that are closed.
    """
    promises = Promises()
    closed: frozenset[SlotClass] = frozenset()
    promised: Counter[SlotClass] = Counter()
    owed: list[Callable[[], Placement | None]] = []
    for position, ticket in enumerate(line, start=1):
        seated = bool(pool.reservations_of(ticket.request.course, now))
        if closed and not seated and closed.issuperset(pool.classes(ticket.request, ALL)):
            yield Serving(ticket, position, None), closed
            continue
        terms = terms_of(ticket)
        if terms is None:
            yield Serving(ticket, position, None, blocked=True), closed
            continue
        request, length = ticket.request, terms.length
        # Who can have nothing of a class, as long as GPUs are out of service, holds nobody up there.
        able = [slot_class for slot_class in terms.classes if pool.widest(slot_class, usable=True) >= request.count]
        open_now = [slot_class for slot_class in able if slot_class not in closed]
        found = None
        in_seats = able if seated else []
        if any(pool.has_free(slot_class, request.count) for slot_class in in_seats or open_now):
            look = partial(_now, pool, request, open_now, in_seats, length, rules, now, promises)
            found = look()
            if found and owed:
                # More promises leave less: only what is free without those that are owed has to look at them.
                for make in owed:
                    make()
                owed.clear()
                found = look()
        if found:
            promises.promise(found.slots, now, found.until + rules.turnover)
        elif depth is None:
            found = _promise(pool, request, open_now, length, rules, now, promises)
        elif any(promised[slot_class] < depth for slot_class in able):
            promised.update(able)
            owed.append(partial(_promise, pool, request, open_now, length, rules, now, promises))
        else:
            closed |= set(able)
        yield Serving(ticket, position, found, note=terms.note), closed


def _now(
    pool: Pool,
    request: GpuRequest,
    classes: list[SlotClass],
    in_seats: list[SlotClass],
    length: timedelta,
    rules: LeaseRules,
    now: datetime,
    promises: Promises,
) -> Placement | None:
    found = place(pool, request, classes, length, rules, now, promises)
    return found or place_in_seat(pool, request, in_seats, length, rules, now, promises)


def _promise(
    pool: Pool,
    request: GpuRequest,
    classes: list[SlotClass],
    length: timedelta,
    rules: LeaseRules,
    now: datetime,
    promises: Promises,
) -> Placement | None:
    found = earliest(pool, request, classes, length, rules, now, promises)
    if found:
        promises.promise(found.slots, found.start, found.until + rules.turnover)
    return found


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
