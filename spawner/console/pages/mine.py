"""The start page: one's own servers, leases, quota and use; somebody else's, for who may see all."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from markupsafe import Markup
from starlette.responses import Response

from ...operations import mine, seats
from ...operations.mine import DayOfUse, Mine
from ...operations.quota_values import show_value
from ...policy.leases import LeaseState
from ...policy.model import Person
from ..api.mine import lease_cursor, lease_position
from ..api.mine_models import UserName
from ..callers import Caller, allowed
from ..context import Console, Here
from ..course_words import PHASES
from ..languages import dated
from ..live import LiveSlot, live_slots, problem_words
from ..own import OwnServer, person_of, servers_of
from ..own_words import DIMENSIONS, ENDINGS, LEASE_STATES, SERVER_STATES, slot_words
from ..paging import Cursor
from ..plots import Colour, Line, Plotter, Series
from ..ranges import USUAL_DAYS, midnight
from ..readings import KEPT
from ..rendering import reader_of
from ..scopes import Scope
from ..session_desk import next_of

router = APIRouter()

Reader = Annotated[Caller, allowed(Scope.SELF_READ)]
Days = Annotated[int, Query(ge=7, le=90, description="Of use that is plotted.")]
_RECENT, _PAGE = 5, 50
DAYS = (7, 30, 90)


@router.get("/")
def show_mine(request: Request, here: Here, caller: Reader, days: Days = USUAL_DAYS) -> Response:
    person = caller.person
    return here.pages.render(request, caller, "mine/home.html", **_whole(request, here, person, days, own=True))


@router.get("/mine/now")
def show_now(request: Request, here: Here, caller: Reader) -> Response:
    """Give the part of the start page that changes by itself."""
    return here.pages.render(request, caller, "mine/now.html", **_now(request, here, caller.person, own=True))


@router.get("/people/{name}")
def show_person(name: UserName, request: Request, here: Here, caller: Reader, days: Days = USUAL_DAYS) -> Response:
    """Show what is somebody else's, to who may see all."""
    person = person_of(here, caller, name)
    return here.pages.render(request, caller, "mine/home.html", **_whole(request, here, person, days, own=False))


@router.get("/people/{name}/now")
def show_person_now(name: UserName, request: Request, here: Here, caller: Reader) -> Response:
    person = person_of(here, caller, name)
    return here.pages.render(request, caller, "mine/now.html", **_now(request, here, person, own=False))


@router.get("/mine/leases")
def show_leases(request: Request, here: Here, caller: Reader, cursor: Cursor = None) -> Response:
    return _leases(request, here, caller, caller.person, cursor)


@router.get("/people/{name}/leases")
def show_person_leases(name: UserName, request: Request, here: Here, caller: Reader, cursor: Cursor = None) -> Response:
    return _leases(request, here, caller, person_of(here, caller, name), cursor)


def _leases(request: Request, here: Console, caller: Caller, person: Person, cursor: str | None) -> Response:
    found = mine.history(here.desk, person.name, after=lease_position(cursor), limit=_PAGE + 1)
    last = found[_PAGE - 1].lease if len(found) > _PAGE else None
    return here.pages.render(
        request,
        caller,
        "mine/leases.html",
        **_words(person, own=person.name == caller.name),
        past=found[:_PAGE],
        first=cursor is None,
        next=lease_cursor(last.granted_at, last.id) if last else None,
    )


# --- what templates show ------------------------------------------------------------------------------------------


def _words(person: Person, *, own: bool) -> dict[str, Any]:
    return {
        "person": person,
        "own": own,
        "server_states": SERVER_STATES,
        "lease_states": LEASE_STATES,
        "endings": ENDINGS,
        "slot_words": slot_words,
        "base": "mine" if own else None,
    }


def _now(request: Request, here: Console, person: Person, *, own: bool) -> dict[str, Any]:
    found = mine.mine(here.desk, person)
    return _of_now(request, here, person, found, own=own)


