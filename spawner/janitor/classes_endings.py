"""How sessions end: told in time, documents saved, work collected, seats stopped, GPUs back in the pool."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

from ..operations import announcements, leases, seat_life
from ..operations.repairs import JANITOR
from ..operations.seat_life import Meeting
from ..policy.handouts import Kind
from ..policy.leases import LeaseState
from ..policy.model import AtEnd, Deny
from .class_work import Servers
from .classes_seats import STOP_PATIENCE
from .hub import HubUnavailable, Server, Start
from .post import Post
from .steps import Step

_LOG = logging.getLogger("berth.janitor")
EVERY = 3.0
WARNINGS = (10, 5, 1)
"""Minutes before the end at which seats are told."""
CANCELLED_NOTICE = timedelta(seconds=20)
"""From a session's being called off until its seats stop: their pages are told within ten seconds."""
COLLECTED_BEFORE = timedelta(minutes=2)
"""A collection that is not older than this at the end is the last one."""
COLLECTION_PATIENCE = timedelta(minutes=3)
GPU_PATIENCE = timedelta(seconds=20)
"""The same for seats with GPUs, which are to be others' within a minute; homes can be collected afterwards, too."""
RESTART_PATIENCE = timedelta(minutes=2)
"""For which a seat that goes on without GPUs is tried to be started so."""
_AT_ONCE = 24


def ending_steps(post: Post) -> list[Step]:
    """Tell seats that they end, and end them."""
    steps: list[Step] = []
    servers: Servers | None = None
    for meeting in seat_life.meetings(post.desk):
        steps += _warnings(post, meeting)
        if meeting.over and post.hub is not None:
            servers = post.classes.servers(post.hub) if servers is None else servers
            steps += _end(post, meeting, servers)
    return steps


# --- told in time -----------------------------------------------------------------------------------------------------


def _warnings(post: Post, meeting: Meeting) -> list[Step]:
    """Tell whose end comes; a lease with GPUs tells of its own at other times."""
    if meeting.session.cancelled_at is not None:
        return _called_off(post, meeting)
    minutes = [one for one in WARNINGS if not (meeting.course.gpus and one in post.settings.leases.warn_minutes)]
    ends = {meeting.session.ends_at: [""]}
    longer = [user for user in meeting.everybody if meeting.end(user) > meeting.session.ends_at]
    if longer:
        ends = {}
        for user in meeting.everybody:
            ends.setdefault(meeting.end(user), []).append(user)
    steps = []
    for end, users in ends.items():
        passed = [one for one in minutes if end - timedelta(minutes=one) <= meeting.now < end]
        if not passed:
            continue
        since = end - timedelta(minutes=min(passed))
        text = _ends_in(min(passed), _afterwards(meeting))
        told = _told(post, meeting, text, since)
        for user in users:
            if "" not in told and user not in told:
                whom = user or "all seats"
                steps.append(
                    Step(
                        f"tell {whom} of {meeting.course.id} that {min(passed)} minutes are left",
                        partial(_tell, post, meeting, text, user),
                    )
                )
    return steps


def _called_off(post: Post, meeting: Meeting) -> list[Step]:
    text = "The session was called off. Open documents are saved, and the servers stop."
    off = meeting.session.cancelled_at
    if off is None or _told(post, meeting, text, off):
        return []
    return [
        Step(f"tell all seats of {meeting.course.id} that it is called off", partial(_tell, post, meeting, text, ""))
    ]


def _ends_in(minutes: int, afterwards: str) -> str:
    return (
        f"The session ends in {minutes} minute{'' if minutes == 1 else 's'}. Open documents are saved then{afterwards}."
    )


def _afterwards(meeting: Meeting) -> str:
    if not _goes_on(meeting):
        return ", and the servers stop"
    return ", and the servers start again without GPUs" if meeting.course.gpus else ""


def _goes_on(meeting: Meeting) -> bool:
    """Tell whether its seats are their students' own after the end."""
    called_off = meeting.session.cancelled_at is not None
    return meeting.course.at_end is AtEnd.CPU and not meeting.session.exam and not called_off


def _told(post: Post, meeting: Meeting, text: str, since: datetime) -> set[str]:
    """Tell who was told a text since a time; an empty name stands for all."""
    sent = announcements.of_session(post.desk, meeting.session.id)
    return {one.user for one in sent if one.kind is Kind.NOTICE and one.text == text and one.sent_at >= since}


def _tell(post: Post, meeting: Meeting, text: str, user: str) -> bool:
    said = announcements.announce(post.desk, meeting.session.id, text, JANITOR, user, Kind.NOTICE)
    if isinstance(said, Deny):
        _LOG.warning("The seats of %s could not be told: %s", meeting.course.id, said.reason)
        return False
    return True


# --- ended ------------------------------------------------------------------------------------------------------------


