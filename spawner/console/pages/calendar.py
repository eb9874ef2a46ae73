"""The calendar: who has GPUs when, and the address at which programs read one's own classes."""

import hmac
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ...errors import UnknownName
from ...operations import feeds
from ...operations.calendar import capacity
from ..calendar_desk import address_of, names_for, page_of
from ..callers import Caller, allowed
from ..context import Here
from ..icalendars import MEDIA_TYPE, calendar_text
from ..languages import dated
from ..own_words import slot_words
from ..problems import Problem
from ..rendering import go, reader_of
from ..scopes import Scope
from ..week_plot import WeekPlotter, colours_of

router = APIRouter()

Reader = Annotated[Caller, allowed(Scope.SELF_READ)]
Owner = Annotated[Caller, allowed(Scope.SELF)]
Token = Annotated[str, Path(max_length=200)]
_WEEKS_AHEAD = 104


@router.get("/calendar")
def show_calendar(
    request: Request,
    here: Here,
    caller: Reader,
    week: Annotated[str, Query(max_length=10, description="A day of the week that is shown.")] = "",
) -> Response:
    _ = here.pages.gettext(request)
    reader = reader_of(request)
    now = here.clock()
    today = now.astimezone(reader.zone).date()
    day = _day(week, today)
    monday = day - timedelta(days=day.weekday())
    since, until = (
        datetime.combine(monday + timedelta(days=days), time(), reader.zone).astimezone(UTC) for days in (0, 7)
    )
    found = capacity(here.desk, since, until)
    names = names_for(here, caller)
    shown = {booking.course: None for kind in found.kinds for booking in kind.bookings if booking.course in names}
    plot = WeekPlotter(reader, _, names, colours_of(shown))
    figures = []
    for kind in found.kinds:
        words, about = slot_words(kind.kind, kind.isolation)
        figures.append((kind, _(words), _(about), plot.week(f"{kind.model}, {_(words)}", kind, since, now)))
    feed = feeds.feed_of(here.desk, caller.name) if caller.kind == "user" else None
    return here.pages.render(
        request,
        caller,
        "calendar/week.html",
        figures=figures,
        monday=dated(monday, "d MMMM", reader.language),
        sunday=dated(monday + timedelta(days=6), "d MMMM y", reader.language),
        before=(monday - timedelta(days=7)).isoformat(),
        after=(monday + timedelta(days=7)).isoformat(),
        this=monday <= today < monday + timedelta(days=7),
        feed=address_of(request, here, feed) if feed else "",
        may_feed=caller.kind == "user" and caller.may(Scope.SELF),
    )


def _day(text: str, today: date) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return today
    return min(max(day, today - timedelta(weeks=_WEEKS_AHEAD)), today + timedelta(weeks=_WEEKS_AHEAD))


# --- what programs read -----------------------------------------------------------------------------------------------


@router.post("/calendar/feed")
def renew(request: Request, here: Here, caller: Owner) -> Response:
    _ = here.pages.gettext(request)
    had = feeds.feed_of(here.desk, caller.person.name) is not None
    feeds.renew(here.desk, caller.name, caller.name)
    said = _("Your calendar has a new address; the old one is gone.") if had else _("Your calendar has an address now.")
    return go(request, f"{here.prefix}calendar", said)


@router.post("/calendar/feed/withdraw")
def withdraw(request: Request, here: Here, caller: Owner) -> Response:
    _ = here.pages.gettext(request)
    feeds.withdraw(here.desk, caller.person.name, caller.name)
    return go(request, f"{here.prefix}calendar", _("Your calendar has no address any more."))


@router.get("/calendar/feeds/{token}")
def read_feed(request: Request, here: Here, token: Token) -> Response:
    """Give somebody's classes to whoever knows the secret address; programs that show calendars sign in nowhere."""
    _ = here.pages.gettext(request)
    feed_id, _dot, mark = token.removesuffix(".ics").partition("-")
    unknown = Problem(404, "unknown_name", "There is no such calendar. It may have a new address.")
    known = hmac.compare_digest(mark.encode(), here.keys.feed_token(feed_id).encode())
    found = feeds.read(here.desk, feed_id) if known and "\x00" not in feed_id else None
    if found is None:
        raise unknown
    feed, entries = found
    try:
        here.people.get(feed.user)
    except UnknownName:
        raise unknown from None
    text = calendar_text(
        _("Classes of {user}").format(user=feed.user), entries, page_of(request, here), _, here.clock()
    )
    return Response(text, media_type=MEDIA_TYPE)
