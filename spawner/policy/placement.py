"""Which slots a request gets now, or which it could have first, and until when."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .gpus import Slot
from .leases import GpuRequest, Lease, LeaseRules
from .pool import FREE, Pool, SlotClass, end_of

_Times = tuple[datetime, datetime]
_Known = tuple[int, timedelta, datetime]


@dataclass
class Promises:
    """What tickets further ahead will get.

    Attributes
    ----------
    wanted
        Per slot, the times for which it is promised, in order.
    """

    wanted: dict[str, list[_Times]] = field(default_factory=dict)
    _taken: dict[str, dict[str, list[_Times]]] = field(default_factory=dict)
    _known: dict[tuple[str, SlotClass], dict[str, list[_Known]]] = field(default_factory=dict)

    def promise(self, slots: Iterable[str], start: datetime, end: datetime) -> None:
        for slot in slots:
            self.wanted[slot] = sorted([*self.wanted.get(slot, []), (start, end)])
            for of_course in self._taken.values():
                of_course.pop(slot, None)

    def taken(
        self, pool: Pool, slots: Iterable[str], course: str, rules: LeaseRules, now: datetime
    ) -> list[tuple[str, str, list[_Times]]]:
        """List the usable ones of these slots: GPU, id, and the times at which it cannot be had, in order.

        They are kept, for a walk asks often.
        """
        known = self._taken.setdefault(course, {})
        found = []
        for slot_id in slots:
            slot = pool.slots[slot_id]
            if slot.usable:
                times = known.get(slot_id)
                if times is None:
                    times = known[slot_id] = self._times(pool, slot_id, course, rules, now)
                found.append((slot.gpu, slot_id, times))
        return found

    def _times(self, pool: Pool, slot_id: str, course: str, rules: LeaseRules, now: datetime) -> list[_Times]:
        # Seats are held until their session ends.
        times = [(start, finish + rules.turnover) for start, finish in pool.reserved(slot_id, course)]
        if slot_id in self.wanted:
            times = sorted([*times, *self.wanted[slot_id]])
        lease = pool.holder(slot_id)
        if lease is not None:
            times.insert(0, (now, free_again(lease, rules, now)))
        return times

    def learn(self, slot_class: SlotClass, node: str, request: GpuRequest, length: timedelta, start: datetime) -> None:
        """Note when a node has room for a wish: as promises are only added, it never has sooner for a larger one."""
        of_class = self._known.setdefault((request.course, slot_class), {})
        of_class.setdefault(node, []).append((request.count, length, start))

    def known(self, slot_class: SlotClass, node: str, request: GpuRequest, length: timedelta) -> datetime | None:
        """Give a time before which a node has no room for a wish, if that is known."""
        learnt = self._known.get((request.course, slot_class), {}).get(node, ())
        return max(
            (start for count, shorter, start in learnt if count <= request.count and shorter <= length), default=None
        )


def free_again(lease: Lease, rules: LeaseRules, now: datetime) -> datetime:
    """Tell when a lease's slots are free again, if it runs to its end.

    That is ``turnover`` after its end also where the end has passed: were it always so far from now on, a promise would
    move as time does, and what it was to begin with could be lent to somebody behind. Who takes longer has it anew.
    """
    again = end_of(lease) + rules.turnover
    return again if again >= now else now + rules.turnover


@dataclass(frozen=True, slots=True)
class Placement:
    """Slots for a request, from `start` (now, or later) to `until`."""

    slots: tuple[str, ...]
    start: datetime
    until: datetime


def place(
    pool: Pool,
    request: GpuRequest,
    classes: Sequence[SlotClass],
    length: timedelta,
    rules: LeaseRules,
    now: datetime,
    promises: Promises | None = None,
) -> Placement | None:
    """Choose free slots: on one node, of one class, on different GPUs.

    What holds for the whole length goes before what a reservation cuts short; then what a course has reserved for
    this request; then the least valuable class, so that large models stay for those who ask for them; then GPUs of one
    island, where several are wanted; then the fullest node that will do. A promise to a ticket ahead excludes a slot
    and never cuts short.

    Returns
    -------
    Placement or None
        `until` is `now` and `length`, or earlier where a reservation follows, but never less than
        ``rules.shortest`` away unless less was asked for.
    """
    search = _Search(pool, request, length, rules, now, promises or Promises())
    seats = pool.seats(request.course, now) if request.course else None
    if seats:
        for slot_class in classes:
            chosen = search.among(slot_class, seats)
            if chosen:
                return Placement(chosen, now, now + length)
    search.cut = None
    for slot_class in classes:
        chosen = search.among(slot_class)
        if chosen:
            return Placement(chosen, now, now + length)
    return search.cut


def place_in_seat(
    pool: Pool,
    request: GpuRequest,
    classes: Sequence[SlotClass],
    length: timedelta,
    rules: LeaseRules,
    now: datetime,
    promises: Promises,
) -> Placement | None:
    """Choose free slots among those that a course has reserved for now, until its reservation ends at the latest.

    Nobody is passed by that: what is promised to others begins behind the reservation.
    """
    for reservation in pool.reservations_of(request.course, now):
        within = min(length, reservation.ends_at - now)
        if within < min(rules.shortest, length):
            continue
        search = _Search(pool, request, within, rules, now, promises)
        for slot_class in classes:
            chosen = search.among(slot_class, set(reservation.slots))
            if chosen:
                return Placement(chosen, now, now + within)
    return None


@dataclass
class _Search:
    """One look for free slots; `cut` is the longest placement so far that a reservation cuts short."""

    pool: Pool
    request: GpuRequest
    length: timedelta
    rules: LeaseRules
    now: datetime
    promises: Promises
    cut: Placement | None = None

    def among(self, slot_class: SlotClass, only: AbstractSet[str] | None = None) -> tuple[str, ...]:
        """Choose slots of a class for the whole length; none if there are too few."""
        count, whole_end = self.request.count, self.now + self.length
        apart: tuple[str, ...] = ()
        nodes = [ids if only is None else ids & only for ids in self.pool.free(slot_class).values()]
        for ids in sorted((ids for ids in nodes if len(ids) >= count), key=len):
            ends = {slot_id: end for slot_id in ids if (end := self._free_until(slot_id)) is not None}
            if len(ends) < count:
                continue
            chosen = choose(self.pool, [slot_id for slot_id, end in ends.items() if end == whole_end], count)
            if chosen and (count == 1 or len({self.pool.slots[slot_id].island for slot_id in chosen}) == 1):
                return chosen
            apart = apart or chosen
            if not apart:
                self._keep_if_longer(_longest(self.pool, ends, count), ends)
        return apart

    def _keep_if_longer(self, chosen: tuple[str, ...], ends: dict[str, datetime]) -> None:
        if chosen:
            until = min(ends[slot_id] for slot_id in chosen)
            if self.cut is None or until > self.cut.until:
                self.cut = Placement(chosen, self.now, until)

    def _free_until(self, slot_id: str) -> datetime | None:
        """Tell until when a free slot may be leased from now on; None if it may not."""
        end = self.now + self.length
        for start, finish in self.pool.reserved(slot_id, self.request.course):
            if finish <= self.now:
                continue
            if start <= self.now:
                return None
            end = min(end, start - self.rules.turnover)
        # After that: a promise may begin only behind the reservation that cuts this short.
        for start, finish in self.promises.wanted.get(slot_id, ()):
            if finish > self.now and start < end + self.rules.turnover:
                return None
        return end if end - self.now >= min(self.rules.shortest, self.length) else None


def choose(pool: Pool, ids: Iterable[str], count: int) -> tuple[str, ...]:
    """Choose `count` of these slots of one node, on different GPUs; none if there are too few.

    A single one comes from the fullest GPU and island, so that whole ones stay whole. Several come from the smallest
    island that holds them all, else from the largest islands; of shared GPUs from the emptiest, for whoever asks for
    several wants them to work side by side.
    """
    slots = [pool.slots[slot_id] for slot_id in ids]
    if count == 1:
        if not slots:
            return ()
        return (min(slots, key=lambda slot: (pool.free_on_gpu(slot), pool.free_in_island(slot), slot.id)).id,)
    gpus: dict[str, Slot] = {}
    for slot in sorted(slots, key=lambda slot: slot.id):
        gpus.setdefault(slot.gpu, slot)
    if len(gpus) < count:
        return ()
    islands: dict[str, list[Slot]] = {}
    for slot in sorted(gpus.values(), key=lambda slot: -pool.free_on_gpu(slot)):
        islands.setdefault(slot.island, []).append(slot)
    by_size = sorted(islands.values(), key=len)
    fitting = next((island for island in by_size if len(island) >= count), None)
    line = fitting or [slot for island in reversed(by_size) for slot in island]
    return tuple(slot.id for slot in line[:count])


def _longest(pool: Pool, ends: dict[str, datetime], count: int) -> tuple[str, ...]:
    """Choose the slots which stay free longest."""
    chosen: dict[str, str] = {}
    for slot_id in sorted(sorted(ends), key=ends.__getitem__, reverse=True):
        chosen.setdefault(pool.slots[slot_id].gpu, slot_id)
        if len(chosen) == count:
            return tuple(chosen.values())
    return ()


def earliest(
    pool: Pool,
    request: GpuRequest,
    classes: Sequence[SlotClass],
    length: timedelta,
    rules: LeaseRules,
    now: datetime,
    promises: Promises,
) -> Placement | None:
    """Find the first moment at which a request can be served for its whole length, if every lease runs to its end.

    Returns
    -------
    Placement or None
        None if it can never be: too few slots are usable.
    """
    best: tuple[datetime, int, str, Placement] | None = None
    later: list[tuple[datetime, int, str]] = []

    def look(bound: datetime, rank: int, node: str) -> None:
        nonlocal best
        slot_class = classes[rank]
        ids = pool.members(slot_class)[node]
        found = _earliest_among(pool, ids, request, length, rules, now, bound, best and best[0], promises)
        if found:
            promises.learn(slot_class, node, request, length, found.start)
            if best is None or (found.start, rank, node) < best[:3]:
                best = found.start, rank, node, found

    # Most nodes need no look: too few of their leases end before the best that is found so far, or the walk knows from
    # a smaller wish that there is no room.
    for bound, rank, node in _by_bound(pool, request.count, classes, rules, now):
        if best is not None and bound > best[0]:
            break
        known = promises.known(classes[rank], node, request, length)
        if known is not None and known > bound:
            later.append((known, rank, node))
        else:
            look(bound, rank, node)
    for bound, rank, node in sorted(later):
        if best is not None and bound > best[0]:
            break
        look(bound, rank, node)
    return best and best[3]


def _by_bound(
    pool: Pool, count: int, classes: Sequence[SlotClass], rules: LeaseRules, now: datetime
) -> Iterator[tuple[datetime, int, str]]:
    """Give the nodes that have enough slots, with the time before which too few are free for sure, soonest first.

    Each with the rank of its class.
    """

    def of_class(rank: int) -> Iterator[tuple[datetime, int, str]]:
        for end, node in pool.soonest(classes[rank], count):
            yield now if end is FREE else max(end + rules.turnover, now), rank, node

    return of_class(0) if len(classes) == 1 else heapq.merge(*map(of_class, range(len(classes))))


def _earliest_among(
    pool: Pool,
    ids: Iterable[str],
    request: GpuRequest,
    length: timedelta,
    rules: LeaseRules,
    now: datetime,
    bound: datetime,
    latest: datetime | None,
    promises: Promises,
) -> Placement | None:
    """Find the first moment from `bound` on, up to `latest`, at which enough of these slots of one node are free."""
    needed = length + rules.turnover
    slots = promises.taken(pool, ids, request.course, rules, now)
    moment = bound
    while True:
        first: dict[str, tuple[datetime, str]] = {}
        for gpu, slot_id, taken in slots:
            start = _gap(taken, needed, moment) if taken else moment
            if gpu not in first or (start, slot_id) < first[gpu]:
                first[gpu] = start, slot_id
        if len(first) < request.count:
            return None
        chosen = sorted(first.values())[: request.count]
        if chosen[-1][0] <= moment:
            return Placement(tuple(slot_id for _, slot_id in chosen), moment, moment + length)
        # What is free earlier may be wanted again by then: look once more from there.
        moment = chosen[-1][0]
        if latest is not None and moment > latest:
            return None


def _gap(taken: list[_Times], needed: timedelta, moment: datetime) -> datetime:
    """Tell the first moment from `moment` on that is followed by enough time."""
    for begin, finish in taken:
        if finish > moment and begin < moment + needed:
            moment = finish
    return moment
