"""Collected work: when it is due, what staff may ask, and what they get."""

import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from spawner.course_directory import Places
from spawner.errors import UnknownName
from spawner.operations import collections, courses, seat_life, seats, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, Seat, Session
from spawner.policy.handouts import Collected
from spawner.policy.model import Deny

from ..support.office import HOUR, MINUTE, NOW, Office

COURSE = Course("ml", "Machine learning", "cpu", "", NOW, collect="work")


@pytest.fixture
def session(office: Office) -> Session:
    """From one to two o'clock, with two students of which one was there."""
    courses.create(office.desk, COURSE, "ines")
    courses.enrol(office.desk, "ml", ("ann", "bob"), Role.STUDENT, "ines")
    made = booked(office)
    office.wait(HOUR)
    seat_life.asked(office.desk, made.id, "ann")
    seats.note(office.desk, made.id, "ann", ready_at=office.clock.now)
    return sessions.find(office.desk, made.id)


def booked(office: Office, *, exam: bool = False) -> Session:
    start = office.clock.now + HOUR
    answer = sessions.book(office.desk, Plan("ml", [(start, start + HOUR)], 3, exam=exam), "ines")
    assert isinstance(answer, Planned)
    return answer.sessions[0]


def due(office: Office) -> list[str]:
    return [one.user for one in collections.due(office.desk)]


def note(office: Office, session: Session, user: str, **found: object) -> Collected:
    said = Collected("", session.id, user, "work", office.clock.now, "", 0, 0, "")
    return collections.note(office.desk, said, **found)


def test_work_is_due_at_the_end_once(office: Office, session: Session) -> None:
    office.wait(HOUR - MINUTE)
    assert due(office) == []
    note(office, session, "ann")  # too early to be the end's
    office.wait(MINUTE)
    found = collections.due(office.desk)
    assert [(one.user, one.folder, one.runs) for one in found] == [("ann", "work", True), ("bob", "work", False)]
    for one in found:
        note(office, session, one.user)
    assert due(office) == []


def test_each_seat_has_its_own_end(office: Office, session: Session) -> None:
    seats.note(office.desk, session.id, "ann", until=session.ends_at + 10 * MINUTE)
    with office.ledger.transaction() as books:
        books.sessions.put_seats([Seat(session.id, "guest", guest=True)])
    office.clock.now = session.ends_at
    assert due(office) == ["bob", "guest"]
    office.wait(10 * MINUTE)
    assert due(office) == ["ann", "bob", "guest"]


def test_what_is_long_over_is_not_made_up_for(office: Office, session: Session) -> None:
    office.clock.now = session.ends_at + 6 * HOUR
    assert due(office) == []


def test_nothing_is_due(office: Office, session: Session) -> None:
    never = booked(office)
    office.clock.now = never.ends_at
    with office.ledger.transaction() as books:
        books.sessions.update(replace(session, cancelled_at=NOW))
    assert due(office) == []
    with office.ledger.transaction() as books:
        books.sessions.update(session)
    courses.change(office.desk, "ml", "ines", collect="")
    assert due(office) == []


def test_an_exam_is_collected_whole(office: Office, session: Session) -> None:
    courses.change(office.desk, "ml", "ines", collect="")
    office.clock.now = session.ends_at
    exam = booked(office, exam=True)
    office.clock.now = exam.starts_at
    seat_life.asked(office.desk, exam.id, "ann")
    office.clock.now = exam.ends_at
    assert [(one.session.id, one.user, one.folder) for one in collections.due(office.desk)] == [
        (exam.id, "ann", ""),
        (exam.id, "bob", ""),
    ]


def test_no_course_waits_for_another(office: Office, session: Session) -> None:
    """One of each course, and then the next of each: a large class holds up no other."""
    courses.enrol(office.desk, "ml", tuple("cdefgh"), Role.STUDENT, "ines")
    courses.create(office.desk, replace(COURSE, id="art"), "otto")
    courses.enrol(office.desk, "art", ("zoe", "zac"), Role.STUDENT, "otto")
    answer = sessions.book(office.desk, Plan("art", [(session.ends_at, session.ends_at + HOUR)], 3), "otto")
    assert isinstance(answer, Planned)
    [other] = answer.sessions
    office.clock.now = session.ends_at
    seat_life.asked(office.desk, other.id, "zoe")
    office.wait(MINUTE)
    collections.request(office.desk, other.id, "otto")
    found = collections.due(office.desk)
    assert [one.user for one in found] == ["ann", "zac", "bob", "zoe", *"cdefgh"]
    assert [one.asked for one in found[:2]] == [False, True]


