"""Files pushed to homes: kept whole or not at all, for whom, and what became of them."""

import hashlib
import io
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.course_directory import Places
from spawner.errors import CourseFilesFailed, LedgerUnavailable, UnknownName
from spawner.operations import courses, handouts, seats, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, Seat, Session
from spawner.policy.handouts import Delivery, Outcome, Push, check_push_path
from spawner.policy.model import Deny

from ..support.office import HOUR, MINUTE, NOW, Office

COURSE = Course("ml", "Machine learning", "cpu", "", NOW)
CONTENT = b"a,b\n1,2\n"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "courses", push_bytes=1000)


@pytest.fixture
def session(office: Office) -> Session:
    courses.create(office.desk, COURSE, "ines")
    courses.enrol(office.desk, "ml", ("ann", "bob", "cyd"), Role.STUDENT, "ines", agreed=True)
    return booked(office)


def booked(office: Office, *, exam: bool = False, day: int = 0) -> Session:
    start = NOW + (24 * day + 1) * HOUR
    answer = sessions.book(office.desk, Plan("ml", [(start, start + HOUR)], 3, exam=exam), "ines")
    assert isinstance(answer, Planned)
    return answer.sessions[0]


def push(office: Office, places: Places, session: str = "", path: str = "data.csv", content: bytes = CONTENT) -> Push:
    made = handouts.push(office.desk, places, "ml", session, path, io.BytesIO(content), "ines", "for today")
    assert isinstance(made, Push), made
    return made


def said(push: Push, outcome: Outcome = Outcome.WRITTEN, problem: str = "") -> Delivery:
    return Delivery(push.id, "mallory", NOW - HOUR, outcome, push.path, problem)


def files(places: Places) -> list[str]:
    course = places.course("ml")
    inside = sorted(path.name for path in course.path.iterdir())
    assert inside == ["collected", "materials.git", "pushes"]
    return sorted(path.name for path in course.pushes.iterdir())


def test_a_file_is_kept_under_its_digest(office: Office, places: Places, session: Session) -> None:
    made = push(office, places, session.id, "week 2/data.csv")
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert made == Push(made.id, "ml", session.id, "week 2/data.csv", digest, len(CONTENT), "ines", NOW)
    kept = places.course("ml").pushed(digest)
    assert kept.read_bytes() == CONTENT
    assert kept.stat().st_mode & 0o777 == 0o644
    entry = office.audit()[-1]
    assert (entry.actor, entry.action, entry.subject, entry.why) == ("ines", "course.push", "course ml", "for today")
    assert handouts.progress(office.desk, made.id).push == made
    push(office, places, session.id, "again.csv")
    assert files(places) == [digest]
    assert handouts.unnamed(office.desk, "ml") == {digest}


def test_what_is_refused_leaves_nothing(office: Office, places: Places, session: Session) -> None:
    def ask(path: str = "a", content: bytes = b"", course: str = "ml", session: str = "") -> str:
        answer = handouts.push(office.desk, places, course, session, path, io.BytesIO(content), "ines")
        assert isinstance(answer, Deny)
        return answer.code

    before = office.tables()
    assert ask("../a") == ask(".bashrc") == "invalid_option"
    assert ask(content=b"x" * 1001) == "too_large"
    with pytest.raises(UnknownName, match="no course 'art'"):
        ask(course="art")
    with pytest.raises(UnknownName, match="has no session 'other'"):
        ask(session="other")
    assert office.tables() == before
    sessions.cancel(office.desk, session.id, "ines", "")
    courses.archive(office.desk, "ml", "ines")
    assert ask() == "course_archived"
    assert files(places) == []


def test_the_largest_and_the_smallest(office: Office, places: Places, session: Session) -> None:
    assert push(office, places, content=b"x" * 1000).size == 1000
    assert push(office, places, content=b"").size == 0


def test_a_hidden_file_may_be_meant(office: Office, places: Places, session: Session) -> None:
    made = handouts.push(office.desk, places, "ml", "", ".config/x", io.BytesIO(b""), "ines", hidden=True)
    assert isinstance(made, Push)


