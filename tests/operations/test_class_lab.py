"""A seat's own server: what it is told, and what is made of its words."""

from dataclasses import replace
from datetime import timedelta

import pytest

from spawner.operations import announcements, class_lab, courses, seat_life, seats, sessions
from spawner.operations.class_lab import Lesson
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, Seat, SeatState, Session, seat_state
from spawner.policy.handouts import Delivery, Kind, Outcome, Push
from spawner.policy.model import Deny

from ..support.office import HOUR, MINUTE, NOW, Office

COURSE = Course("ml", "Machine learning", "cpu", "", NOW)
SECOND = timedelta(seconds=1)


@pytest.fixture
def session(office: Office) -> Session:
    """Ines teaches ann and bob from one to three, without GPUs; it is one o'clock."""
    courses.create(office.desk, COURSE, "ines")
    courses.enrol(office.desk, "ml", ["ann", "bob"], Role.STUDENT, "ines", agreed=True)
    answer = sessions.book(office.desk, Plan("ml", [(NOW + HOUR, NOW + 3 * HOUR)], 2, "Week 1"), "ines")
    assert isinstance(answer, Planned)
    office.clock.now = answer.sessions[0].starts_at
    return answer.sessions[0]


def told(office: Office, user: str, server: str = "ml") -> Lesson:
    found = class_lab.lesson(office.desk, user, server)
    assert found is not None
    return found


def seat(office: Office, session: Session, user: str) -> Seat:
    return next(one for one in seats.board(office.desk, session.id)[1] if one.user == user)


def push(office: Office, path: str, course: str = "ml") -> Push:
    made = Push(f"push-{path}", course, "s", path, "0" * 64, 4, "ines", office.clock.now)
    with office.ledger.transaction() as books:
        books.handouts.push(made)
    return made


def test_a_seat_is_told_of_its_class_and_no_other_server_is(office: Office, session: Session) -> None:
    found = told(office, "ann")
    assert (found.course.id, found.session, found.role, found.staff) == ("ml", session, Role.STUDENT, False)
    assert (found.ends_at, found.hand_at, found.place, found.messages) == (session.ends_at, None, 0, ())
    assert told(office, "ines").staff
    for user, server in (("ann", ""), ("ann", "lab"), ("eve", "ml")):
        assert class_lab.lesson(office.desk, user, server) is None


def test_a_class_is_told_while_it_lasts(office: Office, session: Session) -> None:
    office.clock.now = session.starts_at - session.lead - MINUTE
    assert class_lab.lesson(office.desk, "ann", "ml") is None
    office.clock.now = session.starts_at - MINUTE
    assert told(office, "ann").session == session
    office.clock.now = session.ends_at
    assert class_lab.lesson(office.desk, "ann", "ml") is None
    # Bob's seat has run and still stops; ann's has been given more time.
    office.clock.now = session.starts_at
    for name in ("ann", "bob"):
        seat_life.asked(office.desk, session.id, name)
    seats.note(office.desk, session.id, "ann", until=session.ends_at + HOUR)
    office.clock.now = session.ends_at
    assert told(office, "bob").ends_at == session.ends_at
    seats.note(office.desk, session.id, "bob", ended_at=office.clock.now)
    assert class_lab.lesson(office.desk, "bob", "ml") is None
    office.wait(30 * MINUTE)
    assert told(office, "ann").ends_at == session.ends_at + HOUR
    # The next session goes before, when it has begun.
    answer = sessions.book(
        office.desk, Plan("ml", [(office.clock.now + 5 * MINUTE, office.clock.now + HOUR)], 2), "ines"
    )
    assert isinstance(answer, Planned)
    assert told(office, "ann").session.id == session.id
    assert told(office, "bob").session == answer.sessions[0]
    office.wait(5 * MINUTE)
    assert told(office, "ann").session == answer.sessions[0]
    sessions.cancel(office.desk, answer.sessions[0].id, "ines", "ill")
    assert told(office, "ann").session.id == session.id


def test_a_guest_has_a_seat(office: Office, session: Session) -> None:
    seats.note(office.desk, session.id, "gus", guest=True)
    assert told(office, "gus").role is Role.STUDENT
    seats.note(office.desk, session.id, "eve")  # not a guest: what is left of somebody who was in the course
    assert class_lab.lesson(office.desk, "eve", "ml") is None


