"""Quotas as the API says them."""

import math
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, Field, StrictFloat, StrictInt

from ...operations.quota_preview import LeaseEffect, LeaseTouched, PersonChanged, Preview, TicketEffect, TicketTouched
from ...operations.quota_table import Cell, Row
from ...operations.quota_values import show_value
from ...operations.quotas import Account, Change, Explained, grant_version
from ...policy.accounting import hours_to_ms
from ...policy.quota import QUOTA_DIMENSIONS, QuotaGrant, Subject

Dimension = Annotated[
    str, Field(max_length=40, examples=["gpus"], description=f"One of {', '.join(QUOTA_DIMENSIONS)}.")
]
Name = Annotated[str, Field(max_length=255, description="Of the group or user; empty for the default.")]
Why = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S", examples=["Fair use"])]
_VALUE = "Sizes in bytes, or as text such as `16 GiB`; `unlimited` where there need be no bound; names as a list."
Said = StrictInt | StrictFloat | str | list[str]


class Value(BaseModel):
    """A value, for programs and for people."""

    value: int | float | str | list[str] = Field(description=_VALUE)
    text: str = Field(description="As people write it.")


class GrantModel(BaseModel):
    """One value that an admin has set."""

    subject: Subject
    name: str = Field(description="Of the group or user; empty for the default.")
    dimension: str
    value: int | float | str | list[str] = Field(description=_VALUE)
    text: str = Field(description="The value as people write it.")
    until: datetime | None = Field(description="When it ends by itself; null for never.")
    over: bool = Field(description="Whether that has passed, so that it does not count any more.")
    by: str
    at: datetime | None
    why: str
    version: str = Field(description="What its ETag is, without quotes.")


class ChangeModel(BaseModel):
    """What is set of one subject and dimension, before and after; null for nothing."""

    before: GrantModel | None
    after: GrantModel | None


class NewValue(BaseModel):
    """A value to set."""

    value: Said = Field(description=_VALUE, examples=[2])
    until: AwareDatetime | None = Field(None, description="When it ends by itself; null for never.")
    why: Why = Field(description="For the audit.")


class PlannedValue(BaseModel):
    """A value that might be set, or taken back."""

    subject: Subject
    name: Name = ""
    dimension: Dimension
    value: Said | None = Field(None, description=f"{_VALUE} Null takes back what is set.")
    until: AwareDatetime | None = None


class Plan(BaseModel):
    """Values that might be set together."""

    changes: list[PlannedValue] = Field(min_length=1, max_length=1000)


class ShiftModel(BaseModel):
    """One value of somebody's quota, before and after."""

    dimension: str
    before: Value
    before_from: str
    after: Value
    after_from: str


class PersonModel(BaseModel):
    """Somebody whose quota changes."""

    user: str
    groups: list[str]
    shifts: list[ShiftModel]


class LeaseTouchedModel(BaseModel):
    """An open lease, and what the change means for it."""

    lease: str
    user: str
    server: str
    profile: str
    gpus: int
    effects: list[LeaseEffect]
    ends_at: datetime
    new_ends_at: datetime = Field(description="Another one only if it is shortened.")


class TicketTouchedModel(BaseModel):
    """Somebody who waits, and what the change means for them."""

    ticket: str
    user: str
    server: str
    effect: TicketEffect
    code: str = Field(description="Why they may have nothing, for programs; empty if they may.")
    reason: str


class PreviewModel(BaseModel):
    """What a change would do. Nothing is changed."""

    changes: list[ChangeModel]
    version: str = Field(description="Of all that is set: what an import needs in `If-Match`, without quotes.")
    people_known: bool = Field(description="Whether the hub has told who there is.")
    people_total: int = Field(description="Of how many the quota changes.")
    people: list[PersonModel] = Field(description="The first of them.")
    leases: list[LeaseTouchedModel]
    tickets: list[TicketTouchedModel]


class ImportModel(BaseModel):
    """What an import has changed, or would change."""

    done: bool
    version: str = Field(description="Of all that is set.")
    changes: list[ChangeModel]
    preview: PreviewModel | None = Field(description="Of a dry run: what the changes would do.")


class CellModel(BaseModel):
    """One value of one row of the table."""

    dimension: str
    setting: Value | None = Field(description="What the settings say; null for nothing.")
    grant: GrantModel | None = Field(description="What is set; it goes before the settings.")
    effective: Value | None = Field(description="What a user has in the end; null in the rows of others.")
    effective_from: str | None


class RowModel(BaseModel):
    """What is said of the default, a group or a user."""

    subject: Subject
    name: str
    groups: list[str] = Field(description="Of a user.")
    known: bool = Field(description="Whether the hub knows such a group or user.")
    cells: list[CellModel]


class ExplainedModel(Value):
    """One value of somebody's quota, and where it comes from."""

    dimension: str
    source: str = Field(description="`default`, `group NAME`, `groups NAME, NAME` or `user NAME`.")
    set_in: Literal["ledger", "settings"] = Field(description="By an admin, or in the settings.")
    until: datetime | None
    by: str = Field(description="Who set it; told only to those who may read all.")
    at: datetime | None
    why: str = Field(description="Told only to those who may read all.")


