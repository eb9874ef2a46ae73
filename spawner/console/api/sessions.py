"""Sessions of courses: reserved, changed, called off; whether they would fit."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from ...operations import feeds, seats, session_changes, sessions
from ...operations.session_changes import Changed
from ...operations.sessions import Planned
from ...policy.classes import Phase, Session
from ...policy.model import Deny
from ..calendar_desk import course_calendar
from ..callers import Caller, allowed
from ..context import Here
from ..course_access import InstructorOf, MemberOf, SessionOf
from ..etags import etag_of, require_match
from ..paging import Cursor, Limit, Page, cursor_of, position_in
from ..problems import refused
from ..scopes import Scope
from ..session_desk import may_see_leases
from .mine_models import UserName
from .session_models import (
    Cancellation,
    Extension,
    FitModel,
    NewSessions,
    SessionChange,
    SessionModel,
    fit_model,
    refuse,
    session_model,
)
from .versions import VERSIONED, WRITING, if_match

router = APIRouter(tags=["classes"])

_CALENDAR: dict[int | str, dict[str, Any]] = {
    200: {"description": "iCalendar (RFC 5545).", "content": {"text/calendar": {"schema": {"type": "string"}}}}
}
_VERSION = if_match("The ETag of the session that you have seen, or `*` for whatever is.")


@router.get("/users/{name}/sessions")
def list_next(name: UserName, here: Here, caller: Annotated[Caller, allowed(Scope.SELF_READ)]) -> list[SessionModel]:
    """List the sessions to come, and those that run, of the courses that a user is in; by start."""
    found = seats.next_for(here.desk, caller.subject(name))
    now = here.clock()
    return [session_model(session, now) for _, session, _ in found[:200]]


@router.get("/courses/{course}/sessions")
def list_sessions(
    within: MemberOf,
    here: Here,
    phase: Annotated[list[Phase] | None, Query(description="Only those that are at this.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[SessionModel]:
    """List a course's sessions by start, those that are over or called off too."""
    position, now = position_in(cursor, str), here.clock()
    found = [entry.session for entry in feeds.of_course(here.desk, within.course.id)]
    ids = [one.id for one in found]
    begin = ids.index(position[0]) + 1 if position and position[0] in ids else 0
    shown = [one for one in found[begin:] if not phase or one.phase(now) in phase]
    following = cursor_of(shown[limit - 1].id) if len(shown) > limit else None
    return Page(items=[session_model(one, now) for one in shown[:limit]], next=following)


@router.get("/courses/{course}/sessions.ics", response_class=Response, responses=_CALENDAR)
def export_sessions(request: Request, within: MemberOf, here: Here) -> Response:
    """Give a course's sessions as a calendar."""
    return course_calendar(request, here, within)


@router.post("/courses/{course}/sessions/preview")
def preview_sessions(said: NewSessions, within: InstructorOf, here: Here) -> FitModel:
    """Tell whether sessions would fit, and which times and GPUs would do where they do not; changes nothing."""
    answer = sessions.preview(here.desk, said.plan(within.course.id), within.caller.name)
    return fit_model(answer, here.clock(), see_leases=may_see_leases(within))


@router.post("/courses/{course}/sessions", status_code=201)
def book_sessions(said: NewSessions, within: InstructorOf, here: Here) -> FitModel:
    """Reserve sessions, all or none.

    From then on they are certain: leases that would run into them end before, and nobody else gets these GPUs. A
    problem with `no_capacity` has what would do: `seats`, `times`, `kinds`.
    """
    answer = sessions.book(here.desk, said.plan(within.course.id), within.caller.name, said.why)
    if not isinstance(answer, Planned):
        raise refuse(answer)
    return fit_model(answer, here.clock(), see_leases=may_see_leases(within))


@router.get("/courses/{course}/sessions/{session}", responses=VERSIONED)
def read_session(
    within: MemberOf,  # noqa: ARG001  who may
    session: SessionOf,
    here: Here,
    answer: Response,
) -> SessionModel:
    """Tell of one session."""
    answer.headers["ETag"] = _etag(session)
    return session_model(session, here.clock())


@router.post("/courses/{course}/sessions/{session}/preview")
def preview_change(said: SessionChange, within: InstructorOf, session: SessionOf, here: Here) -> FitModel:
    """Tell what a change would do; changes nothing."""
    answer = session_changes.preview_change(here.desk, session.id, said.change())
    return fit_model(answer, here.clock(), see_leases=may_see_leases(within))


@router.patch("/courses/{course}/sessions/{session}", responses={**VERSIONED, **WRITING}, openapi_extra=_VERSION)
def change_session(
    said: SessionChange, within: InstructorOf, session: SessionOf, here: Here, request: Request, answer: Response
) -> SessionModel:
    """Change a session: its GPUs are reserved anew, or it stays as it is."""

    def check(now: Session) -> None:
        require_match(request, _etag(now))

    done = session_changes.change(here.desk, session.id, said.change(), within.caller.name, said.why, check)
    if not isinstance(done, Changed):
        raise refuse(done)
    answer.headers["ETag"] = _etag(done.session)
    return session_model(done.session, here.clock())


@router.post("/courses/{course}/sessions/{session}/extend")
def extend_session(said: Extension, within: InstructorOf, session: SessionOf, here: Here) -> SessionModel:
    """Let a session last longer, or shorter, also while it runs."""
    done = session_changes.extend(here.desk, session.id, timedelta(minutes=said.minutes), within.caller.name, said.why)
    if not isinstance(done, Changed):
        raise refuse(done)
    return session_model(done.session, here.clock())


@router.post("/courses/{course}/sessions/{session}/cancel")
def cancel_session(said: Cancellation, within: InstructorOf, session: SessionOf, here: Here) -> list[SessionModel]:
    """Call a session off, or it and those that follow it in its series; gives them."""
    done = sessions.cancel(here.desk, session.id, within.caller.name, said.why, following=said.following)
    if isinstance(done, Deny):
        raise refused(done)
    now = here.clock()
    return [session_model(one, now) for one in done]


def _etag(session: Session) -> str:
    return etag_of([session.id, session.version])
