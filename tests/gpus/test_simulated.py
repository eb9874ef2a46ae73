from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import GpuProbeFailed
from spawner.gpus.readings import Activity, GpuProcess, Health, Holders
from spawner.gpus.scenario import LABEL, plain_scenario, read_scenario
from spawner.gpus.simulated import SimulatedProbe

from .conftest import START, Clock

GIB = 1 << 30
Simulate = Callable[..., SimulatedProbe]


@pytest.fixture
def simulate(tmp_path: Path, clock: Clock) -> Simulate:
    """Open a probe of a scenario written as YAML."""

    def simulate(text: str, *, node: str = "local", holders: Holders = dict) -> SimulatedProbe:
        path = tmp_path / "gpus.yaml"
        path.write_text(text)
        return SimulatedProbe(read_scenario(path), clock, node=node, holders=holders)

    return simulate


def test_plain_gpus(clock: Clock) -> None:
    probe = SimulatedProbe(plain_scenario(4), clock)
    inventory = probe.inventory()
    assert inventory.simulated
    assert probe.simulated
    assert [gpu.index for gpu in inventory.gpus] == [0, 1, 2, 3]
    assert {(gpu.model, gpu.memory, gpu.mig_mode) for gpu in inventory.gpus} == {("Simulated GPU", 16 * GIB, False)}
    assert len({gpu.uuid for gpu in inventory.gpus}) == 4
    assert all(gpu.uuid.startswith("SIM-") for gpu in inventory.gpus)
    assert all(gpu.health == Health(ecc_uncorrected=0) for gpu in inventory.gpus)
    assert probe.processes().found == ()
    assert probe.activity() == tuple(Activity(gpu.uuid, "", 0.0, 0) for gpu in inventory.gpus)


def test_uuids_outlive_restarts_and_differ_between_hosts(clock: Clock) -> None:
    def uuids(node: str, count: int) -> list[str]:
        return [gpu.uuid for gpu in SimulatedProbe(plain_scenario(count), clock, node=node).inventory().gpus]

    assert uuids("a", 3) == uuids("a", 3)
    assert uuids("a", 4)[:3] == uuids("a", 3)
    assert not set(uuids("a", 3)) & set(uuids("b", 3))
    # Known for good: leases in a ledger name them.
    assert uuids("local", 1) == ["SIM-33a32209-278e-585c-acaf-32b4699fcf53"]


def test_a_named_gpu_keeps_its_uuid_wherever_it_stands(simulate: Simulate) -> None:
    alone = simulate("gpus: [{name: mine, count: 2}]").inventory().gpus
    behind = simulate("gpus: [{model: T4}, {name: '0'}, {name: mine, count: 2}]").inventory().gpus
    assert [gpu.uuid for gpu in alone] == [gpu.uuid for gpu in behind[2:]]
    assert len({gpu.uuid for gpu in behind}) == 4


def test_what_a_file_describes(simulate: Simulate) -> None:
    inventory = simulate(
        """
        driver: "615.10"
        cuda: "13.0"
        gpus:
          - {model: T4, memory: 15 GiB, count: 2, island: left, compute_capability: "7.5"}
          - {model: Simulated A100, memory: 40 GiB, mig: [1g.5gb, {profile: 3g.20gb, memory: 19 GiB}]}
          - {model: A30, memory: 24 GiB, mig: []}
        """
    ).inventory()
    assert (inventory.driver, inventory.cuda) == ("615.10", "13.0")
    first, second, divided, empty = inventory.gpus
    assert (first.model, first.memory, first.island, first.compute_capability) == (
        "Simulated T4",
        15 * GIB,
        "left",
        "7.5",
    )
    assert second.uuid != first.uuid
    assert divided.model == "Simulated A100"
    assert [(mig.profile, mig.memory) for mig in divided.mig] == [("1g.5gb", 5 * GIB), ("3g.20gb", 19 * GIB)]
    assert len({mig.uuid for mig in divided.mig} | {gpu.uuid for gpu in inventory.gpus}) == 6
    assert all(mig.uuid.startswith("SIM-") for mig in divided.mig)
    assert (empty.mig_mode, empty.mig) == (True, ())
    assert all(LABEL in gpu.model for gpu in inventory.gpus)


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ("0.4", [(0, 0.4), (99999, 0.4)]),
        ("{pattern: constant, value: 1}", [(0, 1.0)]),
        ("{pattern: ramp, begin: 0.2, end: 0.8, over: 100}", [(-5, 0.2), (0, 0.2), (50, 0.5), (100, 0.8), (900, 0.8)]),
        # The clock begins at eight in the morning, UTC.
        ("{pattern: sine, low: 0, high: 1}", [(4 * 3600, 1.0), (16 * 3600, 0.0), (22 * 3600, 0.5)]),
        ("{pattern: sine, low: 0.5, high: 0.5, period: 60}", [(7, 0.5)]),
        ("{pattern: leased, busy: 0.9, idle: 0.1}", [(0, 0.1)]),
    ],
)
def test_load_patterns(simulate: Simulate, clock: Clock, load: str, expected: list[tuple[float, float]]) -> None:
    probe = simulate(f"gpus: [{{load: {load}}}]")
    for seconds, sm in expected:
        clock.now = START + timedelta(seconds=seconds)
        (activity,) = probe.activity()
        assert activity.sm == pytest.approx(sm)


