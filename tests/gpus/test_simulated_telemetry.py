from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import GpuProbeFailed
from spawner.gpus.loads import Constant, Leased, Pattern, Ramp, Sine, load_at, load_seconds
from spawner.gpus.readings import GpuReading, Health, Holders
from spawner.gpus.scenario import Event, GpuSpec, MigSpec, ProcessSpec, Scenario, plain_scenario, read_scenario
from spawner.gpus.simulated import SimulatedProbe
from spawner.gpus.telemetry import (
    THROTTLE_REASONS,
    Absence,
    GpuTelemetry,
    MigUse,
    ProcessUse,
    Telemetry,
    Throughput,
)

from ..support.waiting import eventually
from .conftest import START, Clock

GIB = 1 << 30
Simulate = Callable[..., SimulatedProbe]


@pytest.fixture
def simulate(clock: Clock, tmp_path: Path) -> Simulate:
    """Open a probe of one GPU, whose keys are given as YAML."""

    def simulate(gpu: str, *, holders: Holders = dict, timeout: float = 20) -> SimulatedProbe:
        path = tmp_path / "gpus.yaml"
        path.write_text(f"gpus: [{{{gpu}}}]")
        return SimulatedProbe(read_scenario(path), clock, holders=holders, timeout=timeout)

    return simulate


def one(probe: SimulatedProbe) -> GpuTelemetry:
    (gpu,) = probe.telemetry().gpus
    return gpu


def test_a_busy_gpu_value_by_value(simulate: Simulate, clock: Clock) -> None:
    probe = simulate(
        "model: A100, memory: 40 GiB, island: left, power: 400, load: 0.5, "
        "processes: [{pid: 4242, memory: 3 GiB}, {pid: 4243, memory: 1 GiB}]"
    )
    (gpu,) = probe.inventory().gpus
    clock.forward(100)
    assert probe.telemetry() == Telemetry(
        (
            GpuTelemetry(
                GpuReading(gpu.uuid, 0, "Simulated A100", 40 * GIB, "8.0", "left", health=Health(ecc_uncorrected=0)),
                sm=0.5,
                memory_io=0.3,
                encoder=0.0,
                decoder=0.0,
                memory_used=4 * GIB,
                memory_free=36 * GIB,
                memory_total=40 * GIB,
                power=230.0,
                power_limit=400.0,
                energy=23000.0,
                temperatures={"gpu": 55.0, "memory": 61.0},
                slowdown=90.0,
                clocks={"graphics": 1410e6, "sm": 1410e6, "memory": 1215e6, "video": 1290e6},
                clocks_max={"graphics": 1410e6, "sm": 1410e6, "memory": 1215e6, "video": 1290e6},
                throttled=dict.fromkeys(THROTTLE_REASONS, False),
                pcie=Throughput(1e9, 4e9),
                nvlink=Throughput(5e11, 5e11),
                ecc={"corrected": 0, "uncorrected": 0},
                processes=(ProcessUse(4242, "", 3 * GIB, 0.25), ProcessUse(4243, "", GIB, 0.25)),
            ),
        ),
        "550.54.15",
        "12.4",
        simulated=True,
    )


def test_an_idle_gpu(clock: Clock) -> None:
    probe = SimulatedProbe(plain_scenario(1), clock)
    read = one(probe)
    assert (read.sm, read.memory_used, read.processes, read.energy) == (0.0, 0, (), 0.0)
    assert read.power == pytest.approx(45)
    assert read.clocks["sm"] == 210e6
    assert read.nvlink is None
    assert probe.telemetry().absences == (Absence(read.gpu.uuid, "nvlink", "not_supported"),)


