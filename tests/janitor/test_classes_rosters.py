"""Who belongs to a course, as the hub learns of it; whom its staff may visit; what is nobody's seat."""

from dataclasses import replace

import pytest

from spawner.engine import containers
from spawner.janitor.classes_endings import ending_steps
from spawner.janitor.classes_rosters import roster_steps
from spawner.janitor.classes_seats import seat_steps
from spawner.janitor.classes_warmup import warmup_steps
from spawner.janitor.hub import HubUnavailable
from spawner.operations import courses, seat_wishes, sessions
from spawner.policy.classes import Course, Phase, Role, Seat, SeatState, Wish
from spawner.policy.model import AtEnd

from ..support.office import MINUTE
from .school import COURSE, SECOND, STUDENTS, School, book

# --- people, groups, shares -------------------------------------------------------------------------------------------


def test_the_hub_learns_of_a_course(school: School) -> None:
    hub = school.hub
    hub.users |= {"ann", "eve"}
    school.settle(roster_steps)
    assert hub.users == {*STUDENTS, "ines", "tom", "eve"}
    assert hub.groups == {"course-ml-students": set(STUDENTS), "course-ml-staff": {"ines", "tom"}}
    # Nothing has changed, so the hub is not even asked.
    asked = len(hub.asked)
    assert school.turn(roster_steps) == []
    assert len(hub.asked) == asked
    courses.expel(school.office.desk, "ml", ["ann"], "ines")
    courses.enrol(school.office.desk, "ml", ["bob"], Role.ASSISTANT, "ines")
    school.settle(roster_steps)
    assert hub.groups == {"course-ml-students": {"cyd", "dan"}, "course-ml-staff": {"ines", "tom", "bob"}}
    # What somebody else does to the groups is put right.
    hub.groups["course-ml-staff"].add("eve")
    school.born_again()
    school.settle(roster_steps)
    assert hub.groups["course-ml-staff"] == {"ines", "tom", "bob"}


def test_staff_enter_only_with_leave(school: School) -> None:
    desk, hub = school.office.desk, school.hub
    courses.expel(desk, "ml", ["ann"], "ines")
    courses.enrol(desk, "ml", ["ann"], Role.STUDENT, "ines")
    school.at(-1)
    school.settle()
    others = {user for user in STUDENTS if user != "ann"}
    assert hub.shares == {(user, "ml", staff) for user in others for staff in ("ines", "tom")}
    courses.agree(desk, "ml", "ann")
    school.settle()
    assert hub.shares == {(user, "ml", staff) for user in STUDENTS for staff in ("ines", "tom")}


def test_who_cannot_be_a_user_keeps_nobody_else_out(school: School) -> None:
    courses.enrol(school.office.desk, "ml", ["!x"], Role.STUDENT, "ines")
    school.turn(roster_steps)
    school.turn(roster_steps)
    assert school.hub.groups["course-ml-students"] == set(STUDENTS)


def test_a_course_follows_its_group(school: School) -> None:
    desk, hub = school.office.desk, school.hub
    courses.change(desk, "ml", "ines", group="ml-2027")
    school.settle(roster_steps)  # there is no such group, which changes nothing
    hub.users |= {"eve", "fay"}
    hub.groups["ml-2027"] = {"eve", "fay", "ann", "tom"}
    school.born_again()
    school.settle(roster_steps)
    assert hub.groups["course-ml-students"] == {*STUDENTS, "eve", "fay"}
    with school.office.ledger.reading() as books:
        assert {one.user: one.via for one in books.courses.members("ml", [Role.STUDENT])}["eve"] == "group"
    hub.groups["ml-2027"] = {"fay"}
    school.born_again()
    school.settle(roster_steps)
    # Ann is on the roster as well.
    assert hub.groups["course-ml-students"] == {*STUDENTS, "fay"}
    del hub.groups["ml-2027"]
    school.born_again()
    school.settle(roster_steps)
    assert hub.groups["course-ml-students"] == {*STUDENTS, "fay"}