def test_of_a_course_the_sessions_that_are_over_come_first(office: Office, session: Session) -> None:
    answer = sessions.book(office.desk, Plan("ml", [(session.ends_at, session.ends_at + HOUR)], 3), "ines")
    assert isinstance(answer, Planned)
    [second] = answer.sessions
    office.clock.now = session.ends_at
    seat_life.asked(office.desk, second.id, "ann")
    collections.request(office.desk, second.id, "ines")
    found = [(one.session.id, one.asked) for one in collections.due(office.desk)]
    assert found == [(session.id, False)] * 2 + [(second.id, True)] * 2


def test_an_exam_that_is_called_off_midway(office: Office, session: Session) -> None:
    """Its students cannot get at what they wrote any more; so it is there for staff."""
    office.clock.now = session.ends_at
    never = booked(office, exam=True)
    sessions.cancel(office.desk, never.id, "ines", "")
    assert code(office, never) == "no_session"
    exam = booked(office, exam=True)
    office.clock.now = exam.starts_at
    seat_life.asked(office.desk, exam.id, "ann")
    seats.note(office.desk, exam.id, "ann", ready_at=office.clock.now, until=exam.ends_at + HOUR)
    for user in due(office):
        note(office, session, user)
    office.wait(MINUTE)
    sessions.cancel(office.desk, exam.id, "ines", "The fire alarm.")
    assert [(one.session.id, one.user, one.runs) for one in collections.due(office.desk)] == [
        (exam.id, "ann", True),
        (exam.id, "bob", False),
    ]
    for user in due(office):
        note(office, exam, user)
    assert due(office) == []
    for cleared in (False, True):
        office.wait(MINUTE)
        if cleared:
            seats.note(office.desk, exam.id, "ann", ended_at=office.clock.now)
            seat_life.cleared(office.desk, exam.id)
        assert isinstance(collections.request(office.desk, exam.id, "ines"), Session)
        assert due(office) == ["ann", "bob"]
        for user in due(office):
            note(office, exam, user)
    office.wait(6 * HOUR)
    assert code(office, exam) == "session_over"
    assert due(office) == []


def code(office: Office, session: Session) -> str:
    answer = collections.request(office.desk, session.id, "ines")
    assert isinstance(answer, Deny)
    return answer.code


def test_staff_ask_for_it(office: Office, session: Session) -> None:
    asked = collections.request(office.desk, session.id, "tom", "a look")
    assert isinstance(asked, Session)
    assert asked.collect_at == office.clock.now
    entry = office.audit()[-1]
    assert (entry.actor, entry.action, entry.why) == ("tom", "session.collect", "a look")
    assert due(office) == ["ann", "bob"]
    for user in due(office):
        note(office, session, user)
    assert due(office) == []
    office.wait(MINUTE)
    collections.request(office.desk, session.id, "tom")
    assert due(office) == ["ann", "bob"]
    note(office, session, "ann", problem="The disk is full.")
    assert due(office) == ["bob"]
    # Also when it is over.
    office.clock.now = session.ends_at + MINUTE
    for user in due(office):
        note(office, session, user)
    office.wait(MINUTE)
    collections.request(office.desk, session.id, "tom")
    assert due(office) == ["ann", "bob"]


def test_what_is_asked_for_happens(office: Office, session: Session) -> None:
    office.clock.now = session.ends_at + 6 * HOUR - MINUTE
    assert isinstance(collections.request(office.desk, session.id, "tom"), Session)
    assert due(office) == ["ann", "bob"]
    office.wait(MINUTE)
    # A session whose seats still run is not over, however long ago it ended.
    assert isinstance(collections.request(office.desk, session.id, "tom"), Session)
    assert due(office) == ["ann", "bob"]
    seat_life.cleared(office.desk, session.id)
    assert due(office) == []
    before = len(office.audit())
    denied = collections.request(office.desk, session.id, "tom")
    assert isinstance(denied, Deny)
    assert denied.code == "session_over"
    assert len(office.audit()) == before


