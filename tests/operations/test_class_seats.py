"""What staff do with seats, and the board that shows them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from spawner.errors import UnknownName
from spawner.operations import class_board, courses, leases, seat_life, seat_wishes, seats, sessions
from spawner.operations.leases import Granted
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Phase, Role, Seat, SeatState, Session, Wish
from spawner.policy.handouts import Kind
from spawner.policy.model import Deny
from spawner.policy.warmup import Pace, due

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus

COURSE = Course("ml", "Machine learning", "gpu", "", NOW, gpus=1)
STUDENTS = ("ann", "bob", "cyd")


@pytest.fixture
def session(office: Office) -> Session:
    """Ines teaches three students from two to four, on three of four GPUs."""
    office.fit(gpus(4))
    courses.create(office.desk, COURSE, "ines")
    courses.enrol(office.desk, "ml", STUDENTS, Role.STUDENT, "ines", agreed=True)
    answer = sessions.book(office.desk, Plan("ml", [(NOW + 2 * HOUR, NOW + 4 * HOUR)], 3), "ines")
    assert isinstance(answer, Planned)
    return answer.sessions[0]


def sit(office: Office, session: Session, user: str, *, entered: bool = True) -> str:
    """Start a seat's server, and let its student in."""
    seat_life.asked(office.desk, session.id, user)
    answer = leases.acquire(office.desk, COURSE.seat(user, 2.0))
    assert isinstance(answer, Granted), answer
    leases.activate(office.desk, answer.lease.id, f"container-{user}", office.clock.now)
    seen = {"entered_at": office.clock.now, "active_at": office.clock.now} if entered else {}
    seats.note(office.desk, session.id, user, ready_at=office.clock.now, **seen)
    return answer.lease.id


def code(answer: object) -> str:
    assert isinstance(answer, Deny), answer
    return answer.code


def done(answer: Seat | Deny) -> Seat:
    assert isinstance(answer, Seat), answer
    return answer


def last(office: Office) -> tuple[str, str, str, object, str]:
    entry = office.audit()[-1]
    return entry.actor, entry.action, entry.subject, entry.after, entry.why


# --- wishes -----------------------------------------------------------------------------------------------------------


def test_a_wish_stands_until_it_is_carried_out(office: Office, session: Session) -> None:
    desk = office.desk
    office.clock.now = session.starts_at
    sit(office, session, "ann")
    wished = done(seat_wishes.wish(desk, session.id, "ann", Wish.RESTART, "tom", "it hangs"))
    assert (wished.wish, wished.wished_by) == (Wish.RESTART, "tom")
    assert last(office) == ("tom", "seat.restart", f"session {session.id}", {"user": "ann"}, "it hangs")
    written = len(office.audit())
    assert seat_wishes.wish(desk, session.id, "ann", Wish.RESTART, "ines") == wished  # wanted already
    assert len(office.audit()) == written
    assert done(seat_wishes.wish(desk, session.id, "ann", Wish.STOP, "ines")).wish is Wish.STOP
    taken = done(seat_wishes.wish(desk, session.id, "ann", Wish.NONE, "ines"))
    assert (taken.wish, taken.wished_by) == (Wish.NONE, "")


def test_only_what_can_be_is_wished(office: Office, session: Session) -> None:
    desk = office.desk
    told = seat_wishes.wish(desk, session.id, "ann", Wish.START, "ines")
    assert told == Deny("no_session", "Its seats can be started from 2027-03-01 13:45 UTC on.")
    office.clock.now = session.starts_at
    assert code(seat_wishes.wish(desk, session.id, "ann", Wish.RESTART, "ines")) == "seat_not_running"
    assert code(seat_wishes.wish(desk, session.id, "ann", Wish.STOP, "ines")) == "seat_not_running"
    sit(office, session, "ann")
    assert code(seat_wishes.wish(desk, session.id, "ann", Wish.START, "ines")) == "seat_runs"
    with pytest.raises(UnknownName, match="eve has no seat"):
        seat_wishes.wish(desk, session.id, "eve", Wish.START, "ines")
    with pytest.raises(UnknownName):
        seat_wishes.wish(desk, "nothing", "ann", Wish.START, "ines")
    office.clock.now = session.ends_at
    assert done(seat_wishes.wish(desk, session.id, "ann", Wish.STOP, "ines")).wish is Wish.STOP
    assert code(seat_wishes.wish(desk, session.id, "ann", Wish.RESTART, "ines")) == "session_over"


