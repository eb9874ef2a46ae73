"""Seats: who may sit where, what is known of them, and what goes back to who waits."""

from dataclasses import replace

import pytest

from spawner.errors import UnknownName
from spawner.operations import courses, leases, seat_life, seats, sessions
from spawner.operations.leases import Granted, Queued
from spawner.operations.seats import Placed
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import STAFF, Late, Phase, Role, Seat, Session, Wish
from spawner.policy.model import AtEnd, Deny, IfBusy
from spawner.policy.warmup import Pace

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus
from .seating import COURSE, change, refused, sit, taken

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


def warm(office: Office, session: Session) -> None:
    """Have all students' servers ready at the bell."""
    for user in ("ann", "bob", "cyd"):
        seats.note(office.desk, session.id, user, ready_at=session.starts_at)


def test_a_seat_is_the_server_called_like_the_course(office: Office, session: Session) -> None:
    desk = office.desk
    assert seats.placed(desk, "ann", "") is None
    assert seats.placed(desk, "ann", "lab") is None
    assert seats.placed(desk, "eve", "ml") is None  # not in it: a server of her own
    told = seats.placed(desk, "ann", "ml")
    assert isinstance(told, Deny)
    assert told == Deny("no_session", "Machine learning does not meet now. The next begins at 2027-03-01 14:00 UTC.")
    office.wait(2 * HOUR - 15 * MINUTE)
    assert seats.placed(desk, "ann", "ml") == Placed(
        courses.find(desk, "ml"), session, Role.STUDENT, Seat(session.id, "ann")
    )
    found = seats.placed(desk, "ines", "ml")
    assert isinstance(found, Placed)
    assert found.role is Role.INSTRUCTOR
    office.wait(3 * HOUR)
    told = seats.placed(desk, "ann", "ml")
    assert isinstance(told, Deny)
    assert told.reason == "Machine learning does not meet now. None is planned."
    assert seats.next_for(desk, "ann") == []


def put(office: Office, seat: Seat) -> None:
    with office.ledger.transaction() as books:
        books.sessions.put_seats([seat])


def seat_request(office: Office, user: str) -> leases.Answer:
    """Ask for a seat's GPUs as its server's start does."""
    found = taken(office, user)
    wanted = replace(found.course.seat(user), ends_at=found.ends_at)
    return leases.acquire(office.desk, wanted, first=found.first)


def test_a_guest_sits_while_the_seat_is_theirs(office: Office, session: Session) -> None:
    put(office, Seat(session.id, "gus", guest=True))
    assert refused(office, "gus").code == "no_session"
    office.clock.now = session.starts_at
    assert taken(office, "gus").role is Role.STUDENT
    put(office, Seat(session.id, "gus", guest=True, given_back_at=office.clock.now))
    assert seats.placed(office.desk, "gus", "ml") is None  # taken back: a server of their own
    put(office, Seat(session.id, "gus", guest=True, given_back_at=office.clock.now, wish=Wish.START))
    assert taken(office, "gus").seat.guest
    put(office, Seat(session.id, "gus", guest=True))
    office.clock.now = session.ends_at
    assert seats.placed(office.desk, "gus", "ml") is None


def test_who_comes_late(office: Office, session: Session) -> None:
    office.clock.now = session.starts_at + session.grace
    warm(office, session)
    seats.give_back(office.desk, session.id)
    assert taken(office, "ann").first
    session = change(office, session, late=Late.QUEUE)
    assert not taken(office, "ann").first
    change(office, session, late=Late.REFUSE)
    told = refused(office, "ann")
    assert (told.code, "began at 14:00 UTC" in told.reason) == ("session_late", True)
    assert taken(office, "ines").staff
    # Staff may start it all the same, and then its student may start it again.
    seat = Seat(session.id, "ann", given_back_at=office.clock.now, wish=Wish.START)
    put(office, seat)
    assert taken(office, "ann").seat == seat
    put(office, replace(seat, wish=Wish.NONE))
    assert refused(office, "ann").code == "session_late"
    office.wait(MINUTE)
    seat_life.asked(office.desk, session.id, "ann")
    assert not taken(office, "ann").first


