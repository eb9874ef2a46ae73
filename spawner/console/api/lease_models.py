"""Leases, the queue, use and audit as the API says them to who may see all."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, Field

from ...ledger import AuditEntry
from ...operations.listing import Listed
from ...operations.reports import Report, Row
from ...operations.usage import By
from ...policy.leases import Lease, LeaseState, Ticket
from ...policy.model import AtEnd
from ...policy.queue import Serving
from ..etags import etag_of

_HOUR_MS = 3_600_000
_NO_NUL = r"^[^\x00]*$"

LeaseId = Annotated[str, Path(max_length=64, pattern="^[A-Za-z0-9_-]+$", description="Of the lease.")]
TicketId = Annotated[str, Path(max_length=64, pattern="^[A-Za-z0-9_-]+$", description="Of the place in the queue.")]
Name = Annotated[str | None, Query(max_length=255, pattern=_NO_NUL, description="Only those of this one.")]
"""A word to filter by."""


def one_line(text: str) -> str:
    return " ".join(text.split())


Why = Annotated[
    str,
    Field(
        min_length=1, max_length=500, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$", description="For the audit, and the user."
    ),
    AfterValidator(one_line),
]


class LeaseRow(BaseModel):
    """A lease, and what it has used."""

    id: str
    user: str
    server: str = Field(description="Name of the server; empty for the default one.")
    profile: str
    groups: list[str] = Field(description="Its user's, when it was granted.")
    course: str
    state: LeaseState
    models: list[str] = Field(description="Of each of its GPUs; empty where nobody knows it any more.")
    slots: list[str]
    granted_at: datetime
    started_at: datetime | None = Field(description="From when time is booked.")
    ends_at: datetime = Field(description="At the latest.")
    closed_at: datetime | None
    at_end: AtEnd = Field(description="What becomes of the server then.")
    idle_since: datetime | None = Field(description="Since when it does nothing; null if it works, or is closed.")
    ending: str = Field(description="Why it ended, or is being ended; a code.")
    gpu_ms: int = Field(description="Used so far, of all its GPUs.")
    idle_ms: int = Field(description="Of these, how many were idle.")
    gpu_hours: float
    idle_hours: float


class Idle(BaseModel):
    """Leases that do nothing now."""

    at: datetime
    items: list[LeaseRow] = Field(description="The one that has wasted most first.")
    idle_ms: int = Field(description="Of all together.")


class Ending(BaseModel):
    """How to end a lease."""

    why: Why
    notice_minutes: int = Field(0, ge=0, le=10_080, description="How long it may still run; its user is told.")


class Extension(BaseModel):
    """How much longer a lease is to last."""

    why: Why
    hours: float | None = Field(None, gt=0, le=8760, description="Null for as long as the quota allows.")


class Reason(BaseModel):
    """Why something is done."""

    why: Why


def version_of(lease: Lease) -> str:
    """Give the ETag of a lease: another one after each change of what can be changed from outside."""
    return etag_of([lease.id, lease.state, lease.ends_at, lease.ending, lease.changed_at, lease.at_end])


def lease_row(one: Listed) -> LeaseRow:
    lease = one.lease
    open_now = lease.state is not LeaseState.CLOSED
    return LeaseRow(
        id=lease.id,
        user=lease.user,
        server=lease.server,
        profile=lease.profile,
        groups=sorted(lease.groups),
        course=lease.course,
        state=lease.state,
        models=list(one.models),
        slots=list(lease.slots),
        granted_at=lease.granted_at,
        started_at=lease.started_at,
        ends_at=lease.ends_at,
        closed_at=lease.closed_at,
        at_end=lease.at_end,
        idle_since=lease.idle_since if open_now else None,
        ending=lease.ending,
        gpu_ms=one.gpu_ms,
        idle_ms=one.idle_ms,
        gpu_hours=hours(one.gpu_ms),
        idle_hours=hours(one.idle_ms),
    )


def hours(gpu_ms: int) -> float:
    return round(gpu_ms / _HOUR_MS, 3)


# --- the queue ----------------------------------------------------------------------------------------------------


class QueueRow(BaseModel):
    """A server that waits for GPUs, or holds an offer."""

    ticket: str
    user: str
    server: str
    profile: str
    groups: list[str]
    state: Literal["waiting", "offered"]
    position: int = Field(description="1 for the next; 0 with an offer.")
    gpus: int
    models: list[str] = Field(description="Models that will do; empty for any.")
    hours: float | None = Field(description="Length asked for; null for the longest allowed.")
    since: datetime
    eta: datetime | None = Field(description="When it is likely served; null where nobody can tell.")
    blocked: bool = Field(description="Passed over, while its user's quota is used up.")
    note: str
    priority: int
    moved_up: int = Field(description="How often an admin put it before all others.")
    offered_until: datetime | None
    lease: str = Field(description="Of the offer; empty without one.")


class Queue(BaseModel):
    """All who wait, next first."""

    at: datetime
    items: list[QueueRow]


def offered_row(ticket: Ticket, lease: Lease) -> QueueRow:
    row = _row(ticket, "offered", 0)
    return row.model_copy(update={"offered_until": lease.offered_until, "lease": lease.id})


def waiting_row(serving: Serving) -> QueueRow:
    row = _row(serving.ticket, "waiting", serving.position)
    eta = serving.placement.start if serving.placement else None
    return row.model_copy(update={"eta": eta, "blocked": serving.blocked, "note": serving.note})


def ticket_row(ticket: Ticket) -> QueueRow:
    return _row(ticket, "waiting", 0)


def _row(ticket: Ticket, state: Literal["waiting", "offered"], position: int) -> QueueRow:
    request = ticket.request
    return QueueRow(
        ticket=ticket.id,
        user=request.user,
        server=request.server,
        profile=request.profile,
        groups=sorted(request.groups),
        state=state,
        position=position,
        gpus=request.count,
        models=sorted(request.models),
        hours=request.hours,
        since=ticket.arrived_at,
        eta=None,
        blocked=False,
        note="",
        priority=ticket.priority,
        moved_up=ticket.moved_up,
        offered_until=None,
        lease="",
    )


# --- use ----------------------------------------------------------------------------------------------------------


class UseRow(BaseModel):
    """GPU time of one user, group, model, course or day."""

    key: str = Field(description="Empty for those without a group or course, or of an unknown model.")
    gpu_ms: int = Field(description="Leased: booked and running.")
    booked_ms: int = Field(description="Of leases that are closed; final.")
    running_ms: int = Field(description="Of open leases, so far.")
    idle_ms: int = Field(description="Of all, what was leased but idle.")
    gpu_hours: float
    idle_hours: float


class UseReport(BaseModel):
    """Who used how much, and how much of it was idle."""

    by: By
    since: datetime
    until: datetime
    zone: str
    rows: list[UseRow]
    left_out: int = Field(description="Rows beyond `limit`.")
    total: UseRow = Field(description="Of all rows; who is in two groups counts once.")


class Hours(BaseModel):
    """What was leased in each hour of a week."""

    begin: datetime
    end: datetime
    zone: str
    hours: list[list[int]] = Field(description="GPU-milliseconds: seven days from Monday on, with 24 hours each.")
    total_ms: int


def use_row(row: Row) -> UseRow:
    return UseRow(
        key=row.key,
        gpu_ms=row.leased_ms,
        booked_ms=row.booked_ms,
        running_ms=row.running_ms,
        idle_ms=row.idle_ms,
        gpu_hours=hours(row.leased_ms),
        idle_hours=hours(row.idle_ms),
    )


def use_report(found: Report, rows: list[Row], zone: str, limit: int) -> UseReport:
    return UseReport(
        by=found.by,
        since=found.since,
        until=found.until,
        zone=zone,
        rows=[use_row(row) for row in rows[:limit]],
        left_out=max(0, len(rows) - limit),
        total=use_row(found.total),
    )


# --- audit --------------------------------------------------------------------------------------------------------


class AuditRow(BaseModel):
    """Something that was done."""

    id: int
    at: datetime
    actor: str = Field(description="A user, `cli:` and a name, or a part of Berth.")
    action: str
    subject: str = Field(description="To whom or what.")
    before: Any = Field(description="What was; null for nothing.")
    after: Any = Field(description="What is since; null for nothing.")
    why: str


def audit_row(entry: AuditEntry) -> AuditRow:
    return AuditRow(
        id=entry.id,
        at=entry.at.astimezone(UTC),
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        before=entry.before,
        after=entry.after,
        why=entry.why,
    )
