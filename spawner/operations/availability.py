"""What is free now and over the next days, if every lease runs to its end and nobody else comes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..policy.gpus import Isolation, Slot, SlotKind
from ..policy.leases import LeaseRules, Reservation
from ..policy.placement import free_again
from ..policy.pool import Pool
from ..policy.quota import ALL
from .desk import Desk
from .pools import load_pool


@dataclass(frozen=True, slots=True)
class Step:
    """How many slots are what, from a moment on; the four add up to all there are.

    Attributes
    ----------
    leased
        Held by a lease, or on offer to somebody in the queue.
    reserved
        For a class that has them then.
    out
        Of service: drained, broken, or in doubt.
    """

    at: datetime
    free: int
    leased: int
    reserved: int
    out: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Slots that a class has for a time."""

    course: str
    starts_at: datetime
    ends_at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class KindOfGpu:
    """Slots that are alike for who looks for one.

    Attributes
    ----------
    memory
        Of each, bytes.
    waiting
        Servers in the queue that would take such ones.
    widest
        The most that one server can have: on as many different GPUs of one host.
    steps
        The first is now; each holds until the next.
    reserved
        By whom and when, by start.
    """

    model: str
    kind: SlotKind
    isolation: Isolation
    memory: int
    simulated: bool
    total: int
    waiting: int
    widest: int
    steps: tuple[Step, ...]
    reserved: tuple[Busy, ...]

    @property
    def now(self) -> Step:
        return self.steps[0]

    @property
    def next_free(self) -> datetime | None:
        """When one is free first; None if not in the time that was looked at."""
        return next((step.at for step in self.steps if step.free), None)


@dataclass(frozen=True, slots=True)
class Availability:
    """What there is from `at` to `until`, the most powerful kinds first."""

    at: datetime
    until: datetime
    kinds: tuple[KindOfGpu, ...]


_Key = tuple[str, SlotKind, Isolation, int]
_Span = tuple[datetime, str]


def availability(desk: Desk, ahead: timedelta) -> Availability:
    """Tell what is free now and over the next time.

    A lease's slots are counted as free a moment after its end, as the queue's estimates do; who waits in the queue may
    be served before.
    """
    now = desk.clock()
    with desk.ledger.reading() as books:
        pool = load_pool(books, desk.rules, now)
    return Availability(now, now + ahead, tuple(kinds_of(pool, desk.rules, now, now + ahead)))


def kinds_of(pool: Pool, rules: LeaseRules, now: datetime, until: datetime) -> Iterator[KindOfGpu]:
    """Give the kinds of slots in a pool, and what becomes of each. No I/O."""
    slots: dict[_Key, list[Slot]] = {}
    for slot in pool.slots.values():
        slots.setdefault((slot.model, slot.kind, slot.isolation, slot.memory), []).append(slot)
    times: dict[str, list[Reservation]] = {}
    for reservation in pool.reservations.values():
        for slot_id in reservation.slots:
            times.setdefault(slot_id, []).append(reservation)
    # Whole GPUs first, then by memory.
    ranks = {kind: place for place, kind in enumerate(SlotKind)}
    for key in sorted(slots, key=lambda key: (-key[3], key[0], ranks[key[1]], key[2])):
        members = slots[key]
        gpus = {(slot.node, slot.gpu) for slot in members if slot.usable}
        yield KindOfGpu(
            *key,
            simulated=any(slot.simulated for slot in members),
            total=len(members),
            waiting=_waiting(pool, members[0]),
            widest=max(Counter(node for node, _ in gpus).values(), default=0),
            steps=tuple(_steps([_spans(pool, slot, times.get(slot.id, ()), rules, now) for slot in members], until)),
            reserved=_reserved(members, times, until),
        )


def _waiting(pool: Pool, slot: Slot) -> int:
    slot_class = pool.class_of(slot.id)
    return sum(
        len(line) for line in pool.lines.values() if slot_class in pool.classes(next(iter(line.values())).request, ALL)
    )


def _spans(
    pool: Pool, slot: Slot, reservations: Iterable[Reservation], rules: LeaseRules, now: datetime
) -> list[_Span]:
    """Tell what a slot is from now on: changes in order, the first one now."""
    lease = pool.holder(slot.id)
    held_until = now if lease is None else free_again(lease, rules, now)
    spans: list[_Span] = [(now, "leased")] if held_until > now else []
    if not slot.usable:
        return [*spans, (held_until, "out")]
    at = held_until
    for start, end in sorted((one.starts_at, one.ends_at) for one in reservations):
        if end <= at:
            continue
        if start > at:
            spans.append((at, "free"))
        spans.append((max(start, at), "reserved"))
        at = end
    return [*spans, (at, "free")]


def _steps(spans: Sequence[Sequence[_Span]], until: datetime) -> Iterator[Step]:
    """Add up what single slots are."""
    changes: dict[datetime, Counter[str]] = {}
    for span in spans:
        before = ""
        for at, state in span:
            change = changes.setdefault(at, Counter())
            change[state] += 1
            if before:
                change[before] -= 1
            before = state
    counts: Counter[str] = Counter()
    last: Step | None = None
    for at in sorted(changes):
        if last is not None and at >= until:
            return
        counts.update(changes[at])
        step = Step(at, counts["free"], counts["leased"], counts["reserved"], counts["out"])
        if last is None or replace(last, at=at) != step:
            yield step
        last = step


def _reserved(members: Iterable[Slot], times: dict[str, list[Reservation]], until: datetime) -> tuple[Busy, ...]:
    found: Counter[str] = Counter()
    known: dict[str, Reservation] = {}
    for slot in members:
        for one in times.get(slot.id, ()):
            if one.starts_at < until:
                found[one.id] += 1
                known[one.id] = one
    busy = [Busy(known[key].course, known[key].starts_at, known[key].ends_at, count) for key, count in found.items()]
    return tuple(sorted(busy, key=lambda one: (one.starts_at, one.course, one.ends_at)))


def coarse(steps: Sequence[Step], until: datetime, most: int) -> list[Step]:
    """Thin steps out to at most so many, evenly in time; each says the least that is free meanwhile.

    For pictures: nobody sees more than a few hundred.
    """
    if len(steps) <= most:
        return list(steps)
    begin = steps[0].at
    width = (until - begin) / most
    found: list[Step] = []
    place = 0
    for number in range(most):
        edge = begin + (number + 1) * width
        least = steps[place]
        while place + 1 < len(steps) and steps[place + 1].at < edge:
            place += 1
            if steps[place].free < least.free:
                least = steps[place]
        found.append(replace(least, at=begin + number * width))
        if place + 1 < len(steps) and steps[place + 1].at <= edge:
            place += 1
    return found
