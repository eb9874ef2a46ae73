"""Telemetry of real GPUs, as the stub of NVIDIA's library has them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from spawner.errors import GpuProbeFailed
from spawner.gpus.nvml import NvmlProbe
from spawner.gpus.readings import GpuReading, Health, MigInstance
from spawner.gpus.telemetry import (
    THROTTLE_REASONS,
    Absence,
    GpuTelemetry,
    MigUse,
    ProcessUse,
    Telemetry,
    Throughput,
)
from spawner.metrics.of_gpus import THROTTLED

from ..support.nvml import GIB, INSTRUMENTS, LOST, StubGpu, StubScript
from ..support.waiting import eventually

pytestmark = pytest.mark.nvml

NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, TIMEOUT, FUNCTION_NOT_FOUND, RESET_REQUIRED, UNKNOWN = (
    *(3, 4, 9, 10),
    *(13, 16, 999),
)
XID = 8
Open = Callable[..., NvmlProbe]


def one(telemetry: Telemetry) -> GpuTelemetry:
    (gpu,) = telemetry.gpus
    return gpu


def missing(telemetry: Telemetry) -> dict[str, str]:
    return {absence.what: absence.reason for absence in telemetry.absences}


def settled(probe: NvmlProbe) -> Telemetry:
    """Read, once both directions of every bus have been measured or found to be none."""
    readings = [probe.telemetry()]

    def measured() -> bool:
        readings.append(probe.telemetry())
        told = {absence.gpu for absence in readings[-1].absences if absence.what == "pcie"}
        return all(
            gpu.gpu.uuid in told or (gpu.pcie and None not in {gpu.pcie.transmit, gpu.pcie.receive})
            for gpu in readings[-1].gpus
        )

    eventually(measured)
    return readings[-1]


def test_a_gpu_is_read_value_by_value(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_full_gpu()
    gpu.lines += ["process 20 1000", "process 10 500", "process 30 -1"]
    gpu.lines += ["process_utilization 20 55 44 3 2 -300000", f"event {XID} 13", f"event {XID} 13", f"event {XID} 94"]
    script.write()
    telemetry = settled(probe)
    assert telemetry == Telemetry(
        (
            GpuTelemetry(
                GpuReading(
                    gpu.uuid,
                    0,
                    "NVIDIA A100-SXM4-40GB",
                    40 * GIB,
                    "8.0",
                    "",
                    "0000:10:00.0",
                    health=Health(False, 0, 94, one(telemetry).gpu.health.problem),
                ),
                sm=0.87,
                memory_io=0.41,
                encoder=0.12,
                decoder=0.07,
                memory_used=3 * GIB,
                memory_free=40 * GIB - 3 * GIB - GIB // 2,
                memory_total=40 * GIB,
                power=251.337,
                power_limit=390.0,
                energy=123456789012.345,
                temperatures={"gpu": 64.0, "memory": 71.0},
                slowdown=92.0,
                clocks={"graphics": 1410e6, "sm": 1395e6, "memory": 1215e6, "video": 1275e6},
                clocks_max={"graphics": 1980e6, "sm": 1965e6, "memory": 1593e6, "video": 1785e6},
                throttled=dict.fromkeys(THROTTLE_REASONS, False),
                pcie=Throughput(12e6, 34e6),
                nvlink=Throughput(5000 * 1024, 7000 * 1024),
                ecc={"corrected": 17, "uncorrected": 0},
                xids={13: 2, 94: 1},
                processes=(
                    ProcessUse(10, "", 500, 0.0),
                    ProcessUse(20, "", 1000, 0.55),
                    ProcessUse(30, "", None, 0.0),
                ),
            ),
        ),
        "550.54.15",
        "12.4",
    )
    assert "XID 94" in one(telemetry).gpu.health.problem
    assert not telemetry.simulated


def test_what_it_is_agrees_with_the_inventory(script: StubScript, probe: NvmlProbe) -> None:
    for _ in range(2):
        script.add_full_gpu(nvlink="a")
    script.gpus[1].add_mig("MIG-a", "1g.5gb", 5 * GIB)
    script.write()
    telemetry = probe.telemetry()
    assert tuple(gpu.gpu for gpu in telemetry.gpus) == probe.inventory().gpus
    assert {gpu.gpu.island for gpu in telemetry.gpus} == {"nvlink0"}


def test_a_host_without_gpus(probe: NvmlProbe) -> None:
    assert probe.telemetry() == Telemetry((), "550.54.15", "12.4")


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x1, set()),  # idle
        (0x2, {"applications_clocks"}),
        (0x4, {"power_cap"}),
        (0x8 | 0x40, {"hw_slowdown", "hw_thermal"}),
        (0x10, {"sync_boost"}),
        (0x21, {"sw_thermal"}),
        (0x80, {"hw_power_brake"}),
        (0x100, {"display_clocks"}),
        (0x1FF, set(THROTTLE_REASONS)),
    ],
)
def test_why_clocks_are_held_down(script: StubScript, probe: NvmlProbe, bits: int, reasons: set[str]) -> None:
    gpu = script.add_full_gpu(clocks_event_reasons=bits)
    for function in ("nvmlDeviceGetCurrentClocksEventReasons", "none"):  # older drivers have another name for it
        gpu.fail(function, FUNCTION_NOT_FOUND)
        script.write()
        throttled = one(probe.telemetry()).throttled
        assert {reason for reason, held in throttled.items() if held} == reasons
        assert tuple(throttled) == THROTTLE_REASONS
    assert all(reason in THROTTLED.text for reason in THROTTLE_REASONS)


def test_mig_instances(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_full_gpu()
    del gpu.values["utilization_gpu"]
    gpu.add_mig("MIG-a", "3g.20gb", 20 * GIB).lines += ["process 50 4096"]
    gpu.add_mig("MIG-b", "1g.5gb", 5 * GIB).values |= {"memory_used": GIB, "utilization_gpu": 30}
    script.write()
    telemetry = probe.telemetry()
    read = one(telemetry)
    assert read.gpu.mig == (MigInstance("MIG-a", "3g.20gb", 20 * GIB), MigInstance("MIG-b", "1g.5gb", 5 * GIB))
    assert read.mig == (
        MigUse("MIG-a", "3g.20gb", 0, 20 * GIB, None),
        MigUse("MIG-b", "1g.5gb", GIB, 5 * GIB, 0.3),
    )
    assert read.sm is None
    assert read.power == 251.337
    assert read.processes == (ProcessUse(50, "MIG-a", 4096, 0.0),)
    assert missing(telemetry) == {"sm": "not_supported", "memory_io": "not_supported", "mig_sm": "not_supported"}
    gpu.migs.pop()
    script.write()
    assert [mig.uuid for mig in one(probe.telemetry()).mig] == ["MIG-a"]


def test_what_a_process_does_is_that_of_the_last_moments(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_full_gpu()
    gpu.lines += [f"process {pid} 1" for pid in (10, 20, 30, 40)]
    gpu.lines += ["process_utilization 10 30 0 0 0 -200000", "process_utilization 10 90 0 0 0 -900000"]  # two samples
    gpu.lines += ["process_utilization 20 50 0 0 0 -60000000"]  # long ago
    gpu.lines += ["process_utilization 30 4294967295 0 0 0 -1000"]  # what some drivers leave in their buffer
    gpu.lines += ["process_utilization 99 100 0 0 0 -1000"]  # not running any more
    script.write()
    for _ in range(2):  # nobody takes it from whoever reads next
        assert one(probe.telemetry()).processes == (
            ProcessUse(10, "", 1, 0.3),
            ProcessUse(20, "", 1, 0.0),
            ProcessUse(30, "", 1, 0.0),
            ProcessUse(40, "", 1, 0.0),
        )


def test_errors_are_counted_on_when_the_driver_is_loaded_anew(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_full_gpu()
    gpu.lines.append(f"event {XID} 48")
    script.write()
    assert one(probe.telemetry()).xids == {48: 1}
    script.values["driver_epoch"] = 2
    gpu.lines.append(f"event {XID} 48")
    script.write()
    assert one(probe.telemetry()).xids == {48: 2}
    assert one(probe.telemetry()).xids == {48: 2}


def test_a_lost_gpu_tells_its_last_error(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_full_gpu()
    script.write()
    probe.telemetry()
    gpu.lines.append(f"event {XID} 79")
    gpu.fail("*", LOST)
    script.write()
    read = one(probe.telemetry())
    assert (read.up, read.xids, read.gpu.health.xid) == (False, {79: 1}, 79)


def test_what_never_changes_is_asked_once(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_full_gpu()
    script.write()
    before = settled(probe)
    for function in ("nvmlDeviceGetMaxClockInfo", "nvmlDeviceGetTemperatureThreshold", "nvmlDeviceGetName"):
        gpu.fail(function, UNKNOWN)
    script.write()
    assert probe.telemetry() == before
    script.values["driver_epoch"] = 2
    script.write()
    after = probe.telemetry()
    assert one(after).clocks_max == {}
    assert missing(after)["clock_max_video"] == missing(after)["slowdown"] == "failed"


# --- what cannot be read ------------------------------------------------------------------------------------------

# Keys of the script, the function that reads them, the names of what is absent without them, and where that would be.
PARTS: Mapping[str, tuple[tuple[str, ...], str, set[str], Callable[[GpuTelemetry], Any]]] = {
    "utilisation": (
        ("utilization_gpu",),
        "nvmlDeviceGetUtilizationRates",
        {"sm", "memory_io"},
        lambda gpu: gpu.sm or gpu.memory_io,
    ),
    "encoder": (("encoder_utilization",), "nvmlDeviceGetEncoderUtilization", {"encoder"}, lambda gpu: gpu.encoder),
    "decoder": (("decoder_utilization",), "nvmlDeviceGetDecoderUtilization", {"decoder"}, lambda gpu: gpu.decoder),
    "power": (("power_usage",), "nvmlDeviceGetPowerUsage", {"power"}, lambda gpu: gpu.power),
    "limit": (
        ("power_limit_enforced",),
        "nvmlDeviceGetEnforcedPowerLimit",
        {"power_limit"},
        lambda gpu: gpu.power_limit,
    ),
    "temperature": (
        ("temperature_0",),
        "nvmlDeviceGetTemperature",
        {"temperature_gpu"},
        lambda gpu: gpu.temperatures.get("gpu"),
    ),
    "slowdown": (
        ("temperature_threshold_1",),
        "nvmlDeviceGetTemperatureThreshold",
        {"slowdown"},
        lambda gpu: gpu.slowdown,
    ),
    "clock": (("clock_3",), "clock_3", {"clock_video"}, lambda gpu: gpu.clocks.get("video")),
    "clock_max": (("clock_max_0",), "clock_max_0", {"clock_max_graphics"}, lambda gpu: gpu.clocks_max.get("graphics")),
    "energy": (("field_83",), "field_83", {"energy"}, lambda gpu: gpu.energy),
    "memory's temperature": (
        ("field_82",),
        "field_82",
        {"temperature_memory"},
        lambda gpu: gpu.temperatures.get("memory"),
    ),
    "nvlink": (("field_138",), "field_138", {"nvlink_transmit"}, lambda gpu: gpu.nvlink and gpu.nvlink.transmit),
    "fields": (
        ("field_82", "field_83", "field_138", "field_139"),
        "nvmlDeviceGetFieldValues",
        {"temperature_memory", "energy", "nvlink_transmit", "nvlink_receive"},
        lambda gpu: gpu.energy or gpu.nvlink or gpu.temperatures.get("memory"),
    ),
    "corrected": (("ecc_0_0",), "ecc_0_0", {"ecc_corrected"}, lambda gpu: gpu.ecc.get("corrected")),
    "uncorrected": (("ecc_1_0",), "ecc_1_0", {"ecc_uncorrected"}, lambda gpu: gpu.ecc.get("uncorrected")),
    "throttled": (
        ("clocks_event_reasons",),
        "nvmlDeviceGetCurrentClocksEventReasons",
        {"throttled"},
        lambda gpu: gpu.throttled or None,
    ),
    "pcie": (
        ("pcie_throughput_0", "pcie_throughput_1"),
        "nvmlDeviceGetPcieThroughput",
        {"pcie"},
        lambda gpu: gpu.pcie,
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_value_that_there_is_not(script: StubScript, probe: NvmlProbe, part: str) -> None:
    keys, _, names, value = PARTS[part]
    gpu, other = script.add_full_gpu(), script.add_full_gpu()
    for key in keys:
        del gpu.values[key]
    script.write()
    telemetry = settled(probe)
    assert value(telemetry.gpus[0]) is None
    assert value(telemetry.gpus[1]) is not None
    assert set(telemetry.absences) == {Absence(gpu.uuid, name, "not_supported") for name in names}
    assert other.uuid == telemetry.gpus[1].gpu.uuid


@pytest.mark.parametrize(
    ("code", "reason"), [(NO_PERMISSION, "denied"), (TIMEOUT, "timeout"), (UNKNOWN, "failed"), (5, "failed")]
)
@pytest.mark.parametrize("part", PARTS)
def test_a_value_that_fails_costs_no_other(
    script: StubScript, open_nvml: Open, part: str, code: int, reason: str
) -> None:
    _, function, names, value = PARTS[part]
    gpu = script.add_full_gpu()
    script.write()
    whole = settled(open_nvml())
    gpu.fail(function, code)
    script.write()
    telemetry = settled(open_nvml())
    read = one(telemetry)
    assert read.up
    assert value(read) is None
    found = missing(telemetry)
    if part == "fields" and reason != "denied":
        assert found.pop("health") == reason  # the driver's own verdict is among them
    assert found == dict.fromkeys(names, reason)
    assert dataclasses.replace(read.gpu, health=Health()) == dataclasses.replace(one(whole).gpu, health=Health())
    gpu.lines.clear()
    script.write()
    assert settled(open_nvml()) == whole


@pytest.mark.parametrize(
    ("function", "names"),
    [
        ("nvmlDeviceGetMemoryInfo", {"memory"}),
        ("nvmlDeviceGetComputeRunningProcesses_v3", {"processes"}),
        ("nvmlDeviceGetProcessUtilization", {"process_sm"}),
        ("nvmlDeviceGetRemappedRows", {"health"}),
        ("nvmlDeviceGetMigMode", {"mig", "processes"}),
    ],
)
def test_further_values_that_fail(script: StubScript, probe: NvmlProbe, function: str, names: set[str]) -> None:
    gpu = script.add_full_gpu()
    gpu.lines.append("process 10 5")
    script.write()
    settled(probe)
    for name in {function, function.replace("MemoryInfo", "MemoryInfo_v2")}:
        gpu.fail(name, UNKNOWN)
    script.write()
    telemetry = probe.telemetry()
    read = one(telemetry)
    assert missing(telemetry) == dict.fromkeys(names, "failed")
    assert read.up
    assert (read.memory_used is None) == ("memory" in names)
    assert (read.processes is None) == ("processes" in names)
    assert bool(read.gpu.health.problem) == ("health" in names)
    if "process_sm" in names:
        assert read.processes == (ProcessUse(10, "", 5, None),)


def test_a_gpu_whose_errors_cannot_be_listened_to(script: StubScript, probe: NvmlProbe) -> None:
    script.add_full_gpu(event_types=0)
    script.write()
    assert missing(probe.telemetry()) == {"xids": "not_supported"}


@pytest.mark.parametrize(
    "function",
    ["*", "nvmlDeviceGetUUID", "nvmlDeviceGetUtilizationRates", "field_83", "nvmlDeviceGetProcessUtilization"],
)
def test_a_lost_gpu_leaves_the_others_and_is_named(script: StubScript, probe: NvmlProbe, function: str) -> None:
    lost, other = script.add_full_gpu(name="NVIDIA H100"), script.add_full_gpu()
    lost.lines.append("process 10 5")
    script.write()
    before = settled(probe)
    lost.fail(function, LOST)
    script.write()
    telemetry = probe.telemetry()
    first, second = telemetry.gpus
    assert not first.up
    assert first.gpu.health.lost
    assert (first.gpu.uuid, first.gpu.model) == (lost.uuid, "NVIDIA H100")
    assert (first.sm, first.memory_total, first.energy, first.processes) == (None, None, None, None)
    assert second == before.gpus[1]
    assert second.gpu.uuid == other.uuid
    assert telemetry.absences == (Absence(lost.uuid, "gpu", "lost"),)
    lost.lines.pop()
    script.write()
    assert probe.telemetry() == before


def test_a_gpu_that_was_lost_from_the_start(script: StubScript, probe: NvmlProbe) -> None:
    lost = script.add_full_gpu()
    script.add_full_gpu()
    lost.fail("*", LOST)
    script.write()
    telemetry = probe.telemetry()
    assert [gpu.gpu.index for gpu in telemetry.gpus] == [1]
    assert telemetry.absences == (Absence("", "gpu", "lost"),)


def test_a_gpu_that_must_be_reset(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_full_gpu()
    script.write()
    probe.telemetry()
    gpu.fail("nvmlDeviceGetPowerUsage", RESET_REQUIRED)
    script.write()
    telemetry = probe.telemetry()
    assert (one(telemetry).up, one(telemetry).gpu.health.lost) == (False, False)
    assert missing(telemetry) == {"gpu": "failed"}


def test_a_gpu_that_was_reset_answers_whoever_comes_anew(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_full_gpu()
    script.write()
    before = settled(probe)
    gpu.values["reset_epoch"] = 1
    script.write()
    assert probe.telemetry() == before


def test_a_gpu_that_appears_is_read(script: StubScript, probe: NvmlProbe) -> None:
    script.add_full_gpu()
    script.write()
    probe.telemetry()
    new = script.add_full_gpu(name="NVIDIA T4")
    script.write()
    assert [gpu.gpu.model for gpu in probe.telemetry().gpus] == ["NVIDIA A100-SXM4-40GB", "NVIDIA T4"]
    assert probe.telemetry().gpus[1].gpu.uuid == new.uuid


# --- the driver as a whole ----------------------------------------------------------------------------------------


def test_a_driver_that_is_unloaded_and_loaded_anew(script: StubScript, probe: NvmlProbe) -> None:
    script.add_full_gpu()
    script.write()
    before = settled(probe)
    script.values["driver_epoch"] = 2
    script.fail("nvmlInitWithFlags", DRIVER_NOT_LOADED)
    script.write()
    for _ in range(2):
        with pytest.raises(GpuProbeFailed, match="not loaded") as raised:
            probe.telemetry()
        assert raised.value.reason == "unavailable"
    script.lines.clear()
    script.write()
    assert probe.telemetry() == before


@pytest.mark.parametrize("line", ["block nvmlDeviceGetPowerUsage", "slow nvmlDeviceGetPowerUsage 30000"])
def test_a_call_that_hangs_fails_in_time_and_then_at_once(script: StubScript, open_nvml: Open, line: str) -> None:
    gpu = script.add_full_gpu()
    gpu.lines.append(line)
    script.write()
    probe = open_nvml(timeout=0.3)
    with pytest.raises(GpuProbeFailed, match=r"did not answer within 0.3 s") as raised:
        probe.telemetry()
    assert raised.value.reason == "timeout"
    with pytest.raises(GpuProbeFailed, match="has not answered for") as raised:
        probe.telemetry()
    assert raised.value.reason == "timeout"
    gpu.lines.clear()
    script.write()
    if line.startswith("block"):
        eventually(lambda: _answers(probe))


def _answers(probe: NvmlProbe) -> bool:
    try:
        return bool(probe.telemetry().gpus)
    except GpuProbeFailed:
        return False


def test_a_slow_call_is_waited_for(script: StubScript, probe: NvmlProbe) -> None:
    script.add_full_gpu().lines.append("slow nvmlDeviceGetPowerUsage 100")
    script.write()
    assert one(probe.telemetry()).power == 251.337


# --- the bus ------------------------------------------------------------------------------------------------------


def test_measuring_the_bus_does_not_hold_a_reading_up(script: StubScript, probe: NvmlProbe) -> None:
    """It blocks for as long as the test takes, and telemetry is there all the same."""
    gpus = [script.add_full_gpu() for _ in range(3)]
    script.write()
    assert all(gpu.pcie is None for gpu in probe.telemetry().gpus)
    settled(probe)
    gpus[0].values["pcie_throughput_0"] = 777
    script.write()
    assert probe.telemetry().gpus[0].pcie == Throughput(12e6, 34e6)  # measured again only after some seconds


def test_the_bus_is_measured_again_and_again(script: StubScript) -> None:
    gpu = script.add_full_gpu()
    script.write()
    probe = NvmlProbe(pcie_seconds=0.05)
    settled(probe)
    _change(script, gpu, 777)
    eventually(lambda: one(probe.telemetry()).pcie == Throughput(777e3, 34e6))
    gpu.fail("*", LOST)
    script.write()
    eventually(lambda: not one(probe.telemetry()).up)
    gpu.lines.clear()
    _change(script, gpu, 888)
    eventually(lambda: one(probe.telemetry()).pcie == Throughput(888e3, 34e6))
    probe.close()


def _change(script: StubScript, gpu: StubGpu, value: int) -> None:
    gpu.values["pcie_throughput_0"] = value
    script.write()


def test_a_hanging_bus_is_a_hanging_driver(script: StubScript, open_nvml: Open) -> None:
    gpu = script.add_full_gpu()
    gpu.lines.append("block nvmlDeviceGetPcieThroughput")
    script.write()
    probe = open_nvml(timeout=0.3)
    probe.telemetry()
    eventually(lambda: not _answers(probe))
    gpu.lines.clear()
    script.write()
    eventually(lambda: _answers(probe))


def test_the_instruments_of_the_stub_are_all_read(script: StubScript, probe: NvmlProbe) -> None:
    script.add_full_gpu()
    script.write()
    assert set(INSTRUMENTS) <= set(script.gpus[0].values)
    assert settled(probe).absences == ()
