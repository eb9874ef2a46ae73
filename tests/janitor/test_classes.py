"""The loops of classes, against a hub at the wire; and janitors that are killed between any two of their requests."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import docker
import pytest
from docker.errors import NotFound

from spawner.engine import containers
from spawner.janitor import classes_prepare
from spawner.janitor.class_work import ClassWork
from spawner.janitor.classes_endings import ending_steps
from spawner.janitor.classes_prepare import prepare_steps
from spawner.janitor.classes_rosters import roster_steps
from spawner.janitor.classes_seats import seat_steps
from spawner.janitor.classes_warmup import warmup_steps
from spawner.janitor.hub import Hub, HubUnavailable
from spawner.janitor.loops import Look
from spawner.janitor.post import Post
from spawner.janitor.steps import carry_out_all
from spawner.janitor.tasks import expiry_steps
from spawner.operations import (
    announcements,
    class_lab,
    courses,
    inventory,
    leases,
    seat_life,
    seat_wishes,
    seats,
    sessions,
)
from spawner.operations.leases import Granted
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Late, Phase, Role, Seat, SeatState, Session, Wish, seat_state
from spawner.policy.gpus import GpuState
from spawner.policy.handouts import Collected, Kind
from spawner.policy.leases import LeaseState
from spawner.policy.model import AtEnd, Deny
from spawner.settings import Settings

from ..support.api_hub import TOKEN
from ..support.class_hub import ClassHub, class_hub
from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus

SECOND = timedelta(seconds=1)
STUDENTS = ("ann", "bob", "cyd", "dan")
COURSE = Course("ml", "Machine learning", "cpu", "", NOW)
LOOPS = (roster_steps, warmup_steps, seat_steps, ending_steps)


@dataclass
class School:
    """A janitor that looks after classes, its ledger, and the hub it speaks to."""

    office: Office
    hub: ClassHub
    post: Post
    session: Session
    checks: bool = True

    def turn(self, *looks: Look) -> list[str]:
        """Let loops take a turn each; gives what they found to be done."""
        texts = []
        for look in looks or LOOPS:
            self.post.classes.forget()
            before = self.office.tables() if self.checks else None
            steps = look(self.post)
            assert before is None or self.office.tables() == before  # looking changes nothing
            texts += [step.text for step in steps]
            carry_out_all(steps)
        return texts

    def settle(self, *looks: Look) -> None:
        """Let loops take turns until none of them finds anything."""
        for _ in range(30):
            if not self.turn(*looks):
                return
        raise AssertionError(self.turn(*looks))

    def born_again(self, **classes: Any) -> None:
        """Put another janitor in the place of one that was killed."""
        settings = self.post.settings
        if classes:
            settings = settings.model_copy(update={"classes": settings.classes.model_copy(update=classes)})
        self.post = replace(self.post, classes=ClassWork(), settings=settings)

    def seat(self, user: str) -> Seat:
        _, board = seats.board(self.office.desk, self.session.id)
        return next(seat for seat in board if seat.user == user)

    def states(self) -> dict[str, SeatState]:
        _, board = seats.board(self.office.desk, self.session.id)
        return {seat.user: seat_state(seat, self.office.clock.now) for seat in board}

    def phase(self) -> Phase:
        return sessions.find(self.office.desk, self.session.id).phase(self.office.clock.now)

    def told(self, user: str = "") -> list[str]:
        sent = announcements.for_seat(self.office.desk, self.session.id, user)
        return [one.text for one in sent if one.kind is Kind.NOTICE]

    def come(self) -> None:
        """Start the seats in time, and let their students come."""
        self.at(-1)
        self.settle()
        self.at(1)
        for user in STUDENTS:
            self.hub.servers[user, "ml"].active = self.office.clock.now
        self.settle()
        assert set(self.states().values()) == {SeatState.WORKING}

    def at(self, minutes: float) -> None:
        """Go to some minutes after the session's start, or before."""
        self.office.clock.now = self.session.starts_at + minutes * MINUTE
        for one in self.hub.servers.values():
            one.active = min(one.active, self.office.clock.now)


def book(office: Office, course: Course = COURSE, seats_: int = 4, **plan: Any) -> Session:
    """Let Ines, with Tom's help, teach four students from two to four."""
    assert isinstance(courses.create(office.desk, course, "ines"), Course)
    courses.enrol(office.desk, course.id, STUDENTS, Role.STUDENT, "ines", agreed=True)
    courses.enrol(office.desk, course.id, ["tom"], Role.ASSISTANT, "ines")
    return _session(office, course, seats_, **plan)