def test_no_more_seats_are_started_than_there_are(office: Office, session: Session) -> None:
    desk = office.desk
    courses.enrol(desk, "ml", ["dan"], Role.STUDENT, "ines")
    office.clock.now = session.starts_at
    for name in ("ann", "bob"):
        sit(office, session, name)
    assert done(seat_wishes.wish(desk, session.id, "cyd", Wish.START, "ines")).wish is Wish.START
    assert code(seat_wishes.wish(desk, session.id, "dan", Wish.START, "ines")) == "no_seat_left"


# --- more time and memory ---------------------------------------------------------------------------------------------


def test_more_time_is_given_until_somebody_elses_reservation(office: Office, session: Session) -> None:
    desk = office.desk
    office.clock.now = session.starts_at
    lease = sit(office, session, "ann")
    held = office.lease(lease)
    office.reserve("art", session.ends_at + HOUR, session.ends_at + 3 * HOUR, *held.slots)
    longer = done(seat_wishes.give_time(desk, session.id, "ann", session.ends_at + 30 * MINUTE, "ines", "extra time"))
    assert longer.until == session.ends_at + 30 * MINUTE == office.lease(lease).ends_at
    assert [entry.action for entry in office.audit()[-2:]] == ["seat.time", "lease.extend"]
    told = seat_wishes.give_time(desk, session.id, "ann", session.ends_at + 2 * HOUR, "ines")
    assert told == Deny("reserved", "Its GPUs are reserved afterwards; it could last until 2027-03-01 16:58 UTC.")
    assert office.lease(lease).ends_at == longer.until
    assert code(seat_wishes.give_time(desk, session.id, "ann", session.ends_at, "ines")) == "invalid_option"
    assert code(seat_wishes.give_time(desk, session.id, "ann", NOW + 40 * HOUR, "ines")) == "invalid_option"


def test_more_time_can_be_given_before_the_seat_is_started(office: Office, session: Session) -> None:
    desk = office.desk
    until = session.ends_at + 30 * MINUTE
    assert done(seat_wishes.give_time(desk, session.id, "cyd", until, "ines")).until == until
    with office.ledger.reading() as books:
        reservation = books.reservations.get(session.reservation)
    assert reservation is not None
    office.reserve("art", session.ends_at + 5 * MINUTE, session.ends_at + HOUR, reservation.slots[0])
    assert code(seat_wishes.give_time(desk, session.id, "ann", until, "ines")) == "reserved"
    # One whose time is prolonged may get more when the session is over.
    office.clock.now = session.ends_at + MINUTE
    assert code(seat_wishes.give_time(desk, session.id, "ann", until, "ines")) == "session_over"


def test_more_time_counts_in_the_courses_gpu_hours(office: Office, session: Session) -> None:
    desk = office.desk
    courses.change(desk, "ml", "olga", most_gpu_hours=7.75)  # the session has six, and its lead 0.75
    until = session.ends_at + 40 * MINUTE
    assert done(seat_wishes.give_time(desk, session.id, "ann", until, "ines")).until == until
    told = seat_wishes.give_time(desk, session.id, "bob", until, "ines")
    assert told == Deny("course_limit", "0.67 GPU-hours are needed, and 0.33 of this course's 7.75 are left.")
    # Ann's own stays hers, and so does what is left.
    later = until + 20 * MINUTE
    assert done(seat_wishes.give_time(desk, session.id, "ann", later, "ines")).until == later


def test_what_is_called_off_gets_no_more_time(office: Office, session: Session) -> None:
    desk = office.desk
    office.clock.now = session.starts_at
    lease = sit(office, session, "ann")
    seat_wishes.give_time(desk, session.id, "ann", session.ends_at + HOUR, "ines")
    sessions.cancel(desk, session.id, "ines", "ill")
    before = office.lease(lease)
    until = session.ends_at + 2 * HOUR
    assert code(seat_wishes.give_time(desk, session.id, "ann", until, "ines")) == "session_over"
    assert office.lease(lease) == before


