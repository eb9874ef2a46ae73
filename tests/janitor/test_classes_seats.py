"""Seats while their class runs."""

from dataclasses import replace
from datetime import timedelta

import pytest

from spawner.janitor.classes_seats import seat_steps
from spawner.janitor.classes_warmup import warmup_steps
from spawner.operations import announcements, class_lab, courses, seat_wishes, seats, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Late, Phase, Seat, SeatState, Wish
from spawner.policy.model import Deny

from ..support.office import HOUR, MINUTE
from .school import COURSE, STUDENTS, School


def test_what_the_hub_sees_of_a_seat(school: School) -> None:
    hub = school.hub
    school.at(-1)
    school.settle()
    school.at(1)
    for user in ("ann", "bob"):
        hub.servers[user, "ml"].active = school.office.clock.now
    announcements.visited(school.office.desk, school.session.id, "bob", "tom")
    del hub.servers["cyd", "ml"]
    school.settle(seat_steps)
    ann, bob, cyd = (school.seat(user) for user in ("ann", "bob", "cyd"))
    assert ann.entered_at == ann.active_at == school.office.clock.now
    assert (bob.entered_at, bob.active_at) == (None, school.office.clock.now)  # that was Tom
    assert cyd.problem == "Its server has stopped."
    assert school.states()["cyd"] is SeatState.STUCK
    assert school.post.classes.failures("gone") == 1
    assert school.hub.servers.keys() == {("ann", "ml"), ("bob", "ml"), ("dan", "ml")}  # nobody started it again


def test_a_servers_own_word_of_its_use_is_no_guess(school: School) -> None:
    school.at(-1)
    school.settle()
    school.at(1)
    # A tab was left open, which the hub takes for use.
    class_lab.seen(school.office.desk, "ann", "ml", present=False, active_at=None)
    school.hub.servers["ann", "ml"].active = school.office.clock.now
    school.settle(seat_steps)
    assert (school.seat("ann").entered_at, school.seat("ann").active_at) == (None, None)


def test_seats_that_students_start_themselves(school: School) -> None:
    school.hub.users |= set(STUDENTS)
    school.at(-14)
    school.hub.run("ann", "ml", ready=False)
    school.hub.run("ines", "ml")
    school.settle(seat_steps)
    assert school.states()["ann"] is SeatState.STARTING
    assert school.phase() is Phase.WARMING
    school.hub.servers["ann", "ml"] = replace(school.hub.servers["ann", "ml"], ready=True, pending=None)
    school.settle(seat_steps)
    assert school.states()["ann"] is SeatState.READY
    assert sessions.find(school.office.desk, school.session.id).warmed_at == school.office.clock.now


def test_wishes_are_done_once(school: School) -> None:
    desk, hub = school.office.desk, school.hub
    school.at(-1)
    school.settle()
    school.at(1)
    for user, wish in (("ann", Wish.STOP), ("bob", Wish.RESTART)):
        assert isinstance(seat_wishes.wish(desk, school.session.id, user, wish, "tom"), Seat)
    school.settle(warmup_steps, seat_steps)
    assert sorted(hub.saved) == [("ann", "ml"), ("bob", "ml")]
    assert ("ann", "ml") not in hub.servers
    assert hub.count("POST /hub/api/users/bob/servers/ml") == 2
    assert {school.seat(user).wish for user in STUDENTS} == {Wish.NONE}
    assert school.states()["ann"] is SeatState.NOT_STARTED
    done = [entry for entry in school.office.audit() if entry.action == "seat.wish_done"]
    assert {(entry.actor, entry.after["user"], entry.after["wish"], entry.why) for entry in done} == {
        ("janitor", "ann", "stop", "asked for by tom"),
        ("janitor", "bob", "start", "asked for by tom"),
    }
    assert isinstance(seat_wishes.wish(desk, school.session.id, "ann", Wish.START, "tom"), Seat)
    school.settle(warmup_steps, seat_steps)
    assert school.states()["ann"] is SeatState.READY


def test_a_guest_is_made_and_started(school: School) -> None:
    desk = school.office.desk
    longer = sessions.find(desk, school.session.id)
    with school.office.ledger.transaction() as books:
        books.sessions.update(replace(longer, seats=5))
    school.at(1)
    assert isinstance(seat_wishes.hand_over(desk, school.session.id, "gus", "ines"), Seat)
    school.settle()
    assert school.states()["gus"] is SeatState.READY
    # Whose home is in there was never asked.
    assert ("gus", "ml", "ines") not in school.hub.shares
    assert isinstance(seat_wishes.take_back(desk, school.session.id, "gus", "ines"), Seat)
    school.settle()
    assert ("gus", "ml") not in school.hub.servers
    assert ("gus", "ml", "ines") not in school.hub.shares


