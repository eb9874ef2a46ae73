"""What staff send to a whole class and take from it: messages, files, collections; guests; a later or earlier end."""

from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, UploadFile
from starlette.responses import Response

from ...operations import announcements, collections, handouts, seat_wishes, session_changes
from ...operations.handouts import Progress
from ...operations.session_changes import Change
from ...operations.sessions import NoFit
from ...policy.classes import Session
from ...policy.model import Deny
from ..class_desk import invite, places
from ..class_pages import WORDS, board_path
from ..context import Console, Here
from ..course_access import InCourse, InstructorOf, SessionOf, StaffOf
from ..problems import Problem
from ..rendering import go

router = APIRouter()

_PATH = "/courses/{course}/sessions/{session}/board"
Typed = Annotated[str, Form(max_length=4000)]
_LATER = (5, 10, 15, 30, 45, 60)
_SOONER = (1, 5, 10, 15)


def _render(
    request: Request, here: Console, found: InCourse, session: Session, template: str, status: int = 200, **values: Any
) -> Response:
    path = board_path(here, session)
    shared = {**WORDS, "course": found.course, "session": session, "path": path, "trouble": "", "typed": ""}
    return here.pages.render(request, found.caller, template, status=status, **{**shared, **values})


# --- messages ---------------------------------------------------------------------------------------------------------


@router.get(f"{_PATH}/message")
def write_message(request: Request, here: Here, found: StaffOf, session: SessionOf, user: str = "") -> Response:
    return _messages(request, here, found, session, user=user[:255])


def _messages(
    request: Request,
    here: Console,
    found: InCourse,
    session: Session,
    *,
    user: str = "",
    typed: str = "",
    trouble: str = "",
    status: int = 200,
) -> Response:
    sent = list(reversed(announcements.of_session(here.desk, session.id)))[:100]
    return _render(
        request, here, found, session, "class_board/message.html", status,
        sent=sent, user=user, typed=typed, trouble=trouble, most=announcements.LONGEST_TEXT,
    )  # fmt: skip


@router.post(f"{_PATH}/message")
def send_message(
    request: Request, here: Here, found: StaffOf, session: SessionOf, text: Typed = "", user: Typed = ""
) -> Response:
    _ = here.pages.gettext(request)
    answer = announcements.announce(here.desk, session.id, text, found.caller.name, user)
    if isinstance(answer, Deny):
        return _messages(request, here, found, session, user=user, typed=text, trouble=answer.reason, status=409)
    told = _("Sent to %(who)s.") % {"who": user} if user else _("Sent to all seats. Whoever comes later sees it, too.")
    return go(request, board_path(here, session), told)


# --- files ------------------------------------------------------------------------------------------------------------


@router.get(f"{_PATH}/files")
def show_files(request: Request, here: Here, found: StaffOf, session: SessionOf) -> Response:
    """Show which files were sent, in how many homes each is, and a form for another."""
    return _files(request, here, found, session)


def _sent(here: Console, session: Session) -> list[Progress]:
    """Give how far the files of a session have come, the last sent first."""
    ask = here.settings.classes.ask_students
    return list(reversed(handouts.progress_of_course(here.desk, session.course, session.id, ask=ask)))


def _files(
    request: Request,
    here: Console,
    found: InCourse,
    session: Session,
    typed: str = "",
    trouble: str = "",
    status: int = 200,
    *,
    hidden: bool = False,
) -> Response:
    sent = _sent(here, session)
    return _render(
        request, here, found, session, "class_board/files.html", status,
        sent=sent, typed=typed, trouble=trouble, hidden=hidden, most=here.settings.classes.push_bytes,
    )  # fmt: skip


@router.get(f"{_PATH}/files/now")
def show_files_now(request: Request, here: Here, found: StaffOf, session: SessionOf) -> Response:
    """Render how far files have come."""
    sent = _sent(here, session)
    return _render(request, here, found, session, "class_board/files-now.html", sent=sent)


@router.post(f"{_PATH}/files")
def send_file(
    request: Request,
    here: Here,
    found: StaffOf,
    session: SessionOf,
    file: UploadFile | None = None,
    folder: Annotated[str, Form(max_length=500)] = "",
    hidden: Annotated[bool, Form()] = False,
) -> Response:
    _ = here.pages.gettext(request)
    name = PurePosixPath((file.filename or "").replace("\\", "/")).name if file else ""
    if file is None or not name:
        return _files(request, here, found, session, folder, _("Choose a file."), 422, hidden=hidden)
    path = str(PurePosixPath(folder.strip().strip("/"), name)) if folder.strip().strip("/") else name
    answer = handouts.push(
        here.desk, places(here), session.course, session.id, path, file.file, found.caller.name, hidden=hidden
    )
    if isinstance(answer, Deny):
        return _files(request, here, found, session, folder, answer.reason, 409, hidden=hidden)
    told = _("%(path)s is on its way to all homes; what is there already is never overwritten.") % {"path": path}
    return go(request, f"{board_path(here, session)}/files", told)


