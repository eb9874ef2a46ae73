"""Use: who had how many GPU-hours, how many of them were wasted, and when in the week."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, get_args

from fastapi import APIRouter, Depends, Query, Request
from markupsafe import Markup
from starlette.responses import Response

from ...ledger import Only
from ...operations import listing, reports
from ...operations.reports import Report
from ...operations.usage import By
from ..api.usage import Sort, in_order
from ..callers import Caller, allowed
from ..context import Console, Here
from ..languages import dated
from ..menu import N_
from ..plots import Plotter, Series
from ..ranges import PRESETS, USUAL_DAYS, Day, Range, days_between
from ..rendering import Reader as PageReader
from ..rendering import reader_of
from ..scopes import Scope
from .filters import DayField, Word, chosen, query

router = APIRouter()

Reader = Annotated[Caller, allowed(Scope.READ)]
_ROWS, _BARS, _HOARDERS = 100, 92, 10
TITLES = {
    "user": N_("User"),
    "group": N_("Group"),
    "model": N_("GPU model"),
    "course": N_("Course"),
    "day": N_("Day"),
}
NOBODY = {"group": N_("(no group)"), "course": N_("(no course)"), "model": N_("(unknown)")}
Grouping = Annotated[By, Query()]
DaysBack = Annotated[int, Query(ge=1, le=400)]


@dataclass(frozen=True, slots=True)
class _Fields:
    """What the fields above a report say."""

    by: Grouping = "user"
    days: DaysBack = USUAL_DAYS
    first: DayField = None
    last: DayField = None
    user: Word = ""
    group: Word = ""
    model: Word = ""


@router.get("/usage")
def show_usage(request: Request, here: Here, caller: Reader, fields: Annotated[_Fields, Depends()]) -> Response:
    return _show(request, here, caller, "usage", fields)


@router.get("/usage/waste")
def show_waste(request: Request, here: Here, caller: Reader, fields: Annotated[_Fields, Depends()]) -> Response:
    """Show the same, by what was leased but idle."""
    return _show(request, here, caller, "usage/waste", fields)


def _show(request: Request, here: Console, caller: Caller, path: str, fields: _Fields) -> Response:
    reader, _ = reader_of(request), here.pages.gettext(request)
    today = here.clock().astimezone(reader.zone).date()
    by, days = fields.by, fields.days
    own = (fields.first, fields.last) != (None, None)
    end = fields.last or today
    begin = fields.first or end - timedelta(days=days - 1)
    span = days_between(begin, end, reader.zone)
    user, group, model = (word.strip() or None for word in (fields.user, fields.group, fields.model))
    wanted: list[By] = ["day", by] if by != "day" else ["day"]
    until = min(span.until, here.clock()) if span.since < here.clock() else span.until
    found = reports.reports(
        here.desk, wanted, span.since, until, zone=reader.zone, only=Only(user=user, group=group, model=model)
    )
    sort: Sort | None = "idle" if path.endswith("waste") and by != "day" else None
    rows = in_order(found[by], sort)
    asked = chosen(
        by=by,
        days=str(days) if not own else "",
        first=fields.first,
        last=fields.last,
        user=user,
        group=group,
        model=model,
    )
    exported = {"by": by, "since": span.since.isoformat(), "until": until.isoformat(), "zone": reader.zone.key}
    exported |= chosen(user=user, group=group, model=model, sort=sort or "")
    hoarders = listing.hoarders(here.desk) if path.endswith("waste") else ()
    return here.pages.render(
        request,
        caller,
        "usage/waste.html" if path.endswith("waste") else "usage/use.html",
        by=by,
        choices=get_args(By),
        titles=TITLES,
        nobody=NOBODY,
        presets=PRESETS,
        days=days,
        own=own,
        begin=begin,
        end=end,
        asked=asked,
        query=query,
        path=path,
        rows=rows[:_ROWS],
        left_out=max(0, len(rows) - _ROWS),
        total=found[by].total,
        most_ms=max((row.leased_ms for row in rows), default=0),
        most_idle_ms=max((row.idle_ms for row in rows), default=0),
        figure=_by_day(Plotter(reader, _), found["day"], span, reader, _),
        plot=Plotter(reader, _),
        day_words=lambda key: _day_words(key, reader),
        export=query(exported),
        hoarders=hoarders[:_HOARDERS],
        hoarder_count=len(hoarders),
    )


def _by_day(plot: Plotter, found: Report, span: Range, reader: PageReader, _: Callable[[str], str]) -> Markup | None:
    """Draw what was used and what was idle, a bar per day; per week where days would be too many."""
    if not found.rows:
        return None
    known = {row.key: row for row in found.rows}
    first = span.since.astimezone(reader.zone).date()
    count = round((span.until - span.since) / timedelta(days=1))
    days = [first + timedelta(days=number) for number in range(count)]
    step = 1 if count <= _BARS else 7
    labels, busy, idle = [], [], []
    for start in range(0, count, step):
        rows = [known[f"{day}"] for day in days[start : start + step] if f"{day}" in known]
        labels.append(_short(days[start], reader))
        busy.append(sum(row.busy_ms for row in rows))
        idle.append(sum(row.idle_ms for row in rows))
    title = _("GPU-hours a day") if step == 1 else _("GPU-hours in seven days each")
    return plot.bars(title, labels, [Series(_("at work"), busy, "used"), Series(_("idle"), idle, "idle")], "gpu_hours")


def _short(day: date, reader: PageReader) -> str:
    return dated(day, "d MMM", reader.language)


def _day_words(key: str, reader: PageReader) -> str:
    return dated(date.fromisoformat(key), "EEE, d MMM y", reader.language)


@router.get("/usage/week")
def show_week(request: Request, here: Here, caller: Reader, day: Annotated[Day | None, Query()] = None) -> Response:
    """Show in which hours of a week how much was leased."""
    reader, _ = reader_of(request), here.pages.gettext(request)
    this = reports.monday(here.clock(), reader.zone)
    first = reports.monday_of(day or this)
    found = reports.week(here.desk, first, reader.zone)
    named = [first + timedelta(days=number) for number in range(7)]
    figure = Plotter(reader, _).heat(
        _("GPU-hours leased in each hour"),
        [dated(one, "EEE d", reader.language) for one in named],
        [f"{hour:02}" for hour in range(24)],
        found.hours,
        "gpu_hours",
        _("Day"),
    )
    return here.pages.render(
        request,
        caller,
        "usage/week.html",
        found=found,
        figure=figure if found.total_ms else None,
        first=_short(first, reader),
        last=dated(named[-1], "d MMM y", reader.language),
        before=first - timedelta(days=7),
        after=first + timedelta(days=7) if first < this else None,
        busiest=_busiest(found, named, reader),
    )


def _busiest(found: reports.Week, named: list[date], reader: PageReader) -> str:
    """Name the hour in which most was leased."""
    value, day, hour = max(
        (value, -day, -hour) for day, row in enumerate(found.hours) for hour, value in enumerate(row)
    )
    return f"{dated(named[-day], 'EEEE', reader.language)}, {-hour:02}:00" if value else ""
