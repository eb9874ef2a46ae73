"""What the API and the pages of courses both do: from what people say to what operations take."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ..errors import HubNotReady, HubRefused
from ..operations import courses, rosters
from ..operations.courses import Check, Enrolled
from ..policy.classes import Course, Role
from ..policy.joining import JoinLink
from ..policy.model import Deny
from .callers import Caller
from .context import Console
from .course_access import InCourse, is_admin
from .course_values import Words, completed, mistakes, offer
from .etags import etag_of
from .people import Member
from .problems import Problem, refused
from .scopes import Scope

_LOG = logging.getLogger("berth.console")


class Invalid(Exception):
    """Some of what was said of a course cannot be.

    Attributes
    ----------
    fields
        What is wrong, by the names of fields.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(next(iter(fields.values())))
        self.fields = dict(fields)


def same(text: str) -> str:
    """Leave a text in English, for the API."""
    return text


def course_version(course: Course) -> str:
    """Give the ETag of a course."""
    return etag_of([course.id, course.version])


def make(
    here: Console,
    caller: Caller,
    course: Course,
    why: str,
    instructor: str = "",
    unread: Mapping[str, str] | None = None,
    _: Words = same,
) -> Course:
    """Make a course.

    Parameters
    ----------
    unread
        What was typed and cannot be read, by the names of fields.
    instructor
        Who is its first, if not the caller; for admins.

    Raises
    ------
    Invalid
    Problem
        409 where the short name is taken; 403 and 422 about the instructor.
    """
    if instructor not in {"", caller.name} and not is_admin(caller):
        raise Problem(403, "scope_missing", "Only admins make courses for others.", scope=Scope.TEACH)
    if caller.kind != "user" and not instructor:
        raise Invalid({"instructor": _("A service names the person who is to be the instructor.")})
    course = completed(course)
    if wrong := {**mistakes(here, offer(here, caller), course, None, _), **(unread or {})}:
        raise Invalid(wrong)
    answer = courses.create(here.desk, course, caller.name, why, instructor=instructor)
    if isinstance(answer, Deny):
        if answer.code == "invalid_option":  # the rest was looked at before
            raise Invalid({"instructor": answer.reason})
        raise refused(answer)
    if answer.group:
        follow_group(here, answer, caller.name)
    return answer


def change(
    here: Console,
    within: InCourse,
    values: Mapping[str, Any],
    why: str,
    check: Check | None,
    unread: Mapping[str, str] | None = None,
    _: Words = same,
) -> Course:
    """Change some values of a course; see `make`.

    Raises
    ------
    Invalid
    Problem
        409 where it is refused as things are.
    """
    was = within.course
    wanted = completed(replace(was, **values))
    if wrong := {**mistakes(here, offer(here, within.caller), wanted, was, _), **(unread or {})}:
        raise Invalid(wrong)
    said = {name: getattr(wanted, name) for name in (*values, "folder", "branch", "models", "kinds", "memory")}
    answer = courses.change(here.desk, was.id, within.caller.name, why, check, **said)
    if isinstance(answer, Deny):
        raise refused(answer)
    if answer.group != was.group:
        follow_group(here, answer, within.caller.name)
    return answer


def limit(
    here: Console,
    within: InCourse,
    seats: int | None,
    gpu_hours: float | None,
    days_ahead: float | None,
    why: str,
    check: Check | None,
) -> Course:
    """Set what a course may reserve; None for as much as there is.

    Raises
    ------
    Problem
    """
    ahead = None if days_ahead is None else timedelta(days=days_ahead)
    values = {"most_seats": seats, "most_gpu_hours": gpu_hours, "most_ahead": ahead}
    answer = courses.change(here.desk, within.course.id, within.caller.name, why, check, **values)
    if isinstance(answer, Deny):
        raise refused(answer)
    return answer


def put_away(here: Console, within: InCourse, why: str, *, back: bool) -> Course:
    """Archive a course, or bring it back.

    Raises
    ------
    Problem
    """
    answer = courses.archive(here.desk, within.course.id, within.caller.name, why, back=back)
    if isinstance(answer, Deny):
        raise refused(answer)
    return answer


# --- people -----------------------------------------------------------------------------------------------------------


def known_people(here: Console) -> Mapping[str, Member]:
    """Give the hub's users; nobody, while it does not tell."""
    try:
        return here.people.all()
    except (HubNotReady, HubRefused):
        return {}


def follow_group(here: Console, course: Course, actor: str) -> tuple[Enrolled, tuple[str, ...]] | None:
    """Take the members of a course's group over at once; the janitor does it again and again.

    Returns
    -------
    tuple or None
        Who has come and who has gone; None where the hub does not tell who is in the group.
    """
    present: list[str] = []
    if course.group:
        try:
            people = here.people.all()
        except (HubNotReady, HubRefused) as error:
            _LOG.warning("The roster of %s does not follow its group yet: %s", course.id, error)
            return None
        present = [one.name for one in people.values() if course.group in one.groups]
    return rosters.follow_group(here.desk, course.id, present, actor)


def enrol(
    here: Console,
    within: InCourse,
    users: Collection[str],
    role: Role,
    why: str,
    via: str = "roster",
    *,
    lower: bool = True,
    roles: Mapping[str, Role] | None = None,
) -> Enrolled:
    """Put people on a roster; see `spawner.operations.courses.enrol`.

    Raises
    ------
    Problem
    """
    answer = courses.enrol(
        here.desk,
        within.course.id,
        users,
        role,
        within.caller.name,
        via,
        why,
        agreed=within.admin,
        lower=lower,
        roles=roles,
    )
    if isinstance(answer, Deny):
        raise refused(answer)
    return answer


def agree(here: Console, within: InCourse) -> None:
    """Let the caller agree that staff enter their seat.

    Raises
    ------
    Problem
        409 for an admin who is not on the roster.
    """
    if within.role is None:
        raise Problem(409, "not_on_roster", "You are not on its roster, and have no seat that anybody could enter.")
    courses.agree(here.desk, within.course.id, within.caller.name)


def expel(here: Console, within: InCourse, users: list[str], why: str) -> tuple[str, ...]:
    """Take people off a roster.

    Raises
    ------
    Problem
    """
    answer = courses.expel(here.desk, within.course.id, users, within.caller.name, why)
    if isinstance(answer, Deny):
        raise refused(answer)
    return answer


def link_path(here: Console, link: JoinLink) -> str:
    """Give the path at which a link is followed."""
    return f"{here.prefix}join/{link.token}"
