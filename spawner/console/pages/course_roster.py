"""Rosters of courses: shown, filled, thinned, downloaded."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request, UploadFile
from starlette.responses import Response

from ...operations import rosters
from ...policy.classes import Member, Role
from ...policy.rosters import parse
from ..context import Console, Here
from ..course_access import InCourse, InstructorOf, StaffOf
from ..course_desk import enrol, expel, follow_group, known_people
from ..course_words import ROLES, ROLES_MANY, VIA
from ..paging import Cursor, cursor_of, position_in
from ..people import Member as HubUser
from ..problems import Problem
from ..rendering import go
from .filters import Word, chosen, query

router = APIRouter()

Line = Annotated[str, Form(max_length=500)]
Text = Annotated[str, Form(max_length=2_000_000)]
Names = Annotated[list[str], Form(max_length=5000)]
_ROWS = 100
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class _Row:
    member: Member
    seen: HubUser | None


@router.get("/courses/{course}/roster")
def show_roster(
    request: Request, within: StaffOf, here: Here, search: Word = "", role: Word = "", cursor: Cursor = None
) -> Response:
    return _roster(request, here, within, search, role, cursor)


def _roster(
    request: Request,
    here: Console,
    within: InCourse,
    search: str = "",
    role: str = "",
    cursor: str | None = None,
    text: str = "",
    chosen_role: str = Role.STUDENT,
    mistake: str = "",
    status: int = 200,
) -> Response:
    position = position_in(cursor, int, str)
    with here.desk.ledger.reading() as books:
        everybody = books.courses.members(within.course.id)
    order, word = list(Role), search.strip().casefold()
    found = sorted(
        ((order.index(one.role), one.user, one) for one in everybody if word in one.user.casefold()),
        key=lambda one: one[:2],
    )
    if role in order:
        found = [one for one in found if one[2].role == role]
    following = [one for one in found if position is None or one[:2] > position]
    seen, part = known_people(here), following[:_ROWS]
    asked = chosen(search=search.strip(), role=role)
    more = len(following) > _ROWS
    return here.pages.render(
        request,
        within.caller,
        "courses/roster.html",
        status=status,
        roles=ROLES,
        roles_many=ROLES_MANY,
        via=VIA,
        within=within,
        course=within.course,
        ask=here.settings.classes.ask_students,
        rows=[_Row(one, seen.get(one.user)) for _, _, one in part],
        hub_known=bool(seen),
        counts={one: sum(member.role is one for member in everybody) for one in Role},
        matching=len(found),
        asked=asked,
        next_query=query(asked, cursor=cursor_of(*part[-1][:2])) if more else "",
        first_query=(query(asked) or "search=") if cursor else "",
        text=text,
        chosen_role=chosen_role,
        mistake=mistake,
        may_change=within.instructor and within.course.archived_at is None,
    )


# --- filled -----------------------------------------------------------------------------------------------------------


@router.post("/courses/{course}/roster/preview")
def try_roster(
    request: Request,
    within: InstructorOf,
    here: Here,
    file: UploadFile | None = None,
    text: Text = "",
    role: Line = Role.STUDENT,
) -> Response:
    """Show what a roster would change, before it is taken over."""
    _ = here.pages.gettext(request)
    if file is not None and file.filename:
        try:
            text = file.file.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            told = _("This file is not text in UTF-8. Save the table as CSV (UTF-8), and choose it again.")
            return _roster(request, here, within, text=text, chosen_role=role, mistake=told, status=422)
    if not text.strip():
        told = _("Paste the names, or choose a file.")
        return _roster(request, here, within, chosen_role=role, mistake=told, status=422)
    return _preview(request, here, within, text, _role(role))


def _preview(
    request: Request, here: Console, within: InCourse, text: str, role: Role, refusal: str = "", why: str = ""
) -> Response:
    found = rosters.preview(here.desk, within.course.id, text, role)
    seen = known_people(here)
    return here.pages.render(
        request,
        within.caller,
        "courses/roster-preview.html",
        status=409 if refusal else 200,
        roles=ROLES,
        roles_many=ROLES_MANY,
        within=within,
        course=within.course,
        found=found,
        role=role,
        text=text,
        unknown=[name for name in found.added if name not in seen] if seen else [],
        refusal=refusal,
        why=why,
        shown=_SHOWN,
    )


@router.post("/courses/{course}/roster/save")
def take_over(
    request: Request,
    within: InstructorOf,
    here: Here,
    text: Text,
    role: Line = Role.STUDENT,
    drop: Line = "",
    why: Line = "",
) -> Response:
    """Take a roster over that was looked at."""
    _, reason, chosen_role = here.pages.gettext(request), " ".join(why.split()), _role(role)
    found = parse(text)
    if found.mistakes:
        return _preview(request, here, within, text, chosen_role, why=why)
    gone: tuple[str, ...] = ()
    try:
        done = enrol(here, within, found.users, chosen_role, reason, lower=False, roles=found.roles)
        if drop:
            missing = rosters.preview(here.desk, within.course.id, text, chosen_role).missing
            gone = expel(here, within, list(missing), reason)
    except Problem as problem:
        if problem.status != 409:
            raise
        return _preview(request, here, within, text, chosen_role, problem.detail, why)
    said = _("New: %(new)s, changed: %(changed)s, removed: %(removed)s.")
    told = said % {"new": len(done.added), "changed": len(done.changed), "removed": len(gone)}
    return go(request, f"{here.prefix}courses/{within.course.id}/roster", told)


@router.post("/courses/{course}/roster/group")
def follow(request: Request, within: InstructorOf, here: Here) -> Response:
    """Take the members of the course's group over at once."""
    _, back = here.pages.gettext(request), f"{here.prefix}courses/{within.course.id}/roster"
    done = follow_group(here, within.course, within.caller.name)
    if done is None:
        return go(request, back, _("The hub does not tell who is in the group. Try again in a moment."))
    said = _("New: %(new)s, changed: %(changed)s, removed: %(removed)s.")
    return go(request, back, said % {"new": len(done[0].added), "changed": 0, "removed": len(done[1])})


