"""The queue: its order, who is served next, who may pass whom, and how long it will take."""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from .leases import GpuRequest, LeaseRules, Ticket
from .placement import Placement, Promises, earliest, place, place_in_seat
from .pool import Pool, SlotClass, Wish
from .quota import ALL


def order(tickets: Iterable[Ticket], pool: Pool, rules: LeaseRules, now: datetime) -> list[Ticket]:
    """Sort tickets, next first.

    What an admin moved up; then what has waited for ``rules.patience``, by arrival; then by priority, by decayed use
    (who used less goes first), by arrival. Of two that are alike in all that, the first by its id.

    The bound on waiting: while nothing is moved up, reserved or drained, slots are free again within ``rules.turnover``
    of a lease's end, and their users' quotas allow a ticket and those before it, the ticket waits at most
    ``patience + (k + 1) * (L + turnover)``, with `k` tickets that are before it when it becomes impatient, and `L` the
    longest lease. For from then on nobody goes before it but those `k`. Whoever of them is first is promised slots
    within `L` and ``turnover``, as every lease has ended by then. The promise may move to other slots, but never to a
    later time: nobody behind gets slots that are not free again by then (`spawner.policy.placement.place`), an offer's
    time counts from when it was made, nobody extends while others wait (`spawner.policy.extension.extend`), and slots
    that are being freed are expected ``turnover`` after their lease's end, not after the time at which one asks.
    """
    return [entry[-1] for entry in sorted(_entries(tickets, pool.shares, now - rules.patience))]


_Key = tuple[int, bool, int, float, datetime, str]
_Entry = tuple[int, bool, int, float, datetime, str, Ticket]


def _entries(tickets: Iterable[Ticket], shares: Mapping[str, float], impatient: datetime) -> list[_Entry]:
    """Give tickets with what they are sorted by in front."""
    share = shares.get
    # All of a long queue for each decision: without a call for each.
    return [
        (-one.moved_up, False, 0, 0.0, one.arrived_at, one.id, one)
        if one.arrived_at <= impatient
        else (-one.moved_up, True, -one.priority, share(one.request.user, 0.0), one.arrived_at, one.id, one)
        for one in tickets
    ]


@dataclass(frozen=True)
class Ahead:
    """Those in the queue who go before a ticket, by what they want, in no order."""

    lines: Mapping[Wish, list[_Entry]]

    def __len__(self) -> int:
        return sum(map(len, self.lines.values()))


def ahead_of(ticket: Ticket | None, pool: Pool, rules: LeaseRules, now: datetime) -> Ahead:
    """Find those in the queue who go before a ticket; all for None."""
    shares, impatient = pool.shares, now - rules.patience
    lines = {wish: _entries(line.values(), shares, impatient) for wish, line in pool.lines.items()}
    if ticket is None:
        return Ahead(lines)
    (entry,) = _entries([ticket], shares, impatient)
    own: _Key = entry[:-1]
    return Ahead({wish: [entry for entry in line if entry < own] for wish, line in lines.items()})


def connected(classes: Iterable[SlotClass], groups: Collection[Iterable[SlotClass]]) -> set[SlotClass]:
    """Give classes with those that share a group with one of them, or with one that does, and so on."""
    found, before = set(classes), 0
    while before < len(found):
        before = len(found)
        found.update(*(group for group in groups if not found.isdisjoint(group)))
    return found