def test_more_time_for_one_seat(office: Office, session: Session) -> None:
    put(office, Seat(session.id, "ann", until=session.ends_at + HOUR))
    office.clock.now = session.ends_at + MINUTE
    assert taken(office, "ann").ends_at == session.ends_at + HOUR
    assert refused(office, "bob").code == "no_session"
    # The next one that is being warmed up waits for it, the next one that runs does not.
    answer = sessions.book(
        office.desk, Plan("ml", [(session.ends_at + HOUR / 2, session.ends_at + 2 * HOUR)], 1), "ines"
    )
    assert isinstance(answer, Planned)
    (following,) = answer.sessions
    office.clock.now = following.starts_at - MINUTE
    assert following.phase(office.clock.now) is Phase.WARMING
    assert taken(office, "ann").session.id == session.id
    assert taken(office, "bob").session.id == following.id
    office.clock.now = following.starts_at
    assert taken(office, "ann").session.id == following.id


def test_seats_that_go_on_without_gpus(office: Office, session: Session) -> None:
    put(office, Seat(session.id, "ann", ready_at=session.starts_at))
    office.clock.now = session.ends_at
    assert refused(office, "ann").code == "no_session"
    with office.ledger.transaction() as books:
        books.courses.update(replace(COURSE, at_end=AtEnd.CPU, created_by="ines"))
    assert taken(office, "ann").after
    assert refused(office, "bob").code == "no_session", "who was not there"
    change(office, session, exam=True)
    assert refused(office, "ann").code == "no_session"
    change(office, session, exam=False)
    office.wait(10 * MINUTE)
    assert refused(office, "ann").code == "no_session"


def test_staff_takes_no_students_seat(office: Office, session: Session) -> None:
    office.clock.now = session.starts_at
    assert not taken(office, "ines").reserved
    assert taken(office, "ann").reserved
    courses.expel(office.desk, "ml", ["cyd"], "ines")
    assert taken(office, "ines").reserved


def test_a_quota_stops_no_seat_and_a_seat_costs_no_quota(office: Office, session: Session) -> None:
    office.give("user", "ann", "gpus", 0)
    office.give("user", "bob", "gpus", 1)
    office.give("user", "bob", "gpu_hours", 2.0)
    office.clock.now = session.starts_at
    for user in ("ann", "bob"):
        answer = seat_request(office, user)
        assert isinstance(answer, Granted), answer
        assert (answer.lease.ends_at, answer.lease.course) == (session.ends_at, "ml")
        seat = leases.activate(office.desk, answer.lease.id, f"container-{user}", office.clock.now)
    assert isinstance(office.ask("ann", if_busy=IfBusy.REFUSE), Deny)
    # Bob's own GPU, and all of his hours.
    own = office.running("bob", hours=2)
    assert own.ends_at == office.clock.now + 2 * HOUR
    told = leases.can_extend(office.desk, seat.id)
    assert isinstance(told, Deny)
    assert "class's" in told.reason


def test_a_late_student_goes_first_and_keeps_the_place(office: Office, session: Session) -> None:
    office.clock.now = session.starts_at
    office.running("dan", hours=1)  # the one GPU that is not reserved
    waiting = office.queued("eve", 1, 1)
    office.clock.now = session.starts_at + session.grace
    warm(office, session)
    seats.give_back(office.desk, session.id)
    offered = office.offer_to(waiting)
    others = [office.granted("fay"), office.granted("gil")]
    office.queued("hal")
    first, second = seat_request(office, "ann"), seat_request(office, "bob")
    assert isinstance(first, Queued)
    assert isinstance(second, Queued)
    assert (first.position, second.position) == (1, 2)
    office.wait(MINUTE)
    again = seat_request(office, "ann")
    assert isinstance(again, Queued)
    assert again.ticket.id == first.ticket.id
    leases.close(office.desk, others[0].id, None)
    lease = office.offer_to(first.ticket)
    assert (lease.user, lease.course, lease.ends_at) == ("ann", "ml", session.ends_at)
    assert offered.user == "eve"