class AccountModel(BaseModel):
    """Somebody's quota, and what is left of it."""

    user: str
    groups: list[str]
    quota: list[ExplainedModel]
    gpus_held: int
    window_days: float = Field(description="Length of the rolling window of GPU-hours.")
    limit_gpu_ms: int | None = Field(description="Within the window, GPU-milliseconds; null for no bound.")
    used_gpu_ms: int
    committed_gpu_ms: int = Field(description="What leases that run may still use.")
    left_gpu_ms: int | None


# --- from what operations give ------------------------------------------------------------------------------------


def value_data(value: Any) -> int | float | str | list[str]:
    if isinstance(value, frozenset):
        return sorted(value)
    if math.isinf(value):
        return "unlimited"
    return int(value) if value == int(value) else float(value)


def value_model(dimension: str, value: Any) -> Value:
    return Value(value=value_data(value), text=show_value(dimension, value))


def grant_model(grant: QuotaGrant, now: datetime) -> GrantModel:
    return GrantModel(
        subject=grant.subject,
        name=grant.name,
        dimension=grant.dimension,
        value=value_data(grant.value),
        text=show_value(grant.dimension, grant.value),
        until=grant.until,
        over=grant.until is not None and grant.until <= now,
        by=grant.by,
        at=grant.at,
        why=grant.why,
        version=grant_version(grant),
    )


def change_model(change: Change, now: datetime) -> ChangeModel:
    return ChangeModel(
        before=grant_model(change.before, now) if change.before else None,
        after=grant_model(change.after, now) if change.after else None,
    )


def _person(found: PersonChanged) -> PersonModel:
    return PersonModel(
        user=found.person.name,
        groups=sorted(found.person.groups),
        shifts=[
            ShiftModel(
                dimension=shift.dimension,
                before=value_model(shift.dimension, shift.before.value),
                before_from=shift.before.source,
                after=value_model(shift.dimension, shift.after.value),
                after_from=shift.after.source,
            )
            for shift in found.shifts
        ],
    )


def _lease(touched: LeaseTouched) -> LeaseTouchedModel:
    lease = touched.lease
    return LeaseTouchedModel(
        lease=lease.id,
        user=lease.user,
        server=lease.server,
        profile=lease.profile,
        gpus=len(lease.slots),
        effects=list(touched.effects),
        ends_at=lease.ends_at,
        new_ends_at=touched.ends_at,
    )


def _ticket(touched: TicketTouched) -> TicketTouchedModel:
    request, reason = touched.ticket.request, touched.reason
    return TicketTouchedModel(
        ticket=touched.ticket.id,
        user=request.user,
        server=request.server,
        effect=touched.effect,
        code=reason.code if reason else "",
        reason=reason.reason if reason else "",
    )


def preview_model(found: Preview, now: datetime, limit: int, *, people_known: bool) -> PreviewModel:
    return PreviewModel(
        changes=[change_model(change, now) for change in found.changes],
        version=str(found.version),
        people_known=people_known,
        people_total=len(found.people),
        people=[_person(person) for person in found.people[:limit]],
        leases=[_lease(touched) for touched in found.leases],
        tickets=[_ticket(touched) for touched in found.tickets],
    )


def row_model(row: Row, now: datetime) -> RowModel:
    return RowModel(
        subject=row.place.subject,
        name=row.place.name,
        groups=list(row.groups),
        known=row.known,
        cells=[_cell(cell, now) for cell in row.cells],
    )


def _cell(cell: Cell, now: datetime) -> CellModel:
    effective = cell.effective
    return CellModel(
        dimension=cell.dimension,
        setting=None if cell.setting is None else value_model(cell.dimension, cell.setting),
        grant=grant_model(cell.grant, now) if cell.grant else None,
        effective=value_model(cell.dimension, effective.value) if effective else None,
        effective_from=effective.source if effective else None,
    )


def account_model(found: Account, window_days: float, *, in_full: bool) -> AccountModel:
    """Say somebody's quota.

    Parameters
    ----------
    in_full
        With authors and reasons, which admins write for each other.
    """
    limit = hours_to_ms(next(one.origin.value for one in found.quota if one.dimension == "gpu_hours"))
    return AccountModel(
        user=found.person.name,
        groups=sorted(found.person.groups),
        quota=[_explained(one, in_full=in_full) for one in found.quota],
        gpus_held=found.gpus_held,
        window_days=window_days,
        limit_gpu_ms=limit,
        used_gpu_ms=found.used_ms,
        committed_gpu_ms=found.committed_ms,
        left_gpu_ms=None if limit is None else max(0, limit - found.used_ms - found.committed_ms),
    )


def _explained(one: Explained, *, in_full: bool) -> ExplainedModel:
    grant = one.grant
    told = grant if in_full else None
    return ExplainedModel(
        dimension=one.dimension,
        value=value_data(one.origin.value),
        text=show_value(one.dimension, one.origin.value),
        source=one.origin.source,
        set_in="ledger" if grant else "settings",
        until=grant.until if grant else None,
        by=told.by if told else "",
        at=told.at if told else None,
        why=told.why if told else "",
    )
