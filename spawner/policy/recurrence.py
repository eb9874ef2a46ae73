"""Sessions that come again each week, by the clocks of a zone."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from .model import Deny

MOST = 200
"""Sessions of one series; a term has fewer."""


@dataclass(frozen=True, slots=True)
class Weekly:
    """When the sessions of a series are.

    Attributes
    ----------
    weekdays
        Monday is 0.
    begins
        By the clocks of `zone`, whatever daylight-saving time does to UTC.
    length
        Elapsed time: a session is as long on the day on which clocks are put forward.
    zone
        A name of the IANA database.
    first, last
        Days, both within.
    skipped
        Days without a session: holidays.
    """

    weekdays: frozenset[int]
    begins: time
    length: timedelta
    zone: str
    first: date
    last: date
    skipped: frozenset[date] = frozenset()


Span = tuple[datetime, datetime]


def occurrences(weekly: Weekly) -> tuple[Span, ...] | Deny:
    """List the begins and ends of all sessions of a series, in UTC and in order.

    A time that clocks leave out begins as much later as they are put forward; of one that they show twice, the first
    counts (:pep:`495`, ``fold=0``).

    Returns
    -------
    tuple or Deny
        ``Deny`` with ``invalid_option``: no day, an end before the begin, more than `MOST`, or sessions that overlap.
    """
    if not weekly.weekdays or not weekly.weekdays <= set(range(7)):
        return Deny("invalid_option", "Choose at least one day of the week.")
    if weekly.length <= timedelta(0):
        return Deny("invalid_option", "A session takes some time.")
    if weekly.last < weekly.first:
        return Deny("invalid_option", f"The last day, {weekly.last}, is before the first, {weekly.first}.")
    if (weekly.last - weekly.first).days > 7 * MOST:
        return Deny("invalid_option", f"From {weekly.first} to {weekly.last} is too long; end with the term.")
    spans = tuple(_spans(weekly))
    if not spans:
        return Deny("invalid_option", "On all of these days there is none: choose other days, or skip fewer.")
    if len(spans) > MOST:
        return Deny("invalid_option", f"These are {len(spans)} sessions, and a series has {MOST} at most.")
    if any(ends_at > following for (_, ends_at), (following, _) in pairwise(spans)):
        return Deny("invalid_option", "A session would begin before the one before has ended.")
    return spans


def _spans(weekly: Weekly) -> Iterator[Span]:
    zone = ZoneInfo(weekly.zone)
    day = weekly.first
    while day <= weekly.last:
        if day.weekday() in weekly.weekdays and day not in weekly.skipped:
            starts_at = datetime.combine(day, weekly.begins.replace(tzinfo=None), zone).astimezone(UTC)
            yield starts_at, starts_at + weekly.length
        day += timedelta(days=1)
