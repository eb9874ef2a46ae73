"""Courses: made, changed, put away."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from ...operations import course_list, courses
from ...policy.classes import Course, Role
from ..callers import Caller, allowed
from ..context import Console, Here
from ..course_access import AdminOf, InstructorOf, MemberOf, is_admin
from ..course_desk import Invalid, change, course_version, limit, make, put_away
from ..etags import require_match
from ..paging import Cursor, Limit, Page, cursor_of, position_in
from ..problems import Problem
from ..scopes import OF_ADMINS, Scope
from .course_models import Because, CourseChange, CourseModel, NewCourse, NewLimits, course_model, values_of
from .versions import VERSIONED, WRITING, if_match

router = APIRouter(tags=["classes"])

Reader = Annotated[Caller, allowed(Scope.SELF_READ)]
Teacher = Annotated[Caller, allowed(Scope.SELF_READ, Scope.TEACH)]
_WRITE: dict[str, Any] = {
    "responses": {**VERSIONED, **WRITING},
    "openapi_extra": if_match("The ETag of the course that you have seen, or `*` for whatever is."),
}


@router.get("/courses")
def list_courses(
    here: Here,
    caller: Reader,
    everybody: Annotated[bool, Query(description="All courses, not only one's own; for admins.")] = False,
    archived: Annotated[bool, Query(description="Archived ones, too.")] = False,
    search: Annotated[str, Query(max_length=200, description="Part of the title or the short name.")] = "",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[CourseModel]:
    """List the courses that one is in: those that meet next first."""
    position = position_in(cursor, str)
    now, name = here.clock(), caller.name if caller.kind == "user" else ""
    if everybody and not is_admin(caller):
        missing = next(scope for scope in OF_ADMINS if not caller.may(scope))
        raise Problem(403, "scope_missing", "All courses are for admins to see.", scope=missing)
    if everybody:
        found = course_list.all_courses(here.desk, name, archived=archived)
    else:
        found = course_list.courses_of(here.desk, name, archived=archived) if name else []
    word = search.strip().casefold()
    found = [one for one in found if word in f"{one.course.title}\n{one.course.id}".casefold()]
    ids = [one.course.id for one in found]
    begin = ids.index(position[0]) + 1 if position and position[0] in ids else 0
    part = found[begin : begin + limit]
    following = cursor_of(part[-1].course.id) if begin + limit < len(found) else None
    return Page(items=[course_model(one, one.role, now) for one in part], next=following)


@router.post("/courses", status_code=201, responses={201: VERSIONED[200]})
def make_course(said: NewCourse, here: Here, caller: Teacher, answer: Response) -> CourseModel:
    """Make a course; who makes it is its first instructor.

    Where something cannot be, the problem's `errors` tell of each field.
    """
    now = here.clock()
    course = Course(said.id, created_by=caller.name, created_at=now, **_all(said))
    with_role = None if caller.kind != "user" or said.instructor not in {"", caller.name} else Role.INSTRUCTOR
    made = _try(lambda: make(here, caller, course, said.why, said.instructor))
    return _told(here, made, with_role, answer)


def _all(said: NewCourse) -> dict[str, Any]:
    return {"title": said.title, "profile": said.profile, **values_of(said)}


@router.get("/courses/{course}", responses=VERSIONED)
def read_course(within: MemberOf, here: Here, answer: Response) -> CourseModel:
    """Tell of one course."""
    return _told(here, within.course, within.role, answer)


@router.patch("/courses/{course}", **_WRITE)
def change_course(
    said: CourseChange, request: Request, within: InstructorOf, here: Here, answer: Response
) -> CourseModel:
    """Change what is said of a course; its limits are for admins, see `limits`.

    What its seats are like cannot change while sessions are reserved.
    """
    changed = _try(lambda: change(here, within, values_of(said), said.why, _matching(request)))
    return _told(here, changed, within.role, answer)


@router.put("/courses/{course}/limits", **_WRITE)
def set_limits(said: NewLimits, request: Request, within: AdminOf, here: Here, answer: Response) -> CourseModel:
    """Say how much a course may reserve; for admins. What is left out has no limit."""
    seats, hours, days = said.most_seats, said.most_gpu_hours, said.most_days_ahead
    return _told(here, limit(here, within, seats, hours, days, said.why, _matching(request)), within.role, answer)


@router.post("/courses/{course}/archive", responses=VERSIONED)
def archive_course(said: Because, within: InstructorOf, here: Here, answer: Response) -> CourseModel:
    """Put a course away; refused while a session is to come or runs."""
    return _told(here, put_away(here, within, said.why, back=False), within.role, answer)


@router.post("/courses/{course}/restore", responses=VERSIONED)
def restore_course(said: Because, within: InstructorOf, here: Here, answer: Response) -> CourseModel:
    """Bring an archived course back."""
    return _told(here, put_away(here, within, said.why, back=True), within.role, answer)


def _try(done: Callable[[], Course]) -> Course:
    try:
        return done()
    except Invalid as wrong:
        raise Problem(422, "invalid_option", str(wrong), errors=wrong.fields) from None


def _matching(request: Request) -> courses.Check:
    return lambda course: require_match(request, course_version(course))


def _told(here: Console, course: Course, role: Role | None, answer: Response) -> CourseModel:
    found = course_list.overview(here.desk, course.id).listed
    answer.headers["ETag"] = course_version(found.course)
    return course_model(found, role, here.clock())
