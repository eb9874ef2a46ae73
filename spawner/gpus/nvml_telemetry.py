"""What NVML tells of one GPU's use and condition."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pynvml

from .nvml_health import explain_failure, read_health
from .nvml_session import NvmlError, concerns_all, concerns_gpu, reason_of
from .nvml_values import (
    ecc_errors,
    memory_of,
    mig_instance,
    newest_of,
    parts,
    processes_of,
    ratio,
    read_fields,
    sm_by_pid,
)
from .readings import GpuReading, Health, MigInstance
from .telemetry import Absence, GpuTelemetry, MigUse, ProcessUse, Reason, Throughput

T = TypeVar("T")

# The driver makes a sample of what each process does every 1/6 to 1 s (nvmlDeviceGetProcessUtilization).
_SAMPLED = 2_000_000  # microseconds
_ALL_LINKS = 0xFFFFFFFF
_KIB, _MHZ = 1024, 10**6

_CLOCKS = {
    "graphics": pynvml.NVML_CLOCK_GRAPHICS,
    "sm": pynvml.NVML_CLOCK_SM,
    "memory": pynvml.NVML_CLOCK_MEM,
    "video": pynvml.NVML_CLOCK_VIDEO,
}
_THROTTLED = {
    "power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "hw_slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
    "hw_thermal": pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    "hw_power_brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    "sw_thermal": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
    "sync_boost": pynvml.nvmlClocksEventReasonSyncBoost,
    "applications_clocks": pynvml.nvmlClocksEventReasonApplicationsClocksSetting,
    "display_clocks": pynvml.nvmlClocksEventReasonDisplayClockSetting,
}
_ECC = {
    "corrected": pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED,
    "uncorrected": pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
}
_FIELDS = {
    "temperature_memory": pynvml.NVML_FI_DEV_MEMORY_TEMP,
    "energy": pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
    "nvlink_transmit": (pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, _ALL_LINKS),
    "nvlink_receive": (pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, _ALL_LINKS),
}

# What stays the same as long as the driver is loaded: values by name, or why there is none.
Kept = dict[str, tuple[Any, Reason | None]]


class Values:
    """Reads values of one GPU, and notes which could not be read.

    An error that concerns the whole GPU or the whole library is raised, any other costs its value only.

    Parameters
    ----------
    kept
        What was read before and does not change; is added to.
    """

    def __init__(self, gpu: str, kept: Kept) -> None:
        self.absences: list[Absence] = []
        self._gpu = gpu
        self._kept = kept

    def read(self, what: str | tuple[str, ...], function: Callable[..., T], *arguments: Any) -> T | None:
        try:
            value: T = function(*arguments)
        except NvmlError as error:
            if concerns_all(error) or concerns_gpu(error):
                raise
            self.miss(what, reason_of(error))
            return None
        return value

    def keep(self, what: str, function: Callable[..., T], *arguments: Any, of: str = "") -> T | None:
        """Read what does not change, once; `of` is the part that it is a value of."""
        key = f"{what} {of}"
        kept: T | None
        if key in self._kept:
            kept, reason = self._kept[key]
            if reason is not None:
                self.miss(what, reason)
            return kept
        kept = self.read(what, function, *arguments)
        reason = self.absences[-1].reason if kept is None else None
        if reason in {None, "not_supported"}:
            self._kept[key] = kept, reason
        return kept

    def miss(self, what: str | tuple[str, ...], reason: Reason) -> None:
        self.absences += [Absence(self._gpu, one, reason) for one in ((what,) if isinstance(what, str) else what)]


def read_gpu(handle: Any, known: GpuReading, xid: int | None, values: Values) -> GpuTelemetry:
    """Read all but what the library does not tell by itself: XIDs and the bus.

    Parameters
    ----------
    known
        What it is; its division and its health are read anew.
    xid
        The last critical error.
    """
    ecc = {name: values.read(f"ecc_{name}", ecc_errors, handle, kind) for name, kind in _ECC.items()}
    divided = values.read(("mig", "processes"), parts, handle)
    mig = [(uuid, part) for uuid, part in divided or () if uuid]
    instances = {uuid: values.keep("mig", mig_instance, uuid, part, of=uuid) for uuid, part in mig}
    if divided is not None:
        described = tuple(instance for instance in instances.values() if instance is not None)
        known = dataclasses.replace(known, mig_mode=len(mig) == len(divided), mig=described)
    fields = _fields(handle, values)
    rates = values.read(("sm", "memory_io"), pynvml.nvmlDeviceGetUtilizationRates, handle)
    memory = values.read("memory", memory_of, handle)
    power = values.read("power", pynvml.nvmlDeviceGetPowerUsage, handle)
    limit = values.read("power_limit", pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    reasons = values.read(
        "throttled",
        newest_of,
        ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"),  # before 535
        handle,
    )
    temperatures = {
        "gpu": values.read("temperature_gpu", pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        "memory": fields["temperature_memory"],
    }
    slowdown = values.keep(
        "slowdown", pynvml.nvmlDeviceGetTemperatureThreshold, handle, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
    )
    clocks = {
        name: values.read(f"clock_{name}", pynvml.nvmlDeviceGetClockInfo, handle, which)
        for name, which in _CLOCKS.items()
    }
    clocks_max = {
        name: values.keep(f"clock_max_{name}", pynvml.nvmlDeviceGetMaxClockInfo, handle, which)
        for name, which in _CLOCKS.items()
    }
    return GpuTelemetry(
        dataclasses.replace(known, health=_health(handle, ecc["uncorrected"], xid, values)),
        sm=None if rates is None else ratio(rates.gpu),
        memory_io=None if rates is None else ratio(rates.memory),
        encoder=_codec("encoder", pynvml.nvmlDeviceGetEncoderUtilization, handle, values),
        decoder=_codec("decoder", pynvml.nvmlDeviceGetDecoderUtilization, handle, values),
        memory_used=None if memory is None else int(memory.used),
        memory_free=None if memory is None else int(memory.free),
        memory_total=None if memory is None else int(memory.total),
        power=_thousandth(power),
        power_limit=_thousandth(limit),
        energy=_thousandth(fields["energy"]),
        temperatures=_there(temperatures),
        slowdown=None if slowdown is None else float(slowdown),
        clocks=_there(clocks, _MHZ),
        clocks_max=_there(clocks_max, _MHZ),
        throttled={} if reasons is None else {name: bool(reasons & bit) for name, bit in _THROTTLED.items()},
        nvlink=_both(fields["nvlink_transmit"], fields["nvlink_receive"]),
        ecc={name: count for name, count in ecc.items() if count is not None},
        mig=tuple(_mig_use(uuid, part, instances[uuid], values) for uuid, part in mig),
        processes=_processes(handle, known.uuid, divided, values),
    )


def _health(handle: Any, ecc: int | None, xid: int | None, values: Values) -> Health:
    try:
        return read_health(handle, ecc, xid)
    except NvmlError as error:
        if concerns_all(error) or concerns_gpu(error):
            raise
        values.miss("health", reason_of(error))
        return Health(False, ecc, xid, explain_failure(error))


def _fields(handle: Any, values: Values) -> dict[str, float | None]:
    found = values.read(tuple(_FIELDS), read_fields, handle, tuple(_FIELDS.values()))
    if found is None:
        return dict.fromkeys(_FIELDS)
    return {what: values.read(what, value) for what, value in zip(_FIELDS, found, strict=True)}


def _codec(what: str, function: Callable[[Any], Any], handle: Any, values: Values) -> float | None:
    found = values.read(what, function, handle)  # and the period over which it was measured
    return None if found is None else ratio(found[0])


def _mig_use(uuid: str, part: Any, described: MigInstance | None, values: Values) -> MigUse:
    memory = values.read("mig_memory", memory_of, part)
    rates = values.read("mig_sm", pynvml.nvmlDeviceGetUtilizationRates, part)
    return MigUse(
        uuid,
        described.profile if described else "unknown",
        None if memory is None else int(memory.used),
        None if memory is None else int(memory.total),
        None if rates is None else ratio(rates.gpu),
    )


def _processes(
    handle: Any, gpu: str, divided: Sequence[tuple[str, Any]] | None, values: Values
) -> tuple[ProcessUse, ...] | None:
    running = None if divided is None else values.read("processes", processes_of, divided, gpu)
    if running is None:
        return None
    active: Mapping[int, float] | None = None
    if running:
        # Of a window that ends now rather than since the last reading: whoever else reads does not take from us, and a
        # clock that was set does not matter for long.
        active = values.read("process_sm", sm_by_pid, handle, time.time_ns() // 1000 - _SAMPLED)
    return tuple(
        ProcessUse(one.pid, one.mig, one.memory, None if active is None else active.get(one.pid, 0.0))
        for one in running
    )


def _there(values: Mapping[str, float | None], factor: int = 1) -> dict[str, float]:
    return {name: float(value * factor) for name, value in values.items() if value is not None}


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _both(transmit: float | None, receive: float | None) -> Throughput | None:
    if transmit is None and receive is None:
        return None
    found = _there({"transmit": transmit, "receive": receive}, _KIB)
    return Throughput(found.get("transmit"), found.get("receive"))
