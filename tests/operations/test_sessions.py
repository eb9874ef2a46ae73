"""Courses and their sessions: certain once they are reserved, all or none, on both databases."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from spawner.errors import UnknownName
from spawner.operations import courses, sessions
from spawner.operations.courses import Enrolled
from spawner.operations.leases import Granted
from spawner.operations.sessions import NoFit, Plan, Planned
from spawner.policy.classes import Course, Phase, Role
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
