"""Courses and their sessions: certain once they are reserved, all or none, on both databases."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from spawner.errors import UnknownName
from spawner.operations import courses, inventory, leases, seat_wishes, session_changes, sessions
from spawner.operations.courses import Enrolled
from spawner.operations.leases import Granted
from spawner.operations.session_changes import Change, Changed
from spawner.operations.sessions import NoFit, Plan, Planned
from spawner.policy.classes import LONGEST, Course, Phase, Role, Seat, Session
from spawner.policy.ends import endings, notices
from spawner.policy.gpus import GpuState
from spawner.policy.leases import Lease, Reservation
from spawner.policy.model import Deny

from ..support.office import HOUR, MINUTE, NOW, Office, Tables
from ..support.slots import gpus, shared

COURSE = Course("ml", "Machine learning", "gpu", "", NOW, gpus=1)


@pytest.fixture
def taught(office: Office) -> Office:
    """Ines gives a course, on four GPUs."""
    office.fit(gpus(4))
    assert isinstance(courses.create(office.desk, COURSE, "ines"), Course)
    return office


def plan(starts: float = 2, hours: float = 2, seats: int = 3, *more: float, **other: Any) -> Plan:
    begins = [NOW + one * HOUR for one in (starts, *more)]
    return Plan("ml", [(begin, begin + hours * HOUR) for begin in begins], seats, **other)


def booked(office: Office, asked: Plan) -> Planned:
    answer = sessions.book(office.desk, asked, "ines", "weekly class")
    assert isinstance(answer, Planned), answer
    return answer


def denied(answer: object, code: str) -> str:
    assert isinstance(answer, Deny), answer
    assert answer.code == code
    return answer.reason


def written(office: Office) -> Tables:
    """Give all there is, but for the number of transactions."""
    return {name: rows for name, rows in office.tables().items() if name != "pool"}


# --- courses ----------------------------------------------------------------------------------------------------------


def test_who_makes_a_course_teaches_it(taught: Office) -> None:
    with taught.ledger.reading() as books:
        assert [(one.user, one.role) for one in books.courses.members("ml")] == [("ines", Role.INSTRUCTOR)]
    denied(courses.create(taught.desk, COURSE, "eve"), "course_exists")
    denied(courses.create(taught.desk, replace(COURSE, id="A B"), "eve"), "invalid_option")
    changed = courses.change(taught.desk, "ml", "ines", title="Deep learning", most_seats=3)
    assert isinstance(changed, Course)
    assert changed.version == 2
    entry = taught.audit()[-1]
    assert (entry.action, entry.subject, entry.after) == (
        "course.change",
        "course ml",
        {"title": "Deep learning", "most_seats": 3},
    )
    with pytest.raises(UnknownName, match="There is no course 'art'; there are: ml"):
        courses.change(taught.desk, "art", "ines", title="x")


def test_rosters(taught: Office) -> None:
    first = courses.enrol(taught.desk, "ml", ["bob", " ann ", "ann"], Role.STUDENT, "ines")
    assert first == Enrolled(added=("ann", "bob"))
    again = courses.enrol(taught.desk, "ml", ["ann", "cyd"], Role.STUDENT, "ines")
    assert again == Enrolled(added=("cyd",), kept=("ann",))
    assert courses.enrol(taught.desk, "ml", ["bob"], Role.ASSISTANT, "ines") == Enrolled(changed=("bob",))
    assert courses.expel(taught.desk, "ml", ["cyd", "nobody"], "ines") == ("cyd",)
    denied(courses.enrol(taught.desk, "ml", ["a/b"], Role.STUDENT, "ines"), "invalid_option")
    # Somebody always can change it.
    denied(courses.expel(taught.desk, "ml", ["ines"], "ines"), "last_instructor")
    denied(courses.enrol(taught.desk, "ml", ["ines"], Role.STUDENT, "ines"), "last_instructor")
    courses.enrol(taught.desk, "ml", ["ada"], Role.INSTRUCTOR, "ines")
    assert courses.expel(taught.desk, "ml", ["ines"], "ada") == ("ines",)


def test_an_archived_course_rests(taught: Office) -> None:
    made = booked(taught, plan()).sessions[0]
    assert "cancel them first" in denied(courses.archive(taught.desk, "ml", "ines"), "course_runs")
    sessions.cancel(taught.desk, made.id, "ines", "ill")
    assert isinstance(courses.archive(taught.desk, "ml", "ines"), Course)
    denied(courses.enrol(taught.desk, "ml", ["ann"], Role.STUDENT, "ines"), "course_archived")
    denied(sessions.book(taught.desk, plan(), "ines"), "course_archived")
    assert isinstance(courses.archive(taught.desk, "ml", "ines", back=True), Course)
    booked(taught, plan())


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_reservation_is_certain(taught: Office) -> None:
    long, short = taught.running("ann", hours=12), taught.running("bob", hours=1)
    answer = booked(taught, plan(seats=4))
    # Only who would run into it makes room, in time for seats to be started before the bell.
    assert [one.lease.id for one in answer.shortened] == [long.id]
    begin = NOW + 2 * HOUR - 15 * MINUTE
    end = begin - taught.desk.rules.turnover
    found = taught.lease(long.id)
    assert (found.ends_at, found.ending, found.warned) == (end, "reserved", None)
    assert taught.lease(short.id) == short
    assert [entry.action for entry in taught.audit()][-2:] == ["session.reserve", "lease.shorten"]
    # Nobody gets past it afterwards: a new lease ends before.
    new = taught.ask("cyd", hours=12)
    assert isinstance(new, Granted)
    assert new.lease.ends_at == end


def test_looking_changes_nothing(taught: Office) -> None:
    taught.running("ann", hours=12)
    before = written(taught)
    answer = sessions.preview(taught.desk, plan(seats=4), "ines")
    assert isinstance(answer, Planned)
    assert len(answer.shortened) == 1
    assert written(taught) == before


def test_too_many_seats_are_told_what_would_do(taught: Office) -> None:
    taught.fit(gpus(4), shared(8, index=4))
    other = courses.create(taught.desk, replace(COURSE, id="art", title="Art"), "eve")
    assert isinstance(other, Course)
    booked(taught, replace(plan(seats=4), course="art"))
    before = written(taught)
    answer = sessions.book(taught.desk, plan(seats=20), "ines")
    assert isinstance(answer, NoFit)
    assert answer.fit.seats == 8
    assert answer.denied.reason == "20 seats asked for, and there are 8 at 2027-03-01 14:00 UTC."
    assert written(taught) == before


def test_a_series_is_reserved_whole_or_not_at_all(taught: Office) -> None:
    weeks = [2 + 7 * 24 * number for number in range(4)]
    made = booked(taught, plan(weeks[0], 2, 4, *weeks[1:])).sessions
    assert len({one.series for one in made}) == 1
    assert made[0].series
    assert isinstance(courses.create(taught.desk, replace(COURSE, id="art", title="Art"), "eve"), Course)
    before = written(taught)
    # The third week is taken.
    answer = sessions.book(
        taught.desk, replace(plan(weeks[2] - 48, 2, 4, weeks[2] - 24, weeks[2]), course="art"), "eve"
    )
    assert isinstance(answer, NoFit)
    assert answer.starts_at == NOW + weeks[2] * HOUR
    assert answer.fit.times  # and when it would do
    assert written(taught) == before
    cancelled = sessions.cancel(taught.desk, made[1].id, "ines", "holidays", following=True)
    assert isinstance(cancelled, tuple)
    assert [one.id for one in cancelled] == [one.id for one in made[1:]]
    assert isinstance(sessions.book(taught.desk, replace(plan(weeks[2], 2, 4), course="art"), "eve"), Planned)
    denied(sessions.cancel(taught.desk, made[1].id, "ines", "again"), "session_over")


def test_cancelled_gpus_go_to_who_waits(taught: Office) -> None:
    # It begins so soon that nobody gets its GPUs meanwhile.
    made = booked(taught, plan(0.3, 2, 4)).sessions[0]
    waiting = taught.queued("ann")
    assert isinstance(sessions.cancel(taught.desk, made.id, "ines", "ill"), tuple)
    assert taught.ticket(waiting.id).lease
    assert sessions.find(taught.desk, made.id).phase(NOW) is Phase.CANCELLED


def test_a_class_on_cpus_reserves_nothing(office: Office) -> None:
    assert isinstance(courses.create(office.desk, replace(COURSE, gpus=0), "ines"), Course)
    made = booked(office, plan(seats=300))
    assert (made.reservations, made.sessions[0].reservation) == ((), "")


def test_the_calendar(taught: Office) -> None:
    first, second = booked(taught, plan(2, 1, 1, 26)).sessions
    assert sessions.upcoming(taught.desk, NOW, NOW + 24 * HOUR) == [(first, courses.find(taught.desk, "ml"))]
    found = sessions.upcoming(taught.desk, NOW, NOW + timedelta(days=7))
    assert [one.id for one, _ in found] == [first.id, second.id]
    with pytest.raises(UnknownName):
        sessions.find(taught.desk, "none")


# --- changes ----------------------------------------------------------------------------------------------------------


def changed(office: Office, session: str, **wanted: Any) -> Changed:
    answer = session_changes.change(office.desk, session, Change(**wanted), "ines", "moved")
    assert isinstance(answer, Changed), answer
    return answer


def reservation_of(office: Office, session: str) -> Reservation:
    with office.ledger.reading() as books:
        found = books.reservations.get(sessions.find_session(books, session).reservation)
    assert found is not None
    return found


def test_a_session_keeps_its_gpus_where_it_can(taught: Office) -> None:
    made = booked(taught, plan(seats=2)).sessions[0]
    before = reservation_of(taught, made.id)
    answer = changed(taught, made.id, starts_at=NOW + 3 * HOUR, ends_at=NOW + 6 * HOUR, seats=3, title="Trees")
    after = reservation_of(taught, made.id)
    assert (after.id, set(after.slots) > set(before.slots), len(after.slots)) == (before.id, True, 3)
    assert (after.starts_at, after.ends_at) == (NOW + 3 * HOUR - 15 * MINUTE, NOW + 6 * HOUR)
    assert sessions.find(taught.desk, made.id) == answer.session
    assert answer.session.version == 2
    entry = taught.audit()[-1]
    assert (entry.action, entry.why, entry.before["title"], entry.after["title"]) == (
        "session.change",
        "moved",
        "",
        "Trees",
    )
    assert entry.after.keys() == {"starts_at", "ends_at", "seats", "title"}
    changed(taught, made.id, seats=1)
    assert reservation_of(taught, made.id).slots[0] in after.slots
    # What says nothing new does nothing.
    audited = len(taught.audit())
    assert changed(taught, made.id, seats=1).session.version == 3
    assert len(taught.audit()) == audited


def test_a_change_that_does_not_fit_changes_nothing(taught: Office) -> None:
    made = booked(taught, plan(seats=2)).sessions[0]
    assert isinstance(courses.create(taught.desk, replace(COURSE, id="art", title="Art"), "eve"), Course)
    booked(taught, replace(plan(6, 2, 3), course="art"))
    before = written(taught)
    answer = session_changes.change(
        taught.desk, made.id, Change(starts_at=NOW + 6 * HOUR, ends_at=NOW + 8 * HOUR), "ines"
    )
    assert isinstance(answer, NoFit)
    assert answer.fit.seats == 1
    # The times that are offered hold, lead and all.
    again = session_changes.preview_change(
        taught.desk, made.id, Change(starts_at=answer.fit.times[0], ends_at=answer.fit.times[0] + 2 * HOUR)
    )
    assert isinstance(again, Changed)
    denied(session_changes.change(taught.desk, made.id, Change(seats=0), "ines"), "invalid_option")
    assert written(taught) == before


def test_moving_a_session_makes_room_and_gives_it_back(taught: Office) -> None:
    made = booked(taught, plan(8, 2, 4)).sessions[0]
    held = [taught.running(user, hours=5) for user in ("ann", "bob")]
    answer = changed(taught, made.id, starts_at=NOW + 2 * HOUR, ends_at=NOW + 4 * HOUR)
    assert {one.lease.id for one in answer.shortened} == {one.id for one in held}
    assert taught.lease(held[0].id).ending == "reserved"
    changed(taught, made.id, starts_at=NOW + 20 * HOUR, ends_at=NOW + 22 * HOUR)
    # It ends as it was to by then, but nobody is to blame for it, and it may be extended.
    assert taught.lease(held[0].id).ending == ""
    assert isinstance(leases.extend(taught.desk, held[0].id, 2, "ann"), Lease)


def in_session(office: Office, user: str, hours: float) -> Lease:
    return office.running(user, 1, hours, server="ml", course="ml")


def test_a_session_that_runs_is_lengthened(taught: Office) -> None:
    made = booked(taught, plan(0.5, 2, 2)).sessions[0]
    taught.wait(30 * MINUTE)
    seats = [in_session(taught, "ann", 2), in_session(taught, "bob", 2)]
    answer = session_changes.extend(taught.desk, made.id, HOUR, "ines")
    assert isinstance(answer, Changed)
    assert {one.id for one in answer.seats} == {one.id for one in seats}
    assert {taught.lease(one.id).ends_at for one in seats} == {NOW + 3.5 * HOUR}
    assert reservation_of(taught, made.id).ends_at == NOW + 3.5 * HOUR
    session_changes.extend(taught.desk, made.id, -2 * HOUR, "ines")
    assert {taught.lease(one.id).ends_at for one in seats} == {NOW + 1.5 * HOUR}
    for wanted in ({"seats": 3}, {"starts_at": NOW + HOUR}, {"exam": True}):
        answer = session_changes.change(taught.desk, made.id, Change(**wanted), "ines")
        assert "started or run already" in denied(answer, "session_begun")
    changed(taught, made.id, title="Trees", grace=30 * MINUTE)
    taught.wait(2 * HOUR)
    denied(session_changes.extend(taught.desk, made.id, HOUR, "ines"), "session_over")


def test_a_session_that_runs_is_lengthened_up_to_the_next(taught: Office) -> None:
    made = booked(taught, plan(0.5, 2, 3)).sessions[0]
    assert isinstance(courses.create(taught.desk, replace(COURSE, id="art", title="Art"), "eve"), Course)
    booked(taught, replace(plan(4, 2, 3), course="art"))
    taught.wait(HOUR)
    before = written(taught)
    told = denied(session_changes.extend(taught.desk, made.id, 2 * HOUR, "ines"), "no_capacity")
    # At 16:00, with a lead of a quarter of an hour, and two minutes for what is there before.
    assert told == "It can last until 15:43 UTC: after that, 3 of its GPUs are reserved for another class."
    assert written(taught) == before
    assert isinstance(session_changes.extend(taught.desk, made.id, HOUR, "ines"), Changed)


def given(office: Office, session: str, user: str, until: datetime) -> None:
    answer = seat_wishes.give_time(office.desk, session, user, until, "ines")
    assert isinstance(answer, Seat), answer


def until_of(office: Office, session: str, user: str) -> datetime | None:
    with office.ledger.reading() as books:
        seat = books.sessions.seat(session, user)
    assert seat is not None
    return seat.until


def test_more_time_moves_with_its_session(taught: Office) -> None:
    courses.enrol(taught.desk, "ml", ["ann", "bob"], Role.STUDENT, "ines")
    made = booked(taught, plan(24 * 4, 2, 2)).sessions[0]
    given(taught, made.id, "ann", made.ends_at + 30 * MINUTE)
    # Three days sooner, and it does not count as three days more.
    assert isinstance(courses.change(taught.desk, "ml", "olga", most_gpu_hours=6), Course)
    answer = changed(taught, made.id, starts_at=made.starts_at - 72 * HOUR, ends_at=made.ends_at - 72 * HOUR)
    sooner = made.ends_at - 72 * HOUR
    assert until_of(taught, made.id, "ann") == sooner + 30 * MINUTE
    assert [one.user for one in answer.prolonged] == ["ann"]
    moved, last = taught.audit()[-2:]
    assert (moved.actor, moved.action, moved.subject, moved.why) == ("ines", "seat.time", f"session {made.id}", "moved")
    assert moved.before == {"user": "ann", "until": (made.ends_at + 30 * MINUTE).isoformat()}
    assert moved.after == {"user": "ann", "until": (sooner + 30 * MINUTE).isoformat()}
    assert last.action == "session.change"
    # What has no other times moves nothing.
    assert changed(taught, made.id, title="Trees").prolonged == ()
    assert until_of(taught, made.id, "ann") == sooner + 30 * MINUTE


def test_more_time_moves_as_far_as_it_fits(taught: Office) -> None:
    courses.enrol(taught.desk, "ml", ["ann"], Role.STUDENT, "ines")
    made = booked(taught, plan(24, 2, 4)).sessions[0]
    given(taught, made.id, "ann", made.ends_at + HOUR)
    assert isinstance(courses.create(taught.desk, replace(COURSE, id="art", title="Art"), "eve"), Course)
    art = booked(taught, replace(plan(5, 2, 4, lead=timedelta(0)), course="art")).sessions[0]
    ends_at = art.starts_at - 20 * MINUTE
    changed(taught, made.id, starts_at=ends_at - 2 * HOUR, ends_at=ends_at)
    assert until_of(taught, made.id, "ann") == art.starts_at - taught.desk.rules.turnover
    changed(taught, made.id, ends_at=art.starts_at - taught.desk.rules.turnover)
    assert until_of(taught, made.id, "ann") is None


def test_no_seat_lasts_longer_than_a_session_may(taught: Office) -> None:
    courses.enrol(taught.desk, "ml", ["ann"], Role.STUDENT, "ines")
    made = booked(taught, plan(48, 20, 2)).sessions[0]
    given(taught, made.id, "ann", made.ends_at + 3 * HOUR)
    changed(taught, made.id, starts_at=made.starts_at - 3 * HOUR)
    assert until_of(taught, made.id, "ann") == made.starts_at - 3 * HOUR + LONGEST


def test_lengthening_a_session_breaks_no_reservation_after_a_seat(taught: Office) -> None:
    courses.enrol(taught.desk, "ml", ["ann"], Role.STUDENT, "ines")
    made = booked(taught, plan(0.5, 2, 1)).sessions[0]
    taught.wait(30 * MINUTE)
    held = in_session(taught, "ann", 2)
    given(taught, made.id, "ann", made.ends_at + HOUR)
    taught.reserve("art", made.ends_at + 30 * MINUTE, made.ends_at + HOUR, *held.slots)
    with taught.ledger.transaction() as books:
        was = books.leases.get(held.id)
        assert was is not None
        books.leases.update(replace(was, ends_at=made.ends_at + 28 * MINUTE, ending="reserved"), was)
    assert isinstance(session_changes.extend(taught.desk, made.id, 10 * MINUTE, "ines"), Changed)
    assert taught.lease(held.id).ends_at == made.ends_at + 28 * MINUTE


def test_who_makes_room_is_told_in_time(taught: Office) -> None:
    held = [taught.running(user, hours=5) for user in ("ann", "bob", "cyd")]
    answer = sessions.book(taught.desk, plan(0.25, 2, 2), "ines")
    assert isinstance(answer, NoFit)
    assert answer.fit.seats == 1
    assert {taught.lease(one.id).ends_at for one in held} == {NOW + 5 * HOUR}


def test_notices_name_the_class(taught: Office) -> None:
    held = taught.running("ann", hours=12)
    booked(taught, plan(seats=4))

    def told(wait: timedelta) -> list[str]:
        taught.wait(wait)
        return [one.text for one in notices(taught.lease(held.id), (30, 10), HOUR, MINUTE, taught.clock.now)]

    assert "reserved the GPU, so it goes back in 103 minutes" in told(timedelta(0))[0]
    assert "goes back in 30 minutes, for a class has reserved it" in told(73 * MINUTE)[0]
    [ending] = endings([taught.lease(held.id)], {}, taught.clock.now + HOUR)
    assert ending.why == "reserved"
    leases.release(taught.desk, held.id, ending.why)
    # A janitor that did not live to finish it is followed by another.
    assert endings([taught.lease(held.id)], {}, taught.clock.now)


def test_a_change_is_of_what_was_seen(taught: Office) -> None:
    made = booked(taught, plan()).sessions[0]

    def check(found: Session) -> None:
        assert found == made
        raise ValueError("another version was seen")

    with pytest.raises(ValueError, match="another version"):
        session_changes.change(taught.desk, made.id, Change(seats=1), "ines", check=check)
    assert sessions.find(taught.desk, made.id) == made


# --- what a course may take -------------------------------------------------------------------------------------------


def allow(office: Office, hours: float | None, **more: Any) -> None:
    assert isinstance(courses.change(office.desk, "ml", "olga", most_gpu_hours=hours, **more), Course)


def test_the_lead_counts_as_in_the_report(taught: Office) -> None:
    allow(taught, 12.5)
    told = denied(sessions.book(taught.desk, plan(hours=4), "ines"), "course_limit")
    assert told == "12.75 GPU-hours are needed, and 12.5 of this course's 12.5 are left."
    assert booked(taught, plan(hours=4, lead=timedelta(0))).sessions[0].gpu_hours == 12
    told = denied(sessions.book(taught.desk, plan(8, 1, 1), "ines"), "course_limit")
    assert told == "1.25 GPU-hours are needed, and 0.5 of this course's 12.5 are left."
    # A day's lead is a day's worth, as far as it is to come.
    told = denied(sessions.book(taught.desk, plan(8, 1, 1, lead=timedelta(days=1)), "ines"), "course_limit")
    assert "9 GPU-hours are needed" in told
    assert booked(taught, plan(8, 0.25, 1)).sessions[0].gpu_hours == 0.5


def test_calling_off_gives_back_only_what_is_to_come(taught: Office) -> None:
    allow(taught, 2.25)
    made = booked(taught, plan(2, 2, 1)).sessions[0]
    taught.clock.now = made.ends_at - MINUTE
    sessions.cancel(taught.desk, made.id, "ines", "done")
    told = denied(sessions.book(taught.desk, plan(5, 2, 1), "ines"), "course_limit")
    assert told == "2.25 GPU-hours are needed, and 0.01 of this course's 2.25 are left."
    allow(taught, 4.5)
    other = booked(taught, plan(5, 2, 1)).sessions[0]
    sessions.cancel(taught.desk, other.id, "ines", "ill")  # before anything was reserved
    booked(taught, plan(8, 2, 1))


def test_what_was_used_is_not_less_on_smaller_seats(taught: Office) -> None:
    allow(taught, 9.0, gpus=4)
    made = booked(taught, plan(2, 2, 1)).sessions[0]
    assert made.gpus == 4
    taught.clock.now = made.ends_at
    allow(taught, 9.0, gpus=1)
    told = denied(sessions.book(taught.desk, plan(5, 2, 1), "ines"), "course_limit")
    assert told == "2.25 GPU-hours are needed, and 0 of this course's 9 are left."
    # Nothing is asked of a class without GPUs, whatever the course has taken.
    allow(taught, 1.0, gpus=0)
    assert booked(taught, plan(5, 2, 1)).sessions[0].gpus == 0


def test_more_time_of_past_seats_counts(taught: Office) -> None:
    allow(taught, 10.0)
    courses.enrol(taught.desk, "ml", ["ann", "bob"], Role.STUDENT, "ines", agreed=True)
    made = booked(taught, plan(2, 2, 2)).sessions[0]
    until = made.ends_at + 90 * MINUTE
    for user in ("ann", "bob"):
        assert isinstance(seat_wishes.give_time(taught.desk, made.id, user, until, "ines"), Seat)
    taught.clock.now = until
    told = denied(sessions.book(taught.desk, plan(8, 2, 2), "ines"), "course_limit")
    assert told == "4.5 GPU-hours are needed, and 2.5 of this course's 10 are left."
    later = booked(taught, plan(8, 2, 1)).sessions[0]
    denied(seat_wishes.give_time(taught.desk, later.id, "ann", later.ends_at + HOUR, "ines"), "course_limit")


def test_a_change_counts_what_will_be(taught: Office) -> None:
    made = booked(taught, plan(8, 2, 1, lead=timedelta(hours=4))).sessions[0]
    assert made.gpu_hours == 6
    allow(taught, 6.0)
    denied(session_changes.change(taught.desk, made.id, Change(ends_at=made.ends_at + MINUTE), "ines"), "course_limit")
    # Nearer than its lead, it is reserved from now on, and has the rest for its seats.
    near = Change(starts_at=NOW + 2 * HOUR, ends_at=NOW + 6 * HOUR)
    changed = session_changes.change(taught.desk, made.id, near, "ines")
    assert isinstance(changed, Changed)
    assert changed.session == sessions.find(taught.desk, made.id)
    assert changed.session.gpu_hours == 6
    taught.wait(HOUR)
    at_once = session_changes.change(taught.desk, made.id, Change(ends_at=NOW + 5 * HOUR), "ines")
    assert isinstance(at_once, Changed)
    assert at_once.session.gpu_hours == 5


# --- GPUs that are lost -----------------------------------------------------------------------------------------------


def drain(office: Office, slot: str, state: GpuState = GpuState.DRAINING) -> None:
    with office.ledger.reading() as books:
        gpu = next(one.gpu for one in books.gpus.slots() if one.id == slot)
    inventory.set_state(office.desk, gpu, state, "olga", "broken")


def test_others_make_room_for_lost_gpus(taught: Office) -> None:
    held = taught.running("ann", hours=12)
    made = booked(taught, plan(seats=3)).sessions[0]
    before = reservation_of(taught, made.id)
    assert not set(before.slots) & set(held.slots)
    drain(taught, before.slots[0])
    after = reservation_of(taught, made.id)
    assert set(after.slots) == {*before.slots[1:], *held.slots}
    found = taught.lease(held.id)
    assert (found.ends_at, found.ending) == (NOW + 2 * HOUR - 17 * MINUTE, "reserved")
    assert [entry.action for entry in taught.audit()][-2:] == ["gpu.state", "lease.shorten"]


def test_nobody_is_cut_off_for_lost_gpus(taught: Office) -> None:
    made = booked(taught, plan(0.5, 1, 3)).sessions[0]  # from a quarter of an hour on
    held = taught.running("ann", hours=12)
    taught.wait(10 * MINUTE)
    before = reservation_of(taught, made.id)
    drain(taught, before.slots[0])
    assert reservation_of(taught, made.id) == before
    assert taught.lease(held.id) == held


def test_gpus_that_another_gives_up_replace_lost_ones(taught: Office) -> None:
    assert isinstance(courses.create(taught.desk, replace(COURSE, id="art", title="Art"), "eve"), Course)
    made = booked(taught, plan(seats=3)).sessions[0]
    other = booked(taught, replace(plan(seats=1), course="art")).sessions[0]
    lost = reservation_of(taught, made.id).slots[0]
    drain(taught, lost)
    assert lost in reservation_of(taught, made.id).slots
    freed = reservation_of(taught, other.id).slots
    sessions.cancel(taught.desk, other.id, "eve", "ill")
    assert set(reservation_of(taught, made.id).slots) > set(freed)
    assert lost not in reservation_of(taught, made.id).slots


def test_of_many_who_book_at_once_none_gets_what_another_has(taught: Office) -> None:
    names = [f"c{number}" for number in range(6)]
    for name in names:
        assert isinstance(courses.create(taught.desk, replace(COURSE, id=name), "eve"), Course)

    def reserve(name: str) -> object:
        return sessions.book(taught.desk, replace(plan(seats=3), course=name), "eve")

    with ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(reserve, names))
    # Four GPUs hold one class of three.
    assert Counter(type(one).__name__ for one in answers) == {"Planned": 1, "NoFit": 5}
    with taught.ledger.reading() as books:
        [reserved] = books.reservations.upcoming(NOW)
        assert len(set(reserved.slots)) == 3
        assert len(books.sessions.live(NOW)) == 1
