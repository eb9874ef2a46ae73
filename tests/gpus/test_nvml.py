import pytest

from spawner.gpus.nvml import NvmlProbe
from spawner.gpus.readings import Activity, GpuProcess, GpuReading, Health, Inventory, MigInstance, Processes

from ..support.nvml import GIB, LOST, StubScript

pytestmark = pytest.mark.nvml

UNINITIALIZED, NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, RESET_REQUIRED, UNKNOWN = 1, 3, 4, 13, 16, 999
XID, RECOVERY = 8, "field_230"


def test_a_gpu_is_read_value_by_value(script: StubScript, probe: NvmlProbe) -> None:
    script.add_gpu(name="NVIDIA H200", memory_total=139 * GIB, compute_capability="9.0", pci_bus_id="00000001:3B:00.0")
    script.write()
    assert probe.inventory() == Inventory(
        (
            GpuReading(
                "GPU-00000000-aaaa-bbbb-cccc-000000000000",
                0,
                "NVIDIA H200",
                139 * GIB,
                "9.0",
                "",
                "0001:3b:00.0",
                health=Health(ecc_uncorrected=0),
            ),
        ),
        "550.54.15",
        "12.4",
    )
    assert not probe.simulated


def test_what_a_gpu_does_not_have_is_left_out(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_gpu()
    for key in ("compute_capability", "pci_bus_id", "mig_mode", "ecc_1_0", "remapped_rows", "event_types", "numa"):
        del gpu.values[key]
    del script.values["cuda_version"]
    script.write()
    inventory = probe.inventory()
    assert inventory.gpus == (GpuReading(gpu.uuid, 0, "NVIDIA A100-SXM4-40GB", 40 * GIB),)
    assert inventory.cuda == ""


def test_a_host_with_a_driver_and_no_gpus(probe: NvmlProbe) -> None:
    assert probe.inventory() == Inventory((), "550.54.15", "12.4")
    assert probe.processes() == Processes()
    assert probe.activity() == ()


def test_mig_instances(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_gpu()
    gpu.add_mig("MIG-a", "3g.20gb", 20 * GIB)
    gpu.add_mig("MIG-hole", "1g.5gb", 5 * GIB).lines.append("hole 1")
    gpu.add_mig("MIG-b", "1g.5gb+me", 5 * GIB)
    old = gpu.add_mig("MIG-c", "1g.5gb", 5 * GIB)
    old.values |= {"name": "NVIDIA A100-SXM4-40GB", "gpu_slices": 1}
    nameless = gpu.add_mig("MIG-d", "1g.5gb", 5 * GIB)
    nameless.values["name"] = "NVIDIA A100-SXM4-40GB"
    script.write()
    (read,) = probe.inventory().gpus
    assert read.mig_mode
    assert read.mig == (
        MigInstance("MIG-a", "3g.20gb", 20 * GIB),
        MigInstance("MIG-b", "1g.5gb+me", 5 * GIB),
        MigInstance("MIG-c", "1g.5gb", 5 * GIB),
        MigInstance("MIG-d", "unknown", 5 * GIB),
    )


def test_mig_mode_without_instances(script: StubScript, probe: NvmlProbe) -> None:
    script.add_gpu(mig_mode=1)
    script.write()
    (read,) = probe.inventory().gpus
    assert read.mig_mode
    assert read.mig == ()
    assert probe.activity() == ()


def test_islands(script: StubScript, probe: NvmlProbe) -> None:
    """NVLink goes before NUMA; a GPU without neighbours has an island of its own."""
    for nvlink, numa in (("", 1), ("a", 0), ("b", 0), ("a", 1), ("b", 0), ("", 0), ("", 1)):
        script.add_gpu(numa=numa, **({"nvlink": nvlink} if nvlink else {}))
    script.write()
    islands = [gpu.island for gpu in probe.inventory().gpus]
    assert islands == ["numa0", "nvlink0", "nvlink1", "nvlink0", "nvlink1", "numa1", "numa0"]


def test_processes(script: StubScript, probe: NvmlProbe) -> None:
    whole, divided = script.add_gpu(), script.add_gpu()
    # A client of MPS may be in both lists, with different numbers.
    whole.lines += ["process 30 1000", "process 20 -1", "process 10 500", "mps_process 10 800", "mps_process 40 70"]
    divided.add_mig("MIG-a", "1g.5gb", 5 * GIB).lines.append("process 50 123456789012")
    divided.add_mig("MIG-b", "1g.5gb", 5 * GIB)
    script.write()
    assert probe.processes() == Processes(
        (
            GpuProcess(10, whole.uuid, "", 800),
            GpuProcess(20, whole.uuid, "", None),
            GpuProcess(30, whole.uuid, "", 1000),
            GpuProcess(40, whole.uuid, "", 70),
            GpuProcess(50, divided.uuid, "MIG-a", 123456789012),
        )
    )


def test_an_old_driver_lists_processes_its_own_way(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_gpu()
    gpu.lines.append("process 10 500")
    for kind in ("Compute", "MPSCompute"):
        script.fail(f"nvmlDeviceGet{kind}RunningProcesses_v3", FUNCTION_NOT_FOUND)
    script.fail("nvmlDeviceGetMPSComputeRunningProcesses_v2", FUNCTION_NOT_FOUND)
    script.write()
    assert probe.processes() == Processes((GpuProcess(10, gpu.uuid, "", 500),))


@pytest.mark.parametrize("code", [LOST, NO_PERMISSION, NOT_SUPPORTED, UNKNOWN])
def test_processes_that_cannot_be_read_are_not_taken_for_none(script: StubScript, probe: NvmlProbe, code: int) -> None:
    bad, good = script.add_gpu(), script.add_gpu()
    bad.fail("nvmlDeviceGetComputeRunningProcesses_v3", code)
    good.lines.append("process 10 500")
    script.write()
    assert probe.processes() == Processes((GpuProcess(10, good.uuid, "", 500),), frozenset({bad.uuid}))


def test_activity(script: StubScript, probe: NvmlProbe) -> None:
    busy = script.add_gpu(utilization_gpu=87, memory_used=3 * GIB)
    mute = script.add_gpu(memory_used=5)
    del mute.values["utilization_gpu"]
    divided = script.add_gpu()
    divided.add_mig("MIG-a", "1g.5gb", 5 * GIB).values["memory_used"] = GIB
    old = script.add_gpu(memory_used=GIB, memory_reserved=7)
    old.fail("nvmlDeviceGetMemoryInfo_v2", FUNCTION_NOT_FOUND)
    lost = script.add_gpu()
    lost.fail("nvmlDeviceGetUtilizationRates", LOST)
    script.write()
    assert probe.activity() == (
        Activity(busy.uuid, "", 0.87, 3 * GIB),
        Activity(mute.uuid, "", None, 5),
        Activity(divided.uuid, "MIG-a", None, GIB),
        Activity(old.uuid, "", 0.0, GIB + 7),
        Activity(lost.uuid, "", None, None),
    )


# --- health -------------------------------------------------------------------------------------------------------


def health(probe: NvmlProbe) -> list[Health]:
    return [gpu.health for gpu in probe.inventory().gpus]


def test_memory_errors(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_gpu(ecc_1_0=1)
    script.add_gpu()
    script.write()
    ill, well = health(probe)
    assert (ill.ecc_uncorrected, ill.lost) == (1, False)
    assert ill.problem.startswith("1 memory error could not be corrected")
    assert well == Health(ecc_uncorrected=0)
    gpu.values["ecc_1_0"] = 12
    script.write()
    assert health(probe)[0].problem.startswith("12 memory errors could not be corrected")
    gpu.values["remapped_rows"] = "0 9 0 1"
    script.write()
    assert "worn out" in health(probe)[0].problem


def test_the_drivers_own_verdict_counts_first(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_gpu(ecc_1_0=3, **{RECOVERY: 0})
    script.write()
    assert health(probe) == [Health(ecc_uncorrected=3)]
    for action, words in ((1, "reset"), (2, "rebooted"), (4, "as soon as nothing runs on it"), (77, "action 77")):
        gpu.values[RECOVERY] = action
        script.write()
        assert words in health(probe)[0].problem


def test_critical_errors_are_remembered_until_the_driver_is_loaded_anew(script: StubScript, probe: NvmlProbe) -> None:
    script.add_gpu()
    gpu = script.add_gpu()
    script.write()
    assert [one.xid for one in health(probe)] == [None, None]
    gpu.lines += [f"event {XID} 48", f"event {XID} 13", "event 2 5", f"event {XID} 31"]  # 13 and 31: a program's fault
    script.write()
    for _ in range(2):
        well, ill = health(probe)
        assert well.problem == ""
        assert ill.xid == 48
        assert "XID 48" in ill.problem
    script.values["driver_epoch"] = 2
    script.write()
    assert [one.xid for one in health(probe)] == [None, None]


def test_a_gpu_without_events_is_read_all_the_same(script: StubScript, probe: NvmlProbe) -> None:
    script.add_gpu(event_types=0)
    script.fail("nvmlEventSetCreate", NOT_SUPPORTED)
    script.write()
    assert health(probe) == [Health(ecc_uncorrected=0)]


# --- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["*", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetTotalEccErrors"])
def test_a_lost_gpu_is_marked_and_remembered_and_leaves_the_others(
    script: StubScript, probe: NvmlProbe, function: str
) -> None:
    first = script.add_gpu(name="NVIDIA H100")
    script.add_gpu()
    first.add_mig("MIG-a", "1g.5gb", 5 * GIB)
    script.write()
    before = probe.inventory()
    first.fail(function, LOST)
    script.write()
    lost, other = probe.inventory().gpus
    assert lost.health.lost
    assert "fallen off the bus" in lost.health.problem
    assert (lost.uuid, lost.model, lost.memory, lost.mig) == (
        first.uuid,
        "NVIDIA H100",
        40 * GIB,
        before.gpus[0].mig,
    )
    assert other == before.gpus[1]
    if function == "*":
        assert probe.processes().unread == {first.uuid}
        assert probe.activity()[0] == Activity(first.uuid, "", None, None)
    first.lines.clear()
    script.write()
    assert probe.inventory() == before


def test_a_gpu_that_is_lost_from_the_start(script: StubScript, probe: NvmlProbe) -> None:
    lost, other = script.add_gpu(), script.add_gpu()
    lost.fail("*", LOST)
    script.write()
    inventory = probe.inventory()
    assert [gpu.uuid for gpu in inventory.gpus] == [other.uuid]
    (problem,) = inventory.unidentified
    assert problem.startswith("GPU 0 of this host: It has fallen off the bus")
    assert probe.processes() == Processes()
    assert [activity.gpu for activity in probe.activity()] == [other.uuid]


def test_a_gpu_that_could_name_itself_but_no_more(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_gpu()
    gpu.fail("nvmlDeviceGetMemoryInfo", RESET_REQUIRED)
    script.write()
    (read,) = probe.inventory().gpus
    assert (read.uuid, read.model, read.memory, read.health.lost) == (gpu.uuid, "unknown", 0, False)
    assert "must be reset" in read.health.problem


def test_any_other_failure_is_named(script: StubScript, probe: NvmlProbe) -> None:
    script.add_gpu().fail("nvmlDeviceGetName", UNKNOWN)
    script.write()
    assert health(probe)[0].problem == "The driver cannot read it: Unknown Error."


def test_a_lost_gpu_that_moved_is_not_taken_for_another(script: StubScript, probe: NvmlProbe) -> None:
    """After a reboot of the driver the second GPU is the first, and something nameless comes behind it."""
    first, second = script.add_gpu(), script.add_gpu()
    script.write()
    probe.inventory()
    script.gpus = [second, first]
    script.values["driver_epoch"] = 2
    first.fail("*", LOST)
    script.write()
    inventory = probe.inventory()
    assert [(gpu.uuid, gpu.index, gpu.health.lost) for gpu in inventory.gpus] == [(second.uuid, 0, False)]
    assert len(inventory.unidentified) == 1


def test_a_known_xid_goes_when_a_lost_gpu_is_back(script: StubScript, probe: NvmlProbe) -> None:
    gpu = script.add_gpu()
    gpu.lines.append(f"event {XID} 79")
    script.write()
    assert health(probe)[0].xid == 79
    gpu.fail("nvmlDeviceGetName", LOST)
    script.write()
    assert health(probe)[0].lost
    gpu.lines.pop()
    script.write()
    assert health(probe) == [Health(ecc_uncorrected=0)]
