"""How classes end."""

from dataclasses import replace

import pytest

from spawner.janitor.classes_endings import ending_steps
from spawner.janitor.classes_seats import seat_steps
from spawner.janitor.tasks import expiry_steps
from spawner.operations import courses, seat_life, seat_wishes, seats, sessions
from spawner.policy.classes import Phase, Seat, SeatState
from spawner.policy.handouts import Collected
from spawner.policy.leases import LeaseState
from spawner.policy.model import AtEnd

from ..support.office import MINUTE
from .school import COURSE, SECOND, STUDENTS, School, book


def test_seats_are_told_and_stopped(school: School) -> None:
    hub = school.hub
    school.come()
    hub.run("tom", "ml")
    hub.run("ann", "")
    for minutes in (109.9, 110.1, 111, 115, 119.5):
        school.at(minutes)
        school.turn(ending_steps)
    assert school.told() == [
        f"The session ends in {length}. Open documents are saved then, and the servers stop."
        for length in ("10 minutes", "5 minutes", "1 minute")
    ]
    assert hub.saved == []
    school.at(120)
    assert school.phase() is Phase.ENDING
    assert school.turn(ending_steps) == ["save the open documents of ml: tom, ann, bob, cyd, dan"]
    assert school.turn(ending_steps) == ["stop the seats of ml: tom, ann, bob, cyd, dan"]
    assert set(hub.servers) == {("ann", "")}
    school.settle()
    assert school.phase() is Phase.OVER
    assert set(school.states().values()) == {SeatState.ENDED}


def test_who_has_more_time_is_told_then_and_goes_on(school: School) -> None:
    school.come()
    school.at(100)
    until = school.session.ends_at + 30 * MINUTE
    assert isinstance(seat_wishes.give_time(school.office.desk, school.session.id, "ann", until, "ines"), Seat)
    school.at(119.5)
    school.settle()
    assert [len(school.told(user)) for user in STUDENTS] == [0, 1, 1, 1]
    school.at(120)
    school.settle()
    assert set(school.hub.servers) == {("ann", "ml")}
    assert school.phase() is Phase.ENDING
    school.at(149.5)
    school.settle()
    assert [len(school.told(user)) for user in STUDENTS] == [1, 1, 1, 1]
    school.at(150)
    school.settle()
    assert school.hub.servers == {}
    assert school.phase() is Phase.OVER


def test_work_is_collected_before_seats_stop(school: School) -> None:
    office = school.office
    courses.change(office.desk, "ml", "ines", collect="homework")
    school.come()
    school.at(120)
    school.settle(ending_steps)
    assert len(school.hub.servers) == 4
    taken = Collected("c1", school.session.id, "ann", "homework", office.clock.now, "x.tar.gz", 1, 10, "0" * 64)
    with office.ledger.transaction() as books:
        books.handouts.collect(taken)
    school.settle(ending_steps)
    assert set(school.hub.servers) == {(user, "ml") for user in ("bob", "cyd", "dan")}
    school.at(123)
    school.settle(ending_steps)
    assert school.hub.servers == {}


def test_an_exam_is_collected_before_its_seats_stop(school: School) -> None:
    """All of their homes is, where the course names no folder."""
    school.session = book(school.office, replace(COURSE, id="ex"), exam=True)
    school.at(1)
    school.hub.users |= {"ann"}
    school.hub.run("ann", "ex")
    seat_life.asked(school.office.desk, school.session.id, "ann")
    seats.note(school.office.desk, school.session.id, "ann", ready_at=school.office.clock.now)
    school.at(120)
    school.settle(ending_steps)
    assert ("ann", "ex") in school.hub.servers
    school.at(123)
    school.settle(ending_steps)
    assert ("ann", "ex") not in school.hub.servers


def test_an_exam_that_is_called_off_is_collected_before_its_seats_stop(school: School) -> None:
    office = school.office
    school.session = book(office, replace(COURSE, id="ex"), exam=True)
    school.at(1)
    school.hub.users |= {"ann"}
    school.hub.run("ann", "ex")
    seat_life.asked(office.desk, school.session.id, "ann")
    seats.note(office.desk, school.session.id, "ann", ready_at=office.clock.now)
    school.at(60)
    sessions.cancel(office.desk, school.session.id, "ines", "a fire")
    school.at(61)
    school.settle(ending_steps)
    assert ("ann", "ex") in school.hub.servers
    taken = Collected("c1", school.session.id, "ann", "", office.clock.now, "x.tar.gz", 1, 10, "0" * 64)
    with office.ledger.transaction() as books:
        books.handouts.collect(taken)
    school.settle(ending_steps)
    assert ("ann", "ex") not in school.hub.servers


