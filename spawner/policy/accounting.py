"""GPU time: booked in whole milliseconds, split exactly at a window's edge, decayed for fair share."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, tzinfo

from .leases import Lease, LeaseState, Spent

Interval = tuple[datetime, datetime, int]
"""Start, end and number of slots held meanwhile."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_DAY_MS = 86_400_000


def to_ms(moment: datetime) -> int:
    """Give a time in whole milliseconds since 1970, rounded down."""
    return (moment - _EPOCH) // _MS


def from_ms(milliseconds: int) -> datetime:
    return _EPOCH + milliseconds * _MS


def length_ms(start: datetime, end: datetime) -> int:
    """Give the milliseconds from `start` to `end`, none if it ends first.

    The difference of the rounded times, so that the lengths of adjoining intervals add up to the whole's.
    """
    return max(0, to_ms(end) - to_ms(start))


def overlap_ms(start: datetime, end: datetime, begin: datetime, finish: datetime) -> int:
    """Give the milliseconds of an interval that lie within ``[begin, finish)``."""
    return length_ms(max(start, begin), min(end, finish))


def days(begin: datetime, finish: datetime, zone: tzinfo) -> Iterator[tuple[str, int, int]]:
    """List the days of a zone from `begin` to `finish`: each with its name, ``2027-03-01``, and its edges in ms."""
    day = begin.astimezone(zone).date()
    start = to_ms(datetime.combine(day, time(), zone))
    while start < to_ms(finish):
        name, day = f"{day:%Y-%m-%d}", day + timedelta(days=1)
        end = to_ms(datetime.combine(day, time(), zone))
        yield name, start, end
        start = end


def offsets(begin: datetime, finish: datetime, zone: tzinfo) -> Iterator[tuple[int, int]]:
    """List what a zone's clocks are ahead of UTC, in ms, each with the time from which on: first `begin`, all in ms."""

    def ahead(moment: int) -> int:
        return (from_ms(moment).astimezone(zone).utcoffset() or timedelta(0)) // _MS

    low, last = to_ms(begin), to_ms(finish)
    yield low, ahead(low)
    while low < last:
        high = min(low + _DAY_MS, last)
        if ahead(low) != ahead(high):
            change, after = low, high
            while after - change > 1:  # clocks change at most once a day
                middle = (change + after) // 2
                change, after = (middle, after) if ahead(middle) == ahead(low) else (change, middle)
            yield after, ahead(after)
        low = high


Tally = list[tuple[int, int]]
"""Per step: how many intervals begin (or end) in it, and the sum of how many milliseconds after its begin."""


def per_step(begun: Tally, ended: Tally, width: int) -> list[int]:
    """Give what lies in each step, in milliseconds, of intervals of which only begins and ends are counted.

    All but those that begin or end in a step and those before take the whole of it.
    """
    used, running = [], 0
    for (starts, late), (ends, early) in zip(begun, ended, strict=True):
        used.append((running + starts - ends) * width - late + early)
        running += starts - ends
    return used