def _of_now(request: Request, here: Console, person: Person, found: Mine, *, own: bool) -> dict[str, Any]:
    _ = here.pages.gettext(request)
    plot = Plotter(reader_of(request), _)
    live = live_slots(here, found.leases, found.at)
    servers = servers_of(here, person.name, found)
    figures: dict[str, list[tuple[LiveSlot, Markup]]] = {}
    for number, one in enumerate(live):
        figure = _live_figure(plot, _, one, number, live, found)
        figures.setdefault(one.lease, []).append((one, figure))
    return {
        **_words(person, own=own),
        "servers": servers,
        "mine": found,
        "held": sum(len(one.lease.slots) for one in found.leases),
        "quota": {one.dimension: one for one in found.account.quota},
        "figures": figures,
        "trouble": _(problem_words(here)) if live else "",
        "bars": _bars(plot, _, found),
        "active": LeaseState.ACTIVE,
        "pending": LeaseState.PENDING,
        "more_than_a_minute": timedelta(minutes=1),
        **_next(request, here, person, servers, own=own),
    }


def _next(
    request: Request, here: Console, person: Person, servers: Sequence[OwnServer], *, own: bool
) -> dict[str, Any]:
    """Give the sessions of classes that come next; on one's own page alone."""
    addresses = {server.name: server.url for server in servers if server.url}
    found = seats.next_for(here.desk, person.name) if own else []
    return {"next_sessions": next_of(here, reader_of(request), addresses, found), "session_phases": PHASES}


def _live_figure(
    plot: Plotter, _: Callable[[str], str], one: LiveSlot, number: int, live: Sequence[LiveSlot], found: Mine
) -> Markup:
    if not one.points:
        return Markup("")
    several = len([other for other in live if other.lease == one.lease]) > 1
    place = number + 1 - next(place for place, other in enumerate(live) if other.lease == one.lease)
    title = _("GPU use, last 15 minutes")
    if several:
        title = f"{title} ({place})"
    lines = [
        Line(_("Computing (SM)"), [(point.at, point.sm) for point in one.points], "one"),
        Line(_("Memory"), [(point.at, one.share(point)) for point in one.points], "two"),
    ]
    return plot.lines(title, lines, found.at - KEPT, found.at, "ratio")


def _bars(plot: Plotter, _: Callable[[str], str], found: Mine) -> Mapping[str, Markup]:
    account = found.account
    most = next(one.origin.value for one in account.quota if one.dimension == "gpus")
    said = _("{held} of {most} GPUs in use").format(held=account.gpus_held, most=most)
    bars = {"gpus": plot.bar([(account.gpus_held, "used")], most, said)}
    if found.budget_ms is not None:
        parts: list[tuple[float, Colour]] = [(account.used_ms, "used"), (account.committed_ms, "idle")]
        bars["hours"] = plot.bar(parts, found.budget_ms, _("GPU-hours used, and promised to running leases"))
    return bars


def _whole(request: Request, here: Console, person: Person, days: int, *, own: bool) -> dict[str, Any]:
    _ = here.pages.gettext(request)
    reader = reader_of(request)
    plot = Plotter(reader, _)
    found = mine.mine(here.desk, person)
    now = found.at
    use = mine.use_by_day(here.desk, person.name, midnight(now, reader.zone, days - 1), now, reader.zone)
    return {
        **_of_now(request, here, person, found, own=own),
        "account": found.account,
        "dimensions": DIMENSIONS,
        "show_value": show_value,
        "past": mine.history(here.desk, person.name, holding=False, limit=_RECENT),
        "use": _use_figure(plot, _, use, reader.language),
        "used_ms": sum(day.gpu_ms for day in use),
        "idle_ms": sum(day.idle_ms for day in use),
        "days": days,
        "choices": DAYS,
    }


def _use_figure(plot: Plotter, _: Callable[[str], str], use: Sequence[DayOfUse], language: str) -> Markup:
    series = [
        Series(_("Used"), [day.busy_ms for day in use], "used"),
        Series(_("Idle"), [day.idle_ms for day in use], "idle"),
    ]
    return plot.bars(_("My GPU-hours, day by day"), [_day(day.day, language) for day in use], series, "gpu_hours")


def _day(text: str, language: str) -> str:
    return dated(date.fromisoformat(text), "d MMM", language)
