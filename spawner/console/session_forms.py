"""What somebody writes into the form of a session, and what it means by the clocks of their zone."""

import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from starlette.datastructures import FormData, QueryParams

from ..operations.session_changes import Change
from ..operations.sessions import Plan
from ..policy.classes import Late, Session
from ..policy.model import Deny
from ..policy.recurrence import Span, Weekly, occurrences

Gettext = Callable[[str], str]
MOST_SEATS = 10_000
_LONGEST_LEAD = 24 * 60
_YEARS = range(1971, 3000)
_FIELDS = ("title", "date", "begins", "ends", "seats", "lead", "grace", "late", "last", "skipped", "zone")


@dataclass(frozen=True, slots=True)
class Written:
    """The form's fields, as they were written.

    Attributes
    ----------
    single
        Whether it is of one session that there is already, which becomes no series.
    """

    title: str = ""
    date: str = ""
    begins: str = ""
    ends: str = ""
    seats: str = ""
    lead: str = "15"
    grace: str = "15"
    late: str = Late.FIRST.value
    exam: bool = False
    terminals: bool = True
    weekly: bool = False
    single: bool = False
    weekdays: frozenset[int] = frozenset()
    last: str = ""
    skipped: str = ""
    zone: str = "UTC"

    def query(self, **other: object) -> dict[str, str | list[str]]:
        """Give it as an address's query, with other values for some fields; `written_in` reads it."""
        values = {name: str(other.get(name, getattr(self, name))) for name in _FIELDS}
        said: dict[str, str | list[str]] = {name: value for name, value in values.items() if value}
        said["shown"] = "1"
        for name in ("exam", "terminals", "weekly"):
            if other.get(name, getattr(self, name)):
                said[name] = "1"
        said["weekday"] = [str(day) for day in sorted(self.weekdays)]
        return said


def written_in(form: FormData | QueryParams, usual: Written) -> Written:
    """Read the form's fields; `usual` where none of them is there."""
    if "shown" not in form:
        return usual
    said = {name: str(form.get(name, ""))[:500] for name in _FIELDS}
    days = frozenset(int(day) for day in map(str, form.getlist("weekday")) if day in {*"0123456"})
    return Written(
        **said,
        exam=bool(form.get("exam")),
        terminals=bool(form.get("terminals")),
        weekly=bool(form.get("weekly")) and not usual.single,
        single=usual.single,
        weekdays=days,
    )


