"""Join links: made and withdrawn by instructors, followed by whoever has one."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from ...errors import UnknownName
from ...operations import links
from ...policy.classes import Role
from ...policy.joining import JoinLink, check_link
from ...policy.model import Deny
from ..api.course_roster import LinkId, Token
from ..callers import Caller, allowed
from ..context import Console, Here
from ..course_access import InCourse, InstructorOf
from ..course_desk import link_path
from ..course_words import ROLES
from ..rendering import go, reader_of
from ..scopes import Scope

router = APIRouter()

Line = Annotated[str, Form(max_length=500)]
_USUAL = timedelta(days=14)


@router.get("/courses/{course}/links")
def show_links(request: Request, within: InstructorOf, here: Here) -> Response:
    return _links(request, here, within)


def _links(
    request: Request,
    here: Console,
    within: InCourse,
    role: str = Role.STUDENT,
    ends: str = "",
    cap: str = "",
    errors: dict[str, str] | None = None,
) -> Response:
    now, reader = here.clock(), reader_of(request)
    found = links.of_course(here.desk, within.course.id)
    origin = here.settings.public_url
    base = f"{request.url.scheme}://{request.url.netloc}"
    if origin:  # without the hub's own path, which ours begins with
        base = "/".join(origin.split("/")[:3])
    return here.pages.render(
        request,
        within.caller,
        "courses/links.html",
        status=422 if errors else 200,
        roles=ROLES,
        within=within,
        course=within.course,
        rows=[(one, links.id_of(one), f"{base}{link_path(here, one)}", _state(one, now)) for one in found],
        role=role,
        ends=ends or (now + _USUAL).astimezone(reader.zone).strftime("%Y-%m-%dT%H:%M"),
        cap=cap,
        errors=errors or {},
        may_make=within.course.archived_at is None,
    )


def _state(link: JoinLink, now: datetime) -> str:
    if link.revoked_at is not None:
        return "withdrawn"
    ended = check_link(link, now)
    return "open" if ended is None else "full" if ended.code == "link_full" else "ended"


@router.post("/courses/{course}/links")
def make_link(
    request: Request,
    within: InstructorOf,
    here: Here,
    role: Line = Role.STUDENT,
    ends: Line = "",
    cap: Line = "",
    zone: Line = "UTC",
) -> Response:
    _, wrong = here.pages.gettext(request), {}
    most: int | None = None
    if cap.strip():
        if cap.strip().isascii() and cap.strip().isdecimal() and 1 <= int(cap.strip()[:9]) <= links.MOST:
            most = int(cap)
        else:
            wrong["cap"] = _("This is a number of people, up to 5000, or empty for any number.")
    until = _moment(ends, zone)
    if until is None or not here.clock() < until <= here.clock() + links.LONGEST:
        wrong["ends"] = _("This is a day and a time to come, within a year.")
    if role not in {Role.STUDENT, Role.ASSISTANT}:
        wrong["role"] = _("A link makes students or assistants; put instructors on the roster.")
    if wrong or until is None:
        return _links(request, here, within, role, ends, cap, wrong)
    made = links.make(here.desk, within.course.id, Role(role), until, within.caller.name, most)
    if isinstance(made, Deny):
        return _links(request, here, within, role, ends, cap, {"role": made.reason})
    return go(request, f"{here.prefix}courses/{within.course.id}/links", _("The link is made. Copy it, and send it."))


def _moment(said: str, zone: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(said.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)
    except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError):
        return None


@router.get("/courses/{course}/links/{link}/revoke")
def ask_to_revoke(request: Request, link: LinkId, within: InstructorOf, here: Here) -> Response:
    _ = here.pages.gettext(request)
    found = next((one for one in links.of_course(here.desk, within.course.id) if links.id_of(one) == link), None)
    if found is None:
        raise UnknownName(f"This course has no link {link!r}.")
    facts = [_("Whoever came by it stays in the course."), _("It cannot be opened again; make another instead.")]
    return here.pages.render(
        request,
        within.caller,
        "confirm.html",
        title=_("Withdraw a join link"),
        question=_("Nobody gets into %(title)s by this link any more. So far it was used by: %(used)s")
        % {
            "title": f"\N{FIRST STRONG ISOLATE}{within.course.title}\N{POP DIRECTIONAL ISOLATE}",
            "used": found.used,
        },
        facts=facts,
        action=f"{here.prefix}courses/{within.course.id}/links/{link}/revoke",
        button=_("Withdraw it"),
        back=f"{here.prefix}courses/{within.course.id}/links",
        fields={},
        reason="",
        dangerous=True,
    )


@router.post("/courses/{course}/links/{link}/revoke")
def revoke(request: Request, link: LinkId, within: InstructorOf, here: Here, why: Line = "") -> Response:
    links.revoke(here.desk, within.course.id, link, within.caller.name, " ".join(why.split()))
    said = here.pages.gettext(request)("The link is withdrawn.")
    return go(request, f"{here.prefix}courses/{within.course.id}/links", said)


# --- followed ---------------------------------------------------------------------------------------------------------


@router.get("/join/{token}")
def look(request: Request, token: Token, here: Here, caller: Annotated[Caller, allowed(Scope.SELF_READ)]) -> Response:
    """Ask whether somebody wants to join; whoever is not signed in comes back here once they are."""
    try:
        link, course = links.look(here.desk, token)
    except UnknownName:
        return here.pages.render(
            request,
            caller,
            "courses/join.html",
            status=404,
            course=None,
            link=None,
            member=None,
            ended=None,
            roles=ROLES,
        )
    with here.desk.ledger.reading() as books:
        member = books.courses.member(course.id, caller.person.name)
    ended = check_link(link, here.clock())
    if ended is None and course.archived_at is not None:
        ended = Deny("course_archived", "")
    return here.pages.render(
        request,
        caller,
        "courses/join.html",
        status=410 if ended and member is None else 200,
        course=course,
        link=link,
        member=member,
        ended=ended,
        roles=ROLES,
    )


@router.post("/join/{token}")
def join(request: Request, token: Token, here: Here, caller: Annotated[Caller, allowed(Scope.SELF)]) -> Response:
    _ = here.pages.gettext(request)
    try:
        done = links.join(here.desk, token, caller.person.name)
    except UnknownName:
        return look(request, token, here, caller)
    if isinstance(done, Deny):
        return look(request, token, here, caller)
    said = _("You are in %(title)s already.") if done.already else _("Welcome to %(title)s.")
    return go(request, f"{here.prefix}courses/{done.course.id}", said % {"title": done.course.title})