def test_messages_are_kept_for_latecomers(office: Office, session: Session) -> None:
    announcements.announce(office.desk, session.id, "Open week 1.", "ines")
    announcements.announce(office.desk, session.id, "Well done.", "ines", "bob")
    office.wait(HOUR)
    assert [one.text for one in told(office, "ann").messages] == ["Open week 1."]
    assert [one.text for one in told(office, "bob").messages] == ["Open week 1.", "Well done."]


def test_hands_have_a_place(office: Office, session: Session) -> None:
    assert isinstance(class_lab.set_hand(office.desk, "bob", "ml", True), Seat)
    office.wait(MINUTE)
    class_lab.set_hand(office.desk, "ann", "ml", True)
    assert (told(office, "bob").place, told(office, "ann").place) == (1, 2)
    class_lab.set_hand(office.desk, "bob", "ml", False)
    assert (told(office, "bob").place, told(office, "ann").place) == (0, 1)
    for user, server, code in (("ines", "ml", "staff_seat"), ("ann", "", "no_session"), ("eve", "ml", "no_session")):
        answer = class_lab.set_hand(office.desk, user, server, True)
        assert isinstance(answer, Deny)
        assert answer.code == code
    assert [one.user for one in seats.board(office.desk, session.id)[1] if one.hand_at] == ["ann"]


def test_staff_lower_hands_in_their_own_name(office: Office, session: Session) -> None:
    courses.enrol(office.desk, "ml", ["tom"], Role.ASSISTANT, "ines")
    class_lab.set_hand(office.desk, "ann", "ml", True, "ann")
    for raised, by in ((True, "tom"), (False, "bob"), (False, "eve")):
        answer = class_lab.set_hand(office.desk, "ann", "ml", raised, by)
        assert isinstance(answer, Deny)
        assert answer.code == "not_your_hand"
    assert seat(office, session, "ann").hand_at is not None
    assert isinstance(class_lab.set_hand(office.desk, "ann", "ml", False, "tom"), Seat)
    class_lab.set_hand(office.desk, "ann", "ml", True)
    class_lab.set_hand(office.desk, "ann", "ml", False, "ann")
    assert seat(office, session, "ann").hand_at is None
    lowered = [entry for entry in office.audit() if entry.action == "seat.hand"]
    assert [(entry.actor, entry.why) for entry in lowered] == [("tom", "as the seat's server says"), ("ann", "")]


def test_presence_makes_the_seat_one_at_work(office: Office, session: Session) -> None:
    desk = office.desk
    seat_life.asked(desk, session.id, "ann")
    seats.note(desk, session.id, "ann", ready_at=office.clock.now)
    class_lab.seen(desk, "ann", "ml", present=False, active_at=None)
    assert seat(office, session, "ann").heard_at == office.clock.now
    assert seat_state(seat(office, session, "ann"), office.clock.now) is SeatState.READY
    office.wait(MINUTE)
    came = office.clock.now
    class_lab.seen(desk, "ann", "ml", present=True, active_at=came)
    found = seat(office, session, "ann")
    assert (found.entered_at, found.active_at, found.attempts) == (came, came, 1)
    assert seat_state(found, office.clock.now) is SeatState.WORKING
    # A word every few seconds is no write each, and nobody is active in times to come.
    class_lab.seen(desk, "ann", "ml", present=True, active_at=came + 59 * SECOND)
    assert seat(office, session, "ann") == found
    office.wait(5 * MINUTE)
    class_lab.seen(desk, "ann", "ml", present=True, active_at=came + HOUR)
    assert seat(office, session, "ann").active_at == office.clock.now
    class_lab.seen(desk, "ann", "ml", present=True, active_at=came)
    assert seat(office, session, "ann").active_at == office.clock.now
    office.wait(15 * MINUTE)
    class_lab.seen(desk, "ann", "ml", present=True, active_at=None)
    assert seat_state(seat(office, session, "ann"), office.clock.now) is SeatState.IDLE
    assert seat(office, session, "ann").entered_at == came