def of_session(session: Session, zone: zoneinfo.ZoneInfo) -> Written:
    """Write down a session as it is."""
    starts, ends = session.starts_at.astimezone(zone), session.ends_at.astimezone(zone)
    minute = timedelta(minutes=1)
    return Written(
        session.title,
        starts.date().isoformat(),
        f"{starts:%H:%M}",
        f"{ends:%H:%M}",
        str(session.seats),
        str(session.lead // minute),
        str(session.grace // minute),
        session.late.value,
        session.exam,
        session.terminals,
        single=True,
        zone=zone.key,
    )


@dataclass(frozen=True, slots=True)
class Meant:
    """What a form means.

    Attributes
    ----------
    spans
        Begins and ends, in UTC.
    notes
        What clocks do on these days.
    """

    spans: tuple[Span, ...]
    seats: int
    title: str
    lead: timedelta
    grace: timedelta
    late: Late
    exam: bool
    terminals: bool
    zone: zoneinfo.ZoneInfo
    notes: tuple[str, ...] = ()

    def plan(self, course: str) -> Plan:
        return Plan(
            course,
            self.spans,
            self.seats,
            self.title,
            self.lead,
            self.grace,
            self.late,
            self.exam,
            self.terminals,
        )

    def change(self) -> Change:
        [(starts_at, ends_at)] = self.spans
        return Change(
            starts_at,
            ends_at,
            self.seats,
            self.title,
            self.lead,
            self.grace,
            self.late,
            self.exam,
            self.terminals,
        )


@dataclass
class Mistakes:
    """What is wrong with a form, by field; of a field that is empty yet, nothing but that."""

    of: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.of or self.missing)


def read_form(written: Written, _: Gettext) -> Meant | Mistakes:
    """Find out what a form means."""
    wrong = Mistakes()
    zone = _zone(written.zone, wrong, _)
    day, begins, ends = (
        _day(written.date, wrong, _),
        _time("begins", written, wrong, _),
        _time("ends", written, wrong, _),
    )
    seats = _number("seats", written.seats, 1, MOST_SEATS, wrong, _)
    lead = _number("lead", written.lead, 0, _LONGEST_LEAD, wrong, _)
    grace = _number("grace", written.grace, 0, _LONGEST_LEAD, wrong, _)
    title = written.title.strip()
    if not title.isprintable() or len(title) > 200:
        wrong.of["title"] = _("A title is one line of at most 200 letters.")
    late = _late(written.late, wrong, _)
    if wrong or day is None or begins is None or ends is None or zone is None:
        return wrong
    found = _series(written, day, begins, ends, zone, wrong, _) if written.weekly else _single(day, begins, ends, zone)
    if found is None:
        return wrong
    notes = tuple(
        _series_notes(found, begins, ends, zone, _) if written.weekly else _notes(found, begins, ends, zone, _)
    )
    minute = timedelta(minutes=1)
    return Meant(found, seats, title, lead * minute, grace * minute, late, written.exam, written.terminals, zone, notes)


# --- fields -----------------------------------------------------------------------------------------------------------


def _zone(name: str, wrong: Mistakes, _: Gettext) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        wrong.of["date"] = _("There is no time zone called {zone}.").format(zone=name)
        return None


def _day(text: str, wrong: Mistakes, _: Gettext, name: str = "date") -> date | None:
    if not text.strip():
        wrong.missing.add(name)
        return None
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        day = date.min
    if day.year not in _YEARS:
        wrong.of[name] = _("Write the day as 2027-03-01.")
        return None
    return day


def _time(name: str, written: Written, wrong: Mistakes, _: Gettext) -> time | None:
    text = getattr(written, name).strip()
    if not text:
        wrong.missing.add(name)
        return None
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", text, re.ASCII):
        wrong.of[name] = _("Write the time as 14:00.")
        return None
    hours, minutes = map(int, text.split(":"))
    return time(hours, minutes)


def _number(name: str, text: str, least: int, most: int, wrong: Mistakes, _: Gettext) -> int:
    if not text.strip():
        wrong.missing.add(name)
    elif re.fullmatch(r"\d{1,6}", text.strip(), re.ASCII) and least <= int(text) <= most:
        return int(text)
    else:
        wrong.of[name] = _("A whole number from {least} to {most}.").format(least=least, most=most)
    return 0


def _late(text: str, wrong: Mistakes, _: Gettext) -> Late:
    try:
        return Late(text)
    except ValueError:
        wrong.of["late"] = _("Choose one of these.")
        return Late.FIRST


# --- times ------------------------------------------------------------------------------------------------------------


def _single(day: date, begins: time, ends: time, zone: zoneinfo.ZoneInfo) -> tuple[Span, ...]:
    """Give begin and end by the clocks of a zone; an end that is not after the begin is the next day's."""
    last = day if ends > begins else day + timedelta(days=1)
    return ((_moment(day, begins, zone), _moment(last, ends, zone)),)


def _moment(day: date, at: time, zone: zoneinfo.ZoneInfo) -> datetime:
    return datetime.combine(day, at, zone).astimezone(UTC)


def _series(
    written: Written, first: date, begins: time, ends: time, zone: zoneinfo.ZoneInfo, wrong: Mistakes, _: Gettext
) -> tuple[Span, ...] | None:
    last = _day(written.last, wrong, _, "last")
    skipped = _days(written.skipped, wrong, _)
    if last is None or skipped is None:
        return None
    length = datetime.combine(first, ends) - datetime.combine(first, begins)
    if length <= timedelta(0):
        length += timedelta(days=1)
    weekdays = written.weekdays or frozenset({first.weekday()})
    found = occurrences(Weekly(weekdays, begins, length, zone.key, first, last, skipped))
    if isinstance(found, Deny):
        wrong.of["last"] = found.reason
        return None
    return found


def _days(text: str, wrong: Mistakes, _: Gettext) -> frozenset[date] | None:
    try:
        return frozenset(date.fromisoformat(day) for day in re.split(r"[\s,;]+", text.strip()) if day)
    except ValueError:
        wrong.of["skipped"] = _("Write days as 2027-03-29, with commas between them.")
        return None


def _notes(spans: tuple[Span, ...], begins: time, ends: time, zone: zoneinfo.ZoneInfo, _: Gettext) -> list[str]:
    """Tell of times that clocks leave out on that day, or show twice."""
    found = [note for moment, at in zip(spans[0], (begins, ends), strict=True) if (note := _note(moment, at, zone, _))]
    starts_at, ends_at = spans[0]
    said = datetime.combine(date.min, ends) - datetime.combine(date.min, begins)
    if said <= timedelta(0):
        said += timedelta(days=1)
    if not found and ends_at - starts_at != said:
        minutes = (ends_at - starts_at) // timedelta(minutes=1)
        found.append(_("Clocks are changed meanwhile: it takes {minutes} minutes.").format(minutes=minutes))
    return found


def _series_notes(
    spans: tuple[Span, ...], begins: time, ends: time, zone: zoneinfo.ZoneInfo, _: Gettext
) -> Iterator[str]:
    """Tell on which days of a series clocks do so; each session is as long as the others."""
    for starts_at, ends_at in spans:
        day, last = starts_at.astimezone(zone).date(), ends_at.astimezone(zone)
        if note := _note(starts_at, begins, zone, _):
            yield f"{day}: {note}"
        if last.time() != ends:
            ends_then = _("Clocks are changed meanwhile: it ends at {clock}.").format(clock=f"{last:%H:%M}")
            yield f"{day}: {ends_then}"


def _note(moment: datetime, written: time, zone: zoneinfo.ZoneInfo, _: Gettext) -> str:
    """Tell what clocks do with a time that was written; empty for nothing."""
    local, clock = moment.astimezone(zone), f"{written:%H:%M}"
    if local.time() != written:
        return _("There is no {clock} on that day, for clocks are put forward; {other} is meant.").format(
            clock=clock, other=f"{local:%H:%M}"
        )
    if local.replace(fold=1).utcoffset() != local.replace(fold=0).utcoffset():
        return _("There is {clock} twice on that day, for clocks are put back; the first is meant.").format(clock=clock)
    return ""


def local_parts(moment: datetime, zone: zoneinfo.ZoneInfo) -> Mapping[str, str]:
    """Give the fields of a form that begins at a moment."""
    local = moment.astimezone(zone)
    return {"date": local.date().isoformat(), "begins": f"{local:%H:%M}"}