def test_more_time_breaks_no_reservation_that_came_later(office: Office, session: Session) -> None:
    desk, end = office.desk, session.ends_at
    until = end + HOUR
    office.clock.now = session.starts_at
    lease = sit(office, session, "ann")
    done(seat_wishes.give_time(desk, session.id, "ann", until, "ines"))
    courses.create(desk, replace(COURSE, id="art", title="Art"), "eve")
    # All four GPUs are to be art's twenty minutes after the end, with a lead of none.
    plan = Plan("art", [(end + 20 * MINUTE, end + 3 * HOUR)], 4, lead=timedelta(0))
    assert isinstance(sessions.book(desk, plan, "eve"), Planned)
    cut = office.lease(lease)
    assert (cut.ends_at, cut.ending) == (end + 18 * MINUTE, "reserved")
    [(meeting, _, both)] = seat_life.short_leases(desk)
    assert (meeting.session.id, both) == (session.id, cut.ends_at)
    assert seat_life.even_out(desk, session.id, "ann")
    # The promise holds; the seat's end, of which it is warned, is its lease's.
    assert office.lease(lease) == cut
    assert class_board.class_board(desk, session.id).by_user["ann"].seat.until == cut.ends_at
    entry = office.audit()[-1]
    assert (entry.actor, entry.action, entry.subject) == ("janitor", "seat.time", f"session {session.id}")
    assert (entry.before, entry.after, entry.why) == (
        {"user": "ann", "until": until.isoformat()},
        {"user": "ann", "until": cut.ends_at.isoformat()},
        "its lease ends then: reserved",
    )
    assert seat_life.short_leases(desk) == []
    assert not seat_life.even_out(desk, session.id, "ann")


def test_more_time_undoes_no_admins_word(office: Office, session: Session) -> None:
    desk, until = office.desk, session.ends_at + HOUR
    office.clock.now = session.starts_at
    lease = sit(office, session, "ann")
    done(seat_wishes.give_time(desk, session.id, "ann", until, "ines"))
    office.clock.now = session.ends_at - 5 * MINUTE
    ended = leases.end(desk, lease, "olga", "new fans", 10 * MINUTE)
    assert seat_life.even_out(desk, session.id, "ann")
    assert office.lease(lease) == ended
    assert class_board.class_board(desk, session.id).by_user["ann"].seat.until == ended.ends_at
    assert seat_life.short_leases(desk) == []


def test_while_its_session_runs_a_seat_keeps_its_time_for_another_lease(office: Office, session: Session) -> None:
    desk, until = office.desk, session.ends_at + HOUR
    office.clock.now = session.starts_at
    lease = sit(office, session, "ann")
    done(seat_wishes.give_time(desk, session.id, "ann", until, "ines"))
    leases.end(desk, lease, "olga", "new fans", 10 * MINUTE)
    assert seat_life.short_leases(desk) == []
    assert not seat_life.even_out(desk, session.id, "ann")
    assert class_board.class_board(desk, session.id).by_user["ann"].seat.until == until


def test_a_lease_gets_of_more_time_what_nobody_has_reserved(office: Office, session: Session) -> None:
    desk, end = office.desk, session.ends_at
    done(seat_wishes.give_time(desk, session.id, "ann", end + HOUR, "ines"))
    office.clock.now = session.starts_at
    lease = sit(office, session, "ann")
    office.reserve("art", end + 30 * MINUTE, end + 3 * HOUR, *office.lease(lease).slots)
    assert office.lease(lease).ends_at == end
    assert seat_life.even_out(desk, session.id, "ann")
    assert office.lease(lease).ends_at == end + 28 * MINUTE
    assert class_board.class_board(desk, session.id).by_user["ann"].seat.until == end + 28 * MINUTE
    assert [entry.action for entry in office.audit()[-2:]] == ["lease.extend", "seat.time"]


