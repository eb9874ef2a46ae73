"""What a class was: who came and for how long, what of the GPUs was used and wasted, what failed, who waited for help.

A session's report says how it stands as long as the session runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from statistics import median

from ..ledger import AuditEntry, Books, Only
from ..policy.accounting import length_ms
from ..policy.classes import Course, Role, Seat, SeatState, Session, seat_state
from ..policy.handouts import Collected
from .collections import latest
from .courses import find_in
from .desk import Desk
from .reports import Row, report_in
from .sessions import find_session

_MOST_ENTRIES = 20_000
_ZERO = timedelta(0)


@dataclass(frozen=True, slots=True)
class Wait:
    """A hand that was raised.

    Attributes
    ----------
    lowered_at
        None while it is raised.
    """

    user: str
    raised_at: datetime
    lowered_at: datetime | None
    lowered_by: str = ""

    def length(self, now: datetime) -> timedelta:
        return (self.lowered_at or now) - self.raised_at


@dataclass(frozen=True, slots=True)
class Attendance:
    """One student, or guest, in one session.

    Attributes
    ----------
    stayed
        From the first page opened to the last sign of work.
    late
        After the session's start; zero for who was there in time.
    leased_ms, idle_ms
        GPU-milliseconds of the seat, and those of them in which nothing was done.
    starts, restarts, failed
        How often its server was asked for, restarted by staff, and did not get ready.
    visits
        How often staff opened it.
    """

    user: str
    role: Role | None
    guest: bool
    state: SeatState
    ready_at: datetime | None
    entered_at: datetime | None
    active_at: datetime | None
    stayed: timedelta
    late: timedelta
    leased_ms: int
    idle_ms: int
    starts: int
    restarts: int
    failed: int
    problem: str
    hands: tuple[Wait, ...]
    visits: int
    collected: Collected | None

    @property
    def came(self) -> bool:
        return self.entered_at is not None


@dataclass(frozen=True)
class SessionReport:
    """A session, as it was or stands.

    Attributes
    ----------
    reserved_ms
        GPU-milliseconds that were reserved so far: from the first start of seats on, without what was given back.
    leased_ms, idle_ms
        Of its seats' leases, more time than the session's included.
    """

    course: Course
    session: Session
    at: datetime
    rows: tuple[Attendance, ...]
    reserved_ms: int
    leased_ms: int
    idle_ms: int

    @property
    def used_ms(self) -> int:
        return self.leased_ms - self.idle_ms

    @property
    def unused_ms(self) -> int:
        """What was reserved, and nobody had."""
        return max(0, self.reserved_ms - self.leased_ms)

    @property
    def wasted_ms(self) -> int:
        """What others could have had: idle, or reserved and had by nobody."""
        return self.idle_ms + self.unused_ms

    @property
    def came(self) -> int:
        return sum(row.came for row in self.rows)

    @property
    def failed(self) -> int:
        return sum(row.failed for row in self.rows)

    @property
    def restarts(self) -> int:
        return sum(row.restarts for row in self.rows)

    @cached_property
    def hands(self) -> tuple[Wait, ...]:
        return tuple(sorted((one for row in self.rows for one in row.hands), key=lambda one: one.raised_at))

    @property
    def usual_wait(self) -> timedelta | None:
        """The median of how long hands were raised; None if none was."""
        lengths = [one.length(self.at).total_seconds() for one in self.hands]
        return timedelta(seconds=median(lengths)) if lengths else None


@dataclass(frozen=True, slots=True)
class Student:
    """One student over all sessions of a course.

    Attributes
    ----------
    sessions, came
        Sessions so far in which they had a seat, and to which they came.
    """

    user: str
    role: Role | None
    sessions: int
    came: int
    stayed: timedelta
    leased_ms: int
    idle_ms: int
    failed: int
    hands: int
    collected: int


@dataclass(frozen=True)
class CourseReport:
    """A course's sessions so far, the latest first, and its students by name."""

    course: Course
    at: datetime
    sessions: tuple[SessionReport, ...]

    @cached_property
    def students(self) -> tuple[Student, ...]:
        rows: dict[str, list[Attendance]] = {}
        for one in self.sessions:
            for row in one.rows:
                rows.setdefault(row.user, []).append(row)
        return tuple(_student(user, rows[user]) for user in sorted(rows))

    @property
    def reserved_ms(self) -> int:
        return sum(one.reserved_ms for one in self.sessions)

    @property
    def leased_ms(self) -> int:
        return sum(one.leased_ms for one in self.sessions)

    @property
    def used_ms(self) -> int:
        return sum(one.used_ms for one in self.sessions)

    @property
    def wasted_ms(self) -> int:
        return sum(one.wasted_ms for one in self.sessions)


def _student(user: str, rows: Sequence[Attendance]) -> Student:
    return Student(
        user,
        rows[0].role,
        sum(not row.guest or row.came for row in rows),
        sum(row.came for row in rows),
        sum((row.stayed for row in rows), _ZERO),
        sum(row.leased_ms for row in rows),
        sum(row.idle_ms for row in rows),
        sum(row.failed for row in rows),
        sum(len(row.hands) for row in rows),
        sum(row.collected is not None and bool(row.collected.archive) for row in rows),
    )


