"""Sessions of courses: planned, looked at, changed, called off."""

from datetime import timedelta
from typing import Annotated, Any

from babel.dates import get_day_names
from fastapi import APIRouter, Depends, Form, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from ...operations import feeds, session_changes, sessions
from ...operations.session_changes import Changed
from ...operations.sessions import NoFit, Planned
from ...policy.classes import Late, Phase, Session
from ...policy.model import Deny
from ..callers import form_of
from ..context import Console, Here
from ..course_access import InCourse, InstructorOf, MemberOf, SessionOf
from ..course_words import PHASES
from ..problems import refused
from ..rendering import go, reader_of
from ..session_desk import (
    FIELDS,
    KIND_WORDS,
    LATE,
    LIVE,
    Conflict,
    Hint,
    conflict_of,
    look,
    may_see_leases,
    sessions_part,
    told,
    usual,
)
from ..session_forms import Meant, Written, of_session, read_form, written_in

router = APIRouter()

Fields = Annotated[FormData | None, Depends(form_of)]
Reason = Annotated[str, Form(max_length=500)]
_DAYS = range(7)


@router.get("/courses/{course}/sessions")
def show_sessions(request: Request, within: MemberOf, here: Here) -> Response:
    return here.pages.render(request, within.caller, "sessions/list.html", **sessions_part(here, within))


# --- new ones ---------------------------------------------------------------------------------------------------------


@router.get("/courses/{course}/sessions/new")
def ask_session(request: Request, within: InstructorOf, here: Here) -> Response:
    reader = reader_of(request)
    written = written_in(request.query_params, usual(here, within, reader.zone))
    return _form(request, here, within, written, None)


@router.post("/courses/{course}/sessions/check")
def check_session(request: Request, within: InstructorOf, here: Here, form: Fields) -> Response:
    """Tell whether what the form says can be; changes nothing."""
    return _check(request, here, within, form, None)


@router.post("/courses/{course}/sessions")
def book(request: Request, within: InstructorOf, here: Here, form: Fields, why: Reason = "") -> Response:
    _ = here.pages.gettext(request)
    reader = reader_of(request)
    written = written_in(form or FormData(), usual(here, within, reader.zone))
    meant = read_form(written, _)
    if not isinstance(meant, Meant):
        return _form(request, here, within, written, None, Hint(bool(meant.missing), meant.of), 422, all_of_it=True)
    answer = sessions.book(here.desk, meant.plan(within.course.id), within.caller.name, why.strip())
    if not isinstance(answer, Planned):
        hint = told(within.course, meant, answer, written, reader, _)
        return _form(request, here, within, written, None, hint, 409)
    count = len(answer.sessions)
    said = _("The session is planned.") if count == 1 else _("{count} sessions are planned.").format(count=count)
    if answer.shortened:
        said += " " + _("Leases that end sooner for it: {count}; their users are told.").format(
            count=len(answer.shortened)
        )
    where = f"courses/{within.course.id}/sessions" + (f"/{answer.sessions[0].id}" if count == 1 else "")
    return go(request, f"{here.prefix}{where}", said)


def _check(
    request: Request, here: Console, within: InCourse, form: FormData | None, was: Session | None, why: str = ""
) -> Response:
    reader, _ = reader_of(request), here.pages.gettext(request)
    before = usual(here, within, reader.zone) if was is None else of_session(was, reader.zone)
    written = written_in(form or FormData(), before)
    if "HX-Request" not in request.headers:
        return _form(request, here, within, written, was, why=why)
    hint = look(here, within, written, reader, _, was)
    return here.pages.render(
        request, within.caller, "sessions/fit.html", **_words(here, within, was), hint=hint, all_of_it=False
    )


def _form(
    request: Request,
    here: Console,
    within: InCourse,
    written: Written,
    was: Session | None,
    hint: Hint | None = None,
    status: int = 200,
    *,
    why: str = "",
    conflict: Conflict | None = None,
    all_of_it: bool = False,
) -> Response:
    reader, _ = reader_of(request), here.pages.gettext(request)
    return here.pages.render(
        request,
        within.caller,
        "sessions/form.html",
        status=status,
        **_words(here, within, was),
        written=written,
        why=why,
        conflict=conflict,
        hint=hint or look(here, within, written, reader, _, was),
        all_of_it=all_of_it,
        weekdays=[(day, reader_day(day, reader.language)) for day in _DAYS],
        late_words=LATE,
        lates=list(Late),
        names=FIELDS,
    )


def reader_day(day: int, language: str) -> str:
    """Give the name of a day of the week, Monday being 0."""
    return str(get_day_names("abbreviated", locale=language)[day])


def _words(here: Console, within: InCourse, was: Session | None) -> dict[str, Any]:
    root = f"{here.prefix}courses/{within.course.id}/sessions"
    return {
        "within": within,
        "course": within.course,
        "was": was,
        "begun": was is not None and was.phase(here.clock()) is not Phase.PLANNED,
        "root": root,
        "target": f"{root}/{was.id}/change" if was else root,
        "check": f"{root}/{was.id}/check" if was else f"{root}/check",
        "again": f"{root}/{was.id}/change" if was else f"{root}/new",
        "see_leases": may_see_leases(within),
        "kind_words": KIND_WORDS,
    }


