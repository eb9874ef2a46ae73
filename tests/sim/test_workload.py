from collections import Counter
from dataclasses import replace

import pytest

from spawner.policy.accounting import hours_to_ms, used_ms
from spawner.policy.leases import LeaseRules
from spawner.sim.people import COURSES, GROUPS
from spawner.sim.scenario import Scenario
from spawner.sim.workload import draw

SMALL = Scenario(users=400, gpus=64, days=7, seed=3)


def test_the_same_scenario_gives_the_same_workload() -> None:
    assert draw(SMALL) == draw(SMALL)


def test_another_seed_gives_another() -> None:
    assert draw(SMALL).demands != draw(replace(SMALL, seed=4)).demands


@pytest.mark.parametrize("seed", range(3))
def test_a_workload_is_whole(seed: int) -> None:
    workload = draw(replace(SMALL, seed=seed))
    scenario = workload.scenario
    known = {slot.id for slot in workload.slots}
    assert [demand.id for demand in workload.demands] == list(range(len(workload.demands)))
    assert list(workload.demands) == sorted(workload.demands, key=lambda demand: demand.at)
    assert {demand.row for demand in workload.demands} == {*(group.name for group in GROUPS), COURSES}
    assert all(scenario.starts_at <= session.booked_at < session.starts_at for session in workload.sessions)
    assert all(session.ends_at <= scenario.ends_at for session in workload.sessions)
    assert {outage.kills for outage in workload.outages} == {True, False}
    assert all(set(outage.slots) <= known for outage in workload.outages)
    assert any(demand.tail.days for demand in workload.demands), "nobody hoards"
    assert any(demand.crashes_after for demand in workload.demands), "nothing crashes"


def test_there_are_days_nights_and_weekends() -> None:
    hours = Counter((demand.at.weekday() >= 5, demand.at.hour) for demand in draw(SMALL).demands)
    weekday = {hour: hours[False, hour] / 5 for hour in range(24)}
    assert sum(weekday[hour] for hour in range(9, 18)) > 4 * sum(weekday[hour] for hour in range(6))
    assert sum(hours[True, hour] for hour in range(24)) / 2 < sum(weekday.values()) / 2


def test_what_is_asked_for_follows_the_load() -> None:
    def gpu_hours(load: float) -> float:
        demands = draw(replace(SMALL, load=load)).demands
        return sum(demand.count * demand.work.total_seconds() / 3600 for demand in demands if demand.kinds)

    assert 1.7 < gpu_hours(1.2) / gpu_hours(0.6) < 2.4


def test_nobody_starts_over_budget() -> None:
    workload, rules = draw(SMALL), LeaseRules()
    assert workload.past
    for user, intervals in workload.past.items():
        budget = hours_to_ms(workload.quotas[user.split("-")[0]].gpu_hours)
        assert budget is None or used_ms(intervals, SMALL.starts_at, rules.window) <= 0.7 * budget
        assert all(end <= SMALL.starts_at for _, end, _ in intervals)
