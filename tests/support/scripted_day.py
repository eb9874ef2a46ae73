"""A day of leases by script: the real ledger, policy, probe and metrics, by a clock of their own.

Of the engine there is only what it would say, as values; nothing waits, and a second is as long as it takes.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from prometheus_client.core import Metric

from spawner.engine.running import Running, RunningContainer
from spawner.exporter.attribution import attribute_use, holdings, parents_of
from spawner.exporter.names import Naming
from spawner.exporter.render import Renderer
from spawner.exporter.snapshot import Snapshot
from spawner.gpus.scenario import Scenario
from spawner.gpus.simulated import SimulatedProbe
from spawner.gpus.slots import Share, lay_out
from spawner.janitor.metrics import render
from spawner.metrics import of_leases
from spawner.metrics.metric import Samples
from spawner.metrics.pseudonyms import Pseudonyms
from spawner.operations import leases, repairs
from spawner.operations.metrics import Surveyor
from spawner.policy.leases import Lease
from spawner.policy.observed import ObservedContainer
from spawner.policy.reconcile import Grace, Remove, reconcile

from .office import Office

EVERY = timedelta(seconds=15)  # between two scrapes, as the how-to says
RECONCILE = timedelta(seconds=30)  # as the settings have it
SECOND = timedelta(seconds=1)
_EXPORTER_LATER = timedelta(milliseconds=4_200)  # Prometheus spreads its scrapes
_JANITOR_LATER = timedelta(milliseconds=11_100)
_RECONCILE_LATER = timedelta(seconds=8)
_BOUNDS_MS = tuple(round(1000 * bound) for bound in of_leases.WAIT_BUCKETS)
_GRACE = Grace(timedelta(minutes=30), timedelta(seconds=70))


@dataclass(frozen=True)
class Stay:
    """One server with GPUs, as the script has it.

    Attributes
    ----------
    begins
        When its user asks; its container starts `_CREATE` later.
    length
        From the container's start to its end.
    ready_after
        Likewise, until the server answers; None if it never does.
    stopping
        How long before its end the hub begins to stop it; None for a container that dies, which nobody but the
        reconciliation notices.
    extended_by
        Hours that its user adds halfway.
    """

    user: str
    model: str
    begins: datetime
    length: timedelta
    gpus: int = 1
    server: str = ""
    groups: frozenset[str] = frozenset()
    course: str = ""
    hours: float | None = None
    ready_after: timedelta | None = timedelta(seconds=1.7)
    stopping: timedelta | None = timedelta(seconds=1.3)
    extended_by: float = 0

    @property
    def starts(self) -> datetime:
        return self.begins + _CREATE

    @property
    def ends(self) -> datetime:
        return self.starts + self.length


_CREATE = timedelta(milliseconds=450)
_GONE = timedelta(milliseconds=350)  # from a container's end until the hub has removed it


@dataclass
class _Box:
    """A container."""

    stay: Stay
    lease: str
    slots: tuple[str, ...]
    pid: int
    answered: bool = False
    finished_at: datetime | None = None

    @property
    def id(self) -> str:
        return f"{self.pid:064}"

    def running(self) -> RunningContainer:
        stay = self.stay
        return RunningContainer(
            self.id, f"berth-{stay.user}", self.pid, stay.user, stay.server, self.lease, self.slots, stay.course
        )

    def observed(self) -> ObservedContainer:
        return ObservedContainer(
            self.id,
            f"berth-{self.stay.user}",
            self.stay.user,
            self.stay.server,
            self.lease,
            self.slots,
            self.finished_at is None,
            self.stay.begins,
            self.stay.starts,
            self.finished_at,
            None if self.finished_at is None else 137,
        )


Sink = Callable[[str, datetime, Iterable[Metric]], None]


@dataclass
class World:
    """A hub's ledger and node while the script runs.

    Attributes
    ----------
    sink
        Gets what each scrape gave: the job, when, the metrics.
    leases
        What each stay was granted.
    gpus
        UUIDs, as the scenario lists them.
    """

    office: Office
    scenario: Scenario
    shares: Mapping[str, Share]
    sink: Sink
    leases: dict[Stay, Lease] = field(default_factory=dict)
    _boxes: dict[Stay, _Box] = field(default_factory=dict)
    _pids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self._probe = SimulatedProbe(self.scenario, self.office.clock, holders=self._holders)
        self._renderer = Renderer(version="1", node="node0", hub="hub", naming=Naming(), processes=False)
        self._surveyor, self._names = Surveyor(self.office.desk, _BOUNDS_MS), Pseudonyms()
        inventory = self._probe.inventory()
        self.gpus = tuple(gpu.uuid for gpu in inventory.gpus)
        layout = lay_out(inventory, self.shares)
        self.office.fit((layout.gpus, layout.slots))

    def play(self, script: Sequence[Stay], begin: datetime, end: datetime) -> None:
        """Do what the script says, and scrape from `begin` to `end` without a gap."""
        numbers = itertools.count()
        due: list[tuple[datetime, int, Callable[[], None]]] = []

        def at(moment: datetime, act: Callable[..., None], *what: Any) -> None:
            heapq.heappush(due, (moment, next(numbers), lambda: act(*what)))

        for stay in script:
            for moment, act in self._acts(stay):
                at(moment, act, stay)
        for every, later, turn in (
            (EVERY, _EXPORTER_LATER, self._scrape_exporter),
            (EVERY, _JANITOR_LATER, self._scrape_janitor),
            (RECONCILE, _RECONCILE_LATER, self._reconcile),
        ):
            for number in range((end - begin) // every):
                at(begin + number * every + later, turn)
        while due and due[0][0] < end:
            self.office.clock.now, _, do = heapq.heappop(due)
            do()

    def close(self) -> None:
        self._probe.close()

    # --- what users, their containers and the hub do ------------------------------------------------------------------

    def _acts(self, stay: Stay) -> Iterator[tuple[datetime, Callable[[Stay], None]]]:
        yield stay.begins, self._ask
        yield stay.starts, self._start
        if stay.ready_after is not None:
            yield stay.starts + stay.ready_after, self._answer
        if stay.extended_by:
            yield stay.starts + stay.length / 2, self._extend
        if stay.stopping is not None:
            yield stay.ends - stay.stopping, self._release
            yield stay.ends, self._end
            yield stay.ends + _GONE, self._remove
        else:
            yield stay.ends, self._end

    def _ask(self, stay: Stay) -> None:
        self.leases[stay] = self.office.granted(
            stay.user,
            stay.gpus,
            stay.hours,
            server=stay.server,
            models=frozenset({stay.model}),
            groups=stay.groups,
            course=stay.course,
        )

    def _start(self, stay: Stay) -> None:
        lease = self.leases[stay]
        self._boxes[stay] = _Box(stay, lease.id, lease.slots, next(self._pids))

    def _answer(self, stay: Stay) -> None:
        box = self._boxes[stay]
        box.answered = True
        leases.activate(self.office.desk, box.lease, box.id, stay.starts, self.office.clock.now)

    def _extend(self, stay: Stay) -> None:
        longer = leases.extend(self.office.desk, self.leases[stay].id, stay.extended_by, stay.user)
        assert isinstance(longer, Lease), longer

    def _release(self, stay: Stay) -> None:
        leases.release(self.office.desk, self.leases[stay].id, "stopped")

    def _end(self, stay: Stay) -> None:
        self._boxes[stay].finished_at = stay.ends

    def _remove(self, stay: Stay) -> None:
        del self._boxes[stay]
        leases.close(self.office.desk, self.leases[stay].id, stay.ends)

    # --- the janitor and the exporter ---------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        desk, looked_at = self.office.desk, self.office.clock.now
        observed = [box.observed() for box in self._boxes.values()]
        self.office.wait(timedelta(milliseconds=20))
        for repair in reconcile(repairs.open_leases(desk), observed, _GRACE, looked_at, self.office.clock.now):
            if isinstance(repair, Remove):
                self._boxes = {stay: box for stay, box in self._boxes.items() if box.id != repair.container.id}
            else:
                repairs.apply(desk, repair)

    def _holders(self) -> dict[str, tuple[int, ...]]:
        # No kernel runs before its server does.
        return {slot: (box.pid,) for box in self._alive() if box.answered for slot in box.slots}

    def _alive(self) -> list[_Box]:
        return [box for box in self._boxes.values() if box.finished_at is None]

    def _scrape_exporter(self) -> None:
        containers = [box.running() for box in self._alive()]
        running = Running({one.id: one for one in containers}, known=True, fresh=True)
        telemetry = self._probe.telemetry()
        held = holdings(containers, parents_of(telemetry))
        inside = {one.pid: (one.id,) for one in containers}
        # Without what instruments and containers show, which costs more than all the rest and which nobody asks for.
        snapshot = Snapshot(None, attribute_use(telemetry, running, held, inside), held)
        self.sink("berth-exporter", self.office.clock.now, self._renderer.render(snapshot))

    def _scrape_janitor(self) -> None:
        samples = Samples()
        render(self._surveyor.snapshot(), self._names, samples)
        self.sink("berth-janitor", self.office.clock.now, samples)