def _session(office: Office, course: Course, seats_: int, **plan: Any) -> Session:
    answer = sessions.book(office.desk, Plan(course.id, [(NOW + 2 * HOUR, NOW + 4 * HOUR)], seats_, **plan), "ines")
    assert isinstance(answer, Planned), answer
    return answer.sessions[0]


@pytest.fixture
def hub_of_classes(office: Office) -> Iterator[ClassHub]:
    with class_hub(office.clock) as hub:
        yield hub


@pytest.fixture
def school(office: Office, hub_of_classes: ClassHub, nowhere: docker.APIClient, tmp_path: Any) -> School:
    settings = Settings(state_dir=tmp_path / "state", classes={"starts_at_once": 2})
    speaker = Hub(hub_of_classes.api_url, hub_of_classes.url, TOKEN)
    post = Post(office.desk, nowhere, "0a1b2c3d", settings, hub=speaker)
    return School(office, hub_of_classes, post, book(office))


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


# --- started in time --------------------------------------------------------------------------------------------------


def test_a_class_starts_by_itself(school: School) -> None:
    hub = school.hub
    school.at(-16)
    assert [text for text in school.turn() if "start" in text] == []
    school.at(-1)
    assert school.turn(warmup_steps) == ["start the seats ann/ml, bob/ml, 2 at once at the most"]
    # As one is ready the next is started, also of who was never here.
    assert set(school.states().values()) == {SeatState.READY}
    assert hub.users >= set(STUDENTS)
    assert hub.options["ann", "ml"] == {"profile": "cpu", "gpus": 0}
    assert school.post.classes.starts().counts[0] == 4
    assert school.turn(warmup_steps) == []


def test_no_more_than_some_at_once(school: School) -> None:
    hub = school.hub
    hub.users |= set(STUDENTS)
    hub.starts = {user: ["slow"] for user in STUDENTS}
    school.at(-1)
    school.turn(warmup_steps, seat_steps)
    assert hub.most_at_once == 2
    assert school.turn(warmup_steps) == []
    hub.servers["ann", "ml"].ready, hub.servers["ann", "ml"].pending = True, None
    assert "note that the seat ann/ml is ready" in school.turn(seat_steps)
    school.turn(warmup_steps)
    assert set(hub.servers) == {("ann", "ml"), ("bob", "ml"), ("cyd", "ml")}


def test_others_go_first(school: School) -> None:
    hub = school.hub
    hub.users |= {*STUDENTS, "eve", "fay"}
    hub.starts = {user: ["slow"] for user in STUDENTS}
    school.born_again(starts_at_once=4)
    hub.run("eve", "", ready=False)
    hub.run("fay", "lab", ready=False)
    hub.run("fay", "", ready=True)
    school.at(-0.5)
    school.turn(warmup_steps)
    assert set(hub.servers) - {("eve", ""), ("fay", "lab"), ("fay", "")} == {("ann", "ml"), ("bob", "ml")}


@pytest.mark.parametrize("status", ["429", "503", "500"])
def test_a_busy_hub_is_asked_again_and_nothing_has_failed(school: School, status: str) -> None:
    hub = school.hub
    hub.users |= set(STUDENTS)
    hub.starts = {"ann": [status] * 5}
    school.at(-1)
    school.turn(warmup_steps)
    assert school.seat("ann").problem == ""
    for _ in range(5):
        school.turn(warmup_steps)
    assert set(school.states().values()) == {SeatState.READY}
    assert school.seat("ann").attempts == 1
    assert school.post.classes.failures("busy") == 5


@pytest.mark.parametrize("how", ["fail", "late"])
def test_a_start_that_fails_is_tried_again_and_then_told(school: School, how: str) -> None:
    hub = school.hub
    hub.users |= set(STUDENTS)
    hub.starts = {"ann": [f"{how}: no space left"] * 9}
    school.at(-1)
    for _ in range(20):
        school.office.wait(10 * SECOND)
        school.turn(warmup_steps, seat_steps)
    assert school.states() == {"ann": SeatState.STUCK, "bob": "ready", "cyd": "ready", "dan": "ready"}
    assert school.seat("ann").problem == "Its server did not start: no space left"
    assert school.seat("ann").attempts == 3
    assert len(hub.starts["ann"]) == 6
    # Who comes starts it by hand, and all is well.
    hub.run("ann", "ml")
    school.turn(seat_steps)
    assert (school.states()["ann"], school.seat("ann").problem) == (SeatState.READY, "")


