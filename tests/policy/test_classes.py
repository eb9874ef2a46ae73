"""What a course and a session can be, and what a seat is doing."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.classes import (
    QUIET,
    SLOW,
    Course,
    Phase,
    Seat,
    SeatState,
    Session,
    check_course,
    check_session,
    hands,
    seat_state,
    unused,
)

from .pools import HOUR, MINUTE, NOW, at, refused

COURSE = Course("ml-101", "Machine learning", "gpu", "ines", NOW, gpus=1)


def session(starts: float = 60, ends: float = 180, seats: int = 10, **more: object) -> Session:
    made = Session("s", COURSE.id, at(starts), at(ends), seats, "ines", NOW)
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "ML", "a b", "-a", "a-", "ä", "a" * 31, "a/b", "a_b", "1a", "a--b", "new"])
def test_short_names_that_cannot_be(name: str) -> None:
    refused(check_course(replace(COURSE, id=name)), "invalid_option")


def test_courses() -> None:
    assert check_course(COURSE) is None
    assert check_course(replace(COURSE, id="a")) is None
    refused(check_course(replace(COURSE, title=" ")), "invalid_option")
    refused(check_course(replace(COURSE, title="a\nb")), "invalid_option")
    refused(check_course(replace(COURSE, gpus=-1)), "invalid_option")
    asked = COURSE.seat("ann", 2.0)
    assert (asked.server, asked.course, asked.count, asked.hours) == ("ml-101", "ml-101", 1, 2.0)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (session(seats=0), "at least one seat"),
        (session(60, 60), "ends after it starts"),
        (session(-120, -60), "not in the past"),
        (session(60, 60 + 25 * 60), "24 h at most"),
        (session(lead=-MINUTE), "negative"),
    ],
)
def test_sessions_that_cannot_be(asked: Session, words: str) -> None:
    assert words in refused(check_session(COURSE, asked, [], NOW), "invalid_option")


def test_limits_of_admins() -> None:
    course = replace(COURSE, most_seats=10, most_gpu_hours=50, most_ahead=timedelta(days=1))
    assert check_session(course, session(), [], NOW) is None
    assert "may have 10" in refused(check_session(course, session(seats=11), [], NOW), "course_limit")
    far = session(3 * 24 * 60, 3 * 24 * 60 + 60)
    assert "further away" in refused(check_session(course, far, [], NOW), "course_limit")
    before = [session(300 * number, 300 * number + 120, id=f"t{number}") for number in (1, 2)]
    # 20 each: 40 are taken, and a cancelled one takes nothing.
    told = refused(check_session(course, session(), before, NOW), "course_limit")
    assert told == "20 GPU-hours are needed, and 10 of this course's 50 are left."
    before[0] = replace(before[0], cancelled_at=NOW)
    assert check_session(course, session(), before, NOW) is None
    refused(check_session(replace(course, archived_at=NOW), session(), [], NOW), "course_archived")


def test_two_at_a_time() -> None:
    other = session(120, 240, id="other")
    refused(check_session(COURSE, session(), [other], NOW), "session_overlaps")
    assert check_session(COURSE, session(60, 120), [other], NOW) is None
    assert check_session(COURSE, replace(other, seats=3), [other], NOW) is None  # itself, changed


def test_phases() -> None:
    asked = session(60, 180, lead=15 * MINUTE)
    for minutes, phase in ((0, "planned"), (45, "warming"), (60, "open"), (179, "open"), (180, "over")):
        assert asked.phase(at(minutes)) is Phase(phase), minutes
    warmed = replace(asked, warmed_at=at(40))
    assert warmed.phase(at(41)) is Phase.WARMING
    assert warmed.phase(at(180)) is Phase.ENDING
    assert replace(warmed, cleared_at=at(181)).phase(at(182)) is Phase.OVER
    assert replace(warmed, cancelled_at=at(50)).phase(at(60)) is Phase.CANCELLED


def test_what_a_seat_is_doing() -> None:
    seat = Seat("s", "ann")

    def state(now: float, active: float | None = None, **more: Any) -> SeatState:
        return seat_state(replace(seat, active_at=None if active is None else at(active), **more), at(now))

    assert state(0) is SeatState.NOT_STARTED
    assert state(1, asked_at=at(0)) is SeatState.STARTING
    assert state(SLOW / MINUTE, asked_at=at(0)) is SeatState.STUCK
    assert state(1, asked_at=at(0), problem="no image") is SeatState.STUCK
    ready: dict[str, Any] = {"asked_at": at(0), "ready_at": at(1)}
    assert state(60, 50, **ready) is SeatState.READY  # somebody else's doing
    there = {**ready, "entered_at": at(2)}
    assert state(3, **there) is SeatState.WORKING
    assert state(2 + QUIET / MINUTE, **there) is SeatState.IDLE
    assert state(30, 29, **there) is SeatState.WORKING
    assert state(30, 29, **there, ended_at=at(30)) is SeatState.ENDED
    assert state(30, given_back_at=at(20)) is SeatState.GIVEN_BACK
    assert state(30, asked_at=at(1), given_back_at=at(20)) is SeatState.GIVEN_BACK
    assert state(30, asked_at=at(29), given_back_at=at(20)) is SeatState.STARTING  # who came late after all


WHEN_READY = st.none() | st.integers(0, 200)


@given(st.lists(st.tuples(WHEN_READY, st.booleans(), st.booleans(), st.booleans()), max_size=8), st.integers(0, 240))
def test_only_what_nobody_uses_goes_back(seats: list[tuple[int | None, bool, bool, bool]], minutes: int) -> None:
    asked = session(60, 180, grace=15 * MINUTE)
    there = [
        Seat(
            "s",
            f"u{number}",
            ready_at=None if ready is None else at(ready),
            entered_at=at(61) if entered else None,
            ended_at=at(62) if ended else None,
            hand_at=at(62) if hand else None,
        )
        for number, (ready, entered, ended, hand) in enumerate(seats)
    ]
    found = {seat.user for seat in unused(asked, there, at(minutes))}
    for number, (ready, *busy) in enumerate(seats):
        # A seat that was ready late waits as long for its student.
        left = ready is not None and max(ready, 60) + 15 <= minutes < 180 and not any(busy)
        assert (f"u{number}" in found) == left


def test_who_waits_longest_for_help_is_first() -> None:
    def raised(user: str, when: datetime | None) -> Seat:
        return Seat("s", user, hand_at=when)

    found = hands([raised("cyd", at(2)), raised("bob", at(1)), raised("dan", None), raised("ann", at(2))])
    assert [seat.user for seat in found] == ["bob", "ann", "cyd"]


def test_gpu_hours() -> None:
    assert session(0, 90, 4).gpu_hours(2) == 12
    assert session(0, 60).length == HOUR