def test_more_memory(office: Office, session: Session) -> None:
    desk = office.desk
    more = done(seat_wishes.give_memory(desk, session.id, "ann", 4 << 30, "ines", "large pictures", most=8 << 30))
    assert more.memory == 4 << 30
    assert last(office)[1:4] == ("seat.memory", f"session {session.id}", {"user": "ann", "memory": 4 << 30})
    assert code(seat_wishes.give_memory(desk, session.id, "ann", 9 << 30, "ines", most=8 << 30)) == "over_limit"
    assert code(seat_wishes.give_memory(desk, session.id, "ann", 1 << 20, "ines")) == "invalid_option"
    assert done(seat_wishes.give_memory(desk, session.id, "ann", 0, "ines")).memory == 0
    office.clock.now = session.ends_at
    assert code(seat_wishes.give_memory(desk, session.id, "ann", 4 << 30, "ines")) == "session_over"


# --- guests -----------------------------------------------------------------------------------------------------------


def test_a_guest_sits_where_a_seat_is_left(office: Office, session: Session) -> None:
    desk = office.desk
    office.clock.now = session.starts_at
    assert seat_wishes.seats_left(desk, session.id) == 0
    assert code(seat_wishes.hand_over(desk, session.id, "eve", "ines")) == "no_seat_left"
    sit(office, session, "ann")
    for name in ("bob", "cyd"):
        sit(office, session, name, entered=False)
    office.wait(session.grace)
    assert seats.give_back(desk, session.id) == ("bob", "cyd")
    assert seat_wishes.seats_left(desk, session.id) == 2
    assert code(seat_wishes.hand_over(desk, session.id, "bob", "ines")) == "in_course"
    assert code(seat_wishes.hand_over(desk, session.id, "e/v", "ines")) == "invalid_option"
    guest = done(seat_wishes.hand_over(desk, session.id, "eve", "ines", "a visitor"))
    assert (guest.guest, guest.wish) == (True, Wish.START)
    assert last(office) == ("ines", "seat.guest", f"session {session.id}", {"user": "eve"}, "a visitor")
    assert seat_wishes.hand_over(desk, session.id, "eve", "ines") == guest
    assert seat_wishes.seats_left(desk, session.id) == 1
    assert code(seat_wishes.take_back(desk, session.id, "ann", "ines")) == "not_a_guest"
    seat_life.asked(desk, session.id, "eve")
    back = done(seat_wishes.take_back(desk, session.id, "eve", "ines"))
    assert (back.wish, back.given_back_at) == (Wish.STOP, office.clock.now)
    assert seat_wishes.seats_left(desk, session.id) == 2


# --- hands and visits -------------------------------------------------------------------------------------------------


def test_who_lowered_a_hand_is_kept(office: Office, session: Session) -> None:
    raised = seats.raise_hand(office.desk, session.id, "ann")
    office.wait(3 * MINUTE)
    assert seats.lower_hand(office.desk, session.id, "ann", "tom").hand_at is None
    entry = office.audit()[-1]
    assert raised.hand_at is not None
    assert entry.before == {"user": "ann", "raised_at": raised.hand_at.isoformat()}
    assert entry.at - raised.hand_at == 3 * MINUTE
    assert seats.lower_hand(office.desk, session.id, "ann", "tom").hand_at is None
    assert office.audit()[-1] == entry


def test_a_student_is_told_who_opened_the_server(office: Office, session: Session) -> None:
    desk = office.desk
    office.clock.now = session.starts_at
    assert code(seat_wishes.visit(desk, session.id, "ann", "tom")) == "seat_not_running"
    sit(office, session, "ann")
    assert done(seat_wishes.visit(desk, session.id, "ann", "tom", "asked for help")).user == "ann"
    seat_wishes.visit(desk, session.id, "ann", "tom")
    with office.ledger.reading() as books:
        (told,) = books.handouts.announcements(session.id, "ann")
    assert (told.kind, told.sent_by, told.user) == (Kind.VISIT, "tom", "ann")
    # Told once, audited each time.
    assert [entry.why for entry in office.audit() if entry.action == "seat.visit"] == ["asked for help", ""]


# --- the board --------------------------------------------------------------------------------------------------------


