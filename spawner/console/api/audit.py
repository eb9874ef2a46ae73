"""Audit: who changed what, when and why."""

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from ...ledger import AuditFilter
from ...operations import listing
from ..callers import allowed
from ..context import Here
from ..csv_files import CSV_ANSWER, CsvFile, csv_file
from ..paging import Cursor, Limit, Page, cursor_of, position_in
from ..ranges import Moment
from ..scopes import Scope
from .lease_models import AuditRow, Name, audit_row

router = APIRouter(tags=["audit"])

_READ = [allowed(Scope.READ)]
_MOST = 2**62


def wanted(
    actor: Name = None,
    action: Annotated[
        str | None,
        Query(max_length=100, pattern=r"^[^\x00]*$", description="Such as `quota.set`, or `quota` for all of them."),
    ] = None,
    subject: Annotated[
        str | None, Query(max_length=255, pattern=r"^[^\x00]*$", description="Such as `user:ann` or `gpu:gpu0`.")
    ] = None,
    text: Annotated[
        str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="Anywhere in an entry.")
    ] = None,
    since: Annotated[Moment | None, Query(description="Not those before.")] = None,
    until: Annotated[Moment | None, Query(description="Not included.")] = None,
) -> AuditFilter:
    """Read which entries are asked for."""
    return AuditFilter(actor, action, subject, text, since, until)


Wanted = Annotated[AuditFilter, Depends(wanted)]


@router.get("/audit", dependencies=_READ)
def list_audit(here: Here, asked: Wanted, limit: Limit = 100, cursor: Cursor = None) -> Page[AuditRow]:
    """List what was done, the latest first. Entries are never changed."""
    found = listing.audit(here.desk, asked, before=position(cursor), limit=limit)
    following = None if found.next is None else cursor_of(found.next)
    return Page[AuditRow](items=[audit_row(entry) for entry in found.entries], next=following)


def position(cursor: str | None) -> int | None:
    """Read where the page before ended."""
    found = position_in(cursor, int)
    return None if found is None else max(0, min(found[0], _MOST))


@router.get("/audit/export", dependencies=_READ, response_class=CsvFile, responses=CSV_ANSWER)
def export_audit(here: Here, asked: Wanted) -> Response:
    """Give all entries that match, the latest first, as a table for spreadsheets."""
    head = ["id", "at", "actor", "action", "subject", "before", "after", "why"]
    rows = (
        (
            entry.id,
            entry.at.isoformat(),
            entry.actor,
            entry.action,
            entry.subject,
            _json(entry.before),
            _json(entry.after),
            entry.why,
        )
        for entry in listing.whole_audit(here.desk, asked)
    )
    return csv_file(f"berth-audit-{here.clock():%Y-%m-%d}.csv", head, rows)


def _json(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