def test_a_disk_that_takes_no_more(office: Office, places: Places, session: Session) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(CourseFilesFailed, match=r"No space left on device\. Nothing was sent"):
        handouts.push(office.desk, places, "ml", "", "a", Broken(), "ines")
    assert files(places) == []
    assert handouts.progress_of_course(office.desk, "ml") == ()


def test_a_ledger_that_fails_in_the_end(
    office: Office, places: Places, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_size: int) -> str:
        raise LedgerUnavailable("The ledger is locked.")

    desk = replace(office.desk, new_id=lambda: fail(0))
    with pytest.raises(LedgerUnavailable):
        handouts.push(desk, places, "ml", "", "a", io.BytesIO(b"x"), "ines")
    assert files(places) == []


def test_pushed_while_it_is_read(office: Office, places: Places, session: Session) -> None:
    """Who reads a content under its digest reads all of it, however often it is sent again."""
    made = push(office, places, content=b"x" * 1000)
    kept, over, seen = places.course("ml").pushed(made.sha256), threading.Event(), set[str]()

    def read() -> None:
        while not over.is_set():
            seen.add(hashlib.sha256(kept.read_bytes()).hexdigest())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        push(office, places, content=b"x" * 1000)
    over.set()
    reader.join()
    assert seen == {made.sha256}


# --- homes ------------------------------------------------------------------------------------------------------------


def test_a_home_gets_a_file_once(office: Office, places: Places, session: Session) -> None:
    desk = office.desk
    first, second = push(office, places, session.id), push(office, places, "", "other.csv")
    assert handouts.pushes_for(desk, "ml", "ann", session.id) == (first, second)
    noted = handouts.delivered(desk, "ann", [said(first), said(second, Outcome.FAILED, "full " * 200)])
    assert [(one.user, one.at, len(one.problem)) for one in noted] == [("ann", NOW, 0), ("ann", NOW, 500)]
    assert handouts.pushes_for(desk, "ml", "ann") == ()
    assert handouts.pushes_for(desk, "ml", "bob") == (first, second)
    office.wait(2 * MINUTE)
    assert handouts.pushes_for(desk, "ml", "ann") == (second,)
    handouts.delivered(desk, "ann", [said(second, Outcome.BESIDE)])
    assert handouts.pushes_for(desk, "ml", "ann") == ()


def test_what_is_there_stays_there(office: Office, places: Places, session: Session) -> None:
    made = push(office, places)
    handouts.delivered(office.desk, "ann", [said(made)])
    again = [said(made, Outcome.SAME), said(made, Outcome.FAILED)]
    assert handouts.delivered(office.desk, "ann", again) == ()
    assert handouts.progress(office.desk, made.id).written == 1
    both = [said(made, Outcome.FAILED), said(made, Outcome.WRITTEN)]
    assert [one.outcome for one in handouts.delivered(office.desk, "bob", both)] == [Outcome.WRITTEN]


def test_nobody_speaks_of_others_files(office: Office, places: Places, session: Session) -> None:
    made = push(office, places)
    assert handouts.delivered(office.desk, "eve", [said(made)]) == ()
    assert handouts.delivered(office.desk, "ann", [replace(said(made), push="none")]) == ()
    assert handouts.delivered(office.desk, "ann", []) == ()
    with office.ledger.transaction() as books:
        books.sessions.put_seats([Seat(session.id, "eve", guest=True)])
    assert len(handouts.delivered(office.desk, "eve", [said(made)])) == 1


