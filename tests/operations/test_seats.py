"""Seats: who may sit where, what is known of them, and what goes back to who waits."""

from dataclasses import replace

import pytest

from spawner.errors import UnknownName
from spawner.operations import courses, leases, seats, sessions
from spawner.operations.leases import Granted
from spawner.operations.seats import Placed
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, Session
from spawner.policy.model import Deny
from spawner.policy.warmup import Pace

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus

COURSE = Course("ml", "Machine learning", "gpu", "", NOW, gpus=1)
STUDENTS = ("ann", "bob", "cyd")


@pytest.fixture
def session(office: Office) -> Session:
    """Ines teaches three students from two to four, on three of four GPUs."""
    office.fit(gpus(4))
    courses.create(office.desk, COURSE, "ines")
    courses.enrol(office.desk, "ml", STUDENTS, Role.STUDENT, "ines")
    answer = sessions.book(office.desk, Plan("ml", [(NOW + 2 * HOUR, NOW + 4 * HOUR)], 3), "ines")
    assert isinstance(answer, Planned)
    return answer.sessions[0]


def sit(office: Office, user: str) -> str:
    """Start a seat's server."""
    answer = leases.acquire(office.desk, COURSE.seat(user, 2.0))
    assert isinstance(answer, Granted), answer
    leases.activate(office.desk, answer.lease.id, f"container-{user}", office.clock.now)
    return answer.lease.id


def test_a_seat_is_the_server_called_like_the_course(office: Office, session: Session) -> None:
    desk = office.desk
    assert seats.placed(desk, "ann", "") is None
    assert seats.placed(desk, "ann", "lab") is None
    assert seats.placed(desk, "eve", "ml") is None  # not in it: a server of her own
    told = seats.placed(desk, "ann", "ml")
    assert isinstance(told, Deny)
    assert told == Deny("no_session", "Machine learning does not meet now. The next begins at 2027-03-01 14:00 UTC.")
    office.wait(2 * HOUR - 15 * MINUTE)
    assert seats.placed(desk, "ann", "ml") == Placed(courses.find(desk, "ml"), session, Role.STUDENT)
    found = seats.placed(desk, "ines", "ml")
    assert isinstance(found, Placed)
    assert found.role is Role.INSTRUCTOR
    office.wait(3 * HOUR)
    told = seats.placed(desk, "ann", "ml")
    assert isinstance(told, Deny)
    assert told.reason == "Machine learning does not meet now. None is planned."
    assert seats.next_for(desk, "ann") == []


def test_seats_are_started_before_the_bell(office: Office, session: Session) -> None:
    pace = Pace(at_once=2)
    assert seats.to_start(office.desk, pace) == []
    office.clock.now = session.starts_at - MINUTE
    found = seats.to_start(office.desk, pace)
    assert [name for _, name in found] == ["ann", "bob"]
    for one, name in found:
        seats.asked(office.desk, one.id, name)
        sit(office, name)
    assert seats.to_start(office.desk, pace) == []
    seats.note(office.desk, session.id, "ann", ready_at=office.clock.now)
    assert [name for _, name in seats.to_start(office.desk, pace)] == ["cyd"]
    found_session, board = seats.board(office.desk, session.id)
    assert found_session.warmed_at == office.clock.now
    assert [(seat.user, seat.attempts) for seat in board] == [("ann", 1), ("bob", 1), ("cyd", 0)]


def test_hands_keep_their_order(office: Office, session: Session) -> None:
    desk = office.desk
    first = seats.raise_hand(desk, session.id, "bob")
    office.wait(MINUTE)
    seats.raise_hand(desk, session.id, "ann")
    assert seats.raise_hand(desk, session.id, "bob").hand_at == first.hand_at
    assert seats.lower_hand(desk, session.id, "bob").hand_at is None
    with pytest.raises(UnknownName, match="eve has no seat"):
        seats.raise_hand(desk, session.id, "eve")


def test_unused_seats_go_to_who_waits(office: Office, session: Session) -> None:
    desk = office.desk
    office.running("dan", hours=12)
    office.clock.now = session.starts_at
    waiting = office.queued("eve", 1, 1, server="lab")  # all else is reserved
    for name in ("ann", "bob"):
        seats.asked(desk, session.id, name)
        sit(office, name)
    seats.note(desk, session.id, "ann", ready_at=office.clock.now, entered_at=office.clock.now)
    assert seats.give_back(desk, session.id) == ()
    office.wait(session.grace)
    assert seats.give_back(desk, session.id) == ("bob", "cyd")
    assert seats.give_back(desk, session.id) == ()
    # Ann's is kept, and nobody else's: what nobody holds is offered at once.
    with office.ledger.reading() as books:
        (reservation,) = books.reservations.upcoming(office.clock.now)
        (ann,) = [lease for lease in books.leases.open() if lease.user == "ann"]
    assert reservation.slots == ann.slots
    assert office.ticket(waiting.id).lease
    assert office.audit()[-1].action == "session.give_back"


def test_who_asks_for_help_keeps_the_seat(office: Office, session: Session) -> None:
    office.clock.now = session.starts_at + session.grace
    seats.raise_hand(office.desk, session.id, "cyd")
    assert seats.give_back(office.desk, session.id) == ("ann", "bob")


def test_staff_is_of_one_course(office: Office, session: Session) -> None:
    courses.create(office.desk, replace(COURSE, id="art", title="Art"), "otto")
    assert seats.may_see(office.desk, "ml", "ines")
    assert not seats.may_see(office.desk, "ml", "otto")
    assert not seats.may_see(office.desk, "ml", "ann")
    assert [one.id for _, one in seats.next_for(office.desk, "ann")] == [session.id]