def test_a_leased_gpu_works_for_its_holders(clock: Clock) -> None:
    held: dict[str, tuple[int, ...]] = {}
    probe = SimulatedProbe(plain_scenario(1), clock, holders=lambda: held)
    read = one(probe)
    held |= {f"{read.gpu.uuid}:0": (8,), f"{read.gpu.uuid}:1": (9,)}
    read = one(probe)
    assert read.sm == 0.85
    assert [(use.pid, use.sm) for use in read.processes or ()] == [(8, 0.425), (9, 0.425)]
    clock.forward(10)
    busy = one(probe)
    held.clear()
    one(probe)
    clock.forward(10)
    idle = one(probe)
    assert busy.energy == pytest.approx(10 * 300 * (0.15 + 0.85 * 0.85))
    assert busy.energy is not None
    assert idle.energy == pytest.approx(busy.energy + 10 * 300 * 0.15)


def test_mig_instances(simulate: Simulate) -> None:
    probe = simulate(
        "memory: 40 GiB, mig: [{profile: 3g.20gb, load: 0.8, processes: [{pid: 7, memory: 2 GiB}]}, 1g.5gb]"
    )
    read = one(probe)
    large, small = read.gpu.mig
    assert read.mig == (
        MigUse(large.uuid, "3g.20gb", 2 * GIB, 20 * GIB, 0.8),
        MigUse(small.uuid, "1g.5gb", 0, 5 * GIB, 0.0),
    )
    assert read.sm == pytest.approx(0.4)
    assert read.memory_used == 2 * GIB
    assert read.processes == (ProcessUse(7, large.uuid, 2 * GIB, 0.8),)


def test_events(simulate: Simulate, clock: Clock) -> None:
    probe = simulate(
        """
        load: 0.5, events: [
          {at: 10, what: hot}, {at: 20, what: back},
          {at: 30, what: throttle, reason: sync_boost, lasts: 10},
          {at: 50, what: hot, temperature: 80, lasts: 5},
          {at: 60, what: ecc, corrected: true, count: 5}, {at: 60, what: ecc, count: 2},
          {at: 70, what: xid, xid: 13}, {at: 70, what: xid, xid: 79}, {at: 71, what: xid, xid: 79},
          {at: 80, what: lost}, {at: 90, what: back}]
        """
    )
    seen: dict[int, GpuTelemetry] = {}
    for second in range(0, 100, 5):
        seen[second] = one(probe)
        clock.forward(5)

    def held_down(second: int) -> set[str]:
        return {reason for reason, held in seen[second].throttled.items() if held}

    assert [second for second in seen if held_down(second)] == [10, 15, 30, 35]
    assert held_down(10) == {"hw_slowdown", "hw_thermal"}
    assert held_down(30) == {"sync_boost"}
    assert seen[30].clocks["sm"] == seen[30].clocks_max["sm"] / 2
    assert [seen[second].temperatures["gpu"] for second in (5, 10, 20, 50, 55)] == [55, 95, 55, 80, 55]
    assert seen[60].ecc == {"corrected": 5, "uncorrected": 2}
    assert seen[60].gpu.health.ecc_uncorrected == 2
    assert seen[75].xids == seen[95].xids == {13: 1, 79: 2}
    assert seen[75].gpu.health.xid == 79
    lost = seen[80]
    assert (lost.up, lost.sm, lost.processes, lost.xids) == (False, None, None, {13: 1, 79: 2})
    assert (seen[95].up, seen[95].ecc, seen[95].gpu.health.problem) == (True, {"corrected": 0, "uncorrected": 0}, "")


def test_a_lost_gpu_has_one_absence(simulate: Simulate) -> None:
    probe = simulate("events: [{at: 0, what: lost}]")
    (gpu,) = probe.inventory().gpus
    assert probe.telemetry().absences == (Absence(gpu.uuid, "gpu", "lost"),)


def test_an_error_of_a_program_does_not_speak_against_a_gpu(simulate: Simulate) -> None:
    probe = simulate("events: [{at: 0, what: xid, xid: 31}, {at: 0, what: ecc, corrected: true}]")
    assert one(probe).xids == {31: 1}
    assert one(probe).gpu.health == Health(ecc_uncorrected=0)


