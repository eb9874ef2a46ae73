"""Reports on classes: who came, what was used and wasted, what failed, who waited."""

from dataclasses import replace
from datetime import timedelta

from spawner.operations import class_reports, courses, leases, seat_life, seat_wishes, seats, sessions
from spawner.operations.class_reports import Attendance, SessionReport
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Role, Session, Wish
from spawner.policy.handouts import Collected

from ..support.office import HOUR, MINUTE, NOW, Office
from .test_class_seats import session, sit

__all__ = ["session"]
HOUR_MS = 3_600_000


def row(report: SessionReport, user: str) -> Attendance:
    return next(one for one in report.rows if one.user == user)


def test_what_was_reserved_stays_so_on_other_seats(office: Office, session: Session) -> None:
    office.clock.now = session.ends_at
    courses.change(office.desk, "ml", "ines", gpus=0)
    report = class_reports.session_report(office.desk, session.id)
    assert report.reserved_ms == session.gpu_hours * HOUR_MS == 6.75 * HOUR_MS


def test_nothing_was_yet(office: Office, session: Session) -> None:
    report = class_reports.session_report(office.desk, session.id)
    assert (report.came, report.reserved_ms, report.leased_ms, report.usual_wait) == (0, 0, 0, None)
    assert class_reports.course_report(office.desk, "ml").sessions == ()


def test_what_no_seat_needs_is_reserved_until_the_grace_is_over(office: Office, session: Session) -> None:
    courses.expel(office.desk, "ml", ["cyd"], "ines")
    office.clock.now = session.starts_at
    for user in ("ann", "bob"):
        sit(office, session, user)
    office.wait(session.grace)
    seats.give_back(office.desk, session.id)
    office.wait(45 * MINUTE)
    report = class_reports.session_report(office.desk, session.id)
    lead = (NOW + 2 * HOUR - session.lead, session.starts_at)
    whole = (office.clock.now - lead[0]) // timedelta(milliseconds=1)
    assert report.reserved_ms == 2 * whole + (session.grace + session.lead) // timedelta(milliseconds=1)


def test_a_session(office: Office, session: Session) -> None:
    desk = office.desk
    office.clock.now = session.starts_at - 15 * MINUTE
    ann = sit(office, session, "ann", entered=False)
    bob = sit(office, session, "bob", entered=False)
    office.clock.now = session.starts_at + 6 * MINUTE
    seats.note(desk, session.id, "ann", entered_at=office.clock.now)
    seats.raise_hand(desk, session.id, "ann")
    office.wait(4 * MINUTE)
    seats.lower_hand(desk, session.id, "ann", "tom")
    seat_wishes.visit(desk, session.id, "ann", "tom")
    seat_wishes.wish(desk, session.id, "ann", Wish.RESTART, "tom")
    seat_life.asked(desk, session.id, "ann")
    seats.note(desk, session.id, "ann", ready_at=office.clock.now, active_at=session.starts_at + HOUR)
    office.clock.now = session.starts_at + 15 * MINUTE
    # Bob's is idle all the time, and goes back; Cyd's was never started.
    assert seats.give_back(desk, session.id) == ("bob",)
    held = office.lease(bob)
    with office.ledger.transaction() as books:
        books.leases.update(replace(held, idle_ms=30 * 60_000), held)
    leases.release(desk, bob, "stopped")
    leases.close(desk, bob, office.clock.now)
    office.clock.now = session.ends_at
    seats.raise_hand(desk, session.id, "ann")
    leases.release(desk, ann, "expired")
    leases.close(desk, ann, office.clock.now)
    with office.ledger.transaction() as books:
        taken = Collected("c1", session.id, "ann", "work", office.clock.now, "x/ann.tar.gz", 3, 900, "ab" * 32)
        books.handouts.collect(taken)
    office.wait(5 * MINUTE)
    report = class_reports.session_report(desk, session.id)
    first = row(report, "ann")
    assert (first.came, first.late, first.stayed) == (True, 6 * MINUTE, 54 * MINUTE)
    assert (first.starts, first.restarts, first.failed, first.visits) == (2, 1, 0, 1)
    assert [(one.lowered_by, one.length(report.at)) for one in first.hands] == [("tom", 4 * MINUTE), ("", 5 * MINUTE)]
    assert first.collected == taken
    assert first.leased_ms == 2.25 * HOUR_MS
    second = row(report, "bob")
    assert (second.came, second.leased_ms, second.idle_ms) == (False, 0.5 * HOUR_MS, 0.5 * HOUR_MS)
    assert row(report, "cyd").starts == 0
    # Two seats for two hours and a quarter, one until it went back.
    assert report.reserved_ms == (2 * 2.25 + 0.5) * HOUR_MS
    assert (report.leased_ms, report.idle_ms) == (2.75 * HOUR_MS, 0.5 * HOUR_MS)
    assert (report.unused_ms, report.wasted_ms) == (2.25 * HOUR_MS, 2.75 * HOUR_MS)
    assert report.usual_wait == timedelta(seconds=270)
    # A hand that was up to the end stays in the report when the seat is over.
    assert seat_life.ended(desk, session.id, "ann")
    office.wait(HOUR)
    last = row(class_reports.session_report(desk, session.id), "ann").hands[-1]
    assert (last.raised_at, last.lowered_at, last.lowered_by) == (
        session.ends_at,
        session.ends_at + 5 * MINUTE,
        "janitor",
    )
    whole = class_reports.course_report(desk, "ml")
    assert [one.session.id for one in whole.sessions] == [session.id]
    assert (whole.used_ms, whole.wasted_ms) == (2.25 * HOUR_MS, 2.75 * HOUR_MS)
    student = whole.students[0]
    assert (student.user, student.sessions, student.came, student.hands, student.collected) == ("ann", 1, 1, 2, 1)


def test_each_session_has_its_own_use(office: Office, session: Session) -> None:
    desk = office.desk
    begins = session.ends_at + 10 * MINUTE
    answer = sessions.book(desk, Plan("ml", [(begins, begins + HOUR)], 3, lead=5 * MINUTE), "ines")
    assert isinstance(answer, Planned)
    office.clock.now = session.starts_at
    first = sit(office, session, "ann")
    office.clock.now = session.ends_at
    leases.release(desk, first, "expired")
    leases.close(desk, first, office.clock.now)
    courses.enrol(desk, "ml", ["dan"], Role.STUDENT, "ines")  # for what comes
    second = answer.sessions[0]
    office.clock.now = begins
    sit(office, second, "ann")
    office.wait(30 * MINUTE)
    reports = [class_reports.session_report(desk, one.id) for one in (session, second)]
    assert [row(one, "ann").leased_ms for one in reports] == [2 * HOUR_MS, 0.5 * HOUR_MS]
    assert [one.user for one in reports[0].rows] == ["ann", "bob", "cyd"]
    assert "dan" in [one.user for one in reports[1].rows]
    whole = class_reports.course_report(desk, "ml")
    assert [one.session.id for one in whole.sessions] == [second.id, session.id]
    assert whole.students[0].leased_ms == 2.5 * HOUR_MS
    assert whole.at > NOW
