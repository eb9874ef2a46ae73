"""Seats while their session runs: seen at the hub, wishes of their staff done, unused ones given back."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from ..engine.client import engine_errors
from ..engine.memory import set_memory
from ..errors import LimitRefused
from ..operations import seat_life, seats
from ..operations.seat_life import Meeting
from ..operations.seats import Placed
from ..policy.admission import format_bytes
from ..policy.classes import TRIES, Seat, Wish
from ..policy.leases import Lease
from ..policy.names import container_name
from .class_work import Servers
from .classes_exams import stray_step, strays
from .classes_warmup import plain, start_seat
from .hub import HubUnavailable, Server
from .post import Post
from .steps import Step

_LOG = logging.getLogger("berth.janitor")
EVERY = 5.0
STOP_PATIENCE = 60.0
_LOST = timedelta(seconds=5)  # a seat that was asked for longer ago, and that the hub knows nothing of
_SETTLING = timedelta(seconds=20)  # after a start, in which its own noise looks like use
_FINE = timedelta(seconds=60)
_GONE = "Its server has stopped."


def seat_steps(post: Post) -> list[Step]:
    """Note what the hub says of seats, and do what their staff want."""
    found = [one for one in seat_life.meetings(post.desk) if not one.waits and (not one.over or _wishes(one))]
    if not found or post.hub is None:
        return []
    servers = post.classes.servers(post.hub)
    steps = [
        Step(_evened(meeting, lease, end), partial(seat_life.even_out, post.desk, meeting.session.id, lease.user))
        for meeting, lease, end in seat_life.short_leases(post.desk)
    ]
    for meeting in found:
        outside = strays(post, meeting, servers)
        steps += [stray_step(post, meeting, user) for user in sorted(outside)]
        for user in meeting.everybody:
            if user in outside:
                continue
            steps += _seat_steps(post, meeting, user, servers.get((user, meeting.course.id)))
        steps += _session_steps(post, meeting, servers)
    return steps


def _evened(meeting: Meeting, lease: Lease, end: datetime) -> str:
    whose = f"{lease.user}/{meeting.course.id}"
    if end > lease.ends_at:
        return f"let the lease {lease.id} of {whose} last until {end:%H:%M:%S} UTC"
    return f"note that the seat {whose} lasts until {end:%H:%M:%S} UTC, as its lease does"


def _wishes(meeting: Meeting) -> bool:
    return any(seat.wish for seat in meeting.seats.values())


def _session_steps(post: Post, meeting: Meeting, servers: Servers) -> list[Step]:
    session, name, steps = meeting.session, meeting.course.id, []
    everybody = (*meeting.staff, *meeting.everybody)
    present = [user for user in everybody if (one := servers.get((user, name))) and one.course == name]
    if present and session.warmed_at is None and not meeting.over:
        text = f"note that the session {session.id} of {name} has begun: {present[0]} sits there"
        steps.append(Step(text, partial(seat_life.begun, post.desk, session.id)))
    if (back := seats.goes_back(post.desk, session.id)) is not None:
        names = ", ".join(seat.user for seat in back.seats)
        what = f"the seats of {name} to which nobody came: {names}" if names else f"GPUs of {name} that no seat needs"
        steps.append(Step(f"give back {what}", partial(_give_back, post, session.id)))
    return steps


def _give_back(post: Post, session: str) -> bool:
    if seats.goes_back(post.desk, session) is None:
        return False
    seats.give_back(post.desk, session)
    return True


def _seat_steps(post: Post, meeting: Meeting, user: str, server: Server | None) -> list[Step]:
    seat, whose = meeting.seat(user), f"{user}/{meeting.course.id}"
    if (meeting.session.id, user) in post.classes.asking or user in meeting.held:
        return []
    if server is not None and not _is_seat(meeting, user, server):
        return _of_another(post, meeting, seat, server, whose)
    if seat.wish is not Wish.NONE:
        text = f"{seat.wish} the seat {whose}, as {seat.wished_by or 'its staff'} wants"
        return [Step(text, partial(_grant, post, meeting, user, seat.wish), slow=True)]
    if meeting.over or seat.ended_at is not None:
        return []
    if server is None:
        return _of_none(post, meeting, seat, whose)
    if _left_over(seat):
        return [Step(f"stop the seat {whose}, which was given back", partial(_stop, post, meeting, user), slow=True)]
    steps = []
    if server.pending == "spawn" and not seat_life.starting(seat) and _is_new(seat, server):
        asked = partial(_asked, post, meeting, user, server)
        steps.append(Step(f"note that the seat {whose} is being started by itself", asked))
    elif server.ready and (seat.ready_at is None or seat.problem):
        steps.append(Step(f"note that the seat {whose} is ready", partial(_ready, post, meeting, user)))
    elif server.ready:
        steps += _use(post, meeting, seat, server, whose)
    if seat.memory and server.ready:
        steps += _memory(post, meeting, seat, whose)
    return steps


def _is_new(seat: Seat, server: Server) -> bool:
    """Tell whether a start is not the one that is known: what the hub said may be older than what is known by now."""
    since = seat.ready_at or seat.asked_at
    return since is None or (server.started is not None and server.started > since)


def _is_seat(meeting: Meeting, user: str, server: Server) -> bool:
    """Tell whether a server that is called like the course is a seat; who was of its staff has one that is to go."""
    return server.course == meeting.course.id and (not server.staff or user in meeting.staff)


# --- what is seen -----------------------------------------------------------------------------------------------------


def _of_another(post: Post, meeting: Meeting, seat: Seat, server: Server, whose: str) -> list[Step]:
    """Leave alone what is in the place of a seat, and let staff know whose own server it is."""
    desk, session, problem = post.desk, meeting.session.id, _in_the_way(meeting, seat)
    if not server.told or server.course == meeting.course.id:
        return []
    if seat.wish is not Wish.NONE:
        text = f"tell that the seat {whose} cannot be had, as a server of {seat.user}'s own is called so"
        return [Step(text, partial(seat_life.wish_done, desk, session, seat.user, seat.wish, problem))]
    known = seat.problem == problem and seat.attempts >= TRIES
    if known or meeting.over or seat.ended_at is not None or seat.given_back_at is not None:
        return []

    def stuck(found: Seat) -> Seat:
        return replace(found, problem=problem, ready_at=None, attempts=max(found.attempts, TRIES))

    text = f"note that a server of {seat.user}'s own is called like the seat {whose}"
    return [Step(text, partial(seat_life.change, desk, session, seat.user, stuck))]


def _in_the_way(meeting: Meeting, seat: Seat) -> str:
    name = meeting.course.id
    return f"{seat.user}'s own server {name} has this seat's name, and is left alone: {seat.user} has to stop it first."


def _of_none(post: Post, meeting: Meeting, seat: Seat, whose: str) -> list[Step]:
    """Tell what became of a seat of which the hub has no server."""
    if seat.problem and seat.problem == _in_the_way(meeting, seat):
        text = f"let the seat {whose} start, now that {seat.user}'s own server has stopped"
        return [Step(text, partial(seat_life.change, post.desk, meeting.session.id, seat.user, _anew))]
    if seat_life.starting(seat) and seat.asked_at is not None and meeting.now - seat.asked_at > _LOST:
        return [Step(f"find out what became of the seat {whose}", partial(_look_for, post, meeting, seat), slow=True)]
    if seat.ready_at is not None and not seat.problem:
        return [Step(f"note that the seat {whose} has stopped", partial(_gone, post, meeting, seat), slow=True)]
    return []


def _anew(seat: Seat) -> Seat:
    return replace(seat, problem="", asked_at=None, attempts=0)


def _look_for(post: Post, meeting: Meeting, seat: Seat) -> bool:
    hub, session, course = post.require_hub(), meeting.session.id, meeting.course.id
    if hub.runs(seat.user, course):
        return False
    why = hub.failure(seat.user, course)
    if not why:  # the hub did not live to start it
        return seat_life.not_asked(post.desk, session, seat.user)

    def failed(found: Seat) -> bool:
        return seat_life.starting(found) and found.asked_at == seat.asked_at

    return _fail(post, session, seat.user, plain(why), "start", failed)


def _gone(post: Post, meeting: Meeting, seat: Seat) -> bool:
    if post.require_hub().runs(seat.user, meeting.course.id):
        return False

    def still(found: Seat) -> bool:
        return (found.ready_at, found.ended_at, found.wish) == (seat.ready_at, None, Wish.NONE)

    return _fail(post, meeting.session.id, seat.user, _GONE, "gone", still)


def _fail(post: Post, session: str, user: str, problem: str, why: str, still: "seat_life.Test") -> bool:
    if not seat_life.failed(post.desk, session, user, problem, still):
        return False
    _LOG.warning("The seat of %s in session %s: %s", user, session, problem)
    post.classes.failed(why)
    return True


def _asked(post: Post, meeting: Meeting, user: str, server: Server) -> bool:
    # One that the hub refuses is seen for a moment, too, and shall not count as a start that was allowed.
    if not isinstance(seats.placed(post.desk, user, meeting.course.id), Placed):
        return False
    seat_life.asked(post.desk, meeting.session.id, user, server.started)
    return True


def _ready(post: Post, meeting: Meeting, user: str) -> bool:
    took = seat_life.ready(post.desk, meeting.session.id, user)
    if took is None:
        return False
    seat_life.begun(post.desk, meeting.session.id)
    if took:
        post.classes.started(took.total_seconds())
    return True


def _use(post: Post, meeting: Meeting, seat: Seat, server: Server, whose: str) -> list[Step]:
    """Note what the hub saw of a seat's use, unless its server tells: to the hub a tab left open is use."""
    active, session = server.active, meeting.session.id
    if seat.heard_at is not None or active is None or seat.ready_at is None or active < seat.ready_at + _SETTLING:
        return []
    steps = []
    if seat.active_at is None or active - seat.active_at >= _FINE:
        noted = partial(seat_life.active, post.desk, session, seat.user, active)
        steps.append(Step(f"note that the seat {whose} was used at {active:%H:%M:%S} UTC", noted))
    if seat.entered_at is None and not seat_life.was_visited(post.desk, session, seat.user):
        entered = partial(seat_life.entered, post.desk, session, seat.user, active)
        steps.append(Step(f"note that somebody sits at the seat {whose}", entered))
    return steps


