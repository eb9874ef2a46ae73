"""What the console says of a plan before it is one, and of sessions that there are."""

import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from ..ledger import AuditFilter
from ..operations import feeds, listing, session_changes, sessions
from ..operations.session_changes import Changed
from ..operations.sessions import NoFit, Planned, Shortened
from ..policy.classes import STAFF, Course, Phase, Role, Session
from ..policy.gpus import SlotKind
from ..policy.model import Deny
from .context import Console
from .course_access import InCourse
from .course_words import PHASES
from .languages import dated
from .menu import N_
from .rendering import Reader
from .scopes import Scope
from .session_forms import Gettext, Meant, Mistakes, Written, local_parts, of_session, read_form

LATE = {
    "first": N_("Goes first in the queue"),
    "queue": N_("Queues like everybody else"),
    "refuse": N_("Is refused"),
}
KIND_WORDS = {
    SlotKind.EXCLUSIVE: N_("whole GPUs"),
    SlotKind.MIG: N_("parts of GPUs (MIG)"),
    SlotKind.SHARED: N_("shares of GPUs"),
}
FIELDS = {
    "date": N_("Day"),
    "begins": N_("Begins"),
    "ends": N_("Ends"),
    "title": N_("Title"),
    "seats": N_("Seats"),
    "lead": N_("Seats are started, minutes before"),
    "grace": N_("Unused seats go back, minutes after"),
    "late": N_("Who comes late"),
    "exam": N_("Exam"),
    "terminals": N_("With terminals"),
}
LIVE = frozenset({Phase.PLANNED, Phase.WARMING, Phase.OPEN})
_PAST = 20
_CHANGES = frozenset({"session.change", "session.cancel", "session.collect"})  # each makes another version of it


# --- before it is planned ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """Something else that would do: words, and the query of the form that has it."""

    words: str
    query: str


@dataclass(frozen=True, slots=True)
class Hint:
    """Whether what a form says can be.

    Attributes
    ----------
    missing
        Whether something that is needed is not filled in yet.
    mistakes
        By field.
    shortened
        Leases that would make room.
    """

    missing: bool = False
    mistakes: dict[str, str] | None = None
    meant: Meant | None = None
    planned: tuple[Session, ...] = ()
    gpus: int = 0
    shortened: tuple[Shortened, ...] = ()
    moves_seats: int = 0
    no_fit: NoFit | None = None
    denied: Deny | None = None
    ways: tuple[Way, ...] = ()

    @property
    def fits(self) -> bool:
        return bool(self.planned)

    @property
    def gpu_hours(self) -> float:
        return sum(one.gpu_hours for one in self.planned)


def look(here: Console, within: InCourse, written: Written, reader: Reader, _: Gettext, was: Session | None) -> Hint:
    """Look whether what a form says can be.

    Parameters
    ----------
    was
        The session that is to be changed; None for new ones.
    """
    meant = read_form(written, _)
    if isinstance(meant, Mistakes):
        return Hint(bool(meant.missing), meant.of)
    answer: Planned | Changed | NoFit | Deny
    if was is None:
        answer = sessions.preview(here.desk, meant.plan(within.course.id), within.caller.name)
    else:
        answer = session_changes.preview_change(here.desk, was.id, meant.change())
    return told(within.course, meant, answer, written, reader, _)


def told(
    course: Course, meant: Meant, answer: Planned | Changed | NoFit | Deny, written: Written, reader: Reader, _: Gettext
) -> Hint:
    """Say what the operation answered."""
    if isinstance(answer, Planned):
        return Hint(meant=meant, planned=answer.sessions, gpus=course.gpus, shortened=answer.shortened)
    if isinstance(answer, Changed):
        return Hint(
            meant=meant,
            planned=(answer.session,),
            gpus=course.gpus,
            shortened=answer.shortened,
            moves_seats=len(answer.seats),
        )
    if isinstance(answer, NoFit):
        return Hint(meant=meant, no_fit=answer, ways=tuple(_ways(meant, answer, written, reader, _)))
    return Hint(meant=meant, denied=answer)