def test_a_place_in_the_queue_is_worth_nothing_after_the_session(office: Office, session: Session) -> None:
    office.clock.now = session.starts_at
    held = office.running("dan", hours=24)
    office.clock.now = session.starts_at + session.grace
    warm(office, session)
    seats.give_back(office.desk, session.id)
    for number in range(3):
        office.granted(f"u{number}", hours=1.8)
    answer = seat_request(office, "ann")
    assert isinstance(answer, Queued)
    office.clock.now = session.ends_at
    office.stop(held)
    assert office.ticket(answer.ticket.id).state == "waiting"
    late = leases.acquire(office.desk, replace(COURSE.seat("ann"), ends_at=session.ends_at))
    assert isinstance(late, Deny)
    assert late.code == "no_session"
    assert office.ticket(answer.ticket.id).state == "cancelled"


def test_nobody_waits_for_a_seat_of_a_session_that_is_over(office: Office, session: Session) -> None:
    office.clock.now = session.starts_at
    office.running("dan", hours=24)
    seat_life.asked(office.desk, session.id, "cyd")
    office.clock.now = session.starts_at + session.grace
    warm(office, session)
    seats.give_back(office.desk, session.id)
    for number in range(3):
        office.granted(f"u{number}", hours=10)
    answer, other = seat_request(office, "ann"), office.queued("hal")
    assert isinstance(answer, Queued)
    office.clock.now = session.ends_at
    assert seat_life.cleared(office.desk, session.id)
    assert office.ticket(answer.ticket.id).state == "cancelled"
    assert office.ticket(other.id).state == "waiting"


def test_seats_are_started_before_the_bell(office: Office, session: Session) -> None:
    pace = Pace(at_once=2)
    assert seat_life.to_start(office.desk, pace) == []
    office.clock.now = session.starts_at - MINUTE
    found = seat_life.to_start(office.desk, pace)
    assert [name for _, name in found] == ["ann", "bob"]
    for one, name in found:
        seat_life.asked(office.desk, one.session.id, name)
        sit(office, name)
    assert seat_life.to_start(office.desk, pace) == []
    seats.note(office.desk, session.id, "ann", ready_at=office.clock.now)
    assert [name for _, name in seat_life.to_start(office.desk, pace)] == ["cyd"]
    found_session, board = seats.board(office.desk, session.id)
    assert found_session.warmed_at == office.clock.now
    assert [(seat.user, seat.attempts) for seat in board] == [("ann", 1), ("bob", 1), ("cyd", 0)]


def test_hands_keep_their_order(office: Office, session: Session) -> None:
    desk = office.desk
    first = seats.raise_hand(desk, session.id, "bob")
    office.wait(MINUTE)
    seats.raise_hand(desk, session.id, "ann")
    assert seats.raise_hand(desk, session.id, "bob").hand_at == first.hand_at
    assert seats.lower_hand(desk, session.id, "bob", "tom").hand_at is None
    with pytest.raises(UnknownName, match="eve has no seat"):
        seats.raise_hand(desk, session.id, "eve")


def test_unused_seats_go_to_who_waits(office: Office, session: Session) -> None:
    desk = office.desk
    office.running("dan", hours=12)
    office.clock.now = session.starts_at
    waiting = office.queued("eve", 1, 1, server="lab")  # all else is reserved
    for name in ("ann", "bob"):
        seat_life.asked(desk, session.id, name)
        sit(office, name)
    seats.note(desk, session.id, "ann", ready_at=office.clock.now, entered_at=office.clock.now)
    warm(office, session)
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
    warm(office, session)
    assert seats.give_back(office.desk, session.id) == ("ann", "bob")


def test_staff_is_of_one_course(office: Office, session: Session) -> None:
    courses.create(office.desk, replace(COURSE, id="art", title="Art"), "otto")
    with office.ledger.reading() as books:
        staff = {member.user for member in books.courses.members("ml", STAFF)}
    assert "ines" in staff
    assert "otto" not in staff
    assert "ann" not in staff
    assert [(one.id, role) for _, one, role in seats.next_for(office.desk, "ann")] == [(session.id, Role.STUDENT)]
    assert [role for _, _, role in seats.next_for(office.desk, "ines")] == [Role.INSTRUCTOR]