def test_a_driver_that_hangs_for_a_while(simulate: Simulate, clock: Clock) -> None:
    probe = simulate("events: [{at: 10, what: hang, lasts: 30}]", timeout=0.2)
    assert one(probe).up
    clock.forward(10)
    for words in ("did not answer within 0.2 s", "has not answered for"):
        with pytest.raises(GpuProbeFailed, match=words) as raised:
            probe.telemetry()
        assert raised.value.reason == "timeout"
    for read in (probe.inventory, probe.processes, probe.activity):
        with pytest.raises(GpuProbeFailed, match="The simulated driver has not answered"):
            read()
    clock.forward(30)
    eventually(lambda: _answers(probe))
    probe.close()


def _answers(probe: SimulatedProbe) -> bool:
    try:
        return one(probe).up
    except GpuProbeFailed:
        return False


def test_a_driver_that_is_slow(simulate: Simulate) -> None:
    slow = "events: [{at: 0, what: slow, delay: 0.3}]"
    assert one(simulate(slow)).up
    with pytest.raises(GpuProbeFailed, match=r"did not answer within 0.1 s"):
        simulate(slow, timeout=0.1).telemetry()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("{at: 1, what: lost, xid: 79}", "events[0]: expected: no xid for what is lost"),
        ("{at: 1, what: back, lasts: 3, count: 2}", "events[0]: expected: no count and no lasts for what is back"),
        ("{at: 1, what: hot, temperature: 1000}", "events[0].temperature: expected: less than or equal to 150"),
        ("{at: 1, what: throttle, reason: whim}", "events[0].reason: expected: 'power_cap', 'hw_slowdown'"),
        ("{at: 1, what: hang, lasts: 0}", "events[0].lasts: expected: greater than 0"),
        ("{at: 1, what: slow, delay: 0}", "events[0].delay: expected: greater than 0"),
    ],
)
def test_what_is_wrong_in_an_event_is_named(simulate: Simulate, event: str, words: str) -> None:
    with pytest.raises(GpuProbeFailed) as raised:
        simulate(f"events: [{event}]")
    assert words in str(raised.value)


# --- properties ---------------------------------------------------------------------------------------------------

ratios = st.floats(0, 1)
loads: st.SearchStrategy[Pattern] = st.one_of(
    st.builds(Constant, pattern=st.just("constant"), value=ratios),
    st.builds(Sine, pattern=st.just("sine"), low=ratios, high=ratios, period=st.floats(1, 1e5)),
    st.builds(Ramp, pattern=st.just("ramp"), begin=ratios, end=ratios, over=st.floats(1, 1e5)),
    st.builds(Leased, pattern=st.just("leased"), busy=ratios, idle=ratios),
)
process_specs = st.lists(
    st.builds(
        ProcessSpec,
        pid=st.one_of(st.just("holder"), st.integers(1, 5)),
        memory=st.integers(1 << 20, 30 * GIB),
        begin=st.integers(0, 50),
    ),
    max_size=4,
).map(tuple)
events = st.lists(
    st.one_of(
        st.builds(Event, at=st.integers(0, 200), what=st.sampled_from(["lost", "back", "xid", "ecc"])),
        st.builds(
            Event,
            at=st.integers(0, 200),
            what=st.just("hot"),
            temperature=st.floats(0, 150),
            lasts=st.integers(1, 50),
        ),
        st.builds(Event, at=st.integers(0, 200), what=st.just("throttle"), reason=st.sampled_from(THROTTLE_REASONS)),
    ),
    max_size=6,
).map(tuple)
specs = st.one_of(
    st.builds(GpuSpec, load=loads, processes=process_specs, events=events, island=st.sampled_from(["", "a"])),
    st.builds(
        GpuSpec,
        mig=st.lists(
            st.builds(MigSpec, profile=st.just("1g.5gb"), load=loads, processes=process_specs), max_size=3
        ).map(tuple),
        events=events,
    ),
)


