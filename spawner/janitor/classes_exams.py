"""Exams: nobody sits in one at a server that was there before, with the own home and the network."""

import logging
from functools import partial

from ..engine import containers
from ..engine.client import engine_errors
from ..operations.seat_life import Meeting
from .class_work import Servers
from .post import Post
from .steps import Step

_LOG = logging.getLogger("berth.janitor")
_STOP_PATIENCE = 60.0


def strays(post: Post, meeting: Meeting, servers: Servers) -> frozenset[str]:
    """Find students whose server runs under the name of their seat in an exam, and is none.

    It has gone on since an earlier session of the course. Nobody's own server of that name is meant.

    Raises
    ------
    EngineUnavailable
        Then nobody knows.
    """
    if not meeting.session.exam or meeting.over:
        return frozenset()
    course = meeting.course.id
    found = {
        user
        for user in meeting.everybody
        if (one := servers.get((user, course))) is not None and one.ready and one.course == course
    }
    if not found - meeting.held:
        return frozenset()
    with engine_errors():
        seated = containers.in_exam(post.engine, post.hub_id, meeting.session.id)
    return frozenset(found - meeting.held - {user for user, server in seated if server == course})


def stray_step(post: Post, meeting: Meeting, user: str) -> Step:
    text = f"stop {user}/{meeting.course.id}, which runs outside of the exam that begins"
    return Step(text, partial(_stop, post, meeting, user), slow=True)


def _stop(post: Post, meeting: Meeting, user: str) -> bool:
    """Stop it; the warm-up then starts the seat."""
    hub, course = post.require_hub(), meeting.course.id
    _LOG.warning("The server %s/%s was there before the exam %s, and is stopped", user, course, meeting.session.id)
    hub.save(user, course)
    return hub.stop(user, course, _STOP_PATIENCE)
