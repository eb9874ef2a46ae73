"""The ledger's metrics and the janitor's own, for Prometheus."""

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from datetime import datetime

from prometheus_client.core import Metric

from ..errors import BerthError
from ..metrics import of_classes
from ..metrics import of_leases as metrics
from ..metrics.metric import Histogram, Samples
from ..metrics.pseudonyms import Pseudonyms
from ..operations.desk import Desk
from ..operations.metrics import LedgerSnapshot, Surveyor
from ..policy.classes import Phase, SeatState
from ..policy.gpus import GpuState, Slot
from ..policy.leases import Lease, LeaseState, TicketState
from .class_work import ClassWork
from .loops import Loop, Runner

_LOG = logging.getLogger("berth.janitor")
_PATIENCE = 2.0  # seconds that a scrape waits for the ledger
_BOUNDS_MS = tuple(round(1000 * bound) for bound in metrics.WAIT_BUCKETS)


class LedgerMetrics:
    """Gathers what the janitor serves. A ledger that does not answer makes its metrics absent, and no scrape late.

    Parameters
    ----------
    runners
        All loops, with how often each is to take a turn.
    classes
        Knows how starts of seats went.
    """

    def __init__(
        self,
        desk: Desk,
        runners: Mapping[str, Runner],
        loops: Iterable[Loop],
        names: Pseudonyms,
        patience: float = _PATIENCE,
        classes: ClassWork | None = None,
    ) -> None:
        self._surveyor = Surveyor(desk, _BOUNDS_MS)
        self._runners, self._loops, self._names, self._patience = runners, tuple(loops), names, patience
        self._classes = classes or ClassWork()
        self._lock = threading.Lock()
        self._under_way: Future[LedgerSnapshot] | None = None
        self._failing = False

    def collect(self) -> Iterable[Metric]:
        """Give all metrics; to be called by any thread."""
        samples = Samples()
        snapshot = self._snapshot()
        samples.put(metrics.LEDGER_UP, snapshot is not None)
        for loop in self._loops:
            samples.put(metrics.LOOP_INTERVAL, loop.every, loop.name)
            samples.put(metrics.JANITOR_STEPS, self._runners[loop.name].changed, loop.name)
        samples.put_histogram(of_classes.CLASS_SEAT_START, self._classes.starts())
        for why in of_classes.FAILURES:
            samples.put(of_classes.CLASS_SEAT_FAILURES, self._classes.failures(why), why)
        if snapshot is not None:
            render(snapshot, self._names, samples)
        return samples

    def begin(self) -> "Future[LedgerSnapshot]":
        """Look at the ledger, in the background; the first look has all to sum up."""
        with self._lock:
            looking = self._under_way
            if looking is None:
                looking = self._under_way = Future()
                # In a thread of its own, not one of a pool: at the process's end nobody waits for it.
                threading.Thread(target=self._look, args=(looking,), name="metrics-ledger", daemon=True).start()
            return looking

    def _snapshot(self) -> LedgerSnapshot | None:
        """Wait for a look at the ledger; who comes while one is under way waits for that one."""
        try:
            return self.begin().result(self._patience)
        except (NotYet, BerthError):
            return None

    def _look(self, looking: "Future[LedgerSnapshot]") -> None:
        try:
            found = self._surveyor.snapshot()
        except BerthError as error:
            if not self._failing:
                _LOG.warning("No metrics of the ledger: %s", error)
            self._failing = True
            self._over()
            looking.set_exception(error)
        except BaseException as error:  # noqa: BLE001  whoever waits is told; the server logs it
            self._over()
            looking.set_exception(error)
        else:
            self._failing = False
            self._over()
            looking.set_result(found)

    def _over(self) -> None:
        with self._lock:
            self._under_way = None


def render(found: LedgerSnapshot, names: Pseudonyms, samples: Samples) -> None:
    """Put what a snapshot says into samples."""
    _put_leases(found, names, samples)
    _put_slots(found, samples)
    _put_queue(found, samples)
    _put_use(found, names, samples)
    _put_reservations(found, samples)
    for phase in (Phase.PLANNED, Phase.WARMING, Phase.OPEN, Phase.ENDING):
        samples.put(of_classes.CLASS_SESSIONS, found.sessions.get(phase, 0), phase)
    for state in SeatState:
        samples.put(of_classes.CLASS_SEATS, found.class_seats.get(state, 0), state)
    for kind, count in found.repairs.items():
        samples.put(metrics.REPAIRS, count, kind)
    for loop in found.loops:
        samples.put(metrics.LOOP_SUCCESS, _seconds(loop.succeeded_at), loop.name)
        samples.put(metrics.LOOP_FAILURE, _seconds(loop.failed_at), loop.name)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _put_leases(found: LedgerSnapshot, names: Pseudonyms, samples: Samples) -> None:
    states = Counter(lease.state for lease in found.leases)
    for state in LeaseState:
        if state is not LeaseState.CLOSED:
            samples.put(metrics.LEASES, states[state], state)
    slots = {slot.id: slot for slot in found.slots}
    for lease in found.leases:
        _put_lease(lease, slots, names, samples)


