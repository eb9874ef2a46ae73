"""Seats started in time: as many at once as the settings say, and fewer while other people's servers start."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial

from ..operations import seat_life, seats
from ..operations.seat_life import Meeting
from ..policy.classes import Course
from ..policy.warmup import Pace, yielding
from .class_work import FRESH_SECONDS
from .hub import Hub, HubUnavailable, Start
from .post import Post
from .steps import Step

_LOG = logging.getLogger("berth.janitor")
EVERY = 2.0
_STUDENTS_SHOWN = 5


def warmup_steps(post: Post) -> list[Step]:
    """Start the seats that are due."""
    pace = _pace(post)
    found = seat_life.to_start(post.desk, pace)
    if not found:
        return []
    names = [f"{user}/{meeting.course.id}" for meeting, user in found]
    shown = ", ".join(names[:_STUDENTS_SHOWN]) + (" and others" if len(names) > _STUDENTS_SHOWN else "")
    # One step for all: as one is ready the next is started, without a wait for the slowest.
    return [Step(f"start the seats {shown}, {pace.at_once} at once at the most", partial(_start_all, post), slow=True)]


def _pace(post: Post) -> Pace:
    at_once = post.settings.classes.starts_at_once
    return seat_life.pace(post.desk, at_once, timedelta(seconds=EVERY))


def _start_all(post: Post) -> bool:
    hub, pace = post.require_hub(), _pace(post)
    busy = threading.Event()  # the hub takes no more for now; the next turn tries again
    started: list[str] = []

    def work() -> None:
        while not (busy.is_set() or post.stopping.is_set()):
            found = seat_life.take_next(post.desk, _yielding(post, hub, pace))
            if found is None:
                return
            if not start_seat(post, *found):
                busy.set()
            started.append(found[1])

    with ThreadPoolExecutor(pace.at_once, thread_name_prefix="seats") as threads:
        working = [threads.submit(work) for _ in range(pace.at_once)]
    for one in working:
        one.result()
    return bool(started)


def _yielding(post: Post, hub: Hub, pace: Pace) -> Pace:
    """Leave room for servers that people start themselves."""
    servers = post.classes.servers(hub, FRESH_SECONDS)
    ours = {(user, one.course.id) for one in seat_life.meetings(post.desk) for user in one.everybody}
    others = sum(one.pending == "spawn" for key, one in servers.items() if key not in ours)
    return replace(pace, at_once=yielding(pace.at_once, others))


def start_seat(post: Post, meeting: Meeting, user: str) -> bool:
    """Ask the hub for a seat that is noted as asked for; False if the hub cannot take it now.

    What was noted is taken back then: it is no failed start.
    """
    session, course, desk, work = meeting.session.id, meeting.course, post.desk, post.classes
    with work.at_work((session, user)):
        try:
            begun = _begin(post.require_hub(), user, course)
        except HubUnavailable as error:
            return _not_started(post, meeting, user, error)
        if begun is Start.BUSY:
            seat_life.not_asked(desk, session, user)
            return False
        # What ran already may be somebody's own server: whether it is the seat is seen where the hub lists it.
        if begun is Start.READY and (took := seat_life.ready(desk, session, user)) is not None:
            work.started(took.total_seconds())
    return True


def _begin(hub: Hub, user: str, course: Course) -> Start:
    options = {"profile": course.profile, "gpus": course.gpus}
    try:
        return hub.begin(user, course.id, options)
    except HubUnavailable as error:
        if error.status != 404:
            raise
    hub.make_user(user)  # who has never been here
    return hub.begin(user, course.id, options)


def _not_started(post: Post, meeting: Meeting, user: str, error: HubUnavailable) -> bool:
    session, course = meeting.session.id, meeting.course.id
    why = "" if error.passing else str(error)
    if error.status is not None and error.status != 429:
        why = _word(lambda: post.require_hub().failure(user, course)) or why
    if not why:
        _LOG.warning("The seat %s/%s is asked for again: %s", user, course, error)
        post.classes.failed("busy")
        seat_life.not_asked(post.desk, session, user)
        return False
    _LOG.warning("The seat %s/%s did not start: %s", user, course, why)
    post.classes.failed("start")
    seats.note(post.desk, session, user, problem=plain(why))
    return True


def _word(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except HubUnavailable:
        return ""


def plain(why: str) -> str:
    """Put a cause into one line that staff can read."""
    line = " ".join(why.split())
    return f"Its server did not start: {line[:300]}" if line else "Its server did not start."