def test_two_sessions_of_a_course_one_after_the_other(school: School) -> None:
    answer = sessions.book(school.office.desk, Plan("ml", [(NOW + 4 * HOUR, NOW + 5 * HOUR)], 4), "ines")
    assert isinstance(answer, Planned)
    school.come()
    school.at(119.8)
    school.settle()  # the next one's seats are the same servers, which are the first one's now
    assert all(seat.asked_at is None for seat in seats.board(school.office.desk, answer.sessions[0].id)[1])
    school.at(120)
    school.settle()
    assert set(school.states().values()) == {SeatState.ENDED}
    _, board = seats.board(school.office.desk, answer.sessions[0].id)
    assert {seat_state(seat, school.office.clock.now) for seat in board} == {SeatState.READY}
    assert all(school.hub.count(f"DELETE /hub/api/users/{user}/servers/ml") == 1 for user in STUDENTS)


# --- seen while it runs -----------------------------------------------------------------------------------------------


def test_what_the_hub_sees_of_a_seat(school: School) -> None:
    hub = school.hub
    school.at(-1)
    school.settle()
    school.at(1)
    for user in ("ann", "bob"):
        hub.servers[user, "ml"].active = school.office.clock.now
    announcements.visited(school.office.desk, school.session.id, "bob", "tom")
    del hub.servers["cyd", "ml"]
    school.settle(seat_steps)
    ann, bob, cyd = (school.seat(user) for user in ("ann", "bob", "cyd"))
    assert ann.entered_at == ann.active_at == school.office.clock.now
    assert (bob.entered_at, bob.active_at) == (None, school.office.clock.now)  # that was Tom
    assert cyd.problem == "Its server has stopped."
    assert school.states()["cyd"] is SeatState.STUCK
    assert school.post.classes.failures("gone") == 1
    assert school.hub.servers.keys() == {("ann", "ml"), ("bob", "ml"), ("dan", "ml")}  # nobody started it again


def test_a_servers_own_word_of_its_use_is_no_guess(school: School) -> None:
    school.at(-1)
    school.settle()
    school.at(1)
    # A tab was left open, which the hub takes for use.
    class_lab.seen(school.office.desk, "ann", "ml", present=False, active_at=None)
    school.hub.servers["ann", "ml"].active = school.office.clock.now
    school.settle(seat_steps)
    assert (school.seat("ann").entered_at, school.seat("ann").active_at) == (None, None)


def test_seats_that_students_start_themselves(school: School) -> None:
    school.hub.users |= set(STUDENTS)
    school.at(-14)
    school.hub.run("ann", "ml", ready=False)
    school.hub.run("ines", "ml")
    school.settle(seat_steps)
    assert school.states()["ann"] is SeatState.STARTING
    assert school.phase() is Phase.WARMING
    school.hub.servers["ann", "ml"] = replace(school.hub.servers["ann", "ml"], ready=True, pending=None)
    school.settle(seat_steps)
    assert school.states()["ann"] is SeatState.READY
    assert sessions.find(school.office.desk, school.session.id).warmed_at == school.office.clock.now


def test_wishes_are_done_once(school: School) -> None:
    desk, hub = school.office.desk, school.hub
    school.at(-1)
    school.settle()
    school.at(1)
    for user, wish in (("ann", Wish.STOP), ("bob", Wish.RESTART)):
        assert isinstance(seat_wishes.wish(desk, school.session.id, user, wish, "tom"), Seat)
    school.settle(warmup_steps, seat_steps)
    assert sorted(hub.saved) == [("ann", "ml"), ("bob", "ml")]
    assert ("ann", "ml") not in hub.servers
    assert hub.count("POST /hub/api/users/bob/servers/ml") == 2
    assert {school.seat(user).wish for user in STUDENTS} == {Wish.NONE}
    assert school.states()["ann"] is SeatState.NOT_STARTED
    done = [entry for entry in school.office.audit() if entry.action == "seat.wish_done"]
    assert {(entry.actor, entry.after["user"], entry.after["wish"], entry.why) for entry in done} == {
        ("janitor", "ann", "stop", "asked for by tom"),
        ("janitor", "bob", "start", "asked for by tom"),
    }
    assert isinstance(seat_wishes.wish(desk, school.session.id, "ann", Wish.START, "tom"), Seat)
    school.settle(warmup_steps, seat_steps)
    assert school.states()["ann"] is SeatState.READY