def test_the_start_of_a_server_is_nobodys_work(office: Office, session: Session) -> None:
    desk, started = office.desk, office.clock.now
    class_lab.seen(desk, "ann", "ml", present=False, active_at=started)
    office.wait(10 * SECOND)
    seats.note(desk, session.id, "ann", asked_at=started, ready_at=office.clock.now)
    class_lab.seen(desk, "ann", "ml", present=False, active_at=started)
    found = seat(office, session, "ann")
    assert (found.entered_at, found.active_at) == (None, None)
    assert found.heard_at == started
    class_lab.seen(desk, "ann", "ml", present=False, active_at=office.clock.now + SECOND)
    assert seat(office, session, "ann").entered_at == office.clock.now


def test_work_without_a_page_is_the_students_unless_somebody_visits(office: Office, session: Session) -> None:
    for user in ("ann", "bob"):
        seats.note(office.desk, session.id, user, ready_at=office.clock.now - SECOND)
    class_lab.seen(office.desk, "ann", "ml", present=False, active_at=office.clock.now, visitors=["ines"])
    class_lab.seen(office.desk, "ann", "ml", present=False, active_at=office.clock.now)
    class_lab.seen(office.desk, "bob", "ml", present=False, active_at=office.clock.now)
    assert seat(office, session, "ann").entered_at is None
    assert seat(office, session, "bob").entered_at == office.clock.now


def test_only_students_seats_are_seen(office: Office, session: Session) -> None:
    for user, server in (("ines", "ml"), ("ann", ""), ("ann", "lab"), ("eve", "ml")):
        class_lab.seen(office.desk, user, server, present=True, active_at=office.clock.now, visitors=["ines"])
    assert [one for one in seats.board(office.desk, session.id)[1] if one.entered_at] == []
    seats.note(office.desk, session.id, "ann", ended_at=office.clock.now)
    class_lab.seen(office.desk, "ann", "ml", present=True, active_at=office.clock.now)
    assert seat(office, session, "ann").entered_at is None


def test_visitors_are_told_once(office: Office, session: Session) -> None:
    for _ in range(2):
        class_lab.seen(office.desk, "ann", "ml", present=True, active_at=None, visitors=["ann", "ines"])
    (message,) = told(office, "ann").messages
    assert (message.kind, message.text) == (Kind.VISIT, "ines has opened your server.")
    assert [entry.action for entry in office.audit()].count("seat.visit") == 1
    assert told(office, "bob").messages == ()


def test_files_wait_for_a_yes(office: Office, session: Session) -> None:
    made = push(office, "a.csv")
    courses.enrol(office.desk, "ml", ["dan"], Role.STUDENT, "ines")
    assert (told(office, "ann").pushes, told(office, "ann").withheld) == ((made,), 0)
    assert (told(office, "dan").pushes, told(office, "dan").withheld) == ((), 1)
    courses.agree(office.desk, "ml", "dan")
    assert (told(office, "dan").pushes, told(office, "dan").withheld) == ((made,), 0)


def test_files_are_told_until_they_are_there(office: Office, session: Session) -> None:
    first = push(office, "a.csv")
    office.wait(SECOND)
    second = push(office, "b.csv")
    push(office, "c.csv", course="art")
    assert told(office, "ann").pushes == (first, second)
    there = Delivery(first.id, "ann", office.clock.now, Outcome.BESIDE, "a.1.csv")
    full = Delivery(second.id, "ann", office.clock.now, Outcome.FAILED, "b.csv", "The disk is full.")
    others = [
        Delivery("push-c.csv", "ann", office.clock.now, Outcome.WRITTEN, "c.csv"),
    ]
    assert class_lab.taken(office.desk, "ann", "ml", [there, full, *others]) is None
    found = told(office, "ann")
    assert found.pushes == ()
    assert found.files == ((first, there), (second, full))
    assert told(office, "bob").pushes == (first, second)
    # A failure is tried again after a while.
    office.wait(2 * MINUTE)
    assert told(office, "ann").pushes == (second,)
    well = replace(full, at=office.clock.now, outcome=Outcome.WRITTEN, problem="")
    class_lab.taken(office.desk, "ann", "ml", [well])
    assert told(office, "ann").pushes == ()
    with office.ledger.reading() as books:
        assert books.handouts.deliveries([first.id, second.id, "push-c.csv"]) == [there, well]
    answer = class_lab.taken(office.desk, "eve", "ml", [there])
    assert isinstance(answer, Deny)
    assert answer.code == "no_session"
