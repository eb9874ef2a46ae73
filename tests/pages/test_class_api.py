"""What the API says of classes, and what it takes, without a hub around it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spawner.operations.class_lab import Lesson
from spawner.pages.asking import Refusal
from spawner.pages.class_api import Presence, deliveries_in, hand_in
from spawner.pages.class_views import class_poll_seconds, class_view, in_class
from spawner.policy.classes import Course, Role, Session
from spawner.policy.ends import Notice
from spawner.policy.handouts import Announcement, Delivery, Kind, Outcome, Push

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
COURSE = Course("ml", "Machine learning", "cpu", "ines", NOW)
SESSION = Session("s1", "ml", NOW - HOUR, NOW + HOUR, 2, "ines", NOW - 24 * HOUR, title="Week 1")
PUSH = Push("p1", "ml", "s1", "week1/a.csv", "0" * 64, 4, "ines", NOW)


def _lesson(left: timedelta = HOUR, **values: Any) -> Lesson:
    given = {"hand_at": None, "place": 0, "messages": (), "pushes": (), "files": (), **values}
    return Lesson(COURSE, SESSION, Role.STUDENT, NOW + left, **given)


def test_a_class_is_described() -> None:
    message = Announcement("m1", "s1", Kind.BROADCAST, "Open week 1.", "ines", NOW)
    taken = Delivery("p1", "ann", NOW, Outcome.BESIDE, "week1/a.1.csv")
    lesson = _lesson(hand_at=NOW - MINUTE, place=2, messages=(message,), pushes=(PUSH,), files=((PUSH, taken),))
    assert class_view(lesson, NOW) == {
        "course": "ml",
        "title": "Machine learning",
        "session": "s1",
        "session_title": "Week 1",
        "starts_at": "2026-11-21T11:00:00+00:00",
        "ends_at": "2026-11-21T13:00:00+00:00",
        "left_seconds": 3600,
        "exam": False,
        "staff": False,
        "hand": {"raised": True, "place": 2},
        "messages": [
            {
                "id": "m1",
                "kind": "broadcast",
                "text": "Open week 1.",
                "by": "ines",
                "at": "2026-11-21T12:00:00+00:00",
            }
        ],
        "pushes": [{"id": "p1", "path": "week1/a.csv", "sha256": "0" * 64, "size": 4}],
        "files": [
            {
                "id": "p1",
                "path": "week1/a.1.csv",
                "sent_as": "week1/a.csv",
                "by": "ines",
                "outcome": "beside",
                "problem": "",
                "at": "2026-11-21T12:00:00+00:00",
            }
        ],
        "withheld": 0,
    }
    assert class_view(_lesson(-MINUTE), NOW)["left_seconds"] == 0
    assert class_view(_lesson(), NOW)["hand"] == {"raised": False, "place": None}


def test_nobody_in_a_class_is_asked_to_give_back_its_gpus() -> None:
    found = in_class(
        [
            Notice("a", "warning", "It ends.", NOW, ("extend", "release")),
            Notice("b", "error", "Lost.", NOW, ("restart",)),
        ]
    )
    assert [(one.id, one.actions) for one in found] == [("a", ()), ("b", ("restart",))]


def test_a_seat_asks_often() -> None:
    pace = [class_poll_seconds(_lesson(left), NOW) for left in (HOUR, 2 * MINUTE)]
    assert [*pace, class_poll_seconds(_lesson(hand_at=NOW), NOW)] == [10, 5, 5]


@pytest.mark.parametrize("raised", [None, 0, 1, "true", [], {}])
def test_a_hand_is_up_or_down(raised: object) -> None:
    with pytest.raises(Refusal, match="raised must be"):
        hand_in({"raised": raised})
    assert hand_in({"raised": True}) == (True, "")


@pytest.mark.parametrize("by", [None, 1, ["ines"], "in\0es"])
def test_a_hand_is_lowered_by_somebody(by: object) -> None:
    with pytest.raises(Refusal, match="by must be"):
        hand_in({"raised": False, "by": by})
    assert hand_in({"raised": False, "by": "ines"}) == (False, "ines")


def test_who_is_there_is_read() -> None:
    assert Presence.of({}, False, NOW) == Presence(False, None, ())
    said = {"present": True, "visitors": ["bob", "ines", "bob"], "active_seconds": 90}
    assert Presence.of(said, False, NOW) == Presence(True, NOW - 90 * timedelta(seconds=1), ("bob", "ines"))
    assert Presence.of(said, True, NOW).active_at == NOW
    many = [f"user-{number}" for number in range(1000)]
    assert len(Presence.of({"visitors": many}, False, NOW).visitors) == 50


@pytest.mark.parametrize(
    "body",
    [
        {"present": 1},
        {"visitors": "ines"},
        {"visitors": [1]},
        {"active_seconds": -1},
        {"active_seconds": 1.5},
        {"active_seconds": True},
        {"active_seconds": "9"},
    ],
)
def test_a_report_that_cannot_be_is_refused_with_words(body: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="must be") as caught:
        Presence.of(body, True, NOW)
    assert caught.value.status_code == 400


def test_deliveries_are_read() -> None:
    item = {"push": "p1", "outcome": "failed", "path": "a\nb", "problem": "x" * 900}
    (found,) = deliveries_in({"items": [item]}, "ann", NOW)
    assert found == Delivery("p1", "ann", NOW, Outcome.FAILED, "a?b", "x" * 500)
    assert deliveries_in({"items": []}, "ann", NOW) == []


@pytest.mark.parametrize(
    "items",
    [
        None,
        {},
        ["p1"],
        [{"push": 1, "outcome": "same"}],
        [{"push": "p1", "outcome": "lost"}],
        [{"push": "p1"}],
        [{"push": "p1", "outcome": "same", "path": None}],
        [{"push": "p1", "outcome": "same", "problem": {}}],
        [{}] * 501,
    ],
)
def test_deliveries_that_cannot_be_are_refused_with_words(items: object) -> None:
    with pytest.raises(Refusal) as caught:
        deliveries_in({"items": items}, "ann", NOW)
    assert (caught.value.status_code, caught.value.code) == (400, "invalid_body")
