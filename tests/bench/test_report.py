import pytest
from rich.console import Console

from .clocks import Process, Reading, Work, machine_seconds, work
from .measure import Burst, Single, alternating
from .report import QUIET, Row, as_json, burst_rows, foreign, single_rows, spread, table

TICKS = 100


@pytest.fixture(autouse=True)
def _ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.clocks._TICKS", TICKS)


def test_machine_counts_work_and_neither_idling_nor_stolen_time() -> None:
    assert machine_seconds("cpu  100 20 300 9999 888 4 6 777 50 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n") == 4.3


def test_process_with_a_name_like_a_stat_line() -> None:
    text = "42 (a) R 1 (x) S 7 1 1 0 -1 0 0 0 0 0 100 50 20 5 20 0 1 0 12345 0"
    assert Process.parse(text) == Process(42, "a) R 1 (x", 7, 1.75)


def test_work_leaves_out_the_benchmark_and_the_idle_machine() -> None:
    before = Reading(machine=100, own=1, hub=10, proxy=1, engine=20)
    after = Reading(machine=130, own=2, hub=12, proxy=1.5, engine=24)
    spent = work(before, after, wall=10, idle_rate=0.1, containers=16, shims=3)
    assert spent.machine == pytest.approx(28)
    assert spent.attributed == pytest.approx(16 + 2 + 0.5 + 4 + 3)


def test_sides_take_turns_at_being_first() -> None:
    assert [side for _, side in alternating("AB", 3)] == list("ABBAAB")  # type: ignore[arg-type, comparison-overlap]


def test_median_and_spread() -> None:
    stock = Single([3.0, 2.0, 10.0], [1.0] * 3, [5.0] * 3, [2.0] * 3)
    ours = Single([1.0, 2.0, 1.2], [0.5] * 3, [4.0] * 3, [1.0] * 3)
    ready, lab, container, container_lab = single_rows(stock, ours, ready=True, container=True)
    assert (ready.stock, ready.ours, ready.met) == (3.0, 1.2, True)
    assert ready.ratio == pytest.approx(0.4)
    assert ready.spread == ("2.00 to 10.00", "1.00 to 2.00")
    assert (container.ratio, container.met) == (0.5, None)
    assert (lab.ratio, container_lab.ratio) == (0.8, 0.5)
    assert spread([1.0]) == ""


def test_burst_is_told_per_spawn() -> None:
    before, zero = Reading(0, 0, 0, 0, 0), 0.0
    stock, ours = Burst(4), Burst(4)
    for burst, machine in ((stock, 8.0), (stock, 12.0), (ours, 8.0)):
        burst.wall.append(machine)
        burst.work.append(work(before, Reading(machine, 0, 1, 0, 1), 1, zero, 2, 1))
    wall, whole, attributed, *parts = burst_rows(stock, ours)
    assert (wall.stock, wall.ours) == (10.0, 8.0)
    assert (whole.stock, whole.ours) == (2.5, 2.0)
    assert whole.ratio == pytest.approx(0.8)
    assert (attributed.stock, attributed.ours, attributed.met) == (1.25, 1.25, False)
    assert all(part.detail for part in parts)


@pytest.mark.parametrize(
    ("idle_rate", "machine", "judged"),
    [(0.02, 10.0, True), (1.5, 10.0, False), (0.02, 30.0, False), (0.02, 1.0, False)],
    ids=["quiet", "busy before", "busy meanwhile", "quieter than before"],
)
def test_whole_machine_is_judged_only_if_nobody_else_used_it(idle_rate: float, machine: float, judged: bool) -> None:
    burst = Burst(4, [10.0], [[10.0] * 4], [Work(machine, 7.0, 1.0, 0.1, 1.0, 0.2, idle_rate)])
    assert (foreign([burst]) <= QUIET) is judged
    assert (burst_rows(burst, burst)[1].aim is not None) is judged


def test_no_ratio_to_nothing() -> None:
    row = Row("proxy", 0.0, 0.1, aim=0.5)
    assert (row.ratio, row.met) == (None, None)


def test_table_and_json_tell_the_same() -> None:
    rows = [Row("(a) ready", 2.0, 1.0, 0.7), Row("hub", 0.5, 0.5, detail=True)]
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table(rows))
    assert "0.50" in captured.get()
    assert "<= 0.70 met" in captured.get()
    assert as_json(rows)[0] == {
        "what": "(a) ready",
        "stock_seconds": 2.0,
        "berth_seconds": 1.0,
        "ratio": 0.5,
        "aim": 0.7,
        "met": True,
    }
