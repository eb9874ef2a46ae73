"""Whom a course's staff may enter and collect from: those who have agreed, and whoever an admin has put in."""

from datetime import timedelta

import pytest

from spawner.errors import UnknownName
from spawner.operations import collections, course_rights, courses, links, seat_life, seat_wishes, seats, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, Seat, Session
from spawner.policy.joining import JoinLink
from spawner.policy.model import Deny

from ..support.office import HOUR, NOW, Office


@pytest.fixture
def session(office: Office) -> Session:
    """A session that runs, with a seat for each way into the course."""
    desk = office.desk
    courses.create(desk, Course("ml", "Machine learning", "cpu", "", NOW, collect="work"), "ines")
    courses.enrol(desk, "ml", ["ann"], Role.STUDENT, "ines")
    courses.enrol(desk, "ml", ["bob"], Role.STUDENT, "root", agreed=True)
    link = links.make(desk, "ml", Role.STUDENT, NOW + timedelta(days=1), "ines")
    assert isinstance(link, JoinLink)
    links.join(desk, link.token, "cyd")
    planned = sessions.book(desk, Plan("ml", [(NOW, NOW + HOUR)], 3), "ines")
    assert isinstance(planned, Planned)
    made = planned.sessions[0]
    for user in ("ann", "bob", "cyd"):
        seat_life.asked(desk, made.id, user)
        seats.note(desk, made.id, user, ready_at=office.clock.now)
    return made


def enterable(office: Office, *, ask: bool = True) -> frozenset[str]:
    [rights] = course_rights.all_rights(office.desk, ask=ask)
    return rights.agreed


def test_who_was_only_written_down_is_asked(office: Office, session: Session) -> None:
    assert enterable(office) == {"bob", "cyd"}
    assert enterable(office, ask=False) == {"ann", "bob", "cyd"}
    denied = seat_wishes.visit(office.desk, session.id, "ann", "ines")
    assert isinstance(denied, Deny)
    assert denied.code == "not_agreed"
    assert isinstance(seat_wishes.visit(office.desk, session.id, "ann", "ines", ask=False), Seat)
    assert isinstance(seat_wishes.visit(office.desk, session.id, "cyd", "ines"), Seat)
    office.clock.now = session.ends_at
    assert {one.user: one.agreed for one in collections.due(office.desk)} == {"ann": False, "bob": True, "cyd": True}
    assert all(one.agreed for one in collections.due(office.desk, ask=False))


def test_a_yes_holds(office: Office, session: Session) -> None:
    said = courses.agree(office.desk, "ml", "ann")
    assert said.agreed_at == office.clock.now
    entry = office.audit()[-1]
    assert (entry.actor, entry.action, entry.after) == ("ann", "course.agree", {"users": ["ann"]})
    office.wait(HOUR)
    assert courses.agree(office.desk, "ml", "ann") == said
    assert len([one for one in office.audit() if one.action == "course.agree"]) == 1
    courses.enrol(office.desk, "ml", ["ann"], Role.ASSISTANT, "ines")
    courses.enrol(office.desk, "ml", ["ann"], Role.STUDENT, "ines")
    assert "ann" in enterable(office)
    # Whoever is taken off the roster and written down again is asked again.
    courses.expel(office.desk, "ml", ["ann"], "ines")
    courses.enrol(office.desk, "ml", ["ann"], Role.STUDENT, "ines")
    assert "ann" not in enterable(office)
    with pytest.raises(UnknownName):
        courses.agree(office.desk, "ml", "eve")


def test_nobody_enters_the_seat_of_a_guest(office: Office, session: Session) -> None:
    with office.ledger.transaction() as books:
        books.sessions.put_seats([Seat(session.id, "gast", guest=True, ready_at=NOW)])
    assert "gast" not in enterable(office)
    for ask in (True, False):
        denied = seat_wishes.visit(office.desk, session.id, "gast", "ines", ask=ask)
        assert denied == Deny("not_a_student", "gast is a guest: nobody opens a guest's server.")


def test_staff_enter_their_own_seats_and_not_each_others(office: Office, session: Session) -> None:
    courses.enrol(office.desk, "ml", ["tom"], Role.ASSISTANT, "ines")
    for user in ("ines", "tom"):
        seat_life.asked(office.desk, session.id, user)
        seats.note(office.desk, session.id, user, ready_at=office.clock.now)
    before = office.audit()
    assert isinstance(seat_wishes.visit(office.desk, session.id, "ines", "ines"), Seat)
    assert office.audit() == before
    for ask in (True, False):
        assert enterable(office, ask=ask).isdisjoint({"ines", "tom"})
        denied = seat_wishes.visit(office.desk, session.id, "tom", "ines", ask=ask)
        assert denied == Deny("not_a_student", "tom is of the course's staff: nobody else opens their server.")


def test_nobody_enters_the_seat_of_who_has_left_the_course(office: Office, session: Session) -> None:
    courses.expel(office.desk, "ml", ["bob"], "ines")
    for ask in (True, False):
        assert "bob" not in enterable(office, ask=ask)
        denied = seat_wishes.visit(office.desk, session.id, "bob", "ines", ask=ask)
        assert denied == Deny("not_a_student", "bob is not in the course any more: nobody else opens their server.")


def test_in_an_exam_is_nothing_but_what_is_handed_in(office: Office, session: Session) -> None:
    office.clock.now = session.ends_at
    planned = sessions.book(office.desk, Plan("ml", [(session.ends_at, session.ends_at + HOUR)], 3, exam=True), "ines")
    assert isinstance(planned, Planned)
    exam = planned.sessions[0]
    seat_life.asked(office.desk, exam.id, "ann")
    office.clock.now = exam.ends_at
    assert {one.user: one.agreed for one in collections.due(office.desk) if one.session.id == exam.id}["ann"]