# --- changed ----------------------------------------------------------------------------------------------------------


@router.post("/courses/{course}/roster/role")
def set_roles(
    request: Request,
    within: InstructorOf,
    here: Here,
    user: Names = [],  # noqa: B006  FastAPI copies it
    role: Line = Role.STUDENT,
) -> Response:
    """Give people another role."""
    _ = here.pages.gettext(request)
    try:
        done = enrol(here, within, user, _role(role), "")
    except Problem as problem:
        if problem.status != 409:
            raise
        return _roster(request, here, within, mistake=problem.detail, status=409)
    said = (
        _("Changed: %(count)s") % {"count": len(done.changed) + len(done.added)} if user else _("Choose people first.")
    )
    return go(request, f"{here.prefix}courses/{within.course.id}/roster", said)


def _ask(
    request: Request, here: Console, within: InCourse, users: list[str], why: str = "", refusal: str = ""
) -> Response:
    _ = here.pages.gettext(request)
    with here.desk.ledger.reading() as books:
        there = {one.user for one in books.courses.members(within.course.id)}
    names = [name for name in dict.fromkeys(users) if name in there]
    if not names:
        return go(request, f"{here.prefix}courses/{within.course.id}/roster", _("Choose people first."))
    return here.pages.render(
        request,
        within.caller,
        "courses/remove.html",
        status=409 if refusal else 200,
        title=_("Remove from the course"),
        question=_("They are no longer in %(title)s:")
        % {"title": f"\N{FIRST STRONG ISOLATE}{within.course.title}\N{POP DIRECTIONAL ISOLATE}"},
        facts=[],
        names=names,
        action=f"{here.prefix}courses/{within.course.id}/roster/remove",
        button=_("Remove"),
        back=f"{here.prefix}courses/{within.course.id}/roster",
        fields={},
        reason=None,
        why=why,
        dangerous=True,
        refusal=refusal,
    )


@router.post("/courses/{course}/roster/remove")
def remove(
    request: Request,
    within: InstructorOf,
    here: Here,
    user: Names = [],  # noqa: B006  FastAPI copies it
    why: Line = "",
    sure: Line = "",
) -> Response:
    """Take people out of a course; asks first."""
    _ = here.pages.gettext(request)
    if not sure:
        return _ask(request, here, within, user, why)
    try:
        gone = expel(here, within, user, " ".join(why.split()))
    except Problem as problem:
        if problem.status != 409:
            raise
        return _ask(request, here, within, user, why, problem.detail)
    return go(
        request, f"{here.prefix}courses/{within.course.id}/roster", _("Removed: %(count)s") % {"count": len(gone)}
    )


def _role(said: str) -> Role:
    return Role(said) if said in list(Role) else Role.STUDENT
