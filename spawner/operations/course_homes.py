"""Homes of a course's students once it is archived: put away where the course says so, and nobody misses them.

The safe choice in doubt is to keep a home. Put away is only that of somebody who is in no other course that goes on,
has not used it since the course last met, and about whom nobody has decided since. Whoever comes back gets it back, as
from every archive.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..ledger import Books
from ..policy import homes as rules
from ..policy.classes import Course, HomesAfter, Role
from ..policy.homes import JANITOR, Home, HomeState
from .desk import Desk
from .homes import note

UNDO = timedelta(hours=1)
"""From the archiving of a course until its homes are: it may have been a slip."""
_MEANT_FOR = timedelta(days=30)
_AFTERWARDS = timedelta(hours=2)  # in which servers of the last session stop, and files are still written


@dataclass(frozen=True, slots=True)
class Unused:
    """A home that a course has left behind.

    Attributes
    ----------
    courses
        All that its owner is or was in: servers called otherwise are their own.
    """

    course: Course
    home: Home
    courses: frozenset[str]


def left_behind(desk: Desk, prefix: str) -> list[Unused]:
    """List the homes that archived courses have left behind, as far as the ledger tells.

    Parameters
    ----------
    prefix
        With which the names of this hub's volumes begin.
    """
    with desk.ledger.reading() as books:
        now = desk.clock()
        found: dict[str, Unused] = {}
        for course in books.courses.all(archived=True):
            if _is_due(course, now):
                for member in books.courses.members(course.id, [Role.STUDENT]):
                    for home in books.homes.of_owner(member.user):
                        if home.volume.startswith(prefix) and (one := _unused(books, course, home, now)) is not None:
                            found.setdefault(home.volume, one)
        return list(found.values())


def put_away(desk: Desk, unused: Unused) -> bool:
    """Wish a home into the archive, if all still is as it was."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        course, home = books.courses.get(unused.course.id), books.homes.get(unused.home.volume)
        if course is None or home is None or not _is_due(course, now) or _unused(books, course, home, now) is None:
            return False
        answer = rules.ask_archive(home, JANITOR, f"the course {course.title} is archived", now)
        if not isinstance(answer, Home):
            return False
        books.homes.update(answer)
        note(books, now, "home.archive", JANITOR, home, answer, answer.why)
        return True


def _is_due(course: Course, now: datetime) -> bool:
    since = course.archived_at
    return course.homes is HomesAfter.ARCHIVE and since is not None and since + UNDO <= now < since + _MEANT_FOR


def _unused(books: Books, course: Course, home: Home, now: datetime) -> Unused | None:
    archived_at, used = course.archived_at, home.last_used_at
    if home.state is not HomeState.PRESENT or home.in_use or home.starting(now) or archived_at is None or used is None:
        return None
    if home.asked_at is not None and home.asked_at >= archived_at:
        return None  # somebody has decided since, or it came back
    member = books.courses.member(course.id, home.owner)
    if member is None or member.role is not Role.STUDENT:
        return None
    courses = frozenset(one.course for one in books.courses.of_user(home.owner))
    for one in courses:
        other = books.courses.get(one)
        if other is not None and other.archived_at is None:
            return None
    if any(lease.user == home.owner for lease in books.leases.open()):
        return None
    ends = [
        max([one.ends_at, *(seat.until for seat in books.sessions.seats(one.id) if seat.until is not None)])
        for name in courses
        for one in books.sessions.of_course(name)
        if one.warmed_at is not None
    ]
    if not ends or used > max(ends) + _AFTERWARDS:
        return None
    return Unused(course, home, courses)
