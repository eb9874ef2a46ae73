"""Launches from a learning platform: who comes by one is in the course that it means."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..policy.classes import Course, Member, above
from ..policy.launches import Launch, meant
from ..policy.model import Deny
from .courses import enrol
from .desk import Desk

VIA = "lti"


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a launch has led to.

    Attributes
    ----------
    course
        Short name of the course that somebody is in now, by this launch or before; empty for none.
    entered
        Whether this launch has put them in, or in a higher role.
    problem
        Why it put nobody in, and what an admin can do; empty where nothing is wrong.
    """

    course: str = ""
    entered: bool = False
    problem: str = ""


def arrive(
    desk: Desk, user: str, launch: Launch, courses: Mapping[str, str], *, staff_by_parameter: bool = False
) -> Arrival:
    """Put who comes by a launch into its course.

    It never makes a course, lowers nobody's role, and puts nobody into an archived course. Who comes in by it has
    agreed that staff enter their seats (`spawner.policy.classes.Member.agreed_at`), for they came themselves; who was
    written down before is asked as ever.

    Parameters
    ----------
    courses, staff_by_parameter
        As `spawner.policy.launches.meant`.
    """
    wanted = meant(launch, courses, staff_by_parameter=staff_by_parameter)
    if not wanted.course:
        return Arrival(problem=wanted.missing)
    found, member = _look(desk, wanted.course, user)
    if found is None:
        return Arrival(
            problem=f"There is no course {wanted.course!r}. Make one with this short name, or correct what names it: "
            f"sign_in.courses, or the custom parameter of the launch."
        )
    there = found.id if member is not None else ""
    if wanted.role is None:
        # Who is in it already, in that role or above, lacks nothing.
        enough = member is not None and (launch.role is None or not above(launch.role, member.role))
        return Arrival(there, problem="" if enough else wanted.missing)
    if member is not None and not above(wanted.role, member.role):
        return Arrival(there)
    done = enrol(
        desk, found.id, [user], wanted.role, user, VIA, "came from the learning platform", agreed=True, lower=False
    )
    if isinstance(done, Deny):
        return Arrival(there, problem=done.reason)
    return Arrival(found.id, entered=bool(done.added or done.changed))


def _look(desk: Desk, course: str, user: str) -> tuple[Course | None, Member | None]:
    # What cannot be a course's name is not asked of a database, which may not take all of its characters.
    if not course.isascii() or not course.isprintable():
        return None, None
    with desk.ledger.reading() as books:
        found = books.courses.get(course)
        return found, None if found is None else books.courses.member(course, user)
