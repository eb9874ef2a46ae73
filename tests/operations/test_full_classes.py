"""Classes with more people than seats, or fewer: who has one, who keeps a GPU, and what goes back."""

from dataclasses import replace
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.operations import courses, leases, seat_life, seat_wishes, seats, sessions
from spawner.operations.leases import Granted, Queued
from spawner.operations.seats import Placed
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import TRIES, Late, Role, Seat, Session, Wish
from spawner.policy.leases import Lease
from spawner.policy.model import Deny

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus
from .conftest import OpenOffice
from .seating import COURSE, change, refused, sit, taken


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
