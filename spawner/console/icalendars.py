"""Calendars as programs read them: iCalendar (:rfc:`5545`), in UTC, so that every reader's own zone is right."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from icalendar import Calendar, Event, vDuration

from ..operations.feeds import Entry
from ..policy.classes import STAFF

MEDIA_TYPE = "text/calendar; charset=utf-8"
_LOOK_EVERY = timedelta(minutes=30)


def calendar_text(
    title: str,
    entries: Iterable[Entry],
    address: Callable[[Entry], str],
    gettext: Callable[[str], str],
    now: datetime,
) -> bytes:
    """Write a calendar.

    An event keeps its UID whatever changes, its SEQUENCE counts the changes, and one that was called off stays, marked
    so: then programs that know it already follow.

    Parameters
    ----------
    address
        Gives the page of a session.
    """
    calendar = Calendar()
    calendar.add("prodid", "-//Berth//Classes//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("name", title)
    calendar.add("x-wr-calname", title)
    calendar.add("refresh-interval", _LOOK_EVERY, parameters={"value": "DURATION"})
    calendar.add("x-published-ttl", vDuration(_LOOK_EVERY))
    for entry in entries:
        calendar.add_component(_event(entry, address(entry), gettext, now))
    return bytes(calendar.to_ical())


def _event(entry: Entry, address: str, _: Callable[[str], str], now: datetime) -> Event:
    session, course = entry.session, entry.course
    event = Event()
    event.add("uid", f"session-{session.id}@berth")
    event.add("sequence", session.version - 1)
    event.add("dtstamp", now)
    event.add("created", session.created_at)
    event.add("dtstart", session.starts_at)
    event.add("dtend", session.ends_at)
    event.add("summary", f"{course.title}: {session.title}" if session.title else course.title)
    event.add("url", address)
    event.add("categories", [course.id])
    if session.cancelled_at is not None:
        event.add("status", "CANCELLED")
        event.add("transp", "TRANSPARENT")
        event.add("description", _("Called off."))
        return event
    event.add("status", "CONFIRMED")
    lines = [_("Your seat starts by itself."), address]
    if entry.role is None or entry.role in STAFF:
        lines = [_("Seats: {count}").format(count=session.seats), address]
    if session.exam:
        lines.insert(0, _("Exam mode."))
    event.add("description", "\n".join(lines))
    return event