def _put_lease(lease: Lease, slots: Mapping[str, Slot], names: Pseudonyms, samples: Samples) -> None:
    whose = names.of(lease.user), lease.server, lease.course, lease.profile, lease.state
    for slot_id in lease.slots:
        gpu = slots[slot_id].gpu if slot_id in slots else ""
        samples.info(metrics.OPEN_LEASE_INFO, lease.id, gpu, slot_id, *whose)
    for group in sorted(lease.groups) or [""]:
        samples.info(metrics.LEASE_GROUP_INFO, lease.id, group)
    samples.put(metrics.LEASE_GPUS, len(lease.slots), lease.id)
    samples.put(metrics.LEASE_GRANTED, lease.granted_at.timestamp(), lease.id)
    samples.put(metrics.LEASE_ENDS, lease.ends_at.timestamp(), lease.id)
    samples.put(metrics.LEASE_IDLE_SINCE, _seconds(lease.idle_since), lease.id)


def _put_slots(found: LedgerSnapshot, samples: Samples) -> None:
    held = {slot for lease in found.leases for slot in lease.slots}
    count = Counter(
        (slot.model, slot.kind, "held" if slot.id in held else "free" if slot.usable else "unusable")
        for slot in found.slots
    )
    for model, kind in sorted({(slot.model, slot.kind) for slot in found.slots}):
        for state in ("held", "free", "unusable"):
            samples.put(metrics.SLOTS, count[model, kind, state], model, kind, state)
    for gpu in found.gpus:
        for state in GpuState:
            samples.put(metrics.GPU_ADMIN_STATE, gpu.state is state, gpu.uuid, state)


def _put_queue(found: LedgerSnapshot, samples: Samples) -> None:
    waiting = [ticket.arrived_at for ticket in found.tickets if ticket.state is TicketState.WAITING]
    samples.put(metrics.QUEUE_LENGTH, len(waiting), TicketState.WAITING)
    samples.put(metrics.QUEUE_LENGTH, len(found.tickets) - len(waiting), TicketState.OFFERED)
    oldest = (found.now - min(waiting)).total_seconds() if waiting else 0.0
    samples.put(metrics.QUEUE_OLDEST, max(0.0, oldest))
    samples.put_histogram(metrics.QUEUE_WAIT, Histogram(found.waits, found.waited_ms / 1000))
    for outcome in (TicketState.SERVED, TicketState.CANCELLED, TicketState.EXPIRED):
        samples.put(metrics.TICKETS, found.tickets_over.get(outcome, 0), outcome)
    samples.put(metrics.OFFERS_EXPIRED, found.offers_lapsed)


def _put_use(found: LedgerSnapshot, names: Pseudonyms, samples: Samples) -> None:
    for user, gpu_ms in sorted(found.users.items()):
        samples.put(metrics.GPU_SECONDS, gpu_ms / 1000, names.of(user))
    for group, gpu_ms in sorted(found.groups.items()):
        samples.put(metrics.GROUP_GPU_SECONDS, gpu_ms / 1000, group)
    for course, gpu_ms in sorted(found.courses.items()):
        samples.put(metrics.COURSE_GPU_SECONDS, gpu_ms / 1000, course)
    for user, allowance in sorted(found.allowances.items()):
        name, budget = names.of(user), allowance.budget_ms
        samples.put(metrics.QUOTA_GPUS, allowance.gpus, name)
        samples.put(metrics.BUDGET, None if budget is None else budget / 1000, name)
        samples.put(metrics.BUDGET_USED, allowance.used_ms / 1000, name)
        samples.put(metrics.HOME_QUOTA, allowance.home, name)


def _put_reservations(found: LedgerSnapshot, samples: Samples) -> None:
    samples.put(metrics.RESERVATIONS, len(found.reservations) - len(found.seats), "coming")
    samples.put(metrics.RESERVATIONS, len(found.seats), "running")
    count: Counter[tuple[str, str]] = Counter()
    for reservation in found.reservations:
        seats = found.seats.get(reservation.id)
        if seats is not None:
            for state in ("free", "held", "taken", "unusable"):
                count[reservation.course, state] += len(getattr(seats, state))
    for (course, state), slots in sorted(count.items()):
        samples.put(metrics.RESERVED_SLOTS, slots, course, state)
    samples.put(metrics.RESERVATIONS_KEPT, found.reservations_kept, "kept")
    samples.put(metrics.RESERVATIONS_KEPT, found.reservations_broken, "broken")
