"""Seats: who may sit where, what is known of them, and what goes back to who waits."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.errors import UnknownName
from spawner.operations import courses, leases, seat_life, seat_wishes, seats, sessions
from spawner.operations.leases import Granted, Queued
from spawner.operations.seats import Placed
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import STAFF, TRIES, Course, Late, Phase, Role, Seat, Session, Wish
from spawner.policy.leases import Lease
from spawner.policy.model import AtEnd, Deny, IfBusy
from spawner.policy.warmup import Pace

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus
from .conftest import OpenOffice

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


def taken(office: Office, user: str) -> Placed:
    found = seats.placed(office.desk, user, "ml")
    assert isinstance(found, Placed), found
    return found


def refused(office: Office, user: str) -> Deny:
    found = seats.placed(office.desk, user, "ml")
    assert isinstance(found, Deny), found
    return found


def put(office: Office, seat: Seat) -> None:
    with office.ledger.transaction() as books:
        books.sessions.put_seats([seat])


def change(office: Office, session: Session, **changes: object) -> Session:
    with office.ledger.transaction() as books:
        changed = replace(session, **changes)  # type: ignore[arg-type]
        books.sessions.update(changed)
    return changed


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


# --- more than a few --------------------------------------------------------------------------------------------------


def full_course(office: Office, students: int, seats_: int, fitted: int = 8, **plan: Any) -> Session:
    """Let Ines, with Tom's help, teach u0, u1 and so on, from two to four."""
    office.fit(gpus(fitted))
    courses.create(office.desk, COURSE, "ines")
    courses.enrol(office.desk, "ml", [f"u{number}" for number in range(students)], Role.STUDENT, "ines")
    courses.enrol(office.desk, "ml", ["tom"], Role.ASSISTANT, "ines")
    answer = sessions.book(office.desk, Plan("ml", [(NOW + 2 * HOUR, NOW + 4 * HOUR)], seats_, **plan), "ines")
    assert isinstance(answer, Planned), answer
    return answer.sessions[0]


def run(office: Office, session: Session, user: str, *, entered: bool = True) -> Lease:
    """Have a seat's server started, and let its student in."""
    seat_life.asked(office.desk, session.id, user)
    lease = office.lease(sit(office, user))
    there = office.clock.now if entered else None
    seats.note(office.desk, session.id, user, ready_at=office.clock.now, entered_at=there)
    return lease


def reserved(office: Office, session: Session) -> tuple[str, ...]:
    with office.ledger.reading() as books:
        found = books.reservations.get(session.reservation)
    assert found is not None
    return found.slots


def start(office: Office, user: str) -> leases.Answer | Deny:
    """Start a seat as the hub does: what it may is asked first, and once more as it gets its GPUs."""
    found = seats.placed(office.desk, user, "ml")
    if not isinstance(found, Placed):
        assert found is not None
        return found
    return ask_for(office, user, found)


def ask_for(office: Office, user: str, found: Placed) -> leases.Answer:
    wanted = replace(found.course.seat(user), ends_at=found.ends_at, course=found.course.id if found.reserved else "")
    return leases.acquire(office.desk, wanted, first=found.first, unless=partial(seats.none_left, found))


def test_who_sits_keeps_the_gpu_and_who_is_gone_leaves_theirs(office: Office) -> None:
    session = full_course(office, 6, 6)
    office.clock.now = session.starts_at
    held = [run(office, session, f"u{number}", entered=number > 1) for number in range(6)]
    office.wait(session.grace)
    office.running("dan", hours=12)
    office.running("eve", hours=12)
    waiting = office.queued("fay", hours=12)
    assert seats.give_back(office.desk, session.id) == ("u0", "u1")
    assert set(reserved(office, session)) == {slot for lease in held[2:] for slot in lease.slots}
    office.stop(held[0])
    assert office.offer_to(waiting).slots == held[0].slots


def test_what_no_seat_needs_goes_back(office: Office) -> None:
    session = full_course(office, 2, 6, fitted=6)
    office.clock.now = session.starts_at
    held = [run(office, session, f"u{number}") for number in range(2)]
    waiting = office.queued("dan")
    office.wait(session.grace - MINUTE)
    assert seats.goes_back(office.desk, session.id) is None
    answer = start(office, "ines")  # whose seat nobody else needs
    assert isinstance(answer, Granted)
    assert answer.lease.course == "ml"
    held.append(answer.lease)
    office.wait(MINUTE)
    assert seats.goes_back(office.desk, session.id) is not None
    assert seats.give_back(office.desk, session.id) == ()
    assert set(reserved(office, session)) == {slot for lease in held for slot in lease.slots}
    assert office.ticket(waiting.id).state == "offered"
    assert (office.audit()[-1].action, office.audit()[-1].after) == ("session.give_back", {"users": [], "gpus": 3})
    assert seats.goes_back(office.desk, session.id) is None
    assert seats.give_back(office.desk, session.id) == ()
    assert office.audit()[-1].after == {"users": [], "gpus": 3}
    # As soon as she leaves, nobody needs hers.
    office.stop(held.pop())
    assert seats.give_back(office.desk, session.id) == ()
    assert set(reserved(office, session)) == {slot for lease in held for slot in lease.slots}


