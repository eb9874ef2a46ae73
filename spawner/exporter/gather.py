"""One look at the whole node: every probe at once, in threads of their own, and an answer in time whatever hangs."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass

from ..engine.client import Engine, engine_errors
from ..engine.running import Running, RunningView
from ..errors import EngineUnavailable
from ..gpus.cgroups import PROC, container_ids
from ..gpus.readings import Probe
from ..gpus.telemetry import Telemetry
from .attribution import attribute_use, holdings, parents_of
from .cgroups import UseReader
from .homes import HomeWalker
from .looking import HARMLESS, ErrorCounts, Found, Looker, reason_of
from .snapshot import ContainerUse, ProbeState, Snapshot

DEADLINE = 1.5  # seconds for all probes together
_FRESH_SECONDS = 1.0
_FIRST_SECONDS = 0.5
_OPEN_AGAIN_SECONDS = 60.0
# Two threads that call the kernel all the time hand Python's lock to and fro, which costs more than it gains. A driver
# that takes longer than this is waited for without the lock.
_HEAD_START = 0.01


@dataclass(frozen=True, slots=True)
class _Cgroups:
    """What control groups say; `absent` holds a reason for each reading that there is not."""

    containers: tuple[ContainerUse, ...]
    absent: tuple[str, ...]


class OpenedProbe:
    """The probe of GPUs, opened at its first use and again where there was none: a driver may be loaded later.

    Parameters
    ----------
    open_probe
        Gives None where there are no GPUs.
    """

    def __init__(self, open_probe: Callable[[], Probe | None]) -> None:
        self._open = open_probe
        self._probe: Probe | None = None
        self._tried_at = float("-inf")

    def telemetry(self) -> Telemetry:
        """Read the GPUs; nothing where there are none.

        Raises
        ------
        GpuProbeFailed
        """
        now = time.monotonic()
        if self._probe is None and now - self._tried_at >= _OPEN_AGAIN_SECONDS:
            self._probe = self._open()  # one that fails is tried at each scrape
            self._tried_at = now
        return Telemetry() if self._probe is None else self._probe.telemetry()

    def close(self) -> None:
        if self._probe is not None:
            self._probe.close()


class Gatherer:
    """Makes snapshots of a node; those who ask while one is being made share it.

    Parameters
    ----------
    probe
        Of the GPUs; called in one thread.
    errors
        Shared with `walker`.
    """

    def __init__(
        self,
        engine: Engine,
        view: RunningView,
        probe: OpenedProbe,
        walker: HomeWalker,
        errors: ErrorCounts,
        *,
        deadline: float = DEADLINE,
    ) -> None:
        self._engine, self._view, self._walker, self._errors = engine, view, walker, errors
        self._deadline = deadline
        self._reader = reader = UseReader()
        view.listeners.append(lambda: reader.keep(view.current.containers))
        self._gpus: Looker[Telemetry] = Looker("GPUs", probe.telemetry)
        self._daemon: Looker[bool] = Looker("Docker Engine", self._ask_engine)
        self._cgroups: Looker[_Cgroups] = Looker("containers' control groups", lambda: _read(view.current, reader))
        self._lock = threading.Lock()
        self._shared: Future[Snapshot] | None = None
        self._parents: dict[str, str] = {}
        self._patience = _FIRST_SECONDS

    def snapshot(self) -> Snapshot:
        """Look now; takes the deadline and little more at the most."""
        with self._lock:
            shared, mine = self._shared, self._shared is None
            if shared is None:
                shared = self._shared = Future()
        if not mine:
            return shared.result()
        try:
            shared.set_result(self._gather())
        except BaseException as error:
            shared.set_exception(error)
            raise
        finally:
            with self._lock:
                self._shared = None
        return shared.result()

    def close(self) -> None:
        for looker in (self._gpus, self._daemon, self._cgroups):
            looker.close()
        self._reader.keep(())

    def _ask_engine(self) -> bool:
        with engine_errors():
            self._engine.connect("quick").ping()
        if not self._view.wait_fresh(_FRESH_SECONDS):
            raise EngineUnavailable("The Docker Engine answers, but does not say which containers there are.")
        return True

    def _gather(self) -> Snapshot:
        # The first scrape may come as soon as this process listens.
        self._view.wait_fresh(self._patience)
        self._patience = 0.0
        until = time.monotonic() + self._deadline
        gpus, daemon = self._gpus.begin(), self._daemon.begin()
        if gpus is not None:
            wait([gpus], _HEAD_START)
        cgroups = self._cgroups.begin()
        read = self._cgroups.finish(cgroups, until)
        telemetry = self._gpus.finish(gpus, until)
        engine = self._daemon.finish(daemon, until)
        running = self._view.current
        containers = read.value.containers if read.value else _unread(running)
        if telemetry.value:
            self._parents.update(parents_of(telemetry.value))
        # Ended ones hold nothing, also if nobody said so yet.
        there = Running({each.container.id: each.container for each in containers}, running.known, running.fresh)
        held = holdings(there.containers.values(), self._parents)
        use = None
        if telemetry.value:
            use = attribute_use(telemetry.value, there, held, owners(telemetry.value, containers))
            self._errors.add("gpus", "gone", use.gone)
        return Snapshot(
            telemetry.value,
            use,
            held,
            containers,
            self._walker.current.homes,
            self._states(telemetry, engine, read),
            self._errors.now(),
        )

    def _states(
        self, telemetry: Found[Telemetry], engine: Found[bool], read: Found[_Cgroups]
    ) -> Mapping[str, ProbeState]:
        absent = {
            "gpus": [absence.reason for absence in telemetry.value.absences] if telemetry.value else [telemetry.reason],
            "engine": [engine.reason] if engine.reason else [],
            "cgroups": list(read.value.absent) if read.value else [read.reason],
        }
        states = {}
        took = {"gpus": telemetry.seconds, "engine": engine.seconds, "cgroups": read.seconds}
        for probe, reasons in absent.items():
            for reason in reasons:
                self._errors.add(probe, reason)
            states[probe] = ProbeState(HARMLESS.issuperset(reasons), took[probe])
        homes = self._walker.current
        if homes.whole is not None:
            states["homes"] = ProbeState(homes.whole, homes.seconds)
        return states


def _read(running: Running, reader: UseReader) -> _Cgroups:
    reader.keep(running.containers)
    containers: list[ContainerUse] = []
    absent: list[str] = []
    for container in running.containers.values():
        try:
            use = reader.read(container)
        except OSError as error:
            absent.append(reason_of(error))
            containers.append(ContainerUse(container, None))
            continue
        if use is None:
            absent.append("gone")
        else:
            absent += use.absent
            containers.append(ContainerUse(container, use))
    return _Cgroups(tuple(containers), tuple(absent))


def _unread(running: Running) -> tuple[ContainerUse, ...]:
    return tuple(ContainerUse(container, None) for container in running.containers.values())


def owners(telemetry: Telemetry, containers: Iterable[ContainerUse] = ()) -> dict[int, tuple[str, ...] | None]:
    """Tell which containers the processes on the GPUs are in; None for those that have ended.

    Parameters
    ----------
    containers
        With the processes in them, as far as that is known by now; others are asked themselves.
    """
    inside = {pid: (each.container.id,) for each in containers if each.use for pid in each.use.pids}
    found: dict[int, tuple[str, ...] | None] = {}
    for pid in {process.pid for one in telemetry.gpus for process in one.processes or ()}:
        found[pid] = inside.get(pid) or _ask(pid, simulated=telemetry.simulated)
    return found


def _ask(pid: int, *, simulated: bool) -> tuple[str, ...] | None:
    inside = container_ids(pid, PROC)
    # A simulated process need not exist.
    return inside if inside or simulated or (PROC / str(pid)).exists() else None