def test_a_guest_who_was_invited_before_is_started_with_the_others(school: School) -> None:
    desk = school.office.desk
    longer = sessions.find(desk, school.session.id)
    with school.office.ledger.transaction() as books:
        books.sessions.update(replace(longer, seats=6))
    for guest in ("gus", "hal"):
        assert isinstance(seat_wishes.hand_over(desk, school.session.id, guest, "ines"), Seat)
    assert isinstance(seat_wishes.take_back(desk, school.session.id, "hal", "ines"), Seat)
    school.at(-1)
    school.settle(warmup_steps)
    assert {user for user, _ in school.hub.servers} == {*STUDENTS, "gus"}
    assert school.states()["gus"] is SeatState.READY


def test_unused_seats_go_back(school: School) -> None:
    desk, hub = school.office.desk, school.hub
    school.at(-1)
    school.settle()
    school.at(5)
    hub.servers["ann", "ml"].active = school.office.clock.now
    school.settle()
    seats.raise_hand(desk, school.session.id, "bob")
    school.at(15)
    school.settle()
    assert set(hub.servers) == {("ann", "ml"), ("bob", "ml")}
    assert school.states()["cyd"] is SeatState.GIVEN_BACK
    # Who comes late after all keeps the seat.
    school.at(20)
    hub.run("cyd", "ml")
    school.settle()
    assert ("cyd", "ml") in hub.servers
    assert school.states()["cyd"] is SeatState.READY


@pytest.mark.parametrize("why", ["late", "full"])
def test_a_start_that_was_refused_is_not_noted(school: School, why: str) -> None:
    office, hub, late = school.office, school.hub, why == "late"
    with office.ledger.transaction() as books:
        known = sessions.find_session(books, school.session.id)
        books.sessions.update(replace(known, late=Late.REFUSE, seats=4 if late else 3))
    school.at(-1)
    school.settle()
    school.at(5)
    for user in ("ann", "bob", "cyd"):
        hub.servers[user, "ml"].active = office.clock.now
    school.at(15)
    school.settle()
    assert set(hub.servers) == {("ann", "ml"), ("bob", "ml"), ("cyd", "ml")}
    school.at(20)
    hub.run("dan", "ml", ready=False)
    school.turn(seat_steps)
    del hub.servers["dan", "ml"]
    school.settle()
    assert school.states()["dan"] is (SeatState.GIVEN_BACK if late else SeatState.NOT_STARTED)
    told = seats.placed(office.desk, "dan", "ml")
    assert isinstance(told, Deny)
    assert told.code == ("session_late" if late else "no_seat_left")
    if late:
        assert isinstance(seat_wishes.wish(office.desk, school.session.id, "dan", Wish.START, "tom"), Seat)
        school.settle()
        assert school.states()["dan"] is SeatState.READY


def test_what_no_seat_needs_goes_back(school: School) -> None:
    office = school.office
    school.on_gpus(6)
    school.at(14)
    for user in STUDENTS:
        school.sit(user)
    school.settle()
    school.at(15)
    assert "give back GPUs of gp that no seat needs" in school.turn(seat_steps)
    school.settle()
    with office.ledger.reading() as books:
        reservation = books.reservations.get(school.session.reservation)
        held = {slot for lease in books.leases.open() for slot in lease.slots}
    assert reservation is not None
    assert set(reservation.slots) == held


def test_more_time_makes_a_lease_longer(school: School) -> None:
    office = school.office
    school.on_gpus(1)
    school.at(1)
    until = school.session.ends_at + 20 * MINUTE
    assert isinstance(seat_wishes.give_time(office.desk, school.session.id, "ann", until, "ines"), Seat)
    lease = school.lease()
    assert office.lease(lease).ends_at == school.session.ends_at
    school.turn(seat_steps)
    assert office.lease(lease).ends_at == until


def test_more_time_gives_way_to_another_class(school: School) -> None:
    office = school.office
    school.on_gpus(1)
    school.at(1)
    lease = school.lease()
    end = school.session.ends_at
    assert isinstance(seat_wishes.give_time(office.desk, school.session.id, "ann", end + HOUR, "ines"), Seat)
    courses.create(office.desk, replace(COURSE, id="art", gpus=1), "eve")
    plan = Plan("art", [(end + 20 * MINUTE, end + HOUR)], 1, lead=timedelta(0))
    assert isinstance(sessions.book(office.desk, plan, "eve"), Planned)
    assert office.lease(lease).ends_at == end + 18 * MINUTE
    assert "note that the seat ann/gp lasts until 16:18:00 UTC, as its lease does" in school.turn(seat_steps)
    assert (office.lease(lease).ends_at, office.lease(lease).ending) == (end + 18 * MINUTE, "reserved")
    assert school.seat("ann").until == end + 18 * MINUTE