def _ways(meant: Meant, answer: NoFit, written: Written, reader: Reader, _: Gettext) -> Iterable[Way]:
    zone = meant.zone
    failing = answer.starts_at.astimezone(zone)
    if written.weekly:
        day = failing.date().isoformat()
        words = _("Leave out {day}").format(day=dated(failing, "EEEE d MMM", reader.language))
        yield Way(words, _query(written, skipped=", ".join(filter(None, [written.skipped.strip(" ,"), day]))))
    length = next(end - start for start, end in meant.spans if start == answer.starts_at)
    for begin in answer.fit.times:
        local = begin.astimezone(zone)
        ends = f"{(begin + length).astimezone(zone):%H:%M}"
        if not written.weekly:
            yield Way(
                dated(local, "EEE d MMM, HH:mm", reader.language),
                _query(written, **local_parts(begin, zone), ends=ends),
            )
        elif local.date() == failing.date():
            words = _("Begin at {clock} each time").format(clock=f"{local:%H:%M}")
            yield Way(words, _query(written, begins=f"{local:%H:%M}", ends=ends))
    if answer.fit.seats:
        words = _("Fewer seats: {count}").format(count=answer.fit.seats)
        yield Way(words, _query(written, seats=answer.fit.seats))


def _query(written: Written, **other: object) -> str:
    return urlencode(written.query(**other), doseq=True)


@dataclass(frozen=True, slots=True)
class Conflict:
    """A session that somebody else has changed while a form for it was filled in.

    Attributes
    ----------
    by, at
        Who changed it last, and when.
    rows
        What differs: the field, as it is now, and as it was written; `FIELDS` has words for it.
    """

    by: str
    at: datetime | None
    rows: tuple[tuple[str, str | bool, str | bool], ...]


def conflict_of(here: Console, now: Session, meant: Meant) -> Conflict:
    """Compare a session as it is now with what a form means, by the clocks of the form's zone."""
    theirs, mine = of_session(now, meant.zone), of_session(meant.change().of(now), meant.zone)
    both = ((name, getattr(theirs, name), getattr(mine, name)) for name in FIELDS)
    entries = listing.audit(here.desk, AuditFilter(action="session", subject=f"session {now.id}"), limit=20).entries
    last = next((one for one in entries if one.action in _CHANGES), None)
    rows = tuple(row for row in both if row[1] != row[2])
    return Conflict(last.actor if last else "", last.at if last else None, rows)


def usual(here: Console, within: InCourse, zone: zoneinfo.ZoneInfo) -> Written:
    """Give a form that is not filled in yet: a seat for each student, as many as the course may have."""
    with here.desk.ledger.reading() as books:
        count = len(books.courses.members(within.course.id, [Role.STUDENT]))
    most = within.course.most_seats
    seats = max(1, count if most is None else min(count, most))
    return Written(seats=str(seats), zone=zone.key)


# --- what there is ----------------------------------------------------------------------------------------------------


def sessions_part(here: Console, within: InCourse) -> dict[str, Any]:
    """Give what the template ``sessions/of-course.html`` shows: the sessions of a course.

    A page that includes it hands these values on to `Pages.render`.
    """
    now = here.clock()
    found = [entry.session for entry in feeds.of_course(here.desk, within.course.id)]
    ahead = [one for one in found if one.phase(now) in LIVE or one.phase(now) is Phase.ENDING]
    past = [one for one in reversed(found) if one not in ahead]
    return {
        "sessions_ahead": ahead,
        "sessions_past": past[:_PAST],
        "sessions_more": max(0, len(past) - _PAST),
        "sessions_now": now,
        "session_phases": PHASES,
        "within": within,
        "course": within.course,
    }


@dataclass(frozen=True, slots=True)
class Next:
    """A session that somebody's next.

    Attributes
    ----------
    today
        Whether it begins today, by the reader's clocks.
    card
        Whether it stands alone: it runs or is about to, or it is the next.
    staff
        Whether they are of the course's staff: their seats are started when they ask, and not by themselves.
    address
        Where their seat opens; empty while it does not run.
    """

    course: Course
    session: Session
    phase: Phase
    today: bool
    card: bool
    staff: bool
    address: str = ""


def next_of(
    here: Console, reader: Reader, addresses: Mapping[str, str], found: Iterable[tuple[Course, Session, Role]]
) -> list[Next]:
    """Give somebody's next sessions: those that run or begin within a week, four at the most.

    Parameters
    ----------
    addresses
        Of their servers that run, by name.
    """
    now = here.clock()
    today = now.astimezone(reader.zone).date()
    near = [one for one in found if one[1].starts_at < now + timedelta(days=7)]
    return [
        Next(
            course,
            one,
            one.phase(now),
            one.starts_at.astimezone(reader.zone).date() == today,
            place == 0 or one.phase(now) in {Phase.WARMING, Phase.OPEN},
            role in STAFF,
            addresses.get(course.id, ""),
        )
        for place, (course, one, role) in enumerate(near[:4])
    ]


def may_see_leases(within: InCourse) -> bool:
    """Tell whether somebody may know whose leases make room."""
    return within.caller.may(Scope.READ)