def test_a_guest_is_made_and_started(school: School) -> None:
    desk = school.office.desk
    longer = sessions.find(desk, school.session.id)
    with school.office.ledger.transaction() as books:
        books.sessions.update(replace(longer, seats=5))
    school.at(1)
    assert isinstance(seat_wishes.hand_over(desk, school.session.id, "gus", "ines"), Seat)
    school.settle()
    assert school.states()["gus"] is SeatState.READY
    # Whose home is in there was never asked.
    assert ("gus", "ml", "ines") not in school.hub.shares
    assert isinstance(seat_wishes.take_back(desk, school.session.id, "gus", "ines"), Seat)
    school.settle()
    assert ("gus", "ml") not in school.hub.servers
    assert ("gus", "ml", "ines") not in school.hub.shares


def test_a_guest_who_was_invited_before_is_started_with_the_others(school: School) -> None:
    desk = school.office.desk
    longer = sessions.find(desk, school.session.id)
    with school.office.ledger.transaction() as books:
        books.sessions.update(replace(longer, seats=6))
    for guest in ("gus", "hal"):
        assert isinstance(seat_wishes.hand_over(desk, school.session.id, guest, "ines"), Seat)
    assert isinstance(seat_wishes.take_back(desk, school.session.id, "hal", "ines"), Seat)
    school.at(-1)
    school.settle(warmup_steps)
    assert {user for user, _ in school.hub.servers} == {*STUDENTS, "gus"}
    assert school.states()["gus"] is SeatState.READY


def test_unused_seats_go_back(school: School) -> None:
    desk, hub = school.office.desk, school.hub
    school.at(-1)
    school.settle()
    school.at(5)
    hub.servers["ann", "ml"].active = school.office.clock.now
    school.settle()
    seats.raise_hand(desk, school.session.id, "bob")
    school.at(15)
    school.settle()
    assert set(hub.servers) == {("ann", "ml"), ("bob", "ml")}
    assert school.states()["cyd"] is SeatState.GIVEN_BACK
    # Who comes late after all keeps the seat.
    school.at(20)
    hub.run("cyd", "ml")
    school.settle()
    assert ("cyd", "ml") in hub.servers
    assert school.states()["cyd"] is SeatState.READY


@pytest.mark.parametrize("why", ["late", "full"])
def test_a_start_that_was_refused_is_not_noted(school: School, why: str) -> None:
    office, hub, late = school.office, school.hub, why == "late"
    with office.ledger.transaction() as books:
        known = sessions.find_session(books, school.session.id)
        books.sessions.update(replace(known, late=Late.REFUSE, seats=4 if late else 3))
    school.at(-1)
    school.settle()
    school.at(5)
    for user in ("ann", "bob", "cyd"):
        hub.servers[user, "ml"].active = office.clock.now
    school.at(15)
    school.settle()
    assert set(hub.servers) == {("ann", "ml"), ("bob", "ml"), ("cyd", "ml")}
    school.at(20)
    hub.run("dan", "ml", ready=False)
    school.turn(seat_steps)
    del hub.servers["dan", "ml"]
    school.settle()
    assert school.states()["dan"] is (SeatState.GIVEN_BACK if late else SeatState.NOT_STARTED)
    told = seats.placed(office.desk, "dan", "ml")
    assert isinstance(told, Deny)
    assert told.code == ("session_late" if late else "no_seat_left")
    if late:
        assert isinstance(seat_wishes.wish(office.desk, school.session.id, "dan", Wish.START, "tom"), Seat)
        school.settle()
        assert school.states()["dan"] is SeatState.READY


def test_what_no_seat_needs_goes_back(school: School) -> None:
    office = school.office
    office.fit(gpus(6))
    course = replace(COURSE, id="gp", gpus=1, profile="gpu")
    school.session = book(office, course, 6)
    school.at(14)
    for user in STUDENTS:
        seat_lease(office, course, school.session, user)
        school.hub.run(user, "gp")
    school.settle()
    school.at(15)
    assert "give back GPUs of gp that no seat needs" in school.turn(seat_steps)
    school.settle()
    with office.ledger.reading() as books:
        reservation = books.reservations.get(school.session.reservation)
        held = {slot for lease in books.leases.open() for slot in lease.slots}
    assert reservation is not None
    assert set(reservation.slots) == held


