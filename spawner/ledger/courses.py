"""Courses, who is in them, and whose seats their staff were let into."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete, func, insert, select, update

from ..policy.classes import Course, Member, Role
from . import tables
from .memory import Work
from .records import Record

_courses, _members, _shares = tables.courses, tables.members, tables.seat_shares
_COURSE = Record(Course, _courses, renamed={"most_ahead": "most_ahead_ms"})
_MEMBER = Record(Member, _members, renamed={"user": "username"})


class CourseStore:
    def __init__(self, work: Work) -> None:
        self._work = work

    def get(self, course: str) -> Course | None:
        row = self._work.connection.execute(select(*_COURSE.columns).where(_courses.c.id == course)).first()
        return None if row is None else _COURSE.value(row)

    def all(self, *, archived: bool = False) -> list[Course]:
        """List courses by title; archived ones only if asked for."""
        query = select(*_COURSE.columns).order_by(_courses.c.title, _courses.c.id)
        if not archived:
            query = query.where(_courses.c.archived_at.is_(None))
        return [_COURSE.value(row) for row in self._work.connection.execute(query)]

    def insert(self, course: Course) -> None:
        self._work.touch(_courses)
        self._work.connection.execute(insert(_courses), _COURSE.row(course))

    def update(self, course: Course) -> None:
        self._work.touch(_courses)
        query = update(_courses).where(_courses.c.id == course.id)
        self._work.connection.execute(query.values(**_COURSE.row(course)))

    # --- who is in them -----------------------------------------------------------------------------------------------

    def members(self, course: str, roles: Collection[Role] = tuple(Role)) -> list[Member]:
        """List who is in a course in one of some roles, by name."""
        query = select(*_MEMBER.columns).where(_members.c.course == course, _members.c.role.in_(roles))
        rows = self._work.connection.execute(query.order_by(_members.c.username))
        return [_MEMBER.value(row) for row in rows]

    def member(self, course: str, user: str) -> Member | None:
        query = select(*_MEMBER.columns).where(_members.c.course == course, _members.c.username == user)
        row = self._work.connection.execute(query).first()
        return None if row is None else _MEMBER.value(row)

    def of_user(self, user: str) -> list[Member]:
        """List what somebody is in which courses."""
        query = select(*_MEMBER.columns).where(_members.c.username == user).order_by(_members.c.course)
        return [_MEMBER.value(row) for row in self._work.connection.execute(query)]

    def counts(self) -> dict[tuple[str, Role], int]:
        """Count the members of all courses by role."""
        query = select(_members.c.course, _members.c.role, func.count()).group_by(_members.c.course, _members.c.role)
        return {(course, role): count for course, role, count in self._work.connection.execute(query)}

    def put_members(self, members: Sequence[Member]) -> None:
        """Put people in, or in another role."""
        for member in members:
            self.remove_members(member.course, [member.user])
        if members:
            self._work.touch(_members)
            self._work.connection.execute(insert(_members), [_MEMBER.row(member) for member in members])

    def remove_members(self, course: str, users: Collection[str]) -> int:
        """Take people out; gives how many there were."""
        self._work.touch(_members)
        query = delete(_members).where(_members.c.course == course, _members.c.username.in_(users))
        return self._work.connection.execute(query).rowcount

    # --- whose seats staff were let into ------------------------------------------------------------------------------

    def shares(self, course: str) -> list[tuple[str, str]]:
        """List whose seats who was let into, and was not kept out of since: owner and user."""
        query = select(_shares.c.owner, _shares.c.username).where(_shares.c.course == course)
        rows = self._work.connection.execute(query.order_by(_shares.c.owner, _shares.c.username))
        return [(owner, user) for owner, user in rows]

    def put_share(self, course: str, owner: str, user: str, at: datetime) -> None:
        """Note that somebody is let into a seat."""
        self.remove_share(course, owner, user)
        row = {"course": course, "owner": owner, "username": user, "given_at": at}
        self._work.connection.execute(insert(_shares), row)

    def remove_share(self, course: str, owner: str, user: str) -> bool:
        """Forget that somebody was let into a seat; False if nothing was noted."""
        self._work.touch(_shares)
        query = delete(_shares).where(_shares.c.course == course, _shares.c.owner == owner, _shares.c.username == user)
        return self._work.connection.execute(query).rowcount > 0
