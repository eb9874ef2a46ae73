"""Courses as lists show them, and how many seats of a kind there can be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..ledger import Books
from ..policy.classes import Course, Member, Phase, Role, Session
from ..policy.reservations import room
from .courses import find_in
from .desk import Desk
from .pools import load_pool

_RUNS = frozenset({Phase.PLANNED, Phase.WARMING, Phase.OPEN})
_FAR, _HOUR = timedelta(days=366), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Listed:
    """A course in a list.

    Attributes
    ----------
    role
        Of whom the list is for; None for who is not in it.
    counts
        Members by role.
    next
        The session that runs, or else the next one.
    """

    course: Course
    role: Role | None
    counts: Mapping[Role, int]
    next: Session | None


@dataclass(frozen=True, slots=True)
class Overview:
    """One course with its staff and the sessions that run or are to come, by start."""

    listed: Listed
    staff: tuple[Member, ...]
    sessions: tuple[Session, ...]


def courses_of(desk: Desk, user: str, *, archived: bool = False) -> list[Listed]:
    """List the courses somebody is in: the one that meets next first, then by title.

    Parameters
    ----------
    archived
        Whether archived ones are listed too.
    """
    with desk.ledger.reading() as books:
        roles = {one.course: one.role for one in books.courses.of_user(user)}
        found = [one for name in roles if (one := books.courses.get(name)) is not None]
        return _listed(books, [one for one in found if archived or one.archived_at is None], roles, desk.clock())


def all_courses(desk: Desk, user: str = "", *, archived: bool = False) -> list[Listed]:
    """List all courses, in the order of `courses_of`, with what somebody is in them."""
    with desk.ledger.reading() as books:
        roles = {one.course: one.role for one in books.courses.of_user(user)} if user else {}
        return _listed(books, books.courses.all(archived=archived), roles, desk.clock())


def overview(desk: Desk, course: str, user: str = "") -> Overview:
    """Tell of one course.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        found, now = find_in(books, course), desk.clock()
        members = books.courses.members(course)
        counts = {role: sum(one.role is role for one in members) for role in Role}
        ahead = [one for one in books.sessions.of_course(course) if one.phase(now) in _RUNS]
        role = next((one.role for one in members if one.user == user), None)
        staff = tuple(one for one in members if one.role is not Role.STUDENT)
        return Overview(Listed(found, role, counts, ahead[0] if ahead else None), staff, tuple(ahead))


def member(desk: Desk, course: str, user: str) -> Member | None:
    """Give what somebody is in a course."""
    with desk.ledger.reading() as books:
        return books.courses.member(course, user)


def _listed(books: Books, courses: Sequence[Course], roles: Mapping[str, Role], now: datetime) -> list[Listed]:
    counts = books.courses.counts()
    following: dict[str, Session] = {}
    for session in books.sessions.live(now):  # by start
        if session.phase(now) in _RUNS:
            following.setdefault(session.course, session)
    found = [
        Listed(
            one,
            roles.get(one.id),
            {role: counts.get((one.id, role), 0) for role in Role},
            None if one.archived_at else following.get(one.id),
        )
        for one in courses
    ]
    return sorted(found, key=_order)


def _order(listed: Listed) -> tuple[bool, float, str, str]:
    begins = listed.next.starts_at.timestamp() if listed.next else float("inf")
    return listed.course.archived_at is not None, begins, listed.course.title.casefold(), listed.course.id


def most_seats(desk: Desk, course: Course) -> int | None:
    """Count the seats that there would be if nobody else had a GPU then; None for a course without GPUs."""
    if not course.gpus:
        return None
    with desk.ledger.reading() as books:
        now = desk.clock()
        pool = load_pool(books, desk.rules, now)
        # A year from now no lease runs, and hardly anything is reserved.
        return room(pool, course.seat(""), now + _FAR, now + _FAR + _HOUR, desk.rules, now)
