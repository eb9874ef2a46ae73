"""Use: by user, group, model, course or day, with what was idle of it; and the hours of a week."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from ...ledger import Only
from ...operations import reports
from ...operations.reports import Report, Row
from ...operations.usage import By
from ..callers import allowed
from ..context import Console, Here
from ..csv_files import CSV_ANSWER, CsvFile, csv_file
from ..ranges import Day, Moment, ZoneName, range_of, zone_of
from ..scopes import Scope
from .lease_models import Hours, Name, UseReport, hours, use_report

router = APIRouter(tags=["usage"])

_READ = [allowed(Scope.READ)]
Sort = Literal["leased", "idle", "key"]
Grouping = Annotated[By, Query(description="What to sum up by. Who is in two groups counts in both.")]
Since = Annotated[Moment | None, Query(description="Left out: 30 days ago, from midnight on.")]
Until = Annotated[Moment | None, Query(description="Not included; left out: now. At most 400 days later.")]
Sorting = Annotated[Sort | None, Query(description="Left out: days by day, all else by what was leased.")]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Of what, by what, in which order."""

    by: Grouping = "user"
    since: Since = None
    until: Until = None
    zone: ZoneName = "UTC"
    user: Name = None
    group: Name = None
    model: Name = None
    course: Name = None
    sort: Sorting = None


@router.get("/usage", dependencies=_READ)
def read_usage(
    here: Here,
    wanted: Annotated[_Wanted, Depends()],
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many rows at most.")] = 1000,
) -> UseReport:
    """Sum up GPU time within a range, to the millisecond, and what of it was leased but idle.

    A row over an edge of the range counts with its part within. Sorted by `idle`, this is the report of what was
    wasted.
    """
    found, rows = _report(here, wanted)
    return use_report(found, rows, wanted.zone, limit)


@router.get("/usage/export", dependencies=_READ, response_class=CsvFile, responses=CSV_ANSWER)
def export_usage(here: Here, wanted: Annotated[_Wanted, Depends()]) -> Response:
    """Give the same as a table for spreadsheets, all rows of it."""
    found, rows = _report(here, wanted)
    head = [found.by, "gpu_ms", "gpu_hours", "booked_ms", "running_ms", "idle_ms", "idle_hours"]
    name = f"berth-use-by-{found.by}-{found.since:%Y-%m-%d}-{found.until:%Y-%m-%d}.csv"
    cells = (
        (
            row.key,
            row.leased_ms,
            f"{hours(row.leased_ms):.3f}",
            row.booked_ms,
            row.running_ms,
            row.idle_ms,
            f"{hours(row.idle_ms):.3f}",
        )
        for row in rows
    )
    return csv_file(name, head, cells)


def _report(here: Console, wanted: _Wanted) -> tuple[Report, list[Row]]:
    span = range_of(here.clock(), wanted.since, wanted.until, zone_of(wanted.zone))
    only = Only(wanted.user, wanted.group, wanted.model, wanted.course)
    found = reports.report(here.desk, wanted.by, span.since, span.until, zone=span.zone, only=only)
    return found, in_order(found, wanted.sort)


def in_order(found: Report, sort: Sort | None) -> list[Row]:
    """Put rows in an order."""
    rows = list(found.rows)
    if sort == "key":
        rows.sort(key=lambda row: row.key)
    elif sort is not None:
        rows.sort(key=lambda row: (-row.idle_ms if sort == "idle" else -row.leased_ms, row.key))
    return rows


@router.get("/usage/week", dependencies=_READ)
def read_week(
    here: Here,
    day: Annotated[Day | None, Query(description="A day of the week; left out: today.")] = None,
    zone: ZoneName = "UTC",
) -> Hours:
    """Tell what was leased in each hour of a week, by the clocks of a zone."""
    its = zone_of(zone)
    first: date = day or reports.monday(here.clock(), its)
    found = reports.week(here.desk, first, its)
    return Hours(
        begin=found.begin, end=found.end, zone=zone, hours=[list(row) for row in found.hours], total_ms=found.total_ms
    )
