"""The board of a class: a seat per student, as it is now, and what staff do with one or several."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from ...operations import announcements, handouts, seat_wishes, seats
from ...policy.classes import Phase, Session
from ...policy.handouts import Announcement
from ...policy.model import Deny
from ..class_desk import Done, act, named, server_path
from ..class_live import ClassLook, Tile
from ..class_pages import WORDS, Choice, ClassNews, ClassPage, board_path, choice_of
from ..class_words import ACTIONS, DANGEROUS, Action
from ..context import Console, Here
from ..course_access import InCourse, SeatPath, SessionOf, StaffOf
from ..events import stream
from ..gpu_words import trouble_text
from ..plots import Line, Plotter
from ..problems import Problem, refused
from ..readings import KEPT
from ..rendering import go, reader_of

router = APIRouter()

_PATH = "/courses/{course}/sessions/{session}/board"
Shown = Annotated[Choice, Depends(choice_of)]
User = Annotated[str, Form(max_length=255)]
Users = Annotated[list[str], Query(default_factory=list, max_length=1000)]
Chosen = Annotated[list[str], Form(default_factory=list, max_length=1000)]
Typed = Annotated[str, Form(max_length=1000)]
MINUTES = (10, 15, 20, 30, 45, 60, 90, 120)
_ENDED = frozenset({Phase.OVER, Phase.CANCELLED})


@router.get(_PATH)
def show_board(request: Request, here: Here, found: StaffOf, session: SessionOf, choice: Shown) -> Response:
    page = ClassPage(request, here, found, choice, here.classes.watch(session.id).board.look())
    return here.pages.render(
        request,
        found.caller,
        "class_board/index.html",
        **page.values(),
        for_all=_for_all(request, here, found, page.look),
        always=_always(request, here, page.look),
    )


def _for_all(request: Request, here: Console, found: InCourse, look: ClassLook) -> list[dict[str, str]]:
    """List what can be done with the whole class now, beside a message."""
    _, board, path = here.pages.gettext(request), look.board, board_path(here, look.board.session)
    collects = bool(board.course.collect) or board.session.exam
    runs = board.phase in {Phase.WARMING, Phase.OPEN}
    shown = [
        ("files", _("Send a file"), board.phase not in _ENDED),
        ("files", _("Files"), board.phase is Phase.OVER),
        ("collect", _("Collect the work now"), collects and board.phase not in _ENDED),
        ("collect", _("Collected work"), collects and board.phase in _ENDED),
        ("end", _("Extend or end early"), runs and found.instructor),
    ]
    return [{"path": f"{path}/{name}", "title": title} for name, title, wanted in shown if wanted]


def _always(request: Request, here: Console, look: ClassLook) -> list[dict[str, str]]:
    _, path = here.pages.gettext(request), board_path(here, look.board.session).removesuffix("/board")
    return [{"path": f"{path}/report", "title": _("Report")}] if look.board.phase is not Phase.PLANNED else []


@router.get(f"{_PATH}/live")
def follow_board(
    request: Request,
    here: Here,
    found: StaffOf,
    session: SessionOf,
    choice: Shown,
    since: Annotated[str, Query(max_length=40)] = "",
    shown: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Send what changes on an open page."""
    watch = here.classes.watch(session.id)
    watch.board.latest(watch.seconds)  # what is wrong is said at once
    news = ClassNews(request, here, found, choice, session.id, since, shown)
    return stream(watch, found.caller.name, news)


# --- one seat ---------------------------------------------------------------------------------------------------------


@router.get(f"{_PATH}/seats/{{user}}")
def show_seat(user: SeatPath, request: Request, here: Here, found: StaffOf, session: SessionOf) -> Response:
    look = here.classes.watch(session.id).board.look()
    tile = tile_in(look, user)
    return here.pages.render(
        request,
        found.caller,
        "class_board/seat.html",
        **_of_seat(request, here, look, tile),
        messages=[one for one in announcements.for_seat(here.desk, session.id, user) if _is_to(one, user)],
        pushes=handouts.progress_of_course(
            here.desk, session.course, session.id, ask=here.settings.classes.ask_students
        ),
        opens=tile.opens_for(found.caller.name),
        offered=_offered(look, tile),
        dangerous=DANGEROUS,
    )


@router.get(f"{_PATH}/seats/{{user}}/now")
def show_seat_now(user: SeatPath, request: Request, here: Here, found: StaffOf, session: SessionOf) -> Response:
    """Render what moves on the page of a seat."""
    watch = here.classes.watch(session.id)
    look = watch.board.latest(watch.seconds)
    values = _of_seat(request, here, look, tile_in(look, user))
    return here.pages.render(request, found.caller, "class_board/seat-now.html", **values)


def tile_in(look: ClassLook, user: str) -> Tile:
    tile = look.by_user.get(user)
    if tile is None:
        raise Problem(404, "unknown_name", f"{user!r} has no seat in this session.")
    return tile


def _is_to(one: Announcement, user: str) -> bool:
    return one.user == user


def _offered(look: ClassLook, tile: Tile) -> list[Action]:
    if look.board.phase in _ENDED:
        return []
    runs = tile.view.seat.asked_at is not None and tile.view.seat.ended_at is None
    left_out = {Action.START} if runs else {Action.RESTART, Action.STOP}
    if not tile.place:
        left_out.add(Action.LOWER_HAND)
    if not tile.view.seat.guest:
        left_out.add(Action.TAKE_BACK)
    return [one for one in Action if one not in left_out]


