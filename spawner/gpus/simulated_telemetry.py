"""What a simulated GPU's instruments show: plain functions of its load.

============  =====================================================================================
power         15 % of the most it draws when idle, all of it at full load; straight between
energy        that power, summed over time
temperature   35 °C when idle, 75 °C at full load; the memory is 6 °C hotter; the event ``hot``: what it says
clocks        210 MHz (graphics, SM, video) when idle, else the highest; half of that while held down
memory I/O    60 % of the load
PCIe          2 GB/s sent, 8 GB/s received at full load
NVLink        10 GB/s each way at full load, if it is in an island
============  =====================================================================================
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from .loads import Pattern, load_seconds
from .readings import GpuProcess, GpuReading
from .scenario import Event, GpuSpec
from .telemetry import THROTTLE_REASONS, Absence, GpuTelemetry, MigUse, ProcessUse, Throughput

SLOWDOWN = 90.0  # °C
_IDLE_POWER = 0.15
_MEMORY_IO = 0.6
_COOL, _WARM, _MEMORY_HOTTER = 35.0, 75.0, 6.0
_IDLE_CLOCK = 210e6
_CLOCKS_MAX = {"graphics": 1410e6, "sm": 1410e6, "memory": 1215e6, "video": 1290e6}
_TRANSMIT, _RECEIVE, _NVLINK = 2e9, 8e9, 10e9


@dataclass(slots=True)
class Meter:
    """Sums up how long something was busy; never falls.

    Attributes
    ----------
    seconds
        Since the start, as far as it has counted.
    busy
        Seconds of full load in these.
    """

    seconds: float = 0.0
    busy: float = 0.0
    _leased: bool = False

    def advance(self, load: Pattern, start: datetime, seconds: float, *, leased: bool) -> None:
        """Count on; who held it at the last reading is taken to have held it until now."""
        if seconds > self.seconds:
            self.busy += max(0.0, load_seconds(load, start, self.seconds, seconds, leased=self._leased))
            self.seconds = seconds
        self._leased = leased


@dataclass(frozen=True, slots=True)
class PartUse:
    """What goes on in a whole GPU, or in a MIG instance.

    Attributes
    ----------
    mig
        UUID of the instance; empty for the whole GPU.
    memory
        Bytes that it has.
    load
        0 to 1.
    busy
        From its `Meter`.
    """

    mig: str
    memory: int
    load: float
    busy: float
    processes: Sequence[GpuProcess] = field(default=())

    @property
    def used(self) -> int:
        return min(self.memory, sum(process.memory or 0 for process in self.processes))

    def processes_use(self) -> list[ProcessUse]:
        """Give the processes; they share the load alike."""
        return [
            ProcessUse(process.pid, self.mig, process.memory, self.load / len(self.processes))
            for process in self.processes
        ]


def gpu_telemetry(
    spec: GpuSpec, gpu: GpuReading, seconds: float, elapsed: float, uses: Sequence[PartUse], events: Sequence[Event]
) -> tuple[GpuTelemetry, list[Absence]]:
    """Read the instruments.

    Parameters
    ----------
    seconds
        Since the start.
    elapsed
        Likewise, the most that there ever were: the clock may be set back, a counter may not.
    uses
        Of the GPU, or of its MIG instances.
    events
        What has happened and is not over.
    """
    xids = spec.xids_until(seconds)
    if gpu.health.lost:
        return GpuTelemetry(gpu, up=False, xids=xids), [Absence(gpu.uuid, "gpu", "lost")]
    # A MIG instance counts as much as its share of the memory.
    load = min(1.0, sum(use.load * use.memory for use in uses) / gpu.memory)
    busy = sum(use.busy * use.memory for use in uses) / gpu.memory
    used = sum(use.used for use in uses)
    idle = _IDLE_POWER * spec.power
    temperature = max([_COOL + (_WARM - _COOL) * load, *(event.temperature for event in events if event.what == "hot")])
    reasons = {event.reason for event in events if event.what == "throttle"}
    if temperature >= SLOWDOWN:
        reasons |= {"hw_slowdown", "hw_thermal"}
    telemetry = GpuTelemetry(
        gpu,
        sm=load,
        memory_io=_MEMORY_IO * load,
        encoder=0.0,
        decoder=0.0,
        memory_used=used,
        memory_free=gpu.memory - used,
        memory_total=gpu.memory,
        power=idle + (spec.power - idle) * load,
        power_limit=spec.power,
        energy=idle * elapsed + (spec.power - idle) * busy,
        temperatures={"gpu": temperature, "memory": temperature + _MEMORY_HOTTER},
        slowdown=SLOWDOWN,
        clocks=_clocks(load, held_down=bool(reasons)),
        clocks_max=_CLOCKS_MAX,
        throttled={reason: reason in reasons for reason in THROTTLE_REASONS},
        pcie=Throughput(_TRANSMIT * load, _RECEIVE * load),
        nvlink=Throughput(_NVLINK * busy, _NVLINK * busy) if gpu.island else None,
        ecc={
            name: sum(event.count for event in events if event.what == "ecc" and event.corrected == corrected)
            for name, corrected in (("corrected", True), ("uncorrected", False))
        },
        xids=xids,
        mig=tuple(
            MigUse(instance.uuid, instance.profile, use.used, instance.memory, use.load)
            for instance, use in zip(gpu.mig, uses if gpu.mig_mode else (), strict=True)
        ),
        processes=tuple(itertools.chain.from_iterable(use.processes_use() for use in uses)),
    )
    return telemetry, [] if gpu.island else [Absence(gpu.uuid, "nvlink", "not_supported")]


def _clocks(load: float, *, held_down: bool) -> dict[str, float]:
    if not load:
        return {name: most if name == "memory" else _IDLE_CLOCK for name, most in _CLOCKS_MAX.items()}
    return {name: most / 2 if held_down and name != "memory" else most for name, most in _CLOCKS_MAX.items()}