def _end(post: Post, meeting: Meeting, servers: Servers) -> list[Step]:
    course, session, now = meeting.course.id, meeting.session, meeting.now
    # Where seats just go on, staff's own do too.
    staff = () if _goes_on(meeting) and not meeting.course.gpus else meeting.staff
    there = [user for user in (*staff, *meeting.everybody) if _is_seat(meeting, user, servers.get((user, course)))]
    open_ones = [user for user in dict.fromkeys(there) if meeting.seat(user).ended_at is None]
    due = [user for user in open_ones if meeting.end(user) <= now]
    if session.cancelled_at is not None and now < session.cancelled_at + CANCELLED_NOTICE:
        return []
    saved = [user for user in due if (session.id, user) in post.classes.saved]
    unsaved = [user for user in due if user not in saved]
    steps = []
    if unsaved:
        # One step each for all of them: servers that hang shall hold up no other.
        text = f"save the open documents of {course}: {', '.join(unsaved)}"
        steps.append(Step(text, partial(_save_all, post, meeting, unsaved), slow=True))
    if ready := [user for user in saved if not _awaits_collection(post, meeting, user)]:
        text = f"stop the seats of {course}: {', '.join(ready)}"
        steps.append(Step(text, partial(_all_of, post, meeting, ready, _stop), slow=True))
    gone = [
        seat.user
        for seat in meeting.seats.values()
        if seat.ended_at is None
        and _is_none(meeting, servers.get((seat.user, course)))
        and meeting.end(seat.user) <= now
    ]
    again = [user for user in gone if _is_to_go_on(meeting, user, servers.get((user, course)))]
    if again:
        text = f"start the seats of {course} again without GPUs: {', '.join(again)}"
        steps.append(Step(text, partial(_all_of, post, meeting, again, _leave), slow=True))
    for user in gone:
        if user not in again:
            text = f"note that the seat {user}/{course} has ended"
            steps.append(Step(text, partial(seat_life.ended, post.desk, session.id, user)))
    later = [seat for seat in meeting.seats.values() if seat.ended_at is None and meeting.end(seat.user) > now]
    # What has not told yet what it is may be a seat.
    unclear = [one for user in meeting.everybody if (one := servers.get((user, course))) and not one.told]
    if not steps and not (open_ones or later or unclear) and session.warmed_at is not None:
        text = f"note that nothing of the session {session.id} of {course} runs any more"
        steps.append(Step(text, partial(_cleared, post, meeting)))
    return steps


def _is_seat(meeting: Meeting, user: str, server: Server | None) -> bool:
    """Tell whether a server is a seat of this session, and neither of the next one nor somebody's own."""
    if server is None or server.course != meeting.course.id:
        return False
    return server.started is None or server.started <= meeting.end(user)


def _is_none(meeting: Meeting, server: Server | None) -> bool:
    """Tell whether somebody has no seat for sure: their server is their own, or there is none."""
    return server is None or (server.told and server.course != meeting.course.id)


def _is_to_go_on(meeting: Meeting, user: str, server: Server | None) -> bool:
    """Tell whether a seat was stopped at its end and not started again without GPUs: it ran until then."""
    seat = meeting.seat(user)
    ran = seat.ready_at is not None and not seat.problem
    wanted = server is None and bool(meeting.course.gpus) and _goes_on(meeting)
    return wanted and ran and meeting.now < meeting.end(user) + RESTART_PATIENCE


def _awaits_collection(post: Post, meeting: Meeting, user: str) -> bool:
    session = meeting.session
    wanted = session.exam or (meeting.course.collect and session.cancelled_at is None)
    if not wanted or user not in meeting.everybody:
        return False
    end = meeting.end(user)
    if meeting.now >= end + (GPU_PATIENCE if meeting.course.gpus else COLLECTION_PATIENCE):
        return False
    return user not in seat_life.collected(post.desk, session.id, end - COLLECTED_BEFORE)


def _save_all(post: Post, meeting: Meeting, users: list[str]) -> bool:
    hub = post.require_hub()

    def save(user: str) -> None:
        if not hub.save(user, meeting.course.id):
            _LOG.warning("The seat %s/%s could not be asked to save", user, meeting.course.id)
        post.classes.saved.add((meeting.session.id, user))

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="save") as threads:
        list(threads.map(save, users))
    return True


def _all_of(post: Post, meeting: Meeting, users: list[str], what: Callable[[Post, Meeting, str], bool]) -> bool:
    def one(user: str) -> bool:
        try:
            return what(post, meeting, user)
        except HubUnavailable as error:
            _LOG.warning("The seat %s/%s is ended later: %s", user, meeting.course.id, error)
            return False

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="end") as threads:
        done = list(threads.map(one, users))
    post.classes.forget()
    return any(done)


def _stop(post: Post, meeting: Meeting, user: str) -> bool:
    course, desk = meeting.course, post.desk
    if user not in meeting.everybody:  # staff's own: nobody's seat
        return _release_and_stop(post, course.id, user)
    if _goes_on(meeting) and not course.gpus:
        return seat_life.ended(desk, meeting.session.id, user)
    _release_and_stop(post, course.id, user)
    return _leave(post, meeting, user)


def _leave(post: Post, meeting: Meeting, user: str) -> bool:
    """Start a seat whose server has stopped again without GPUs, where it goes on, and note that it is over.

    In this order: a start that the hub cannot take now, or that its janitor does not live to ask for, is tried again.
    """
    course, patient = meeting.course, post.desk.clock() < meeting.end(user) + RESTART_PATIENCE
    if _goes_on(meeting):
        try:
            begun = post.require_hub().begin(user, course.id, {"profile": course.profile, "gpus": 0})
        except HubUnavailable as error:
            if error.passing and patient:
                raise
            _LOG.warning("The seat %s/%s does not go on without GPUs: %s", user, course.id, error)
        else:
            if begun is Start.BUSY and patient:
                return False
    return seat_life.ended(post.desk, meeting.session.id, user)


def _release_and_stop(post: Post, course: str, user: str) -> bool:
    lease = leases.of_server(post.desk, user, course)
    if lease is not None and lease.course == course and lease.state is LeaseState.ACTIVE:
        leases.release(post.desk, lease.id, "expired")
    return post.require_hub().stop(user, course, STOP_PATIENCE)


def _cleared(post: Post, meeting: Meeting) -> bool:
    session = meeting.session.id
    post.classes.saved -= {key for key in post.classes.saved if key[0] == session}
    return seat_life.cleared(post.desk, session)
