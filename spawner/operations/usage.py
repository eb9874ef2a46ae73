"""Who used how much."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Literal

from ..ledger import AuditEntry
from ..policy.accounting import length_ms
from ..policy.leases import Lease
from .desk import Desk

By = Literal["user", "group", "day", "model", "course"]


def totals(desk: Desk, by: By, since: datetime, until: datetime | None = None) -> dict[str, int]:
    """Sum up the GPU-milliseconds of closed leases within ``[since, until)``, split exactly at its edges.

    A member of two groups counts in both.
    """
    with desk.ledger.reading() as books:
        return dict(books.usage.totals(by, since, until or desk.clock()))


def running_ms(desk: Desk, since: datetime, until: datetime | None = None, by: By = "user") -> dict[str, int]:
    """Give what open leases have used so far within ``[since, until)``, as `totals` does; booked when they close."""
    now = desk.clock()
    end = min(until or now, now)
    used: dict[str, int] = {}
    with desk.ledger.reading() as books:
        models = {slot.id: slot.model for slot in books.gpus.slots()}
        for lease in books.leases.open():
            if lease.started_at is None:
                continue
            start = max(lease.started_at, since)
            for key, milliseconds in _parts(lease, by, start, end, models):
                used[key] = used.get(key, 0) + milliseconds
    return dict(sorted(used.items()))


def _parts(
    lease: Lease, by: By, start: datetime, end: datetime, models: Mapping[str, str]
) -> Iterator[tuple[str, int]]:
    whole = length_ms(start, end)
    if not whole:
        return
    if by == "day":
        while start < end:
            midnight = datetime.combine(start.date() + timedelta(days=1), time(), UTC)
            yield f"{start:%Y-%m-%d}", length_ms(start, min(end, midnight)) * len(lease.slots)
            start = midnight
    elif by == "model":
        for slot in lease.slots:
            yield models.get(slot, ""), whole
    else:
        keys = {"user": [lease.user], "course": [lease.course], "group": sorted(lease.groups) or [""]}[by]
        for key in keys:
            yield key, whole * len(lease.slots)


def leases(desk: Desk, *, everything: bool = False, user: str | None = None, limit: int = 100) -> Sequence[Lease]:
    """List open leases, or all of which `limit` are given, newest first."""
    with desk.ledger.reading() as books:
        if everything:
            return list(books.leases.history(user=user, limit=limit))
        found = books.leases.open() if user is None else books.leases.of_user(user)
        return sorted(found, key=lambda lease: lease.granted_at, reverse=True)


def audit(desk: Desk, limit: int = 100) -> Sequence[AuditEntry]:
    with desk.ledger.reading() as books:
        return list(books.audit.list(limit=limit))