def test_more_time_makes_a_lease_longer(school: School) -> None:
    office = school.office
    office.fit(gpus(1))
    course = replace(COURSE, id="gp", gpus=1, profile="gpu")
    school.session = book(office, course, 1)
    school.at(1)
    until = school.session.ends_at + 20 * MINUTE
    assert isinstance(seat_wishes.give_time(office.desk, school.session.id, "ann", until, "ines"), Seat)
    lease = seat_lease(office, course, school.session)
    assert office.lease(lease).ends_at == school.session.ends_at
    school.turn(seat_steps)
    assert office.lease(lease).ends_at == until


def test_more_time_gives_way_to_another_class(school: School) -> None:
    office = school.office
    office.fit(gpus(1))
    course = replace(COURSE, id="gp", gpus=1, profile="gpu")
    school.session = book(office, course, 1)
    school.at(1)
    lease = seat_lease(office, course, school.session)
    end = school.session.ends_at
    assert isinstance(seat_wishes.give_time(office.desk, school.session.id, "ann", end + HOUR, "ines"), Seat)
    courses.create(office.desk, replace(COURSE, id="art", gpus=1), "eve")
    plan = Plan("art", [(end + 20 * MINUTE, end + HOUR)], 1, lead=timedelta(0))
    assert isinstance(sessions.book(office.desk, plan, "eve"), Planned)
    assert office.lease(lease).ends_at == end + 18 * MINUTE
    assert "note that the seat ann/gp lasts until 16:18:00 UTC, as its lease does" in school.turn(seat_steps)
    assert (office.lease(lease).ends_at, office.lease(lease).ending) == (end + 18 * MINUTE, "reserved")
    assert school.seat("ann").until == end + 18 * MINUTE


def seat_lease(office: Office, course: Course, session: Session, user: str = "ann") -> str:
    """Start a seat's server with GPUs, until its session's end."""
    hours = (session.ends_at - office.clock.now) / HOUR
    answer = leases.acquire(office.desk, course.seat(user, hours))
    assert isinstance(answer, Granted), answer
    return leases.activate(office.desk, answer.lease.id, f"container-{user}", office.clock.now).id


# --- how it ends ------------------------------------------------------------------------------------------------------


def test_seats_are_told_and_stopped(school: School) -> None:
    hub = school.hub
    school.come()
    hub.run("tom", "ml")
    hub.run("ann", "")
    for minutes in (109.9, 110.1, 111, 115, 119.5):
        school.at(minutes)
        school.turn(ending_steps)
    assert school.told() == [
        f"The session ends in {length}. Open documents are saved then, and the servers stop."
        for length in ("10 minutes", "5 minutes", "1 minute")
    ]
    assert hub.saved == []
    school.at(120)
    assert school.phase() is Phase.ENDING
    assert school.turn(ending_steps) == ["save the open documents of ml: tom, ann, bob, cyd, dan"]
    assert school.turn(ending_steps) == ["stop the seats of ml: tom, ann, bob, cyd, dan"]
    assert set(hub.servers) == {("ann", "")}
    school.settle()
    assert school.phase() is Phase.OVER
    assert set(school.states().values()) == {SeatState.ENDED}


def test_who_has_more_time_is_told_then_and_goes_on(school: School) -> None:
    school.come()
    school.at(100)
    until = school.session.ends_at + 30 * MINUTE
    assert isinstance(seat_wishes.give_time(school.office.desk, school.session.id, "ann", until, "ines"), Seat)
    school.at(119.5)
    school.settle()
    assert [len(school.told(user)) for user in STUDENTS] == [0, 1, 1, 1]
    school.at(120)
    school.settle()
    assert set(school.hub.servers) == {("ann", "ml")}
    assert school.phase() is Phase.ENDING
    school.at(149.5)
    school.settle()
    assert [len(school.told(user)) for user in STUDENTS] == [1, 1, 1, 1]
    school.at(150)
    school.settle()
    assert school.hub.servers == {}
    assert school.phase() is Phase.OVER


def test_work_is_collected_before_seats_stop(school: School) -> None:
    office = school.office
    courses.change(office.desk, "ml", "ines", collect="homework")
    school.come()
    school.at(120)
    school.settle(ending_steps)
    assert len(school.hub.servers) == 4
    taken = Collected("c1", school.session.id, "ann", "homework", office.clock.now, "x.tar.gz", 1, 10, "0" * 64)
    with office.ledger.transaction() as books:
        books.handouts.collect(taken)
    school.settle(ending_steps)
    assert set(school.hub.servers) == {(user, "ml") for user in ("bob", "cyd", "dan")}
    school.at(123)
    school.settle(ending_steps)
    assert school.hub.servers == {}


