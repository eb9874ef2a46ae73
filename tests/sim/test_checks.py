"""Each check finds what was planted, and nothing else."""

from dataclasses import astuple, replace

import pytest

from spawner.policy.leases import LeaseRules, Reservation
from spawner.policy.quota import Quota
from spawner.sim.checks import Checks, check, most_at_once
from spawner.sim.log import Down, Hold, Log
from spawner.sim.scenario import MONDAY, Demand, Workload

from .scripts import AMPLE, HOUR, demand, week

CLEAN = Checks(0, 0, 0, 0, 0)
WINDOW = LeaseRules().window


def hold(user: str, since: float, until: float, *slots: str, course: str = "", ran: bool = True) -> Hold:
    asked = demand(since, user, until - since, course=course, count=len(slots))
    begin, end = MONDAY + since * HOUR, MONDAY + until * HOUR
    return Hold("l", asked, slots, begin, end, begin if ran else None, end if ran else None, end if ran else None)


def checked(*holds: Hold, quota: Quota = AMPLE, **more: object) -> Checks:
    wanted: list[Demand] = [each.demand for each in holds]
    workload: Workload = week(*wanted, quota=quota)
    log = Log(holds=list(holds))
    for name, value in more.items():
        setattr(log, name, value)
    return check(workload, log, WINDOW)


def test_what_is_in_order_is() -> None:
    assert checked(hold("ann", 0, 2, "a"), hold("bob", 2, 3, "a"), hold("eve", 1, 4, "b")) == CLEAN


@pytest.mark.parametrize("since", [0.0, 1.0, 1.999])
def test_a_slot_held_twice_is_seen(since: float) -> None:
    found = checked(hold("bob", since, 3, "b", "a"), hold("ann", 0, 2, "a"))
    assert found == replace(CLEAN, double_leases=1)


def test_a_slot_held_within_a_longer_hold_is_seen() -> None:
    found = checked(hold("ann", 0, 10, "a"), hold("bob", 1, 2, "a"), hold("eve", 5, 6, "a"))
    assert found.double_leases == 2


def test_a_budget_exceeded_in_any_window_is_seen() -> None:
    ten = replace(AMPLE, gpu_hours=10.0)
    week_long = 7 * 24
    within = [hold("ann", 0, 3, "a", "b"), hold("ann", 160, 164, "a"), hold("ann", week_long + 3, week_long + 9, "a")]
    assert checked(*within, quota=ten) == CLEAN
    over = [*within, hold("ann", 100, 100.01, "c")]
    assert checked(*over, quota=ten) == replace(CLEAN, budget_errors=1)
    assert checked(*over) == CLEAN  # without a budget


def test_the_week_before_counts_towards_the_budget() -> None:
    this, past = hold("ann", 0, 6, "a"), {"ann": [(MONDAY - 5 * HOUR, MONDAY, 1)]}
    workload = week(this.demand, quota=replace(AMPLE, gpu_hours=10.0), past=past)
    assert check(workload, Log(holds=[this]), WINDOW).budget_errors == 1


def test_what_never_ran_costs_nothing() -> None:
    assert checked(hold("ann", 0, 20, "a", ran=False), quota=replace(AMPLE, gpu_hours=10.0)) == CLEAN


def test_sums_that_were_wrong_are_budget_errors() -> None:
    assert checked(hold("ann", 0, 1, "a"), mismatches=2) == replace(CLEAN, budget_errors=2)


def test_too_many_gpus_at_once_are_seen() -> None:
    one = replace(AMPLE, gpus=1)
    assert checked(hold("ann", 0, 1, "a"), hold("ann", 1, 2, "b"), quota=one) == CLEAN
    assert checked(hold("ann", 0, 1, "a"), hold("ann", 0.9, 2, "b"), quota=one) == replace(CLEAN, quota_errors=1)


def test_a_lease_on_a_gpu_out_of_service_is_seen() -> None:
    downs = [Down("a", MONDAY + HOUR, MONDAY + 2 * HOUR)]
    assert checked(hold("ann", 0, 2, "a"), hold("bob", 2, 3, "a"), downs=downs) == CLEAN
    assert checked(hold("ann", 1.5, 2, "a"), downs=downs) == replace(CLEAN, unusable_leases=1)


def test_a_seat_that_somebody_holds_is_seen() -> None:
    reservations = [Reservation("r", "maths", ("a", "b"), MONDAY + HOUR, MONDAY + 2 * HOUR)]
    students = (hold("ann", 0.9, 2, "a", course="maths"), hold("bob", 1.1, 2, "b", course="maths"))
    assert checked(*students, reservations=reservations) == CLEAN
    intruder = hold("eve", 0, 1.05, "b")
    assert checked(students[0], intruder, reservations=reservations) == replace(CLEAN, seats_taken=1)


def test_most_at_once() -> None:
    hours = [MONDAY + number * HOUR for number in range(4)]
    assert most_at_once([]) == 0
    assert most_at_once([(hours[0], hours[1], 2), (hours[1], hours[2], 3), (hours[1], hours[3], 1)]) == 4
    assert astuple(CLEAN) == (0, 0, 0, 0, 0)
