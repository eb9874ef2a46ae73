"""Calendars of classes as the console hands them out: what they name to whom, and their secret addresses."""

from collections.abc import Callable

from fastapi import Request
from starlette.responses import Response

from ..operations import feeds
from ..operations.feeds import Entry
from ..policy.joining import Feed
from .callers import Caller
from .context import Console
from .course_access import InCourse, is_admin
from .icalendars import MEDIA_TYPE, calendar_text
from .scopes import Scope


def names_for(here: Console, caller: Caller) -> dict[str, str]:
    """Give the titles of the courses that somebody may know of: their own, or all."""
    with here.desk.ledger.reading() as books:
        courses = books.courses.all(archived=True)
        own = {one.course for one in books.courses.of_user(caller.name)} if caller.kind == "user" else set()
    everything = caller.may(Scope.READ) or is_admin(caller)
    return {one.id: one.title for one in courses if everything or one.id in own}


def course_calendar(request: Request, here: Console, within: InCourse) -> Response:
    """Give a course's sessions as a calendar, for once."""
    _ = here.pages.gettext(request)
    entries = feeds.of_course(here.desk, within.course.id)
    text = calendar_text(within.course.title, entries, page_of(request, here), _, here.clock())
    name = f'attachment; filename="{within.course.id}.ics"'
    return Response(text, media_type=MEDIA_TYPE, headers={"Content-Disposition": name})


def address_of(request: Request, here: Console, feed: Feed) -> str:
    """Give the secret address of somebody's calendar."""
    return f"{_origin(request, here)}{here.prefix}calendar/feeds/{feed.id}-{here.keys.feed_token(feed.id)}.ics"


def page_of(request: Request, here: Console) -> Callable[[Entry], str]:
    """Give the function that tells the page of a session."""
    root = f"{_origin(request, here)}{here.prefix}courses"
    return lambda entry: f"{root}/{entry.course.id}/sessions/{entry.session.id}"


def _origin(request: Request, here: Console) -> str:
    origin = here.settings.public_url
    if origin:
        return "/".join(origin.split("/", 3)[:3])
    return f"{request.url.scheme}://{request.url.netloc}"
