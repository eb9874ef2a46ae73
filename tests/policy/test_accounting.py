import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.accounting import (
    Interval,
    booked_end,
    decayed_ms,
    free_again_at,
    from_ms,
    hours_to_ms,
    idle_ms,
    idle_noted,
    length_ms,
    overlap_ms,
    spent,
    sure_ms,
    to_ms,
    used_ms,
)
from spawner.policy.leases import Lease, LeaseState, Spent

from .pools import HOUR, MINUTE, NOW, at, lease

MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
MS = timedelta(milliseconds=1)


@st.composite
def pasts(draw: st.DrawFn, span: int = 40) -> list[Interval]:
    """Draw intervals within the last `span` milliseconds; few, short and close, so that edges meet."""
    found = []
    for _ in range(draw(st.integers(0, 5))):
        older = draw(st.integers(0, span))
        newer = draw(st.integers(0, older))
        found.append((NOW - older * MS, NOW - newer * MS, draw(st.integers(1, 4))))
    return found


@given(st.lists(MOMENTS, min_size=2, max_size=8).map(sorted))
def test_adjoining_intervals_add_up_to_the_whole(moments: list[datetime]) -> None:
    parts = [length_ms(start, end) for start, end in pairwise(moments)]
    assert sum(parts) == length_ms(moments[0], moments[-1])
    assert all(part >= 0 for part in parts)


@given(MOMENTS)
def test_milliseconds_are_rounded_down(moment: datetime) -> None:
    assert timedelta(0) <= moment - from_ms(to_ms(moment)) < MS
    assert to_ms(from_ms(to_ms(moment))) == to_ms(moment)


@given(MOMENTS, MOMENTS, st.lists(MOMENTS, min_size=2, max_size=6).map(sorted))
def test_what_windows_split_is_neither_lost_nor_counted_twice(
    one: datetime, other: datetime, edges: list[datetime]
) -> None:
    start, end = sorted([one, other])
    split = [overlap_ms(start, end, begin, finish) for begin, finish in pairwise(edges)]
    assert sum(split) == overlap_ms(start, end, edges[0], edges[-1])


def test_a_window_is_split_exactly_at_its_edge() -> None:
    window = HOUR
    edge = NOW - window
    past = [(edge - MS, edge + MS, 3)]
    assert used_ms(past, NOW, window) == 3
    assert used_ms(past, NOW + MS, window) == 0
    assert used_ms(past, NOW - MS, window) == 6
    # What lies ahead of the window's end does not count yet.
    assert used_ms([(NOW - MS, NOW + HOUR, 2)], NOW, window) == 2


def test_hours_become_whole_milliseconds() -> None:
    assert hours_to_ms(1 / 3) == 1_200_000
    assert hours_to_ms(0) == 0
    assert hours_to_ms(math.inf) is None


# --- budgets --------------------------------------------------------------------------------------------------


def test_open_leases_are_used_up_to_now_and_committed_up_to_their_ends() -> None:
    window = 7 * 24 * HOUR
    leases = [
        lease("active", ["a", "b"], 30, started=-60),
        lease("pending", ["c"], 90, state=LeaseState.PENDING),
        lease("releasing", ["d"], 90, state=LeaseState.RELEASING, started=-10),
        lease("offered", ["e"], 15, state=LeaseState.OFFERED),
        lease("closed", ["f"], 90, state=LeaseState.CLOSED),
        lease("overdue", ["g"], -5, started=-20),
    ]
    past = [(NOW - 8 * 24 * HOUR, NOW - window + MINUTE, 1), (NOW - 9 * 24 * HOUR, NOW - window, 1)]
    found = spent(past, leases, NOW, window)
    minute = 60_000
    assert found.used_ms == (1 + 2 * 60 + 10 + 20) * minute
    assert found.committed_ms == (2 * 30 + 90 + 15) * minute
    assert found.gpus_held == 6
    assert past[0] in found.past
    assert past[1] not in found.past


def test_a_clock_that_steps_back_books_nothing() -> None:
    running = lease("l", ["a"], 30, started=10)
    assert spent([], [running], NOW, HOUR) == Spent(0, 30 * 60_000, 1, ((at(10), at(30), 1),))


@given(pasts(), st.integers(0, 60), st.integers(0, 60), st.integers(1, 30))
def test_free_again_is_the_first_moment_there_is(past: list[Interval], need: int, budget: int, window: int) -> None:
    def left(moment: int) -> bool:
        """Count millisecond by millisecond."""
        used = sum(
            slots
            for start, end, slots in past
            for ms in range(to_ms(start), to_ms(end))
            if ms >= to_ms(NOW) + moment - window
        )
        return used + need <= budget

    expected = next((from_ms(to_ms(NOW) + moment) for moment in range(100) if left(moment)), None)
    assert free_again_at(past, need, budget, NOW, window * MS) == expected


