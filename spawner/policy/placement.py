"""Which slots a request gets now, or which it could have first, and until when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .gpus import Slot
from .leases import GpuRequest, Lease, LeaseRules, LeaseState
from .pool import Pool, SlotClass


@dataclass
class Promises:
    """What tickets further ahead will get.

    Attributes
    ----------
    wanted
        Per slot, the times for which it is promised, in order.
    """

    wanted: dict[str, list[tuple[datetime, datetime]]] = field(default_factory=dict)

    def promise(self, slots: Iterable[str], start: datetime, end: datetime) -> None:
        for slot in slots:
            self.wanted[slot] = sorted([*self.wanted.get(slot, []), (start, end)])


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

    What holds for the whole length goes before what a reservation cuts short; then the least valuable class, so that
    large models stay for those who ask for them; then the fullest node that will do. A promise to a ticket ahead
    excludes a slot and never cuts short. A course's seat takes what is reserved for it first.

    Returns
    -------
    Placement or None
        `until` is `now` and `length`, or earlier where a reservation follows, but never less than
        ``rules.shortest`` away unless less was asked for.
    """
    promises = promises or Promises()
    cut: tuple[datetime, tuple[str, ...]] | None = None
    for slot_class in classes:
        for ids in sorted(pool.free(slot_class).values(), key=len):
            if len(ids) < request.count:
                continue
            ends = {
                slot_id: end
                for slot_id in ids
                if (end := _free_until(pool, slot_id, request.course, length, rules, now, promises)) is not None
            }
            whole = [slot_id for slot_id, end in ends.items() if end - now >= length]
            chosen = choose(pool, whole, request.count, request.course, now)
            if chosen:
                return Placement(chosen, now, now + length)
            chosen = _longest(pool, ends, request.count)
            if chosen and (cut is None or min(ends[slot] for slot in chosen) > cut[0]):
                cut = min(ends[slot] for slot in chosen), chosen
    return cut and Placement(cut[1], now, cut[0])


def _free_until(
    pool: Pool,
    slot_id: str,
    course: str,
    length: timedelta,
    rules: LeaseRules,
    now: datetime,
    promises: Promises,
) -> datetime | None:
    """Tell until when a free slot may be leased from now on; None if it may not."""
    end = now + length
    for start, finish in promises.wanted.get(slot_id, ()):
        if finish > now and start < end + rules.turnover:
            return None
    for start, finish in pool.reserved(slot_id, course):
        if finish <= now:
            continue
        if start <= now:
            return None
        end = min(end, start - rules.turnover)
    return end if end - now >= min(rules.shortest, length) else None


def choose(pool: Pool, ids: Iterable[str], count: int, course: str, now: datetime) -> tuple[str, ...]:
    """Choose `count` of these slots, on different GPUs; none if there are too few.

    A single one comes from the fullest GPU and island, so that whole ones stay whole. Several come from the smallest
    island that holds them all, else from the largest islands.
    """
    slots = [pool.slots[slot_id] for slot_id in ids]
    if course:
        own = [slot for slot in slots if _is_seat(pool, slot.id, course, now)]
        slots = own if len({slot.gpu for slot in own}) >= count else slots
    if not slots:
        return ()
    if count == 1:
        best = min(slots, key=lambda slot: (pool.free_on_gpu(slot), pool.free_in_island(slot), slot.id))
        return (best.id,)
    gpus: dict[str, Slot] = {}
    for slot in sorted(slots, key=lambda slot: slot.id):
        gpus.setdefault(slot.gpu, slot)
    if len(gpus) < count:
        return ()
    islands: dict[str, list[Slot]] = {}
    for slot in gpus.values():
        islands.setdefault(slot.island, []).append(slot)
    by_size = sorted(islands.values(), key=len)
    fitting = next((island for island in by_size if len(island) >= count), None)
    line = fitting or [slot for island in reversed(by_size) for slot in island]
    # Of shared GPUs the emptiest: whoever asks for several wants them to work side by side.
    line.sort(key=lambda slot: -pool.free_on_gpu(slot))
    return tuple(slot.id for slot in line[:count])


def _is_seat(pool: Pool, slot_id: str, course: str, now: datetime) -> bool:
    return any(
        reservation.course == course and reservation.starts_at <= now < reservation.ends_at
        for reservation in pool.reservations.values()
        if slot_id in reservation.slots
    )


def _longest(pool: Pool, ends: dict[str, datetime], count: int) -> tuple[str, ...]:
    """Choose the slots which stay free longest."""
    chosen: dict[str, str] = {}
    for slot_id in sorted(ends, key=lambda slot_id: (-ends[slot_id].timestamp(), slot_id)):
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
    """Find the first moment at which a request can be served, if every lease runs to its end.

    Returns
    -------
    Placement or None
        None if it can never be: too few slots are usable.
    """
    best: Placement | None = None
    for slot_class in classes:
        for ids in pool.members(slot_class).values():
            found = _earliest_among(pool, ids, request, length, rules, now, promises)
            if found and (best is None or found.start < best.start):
                best = found
    return best


def _earliest_among(
    pool: Pool,
    ids: Iterable[str],
    request: GpuRequest,
    length: timedelta,
    rules: LeaseRules,
    now: datetime,
    promises: Promises,
) -> Placement | None:
    slots = [pool.slots[slot_id] for slot_id in ids if pool.slots[slot_id].usable]
    moment = now
    while True:
        first: dict[str, tuple[datetime, str]] = {}
        for slot in slots:
            start = _free_from(pool, slot.id, request.course, length, rules, moment, promises)
            if slot.gpu not in first or (start, slot.id) < first[slot.gpu]:
                first[slot.gpu] = start, slot.id
        if len(first) < request.count:
            return None
        chosen = sorted(first.values())[: request.count]
        if chosen[-1][0] <= moment:
            return Placement(tuple(slot_id for _, slot_id in chosen), moment, moment + length)
        # What is free earlier may be wanted again by then: look once more from there.
        moment = chosen[-1][0]


def _free_from(
    pool: Pool,
    slot_id: str,
    course: str,
    length: timedelta,
    rules: LeaseRules,
    now: datetime,
    promises: Promises,
) -> datetime:
    """Tell the first moment from `now` on at which a slot is free for the whole length."""
    lease = pool.holder(slot_id)
    start = max(now, _expected_end(lease, now) + rules.turnover) if lease else now
    taken = [*pool.reserved(slot_id, course), *promises.wanted.get(slot_id, ())]
    for begin, finish in sorted(taken):
        if finish > start and begin < start + length + rules.turnover:
            start = finish
    return start


def _expected_end(lease: Lease, now: datetime) -> datetime:
    """Tell when a lease's slots come back: its end, or now where it is being released already."""
    return now if lease.state is LeaseState.RELEASING else max(lease.ends_at, now)