def _memory(post: Post, meeting: Meeting, seat: Seat, whose: str) -> list[Step]:
    container = container_name(post.hub_id, seat.user, meeting.course.id)
    if post.classes.memory.get(container) == (seat.memory, seat.ready_at):
        return []

    def give() -> bool:
        try:
            with engine_errors():
                given = set_memory(post.engine, container, seat.memory)
        except LimitRefused as error:
            _LOG.warning("The seat %s: %s", whose, error)
            given = False
        post.classes.memory[container] = (seat.memory, seat.ready_at)
        return given

    return [Step(f"let the seat {whose} have {format_bytes(seat.memory)} of memory", give)]


# --- what is done -----------------------------------------------------------------------------------------------------


def _left_over(seat: Seat) -> bool:
    """Tell whether a seat was given back with its server; whoever came later has started it anew."""
    since = seat.ready_at or seat.asked_at
    back = seat.given_back_at
    return back is not None and since is not None and since <= back and seat.entered_at is None


def _stop(post: Post, meeting: Meeting, user: str) -> bool:
    post.require_hub().stop(user, meeting.course.id, STOP_PATIENCE)
    return seat_life.stopped(post.desk, meeting.session.id, user)


def _grant(post: Post, meeting: Meeting, user: str, wish: Wish) -> bool:
    """Do what staff want with a seat; each part leaves in the ledger what is left to be done."""
    hub, desk, session, course = post.require_hub(), post.desk, meeting.session.id, meeting.course.id
    try:
        if wish in {Wish.RESTART, Wish.STOP}:
            hub.save(user, course)
            hub.stop(user, course, STOP_PATIENCE)
            if wish is Wish.STOP:
                return seat_life.wish_done(desk, session, user, wish)
            if not seat_life.half_done(desk, session, user):
                return False
        if meeting.over:
            return seat_life.wish_done(desk, session, user, Wish.START, "Its session is over.")
        hub.make_user(user)  # a guest may never have been here
    except HubUnavailable as error:
        if error.passing:
            raise
        return seat_life.wish_done(desk, session, user, wish, plain(str(error)))
    seat_life.asked(desk, session, user)
    return start_seat(post, meeting, user) and seat_life.wish_done(desk, session, user, Wish.START)