def _of_seat(request: Request, here: Console, look: ClassLook, tile: Tile) -> dict[str, Any]:
    _, board, problem = here.pages.gettext(request), look.board, here.readings.problem
    path = board_path(here, board.session)
    known = tile.use is not None and tile.use.sm is not None
    return {
        **WORDS,
        "board": board,
        "course": board.course,
        "session": board.session,
        "tile": tile,
        "view": tile.view,
        "seat": tile.view.seat,
        "path": path,
        "plot": _plot(request, here, tile),
        "problem": trouble_text(_, problem) if problem and tile.view.lease and not known else "",
    }


def _plot(request: Request, here: Console, tile: Tile) -> Any:
    """Draw what a seat's GPUs did in the last quarter of an hour; None if nobody knows."""
    if tile.view.lease is None:
        return None
    _, end = here.pages.gettext(request), here.clock()
    memory = {slot.id: slot.memory for slot in tile.view.slots}
    lines = []
    for number, series in enumerate(here.readings.of_lease(tile.view.lease.id), 1):
        name = "" if len(memory) < 2 else f" {number}"
        total = memory.get(series.holding.slot)
        shares = [(one.at, one.memory / total if one.memory is not None and total else None) for one in series.points]
        lines += [
            Line(_("GPU") + name, [(one.at, one.sm) for one in series.points], "one"),
            Line(_("Memory") + name, shares, "two"),
        ]
    return Plotter(reader_of(request), _).lines(_("The last 15 minutes"), lines, end - KEPT, end) if lines else None


@router.post(f"{_PATH}/visit")
def visit(user: User, here: Here, found: StaffOf, session: SessionOf) -> Response:
    """Open somebody's server; its student is told, and so is the audit."""
    answer = seat_wishes.visit(here.desk, session.id, user, found.caller.name, ask=here.settings.classes.ask_students)
    if isinstance(answer, Deny):
        raise refused(answer)
    return RedirectResponse(server_path(here, found.course, user), 303)


@router.post(f"{_PATH}/hand")
def lower_hand(user: User, request: Request, here: Here, found: StaffOf, session: SessionOf) -> Response:
    seats.lower_hand(here.desk, session.id, user, found.caller.name)
    _ = here.pages.gettext(request)
    return go(request, board_path(here, session), _("Hands lowered: %(who)s.") % {"who": user})


# --- one or several ---------------------------------------------------------------------------------------------------


@router.get(f"{_PATH}/do")
def ask(request: Request, here: Here, found: StaffOf, session: SessionOf, action: Action, user: Users) -> Response:
    """Ask once before something is done with seats."""
    return _ask(request, here, found, session, action, user)


@router.post(f"{_PATH}/ask")
def ask_about_many(
    request: Request,
    here: Here,
    found: StaffOf,
    session: SessionOf,
    action: Annotated[Action, Form()],
    user: Chosen,
) -> Response:
    """Ask that about however many were chosen; all their names are more than an address can have."""
    return _ask(request, here, found, session, action, user)


def _ask(
    request: Request,
    here: Console,
    found: InCourse,
    session: Session,
    action: Action,
    users: list[str],
    trouble: str = "",
    why: str = "",
    status: int = 200,
) -> Response:
    _, path = here.pages.gettext(request), board_path(here, session)
    users = list(dict.fromkeys(users))
    return here.pages.render(
        request,
        found.caller,
        "class_board/do.html",
        status=status,
        title=_(ACTIONS[action][0]),
        question=_(ACTIONS[action][1]),
        facts=[],
        action=f"{path}/do",
        button=_(ACTIONS[action][0]),
        back=path,
        fields={"action": action},
        reason=None,
        why=why,
        dangerous=action in DANGEROUS,
        wanted=action,
        users=users,
        trouble=trouble,
        ends=[(minutes, session.ends_at + timedelta(minutes=minutes)) for minutes in MINUTES],
    )


@router.post(f"{_PATH}/do")
def do(
    request: Request,
    here: Here,
    found: StaffOf,
    session: SessionOf,
    action: Annotated[Action, Form()],
    user: Chosen,
    minutes: Annotated[str, Form(max_length=10)] = "",
    gib: Annotated[str, Form(max_length=20)] = "",
    why: Typed = "",
) -> Response:
    _ = here.pages.gettext(request)
    if not user:
        return _ask(request, here, found, session, action, user, _("Choose seats first."), why, 422)
    until = memory = None
    if action is Action.TIME:
        if not (minutes.isascii() and minutes.isdecimal() and 0 < int(minutes) <= 1440):
            return _ask(request, here, found, session, action, user, _("How many minutes more?"), why, 422)
        until = session.ends_at + timedelta(minutes=int(minutes))
    if action is Action.MEMORY:
        memory = _bytes(gib)
        if memory is None:
            return _ask(request, here, found, session, action, user, _("How many GiB? That is no number."), why, 422)
    done = act(here, found.caller, session, user, action, until=until, memory=memory, why=" ".join(why.split())[:500])
    return _told(request, here, found, session, action, done)


def _bytes(gib: str) -> int | None:
    try:
        size = float(gib.replace(",", "."))
    except ValueError:
        return None
    return int(size * (1 << 30)) if 0 <= size <= 1 << 20 else None


def _told(
    request: Request, here: Console, found: InCourse, session: Session, action: Action, done: list[Done]
) -> Response:
    _, path = here.pages.gettext(request), board_path(here, session)
    refusals = [(one.user, one.refusal.reason) for one in done if one.refusal]
    said = _(ACTIONS[action][2]) % {"who": named(done)} if len(refusals) < len(done) else ""
    if not refusals:
        return go(request, path, said)
    return here.pages.render(
        request,
        found.caller,
        "class_board/refused.html",
        status=409 if len(refusals) == len(done) else 200,
        title=_(ACTIONS[action][0]),
        said=said,
        refusals=refusals,
        back=path,
    )