@given(spec=specs, steps=st.lists(st.tuples(st.integers(-50, 100), st.booleans()), max_size=8))
def test_what_instruments_show_is_possible(spec: GpuSpec, steps: list[tuple[int, bool]]) -> None:
    clock = Clock()
    held: dict[str, tuple[int, ...]] = {}
    scenario = Scenario(gpus=(spec,))
    first, other = (SimulatedProbe(scenario, clock, holders=lambda: held) for _ in range(2))
    (gpu,) = first.inventory().gpus
    energy = linked = 0.0
    for step, leased in steps:
        clock.forward(step)
        held.clear()
        if leased:
            held |= dict.fromkeys((gpu.uuid, *(mig.uuid for mig in gpu.mig)), (11, 12))
        telemetry = first.telemetry()
        assert telemetry == other.telemetry()
        (read,) = telemetry.gpus
        assert read.gpu == first.inventory().gpus[0]
        if not read.up:
            assert telemetry.absences == (Absence(gpu.uuid, "gpu", "lost"),)
            continue
        assert None not in {read.sm, read.memory_used, read.memory_free, read.memory_total, read.power, read.energy}
        assert all(0 <= value <= 1 for value in (read.sm, read.memory_io) if value is not None)
        assert read.memory_used + read.memory_free <= read.memory_total  # type: ignore[operator]
        assert read.memory_free >= 0  # type: ignore[operator]
        assert 0 < read.power <= read.power_limit * (1 + 1e-9)  # type: ignore[operator]
        assert read.energy >= energy  # type: ignore[operator]
        energy = read.energy or 0.0
        if read.nvlink:
            assert read.nvlink.transmit >= linked  # type: ignore[operator]
            linked = read.nvlink.transmit or 0.0
        assert set(read.throttled) == set(THROTTLE_REASONS)
        assert all(0 < read.clocks[name] <= most for name, most in read.clocks_max.items())
        for activity in first.activity():
            by_part = [use for use in read.processes or () if use.mig == activity.mig]
            assert sum(use.sm or 0 for use in by_part) <= (activity.sm or 0) + 1e-9
        assert {(use.pid, use.mig, use.memory) for use in read.processes or ()} == {
            (process.pid, process.mig, process.memory) for process in first.processes().found
        }
        for mig in read.mig:
            assert mig.memory_used <= mig.memory_total  # type: ignore[operator]


@given(load=loads, begin=st.floats(0, 1e5), length=st.floats(0, 1e4), leased=st.booleans())
def test_the_integral_is_that_of_the_load(load: Pattern, begin: float, length: float, leased: bool) -> None:
    steps = 400
    middles = [begin + length * (step + 0.5) / steps for step in range(steps)]
    summed = sum(load_at(load, START + timedelta(seconds=seconds), seconds, leased=leased) for seconds in middles) * (
        length / steps
    )
    integral = load_seconds(load, START, begin, begin + length, leased=leased)
    # The sum of a wave that turns faster than its steps says nothing about it.
    if not isinstance(load, Sine) or load.period > 20 * length / steps:
        assert integral == pytest.approx(summed, abs=1e-3 + length * 0.01)
    assert -1e-3 <= integral <= length + 1e-3


def test_what_the_reference_describes_can_be_read(clock: Clock, tmp_path: Path) -> None:
    text = Path("docs/reference/gpus.md").read_text()
    example = text.split("reads a YAML file:")[1].split("```yaml")[1].split("```")[0]
    path = tmp_path / "gpus.yaml"
    path.write_text(example + "  - {processes: [{pid: 4242, memory: 3 GiB, begin: 600}]}\n")
    scenario = read_scenario(path)
    assert [gpu.up for gpu in SimulatedProbe(scenario, clock).telemetry().gpus] == [True] * 4
    described = text.split("| event | what happens | keys |")[1]
    for event in get_args(Event.model_fields["what"].annotation):
        assert f"| `{event}` |" in described
    for key in set(GpuSpec.model_fields) | (set(Event.model_fields) - {"what"}):
        assert f"`{key}`" in text