def spread(intervals: Iterable[Interval], begin: datetime, finish: datetime, step: timedelta) -> list[int]:
    """Give the GPU-milliseconds of intervals within each step from `begin` to `finish`, a whole number of steps."""
    first, last, width = to_ms(begin), to_ms(finish), step // _MS
    tallies: list[Tally] = [[(0, 0)] * ((last - first) // width + 1) for _ in range(2)]
    for start, end, slots in intervals:
        edges = max(to_ms(start), first), min(to_ms(end), last)
        if edges[0] < edges[1]:
            for tally, edge in zip(tallies, edges, strict=True):
                place, over = divmod(edge - first, width)
                many, sum_over = tally[place]
                tally[place] = many + slots, sum_over + over * slots
    begun, ended = tallies
    return per_step(begun[:-1], ended[:-1], width)


def used_ms(intervals: Iterable[Interval], now: datetime, window: timedelta) -> int:
    """Give the GPU-milliseconds used in the rolling window that ends at `now`."""
    return sum(overlap_ms(start, end, now - window, now) * slots for start, end, slots in intervals)


def running_interval(lease: Lease, now: datetime) -> Interval:
    """Give what an open lease has used so far; nothing before its server was ready."""
    start = lease.started_at or now
    return start, max(start, now), len(lease.slots)


def booked_end(lease: Lease, ended_at: datetime | None, now: datetime) -> datetime:
    """Tell until when a lease that closes is booked: to its container's end, never into the future.

    Nor to a time before one at which the container was seen to run, whatever clocks say: so what counts for a running
    lease up to `Lease.seen_at` is never taken back.

    Parameters
    ----------
    ended_at
        The engine's finish time; None where nobody knows.
    """
    start = lease.started_at or now
    seen = max(start, lease.seen_at or start)
    return max(seen, min(ended_at or seen, now))


def sure_ms(lease: Lease) -> int:
    """Give the GPU-milliseconds of an open lease that are surely booked when it closes."""
    if lease.started_at is None:
        return 0
    return length_ms(lease.started_at, lease.seen_at or lease.started_at) * len(lease.slots)


def idle_ms(lease: Lease, until: datetime) -> int:
    """Give the milliseconds up to `until` that a lease was found idle, a spell that goes on included.

    Never more than it ran, whatever clocks say; a closed lease's as booked. Each of its slots was idle as long.
    """
    if lease.started_at is None or lease.state is LeaseState.CLOSED:
        return lease.idle_ms
    return min(lease.idle_ms + _spell_ms(lease, until), length_ms(lease.started_at, until))


def idle_noted(lease: Lease, since: datetime | None, until: datetime) -> Lease:
    """Note since when a lease does nothing, None if it works again.

    Parameters
    ----------
    until
        When the spell noted before was surely over; it is added to those that are.
    """
    return replace(lease, idle_since=since, idle_ms=lease.idle_ms + _spell_ms(lease, until))


def idle_part_ms(idle: int, start: int, end: int, begin: int, finish: int) -> int:
    """Give the part of an interval's idle time that is taken to lie within ``[begin, finish)``; all in milliseconds.

    Nobody noted when a closed lease was idle, so it is spread evenly. The parts of adjoining ranges add up to the
    whole, and none is longer than what of the interval lies in its range.
    """
    if end <= start or not idle:
        return 0
    first, last = min(max(begin, start), end) - start, min(max(finish, start), end) - start
    return idle * last // (end - start) - idle * first // (end - start) if first < last else 0


def _spell_ms(lease: Lease, until: datetime) -> int:
    if lease.idle_since is None or lease.started_at is None:
        return 0
    return length_ms(max(lease.idle_since, lease.started_at), until)


def spent(past: Iterable[Interval], open_leases: Iterable[Lease], now: datetime, window: timedelta) -> Spent:
    """Sum up a user's budget. Seats in courses are not in it: a class costs its students nothing of their own.

    Parameters
    ----------
    past
        Of the user's closed leases, as booked, without seats.
    open_leases
        The user's leases that hold slots.
    """
    leases = [lease for lease in open_leases if lease.state is not LeaseState.CLOSED and not lease.course]
    kept = [interval for interval in past if interval[1] > now - window]
    used = used_ms([*kept, *(running_interval(lease, now) for lease in leases)], now, window)
    going_on = [lease for lease in leases if lease.state is not LeaseState.RELEASING]
    committed = sum(length_ms(now, lease.ends_at) * len(lease.slots) for lease in going_on)
    kept += [_whole_interval(lease, now) for lease in leases]
    return Spent(used, committed, sum(len(lease.slots) for lease in leases), tuple(kept))


def _whole_interval(lease: Lease, now: datetime) -> Interval:
    """Give what an open lease uses if it runs to its end."""
    start, end, slots = running_interval(lease, now)
    return start, end if lease.state is LeaseState.RELEASING else max(end, lease.ends_at), slots


def hours_to_ms(hours: float) -> int | None:
    """Give GPU-hours in milliseconds; None for no bound."""
    return None if math.isinf(hours) else round(hours * 3_600_000)


def free_again_at(
    intervals: Iterable[Interval], need_ms: int, budget_ms: int, now: datetime, window: timedelta
) -> datetime | None:
    """Tell when so much has left the window that `need_ms` fits into the budget.

    Parameters
    ----------
    intervals
        What was used, and what running leases will use: as long as it has not left the window it counts.

    Returns
    -------
    datetime or None
        The first moment, to the millisecond; None if it never fits.
    """
    if need_ms > budget_ms:
        return None
    kept = [interval for interval in intervals if interval[1] > now - window]

    def fits(at: datetime) -> bool:
        return sum(length_ms(max(start, at - window), end) * slots for start, end, slots in kept) <= budget_ms - need_ms

    if fits(now):
        return now
    # Nothing comes in, so that a search by halves finds the first moment.
    low, high = to_ms(now), to_ms(max(end for _, end, _ in kept) + window) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(from_ms(middle)) else (middle, high)
    return from_ms(high)


def decayed_ms(intervals: Iterable[Interval], now: datetime, half_life: timedelta) -> float:
    """Weigh use by its age: a GPU-millisecond counts half after each half-life.

    The integral of ``2 ** (-age / half_life)`` over each interval, the limit of Slurm's PriorityDecayHalfLife for
    small steps.
    """
    life = half_life / _MS
    rate = life / math.log(2)
    total = 0.0
    for start, end, slots in intervals:
        older, newer = (now - start) / _MS, max(0.0, (now - end) / _MS)
        if older > newer:
            total += slots * rate * (2 ** (-newer / life) - 2 ** (-older / life))
    return total
