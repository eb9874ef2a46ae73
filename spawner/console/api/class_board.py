"""The board of a class: its seats as they are now, and what staff do with them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from ...operations import seat_wishes
from ...policy.classes import Session
from ...policy.model import Deny
from ..class_desk import act, invite, server_path
from ..class_live import ClassLook
from ..context import Console, Here
from ..course_access import SeatPath, SessionOf, StaffOf
from ..events import Event, EventStream, since, stream
from ..problems import Problem, refused
from .class_models import (
    BoardModel,
    DoneList,
    GuestWanted,
    LeftSeatModel,
    SeatAction,
    SeatModel,
    SeatsAction,
    VisitModel,
    VisitReason,
    board_model,
    done_model,
    head_model,
    seat_model,
)

router = APIRouter(tags=["classes"])

_PATH = "/courses/{course}/sessions/{session}"
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events, until the client goes.", "content": {"text/event-stream": {}}}
}
_LAST = {
    "parameters": [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "The last event that arrived: only what has changed since is sent.",
        }
    ]
}
Guest = Annotated[str, Path(max_length=255, description="Whose seat it is.")]


def _look(here: Console, session: Session) -> ClassLook:
    return here.classes.watch(session.id).board.look()


def _seat(here: Console, session: Session, user: str) -> SeatModel:
    tile = _look(here, session).by_user.get(user)
    if tile is None:
        raise Problem(404, "unknown_name", f"{user!r} has no seat in this session.")
    return seat_model(tile)


@router.get(f"{_PATH}/board")
def read_board(here: Here, found: StaffOf, session: SessionOf) -> BoardModel:  # noqa: ARG001  who may
    """Read all seats of a session, with what they do now."""
    return board_model(_look(here, session))


@router.get(f"{_PATH}/board/events", responses=_STREAM, response_class=EventStream, openapi_extra=_LAST)
def follow_board(request: Request, here: Here, found: StaffOf, session: SessionOf) -> Response:
    """Follow a board, as server-sent events: first all of it, then whatever changes.

    `board`: what is said of the whole session. `seat`: a seat. `left`: the `user` of one that is no more there. The
    stream ends after ten minutes; whoever comes again with `Last-Event-ID` misses nothing.
    """
    watch = here.classes.watch(session.id)
    watch.board.latest(watch.seconds)  # what is wrong is said at once
    known = since(watch, request)

    def news(look: ClassLook) -> list[Event]:
        nonlocal known
        head = known is None or look.head_changed > known
        events = [Event("board", head_model(look).model_dump_json())] if head else []
        events += [
            Event("seat", seat_model(tile).model_dump_json())
            for tile in look.tiles
            if known is None or tile.changed > known
        ]
        gone = sorted(user for user, number in look.removed.items() if known is not None and number > known)
        events += [Event("left", LeftSeatModel(user=user).model_dump_json()) for user in gone]
        known = look.number
        return events

    return stream(watch, found.caller.name, news)


@router.get(f"{_PATH}/seats/{{user}}")
def read_seat(user: SeatPath, here: Here, found: StaffOf, session: SessionOf) -> SeatModel:  # noqa: ARG001  who may
    """Read one seat."""
    return _seat(here, session, user)


@router.post(f"{_PATH}/seats/actions", status_code=202)
def act_on_seats(wanted: SeatsAction, here: Here, found: StaffOf, session: SessionOf) -> DoneList:
    """Do something with several seats, each by itself; the answer tells which were refused, and why.

    Servers are started, restarted and stopped in the moments after.
    """
    done = act(
        here,
        found.caller,
        session,
        wanted.users,
        wanted.action,
        until=wanted.until,
        memory=wanted.memory,
        why=wanted.why,
    )
    return DoneList(results=[done_model(one) for one in done])


@router.post(f"{_PATH}/seats/{{user}}/actions", status_code=202)
def act_on_seat(user: SeatPath, wanted: SeatAction, here: Here, found: StaffOf, session: SessionOf) -> SeatModel:
    """Do something with a seat. Its server is started, restarted or stopped in the moments after."""
    _seat(here, session, user)
    [done] = act(
        here,
        found.caller,
        session,
        [user],
        wanted.action,
        until=wanted.until,
        memory=wanted.memory,
        why=wanted.why,
    )
    if done.refusal is not None:
        raise refused(done.refusal)
    return _seat(here, session, user)


@router.post(f"{_PATH}/seats/{{user}}/visit")
def visit_seat(user: SeatPath, reason: VisitReason, here: Here, found: StaffOf, session: SessionOf) -> VisitModel:
    """Say that one opens somebody's server, and learn where it is. Its student is told, and it is audited."""
    _seat(here, session, user)
    answer = seat_wishes.visit(
        here.desk, session.id, user, found.caller.name, reason.why, ask=here.settings.classes.ask_students
    )
    if isinstance(answer, Deny):
        raise refused(answer)
    return VisitModel(path=server_path(here, found.course, user))


@router.post(f"{_PATH}/guests", status_code=201)
def add_guest(wanted: GuestWanted, here: Here, found: StaffOf, session: SessionOf) -> SeatModel:
    """Give a seat to somebody who is not in the course, while one is left."""
    answer = invite(here, found.caller, session, wanted.user, wanted.why)
    if isinstance(answer, Deny):
        raise refused(answer)
    return _seat(here, session, wanted.user)


@router.delete(f"{_PATH}/guests/{{user}}", status_code=202)
def remove_guest(user: Guest, here: Here, found: StaffOf, session: SessionOf) -> SeatModel:
    """Take a guest's seat back; the server is stopped in the moments after."""
    _seat(here, session, user)
    answer = seat_wishes.take_back(here.desk, session.id, user, found.caller.name)
    if isinstance(answer, Deny):
        raise refused(answer)
    return _seat(here, session, user)
