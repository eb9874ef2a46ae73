"""Who used how much."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from ..ledger import AuditEntry
from ..policy.accounting import overlap_ms
from ..policy.leases import Lease
from .desk import Desk

By = Literal["user", "group", "day", "model", "course"]


def totals(desk: Desk, by: By, since: datetime, until: datetime | None = None) -> dict[str, int]:
    """Sum up the GPU-milliseconds of closed leases within ``[since, until)``, split exactly at its edges.

    A member of two groups counts in both.
    """
    with desk.ledger.reading() as books:
        return dict(books.usage.totals(by, since, until or desk.clock()))


def running_ms(desk: Desk, since: datetime, until: datetime | None = None) -> dict[str, int]:
    """Give what open leases have used so far, by user; it is booked when they close."""
    end = until or desk.clock()
    used: dict[str, int] = {}
    with desk.ledger.reading() as books:
        for lease in books.leases.open():
            if lease.started_at is not None:
                milliseconds = overlap_ms(lease.started_at, end, since, end) * len(lease.slots)
                used[lease.user] = used.get(lease.user, 0) + milliseconds
    return used


def leases(desk: Desk, *, everything: bool = False, user: str | None = None, limit: int = 100) -> Sequence[Lease]:
    """List open leases, or all, newest first."""
    with desk.ledger.reading() as books:
        if everything:
            return list(books.leases.history(user=user, limit=limit))
        found = books.leases.open() if user is None else books.leases.of_user(user)
        return sorted(found, key=lambda lease: lease.granted_at, reverse=True)[:limit]


def audit(desk: Desk, limit: int = 100) -> Sequence[AuditEntry]:
    with desk.ledger.reading() as books:
        return list(books.audit.list(limit=limit))
