"""The ledger's intent against what the engine says exists: a plan of repairs, as data.

A second look after the repairs finds nothing to repair; it only tells that servers run (`Seen`). What changed since
the look at the engine began is let alone until the next one, and a container that the engine did not speak of is gone
only if the whole list arrived.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from .leases import Lease, LeaseState
from .observed import ObservedContainer


@dataclass(frozen=True, slots=True)
class Activate:
    """A pending lease whose server runs: its start was cut off after the container had come up.

    Attributes
    ----------
    at
        As of `Seen`.
    """

    lease: Lease
    container: ObservedContainer
    at: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """An active lease whose container runs, as it should.

    Attributes
    ----------
    at
        When the look began that found it running: it ended no earlier.
    """

    lease: Lease
    container: ObservedContainer
    at: datetime


@dataclass(frozen=True, slots=True)
class Remove:
    """A container to be removed, killed if it must be; before its lease is closed."""

    container: ObservedContainer
    why: str


@dataclass(frozen=True, slots=True)
class Release:
    """A lease whose server is over: it is to be closed as soon as its containers are confirmed gone.

    Attributes
    ----------
    ended_at
        When its time ends: the engine's finish time; else when it was last seen to run. None books nothing.
    """

    lease: Lease
    ended_at: datetime | None
    why: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """An offer that nobody took in time."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Adopt:
    """A running container with GPUs and no open lease, whose slots are free: it gets one, its work goes on."""

    container: ObservedContainer


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Slots whose truth is in doubt: a running container says it has them, and the ledger gave them to another."""

    slots: tuple[str, ...]
    container: ObservedContainer
    why: str


Repair = Activate | Adopt | Quarantine | Release | Remove | Seen | Withdraw


@dataclass(frozen=True, slots=True)
class Grace:
    """How long things may be under way.

    Attributes
    ----------
    start
        From a lease's grant until its server must be ready.
    stop
        From the release of a lease until its container must be gone.
    hub_began
        When the hub's process began; what was starting or stopping before that is nobody's work any more.
    """

    start: timedelta
    stop: timedelta = timedelta(seconds=60)
    hub_began: datetime | None = None

    def still_starting(self, since: datetime, now: datetime) -> bool:
        """Tell whether a start that began at `since` may be under way."""
        return not self._cut_off(since) and now - since < self.start

    def still_stopping(self, since: datetime, now: datetime) -> bool:
        """Tell whether a stop that began at `since` may be under way."""
        return not self._cut_off(since) and now - since < self.stop

    def _cut_off(self, since: datetime) -> bool:
        return self.hub_began is not None and since < self.hub_began


def reconcile(
    leases: Iterable[Lease],
    observed: Iterable[ObservedContainer],
    grace: Grace,
    looked_at: datetime,
    now: datetime,
    quarantined: frozenset[str] = frozenset(),
) -> list[Repair]:
    """Compare the open leases with the containers that exist.

    Parameters
    ----------
    leases
        All that are not closed, read after the look at the engine; and those that were closed since it began, so that
        a container that was seen just before its end is not taken for one without a lease.
    observed
        Every container of this hub that exists, running or not.
    looked_at
        When the look at the engine began; a lease that changed since is let alone.
    quarantined
        Slots in doubt already.

    Returns
    -------
    list of Repair
        In the order in which they are to be carried out: removals before releases.
    """
    by_lease: dict[str, list[ObservedContainer]] = {}
    strays: list[ObservedContainer] = []
    known = {
        lease.id: lease for lease in leases if lease.state is not LeaseState.CLOSED or lease.changed_at >= looked_at
    }
    # A container that was adopted bears the label of its former lease.
    adopted = {lease.container: lease.id for lease in known.values() if lease.container}
    for container in observed:
        if not container.slots:
            continue
        owner = container.lease if container.lease in known else adopted.get(container.id)
        if owner is None:
            strays.append(container)
        else:
            by_lease.setdefault(owner, []).append(container)
    repairs: list[Repair] = []
    held: dict[str, Lease] = {}
    for lease in known.values():
        found = _of_lease(lease, by_lease.get(lease.id, []), grace, looked_at, now)
        repairs += found
        if not any(isinstance(repair, Release | Withdraw) for repair in found):
            held |= dict.fromkeys(lease.slots, lease)
    moving = frozenset(slot for slot, lease in held.items() if lease.changed_at >= looked_at)
    settled = [container for container in strays if moving.isdisjoint(container.slots)]
    repairs += _of_strays(settled, frozenset(held), quarantined, grace, now)
    return sorted(repairs, key=lambda repair: not isinstance(repair, Remove))


def _of_lease(
    lease: Lease, containers: list[ObservedContainer], grace: Grace, looked_at: datetime, now: datetime
) -> list[Repair]:
    if lease.changed_at >= looked_at:
        return []
    if lease.state is LeaseState.OFFERED:
        lapsed = lease.offered_until is None or lease.offered_until <= now
        return [Withdraw(lease)] if lapsed else []
    running = [container for container in containers if container.running]
    dead = [container for container in containers if not container.running]
    if lease.state is LeaseState.RELEASING:
        # Whoever stops it knows the engine's finish time, which is lost where somebody else removes the container.
        if grace.still_stopping(lease.changed_at, now):
            return []
        gone = [Remove(container, "its lease is over") for container in containers]
        return [*gone, Release(lease, _ended_at(lease, containers, now), lease.ending or "stopped")]
    if lease.state is LeaseState.PENDING:
        return _of_pending(lease, running, dead, grace, looked_at, now)
    if running:
        return [Seen(lease, running[0], looked_at)]
    died = [Remove(container, "it has ended") for container in dead]
    return [*died, Release(lease, _ended_at(lease, dead, now), "container_gone")]


def _of_pending(
    lease: Lease,
    running: list[ObservedContainer],
    dead: list[ObservedContainer],
    grace: Grace,
    looked_at: datetime,
    now: datetime,
) -> list[Repair]:
    if grace.still_starting(lease.changed_at, now):
        return []
    if running:
        return [Activate(lease, running[0], looked_at)]
    return [
        *(Remove(container, "its start came to nothing") for container in dead),
        Release(lease, None, "start_failed"),
    ]


def _ended_at(lease: Lease, containers: list[ObservedContainer], now: datetime) -> datetime | None:
    """Tell when a lease's time ends: as the engine says, else when it was last seen, for nobody knows better."""
    if lease.started_at is None:
        return None
    if any(container.running for container in containers):
        return now
    finished = [container.finished_at for container in containers if container.finished_at is not None]
    return max([lease.started_at, *(finished or [lease.seen_at or lease.started_at])])


def _of_strays(
    strays: list[ObservedContainer],
    held: frozenset[str],
    quarantined: frozenset[str],
    grace: Grace,
    now: datetime,
) -> list[Repair]:
    """Judge containers with GPUs whose lease is not open.

    Parameters
    ----------
    held
        Slots whose leases go on.
    """
    repairs: list[Repair] = []
    for container in sorted(strays, key=lambda container: container.id):
        if not container.running:
            # It may be about to be started by a hub that is slow to note its lease.
            if container.created_at is None or not grace.still_starting(container.created_at, now):
                repairs.append(Remove(container, "it has GPUs of a lease that is over"))
        elif held.isdisjoint(container.slots):
            held |= set(container.slots)
            repairs.append(Adopt(container))
        else:
            # All of its slots: those that nobody holds yet must not be given away either.
            new = tuple(sorted(set(container.slots) - quarantined))
            if new:
                quarantined |= set(new)
                repairs.append(Quarantine(new, container, "two running containers say they have it"))
    return repairs
