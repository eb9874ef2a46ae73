"""Janitors and hubs that die between any two requests of a class."""

import itertools
from typing import Any

import pytest

from spawner.janitor.hub import HubUnavailable
from spawner.operations import courses, seat_wishes, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Phase, Seat, SeatState, Session, Wish

from ..support.office import HOUR, MINUTE, Office
from .school import SECOND, School


@pytest.mark.parametrize("hub_too", [False, True], ids=["janitor", "hub"])
def test_a_death_at_any_request_changes_nothing_in_the_end(school: School, hub_too: bool) -> None:
    """The hub does what it is asked, and the janitor does not live to hear of it; another one goes on."""
    office, hub = school.office, school.hub
    school.checks = False
    courses.expel(office.desk, "ml", ["cyd", "dan"], "ines")
    deaths = 0
    for request in itertools.count(3, 2):  # every other one: the two ways of dying meet all of them
        hub.gone_at = len(hub.asked) + request + hub_too
        try:
            _a_lesson(school)
        except HubUnavailable:
            deaths += 1
        else:
            break
        hub.away, hub.gone_at = False, None
        if hub_too:
            hub.restart()
        school.born_again()
        office.wait(6 * SECOND)  # after which it is sure that nobody asks any more
        _a_lesson(school)
        assert set(school.states().values()) == {SeatState.ENDED}, request
        assert hub.servers == {}, request
        assert school.phase() is Phase.OVER, request
        school.session = _session_at(office, school.session.ends_at + HOUR)
    assert deaths > 15


def _session_at(office: Office, at: Any) -> Session:
    answer = sessions.book(office.desk, Plan("ml", [(at, at + HOUR)], 2), "ines")
    assert isinstance(answer, Planned), answer
    return answer.sessions[0]


def _a_lesson(school: School) -> None:
    """Let a session begin and end, from where it is."""
    office, end = school.office, school.session.ends_at
    if office.clock.now < school.session.starts_at:
        office.clock.now = max(office.clock.now, school.session.starts_at - 20 * SECOND)
        school.settle()
        office.clock.now = school.session.starts_at + MINUTE
        wish = seat_wishes.wish(office.desk, school.session.id, "bob", Wish.RESTART, "tom")
        assert isinstance(wish, Seat), wish
        school.settle()
        assert set(school.states().values()) == {SeatState.READY}
    office.clock.now = max(office.clock.now, end)
    school.settle()