def test_a_leased_gpu_is_busy_with_its_holders_process(clock: Clock) -> None:
    held: dict[str, tuple[int, ...]] = {}
    probe = SimulatedProbe(plain_scenario(3), clock, holders=lambda: held)
    whole, shared, free = (gpu.uuid for gpu in probe.inventory().gpus)
    held |= {whole: (100, 101), f"{shared}:1": (300,), f"{shared}:0": (200,), "GPU-other": (1,)}
    used = int(0.85 * 16 * GIB)
    assert probe.processes().found == (
        GpuProcess(100, whole, "", used),
        GpuProcess(200, shared, "", used // 2),
        GpuProcess(300, shared, "", used // 2),
    )
    assert probe.activity() == (
        Activity(whole, "", 0.85, used),
        Activity(shared, "", 0.85, used // 2 * 2),
        Activity(free, "", 0.0, 0),
    )


def test_mig_instances_are_held_one_by_one(simulate: Simulate) -> None:
    held: dict[str, tuple[int, ...]] = {}
    probe = simulate("gpus: [{memory: 40 GiB, mig: [1g.5gb, 1g.5gb]}]", holders=lambda: held)
    (gpu,) = probe.inventory().gpus
    held[gpu.mig[1].uuid] = (7,)
    assert [(one.mig, one.sm) for one in probe.activity()] == [(gpu.mig[0].uuid, 0.0), (gpu.mig[1].uuid, 0.85)]
    assert [(one.pid, one.mig) for one in probe.processes().found] == [(7, gpu.mig[1].uuid)]


def test_described_processes(simulate: Simulate, clock: Clock) -> None:
    held: dict[str, tuple[int, ...]] = {}
    probe = simulate(
        """
        gpus:
          - processes:
              - {pid: 4242, memory: 3 GiB}
              - {pid: 4243, memory: 1 GiB, begin: 10, end: 20}
              - {pid: holder, memory: 2 GiB}
              - {pid: holder, memory: 4 GiB, begin: 15}
        """,
        holders=lambda: held,
    )
    held[probe.inventory().gpus[0].uuid] = (8, 9)

    def running() -> dict[int, float]:
        return {process.pid: (process.memory or 0) / GIB for process in probe.processes().found}

    assert running() == {4242: 3, 8: 2}
    clock.forward(10)
    assert running() == {4242: 3, 4243: 1, 8: 2}
    assert probe.activity()[0].memory_used == 6 * GIB
    clock.forward(10)
    assert running() == {4242: 3, 8: 6}


def test_scripted_failures(simulate: Simulate, clock: Clock) -> None:
    probe = simulate(
        """
        gpus:
          - {}
          - mig: [1g.5gb, 1g.5gb]
            events:
              - {at: 40, what: back}
              - {at: 30, what: lost}
              - {at: 10, what: ecc}
              - {at: 20, what: ecc, count: 2}
              - {at: 50, what: xid, xid: 48}
        """
    )
    well, ill = probe.inventory().gpus
    seen = []
    for _ in range(6):
        other, gpu = probe.inventory().gpus
        assert other == well
        health = gpu.health
        seen.append((health.lost, health.ecc_uncorrected, health.xid))
        assert bool(health.problem) == (seen[-1] != (False, 0, None))
        assert ("simulated" in health.problem) == bool(health.problem)
        assert probe.processes().unread == ({ill.uuid} if health.lost else set())
        activity = probe.activity()
        assert (activity[1:] == (Activity(ill.uuid, "", None, None),)) == health.lost
        assert len(activity) == (2 if health.lost else 3)
        clock.forward(10)
    assert seen == [
        (False, 0, None),
        (False, 1, None),
        (False, 3, None),
        (True, 3, None),
        (False, 0, None),
        (False, 0, 48),
    ]


def test_a_start_that_several_processes_share(simulate: Simulate, clock: Clock) -> None:
    text = "{starts_at: 2026-11-21T07:59:00Z, gpus: [{events: [{at: 70, what: lost}]}]}"
    early = simulate(text)
    clock.forward(5)
    late = simulate(text)
    assert early.inventory() == late.inventory()
    assert not late.inventory().gpus[0].health.lost
    clock.forward(5)
    assert early.inventory() == late.inventory()
    assert late.inventory().gpus[0].health.lost


@given(steps=st.lists(st.integers(-10_000, 10_000), max_size=8), count=st.integers(1, 5))
def test_the_same_clock_gives_the_same_readings(steps: list[int], count: int) -> None:
    clock = Clock()
    held = {"x": (1,)}
    one, other = (SimulatedProbe(plain_scenario(count), clock, holders=lambda: held) for _ in range(2))
    for step in steps:
        clock.forward(step)
        assert one.inventory() == other.inventory()
        assert one.activity() == other.activity()
        assert one.processes() == other.processes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a key `gpus` with a list"),
        ("[1]", "expected a key `gpus` with a list"),
        ("gpus: [", "not YAML: "),
        ("{gpus: [], gpus: []}", "not YAML: the key gpus stands there twice"),
        ("{}", "gpus: is missing."),
        ("gpus: 3", "gpus: expected: "),
        ("gpus: [{modell: A100}]", "gpus[0].modell: no such key."),
        (
            "gpus: [{}, {memory: lots}]",
            'gpus[1].memory: expected: a size such as "2 GiB" or "512 MiB" (found: \'lots\').',
        ),
        ("gpus: [{count: 0}]", "gpus[0].count: expected: greater than or equal to 1 (found: 0)."),
        ("gpus: [{count: 600}, {count: 600}]", "expected: at most 1024 GPUs."),
        ("gpus: [{load: 1.5}]", "gpus[0].load.value: expected: less than or equal to 1 (found: 1.5)."),
        (
            "gpus: [{load: {pattern: zigzag}}]",
            "gpus[0].load: expected: a number from 0 to 1, or a pattern: constant, sine, ramp, leased.",
        ),
        (
            "gpus: [{load: often}]",
            "gpus[0].load: expected: a number from 0 to 1, or a pattern: constant, sine, ramp, leased",
        ),
        ("gpus: [{load: {pattern: ramp}}]", "gpus[0].load.over: is missing."),
        ("gpus: [{mig: [7x]}]", "gpus[0].mig[0].profile: expected: a MIG profile such as 1g.5gb (found: '7x')."),
        ("gpus: [{mig: [3g.20gb]}]", "gpus[0]: expected: MIG instances that have no more memory together"),
        ("gpus: [{mig: [], processes: [{pid: 1, memory: 1G}]}]", "gpus[0]: expected: processes of each MIG instance"),
        (
            "gpus: [{processes: [{pid: nobody, memory: 1G}]}]",
            "gpus[0].processes[0].pid: expected: a process number, or holder (found: 'nobody').",
        ),
        ("gpus: [{processes: [{pid: 3}]}]", "gpus[0].processes[0].memory: is missing."),
        ("gpus: [{processes: [{pid: 3, memory: 1G, begin: 5, end: 5}]}]", "expected: an end after its begin."),
        ("gpus: [{events: [{at: 1, what: fire}]}]", "gpus[0].events[0].what: expected: 'lost'"),
        ("gpus: [{events: [{what: lost}]}]", "gpus[0].events[0].at: is missing."),
        ("gpus: [{name: a}, {name: a}]", "expected: one entry per name; a stands there twice."),
        ("{starts_at: 2026-11-21T08:00:00, gpus: []}", "starts_at: expected: a time with its zone"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "gpus.yaml"
    path.write_text(text)
    with pytest.raises(GpuProbeFailed) as raised:
        read_scenario(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1 or "not YAML" in words


def test_every_mistake_has_a_line(tmp_path: Path) -> None:
    path = tmp_path / "gpus.yaml"
    path.write_text("{driver: new, gpus: [{count: x}, {island: 3}]}")
    with pytest.raises(GpuProbeFailed) as raised:
        read_scenario(path)
    assert [line.split(": ")[1] for line in str(raised.value).splitlines()] == [
        "driver",
        "gpus[0].count",
        "gpus[1].island",
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GpuProbeFailed, match=r"cannot be read: No such file"):
        read_scenario(tmp_path / "none.yaml")