def test_what_cannot_be_asked(office: Office, session: Session) -> None:
    later = booked(office)
    before = len(office.audit())

    assert code(office, later) == "no_session"
    with pytest.raises(UnknownName):
        collections.request(office.desk, "none", "ines")
    with pytest.raises(UnknownName):
        collections.listing(office.desk, "none")
    assert len(office.audit()) == before
    courses.change(office.desk, "ml", "ines", collect="")
    assert code(office, session) == "nothing_to_collect"
    sessions.cancel(office.desk, session.id, "ines", "")
    courses.change(office.desk, "ml", "ines", collect="work")
    assert code(office, session) == "no_session"


def test_the_last_of_each(office: Office, session: Session) -> None:
    first = note(office, session, "ann", archive="s/a1.tar.gz")
    none = note(office, session, "bob", problem="There is no home.")
    office.wait(MINUTE)
    second = note(office, session, "ann", archive="s/a2.tar.gz")
    office.wait(MINUTE)
    failed = note(office, session, "ann", problem="The disk is full.")
    found = collections.listing(office.desk, session.id)
    assert found == (first, second, failed, none)
    assert collections.latest(found) == (second, none)
    assert collections.find(office.desk, session.id, second.id)[1] == second
    with pytest.raises(UnknownName):
        collections.find(office.desk, session.id, "none")


# --- downloads --------------------------------------------------------------------------------------------------------


def put(places: Places, name: str, content: bytes) -> str:
    path = places.course("ml").create().collected / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return name


def one(user: str, archive: str, problem: str = "", at: datetime = NOW) -> Collected:
    return Collected(f"id-{user}", "s1", user, "work", at, archive, 1, 3, "ab" * 32, problem)


def unzipped(places: Places, collected: Sequence[Collected]) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    pieces = list(collections.zipped(places, "ml", collected))
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as packed:
        assert packed.testzip() is None
        files = {name: packed.read(name) for name in packed.namelist()}
    return files, list(csv.DictReader(io.StringIO(files.pop(collections.INDEX).decode())))


def test_one_archive(tmp_path: Path) -> None:
    places = Places(tmp_path)
    ann = one("ann", put(places, "s1/ann-1.tar.gz", b"work"))
    assert collections.archive_of(places, "ml", ann).read_bytes() == b"work"
    for bad in (one("bob", "", "There is no home."), one("bob", "s1/none"), one("bob", "../../../etc/passwd")):
        with pytest.raises(UnknownName, match="There is no"):
            collections.archive_of(places, "ml", bad)


def test_all_as_one_file(tmp_path: Path) -> None:
    places = Places(tmp_path)
    large = bytes(range(256)) * 10_000
    wanted = [
        one("ann", put(places, "s1/ann-1.tar.gz", large)),
        one("=bob", "", "There is no home."),
        one("cyd", "s1/gone.tar.gz", "1 file left out."),
        one("dan", put(places, "s1/dan-1.tar.gz", b""), at=NOW - timedelta(days=40_000)),
    ]
    files, table = unzipped(places, wanted)
    assert files == {"ann-1.tar.gz": large, "dan-1.tar.gz": b""}
    assert [(row["user"], row["archive"], row["problem"]) for row in table] == [
        ("ann", "ann-1.tar.gz", ""),
        ("'=bob", "", "There is no home."),
        ("cyd", "", "1 file left out. The archive is not there any more."),
        ("dan", "dan-1.tar.gz", ""),
    ]
    assert table[0]["sha256"] == "ab" * 32


def test_nothing_is_held_of_it(tmp_path: Path) -> None:
    places = Places(tmp_path)
    ann = one("ann", put(places, "s1/ann-1.tar.gz", b"x" * (10 << 20)))
    assert max(map(len, collections.zipped(places, "ml", [ann]))) < 2 << 20
    assert unzipped(places, []) == ({}, [])