def session_report(desk: Desk, session: str) -> SessionReport:
    """Tell what a session was, or is so far.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        found = find_session(books, session)
        course = find_in(books, found.course)
        return _report(books, course, found, books.sessions.of_course(course.id), desk.clock())


def course_report(desk: Desk, course: str) -> CourseReport:
    """Tell what a course's sessions were that have begun and were not called off before.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        now, found = desk.clock(), find_in(books, course)
        sessions = books.sessions.of_course(course)
        held = [
            one
            for one in sessions
            if one.starts_at - one.lead <= now and (one.cancelled_at is None or one.warmed_at is not None)
        ]
        return CourseReport(found, now, tuple(_report(books, found, one, sessions, now) for one in reversed(held)))


def _report(
    books: Books, course: Course, session: Session, sessions: Iterable[Session], now: datetime
) -> SessionReport:
    roles = {one.user: one.role for one in books.courses.members(course.id)}
    known = {seat.user: seat for seat in books.sessions.seats(session.id)}
    over = min(now, session.cancelled_at or session.ends_at)
    begins, ends = _span(session, known.values(), sessions, now)
    used = {row.key: row for row in report_in(books, "user", begins, ends, UTC, Only(course=course.id), now).rows}
    entries = books.audit.list(limit=_MOST_ENTRIES, subject=f"session {session.id}")
    hands = _hands(entries, known.values())
    counts = {action: _counted(entries, action) for action in ("seat.restart", "seat.start", "seat.visit")}
    work = {one.user: one for one in latest(books.handouts.collected(session.id))}
    # Of one that is over, who came into the course later had no seat in it.
    students = {
        one.user
        for one in books.courses.members(course.id, [Role.STUDENT])
        if one.added_at < max(session.ends_at, session.starts_at)
    }
    rows = []
    for user in sorted(students | known.keys() | used.keys()):
        seat = known.get(user) or Seat(session.id, user)
        restarts = counts["seat.restart"].get(user, 0)
        by_staff = restarts + counts["seat.start"].get(user, 0)
        lasted = (seat.active_at or seat.entered_at, seat.entered_at)
        rows.append(
            Attendance(
                user,
                roles.get(user),
                seat.guest,
                seat_state(seat, now),
                seat.ready_at,
                seat.entered_at,
                seat.active_at,
                max(_ZERO, lasted[0] - lasted[1]) if lasted[0] and lasted[1] else _ZERO,
                max(_ZERO, seat.entered_at - session.starts_at) if seat.entered_at else _ZERO,
                used.get(user, Row(user)).leased_ms,
                used.get(user, Row(user)).idle_ms,
                seat.attempts,
                restarts,
                max(0, seat.attempts - 1 - by_staff) + bool(seat.problem and seat.ready_at is None),
                seat.problem,
                tuple(hands.get(user, ())),
                counts["seat.visit"].get(user, 0),
                work.get(user),
            )
        )
    return SessionReport(
        course,
        session,
        now,
        tuple(rows),
        _reserved_ms(books, session, known.values(), over),
        sum(row.leased_ms for row in rows),
        sum(row.idle_ms for row in rows),
    )


def _span(
    session: Session, seats: Iterable[Seat], sessions: Iterable[Session], now: datetime
) -> tuple[datetime, datetime]:
    """Give the time in which leases of the course were this session's."""
    ends = [session.ends_at, *(seat.until for seat in seats if seat.until is not None)]
    if session.cleared_at is not None:
        ends.append(session.cleared_at)
    following = [
        one.starts_at - one.lead
        for one in sessions
        if one.cancelled_at is None and one.id != session.id and one.starts_at >= session.ends_at
    ]
    end = min([max(ends), *(max(begin, session.ends_at) for begin in following)])
    return session.starts_at - session.lead, min(end, now)


def _reserved_ms(books: Books, session: Session, seats: Iterable[Seat], over: datetime) -> int:
    reservation = books.reservations.get(session.reservation) if session.reservation else None
    if reservation is None or not session.gpus or over <= reservation.starts_at:
        return 0
    kept = len(reservation.slots) // session.gpus
    back = sorted(seat.given_back_at for seat in seats if seat.given_back_at is not None)
    # What no seat needed went back without one, when the grace was over.
    back += [session.starts_at + session.grace] * session.seats
    ends = (min(max(at, reservation.starts_at), over) for at in back[: max(0, session.seats - kept)])
    whole = length_ms(reservation.starts_at, over)
    reserved = kept * whole + sum(length_ms(reservation.starts_at, end) for end in ends)
    return reserved * session.gpus


def _hands(entries: Sequence[AuditEntry], seats: Iterable[Seat]) -> Mapping[str, list[Wait]]:
    found: dict[str, list[Wait]] = {}
    for entry in reversed(entries):
        if entry.action == "seat.hand" and isinstance(entry.before, dict):
            user, raised = str(entry.before["user"]), datetime.fromisoformat(entry.before["raised_at"])
            found.setdefault(user, []).append(Wait(user, raised, entry.at, entry.actor))
    for seat in seats:
        if seat.hand_at is not None:
            found.setdefault(seat.user, []).append(Wait(seat.user, seat.hand_at, None))
    return found


def _counted(entries: Iterable[AuditEntry], action: str) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for entry in entries:
        if entry.action == action and isinstance(entry.after, dict):
            user = str(entry.after.get("user", ""))
            found[user] = found.get(user, 0) + 1
    return found