def test_gpus_are_back_within_a_minute(school: School) -> None:
    office = school.office
    school.on_gpus(1, collect="homework")
    office.clock.now = school.session.starts_at
    lease = school.sit()
    school.settle(seat_steps)
    # A lease warns of its own end, at some of the minutes.
    school.at(110)
    assert [text for text in school.turn(ending_steps) if " gp " in text] == []
    school.at(115)
    assert [text for text in school.turn(ending_steps) if " gp " in text] == [
        "tell all seats of gp that 5 minutes are left"
    ]
    office.clock.now = school.session.ends_at
    # The class's loop ends it, and no other, as long as it can be.
    assert school.turn(expiry_steps) == []
    school.settle(ending_steps)
    assert office.lease(lease).state is LeaseState.ACTIVE  # what is not collected yet
    office.wait(20 * SECOND)
    school.settle(ending_steps, expiry_steps)
    assert (office.lease(lease).state, office.lease(lease).ending) == (LeaseState.RELEASING, "expired")
    assert ("ann", "gp") not in school.hub.servers


def test_where_the_classs_loop_does_not_end_a_lease_another_does(school: School) -> None:
    office = school.office
    school.on_gpus(1)
    office.clock.now = school.session.starts_at
    lease = school.sit()
    office.clock.now = school.session.ends_at + 60 * SECOND
    school.turn(expiry_steps)
    assert office.lease(lease).state is LeaseState.RELEASING
    assert ("ann", "gp") not in school.hub.servers


def test_a_class_that_goes_on_without_gpus(school: School) -> None:
    courses.change(school.office.desk, "ml", "ines", at_end=AtEnd.CPU)
    school.come()
    school.at(119.5)
    school.settle()
    assert school.told() == ["The session ends in 1 minute. Open documents are saved then."]
    school.at(120)
    school.settle()
    assert len(school.hub.servers) == 4
    assert school.phase() is Phase.OVER


@pytest.mark.parametrize("how", ["429", "500", "killed"])
def test_a_seat_goes_on_without_gpus_whatever_happens_once(school: School, how: str) -> None:
    office, hub = school.office, school.hub
    school.on_gpus(1, at_end=AtEnd.CPU)
    office.clock.now = school.session.starts_at
    school.sit()
    school.settle(seat_steps)
    office.clock.now = school.session.ends_at
    school.turn(ending_steps)
    if how == "killed":
        hub.gone_at = len(hub.asked) + 2  # it answers who is there, and stops the server
        school.turn(ending_steps)
        hub.away, hub.gone_at = False, None
        school.born_again()
    else:
        hub.starts = {"ann": [how]}
        school.turn(ending_steps)
    assert ("ann", "gp") not in hub.servers
    assert school.turn(ending_steps) == ["start the seats of gp again without GPUs: ann"]
    assert hub.options["ann", "gp"] == {"profile": "gpu", "gpus": 0}
    assert ("ann", "gp") in hub.servers
    assert school.states()["ann"] is SeatState.ENDED
    school.settle()
    assert ("ann", "gp") in hub.servers
    assert school.phase() is Phase.OVER


def test_a_seat_that_cannot_go_on_is_over_in_the_end(school: School) -> None:
    office, hub = school.office, school.hub
    school.on_gpus(1, at_end=AtEnd.CPU)
    office.clock.now = school.session.starts_at
    school.sit()
    school.settle(seat_steps)
    office.clock.now = school.session.ends_at
    hub.starts = {"ann": ["500"] * 9}
    for _ in range(4):
        school.turn(ending_steps)
    assert school.states()["ann"] is not SeatState.ENDED
    office.wait(2 * MINUTE)
    school.settle(ending_steps)
    assert school.phase() is Phase.OVER
    assert ("ann", "gp") not in hub.servers


def test_a_session_that_is_called_off(school: School) -> None:
    school.at(-1)
    school.settle()
    assert isinstance(sessions.cancel(school.office.desk, school.session.id, "ines", "ill"), tuple)
    school.turn()
    assert school.told() == ["The session was called off. Open documents are saved, and the servers stop."]
    school.settle()
    assert len(school.hub.servers) == 4
    school.office.wait(20 * SECOND)
    school.settle()
    assert school.hub.servers == {}
    assert sessions.find(school.office.desk, school.session.id).cleared_at == school.office.clock.now
