"""GPUs that do not exist, for laptops, classes about Berth, and tests. Labelled as simulated wherever they show."""

import dataclasses
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ..policy.gpus import LOCAL_NODE
from .loads import Pattern, load_at
from .readings import (
    HARMLESS_XIDS,
    Activity,
    Clock,
    GpuProcess,
    GpuReading,
    Health,
    Holders,
    Inventory,
    MigInstance,
    Processes,
)
from .scenario import Event, GpuSpec, ProcessSpec, Scenario
from .simulated_telemetry import Meter, PartUse, gpu_telemetry
from .telemetry import Absence, GpuTelemetry, Telemetry
from .worker import TIMEOUT, Worker

_NAMESPACE = uuid.UUID("6e0f1a64-3f7e-4d39-8f7c-6f2d6a0f7b11")


def nobody() -> Mapping[str, Sequence[int]]:
    return {}


@dataclass(frozen=True, slots=True)
class _Part:
    """What can be used: a GPU as a whole, or a MIG instance."""

    gpu: str
    mig: str
    memory: int
    load: Pattern
    processes: tuple[ProcessSpec, ...]
    meter: Meter = field(default_factory=Meter)

    @property
    def device(self) -> str:
        return self.mig or self.gpu


class SimulatedProbe:
    """Reads a scenario; see `spawner.gpus.readings.Probe`.

    What it tells depends on the scenario, the node, the clock and the holders only; of what adds up, such as energy,
    also on who was seen to hold what.

    Parameters
    ----------
    node
        Host that the GPUs are in; the same GPUs on another one have other UUIDs.
    clock
        Gives the time, aware of its zone.
    holders
        Who holds which slot now, with pids; the load pattern ``leased`` and the pid ``holder`` follow it. A held slot
        of a part for which no processes are described has one of the load's share of the memory, at its first pid.
    timeout
        Seconds that one reading may take, where the scenario has slow ones.
    """

    simulated = True

    def __init__(
        self,
        scenario: Scenario,
        clock: Clock,
        *,
        node: str = LOCAL_NODE,
        holders: Holders = nobody,
        timeout: float = TIMEOUT,
    ) -> None:
        self._scenario = scenario
        self._clock = clock
        self._holders = holders
        self._start = scenario.starts_at or clock()
        self._metered = threading.Lock()
        self._elapsed = 0.0
        self._closed = threading.Event()
        self._worker = Worker("The simulated driver", timeout)
        self._tardy = any(event.what in {"slow", "hang"} for spec in scenario.gpus for event in spec.events)
        self._specs: list[GpuSpec] = []
        self._gpus: list[GpuReading] = []
        self._parts: list[list[_Part]] = []
        for position, spec in enumerate(scenario.gpus):
            for number in range(spec.count):
                self._add(spec, _uuid(node, spec.name or f"#{position}", str(number)))

    def _add(self, spec: GpuSpec, gpu: str) -> None:
        mig = tuple(
            MigInstance(_uuid(gpu, "mig", str(number), instance.profile), instance.profile, instance.size)
            for number, instance in enumerate(spec.mig or ())
        )
        self._specs.append(spec)
        self._gpus.append(
            GpuReading(
                gpu,
                len(self._gpus),
                spec.label,
                spec.memory,
                spec.compute_capability,
                spec.island,
                mig_mode=spec.mig is not None,
                mig=mig,
            )
        )
        if spec.mig is None:
            self._parts.append([_Part(gpu, "", spec.memory, spec.load, spec.processes)])
        else:
            self._parts.append(
                [
                    _Part(gpu, instance.uuid, instance.memory, described.load, described.processes)
                    for instance, described in zip(mig, spec.mig, strict=True)
                ]
            )

    def inventory(self) -> Inventory:
        self._answer()
        seconds = self._seconds(self._clock())
        gpus = tuple(
            dataclasses.replace(gpu, health=_health(spec.events_at(seconds)))
            for gpu, spec in zip(self._gpus, self._specs, strict=True)
        )
        return Inventory(gpus, self._scenario.driver, self._scenario.cuda, simulated=True)

    def processes(self) -> Processes:
        self._answer()
        now = self._clock()
        holders = self._holders()
        unread = frozenset(part.gpu for part, lost in self._each(now) if lost)
        found = (process for part, lost in self._each(now) if not lost for process in self._running(part, now, holders))
        return Processes(tuple(found), unread)

    def activity(self) -> tuple[Activity, ...]:
        self._answer()
        now = self._clock()
        holders = self._holders()
        found: dict[tuple[str, str], Activity] = {}
        for part, lost in self._each(now):
            if lost:
                found[part.gpu, ""] = Activity(part.gpu, "", None, None)
                continue
            used = sum(process.memory or 0 for process in self._running(part, now, holders))
            found[part.gpu, part.mig] = Activity(
                part.gpu, part.mig, self._load(part, now, holders), min(used, part.memory)
            )
        return tuple(found.values())

    def telemetry(self) -> Telemetry:
        self._answer()
        now = self._clock()
        holders = self._holders()
        seconds = self._seconds(now)
        with self._metered:
            elapsed = self._elapsed = max(self._elapsed, seconds)
        gpus: list[GpuTelemetry] = []
        absences: list[Absence] = []
        for gpu, spec, parts in zip(self._gpus, self._specs, self._parts, strict=True):
            events = spec.events_at(seconds)
            found, missing = gpu_telemetry(
                spec,
                dataclasses.replace(gpu, health=_health(events)),
                seconds,
                elapsed,
                [self._use(part, now, holders) for part in parts],
                events,
            )
            gpus.append(found)
            absences += missing
        return Telemetry(
            tuple(gpus), self._scenario.driver, self._scenario.cuda, simulated=True, absences=tuple(absences)
        )

    def close(self) -> None:
        self._closed.set()
        self._worker.close(lambda: None)

    def _answer(self) -> None:
        """Take as long as the scenario says, or fail like a driver that does."""
        if self._tardy:
            self._worker.call(self._dawdle)

    def _dawdle(self) -> None:
        time.sleep(max((event.delay for event in self._going_on("slow")), default=0.0))
        while self._going_on("hang") and not self._closed.wait(0.02):
            pass

    def _going_on(self, what: str) -> list[Event]:
        seconds = self._seconds(self._clock())
        return [event for spec in self._specs for event in spec.events_at(seconds) if event.what == what]

    def _seconds(self, now: datetime) -> float:
        return (now - self._start).total_seconds()

    def _each(self, now: datetime) -> Iterator[tuple[_Part, bool]]:
        """Give all parts, and whether their GPU does not answer."""
        seconds = self._seconds(now)
        for spec, parts in zip(self._specs, self._parts, strict=True):
            lost = _health(spec.events_at(seconds)).lost
            for part in parts:
                yield part, lost

    def _load(self, part: _Part, now: datetime, holders: Mapping[str, Sequence[int]]) -> float:
        leased = bool(_held(part, holders))
        return load_at(part.load, now, self._seconds(now), leased=leased)

    def _use(self, part: _Part, now: datetime, holders: Mapping[str, Sequence[int]]) -> PartUse:
        with self._metered:
            part.meter.advance(part.load, self._start, self._seconds(now), leased=bool(_held(part, holders)))
            busy = part.meter.busy
        running = self._running(part, now, holders)
        return PartUse(part.mig, part.memory, self._load(part, now, holders), busy, running)

    def _running(self, part: _Part, now: datetime, holders: Mapping[str, Sequence[int]]) -> list[GpuProcess]:
        seconds = self._seconds(now)
        pids = [held[0] for _, held in sorted(_held(part, holders).items()) if held]
        memory: dict[int, int] = {}
        if not part.processes:
            load = self._load(part, now, holders)
            memory = {pid: int(load * part.memory) // len(pids) for pid in pids}
        for process in part.processes:
            if process.runs(seconds):
                for pid in pids if process.pid == "holder" else [process.pid]:
                    memory[pid] = memory.get(pid, 0) + process.memory
        return [GpuProcess(pid, part.gpu, part.mig, size) for pid, size in memory.items()]


def _uuid(*parts: str) -> str:
    return f"SIM-{uuid.uuid5(_NAMESPACE, '/'.join(parts))}"


def _held(part: _Part, holders: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    return {slot: pids for slot, pids in holders.items() if slot.partition(":")[0] == part.device}


def _health(events: Sequence[Event]) -> Health:
    lost = any(event.what == "lost" for event in events)
    errors = sum(event.count for event in events if event.what == "ecc" and not event.corrected)
    xid = next(
        (event.xid for event in reversed(events) if event.what == "xid" and event.xid not in HARMLESS_XIDS), None
    )
    problem = ""
    if lost:
        problem = "It has fallen off the bus (simulated)."
    elif errors:
        problem = f"{errors} memory error{'s' if errors > 1 else ''} could not be corrected (simulated)."
    elif xid is not None:
        problem = f"The driver reported critical error XID {xid} (simulated)."
    return Health(lost, errors, xid, problem)
