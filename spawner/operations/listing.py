"""Leases as admins look through them: all that there ever were, in pages; and those that are held without use."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from ..errors import UnknownName
from ..ledger import AuditEntry, AuditFilter, Books, LeaseFilter
from ..policy.accounting import idle_ms, length_ms
from ..policy.leases import Lease, LeaseState
from .desk import Desk

_BATCH = 1000  # entries of the audit that are read at once

Place = tuple[datetime, str]
"""Where a page of leases ended: `Lease.granted_at` and `Lease.id` of its last one."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A lease, and what it has used so far.

    Attributes
    ----------
    models
        Of its GPUs, one for each; those too that are no more.
    gpu_ms, idle_ms
        Summed over its GPUs; of a closed lease, what was booked.
    """

    lease: Lease
    models: tuple[str, ...]
    gpu_ms: int
    idle_ms: int

    @property
    def idle_ratio(self) -> float | None:
        """The part of its time that it was found idle; None before it has run."""
        return self.idle_ms / self.gpu_ms if self.gpu_ms else None


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of leases, the latest granted first.

    Attributes
    ----------
    next
        Where the next page begins; None on the last one.
    """

    leases: tuple[Listed, ...]
    next: Place | None


def listing(desk: Desk, wanted: LeaseFilter, *, after: Place | None = None, limit: int = 100) -> Listing:
    """List leases, closed ones too."""
    with desk.ledger.reading() as books:
        return _listing(desk, books, wanted, after, limit)


def _listing(desk: Desk, books: Books, wanted: LeaseFilter, after: Place | None, limit: int) -> Listing:
    found = books.leases.page(wanted, after=after, limit=limit + 1)
    shown = found[:limit]
    last = shown[-1] if len(found) > limit else None
    return Listing(_listed(books, shown, desk.clock()), (last.granted_at, last.id) if last else None)


def get(desk: Desk, lease_id: str) -> Listed:
    """Give one lease.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        lease = books.leases.get(lease_id)
        if lease is None:
            raise UnknownName(f"There is no lease {lease_id}.")
        [found] = _listed(books, [lease], desk.clock())
        return found


def _listed(books: Books, leases: Collection[Lease], now: datetime) -> tuple[Listed, ...]:
    models = books.gpus.models({slot for lease in leases for slot in lease.slots})
    booked = books.usage.of_leases([lease.id for lease in leases if lease.state is LeaseState.CLOSED])
    found = []
    for lease in leases:
        if lease.state is LeaseState.CLOSED:
            used = booked.get(lease.id)
            gpu, idle = (used.gpu_ms, used.idle_ms) if used else (0, 0)
        else:
            gpu = length_ms(lease.started_at or now, now) * len(lease.slots)
            idle = idle_ms(lease, now) * len(lease.slots)
        found.append(Listed(lease, _models(lease, models), gpu, idle))
    return tuple(found)


def _models(lease: Lease, known: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(known.get(slot, "") for slot in lease.slots)


def hoarders(desk: Desk) -> tuple[Listed, ...]:
    """List the leases that are idle now (since `Lease.idle_since`), the one that has wasted most first."""
    with desk.ledger.reading() as books:
        return _hoarders(desk, books)


def _hoarders(desk: Desk, books: Books) -> tuple[Listed, ...]:
    idle = [lease for lease in books.leases.open() if lease.state is LeaseState.ACTIVE and lease.idle_since is not None]
    return tuple(sorted(_listed(books, idle, desk.clock()), key=lambda one: (-one.idle_ms, one.lease.id)))


@dataclass(frozen=True, slots=True)
class Floor:
    """What an admin sees of the leases at one moment."""

    hoarders: tuple[Listed, ...]
    page: Listing
    models: tuple[str, ...]


def floor(desk: Desk, wanted: LeaseFilter, *, after: Place | None = None, limit: int = 100) -> Floor:
    """Give a page of leases, who hoards, and the models of GPUs that there are."""
    with desk.ledger.reading() as books:
        models = {slot.model for slot in books.gpus.slots()}
        return Floor(_hoarders(desk, books), _listing(desk, books, wanted, after, limit), tuple(sorted(models)))


# --- audit --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries of the audit, the latest first.

    Attributes
    ----------
    next
        Id below which the next page begins; None on the last one.
    actions
        All that there are entries of.
    """

    entries: tuple[AuditEntry, ...]
    next: int | None
    actions: tuple[str, ...] = ()


def audit(desk: Desk, wanted: AuditFilter, *, before: int | None = None, limit: int = 100) -> AuditPage:
    """List what was done, the latest first."""
    with desk.ledger.reading() as books:
        found = books.audit.page(wanted, before=before, limit=limit + 1)
        more = len(found) > limit
        return AuditPage(tuple(found[:limit]), found[limit - 1].id if more else None, tuple(books.audit.actions()))


def whole_audit(desk: Desk, wanted: AuditFilter) -> Iterator[AuditEntry]:
    """Give everything that was done, the latest first, without holding it all, nor the database for long.

    Entries are never changed, so that what is read piece by piece is as of one moment.
    """
    before: int | None = None
    while True:
        with desk.ledger.reading() as books:
            found = books.audit.page(wanted, before=before, limit=_BATCH)
        yield from found
        if len(found) < _BATCH:
            return
        before = found[-1].id