def test_staff_may_enter_the_seats_of_their_course_and_nothing_else(school: School) -> None:
    hub, desk = school.hub, school.office.desk
    hub.users |= {"eve"}
    school.at(-1)
    school.settle()
    hub.run("ann", "")
    hub.run("eve", "ml")  # whose server is called like the course, by chance
    hub.run("ines", "ml")
    school.settle()
    assert hub.shares == {(user, "ml", staff) for user in STUDENTS for staff in ("ines", "tom")}
    # A stopped seat stays shared; who leaves takes their server along.
    del hub.servers["bob", "ml"]
    courses.expel(desk, "ml", ["ann"], "ines")
    school.settle(roster_steps)
    assert hub.shares == {(user, "ml", staff) for user in ("bob", "cyd", "dan") for staff in ("ines", "tom")}
    courses.expel(desk, "ml", ["tom"], "ines")
    hub.shares.add(("eve", "", "tom"))  # whoever shares their own server with him
    school.settle(roster_steps)
    assert hub.shares == {("eve", "", "tom"), *((user, "ml", "ines") for user in ("bob", "cyd", "dan"))}
    hub.servers.clear()
    school.at(121)
    school.settle()
    assert isinstance(courses.archive(desk, "ml", "ines"), Course)
    school.settle(roster_steps)
    assert hub.shares == {("eve", "", "tom")}
    assert hub.groups == {"course-ml-students": set(), "course-ml-staff": set()}


@pytest.mark.parametrize("how", ["expelled", "archived", "group gone"])
def test_who_leaves_while_in_no_group_of_the_hub_loses_every_seat(school: School, how: str) -> None:
    """A provider that gives groups takes ours from whoever signs in; the janitor gives them back some time later."""
    desk, hub = school.office.desk, school.hub
    school.at(-1)
    school.settle()
    assert ("ann", "ml", "tom") in hub.shares
    hub.shares.add(("eve", "", "tom"))
    if how == "group gone":
        del hub.groups["course-ml-staff"]
    else:
        hub.groups["course-ml-staff"].discard("tom")
    courses.expel(desk, "ml", ["ann"], "ines")  # whose seat is no seat of the course any more, either
    courses.expel(desk, "ml", ["tom"], "ines")
    if how == "archived":
        sessions.cancel(desk, school.session.id, "ines", "ill")
        school.office.wait(20 * SECOND)
        school.settle(ending_steps)
        assert isinstance(courses.archive(desk, "ml", "ines"), Course)
    school.born_again()
    school.settle(roster_steps)
    left = set() if how == "archived" else {(user, "ml", "ines") for user in ("bob", "cyd", "dan")}
    assert hub.shares == {("eve", "", "tom"), *left}
    with school.office.ledger.reading() as books:
        assert books.courses.shares("ml") == sorted((owner, user) for owner, _, user in left)


def test_what_was_given_by_a_janitor_that_died_is_taken_back(school: School) -> None:
    """The hub does what it is asked, and nobody hears of it."""
    desk, hub = school.office.desk, school.hub
    school.checks = False
    school.at(-1)
    school.settle(warmup_steps, seat_steps)
    before = len(hub.asked)
    school.settle(roster_steps)
    shares = [number for number, asked in enumerate(hub.asked[before:], 1) if asked.startswith("POST /hub/api/shares")]
    assert len(shares) == 8
    with school.office.ledger.transaction() as books:
        for owner, _, user in hub.shares:
            books.courses.remove_share("ml", owner, user)
    hub.shares.clear()
    for group in hub.groups.values():
        group.clear()
    school.born_again()
    hub.gone_at = len(hub.asked) + shares[3] - 2  # of which two made groups
    with pytest.raises(HubUnavailable):
        school.settle(roster_steps)
    assert hub.shares
    hub.restart()
    for group in hub.groups.values():
        group.clear()
    courses.expel(desk, "ml", ["tom"], "ines")
    school.born_again()
    school.settle(roster_steps)
    assert {user for _, _, user in hub.shares} == {"ines"}


def test_staff_enter_seats_of_a_session_and_no_servers_that_go_on(school: School) -> None:
    desk, hub = school.office.desk, school.hub
    courses.change(desk, "ml", "ines", at_end=AtEnd.CPU)
    hub.users |= set(STUDENTS)
    hub.run("ann", "ml")  # goes on since an earlier session
    school.settle(roster_steps)
    assert hub.shares == set()
    school.come()
    assert hub.shares == {(user, "ml", staff) for user in STUDENTS for staff in ("ines", "tom")}
    until = school.session.ends_at + 30 * MINUTE
    assert isinstance(seat_wishes.give_time(desk, school.session.id, "ann", until, "ines"), Seat)
    school.at(120)
    school.settle()
    assert len(hub.servers) == 4
    assert hub.shares == {("ann", "ml", staff) for staff in ("ines", "tom")}
    school.at(150)
    school.settle()
    assert ("ann", "ml") in hub.servers
    assert hub.shares == set()