# --- one of them ------------------------------------------------------------------------------------------------------


@router.get("/courses/{course}/sessions/{session}")
def show_session(request: Request, within: MemberOf, session: SessionOf, here: Here) -> Response:
    now = here.clock()
    series = [one.session for one in feeds.of_course(here.desk, session.course) if one.session.series == session.series]
    with here.desk.ledger.reading() as books:
        reservation = books.reservations.get(session.reservation) if session.reservation else None
    return here.pages.render(
        request,
        within.caller,
        "sessions/one.html",
        **_words(here, within, session),
        session=session,
        phase=session.phase(now),
        phases=PHASES,
        live=session.phase(now) in LIVE,
        running=session.phase(now) in {Phase.OPEN, Phase.WARMING},
        series=series if session.series else [],
        reservation=reservation,
        late_words=LATE,
    )


@router.get("/courses/{course}/sessions/{session}/change")
def ask_change(request: Request, within: InstructorOf, session: SessionOf, here: Here) -> Response:
    written = written_in(request.query_params, of_session(session, reader_of(request).zone))
    return _form(request, here, within, written, session)


@router.post("/courses/{course}/sessions/{session}/check")
def check_change(
    request: Request, within: InstructorOf, session: SessionOf, here: Here, form: Fields, why: Reason = ""
) -> Response:
    return _check(request, here, within, form, session, why)


@router.post("/courses/{course}/sessions/{session}/change")
def change(
    request: Request, within: InstructorOf, session: SessionOf, here: Here, form: Fields, why: Reason = ""
) -> Response:
    _ = here.pages.gettext(request)
    reader = reader_of(request)
    written = written_in(form or FormData(), of_session(session, reader.zone))
    meant = read_form(written, _)
    if not isinstance(meant, Meant):
        hint = Hint(bool(meant.missing), meant.of)
        return _form(request, here, within, written, session, hint, 422, why=why, all_of_it=True)
    seen = str((form or FormData()).get("version", ""))
    try:
        answer = session_changes.change(
            here.desk, session.id, meant.change(), within.caller.name, why.strip(), _matching(seen)
        )
    except _Changed:
        now = sessions.find(here.desk, session.id)
        return _form(request, here, within, written, now, None, 412, why=why, conflict=conflict_of(here, now, meant))
    if not isinstance(answer, Changed):
        hint = told(within.course, meant, answer, written, reader, _)
        return _form(request, here, within, written, session, hint, 409, why=why)
    return go(request, f"{here.prefix}courses/{session.course}/sessions/{session.id}", _("The session is changed."))


class _Changed(Exception):
    """A session is not what was seen any more."""


def _matching(version: str) -> session_changes.Check:
    def check(session: Session) -> None:
        if version != str(session.version):
            raise _Changed

    return check


@router.post("/courses/{course}/sessions/{session}/longer")
def lengthen(
    request: Request,
    within: InstructorOf,
    session: SessionOf,
    here: Here,
    minutes: Annotated[int, Form(ge=-720, le=720)] = 15,
) -> Response:
    """Let a session last longer, by a button of its page."""
    _ = here.pages.gettext(request)
    answer = session_changes.extend(here.desk, session.id, timedelta(minutes=minutes), within.caller.name)
    if isinstance(answer, NoFit):
        answer = answer.denied
    if isinstance(answer, Deny):
        raise refused(answer)
    said = _("It ends {minutes} minutes later.") if minutes > 0 else _("It ends {minutes} minutes sooner.")
    where = f"{here.prefix}courses/{session.course}/sessions/{session.id}"
    return go(request, where, said.format(minutes=abs(minutes)))


@router.get("/courses/{course}/sessions/{session}/cancel")
def ask_cancel(request: Request, within: InstructorOf, session: SessionOf, here: Here) -> Response:
    now = here.clock()
    following = _following(here, session, within)
    with here.desk.ledger.reading() as books:
        seats = [one for one in books.sessions.seats(session.id) if one.asked_at is not None and one.ended_at is None]
    return here.pages.render(
        request,
        within.caller,
        "sessions/cancel.html",
        **_words(here, within, session),
        session=session,
        phase=session.phase(now),
        live=session.phase(now) in LIVE,
        running=len(seats),
        following=following,
    )


def _following(here: Console, session: Session, within: InCourse) -> list[Session]:
    if not session.series:
        return []
    found = [one.session for one in feeds.of_course(here.desk, within.course.id)]
    return [
        one
        for one in found
        if one.series == session.series and one.starts_at > session.starts_at and one.cancelled_at is None
    ]


@router.post("/courses/{course}/sessions/{session}/cancel")
def cancel(
    request: Request,
    within: InstructorOf,
    session: SessionOf,
    here: Here,
    why: Reason = "",
    which: Annotated[str, Form(pattern="^(this|following)$")] = "this",
) -> Response:
    _ = here.pages.gettext(request)
    answer = sessions.cancel(here.desk, session.id, within.caller.name, why.strip(), following=which == "following")
    if isinstance(answer, Deny):
        raise refused(answer)
    count = len(answer)
    said = _("The session is called off.") if count == 1 else _("{count} sessions are called off.").format(count=count)
    return go(request, f"{here.prefix}courses/{session.course}/sessions", said)