def test_nothing_goes_into_the_home_of_who_was_only_named(office: Office, places: Places, session: Session) -> None:
    """A file such as ``.ipython/profile_default/startup/00.py`` acts in its owner's name."""
    desk = office.desk
    courses.enrol(desk, "ml", ["dan"], Role.STUDENT, "ines")
    courses.enrol(desk, "ml", ["tom"], Role.ASSISTANT, "ines")
    with office.ledger.transaction() as books:
        books.sessions.put_seats([Seat(session.id, "eve", guest=True)])
    shown = push(office, places, session.id)
    hidden = handouts.push(
        desk,
        places,
        "ml",
        session.id,
        ".ipython/profile_default/startup/00.py",
        io.BytesIO(CONTENT),
        "ines",
        hidden=True,
    )
    assert isinstance(hidden, Push)

    def meant(user: str, **how: bool) -> tuple[Push, ...]:
        return handouts.pushes_for(desk, "ml", user, session.id, **how)

    assert meant("ann") == (shown, hidden)
    assert (meant("dan"), meant("eve")) == ((), ())
    assert meant("tom") == (shown,)
    assert meant("dan", ask=False) == meant("eve", ask=False) == (shown, hidden)
    told = handouts.progress(desk, shown.id)
    assert (told.homes, told.waiting, told.not_agreed) == (5, 5, 1)
    assert handouts.progress(desk, shown.id, ask=False).not_agreed == 0
    # They come, and agree.
    seats.note(desk, session.id, "eve", entered_at=NOW)
    courses.agree(desk, "ml", "dan")
    assert (meant("dan"), meant("eve")) == ((shown, hidden), (shown,))
    assert handouts.progress(desk, shown.id).not_agreed == 0


def test_exams_have_homes_of_their_own(office: Office, places: Places, session: Session) -> None:
    exam = booked(office, exam=True, day=1)
    lesson, paper, general = push(office, places, session.id), push(office, places, exam.id), push(office, places)
    desk = office.desk
    assert handouts.pushes_for(desk, "ml", "ann", session.id) == (lesson, general)
    assert handouts.pushes_for(desk, "ml", "ann", exam.id) == (paper,)
    courses.enrol(desk, "ml", ["dan"], Role.STUDENT, "ines")  # who has agreed to nothing: it is no home of theirs
    assert handouts.pushes_for(desk, "ml", "dan", exam.id) == (paper,)
    handouts.delivered(desk, "ann", [said(paper)])
    assert handouts.pushes_for(desk, "ml", "ann", session.id) == (lesson, general)


def test_how_many_homes(office: Office, places: Places, session: Session) -> None:
    desk = office.desk
    made, other = push(office, places, session.id), push(office, places, "", "other.csv")
    with office.ledger.transaction() as books:
        books.sessions.put_seats([Seat(session.id, "guest", guest=True), Seat(session.id, "ann")])
    handouts.delivered(desk, "ann", [said(made), said(other, Outcome.SAME)])
    handouts.delivered(desk, "bob", [said(made, Outcome.FAILED, "The disk is full.")])
    handouts.delivered(desk, "ines", [said(made, Outcome.BESIDE)])
    found = handouts.progress(desk, made.id)
    assert (found.written, found.same, found.beside, found.failed, found.waiting) == (1, 0, 1, 1, 2)
    assert found.homes == 5
    assert [(one.user, one.problem) for one in found.failures] == [("bob", "The disk is full.")]
    assert [one.push for one in handouts.progress_of_course(desk, "ml")] == [made, other]
    assert handouts.progress_of_course(desk, "ml", session.id) == (found,)
    with pytest.raises(UnknownName):
        handouts.progress(desk, "none")


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["a", "week 2/übung 1.ipynb", "a/b/c.csv", "x" * 240, "a..b", "🙂"])
def test_paths_that_may_be(path: str) -> None:
    assert check_push_path(path) is None


@pytest.mark.parametrize(
    "path",
    [
        *("", "/a", "~/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", "a\\b", "a\nb", "a\0", ".a", "a/.git/x"),
        *(" a", "a /b", "x" * 241, "/".join(["x" * 200] * 6), "a\u202eb", "\ud800"),
    ],
)
def test_paths_that_may_not(path: str) -> None:
    answer = check_push_path(path)
    assert answer is not None
    assert answer.code == "invalid_option"
    answer.reason.encode()


@given(st.lists(st.sampled_from(["..", ".", "", "a", ".a", "/", "~", "b c"]) | st.text(max_size=8), max_size=6))
def test_no_path_leads_out_of_a_home(parts: list[str]) -> None:
    path = "/".join(parts)
    for hidden in (False, True):
        if check_push_path(path, hidden=hidden) is None:
            home = Path("/home/jovyan")
            led = (home / path).resolve()
            assert led.is_relative_to(home)
            assert led != home
            assert str(led.relative_to(home)) == path