def test_servers_of_former_staff_are_stopped(school: School) -> None:
    """The work that is collected can be read in them, for as long as they run."""
    desk, hub = school.office.desk, school.hub
    courses.change(desk, "ml", "ines", at_end=AtEnd.CPU)
    courses.enrol(desk, "ml", ["uma"], Role.ASSISTANT, "ines")
    school.come()
    for user in ("ines", "tom", "uma"):
        hub.run(user, "ml", staff=True)
    hub.run("tom", "")
    school.at(120)
    school.settle()
    assert {user for user, _ in hub.servers} == {*STUDENTS, "ines", "tom", "uma"}
    courses.expel(desk, "ml", ["tom", "bob"], "ines")
    courses.enrol(desk, "ml", ["uma"], Role.STUDENT, "ines")
    school.settle()
    assert hub.servers.keys() == {("tom", ""), ("ines", "ml"), *((user, "ml") for user in STUDENTS)}
    assert sorted(key for key in hub.saved if key[0] in {"tom", "uma"}) == [("tom", "ml"), ("uma", "ml")]
    noted = [entry for entry in school.office.audit() if entry.action == "course.stop"]
    assert sorted((entry.actor, entry.subject, str(entry.before)) for entry in noted) == [
        ("janitor", "course ml", str({"user": user})) for user in ("tom", "uma")
    ]


def test_who_becomes_a_student_gets_a_seat_of_theirs(school: School) -> None:
    desk, hub = school.office.desk, school.hub
    courses.expel(desk, "ml", ["dan"], "ines")
    school.at(-1)
    school.settle()
    hub.run("tom", "ml", staff=True)
    courses.enrol(desk, "ml", ["tom"], Role.STUDENT, "ines", agreed=True)
    school.turn(seat_steps)
    assert school.states()["tom"] is SeatState.NOT_STARTED
    school.settle()
    assert not hub.servers["tom", "ml"].staff
    assert school.states()["tom"] is SeatState.READY
    assert ("tom", "ml", "ines") in hub.shares


# --- servers that are only called so ----------------------------------------------------------------------------------


@pytest.mark.parametrize("exam", [False, True], ids=["lesson", "exam"])
def test_somebodys_own_server_of_the_courses_name_is_left_alone(
    school: School, exam: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = school.hub
    monkeypatch.setattr(containers, "in_exam", lambda *_: frozenset({("bob", "ex")}))
    hub.users |= set(STUDENTS)
    hub.run("ann", "ex", own=True)
    hub.run("bob", "ex")
    theirs = hub.servers["ann", "ex"]
    school.session = book(school.office, replace(COURSE, id="ex"), exam=exam)
    school.at(-1)
    school.settle(roster_steps, seat_steps)
    assert school.states()["bob"] is SeatState.READY
    assert school.states()["ann"] is SeatState.STUCK
    assert "ann has to stop it first" in school.seat("ann").problem
    assert {share for share in hub.shares if share[1] == "ex"} == {("bob", "ex", "ines"), ("bob", "ex", "tom")}
    for wish in (Wish.RESTART, Wish.STOP, Wish.START):  # from before it was known whose server that is
        wished = replace(school.seat("ann"), wish=wish, wished_by="tom")
        with school.office.ledger.transaction() as books:
            books.sessions.put_seats([wished])
        school.settle(seat_steps)
        assert (school.seat("ann").wish, school.states()["ann"]) == (Wish.NONE, SeatState.STUCK)
    school.at(120)
    school.settle(ending_steps)
    school.at(125)  # when nobody waits for the work in it any more
    school.settle(ending_steps)
    assert school.phase() is Phase.OVER
    assert hub.servers == {("ann", "ex"): theirs}
    assert ("ann", "ex") not in hub.saved


def test_when_somebodys_own_server_has_stopped_the_seat_starts(school: School) -> None:
    hub = school.hub
    hub.users |= set(STUDENTS)
    hub.run("ann", "ml", own=True)
    school.at(-1)
    school.settle()
    assert school.states()["ann"] is SeatState.STUCK
    asked = hub.count("POST /hub/api/users/ann/servers/ml")
    school.at(1)
    school.settle()
    assert hub.count("POST /hub/api/users/ann/servers/ml") == asked  # nobody asks for what cannot be
    del hub.servers["ann", "ml"]
    school.settle()
    assert school.states()["ann"] is SeatState.READY
    assert hub.servers["ann", "ml"].course == "ml"
    assert ("ann", "ml", "ines") in hub.shares


def test_a_server_that_has_not_told_what_it_is_is_waited_for(school: School) -> None:
    hub = school.hub
    school.come()
    hub.servers["ann", "ml"] = replace(hub.servers["ann", "ml"], ready=False, pending="spawn", course="")
    for user in ("bob", "cyd", "dan"):
        del hub.servers[user, "ml"]
    school.at(120)
    school.settle()
    assert ("ann", "ml") in hub.servers
    assert school.phase() is Phase.ENDING
    hub.servers["ann", "ml"].course = "ml"
    school.settle()
    assert hub.servers == {}
    assert school.phase() is Phase.OVER