def test_a_guest_who_comes_when_seats_have_gone_back_goes_first(office: Office) -> None:
    session = full_course(office, 2, 3, fitted=3)
    office.clock.now = session.starts_at
    held = [run(office, session, f"u{number}") for number in range(2)]
    office.wait(session.grace)
    assert not taken(office, "u0").first
    seats.give_back(office.desk, session.id)
    office.running("dan", hours=1)
    office.queued("eve")
    assert isinstance(seat_wishes.hand_over(office.desk, session.id, "gus", "ines"), Seat)
    assert taken(office, "gus").first
    answer = start(office, "gus")
    assert isinstance(answer, Queued)
    assert answer.position == 1
    change(office, session, late=Late.QUEUE)
    assert not taken(office, "gus").first
    assert set(reserved(office, session)) == {slot for lease in held for slot in lease.slots}


def test_a_seat_that_never_started_keeps_no_gpu(office: Office) -> None:
    session = full_course(office, 4, 4)
    office.clock.now = session.starts_at
    held = [run(office, session, f"u{number}") for number in range(2)]
    seats.note(office.desk, session.id, "u2", asked_at=office.clock.now, attempts=TRIES, problem="no image")
    seats.note(office.desk, session.id, "u3", asked_at=office.clock.now, attempts=TRIES - 1, problem="no image")
    office.wait(session.grace)
    assert seats.give_back(office.desk, session.id) == ("u2",)
    # The other one is tried once more.
    assert len(reserved(office, session)) == 3
    assert set(reserved(office, session)) > {slot for lease in held for slot in lease.slots}


def test_another_student_got_the_seat_that_never_started(office: Office) -> None:
    session = full_course(office, 3, 2)
    office.clock.now = session.starts_at
    seats.note(office.desk, session.id, "u0", asked_at=office.clock.now, attempts=TRIES, problem="no image")
    held = [run(office, session, f"u{number}") for number in (1, 2)]
    office.wait(session.grace)
    assert seats.give_back(office.desk, session.id) == ("u0",)
    assert set(reserved(office, session)) == {slot for lease in held for slot in lease.slots}


@settings(max_examples=25)
@given(data=st.data())
def test_gpus_of_those_who_sit_stay_reserved_whoever_leaves(open_office: OpenOffice, data: st.DataObject) -> None:
    office = open_office()
    students, count = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 5))
    session = full_course(office, students, count, fitted=6)
    office.clock.now = session.starts_at - session.lead
    held = {}
    for user in data.draw(st.permutations([*(f"u{number}" for number in range(students)), "ines", "tom"])):
        if not data.draw(st.booleans()):
            continue
        answer = start(office, user)
        if isinstance(answer, Granted):
            held[user] = answer.lease
            if user.startswith("u"):
                seat_life.asked(office.desk, session.id, user)
    assert sum(bool(lease.course) for lease in held.values()) <= count
    came = {user for user in held if not user.startswith("u") or data.draw(st.booleans())}
    for user in held.keys() - {"ines", "tom"}:
        there = session.starts_at if user in came else None
        seats.note(office.desk, session.id, user, ready_at=session.starts_at, entered_at=there)
    office.clock.now = session.starts_at + session.grace
    gone = seats.give_back(office.desk, session.id)
    assert set(gone) == held.keys() - came
    kept = {slot for user in came for slot in held[user].slots if held[user].course}
    left = set(reserved(office, session))
    assert kept <= left
    fresh = max(0, min(students - len(held.keys() - {"ines", "tom"}), count - len(held.keys() - {"ines", "tom"})))
    assert len(left) <= min(count, len(kept) + fresh)
    assert seats.goes_back(office.desk, session.id) is None


# --- as many as there are seats ---------------------------------------------------------------------------------------


def test_only_as_many_of_staff_have_a_reserved_seat_as_are_left(office: Office) -> None:
    session = full_course(office, 1, 2, fitted=2)
    office.clock.now = session.starts_at - session.lead
    assert taken(office, "ines").reserved
    assert seat_wishes.seats_left(office.desk, session.id) == 1
    both = [taken(office, user) for user in ("ines", "tom")]
    first, second = (ask_for(office, one.seat.user, one) for one in both)  # at the same moment
    assert isinstance(first, Granted)
    assert isinstance(second, Deny)
    assert second.code == "no_seat_left"
    assert taken(office, "ines").reserved
    assert not taken(office, "tom").reserved
    assert seat_wishes.seats_left(office.desk, session.id) == 0
    assert isinstance(seat_wishes.hand_over(office.desk, session.id, "gus", "ines"), Deny)
    assert isinstance(start(office, "tom"), Queued)
    assert isinstance(start(office, "u0"), Granted)


def test_after_seats_have_gone_back_fewer_are_left_for_staff(office: Office) -> None:
    session = full_course(office, 2, 3, fitted=3)
    office.clock.now = session.starts_at
    run(office, session, "u0")
    run(office, session, "u1", entered=False)
    office.wait(session.grace)
    assert taken(office, "ines").reserved
    assert seats.give_back(office.desk, session.id) == ("u1",)
    assert not taken(office, "ines").reserved
    assert len(reserved(office, session)) == 1