def test_an_exam_is_collected_before_its_seats_stop(school: School) -> None:
    """All of their homes is, where the course names no folder."""
    school.session = book(school.office, replace(COURSE, id="ex"), exam=True)
    school.at(1)
    school.hub.users |= {"ann"}
    school.hub.run("ann", "ex")
    seat_life.asked(school.office.desk, school.session.id, "ann")
    seats.note(school.office.desk, school.session.id, "ann", ready_at=school.office.clock.now)
    school.at(120)
    school.settle(ending_steps)
    assert ("ann", "ex") in school.hub.servers
    school.at(123)
    school.settle(ending_steps)
    assert ("ann", "ex") not in school.hub.servers


def test_an_exam_that_is_called_off_is_collected_before_its_seats_stop(school: School) -> None:
    office = school.office
    school.session = book(office, replace(COURSE, id="ex"), exam=True)
    school.at(1)
    school.hub.users |= {"ann"}
    school.hub.run("ann", "ex")
    seat_life.asked(office.desk, school.session.id, "ann")
    seats.note(office.desk, school.session.id, "ann", ready_at=office.clock.now)
    school.at(60)
    sessions.cancel(office.desk, school.session.id, "ines", "a fire")
    school.at(61)
    school.settle(ending_steps)
    assert ("ann", "ex") in school.hub.servers
    taken = Collected("c1", school.session.id, "ann", "", office.clock.now, "x.tar.gz", 1, 10, "0" * 64)
    with office.ledger.transaction() as books:
        books.handouts.collect(taken)
    school.settle(ending_steps)
    assert ("ann", "ex") not in school.hub.servers


def test_gpus_are_back_within_a_minute(school: School) -> None:
    office = school.office
    office.fit(gpus(1))
    course = replace(COURSE, id="gp", gpus=1, profile="gpu", collect="homework")
    school.session = book(office, course, 1)
    office.clock.now = school.session.starts_at
    lease = seat_lease(office, course, school.session)
    school.hub.users |= {"ann"}
    school.hub.run("ann", "gp")
    school.settle(seat_steps)
    # A lease warns of its own end, at some of the minutes.
    school.at(110)
    assert [text for text in school.turn(ending_steps) if " gp " in text] == []
    school.at(115)
    assert [text for text in school.turn(ending_steps) if " gp " in text] == [
        "tell all seats of gp that 5 minutes are left"
    ]
    office.clock.now = school.session.ends_at
    # The class's loop ends it, and no other, as long as it can be.
    assert school.turn(expiry_steps) == []
    school.settle(ending_steps)
    assert office.lease(lease).state is LeaseState.ACTIVE  # what is not collected yet
    office.wait(20 * SECOND)
    school.settle(ending_steps, expiry_steps)
    assert (office.lease(lease).state, office.lease(lease).ending) == (LeaseState.RELEASING, "expired")
    assert ("ann", "gp") not in school.hub.servers


def test_where_the_classs_loop_does_not_end_a_lease_another_does(school: School) -> None:
    office = school.office
    office.fit(gpus(1))
    course = replace(COURSE, id="gp", gpus=1, profile="gpu")
    school.session = book(office, course, 1)
    office.clock.now = school.session.starts_at
    lease = seat_lease(office, course, school.session)
    school.hub.users |= {"ann"}
    school.hub.run("ann", "gp")
    office.clock.now = school.session.ends_at + 60 * SECOND
    school.turn(expiry_steps)
    assert office.lease(lease).state is LeaseState.RELEASING
    assert ("ann", "gp") not in school.hub.servers


def test_a_class_that_goes_on_without_gpus(school: School) -> None:
    courses.change(school.office.desk, "ml", "ines", at_end=AtEnd.CPU)
    school.come()
    school.at(119.5)
    school.settle()
    assert school.told() == ["The session ends in 1 minute. Open documents are saved then."]
    school.at(120)
    school.settle()
    assert len(school.hub.servers) == 4
    assert school.phase() is Phase.OVER