# --- collections ------------------------------------------------------------------------------------------------------


@router.get(f"{_PATH}/collect")
def show_collected(request: Request, here: Here, found: StaffOf, session: SessionOf) -> Response:
    return _collected(request, here, found, session)


def _collected(
    request: Request, here: Console, found: InCourse, session: Session, trouble: str = "", status: int = 200
) -> Response:
    return _render(
        request, here, found, session, "class_board/collect.html", status,
        collected=collections.latest(collections.listing(here.desk, session.id)), within=found, trouble=trouble,
    )  # fmt: skip


@router.post(f"{_PATH}/collect")
def collect(request: Request, here: Here, found: StaffOf, session: SessionOf) -> Response:
    _, path = here.pages.gettext(request), board_path(here, session)
    answer = collections.request(here.desk, session.id, found.caller.name)
    if isinstance(answer, Deny):
        return _collected(request, here, found, session, answer.reason, 409)
    return go(request, f"{path}/collect", _("Everybody's work is being collected; this takes some seconds per seat."))


# --- guests -----------------------------------------------------------------------------------------------------------


@router.get(f"{_PATH}/guest")
def ask_guest(request: Request, here: Here, found: StaffOf, session: SessionOf) -> Response:
    return _guest(request, here, found, session)


def _guest(
    request: Request,
    here: Console,
    found: InCourse,
    session: Session,
    typed: str = "",
    trouble: str = "",
    status: int = 200,
) -> Response:
    left = seat_wishes.seats_left(here.desk, session.id)
    return _render(
        request, here, found, session, "class_board/guest.html", status, left=left, typed=typed, trouble=trouble
    )


@router.post(f"{_PATH}/guest")
def hand_over(
    request: Request,
    here: Here,
    found: StaffOf,
    session: SessionOf,
    user: Annotated[str, Form(max_length=255)] = "",
    why: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    _ = here.pages.gettext(request)
    try:
        answer = invite(here, found.caller, session, user.strip(), " ".join(why.split()))
    except Problem as problem:
        return _guest(request, here, found, session, user, problem.detail, problem.status)
    if isinstance(answer, Deny):
        return _guest(request, here, found, session, user, answer.reason, 409)
    return go(request, board_path(here, session), _("%(who)s has a seat now.") % {"who": answer.user})


# --- the end ----------------------------------------------------------------------------------------------------------


@router.get(f"{_PATH}/end")
def ask_end(request: Request, here: Here, found: InstructorOf, session: SessionOf) -> Response:
    return _end(request, here, found, session)


def _end(
    request: Request, here: Console, found: InCourse, session: Session, trouble: str = "", status: int = 200
) -> Response:
    now = here.clock()
    later = [(minutes, session.ends_at + timedelta(minutes=minutes)) for minutes in _LATER]
    sooner = [(minutes, now + timedelta(minutes=minutes)) for minutes in _SOONER]
    sooner = [one for one in sooner if one[1] < session.ends_at]
    return _render(
        request, here, found, session, "class_board/end.html", status, later=later, sooner=sooner, trouble=trouble
    )


@router.post(f"{_PATH}/end")
def set_end(
    request: Request,
    here: Here,
    found: InstructorOf,
    session: SessionOf,
    minutes: Annotated[str, Form(max_length=10)] = "",
    why: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    _ = here.pages.gettext(request)
    kind, _sep, number = minutes.partition(":")
    if kind not in {"later", "in"} or not (number.isascii() and number.isdecimal() and 0 < int(number) <= 1440):
        return _end(request, here, found, session, _("Choose a new end."), 422)
    ends_at = (session.ends_at if kind == "later" else here.clock()) + timedelta(minutes=int(number))
    reason = " ".join(why.split())
    answer = session_changes.change(here.desk, session.id, Change(ends_at=ends_at), found.caller.name, reason)
    if isinstance(answer, NoFit):
        answer = answer.denied
    if isinstance(answer, Deny):
        return _end(request, here, found, session, answer.reason, 409)
    return go(request, board_path(here, session), _("The session has another end now."))
