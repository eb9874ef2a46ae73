"""What a launch from a learning platform (LTI 1.3) says: which course it is, and what somebody is in it.

::

    launch = read(claims)                                 the verified claims of its token
    meant(launch, courses, staff_by_parameter)            the course here, the role in it, or what is missing

The custom parameter `PARAMETER` of a launch can often be set by every teacher at the platform, for each of their own
links; its context cannot. So the parameter alone makes students, and staff only where admins say that it may.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from .classes import STAFF, Role

PARAMETER = "berth_course"

# Claims and roles: 1EdTech, LTI Core 1.3, sections 5.3, 5.4 and appendix A.2.
_CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
_ROLE = "http://purl.imsglobal.org/vocab/lis/v2/membership"
_STUDENTS = (f"{_ROLE}#Learner", "Learner", f"{_ROLE}/Learner#")
_INSTRUCTORS = (f"{_ROLE}#Instructor", "Instructor")
_ASSISTANTS = f"{_ROLE}/Instructor#TeachingAssistant"  # and of a section, a group, an offering, a template


@dataclass(frozen=True, slots=True)
class Launch:
    """What is read of a launch.

    Attributes
    ----------
    context
        The platform's id of its course; empty where the launch comes from none.
    parameter
        What `PARAMETER` says; empty for nothing.
    role
        None where the roles say nothing of what somebody is in a course.
    """

    context: str = ""
    parameter: str = ""
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Meant:
    """What a launch means here.

    Attributes
    ----------
    course
        Empty for none.
    role
        None where nobody becomes anything by it.
    missing
        Why not, and what to do.
    """

    course: str = ""
    role: Role | None = None
    missing: str = ""


def read(claims: Mapping[str, object]) -> Launch:
    """Read the claims of a launch whose signature was checked; what is not as it should be says nothing."""
    context, custom, roles = (claims.get(f"{_CLAIM}{name}") for name in ("context", "custom", "roles"))
    return Launch(_text(context, "id"), _text(custom, PARAMETER), role_of(roles))


def role_of(roles: object) -> Role | None:
    """Say what somebody is in a course.

    Roles in the institution or the whole system count nothing: who teaches elsewhere is no instructor here. A teaching
    assistant is sent as an instructor too, and is none.
    """
    names = [role for role in roles if isinstance(role, str)] if isinstance(roles, list | tuple) else []
    if any(name.startswith(_ASSISTANTS) or name == "TeachingAssistant" for name in names):
        return Role.ASSISTANT
    if any(name in _INSTRUCTORS for name in names):
        return Role.INSTRUCTOR
    if any(name in _STUDENTS or name.startswith(_STUDENTS[-1]) for name in names):
        return Role.STUDENT
    return None


def meant(launch: Launch, courses: Mapping[str, str], *, staff_by_parameter: bool = False) -> Meant:
    """Say which course a launch means, and what it makes of who comes by it.

    Parameters
    ----------
    courses
        Courses by the platform's context; they go before the parameter.
    """
    mapped = courses.get(launch.context, "")
    course = mapped or launch.parameter
    here = f"the setting sign_in.courses with the platform's id {launch.context!r}" if launch.context else ""
    if not course:
        ways = f"{here}, or its custom parameter {PARAMETER}," if here else f"its custom parameter {PARAMETER}"
        return Meant(missing=f"The launch names no course. Let {ways} name one.")
    if launch.role is None:
        return Meant(
            course, missing="Its roles say neither instructor, nor teaching assistant, nor learner of a course."
        )
    if launch.role in STAFF and not mapped and not staff_by_parameter:
        return Meant(
            course,
            missing=f"It would make an {launch.role} by its parameter {PARAMETER} alone, which teachers may be able to "
            f"set at the platform. Name the course in {here or 'the roster'}"
            f"{': ' + repr(course) if here else ''}, or set sign_in.staff_by_parameter.",
        )
    return Meant(course, launch.role)


def _text(value: object, key: str) -> str:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found.strip() if isinstance(found, str) else ""
