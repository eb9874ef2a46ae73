from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.sim.disciplines import DISCIPLINES, FAIR_SHARE, FIFO, PINNED, split
from spawner.sim.report import fairness, percentile, result_of
from spawner.sim.run import run
from spawner.sim.scenario import Scenario
from spawner.sim.workload import draw

from .scripts import demand, simulated, week

USERS = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.integers(1, 10**6), st.floats(0, 1)), min_size=1)


@given(USERS)
def test_jains_index_lies_between_one_nth_and_one(users: dict[str, tuple[int, float]]) -> None:
    asked = {user: want for user, (want, _) in users.items()}
    used = {user: int(want * part) for user, (want, part) in users.items()}
    assert 1 / len(users) - 1e-6 <= fairness(asked, used) <= 1


def test_jains_index() -> None:
    asked = {"ann": 100, "bob": 100, "eve": 10}
    assert fairness(asked, asked) == 1
    # 110 for all three: as eve wants 10 only, 50 for each of the others are fair.
    assert fairness(asked, {"ann": 50, "bob": 50, "eve": 10}) == 1
    one_got_all = fairness({"ann": 100, "bob": 100}, {"ann": 100})
    assert one_got_all == pytest.approx(0.5)
    assert fairness(asked, {"ann": 100, "bob": 10}) < 0.6
    assert fairness(asked, {}) == 1


@given(st.lists(st.integers(0, 1000), min_size=1).map(sorted), st.integers(1, 100))
def test_percentiles_are_nearest_ranks(ordered: list[int], percent: int) -> None:
    value = percentile(ordered, percent)
    assert sum(each <= value for each in ordered) >= len(ordered) * percent / 100
    assert sum(each < value for each in ordered) < len(ordered) * percent / 100


def test_nothing_has_no_percentile() -> None:
    assert percentile([], 95) == 0


def test_figures_of_a_week_by_hand() -> None:
    workload = week(
        demand(0, "ann", 2, startup=timedelta(0), stop_takes=timedelta(0)),
        demand(1, "bob", 1, startup=timedelta(0), stop_takes=timedelta(0), tail=timedelta(minutes=30)),
        days=1,
    )
    result = result_of(workload, FIFO, simulated(workload, FIFO))
    assert (result.waits["lab"].p50, result.waits["lab"].max) == (0, 3630)
    assert result.utilisation.busy == pytest.approx(3 / 24)
    assert result.utilisation.leased == pytest.approx(3.5 / 24, abs=1e-4)
    assert result.utilisation.busy_by_hour[:4] == pytest.approx((1, 1, 1 - 30 / 3600, 30 / 3600), abs=1e-4)
    assert (result.fairness, result.work_done) == (1, 1)
    assert result.ended == {"done": 2}
    assert result.starvation.longest == 3630


def test_the_bound_on_waiting_counts_who_is_before() -> None:
    # Each of a line of five for one GPU takes the longest lease.
    workload = week(*(demand(number / 100, f"user{number}", 24) for number in range(5)))
    result = result_of(workload, FAIR_SHARE, simulated(workload, FAIR_SHARE))
    assert result.starvation.beyond == 0
    # Two came before and wait still when the last one becomes impatient: 24 h and three turns of 24 h 2 min.
    assert result.starvation.longest == pytest.approx(4 * 24 * 3600, rel=0.01)
    assert result.starvation.bound == 24 * 3600 + 3 * (24 * 3600 + 2 * 60)


@pytest.mark.parametrize("gpus", [8, 64, 200])
def test_pinning_gives_every_gpu_to_one_row(gpus: int) -> None:
    workload = draw(Scenario(users=200, gpus=gpus, days=2))
    parts = split(workload)
    dealt = [slot.id for slots in parts.values() for slot in slots]
    assert sorted(dealt) == sorted(slot.id for slot in workload.slots)
    owners = {(slot.gpu, row) for row, slots in parts.items() for slot in slots}
    assert len(owners) == gpus


def test_the_disciplines_differ_as_they_should() -> None:
    workload = draw(Scenario(users=1000, gpus=128, days=5, seed=2, load=1.1))
    fair, fifo, pinned = (run(workload, DISCIPLINES[name]) for name in ("fair-share", "fifo", "pinned"))
    assert fair.fairness > max(fifo.fairness, pinned.fairness)
    assert fair.utilisation.busy > max(fifo.utilisation.busy, pinned.utilisation.busy)
    assert fair.waits["urgent"].p95 < fifo.waits["urgent"].p95
    assert fair.waits["students"].p95 < min(fifo.waits["students"].p95, pinned.waits["students"].p95)
    assert fair.seats.in_time >= max(fifo.seats.in_time, pinned.seats.in_time)
    assert fair.seats.kept / fair.seats.booked > 0.95
    assert fair.starvation.beyond == 0
    assert (fifo.seats.booked, PINNED.reserves) == (0, False)
