"""Who comes by a launch of a learning platform, on each database."""

from dataclasses import replace

import pytest

from spawner.operations import courses
from spawner.operations.launches import Arrival, arrive
from spawner.policy.classes import Course, Member, Role
from spawner.policy.launches import Launch

from ..support.office import NOW, Office

STUDENT = Launch("ctx", "ml", Role.STUDENT)


@pytest.fixture(autouse=True)
def _course(office: Office) -> None:
    courses.create(office.desk, Course("ml", "Machine learning", "cpu", "", NOW), "ines")


def member(office: Office, user: str) -> Member | None:
    with office.ledger.reading() as books:
        return books.courses.member("ml", user)


def role(office: Office, user: str) -> Role | None:
    found = member(office, user)
    return None if found is None else found.role


def come(office: Office, user: str, launch: Launch, **more: bool) -> Arrival:
    return arrive(office.desk, user, launch, {}, **more)


def test_a_student_enters_and_has_agreed(office: Office) -> None:
    assert come(office, "ann", STUDENT) == Arrival("ml", entered=True)
    assert member(office, "ann") == Member("ml", "ann", Role.STUDENT, NOW, "ann", "lti", NOW)
    entry = office.audit()[-1]
    assert (entry.actor, entry.action, entry.subject) == ("ann", "course.enrol", "course ml")
    # By the next launch nothing changes, and nothing is written.
    before = office.tables()
    assert come(office, "ann", STUDENT) == Arrival("ml")
    assert office.tables() == before


def test_staff_come_by_the_settings(office: Office) -> None:
    for wanted in (Role.ASSISTANT, Role.INSTRUCTOR):
        arrived = arrive(office.desk, wanted, Launch("ctx", "other", wanted), {"ctx": "ml"})
        assert (arrived, role(office, wanted)) == (Arrival("ml", entered=True), wanted)


def test_staff_come_by_the_parameter_only_where_it_is_trusted(office: Office) -> None:
    launch = Launch("ctx", "ml", Role.INSTRUCTOR)
    refused = come(office, "mal", launch)
    assert (refused.course, refused.entered, role(office, "mal")) == ("", False, None)
    assert "sign_in.courses with the platform's id 'ctx': 'ml'" in refused.problem
    assert come(office, "mal", launch, staff_by_parameter=True).entered
    assert role(office, "mal") is Role.INSTRUCTOR


def test_a_launch_lowers_nobody(office: Office) -> None:
    courses.enrol(office.desk, "ml", ["tom"], Role.ASSISTANT, "ines")
    for user, was in (("ines", Role.INSTRUCTOR), ("tom", Role.ASSISTANT)):
        assert come(office, user, STUDENT) == Arrival("ml")
        assert role(office, user) is was
    # Nor does it where somebody was put higher in between.
    done = courses.enrol(office.desk, "ml", ["ines", "tom"], Role.STUDENT, "tom", lower=False)
    assert done == courses.Enrolled(kept=("ines", "tom"))
    assert role(office, "ines") is Role.INSTRUCTOR


def test_a_launch_raises(office: Office) -> None:
    come(office, "ann", STUDENT)
    arrived = arrive(office.desk, "ann", replace(STUDENT, role=Role.ASSISTANT), {"ctx": "ml"})
    assert (arrived.entered, role(office, "ann")) == (True, Role.ASSISTANT)


def test_who_was_written_down_is_asked_as_ever(office: Office) -> None:
    courses.enrol(office.desk, "ml", ["ann"], Role.STUDENT, "ines")
    assert come(office, "ann", STUDENT) == Arrival("ml")
    found = member(office, "ann")
    assert found is not None
    assert (found.via, found.agreed_at) == ("roster", None)


def test_who_is_in_the_course_lands_there_whatever_the_launch_says(office: Office) -> None:
    assert come(office, "ines", replace(STUDENT, role=None)) == Arrival("ml")
    assert come(office, "ines", replace(STUDENT, role=Role.INSTRUCTOR)) == Arrival("ml")
    courses.archive(office.desk, "ml", "ines")
    assert come(office, "ines", STUDENT) == Arrival("ml")


@pytest.mark.parametrize("parameter", ["nothing", "ML", "a\x00b", "ml; DROP TABLE members", "ü" * 5000])
def test_a_course_that_is_not_there_is_not_made(office: Office, parameter: str) -> None:
    before = office.tables()
    arrived = come(office, "ann", replace(STUDENT, parameter=parameter), staff_by_parameter=True)
    assert arrived.course == ""
    assert "There is no course" in arrived.problem
    assert office.tables() == before


def test_an_archived_course_takes_nobody(office: Office) -> None:
    courses.archive(office.desk, "ml", "ines")
    arrived = come(office, "ann", STUDENT)
    assert (arrived.course, role(office, "ann")) == ("", None)
    assert arrived.problem == "Machine learning is archived; bring it back first."