class Rivals:
    """Those ahead who may want the same slots, or the same as such want; the others cannot be passed. Next first.

    Sorted only as far as they are asked for: a decision seldom looks at more than a few.

    Parameters
    ----------
    classes
        Of the slots.

    Attributes
    ----------
    closed
        To be set while going through them: classes that nobody behind gets. Who wants nothing else is left out then.
    """

    def __init__(self, pool: Pool, ahead: Ahead, classes: Iterable[SlotClass], now: datetime) -> None:
        self.closed: frozenset[SlotClass] = frozenset()
        lines = [(pool.classes(line[0][-1].request, ALL), wish, line) for wish, line in ahead.lines.items() if line]
        concerned = connected(classes, [wanted for wanted, _, _ in lines])
        # A course's seats are its own, whatever is closed.
        self._lines = [
            (frozenset() if pool.reservations_of(wish.course, now) else frozenset(wanted), line[:])
            for wanted, wish, line in lines
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
            heapq.heapify(lines)
            while closed is self.closed and lines:
                line = lines[0]
                yield heapq.heappop(line)[-1]
                if line:
                    heapq.heapreplace(lines, line)
                else:
                    heapq.heappop(lines)


class Terms(NamedTuple):
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


class Serving(NamedTuple):
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
    dealt = _Dealt(pool, rules, now)
    closed: frozenset[SlotClass] = frozenset()
    promised: dict[SlotClass, int] = {}
    for position, ticket in enumerate(line, start=1):
        request = ticket.request
        seated = bool(pool.reservations_of(request.course, now))
        if closed and not seated and closed.issuperset(pool.classes(request, ALL)):
            yield Serving(ticket, position, None), closed
            continue
        terms = terms_of(ticket)
        if terms is None:
            yield Serving(ticket, position, None, blocked=True), closed
            continue
        # Who can have nothing of a class, as long as GPUs are out of service, holds nobody up there.
        able = pool.able(terms.classes, request.count, usable=True)
        open_now = [slot_class for slot_class in able if slot_class not in closed]
        wish = _Wish(request, open_now, able if seated else (), terms.length)
        found = dealt.free_now(wish)
        if found:
            pass
        elif depth is None:
            found = dealt.promise(wish)
        elif any(promised.get(slot_class, 0) < depth for slot_class in able):
            for slot_class in able:
                promised[slot_class] = promised.get(slot_class, 0) + 1
            dealt.owed.append(wish)
        else:
            closed |= set(able)
        yield Serving(ticket, position, found, note=terms.note), closed


class _Wish(NamedTuple):
    """What a ticket may have: of which classes, in which of them a seat, for how long."""

    request: GpuRequest
    classes: Sequence[SlotClass]
    in_seats: Sequence[SlotClass]
    length: timedelta


@dataclass
class _Dealt:
    """What a walk has dealt out: slots that are free now, and promises; those that are owed are not made yet."""

    pool: Pool
    rules: LeaseRules
    now: datetime
    promises: Promises = field(default_factory=Promises)
    owed: list[_Wish] = field(default_factory=list)

    def free_now(self, wish: _Wish) -> Placement | None:
        """Give slots that are free now, and promised to nobody."""
        count = wish.request.count
        if not any(self.pool.has_free(slot_class, count) for slot_class in wish.in_seats or wish.classes):
            return None
        # More promises leave less: only what is free without those that are owed has to look at them, and only at those
        # that may reach its class.
        found = self._look(wish)
        while found and (due := self._due(found)):
            for each in due:
                self.owed = [other for other in self.owed if other is not each]
                made = self.promise(each)
                if made and not set(found.slots).isdisjoint(made.slots):
                    break
            found = self._look(wish)
        if found:
            self.promises.promise(found.slots, self.now, found.until + self.rules.turnover)
        return found

    def promise(self, wish: _Wish) -> Placement | None:
        """Give the first slots that are promised to nobody, and promise them."""
        found = earliest(self.pool, wish.request, wish.classes, wish.length, self.rules, self.now, self.promises)
        if found:
            self.promises.promise(found.slots, found.start, found.until + self.rules.turnover)
        return found

    def _look(self, wish: _Wish) -> Placement | None:
        pool, request, rules, now, promises = self.pool, wish.request, self.rules, self.now, self.promises
        found = place(pool, request, wish.classes, wish.length, rules, now, promises)
        return found or place_in_seat(pool, request, wish.in_seats, wish.length, rules, now, promises)

    def _due(self, found: Placement) -> list[_Wish]:
        """List what is owed of the class that was found, or of one that those compete for, and so on; in order."""
        if not self.owed:
            return []
        concerned = connected([self.pool.class_of(found.slots[0])], [wish.classes for wish in self.owed])
        return [wish for wish in self.owed if not concerned.isdisjoint(wish.classes)]


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
