"""What a GPU does and how it fares, at one moment: plain values in base units, the same for real and simulated ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from .readings import GpuReading

# Why a value could not be read: this GPU or driver has none; the GPU does not answer any more; the call took too long;
# the driver as a whole is gone; it refuses; anything else.
Reason = Literal["not_supported", "lost", "timeout", "unavailable", "denied", "failed"]

# Why a GPU's clocks are held down; being idle is no reason.
ThrottleReason = Literal[
    "power_cap",
    "hw_slowdown",
    "hw_thermal",
    "hw_power_brake",
    "sw_thermal",
    "sync_boost",
    "applications_clocks",
    "display_clocks",
]
THROTTLE_REASONS: tuple[ThrottleReason, ...] = get_args(ThrottleReason)


@dataclass(frozen=True, slots=True)
class Throughput:
    """What went each way over a bus: bytes per second, or bytes for a counter; None where it cannot be read."""

    transmit: float | None
    receive: float | None


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process takes of a GPU or a MIG instance.

    Attributes
    ----------
    mig
        UUID of the MIG instance; empty for the whole GPU.
    memory
        Bytes; None where the driver does not tell.
    sm
        Share of the last moments in which a kernel of it ran, 0 to 1; None where it cannot be read.
    """

    pid: int
    mig: str
    memory: int | None
    sm: float | None


@dataclass(frozen=True, slots=True)
class MigUse:
    """What is used of a MIG instance; bytes and a share of time from 0 to 1, None where it cannot be read."""

    uuid: str
    profile: str
    memory_used: int | None = None
    memory_total: int | None = None
    sm: float | None = None


@dataclass(frozen=True, slots=True)
class Absence:
    """A value that could not be read, and why.

    Attributes
    ----------
    gpu
        UUID; empty for the host as a whole.
    what
        The value's name: as in `GpuTelemetry`, with what it is of behind it (``"temperature_memory"``,
        ``"ecc_corrected"``), or ``"gpu"`` for everything of a GPU.
    """

    gpu: str
    what: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class GpuTelemetry:
    """One GPU. A value that could not be read is None, or missing in its mapping, and there is an `Absence` of it.

    Of one that does not answer, what it is and the XIDs are told, and there is one absence, of ``"gpu"``.

    Attributes
    ----------
    gpu
        What it is. Health and UUID are always known; the rest is what was known last of one that does not answer.
    up
        Whether it answers.
    sm, memory_io, encoder, decoder
        Shares of the last moments in which it was in use, 0 to 1.
    memory_used, memory_free, memory_total
        Bytes; what the driver keeps for itself is in the total only.
    power, power_limit
        Watts.
    energy
        Joules since the driver was loaded.
    temperatures
        Celsius by sensor, ``gpu`` or ``memory``.
    slowdown
        Celsius at which it slows itself down.
    clocks, clocks_max
        Hertz by clock: ``graphics``, ``sm``, ``memory``, ``video``.
    throttled
        By each of `THROTTLE_REASONS`; empty where it cannot be read.
    pcie
        Bytes per second, measured for some milliseconds within the last minute; None without an absence as long as
        it was not measured yet.
    nvlink
        Bytes since the driver was loaded, over all links.
    ecc
        Memory errors since the driver was loaded, ``corrected`` and ``uncorrected``.
    xids
        Errors that the driver reported since the probe was opened, by NVIDIA's number; those of programs count.
    processes
        None if they could not be read.
    """

    gpu: GpuReading
    up: bool = True
    sm: float | None = None
    memory_io: float | None = None
    encoder: float | None = None
    decoder: float | None = None
    memory_used: int | None = None
    memory_free: int | None = None
    memory_total: int | None = None
    power: float | None = None
    power_limit: float | None = None
    energy: float | None = None
    temperatures: Mapping[str, float] = field(default_factory=dict)
    slowdown: float | None = None
    clocks: Mapping[str, float] = field(default_factory=dict)
    clocks_max: Mapping[str, float] = field(default_factory=dict)
    throttled: Mapping[str, bool] = field(default_factory=dict)
    pcie: Throughput | None = None
    nvlink: Throughput | None = None
    ecc: Mapping[str, int] = field(default_factory=dict)
    xids: Mapping[int, int] = field(default_factory=dict)
    mig: tuple[MigUse, ...] = ()
    processes: tuple[ProcessUse, ...] | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The GPUs of a host, by index.

    Attributes
    ----------
    driver, cuda
        Versions, ``550.54.15`` and ``12.4``; empty if unknown.
    """

    gpus: tuple[GpuTelemetry, ...] = ()
    driver: str = ""
    cuda: str = ""
    simulated: bool = False
    absences: tuple[Absence, ...] = ()