def test_a_longer_roster_gets_no_more_seats(office: Office) -> None:
    session = full_course(office, 8, 1)
    office.clock.now = session.starts_at
    all_at_once = [taken(office, f"u{number}") for number in range(8)]
    answers = [ask_for(office, one.seat.user, one) for one in all_at_once]
    assert [type(answer) for answer in answers] == [Granted] + [Deny] * 7
    told = refused(office, "u3")
    assert told == answers[3]
    assert told == Deny(
        "no_seat_left",
        "The only seat of this session is taken. Ask its staff, or come again when one has gone back.",
    )
    (first,) = [answer.lease for answer in answers if isinstance(answer, Granted)]
    assert taken(office, "u0").reserved  # who has it may start it again
    office.stop(first)
    assert isinstance(start(office, "u5"), Granted)
    assert refused(office, "u0").code == "no_seat_left"


def test_who_is_being_started_or_waits_takes_a_seat(office: Office) -> None:
    session = full_course(office, 4, 3, fitted=3)
    office.clock.now = session.starts_at
    seat_life.asked(office.desk, session.id, "u0")
    seat_wishes.wish(office.desk, session.id, "u1", Wish.START, "ines")
    slots = reserved(office, session)
    with office.ledger.transaction() as books:
        for slot in slots:
            books.gpus.quarantine_slot(slot, "broken", office.clock.now)
    assert isinstance(start(office, "u2"), Queued)
    assert refused(office, "u3").reason.startswith("All 3 seats of this session are taken.")
    # A start that has failed leaves its seat to others.
    seats.note(office.desk, session.id, "u0", problem="no image")
    assert taken(office, "u3").seat.user == "u3"


def test_the_seats_of_who_did_not_come_are_others(office: Office) -> None:
    session = full_course(office, 4, 2)
    office.clock.now = session.starts_at
    held = run(office, session, "u0", entered=False)
    run(office, session, "u1")
    office.wait(session.grace)
    assert refused(office, "u2").code == "no_seat_left"
    assert seats.give_back(office.desk, session.id) == ("u0",)
    assert isinstance(start(office, "u2"), Granted)
    assert refused(office, "u3").code == "no_seat_left"
    office.stop(held)
    assert refused(office, "u0").code == "no_seat_left"


# --- who comes late, and what staff allow -----------------------------------------------------------------------------


def test_who_came_late_goes_first_when_staff_start_the_seat(office: Office) -> None:
    session = full_course(office, 2, 2)
    office.clock.now = session.starts_at
    run(office, session, "u0", entered=False)
    office.wait(session.grace)
    seats.give_back(office.desk, session.id)
    seat_life.stopped(office.desk, session.id, "u0")
    office.wait(MINUTE)
    assert isinstance(seat_wishes.wish(office.desk, session.id, "u0", Wish.START, "ines"), Seat)
    assert taken(office, "u0").first
    seat_life.asked(office.desk, session.id, "u0")
    seat_life.wish_done(office.desk, session.id, "u0", Wish.START)
    assert taken(office, "u0").first
    # Where nobody is taken any more, staff have said so of this one.
    change(office, session, late=Late.REFUSE)
    assert not taken(office, "u0").first
    seats.note(office.desk, session.id, "u0", problem="no image")
    assert not taken(office, "u0").first
    assert isinstance(seat_wishes.wish(office.desk, session.id, "u0", Wish.STOP, "ines"), Seat)
    seat_life.wish_done(office.desk, session.id, "u0", Wish.STOP)
    assert refused(office, "u0").code == "session_late"


def test_nobody_waits_for_a_seat_of_a_session_that_was_called_off(office: Office) -> None:
    session = full_course(office, 1, 1, fitted=1)
    office.clock.now = session.starts_at
    held = run(office, session, "u0", entered=False)
    office.wait(session.grace)
    waiting = office.queued("dan", hours=12)
    seats.give_back(office.desk, session.id)
    office.stop(held)
    office.granted("dan", hours=12)
    answer, own = start(office, "u0"), start(office, "tom")
    assert isinstance(answer, Queued)
    assert isinstance(own, Queued)
    assert office.ticket(waiting.id).state == "served"
    other = office.queued("eve")
    sessions.cancel(office.desk, session.id, "ines", "ill")
    following = replace(session, id="next", starts_at=office.clock.now, cancelled_at=None, reservation="")
    with office.ledger.transaction() as books:
        books.sessions.insert([following])
    assert seat_life.cleared(office.desk, session.id)
    assert office.ticket(answer.ticket.id).state == "waiting", "who may wait for the one that meets now"
    change(office, following, cancelled_at=office.clock.now)
    change(office, sessions.find(office.desk, session.id), cleared_at=None)
    assert seat_life.cleared(office.desk, session.id)
    assert office.ticket(answer.ticket.id).state == "cancelled"
    assert office.ticket(own.ticket.id).state == "cancelled"
    assert office.ticket(other.id).state == "waiting"
