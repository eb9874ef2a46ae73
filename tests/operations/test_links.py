"""Join links: who comes in by one, how many, and until when; and rosters that follow a group."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from spawner.errors import UnknownName
from spawner.operations import courses, links, rosters
from spawner.operations.desk import Desk
from spawner.policy.classes import Course, Role
from spawner.policy.joining import JoinLink
from spawner.policy.model import Deny
from spawner.policy.rosters import parse

from ..support.office import HOUR, NOW, Office

WEEK = timedelta(days=7)


@pytest.fixture
def course(office: Office) -> Course:
    made = courses.create(office.desk, Course("ml", "Machine learning", "cpu", "ines", NOW), "ines")
    assert isinstance(made, Course)
    return made


def link(office: Office, role: Role = Role.STUDENT, cap: int | None = None) -> JoinLink:
    made = links.make(office.desk, "ml", role, office.clock.now + WEEK, "ines", cap)
    assert isinstance(made, JoinLink)
    return made


def members(office: Office) -> dict[str, tuple[Role, str]]:
    with office.ledger.reading() as books:
        return {one.user: (one.role, one.via) for one in books.courses.members("ml")}


def used(office: Office, made: JoinLink) -> int:
    return links.look(office.desk, made.token)[0].used


def denied(answer: object) -> str:
    assert isinstance(answer, Deny), answer
    return answer.code


@pytest.mark.usefixtures("course")
def test_who_has_a_link_comes_in_once(office: Office) -> None:
    made = link(office, Role.ASSISTANT, cap=2)
    first = links.join(office.desk, made.token, "tara")
    assert isinstance(first, links.Joined)
    assert (first.role, first.already) == (Role.ASSISTANT, False)
    again = links.join(office.desk, made.token, "tara")
    assert isinstance(again, links.Joined)
    assert again.already
    assert used(office, made) == 1
    # An instructor who tries the link stays one.
    tried = links.join(office.desk, made.token, "ines")
    assert isinstance(tried, links.Joined)
    assert (tried.role, tried.already) == (Role.INSTRUCTOR, True)
    assert members(office) == {"ines": (Role.INSTRUCTOR, "roster"), "tara": (Role.ASSISTANT, "link")}
    assert not isinstance(links.join(office.desk, made.token, "tim"), Deny)
    assert denied(links.join(office.desk, made.token, "tom")) == "link_full"


@pytest.mark.usefixtures("course")
def test_links_end(office: Office) -> None:
    made = link(office)
    office.wait(WEEK)
    assert denied(links.join(office.desk, made.token, "ann")) == "link_ended"
    other = link(office)
    gone = links.revoke(office.desk, "ml", links.id_of(other), "ines")
    assert gone.revoked_at == office.clock.now
    office.wait(HOUR)
    assert links.revoke(office.desk, "ml", links.id_of(other), "ines") == gone
    assert denied(links.join(office.desk, other.token, "ann")) == "link_ended"
    third = link(office)
    courses.archive(office.desk, "ml", "ines")
    assert denied(links.join(office.desk, third.token, "ann")) == "course_archived"
    assert denied(links.make(office.desk, "ml", Role.STUDENT, office.clock.now + HOUR, "ines")) == "course_archived"
    assert members(office).keys() == {"ines"}
    assert [one.token for one in links.of_course(office.desk, "ml")] == [third.token, other.token, made.token]


@pytest.mark.usefixtures("course")
@pytest.mark.parametrize(
    ("role", "ends", "cap"),
    [
        (Role.INSTRUCTOR, HOUR, None),
        (Role.STUDENT, -HOUR, None),
        (Role.STUDENT, 0 * HOUR, None),
        (Role.STUDENT, timedelta(days=400), None),
        (Role.STUDENT, HOUR, 0),
        (Role.STUDENT, HOUR, 5001),
    ],
)
def test_links_that_cannot_be(office: Office, role: Role, ends: timedelta, cap: int | None) -> None:
    assert denied(links.make(office.desk, "ml", role, office.clock.now + ends, "ines", cap)) == "invalid_option"


@pytest.mark.usefixtures("course")
@pytest.mark.parametrize("token", ["", "x", "a\x00b", "ä", "x" * 10_000, "' OR 1=1"])
def test_no_such_link(office: Office, token: str) -> None:
    with pytest.raises(UnknownName, match="no such link"):
        links.look(office.desk, token)
    with pytest.raises(UnknownName, match="no such link"):
        links.join(office.desk, token, "ann")
    with pytest.raises(UnknownName, match="no link"):
        links.revoke(office.desk, "ml", token, "ines")


@pytest.mark.usefixtures("course")
def test_no_more_than_the_cap_at_once(office: Office) -> None:
    made, gate = link(office, cap=3), threading.Barrier(8)
    desk = Desk(office.ledger, office.desk.limits, clock=office.clock)

    def join(number: int) -> links.Joined | Deny:
        gate.wait()
        return links.join(desk, made.token, f"user{number}")

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(join, range(8)))
    assert sum(isinstance(answer, links.Joined) for answer in answers) == 3
    assert {answer.code for answer in answers if isinstance(answer, Deny)} == {"link_full"}
    assert (used(office, made), len(members(office))) == (3, 4)


@pytest.mark.usefixtures("course")
def test_the_same_twice_at_once_counts_once(office: Office) -> None:
    made, gate = link(office, cap=1), threading.Barrier(4)
    desk = Desk(office.ledger, office.desk.limits, clock=office.clock)

    def join(_: int) -> links.Joined | Deny:
        gate.wait()
        return links.join(desk, made.token, "ann")

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(join, range(4)))
    assert sorted(answer.already for answer in answers if isinstance(answer, links.Joined)) == [False, True, True, True]
    assert used(office, made) == 1


@pytest.mark.usefixtures("course")
def test_the_audit_has_no_token(office: Office) -> None:
    made = link(office)
    links.join(office.desk, made.token, "ann")
    links.revoke(office.desk, "ml", links.id_of(made), "ines", "it leaked")
    told = [(entry.action, entry.actor) for entry in office.audit()][1:]
    assert told == [("course.link", "ines"), ("course.join", "ann"), ("course.unlink", "ines")]
    assert made.token not in repr(office.tables()["audit"])
    assert links.id_of(made) in repr(office.tables()["audit"])
    assert len(made.token) >= 22  # 128 bits


# --- groups -----------------------------------------------------------------------------------------------------------


def test_a_roster_follows_a_group(office: Office, course: Course) -> None:
    courses.change(office.desk, "ml", "ines", group="physics")
    courses.enrol(office.desk, "ml", ["bob"], Role.STUDENT, "ines")
    courses.enrol(office.desk, "ml", ["tara"], Role.ASSISTANT, "ines")
    came, gone = rosters.follow_group(office.desk, "ml", ["ann", "bob", "tara", "a/b", "x\n"], "janitor")
    assert (came.added, came.kept, gone) == (("ann",), ("bob", "tara"), ())
    assert members(office)["ann"] == (Role.STUDENT, "group")
    count = len(office.audit())
    assert rosters.follow_group(office.desk, "ml", ["ann", "bob", "tara"], "janitor")[0].added == ()
    assert len(office.audit()) == count  # nothing has changed
    # Only who came by the group goes with it.
    came, gone = rosters.follow_group(office.desk, "ml", ["eve"], "janitor")
    assert (came.added, gone) == (("eve",), ("ann",))
    assert members(office).keys() == {"ines", "bob", "tara", "eve"}
    courses.archive(office.desk, "ml", "ines")
    assert rosters.follow_group(office.desk, "ml", [], "janitor") == (courses.Enrolled(), ())
    assert "eve" in members(office)
    assert course.group == ""


@pytest.mark.usefixtures("course")
def test_what_a_roster_would_change(office: Office) -> None:
    courses.enrol(office.desk, "ml", ["bob", "eve"], Role.STUDENT, "ines")
    courses.enrol(office.desk, "ml", ["tara"], Role.ASSISTANT, "ines")
    before = office.tables()
    found = rosters.preview(office.desk, "ml", "Ann\nbob\nTARA\nno good\n", Role.STUDENT)
    assert (found.added, found.kept, found.missing) == (("ann",), ("bob", "tara"), ("eve",))
    assert found.changed == {}
    raised = rosters.preview(office.desk, "ml", "bob\ntara", Role.ASSISTANT)
    assert (raised.changed, raised.kept, raised.missing) == ({"bob": Role.STUDENT}, ("tara",), ())
    assert [one.line for one in found.mistakes] == [4]
    assert office.tables() == before
    assert replace(found, mistakes=()).added == ("ann",)
    with pytest.raises(UnknownName):
        rosters.preview(office.desk, "nowhere", "ann", Role.STUDENT)


@pytest.mark.usefixtures("course")
def test_a_roster_with_roles(office: Office) -> None:
    courses.enrol(office.desk, "ml", ["bob", "eve"], Role.STUDENT, "ines")
    courses.enrol(office.desk, "ml", ["tara", "tim"], Role.ASSISTANT, "ines")
    text = "username,role\nines,student\nann,\nbob,assistant\ntara,assistant\nzoe,assistant\n"
    found = rosters.preview(office.desk, "ml", text, Role.STUDENT)
    assert (found.added, found.changed) == (("ann", "zoe"), {"bob": Role.STUDENT})
    assert (found.kept, found.missing) == (("ines", "tara"), ("eve", "tim"))
    assert found.roles == {"ann": Role.STUDENT, "bob": Role.ASSISTANT, "zoe": Role.ASSISTANT}
    before, roster = len(office.audit()), parse(text)
    done = courses.enrol(office.desk, "ml", roster.users, Role.STUDENT, "ines", roles=roster.roles, lower=False)
    assert done == courses.Enrolled(("ann", "zoe"), ("bob",), ("ines", "tara"))
    assert {name: role for name, (role, _) in members(office).items()} == {
        "ines": Role.INSTRUCTOR,
        "ann": Role.STUDENT,
        "eve": Role.STUDENT,
        **dict.fromkeys(("bob", "tara", "tim", "zoe"), Role.ASSISTANT),
    }
    told = [entry.after for entry in office.audit()[before:]]
    assert told == [{"role": "assistant", "users": ["zoe", "bob"]}, {"role": "student", "users": ["ann"]}]
