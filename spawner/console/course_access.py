"""Who may do what in a course: dependencies of the routes that have ``{course}`` in their path.

A course's members see it, its staff run its sessions, its instructors change it; admins, who hold all of
`scopes.OF_ADMINS`, may all. To everybody else it does not exist. What changes something takes `Scope.SELF` as well, so
that a token which only reads does not teach.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Request

from ..operations import seats
from ..policy.classes import STAFF, Course, Role, Seat, Session
from .callers import Caller, allowed
from .context import Console, Here
from .problems import Problem
from .scopes import OF_ADMINS, Scope

CoursePath = Annotated[str, Path(max_length=64, description="Short name of the course.")]
SessionPath = Annotated[str, Path(max_length=64, description="Id of the session.")]
SeatPath = Annotated[str, Path(max_length=255, description="Whose seat it is.")]

_READS = {"GET", "HEAD", "OPTIONS"}
_NAME = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class InCourse:
    """Somebody in a course that they may see.

    Attributes
    ----------
    role
        None for an admin who is not in it.
    """

    caller: Caller
    course: Course
    role: Role | None

    @property
    def admin(self) -> bool:
        return is_admin(self.caller)

    @property
    def staff(self) -> bool:
        """Whether they may see the board and act on seats."""
        return self.admin or self.role in STAFF

    @property
    def instructor(self) -> bool:
        """Whether they may change the course."""
        return self.admin or self.role is Role.INSTRUCTOR


def is_admin(caller: Caller) -> bool:
    return all(caller.may(scope) for scope in OF_ADMINS)


def course_for(here: Console, caller: Caller, course: str) -> InCourse:
    """Look a course up for somebody.

    Raises
    ------
    Problem
        404 where there is none, and the same where they are not in it.
    """
    if _NAME.fullmatch(course):
        with here.desk.ledger.reading() as books:
            found = books.courses.get(course)
            member = books.courses.member(course, caller.name) if found and caller.kind == "user" else None
        if found is not None:
            role = member.role if member else None
            if role is None and found.group and caller.kind == "user" and found.group in caller.groups:
                role = Role.STUDENT  # the roster follows the group in a moment
            if role is not None or is_admin(caller):
                return InCourse(caller, found, role)
    raise Problem(404, "unknown_name", f"There is no course {course!r}.")


def _member(
    request: Request, here: Here, course: CoursePath, caller: Annotated[Caller, allowed(Scope.SELF_READ)]
) -> InCourse:
    found = course_for(here, caller, course)
    if request.method not in _READS and not caller.may(Scope.SELF):
        raise Problem(
            403, "scope_missing", f"This takes {Scope.SELF}, which this token does not have.", scope=Scope.SELF
        )
    return found


def _of(may: Callable[[InCourse], bool], role: str, words: str) -> Any:
    def check(found: Annotated[InCourse, Depends(_member)]) -> InCourse:
        if not may(found):
            raise Problem(403, "role_missing", f"This is for {words} of {found.course.title}.", role=role)
        return found

    return Depends(check)


MemberOf = Annotated[InCourse, Depends(_member)]
"""Students, staff and admins."""

StaffOf = Annotated[InCourse, _of(lambda found: found.staff, Role.ASSISTANT, "instructors and assistants")]
"""Instructors, assistants and admins; 403 for students, with the role that is missing."""

InstructorOf = Annotated[InCourse, _of(lambda found: found.instructor, Role.INSTRUCTOR, "instructors")]
"""Instructors and admins; 403 for all other members."""


def _admin(found: Annotated[InCourse, Depends(_member)]) -> InCourse:
    if not found.admin:
        missing = next(scope for scope in OF_ADMINS if not found.caller.may(scope))
        raise Problem(403, "scope_missing", "This is for the hub's admins.", scope=missing)
    return found


AdminOf = Annotated[InCourse, Depends(_admin)]
"""Admins; 403 for all members."""


# --- what is in a course ----------------------------------------------------------------------------------------------


def session_in(here: Console, course: str, session: str) -> Session:
    """Give a session of a course.

    Raises
    ------
    Problem
        404, also where it is another course's.
    """
    if "\x00" not in session:
        with here.desk.ledger.reading() as books:
            found = books.sessions.get(session)
        if found is not None and found.course == course:
            return found
    raise Problem(404, "unknown_name", f"This course has no session {session!r}.")


def seat_in(here: Console, session: Session, user: str) -> Seat:
    """Give somebody's seat in a session, started or not.

    Raises
    ------
    Problem
        404 for who is neither a student of the course nor a guest.
    """
    found = next((one for one in seats.board(here.desk, session.id)[1] if one.user == user), None)
    if found is None:
        raise Problem(404, "unknown_name", f"{user!r} has no seat in this session.")
    return found


def _session(here: Here, found: Annotated[InCourse, Depends(_member)], session: SessionPath) -> Session:
    return session_in(here, found.course.id, session)


SessionOf = Annotated[Session, Depends(_session)]
"""The session of a path ``courses/{course}/.../{session}``; beside `StaffOf` or another, which decides who may."""
