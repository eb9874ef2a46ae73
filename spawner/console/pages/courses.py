"""Courses: one's own, one of them, a new one; changed, put away."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from ...ledger import AuditFilter
from ...operations import course_list, courses, listing
from ...policy.classes import Course, Role
from ..callers import Caller, allowed, form_of
from ..class_desk import materials_of
from ..context import Console, Here
from ..course_access import InCourse, InstructorOf, MemberOf, is_admin
from ..course_desk import Invalid, agree, change, course_version, known_people, make, put_away
from ..course_drafts import Draft, differences, draft_of, first_draft, named, typed, values_in
from ..course_values import MOST_GPUS, offer
from ..course_words import AT_END, FIELDS, HOMES, KINDS, PHASES, ROLES, ROLES_MANY
from ..problems import Problem
from ..rendering import go
from ..scopes import Scope
from .filters import Word, chosen

router = APIRouter()

Reader = Annotated[Caller, allowed(Scope.SELF_READ)]
Teacher = Annotated[Caller, allowed(Scope.SELF_READ, Scope.TEACH)]
Typed = Annotated[FormData | None, Depends(form_of)]
Line = Annotated[str, Form(max_length=500)]
_LISTED = 200
WORDS: dict[str, Any] = {
    "roles": ROLES,
    "roles_many": ROLES_MANY,
    "phases": PHASES,
    "kinds": KINDS,
    "ends": AT_END,
    "homes": HOMES,
    "names": FIELDS,
}


@router.get("/courses")
def show_courses(
    request: Request,
    here: Here,
    caller: Reader,
    search: Word = "",
    everybody: Annotated[bool, Query()] = False,
    archived: Annotated[bool, Query()] = False,
) -> Response:
    admin = is_admin(caller)
    everybody = everybody and admin
    name = caller.name if caller.kind == "user" else ""
    if everybody:
        found = course_list.all_courses(here.desk, name, archived=archived)
    else:
        found = course_list.courses_of(here.desk, name, archived=archived)
    word = search.strip().casefold()
    matching = [one for one in found if word in f"{one.course.title}\n{one.course.id}".casefold()]
    asked = chosen(search=search.strip(), everybody="true" if everybody else "", archived="true" if archived else "")
    return here.pages.render(
        request,
        caller,
        "courses/list.html",
        **WORDS,
        courses=matching[:_LISTED],
        more=max(0, len(matching) - _LISTED),
        there=len(found),
        asked=asked,
        admin=admin,
        may_make=caller.may(Scope.TEACH),
    )


# --- a new one --------------------------------------------------------------------------------------------------------


@router.get("/courses/new")
def begin(request: Request, here: Here, caller: Teacher) -> Response:
    return _form(request, here, caller, first_draft(offer(here, caller)))


@router.post("/courses/new")
def create(request: Request, here: Here, caller: Teacher, form: Typed, why: Line = "") -> Response:
    _ = here.pages.gettext(request)
    draft = typed(form)
    values, wrong = values_in(draft, _)
    course = Course(named(draft), created_by=caller.name, created_at=here.clock(), **values)
    try:
        made = make(here, caller, course, " ".join(why.split()), unread=wrong, _=_)
    except Invalid as error:
        return _form(request, here, caller, draft, error.fields)
    except Problem as problem:
        if problem.code != "course_exists":
            raise
        taken = {"id": _("There is a course of this short name already; choose another.")}
        return _form(request, here, caller, replace(draft, id=course.id), taken)
    said = _("%(title)s is there. Next, say who is in it.") % {"title": made.title}
    return go(request, f"{here.prefix}courses/{made.id}/roster", said)


def _form(
    request: Request,
    here: Console,
    caller: Caller,
    draft: Draft,
    errors: dict[str, str] | None = None,
    within: InCourse | None = None,
    status: int | None = None,
    **more: Any,
) -> Response:
    offered, errors = offer(here, caller), errors or {}
    values, unread = values_in(draft, here.pages.gettext(request))
    was = within.course if within else None
    # Others type the name of a group that they know.
    known = {one for person in known_people(here).values() for one in person.groups} if is_admin(caller) else set()
    return here.pages.render(
        request,
        caller,
        "courses/form.html",
        status=status or (422 if errors else 200),
        **WORDS,
        draft=draft,
        errors=errors,
        offered=offered,
        profiles=offered.profiles,
        kept_profile=was.profile if was and was.profile not in {one.slug for one in offered.profiles} else "",
        models=sorted({*offered.models, *draft.models}),
        groups=sorted(known)[:500],
        hints=_hints(here, values, unread),
        **{
            "within": within,
            "version": course_version(was) if was else "",
            "conflict": None,
            "why": "",
            "refusal": "",
            **more,
        },
    )


@router.get("/courses/new/hints")
def show_hints(
    request: Request,
    here: Here,
    caller: Reader,
    gpus: Annotated[str, Query(max_length=20)] = "0",
    memory: Annotated[str, Query(max_length=20)] = "",
    kinds: Annotated[list[str], Query(max_length=3)] = [],  # noqa: B006  FastAPI copies it
    models: Annotated[list[str], Query(max_length=50)] = [],  # noqa: B006  FastAPI copies it
) -> Response:
    """Tell how many seats there can be, while a form is filled in."""
    draft = Draft(gpus=gpus.strip(), memory=memory.strip(), kinds=tuple(kinds), models=tuple(models))
    values, unread = values_in(draft, here.pages.gettext(request))
    return here.pages.render(request, caller, "courses/hints.html", hints=_hints(here, values, unread))


def _hints(here: Console, values: dict[str, Any], unread: dict[str, str]) -> dict[str, Any]:
    gpus = values["gpus"]
    if not 0 <= gpus <= MOST_GPUS or "gpus" in unread:
        return {"gpus": 0, "seats": None, "wrong": True}
    seat = {name: values[name] for name in ("gpus", "kinds", "models", "memory")}
    course = Course("hints", "x", "x", "x", here.clock(), **seat)
    return {"gpus": gpus, "seats": course_list.most_seats(here.desk, course), "wrong": False}


# --- one of them ------------------------------------------------------------------------------------------------------


@router.get("/courses/{course}")
def show_course(request: Request, within: MemberOf, here: Here) -> Response:
    found = course_list.overview(here.desk, within.course.id, within.caller.name)
    profile = next((one for one in here.catalogue if one.slug == within.course.profile), None)
    return here.pages.render(
        request,
        within.caller,
        "courses/one.html",
        **WORDS,
        within=within,
        course=within.course,
        found=found,
        to_agree=_asks(here, within),
        profile=profile,
        repository=within.course.materials.startswith("https://"),
        materials=materials_of(here, within.course) if within.staff else None,
    )


def _asks(here: Console, within: InCourse) -> bool:
    """Tell whether somebody is to be asked whether staff may enter their seat."""
    if within.role is not Role.STUDENT or not here.settings.classes.ask_students or within.course.archived_at:
        return False
    member = course_list.member(here.desk, within.course.id, within.caller.name)
    return member is not None and member.agreed_at is None


@router.post("/courses/{course}/agree")
def say_yes(request: Request, within: MemberOf, here: Here) -> Response:
    agree(here, within)
    _ = here.pages.gettext(request)
    return go(request, f"{here.prefix}courses/{within.course.id}", _("Thank you. Staff can help you in your seat now."))


@router.get("/courses/{course}/edit")
def edit(request: Request, within: InstructorOf, here: Here) -> Response:
    draft = draft_of(within.course, offer(here, within.caller))
    return _form(request, here, within.caller, draft, within=within)


class ChangedMeanwhile(Exception):
    """A course is not what its reader has seen any more."""


def matching(version: str) -> courses.Check:
    """Check, while nobody else can change it, that a course is what a form was filled in for."""

    def check(course: Course) -> None:
        if course_version(course) != version:
            raise ChangedMeanwhile

    return check


@router.post("/courses/{course}/edit")
def save(
    request: Request,
    within: InstructorOf,
    here: Here,
    form: Typed,
    version: Annotated[str, Form(max_length=100)] = "",
    why: Line = "",
) -> Response:
    """Change a course; whoever comes second is shown what has become of it meanwhile."""
    _ = here.pages.gettext(request)
    draft = replace(typed(form), id=within.course.id)
    values, wrong = values_in(draft, _)
    kept: dict[str, Any] = {"within": within, "version": version, "why": why}
    try:
        done = change(here, within, values, " ".join(why.split()), matching(version), wrong, _)
    except Invalid as error:
        return _form(request, here, within.caller, draft, error.fields, **kept)
    except ChangedMeanwhile:
        return _conflict(request, here, within, draft, values, why)
    except Problem as problem:
        if problem.status != 409:
            raise
        return _form(request, here, within.caller, draft, status=409, refusal=problem.detail, **kept)
    return go(request, f"{here.prefix}courses/{done.id}", _("Saved."))


def _conflict(
    request: Request, here: Console, within: InCourse, draft: Draft, values: dict[str, Any], why: str
) -> Response:
    now = courses.find(here.desk, within.course.id)
    theirs, mine = draft_of(now, offer(here, within.caller)), draft
    there = {name: getattr(now, name) for name in values}
    differing = [name for name in differences(there, values) if name != "branch" or there["materials"]]
    last = listing.audit(here.desk, AuditFilter(subject=f"course {now.id}"), limit=1).entries
    conflict = {
        "by": last[0].actor if last else "",
        "at": last[0].at if last else None,
        "rows": [(FIELDS[name], _shown(theirs, name), _shown(mine, name)) for name in differing],
    }
    now_within = replace(within, course=now)
    return _form(request, here, within.caller, draft, within=now_within, conflict=conflict, status=412, why=why)


def _shown(draft: Draft, name: str) -> str:
    if name == "materials":
        return draft.address if draft.source == "git" else draft.source.removeprefix("dir:")
    said = getattr(draft, name)
    return ", ".join(said) if isinstance(said, tuple) else said


# --- put away ---------------------------------------------------------------------------------------------------------


@router.get("/courses/{course}/archive")
def ask_to_archive(request: Request, within: InstructorOf, here: Here) -> Response:
    return _ask(request, here, within, back=False)


@router.get("/courses/{course}/restore")
def ask_to_restore(request: Request, within: InstructorOf, here: Here) -> Response:
    return _ask(request, here, within, back=True)


@router.post("/courses/{course}/archive")
def archive(request: Request, within: InstructorOf, here: Here, why: Line = "") -> Response:
    return _put_away(request, here, within, why, back=False)


@router.post("/courses/{course}/restore")
def restore(request: Request, within: InstructorOf, here: Here, why: Line = "") -> Response:
    return _put_away(request, here, within, why, back=True)


def _ask(
    request: Request, here: Console, within: InCourse, *, back: bool, why: str = "", refusal: str = ""
) -> Response:
    _, course = here.pages.gettext(request), within.course
    found = course_list.overview(here.desk, course.id)
    title = f"\N{FIRST STRONG ISOLATE}{course.title}\N{POP DIRECTIONAL ISOLATE}"
    if back:
        facts = [_("Sessions can be reserved again, and its roster can be changed.")]
        question = _("%(title)s is brought back, with its roster as it was.") % {"title": title}
    else:
        homes = _("The homes of its students stay as they are.")
        if course.homes == "archive":
            homes = _("The homes of its students are archived; each comes back when its owner starts a server.")
        facts = [
            _("No session can be reserved, and nobody can join, until it is brought back."),
            _("Its join links let nobody in meanwhile; roster, reports and collected work stay."),
            homes,
        ]
        question = _("%(title)s is put away for everybody in it. Students: %(count)s") % {
            "title": title,
            "count": found.listed.counts[Role.STUDENT],
        }
    return here.pages.render(
        request,
        within.caller,
        "courses/confirm.html",
        status=409 if refusal else 200,
        title=_("Bring a course back") if back else _("Archive a course"),
        question=question,
        facts=facts,
        action=f"{here.prefix}courses/{course.id}/{'restore' if back else 'archive'}",
        button=_("Bring it back") if back else _("Archive it"),
        back=f"{here.prefix}courses/{course.id}",
        fields={},
        reason=why,
        dangerous=not back,
        refusal=refusal,
    )


def _put_away(request: Request, here: Console, within: InCourse, why: str, *, back: bool) -> Response:
    _ = here.pages.gettext(request)
    try:
        done = put_away(here, within, " ".join(why.split()), back=back)
    except Problem as problem:
        if problem.status != 409:
            raise
        return _ask(request, here, within, back=back, why=why, refusal=problem.detail)
    said = _("%(title)s is back.") if back else _("%(title)s is archived.")
    return go(request, f"{here.prefix}courses/{done.id}", said % {"title": done.title})
