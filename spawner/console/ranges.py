"""Ranges of time, as the API and pages take them: begin, end, and whose midnights part the days."""

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime

from .problems import Problem

LONGEST = timedelta(days=400)
USUAL_DAYS = 30
PRESETS = (7, 30, 90, 365)
_YEARS = range(1971, 3000)


def _sane(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError(f"a time of the years {_YEARS[0]} to {_YEARS[-1]}")
    return moment.astimezone(UTC)


def _sane_day(day: date) -> date:
    if day.year not in _YEARS:
        raise ValueError(f"a day of the years {_YEARS[0]} to {_YEARS[-1]}")
    return day


Moment = Annotated[AwareDatetime, AfterValidator(_sane)]
Day = Annotated[date, AfterValidator(_sane_day)]
ZoneName = Annotated[
    str, Query(max_length=64, description="Whose midnights part the days, such as Europe/Berlin.", examples=["UTC"])
]


@dataclass(frozen=True, slots=True)
class Range:
    """From `since` on, until before `until`."""

    since: datetime
    until: datetime
    zone: zoneinfo.ZoneInfo


def zone_of(name: str) -> zoneinfo.ZoneInfo:
    """Give a time zone.

    Raises
    ------
    Problem
        422
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise Problem(422, "unknown_zone", f"There is no time zone {name!r}; write it as Europe/Berlin.") from None


def range_of(now: datetime, since: datetime | None, until: datetime | None, zone: zoneinfo.ZoneInfo) -> Range:
    """Give what was asked for; the last 30 days, today included, where nothing was.

    Raises
    ------
    Problem
        422 if it ends before it begins, or is longer than 400 days.
    """
    end = until or max(now, since or now)
    begin = since or midnight(end, zone, USUAL_DAYS - 1)
    if not timedelta(0) < end - begin <= LONGEST and not begin == end == now:
        raise Problem(422, "invalid_range", "The range ends after it begins, and at most 400 days later.")
    return Range(begin, end, zone)


def midnight(moment: datetime, zone: zoneinfo.ZoneInfo, days_before: int = 0) -> datetime:
    """Give the begin of a moment's day, or of one before it."""
    day = moment.astimezone(zone).date() - timedelta(days=days_before)
    return datetime.combine(day, time(), zone).astimezone(UTC)


def days_between(first: date, last: date, zone: zoneinfo.ZoneInfo) -> Range:
    """Give the range of whole days, both included.

    Raises
    ------
    Problem
        422
    """
    begin, end = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (first, last + timedelta(days=1)))
    if not timedelta(0) < end - begin <= LONGEST:
        raise Problem(422, "invalid_range", "The range ends after it begins, and at most 400 days later.")
    return Range(begin, end, zone)
