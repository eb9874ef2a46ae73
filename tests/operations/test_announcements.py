"""Messages to seats: who hears what, what cannot be sent, and who is told of a visit."""

import pytest

from spawner.errors import UnknownName
from spawner.operations import announcements, courses, seats, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, Session
from spawner.policy.handouts import Announcement, Kind
from spawner.policy.model import Deny

from ..support.office import HOUR, MINUTE, NOW, Office

COURSE = Course("ml", "Machine learning", "cpu", "", NOW)


@pytest.fixture
def session(office: Office) -> Session:
    """Ines teaches ann and bob from twelve to two, without GPUs."""
    courses.create(office.desk, COURSE, "ines")
    courses.enrol(office.desk, "ml", ["ann", "bob"], Role.STUDENT, "ines")
    answer = sessions.book(office.desk, Plan("ml", [(NOW, NOW + 2 * HOUR)], 2), "ines")
    assert isinstance(answer, Planned)
    return answer.sessions[0]


def sent(office: Office, session: Session, text: str, user: str = "") -> Announcement:
    answer = announcements.announce(office.desk, session.id, text, "ines", user)
    assert isinstance(answer, Announcement), answer
    return answer


def test_each_seat_hears_what_is_for_all_and_for_itself(office: Office, session: Session) -> None:
    first = sent(office, session, "  Open week 2.\r\nThen wait.\n")
    office.wait(MINUTE)
    second = sent(office, session, "Save first.", "ann")
    assert (first.text, first.kind, second.kind) == ("Open week 2.\nThen wait.", Kind.BROADCAST, Kind.PERSONAL)
    assert announcements.for_seat(office.desk, session.id, "ann") == [first, second]
    assert announcements.for_seat(office.desk, session.id, "bob") == [first]
    assert announcements.of_session(office.desk, session.id) == [first, second]
    told = [(entry.actor, entry.after) for entry in office.audit() if entry.action == "session.announce"]
    assert told == [
        ("ines", {"text": "Open week 2.\nThen wait."}),
        ("ines", {"user": "ann", "text": "Save first."}),
    ]


@pytest.mark.parametrize("text", ["", " \n\t ", "a\x00b", "a\x1b[31mb", "\u202eevil", "x" * 1001])
def test_what_cannot_be_shown_is_refused(office: Office, session: Session, text: str) -> None:
    answer = announcements.announce(office.desk, session.id, text, "ines")
    assert isinstance(answer, Deny)
    assert answer.code == "invalid_option"
    assert announcements.of_session(office.desk, session.id) == []


def test_nothing_is_sent_where_nobody_sits(office: Office, session: Session) -> None:
    with pytest.raises(UnknownName, match="eve has no seat"):
        announcements.announce(office.desk, session.id, "Hello", "ines", "eve")
    with pytest.raises(UnknownName, match="no session"):
        announcements.announce(office.desk, "gone", "Hello", "ines")
    sessions.cancel(office.desk, session.id, "ines", "ill")
    answer = announcements.announce(office.desk, session.id, "Hello", "ines")
    assert isinstance(answer, Deny)
    assert answer.code == "session_over"
    # Berth itself may say why.
    notice = announcements.announce(office.desk, session.id, "Called off.", "janitor", kind=Kind.NOTICE)
    assert isinstance(notice, Announcement)
    assert not [entry for entry in office.audit() if entry.action == "session.announce"]


def test_a_guest_is_spoken_to(office: Office, session: Session) -> None:
    seats.note(office.desk, session.id, "gus", guest=True)
    assert sent(office, session, "Welcome.", "gus").user == "gus"


def test_a_visit_is_told_and_noted_once(office: Office, session: Session) -> None:
    made = announcements.visited(office.desk, session.id, "ann", "ines", "opened on the board")
    assert made is not None
    assert (made.text, made.kind, made.user) == ("ines has opened your server.", Kind.VISIT, "ann")
    assert announcements.visited(office.desk, session.id, "ann", "ines") is None
    assert announcements.visited(office.desk, session.id, "ann", "ann") is None
    assert announcements.visited(office.desk, session.id, "bob", "ines") is not None
    assert announcements.for_seat(office.desk, session.id, "ann") == [made]
    told = [(entry.actor, entry.after, entry.why) for entry in office.audit() if entry.action == "seat.visit"]
    assert told == [("ines", {"user": "ann"}, "opened on the board"), ("ines", {"user": "bob"}, "")]
    with pytest.raises(UnknownName):
        announcements.visited(office.desk, session.id, "eve", "ines")
