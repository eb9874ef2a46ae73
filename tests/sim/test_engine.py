"""Weeks drawn from seeds: what must hold in each, under each discipline."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.policy.accounting import length_ms
from spawner.sim.disciplines import DISCIPLINES, FAIR_SHARE, FIFO, PINNED, Discipline
from spawner.sim.engine import Simulation
from spawner.sim.log import Outcome
from spawner.sim.run import run
from spawner.sim.scenario import MONDAY, Outage, Scenario, Session
from spawner.sim.workload import draw

from .scripts import AMPLE, HOUR, MINUTE, asked_by, demand, simulated, waits, week

ALL = pytest.mark.parametrize("discipline", DISCIPLINES.values(), ids=lambda discipline: discipline.name)
SCENARIOS = st.builds(
    Scenario,
    users=st.integers(10, 200),
    gpus=st.integers(1, 64),
    days=st.integers(1, 4),
    seed=st.integers(0, 10**6),
    load=st.sampled_from([0.3, 0.9, 1.5, 3.0]),
    per_node=st.sampled_from([2, 4, 8]),
)


@ALL
@settings(max_examples=15, deadline=None)
@given(scenario=SCENARIOS)
def test_what_must_never_happen_never_does(discipline: Discipline, scenario: Scenario) -> None:
    workload = draw(scenario)
    log = Simulation(workload, discipline).run()
    assert set(asdict(run(workload, discipline).checks).values()) == {0}
    # Every request is answered, and every lease belongs to one.
    outcomes = Counter(each.outcome for each in log.asked)
    assert outcomes[Outcome.SERVED] == len(log.holds)
    assert all(each.at <= each.until <= scenario.ends_at for each in log.asked)
    assert all((each.outcome is Outcome.DENIED) == bool(each.code) for each in log.asked)
    assert len({id(each.demand) for each in log.asked if each.demand.attempt == 0}) == len(
        [each for each in workload.demands if each.at < scenario.ends_at]
    )
    for hold in log.holds:
        assert hold.since < hold.until <= scenario.ends_at
        assert len({slot.split(":")[0] for slot in hold.slots}) == hold.demand.count
        if hold.ended_at is not None and hold.started_at is not None:
            assert hold.since <= hold.started_at <= hold.ended_at <= hold.until
    # Nobody works longer than they wanted to.
    worked: Counter[int] = Counter()
    for hold in log.holds:
        if hold.started_at is not None and hold.worked_until is not None:
            worked[hold.demand.id] += length_ms(hold.started_at, hold.worked_until)
    wanted = {each.id: each.work // timedelta(milliseconds=1) for each in workload.demands}
    assert all(done <= wanted[number] for number, done in worked.items())


def digest(scenario: Scenario, discipline: Discipline) -> str:
    figures = json.dumps(run(draw(scenario), discipline).as_json(), sort_keys=True)
    return hashlib.sha256(figures.encode()).hexdigest()


@ALL
def test_a_run_is_repeatable_whatever_the_order_of_sets(discipline: Discipline) -> None:
    scenario = Scenario(users=300, gpus=64, days=3, seed=11, load=1.3)
    program = (
        "from tests.sim.test_engine import digest; from spawner.sim.disciplines import DISCIPLINES; "
        "from spawner.sim.scenario import Scenario; "
        f"print(digest({scenario!r}, DISCIPLINES[{discipline.name!r}]))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hashes in ("1", "77")
    }
    assert found == {digest(scenario, discipline)}


def test_who_used_much_waits_for_who_used_little() -> None:
    # Ann has had the GPU all morning; she and Bob both want it next, she first.
    demands = (demand(0, "ann", 8), demand(6, "ann", 3), demand(7, "bob", 3))
    assert waits(simulated(week(*demands), FAIR_SHARE))["bob"] < 2
    fair, fifo = simulated(week(*demands), FAIR_SHARE), simulated(week(*demands), FIFO)
    assert [each.demand.user for each in fair.holds] == ["ann", "bob", "ann"]
    assert [each.demand.user for each in fifo.holds] == ["ann", "ann", "bob"]


def test_a_short_job_fits_in_before_a_large_one() -> None:
    # One GPU is free for four hours, until both are for Bob.
    demands = (
        demand(0, "ann", 6, hours=6.5),
        demand(1, "bob", 2, count=2, hours=3.0),
        demand(2, "eve", 1, hours=2.0),
        demand(2.1, "ivy", 1, hours=12.0),
    )
    fair = waits(simulated(week(*demands, gpus=2), FAIR_SHARE))
    fifo = waits(simulated(week(*demands, gpus=2), FIFO))
    assert fair["eve"] == 0
    assert fifo["eve"] > 4
    assert fair["bob"] == pytest.approx(fifo["bob"], abs=0.02), "backfill makes nobody wait longer"
    assert fair["ivy"] > 4, "too long to fit in"


def test_pinned_gpus_idle_beside_a_queue() -> None:
    demands = (
        demand(0, "ann", 5, group="chemistry", row="chemistry"),
        demand(0.1, "bob", 5, group="chemistry", row="chemistry"),
        demand(9, "eve", 10, group="physics", row="physics"),
    )
    assert waits(simulated(week(*demands, gpus=2), FAIR_SHARE))["bob"] == 0
    assert waits(simulated(week(*demands, gpus=2), PINNED))["bob"] > 4


def test_a_class_finds_its_seats() -> None:
    session = Session("s", "maths", MONDAY + HOUR, MONDAY + 9 * HOUR, MONDAY + 11 * HOUR, seats=2, memory=1 << 34)
    demands = (
        *(demand(5 + number, f"user{number}", 20, hours=24.0) for number in range(2)),
        *(demand(9.01, f"student{number}", 1.9, course="maths", row="courses", hours=2.0) for number in range(2)),
    )
    workload = week(*demands, gpus=2, sessions=(session,))
    fair, fifo = simulated(workload, FAIR_SHARE), simulated(workload, FIFO)
    assert waits(fair)["student0"] == waits(fair)["student1"] == 0
    assert waits(fifo)["student0"] > 1
    assert [reservation.id for reservation in fair.reservations] == ["s"]
    # Who was cut short comes back for the rest.
    assert len(asked_by(fair, "user0")) == 2


def test_idle_gpus_are_taken_back_unless_they_look_busy() -> None:
    hoarders = (
        demand(0, "ann", 1, tail=20 * HOUR),
        demand(0, "bob", 1, tail=20 * HOUR, dodges=True),
    )
    log = simulated(week(*hoarders, gpus=2), FAIR_SHARE)
    held = {hold.demand.user: (hold.ended_at or MONDAY) - (hold.started_at or MONDAY) for hold in log.holds}
    assert {hold.demand.user: hold.why for hold in log.holds} == {"ann": "idle", "bob": "done"}
    assert held == {"ann": 2 * HOUR, "bob": 21 * HOUR}


def test_a_lease_is_extended_while_nobody_waits() -> None:
    long = demand(0, "ann", 5, hours=2.0)
    alone = simulated(week(long), FAIR_SHARE)
    assert alone.extensions["extended"] >= 1
    assert [hold.why for hold in alone.holds] == ["done"]
    waited_for = simulated(week(long, demand(1, "bob", 1)), FAIR_SHARE)
    assert waited_for.extensions == {"others_wait": 1, "extended": 1}
    assert [(hold.demand.user, hold.why) for hold in waited_for.holds] == [
        ("ann", "expired"),
        ("bob", "done"),
        ("ann", "done"),
    ]


def test_work_that_crashes_goes_on_later() -> None:
    log = simulated(week(demand(0, "ann", 4, crashes_after=HOUR, start_fails=True)), FAIR_SHARE)
    assert [hold.why for hold in log.holds] == ["start_failed", "done"]
    log = simulated(week(demand(0, "ann", 4, crashes_after=HOUR)), FAIR_SHARE)
    assert [(hold.why, (hold.worked_until or MONDAY) - (hold.started_at or MONDAY)) for hold in log.holds] == [
        ("crashed", HOUR),
        ("done", 3 * HOUR),
    ]


@pytest.mark.parametrize("kills", [True, False])
def test_a_gpu_out_of_service_gets_no_lease(kills: bool) -> None:
    workload = week(demand(0, "ann", 2), demand(3, "bob", 1))
    outage = Outage(MONDAY + HOUR, MONDAY + 6 * HOUR, (workload.slots[0].id,), kills)
    log = simulated(week(demand(0, "ann", 2), demand(3, "bob", 1), outages=(outage,)), FAIR_SHARE)
    assert log.holds[0].why == ("lost" if kills else "done")
    assert min(each.until for each in asked_by(log, "bob")) >= MONDAY + 6 * HOUR


def test_an_offer_that_nobody_takes_goes_to_the_next() -> None:
    demands = (
        demand(0, "ann", 1, stop_takes=MINUTE),
        demand(0.1, "bob", 1, takes_after=6 * MINUTE),
        demand(0.2, "eve", 1),
    )
    log = simulated(week(*demands), FAIR_SHARE)
    assert log.lapsed_offers == 1
    assert [(hold.demand.user, hold.why) for hold in log.holds] == [
        ("ann", "done"),
        ("bob", "offer_lapsed"),
        ("eve", "done"),
    ]
    taken_in_time = (demands[0], demand(0.1, "bob", 1, takes_after=4 * MINUTE))
    assert [hold.why for hold in simulated(week(*taken_in_time), FAIR_SHARE).holds] == ["done", "done"]


def test_who_waits_too_long_gives_up_and_who_will_not_wait_leaves() -> None:
    log = simulated(
        week(demand(0, "ann", 9), demand(1, "bob", 1, waits=2 * HOUR), demand(1, "eve", 1, leaves=True)), FAIR_SHARE
    )
    assert {each.demand.user: each.outcome for each in log.asked} == {
        "ann": Outcome.SERVED,
        "bob": Outcome.GAVE_UP,
        "eve": Outcome.LEFT,
    }
    assert waits(log)["bob"] == 2


def test_a_budget_refuses() -> None:
    ten = replace(AMPLE, gpu_hours=10.0)
    log = simulated(week(demand(0, "ann", 6, hours=6.0), demand(8, "ann", 6, hours=6.0), quota=ten), FAIR_SHARE)
    assert [each.code for each in log.asked] == ["", "over_budget"]