@pytest.mark.parametrize("how", ["429", "500", "killed"])
def test_a_seat_goes_on_without_gpus_whatever_happens_once(school: School, how: str) -> None:
    office, hub = school.office, school.hub
    office.fit(gpus(1))
    course = replace(COURSE, id="gp", gpus=1, profile="gpu", at_end=AtEnd.CPU)
    school.session = book(office, course, 1)
    office.clock.now = school.session.starts_at
    seat_lease(office, course, school.session)
    hub.users |= {"ann"}
    hub.run("ann", "gp")
    school.settle(seat_steps)
    office.clock.now = school.session.ends_at
    school.turn(ending_steps)
    if how == "killed":
        hub.gone_at = len(hub.asked) + 2  # it answers who is there, and stops the server
        school.turn(ending_steps)
        hub.away, hub.gone_at = False, None
        school.born_again()
    else:
        hub.starts = {"ann": [how]}
        school.turn(ending_steps)
    assert ("ann", "gp") not in hub.servers
    assert school.turn(ending_steps) == ["start the seats of gp again without GPUs: ann"]
    assert hub.options["ann", "gp"] == {"profile": "gpu", "gpus": 0}
    assert ("ann", "gp") in hub.servers
    assert school.states()["ann"] is SeatState.ENDED
    school.settle()
    assert ("ann", "gp") in hub.servers
    assert school.phase() is Phase.OVER


def test_a_seat_that_cannot_go_on_is_over_in_the_end(school: School) -> None:
    office, hub = school.office, school.hub
    office.fit(gpus(1))
    course = replace(COURSE, id="gp", gpus=1, profile="gpu", at_end=AtEnd.CPU)
    school.session = book(office, course, 1)
    office.clock.now = school.session.starts_at
    seat_lease(office, course, school.session)
    hub.users |= {"ann"}
    hub.run("ann", "gp")
    school.settle(seat_steps)
    office.clock.now = school.session.ends_at
    hub.starts = {"ann": ["500"] * 9}
    for _ in range(4):
        school.turn(ending_steps)
    assert school.states()["ann"] is not SeatState.ENDED
    office.wait(2 * MINUTE)
    school.settle(ending_steps)
    assert school.phase() is Phase.OVER
    assert ("ann", "gp") not in hub.servers


def test_a_session_that_is_called_off(school: School) -> None:
    school.at(-1)
    school.settle()
    assert isinstance(sessions.cancel(school.office.desk, school.session.id, "ines", "ill"), tuple)
    school.turn()
    assert school.told() == ["The session was called off. Open documents are saved, and the servers stop."]
    school.settle()
    assert len(school.hub.servers) == 4
    school.office.wait(20 * SECOND)
    school.settle()
    assert school.hub.servers == {}
    assert sessions.find(school.office.desk, school.session.id).cleared_at == school.office.clock.now


# --- janitors and hubs that die ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hub_too", [False, True], ids=["janitor", "hub"])
def test_a_death_at_any_request_changes_nothing_in_the_end(school: School, hub_too: bool) -> None:
    """The hub does what it is asked, and the janitor does not live to hear of it; another one goes on."""
    office, hub = school.office, school.hub
    school.checks = False
    courses.expel(office.desk, "ml", ["cyd", "dan"], "ines")
    deaths = 0
    for request in itertools.count(3, 2):  # every other one: the two ways of dying meet all of them
        hub.gone_at = len(hub.asked) + request + hub_too
        try:
            _a_lesson(school)
        except HubUnavailable:
            deaths += 1
        else:
            break
        hub.away, hub.gone_at = False, None
        if hub_too:
            hub.restart()
        school.born_again()
        office.wait(6 * SECOND)  # after which it is sure that nobody asks any more
        _a_lesson(school)
        assert set(school.states().values()) == {SeatState.ENDED}, request
        assert hub.servers == {}, request
        assert school.phase() is Phase.OVER, request
        school.session = _session_at(office, school.session.ends_at + HOUR)
    assert deaths > 15


def _session_at(office: Office, at: Any) -> Session:
    answer = sessions.book(office.desk, Plan("ml", [(at, at + HOUR)], 2), "ines")
    assert isinstance(answer, Planned), answer
    return answer.sessions[0]


def _a_lesson(school: School) -> None:
    """Let a session begin and end, from where it is."""
    office, end = school.office, school.session.ends_at
    if office.clock.now < school.session.starts_at:
        office.clock.now = max(office.clock.now, school.session.starts_at - 20 * SECOND)
        school.settle()
        office.clock.now = school.session.starts_at + MINUTE
        wish = seat_wishes.wish(office.desk, school.session.id, "bob", Wish.RESTART, "tom")
        assert isinstance(wish, Seat), wish
        school.settle()
        assert set(school.states().values()) == {SeatState.READY}
    office.clock.now = max(office.clock.now, end)
    school.settle()


# --- made ready before ------------------------------------------------------------------------------------------------


