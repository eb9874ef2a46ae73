"""What a course may reserve, as admins say."""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from ...operations import courses
from ..context import Console, Here
from ..course_access import AdminOf, InCourse
from ..course_desk import course_version, limit
from ..rendering import go
from .courses import WORDS, ChangedMeanwhile, Line, matching

router = APIRouter()


@router.get("/courses/{course}/limits")
def show_limits(request: Request, within: AdminOf, here: Here) -> Response:
    course = within.course
    said = {
        "most_seats": "" if course.most_seats is None else str(course.most_seats),
        "most_gpu_hours": "" if course.most_gpu_hours is None else f"{course.most_gpu_hours:g}",
        "most_ahead": "" if course.most_ahead is None else f"{course.most_ahead / timedelta(days=1):g}",
    }
    return _limits(request, here, within, said, course_version(course))


def _limits(
    request: Request,
    here: Console,
    within: InCourse,
    said: dict[str, str],
    version: str,
    errors: dict[str, str] | None = None,
    why: str = "",
    refusal: str = "",
) -> Response:
    return here.pages.render(
        request,
        within.caller,
        "courses/limits.html",
        status=422 if errors else 412 if refusal else 200,
        **WORDS,
        within=within,
        said=said,
        errors=errors or {},
        version=version,
        why=why,
        refusal=refusal,
    )


@router.post("/courses/{course}/limits")
def save_limits(
    request: Request,
    within: AdminOf,
    here: Here,
    most_seats: Line = "",
    most_gpu_hours: Line = "",
    most_ahead: Line = "",
    version: Annotated[str, Form(max_length=100)] = "",
    why: Line = "",
) -> Response:
    _ = here.pages.gettext(request)
    said = {"most_seats": most_seats, "most_gpu_hours": most_gpu_hours, "most_ahead": most_ahead}
    bounds = {"most_seats": (1, 100_000), "most_gpu_hours": (0, 1e9), "most_ahead": (0, 3660)}
    found, wrong = {}, {}
    for name, text in said.items():
        try:
            found[name] = _number(text, *bounds[name], whole=name == "most_seats")
        except ValueError:
            wrong[name] = _("This is a number, or empty for no limit.")
    if wrong:
        return _limits(request, here, within, said, version, wrong, why)
    seats = None if found["most_seats"] is None else int(found["most_seats"])
    reason = " ".join(why.split())
    try:
        limit(here, within, seats, found["most_gpu_hours"], found["most_ahead"], reason, matching(version))
    except ChangedMeanwhile:
        told = _("Somebody has changed this course meanwhile. Look again, and save again to set these limits.")
        now = courses.find(here.desk, within.course.id)
        return _limits(request, here, replace(within, course=now), said, course_version(now), None, why, told)
    return go(request, f"{here.prefix}courses/{within.course.id}", _("The limits are set."))


def _number(said: str, least: float, most: float, *, whole: bool) -> float | None:
    text = said.strip().replace(",", ".")
    if not text:
        return None
    value = float(int(text)) if whole else float(text)
    if not least <= value <= most:
        raise ValueError(said)
    return value
