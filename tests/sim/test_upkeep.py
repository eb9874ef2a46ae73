from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.accounting import Interval, decayed_ms, running_interval, spent, used_ms
from spawner.policy.leases import Lease, LeaseState
from spawner.sim.scenario import MONDAY
from spawner.sim.upkeep import Budgets, DecayedUse

MINUTES = st.integers(0, 30 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))
# From when to when after Monday, on how many slots.
SPANS = st.lists(st.tuples(MINUTES, MINUTES, st.integers(1, 8)), max_size=12)
WINDOW = timedelta(days=7)


def intervals(spans: list[tuple[timedelta, timedelta, int]]) -> list[Interval]:
    return [(MONDAY + min(one, other), MONDAY + max(one, other), slots) for one, other, slots in spans]


@given(SPANS, SPANS, MINUTES, st.integers(1, 40))
def test_decayed_use_is_the_policys(
    over: list[tuple[timedelta, timedelta, int]],
    going_on: list[tuple[timedelta, timedelta, int]],
    later: timedelta,
    days: int,
) -> None:
    half_life, now = timedelta(days=days), MONDAY + timedelta(days=30) + later
    use = DecayedUse(half_life, MONDAY)
    for start, end, slots in intervals(over):
        use.started("ann", slots, start)
        use.ended("ann", slots, end)
    for start, _, slots in intervals(going_on):
        use.started("ann", slots, start)
    use.set_time(now)
    right = decayed_ms(
        [*intervals(over), *((start, now, slots) for start, _, slots in intervals(going_on))], now, half_life
    )
    assert use.get("ann", 0.0) == pytest.approx(right, rel=1e-9, abs=1e-3)
    assert use.get("bob", 0.0) == 0.0
    assert set(use) <= {"ann"}


def lease(number: int, start: timedelta | None, end: timedelta, slots: int, *, releasing: bool) -> Lease:
    return Lease(
        f"l{number}",
        "ann",
        "",
        "gpu",
        LeaseState.RELEASING if releasing else LeaseState.ACTIVE if start is not None else LeaseState.PENDING,
        tuple(f"s{number}-{index}" for index in range(slots)),
        granted_at=MONDAY,
        ends_at=MONDAY + end,
        changed_at=MONDAY,
        started_at=None if start is None else MONDAY + start,
    )


LEASES = st.lists(st.tuples(st.none() | MINUTES, MINUTES, st.integers(1, 8), st.booleans()), max_size=3)


@given(SPANS, LEASES, st.lists(MINUTES, min_size=1, max_size=6))
def test_what_is_spent_is_the_policys(
    over: list[tuple[timedelta, timedelta, int]],
    held: list[tuple[timedelta | None, timedelta, int, bool]],
    looks: list[timedelta],
) -> None:
    budgets = Budgets(WINDOW, {"ann": intervals(over[:4])})
    for interval in intervals(over[4:]):
        budgets.book("ann", interval)
    leases = [
        lease(number, start, end, slots, releasing=releasing)
        for number, (start, end, slots, releasing) in enumerate(held)
    ]
    for look in sorted(looks):
        # What is booked has ended.
        now = MONDAY + timedelta(days=30) + look
        right, kept = spent(intervals(over), leases, now, WINDOW), budgets.spent("ann", leases, now)
        assert (kept.used_ms, kept.committed_ms, kept.gpus_held) == (
            right.used_ms,
            right.committed_ms,
            right.gpus_held,
        )
        assert sorted(kept.past) == sorted(right.past)
        running = [running_interval(each, now) for each in leases]
        assert kept.used_ms == used_ms([*intervals(over), *running], now, WINDOW)