def test_running_leases_leave_the_window_too() -> None:
    window = 24 * HOUR
    # Half an hour used, as much to come.
    found = spent([], [lease("l", ["a"], 30, started=-30)], NOW, window)
    hour = 3_600_000
    assert free_again_at(found.past, hour, hour, NOW, window) == at(30) + window
    assert free_again_at(found.past, hour // 2, hour, NOW, window) == NOW + window
    assert free_again_at(found.past, hour, 2 * hour, NOW, window) == NOW


# --- fair share -----------------------------------------------------------------------------------------------


@given(pasts(span=4000), st.integers(100, 5000))
def test_decay_is_the_integral(past: list[Interval], life: int) -> None:
    total = 0.0
    steps = 400
    for start, end, slots in past:
        steps = 400
        width = (end - start) / MS / steps
        for step in range(steps):
            age = (NOW - end) / MS + (step + 0.5) * width
            total += slots * width * 2 ** (-age / life)
    assert decayed_ms(past, NOW, life * MS) == pytest.approx(total, rel=1e-3, abs=1e-9)


@given(pasts(span=4000), st.integers(10, 5000), st.integers(1, 5))
def test_decayed_use_halves_with_each_half_life(past: list[Interval], life: int, lives: int) -> None:
    before = decayed_ms(past, NOW, life * MS)
    assert decayed_ms(past, NOW + lives * life * MS, life * MS) == pytest.approx(before / 2**lives)


@given(pasts(span=4000), st.integers(10, 5000), st.integers(1, 3999))
def test_decayed_use_is_additive(past: list[Interval], life: int, cut: int) -> None:
    whole = decayed_ms(past, NOW, life * MS)
    assert whole == pytest.approx(sum(decayed_ms([one], NOW, life * MS) for one in past))
    edge = NOW - cut * MS
    older = [(min(start, edge), min(end, edge), slots) for start, end, slots in past]
    newer = [(max(start, edge), max(end, edge), slots) for start, end, slots in past]
    assert whole == pytest.approx(decayed_ms(older + newer, NOW, life * MS), abs=1e-6)


def test_old_and_future_use_weighs_nothing() -> None:
    hour = [(NOW - HOUR, NOW, 1)]
    assert decayed_ms(hour, NOW + 10_000 * 24 * HOUR, HOUR) == 0
    assert decayed_ms([(NOW + HOUR, NOW + 2 * HOUR, 1)], NOW, HOUR) == 0
    assert decayed_ms([(NOW - HOUR, NOW + HOUR, 1)], NOW, HOUR) == decayed_ms(hour, NOW, HOUR)


SOON = st.integers(-90_000, 90_000).map(lambda ms: NOW + ms * MS)


@st.composite
def running_leases(draw: st.DrawFn) -> Lease:
    """Draw leases that run, by clocks of which none need be right."""
    return replace(lease("l", ["a", "b"]), started_at=draw(SOON), seen_at=draw(st.none() | SOON))


@given(running_leases(), st.none() | SOON, SOON)
def test_what_is_sure_is_booked(held: Lease, ended_at: datetime | None, now: datetime) -> None:
    assert held.started_at is not None
    booked = length_ms(held.started_at, booked_end(held, ended_at, now)) * len(held.slots)
    assert 0 <= sure_ms(held) <= booked


@given(running_leases(), SOON, SOON)
def test_nothing_else_is_booked_than_the_engine_says(held: Lease, ended_at: datetime, now: datetime) -> None:
    assert held.started_at is not None
    seen = held.seen_at or held.started_at
    if max(held.started_at, seen) <= ended_at <= now:
        assert booked_end(held, ended_at, now) == ended_at
        assert booked_end(held, None, now) == max(held.started_at, seen)


def test_nothing_is_sure_before_a_server_is_ready() -> None:
    assert sure_ms(replace(lease("l", ["a"]), started_at=None)) == 0


NOTES = st.lists(st.tuples(SOON, st.booleans()), max_size=6)


@given(running_leases(), NOTES, st.none() | SOON, SOON)
def test_idle_time_is_never_more_than_what_is_booked(
    held: Lease, notes: list[tuple[datetime, bool]], ended_at: datetime | None, now: datetime
) -> None:
    started = held.started_at or now
    before = idle_ms(held, now)
    for moment, idle in notes:
        held = idle_noted(held, moment if idle else None, moment)
        assert held.idle_ms >= before  # what is over stays
        before = held.idle_ms
    end = booked_end(held, ended_at, now)
    assert 0 <= idle_ms(held, end) <= length_ms(started, end)
    closed = replace(held, state=LeaseState.CLOSED, idle_ms=idle_ms(held, end))
    assert idle_ms(closed, now) == idle_ms(held, end)


@given(st.lists(st.integers(0, 10_000_000), min_size=2, max_size=9), st.integers(0, 10_000_000))
def test_spells_of_idleness_add_up(lengths: list[int], rest: int) -> None:
    """At work and idle in turns: what is idle is the sum of every other length, to the millisecond."""
    now = NOW
    held = replace(lease("l", ["a", "b"]), started_at=now, seen_at=now)
    for number, length in enumerate(lengths):
        now += length * MS
        held = idle_noted(held, None if number % 2 else now, now)
    idle = sum(lengths[1::2])
    assert idle_ms(held, now) == idle
    assert idle_ms(held, now + rest * MS) == idle + (rest if len(lengths) % 2 else 0)


def test_nothing_is_idle_before_it_runs_nor_in_a_gap_that_nobody_saw() -> None:
    ready = replace(lease("l", ["a"]), started_at=None, seen_at=None)
    assert idle_ms(idle_noted(idle_noted(ready, NOW, NOW), None, NOW + HOUR), NOW + HOUR) == 0
    held = idle_noted(replace(ready, started_at=NOW), NOW, NOW)
    again = idle_noted(held, NOW + 3 * HOUR, NOW + HOUR)  # who looks was away for two hours
    assert idle_ms(again, NOW + 4 * HOUR) == 2 * 3_600_000