def test_the_board(office: Office, session: Session) -> None:
    desk = office.desk
    courses.enrol(desk, "ml", ["tom"], Role.ASSISTANT, "ines")
    empty = class_board.class_board(desk, session.id)
    assert (empty.phase, empty.left, empty.hands) == (Phase.PLANNED, 0, ())
    assert empty.counts == {SeatState.NOT_STARTED: 3}
    office.clock.now = session.starts_at - 2 * MINUTE
    lease = sit(office, session, "ann")
    sit(office, session, "bob", entered=False)
    seats.note(desk, session.id, "cyd", asked_at=office.clock.now, problem="The image is missing.")
    office.wait(MINUTE)
    seats.raise_hand(desk, session.id, "bob")
    office.wait(MINUTE)
    seats.raise_hand(desk, session.id, "ann")
    board = class_board.class_board(desk, session.id)
    assert [(one.user, one.state, one.role) for one in board.seats] == [
        ("ann", SeatState.WORKING, Role.STUDENT),
        ("bob", SeatState.READY, Role.STUDENT),
        ("cyd", SeatState.STUCK, Role.STUDENT),
    ]
    assert [one.user for one in board.hands] == ["bob", "ann"]
    first = board.by_user["ann"]
    assert first.lease is not None
    assert (first.lease.id, [slot.id for slot in first.slots]) == (lease, list(first.lease.slots))
    assert (board.warm_up.ready, board.warm_up.wanted) == (2, 3)
    # Ines shows something on a server of her own: a seat more on the board, and none less for students.
    seat_life.asked(desk, session.id, "ines")
    board = class_board.class_board(desk, session.id)
    assert (board.by_user["ines"].role, board.warm_up.wanted, board.left) == (Role.INSTRUCTOR, 3, 0)


def test_more_time_does_not_undo_an_admins_end(office: Office, session: Session) -> None:
    office.clock.now = session.starts_at
    lease = office.lease(sit(office, session, "ann"))
    leases.end(office.desk, lease.id, "olga", "The machine is serviced", 10 * MINUTE)
    ends = office.lease(lease.id).ends_at
    assert isinstance(
        seat_wishes.give_time(office.desk, session.id, "ann", session.ends_at + HOUR, "tom", "late bus"), Seat
    )
    assert office.lease(lease.id).ends_at == ends


def test_a_second_try_that_a_busy_hub_did_not_take_is_made_again(office: Office, session: Session) -> None:
    desk = office.desk
    office.clock.now = session.starts_at
    seat_life.asked(desk, session.id, "ann")
    seats.note(desk, session.id, "ann", problem="The server did not answer.")
    seat_life.asked(desk, session.id, "ann")
    assert seat_life.not_asked(desk, session.id, "ann")
    office.wait(MINUTE)
    [found] = [seat for seat in seats.board(desk, session.id)[1] if seat.user == "ann"]
    assert found.attempts == 1
    assert "ann" in due(session, ["ann"], [found], Pace(), office.clock.now)


def test_how_long_the_warm_up_takes(office: Office, session: Session) -> None:
    pace = Pace(timedelta(seconds=20), 2, timedelta(seconds=5))
    start = session.starts_at
    none = [Seat("s", f"u{number}") for number in range(10)]
    big = replace(session, seats=10)
    planned = class_board.warming(big, none, pace, NOW)
    # Five rounds of 30 s and a look each, begun so early that one of the last may fail and be tried again.
    again = timedelta(seconds=20 + 35)
    assert (planned.begins_at, planned.expected_at) == (start - timedelta(seconds=175) - again, start - again)
    now = start - MINUTE
    ready = [replace(seat, asked_at=now - 10 * timedelta(seconds=1), ready_at=now) for seat in none[:4]]
    going = class_board.warming(big, [*ready, *none[4:]], pace, now)
    assert (going.ready, going.wanted, going.begins_at) == (4, 10, None)
    assert going.expected_at == now + 3 * timedelta(seconds=15)  # as long as these took
    assert class_board.warming(big, [replace(one, ready_at=now) for one in none], pace, now).done
    over = class_board.warming(big, none, pace, session.ends_at)
    assert over.expected_at is None
