"""The stub of NVIDIA's library, asked by NVIDIA's own binding for what an exporter of metrics wants to know."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

from ..support import nvml
from ..support.nvml import GIB, StubScript

pytestmark = pytest.mark.nvml


@pytest.fixture
def handle(script: StubScript) -> Any:
    script.values["process_name"] = "4242 /opt/tensorflow/bin/python"
    gpu = script.add_gpu(
        serial="1323320000001",
        vbios_version="92.00.19.00.01",
        memory_used=3 * GIB,
        utilization_gpu=87,
        utilization_memory=41,
        encoder_utilization=12,
        decoder_utilization=7,
        power_usage=251337,
        power_limit=400000,
        power_limit_enforced=390000,
        power_limit_min=100000,
        power_limit_max=400000,
        energy=123456789012345,
        temperature_0=64,
        temperature_threshold_1=92,
        clock_0=1410,
        clock_2=1215,
        clock_max_0=1980,
        clocks_event_reasons=0x44,
        pcie_throughput_0=12000,
        pcie_throughput_1=34000,
        pcie_generation=4,
        pcie_width=16,
        pcie_replay=3,
        performance_state=0,
        persistence_mode=1,
        fan_speed=30,
        bar1_total=64 * GIB,
        bar1_used=GIB,
        ecc_0_0=17,
        ecc_1_0=2,
        ecc_1_0_2=1,
        violation_0=5555,
        field_82=99,
        retired_pages_pending=0,
    )
    gpu.values["remapped_rows"] = "1 2 0 1"
    gpu.lines += [
        "process 4242 1000",
        "graphics_process 77 2000",
        "process_utilization 4242 55 44 3 2 1000",
        "process_utilization 77 5 4 0 0 2000",
        "event 8 79",
    ]
    script.write()
    pynvml.nvmlInit()
    yield pynvml.nvmlDeviceGetHandleByIndex(0)
    pynvml.nvmlShutdown()


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (pynvml.nvmlDeviceGetSerial, "1323320000001"),
        (pynvml.nvmlDeviceGetVbiosVersion, "92.00.19.00.01"),
        (pynvml.nvmlDeviceGetIndex, 0),
        (pynvml.nvmlDeviceGetMinorNumber, 0),
        (pynvml.nvmlDeviceGetEncoderUtilization, [12, 167000]),
        (pynvml.nvmlDeviceGetDecoderUtilization, [7, 167000]),
        (pynvml.nvmlDeviceGetPowerUsage, 251337),
        (pynvml.nvmlDeviceGetPowerManagementLimit, 400000),
        (pynvml.nvmlDeviceGetEnforcedPowerLimit, 390000),
        (pynvml.nvmlDeviceGetPowerManagementLimitConstraints, [100000, 400000]),
        (pynvml.nvmlDeviceGetTotalEnergyConsumption, 123456789012345),
        (lambda h: pynvml.nvmlDeviceGetTemperature(h, 0), 64),
        (lambda h: pynvml.nvmlDeviceGetTemperatureV(h, 0), 64),
        (lambda h: pynvml.nvmlDeviceGetTemperatureThreshold(h, 1), 92),
        (lambda h: pynvml.nvmlDeviceGetClockInfo(h, pynvml.NVML_CLOCK_GRAPHICS), 1410),
        (lambda h: pynvml.nvmlDeviceGetClockInfo(h, pynvml.NVML_CLOCK_MEM), 1215),
        (lambda h: pynvml.nvmlDeviceGetMaxClockInfo(h, 0), 1980),
        (pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, 0x44),
        (pynvml.nvmlDeviceGetCurrentClocksEventReasons, 0x44),
        (lambda h: pynvml.nvmlDeviceGetPcieThroughput(h, pynvml.NVML_PCIE_UTIL_TX_BYTES), 12000),
        (lambda h: pynvml.nvmlDeviceGetPcieThroughput(h, pynvml.NVML_PCIE_UTIL_RX_BYTES), 34000),
        (pynvml.nvmlDeviceGetCurrPcieLinkGeneration, 4),
        (pynvml.nvmlDeviceGetCurrPcieLinkWidth, 16),
        (pynvml.nvmlDeviceGetPcieReplayCounter, 3),
        (pynvml.nvmlDeviceGetPerformanceState, 0),
        (pynvml.nvmlDeviceGetPersistenceMode, 1),
        (pynvml.nvmlDeviceGetFanSpeed, 30),
        (pynvml.nvmlDeviceGetEccMode, [1, 1]),
        (lambda h: pynvml.nvmlDeviceGetTotalEccErrors(h, 0, 0), 17),
        (lambda h: pynvml.nvmlDeviceGetTotalEccErrors(h, 1, 0), 2),
        (lambda h: pynvml.nvmlDeviceGetMemoryErrorCounter(h, 1, 0, 2), 1),
        (pynvml.nvmlDeviceGetRemappedRows, (1, 2, 0, 1)),
        (pynvml.nvmlDeviceGetRetiredPagesPendingStatus, 0),
        (lambda h: pynvml.nvmlDeviceGetViolationStatus(h, 0).violationTime, 5555),
        (lambda h: pynvml.nvmlDeviceGetUtilizationRates(h).gpu, 87),
        (lambda h: pynvml.nvmlDeviceGetUtilizationRates(h).memory, 41),
        (lambda h: pynvml.nvmlDeviceGetBAR1MemoryInfo(h).bar1Free, 63 * GIB),
        (lambda h: pynvml.nvmlDeviceGetMemoryInfo(h).used, 3 * GIB + GIB // 2),
        (lambda h: pynvml.nvmlDeviceGetMemoryInfo(h, pynvml.nvmlMemory_v2).used, 3 * GIB),
        (lambda h: pynvml.nvmlDeviceGetMemoryInfo(h, pynvml.nvmlMemory_v2).reserved, GIB // 2),
        (lambda h: pynvml.nvmlDeviceGetPciInfo(h).bus, 0x10),
        (lambda h: [p.pid for p in pynvml.nvmlDeviceGetComputeRunningProcesses(h)], [4242]),
        (lambda h: [p.usedGpuMemory for p in pynvml.nvmlDeviceGetGraphicsRunningProcesses(h)], [2000]),
        (lambda h: [(s.pid, s.smUtil) for s in pynvml.nvmlDeviceGetProcessUtilization(h, 0)], [(4242, 55), (77, 5)]),
        (lambda h: [s.encUtil for s in pynvml.nvmlDeviceGetProcessUtilization(h, 999)], [3, 0]),
        (lambda h: [s.pid for s in pynvml.nvmlDeviceGetProcessUtilization(h, 1000)], [77]),
        (lambda _: pynvml.nvmlSystemGetProcessName(4242), "/opt/tensorflow/bin/python"),
        (lambda _: pynvml.nvmlSystemGetNVMLVersion(), f"12.{nvml.VERSION}"),
        (lambda h: pynvml.nvmlDeviceGetFieldValues(h, [82])[0].value.ullVal, 99),
        (lambda h: pynvml.nvmlDeviceGetFieldValues(h, [83])[0].nvmlReturn, pynvml.NVML_ERROR_NOT_SUPPORTED),
        (lambda h: pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByUUID(pynvml.nvmlDeviceGetUUID(h).encode())),
         "GPU-00000000-aaaa-bbbb-cccc-000000000000"),
        (lambda _: pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByPciBusId(b"00000000:10:00.0")), 0),
    ],
)  # fmt: skip
def test_what_the_script_says_is_what_the_binding_reads(handle: Any, call: Callable[[Any], Any], value: object) -> None:
    assert call(handle) == value


def test_what_the_script_does_not_say_is_not_supported(handle: Any) -> None:
    for call in (pynvml.nvmlDeviceGetJpgUtilization, pynvml.nvmlDeviceGetNumFans, pynvml.nvmlDeviceGetBrand):
        with pytest.raises(pynvml.NVMLError_NotSupported):
            call(handle)
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlSystemGetProcessName(1)


def test_events_are_told_once(handle: Any) -> None:
    events = pynvml.nvmlEventSetCreate()
    pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
    event = pynvml.nvmlEventSetWait_v2(events, 0)
    assert (event.eventType, event.eventData) == (8, 79)
    with pytest.raises(pynvml.NVMLError_Timeout):
        pynvml.nvmlEventSetWait_v2(events, 0)
    pynvml.nvmlEventSetFree(events)


def test_mig_handles(script: StubScript) -> None:
    gpu = script.add_gpu()
    gpu.add_mig("MIG-a", "1g.5gb", 5 * GIB)
    script.write()
    pynvml.nvmlInit()
    whole = pynvml.nvmlDeviceGetHandleByIndex(0)
    mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(whole, 0)
    assert pynvml.nvmlDeviceIsMigDeviceHandle(mig).value
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig)) == gpu.uuid
    pynvml.nvmlShutdown()


def test_without_a_script_and_without_nodes_no_driver_is_loaded(library: Path, tmp_path: Path) -> None:
    told = nvml.run_python(
        "import pynvml as n\ntry: n.nvmlInit()\nexcept n.NVMLError as error: print(error)",
        nvml.environment(library) | {nvml.NODES_VARIABLE: str(tmp_path), nvml.SCRIPT_VARIABLE: ""},
    )
    assert told == "Driver Not Loaded"


def test_without_a_script_device_nodes_are_counted(library: Path, tmp_path: Path) -> None:
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    told = nvml.run_python(
        "import pynvml as n; n.nvmlInit();"
        "h = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())];"
        "print([n.nvmlDeviceGetMinorNumber(x) for x in h], {n.nvmlDeviceGetName(x) for x in h},"
        "len({n.nvmlDeviceGetUUID(x) for x in h}))",
        nvml.environment(library) | {nvml.NODES_VARIABLE: str(tmp_path), nvml.SCRIPT_VARIABLE: ""},
    )
    assert told == "[2, 10] {'Stub GPU'} 2"