@pytest.mark.docker
def test_images_are_pulled_before_they_are_needed(school: School, caplog: pytest.LogCaptureFixture) -> None:
    image = "127.0.0.1:9/berth-test/nowhere:1"
    client = docker.APIClient(version="auto", timeout=30)
    try:
        post = replace(school.post, engine=client)
        school.post = replace(post, settings=post.settings.model_copy(update={"image": image}))
        assert [step.text for step in prepare_steps(school.post)] == [f"pull {image}, which a class needs soon"]
        assert not any(step.carry_out() for step in prepare_steps(school.post))
        assert "could not be pulled" in caplog.text
        assert school.post.classes.failures("image") == 1
        school.at(200)
        assert prepare_steps(school.post) == []
    finally:
        client.close()


class Engine:
    """As much of an engine as the warming of a cache looks at."""

    warming = False

    def inspect_image(self, _: str) -> dict[str, Any]:
        return {}

    def inspect_container(self, name: str) -> dict[str, Any]:
        if not self.warming:
            raise NotFound(f"no such container: {name}")
        return {"Id": "c0ffee", "Name": f"/{name}", "State": {"Status": "running"}}


@pytest.fixture
def warming(school: School, monkeypatch: pytest.MonkeyPatch) -> School:
    """Two GPUs, of which ann has one for a day, and a class that has the other from two on."""
    office = school.office
    made, slots = gpus(2, model="A100")
    office.fit(([replace(one, simulated=False) for one in made], [replace(one, simulated=False) for one in slots]))
    office.running("ann", hours=12)
    book(office, replace(COURSE, id="gp", gpus=1), 1)
    school.post = replace(school.post, engine=Engine())  # type: ignore[arg-type]
    monkeypatch.setattr(classes_prepare, "access_for", lambda *_: None)
    monkeypatch.setattr(classes_prepare, "warm_cache", lambda *_: {"ok": True})
    return school


def gpu_states(office: Office) -> list[tuple[str, str]]:
    return [(gpu.state, gpu.state_by) for gpu, _ in inventory.board(office.desk).gpus]


def leases_and_reservations(office: Office) -> tuple[Any, ...]:
    tables = office.tables()
    return tables["leases"], tables["lease_slots"], tables["reservations"]


def test_a_cache_is_warmed_at_nobodys_cost(warming: School, monkeypatch: pytest.MonkeyPatch) -> None:
    office = warming.office
    before, seen = leases_and_reservations(office), []

    def warm(*_: object) -> dict[str, Any]:
        seen.append((gpu_states(office), leases_and_reservations(office)))
        return {"ok": True}

    monkeypatch.setattr(classes_prepare, "warm_cache", warm)
    assert warming.turn(prepare_steps) == ["warm the cache of CUDA kernels of A100 on gpu1, for the class gp"]
    assert seen == [([("in_service", ""), ("draining", "janitor")], before)]
    assert gpu_states(office) == [("in_service", ""), ("in_service", "janitor")]
    assert leases_and_reservations(office) == before
    assert warming.turn(prepare_steps) == []


def test_a_gpu_whose_janitor_was_killed_is_given_back(warming: School, monkeypatch: pytest.MonkeyPatch) -> None:
    office = warming.office
    with monkeypatch.context() as patch:
        patch.setattr(inventory, "give_back", lambda *_: False)  # it does not live to do so
        patch.setattr(classes_prepare, "warm_cache", killed)
        with pytest.raises(KeyboardInterrupt):
            warming.turn(prepare_steps)
    assert gpu_states(office)[1] == ("draining", "janitor")
    warming.post.engine.warming = True  # type: ignore[attr-defined]
    assert warming.turn(prepare_steps) == []  # what it began goes on
    warming.post.engine.warming = False  # type: ignore[attr-defined]
    assert warming.turn(prepare_steps) == ["put gpu1 back in service, on which a cache was being warmed"]
    assert gpu_states(office)[1] == ("in_service", "janitor")
    assert warming.turn(prepare_steps) == ["warm the cache of CUDA kernels of A100 on gpu1, for the class gp"]


def killed(*_: object) -> dict[str, Any]:
    raise KeyboardInterrupt


def test_what_admins_say_while_a_cache_is_warmed_stands(warming: School, monkeypatch: pytest.MonkeyPatch) -> None:
    office = warming.office

    def drained(*_: object) -> dict[str, Any]:
        inventory.set_state(office.desk, "gpu1", GpuState.DRAINING, "olga", "new fans")
        return {"ok": True}

    monkeypatch.setattr(classes_prepare, "warm_cache", drained)
    warming.turn(prepare_steps)
    assert gpu_states(office)[1] == ("draining", "olga")
    assert warming.turn(prepare_steps) == []
