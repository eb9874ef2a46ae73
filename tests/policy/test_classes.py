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
    TRIES,
    Course,
    Phase,
    Seat,
    SeatState,
    Session,
    Wish,
    check_course,
    check_session,
    gone_back,
    hands,
    seat_state,
    takes,
    unused,
)

from .pools import HOUR, MINUTE, NOW, at, refused

COURSE = Course("ml-101", "Machine learning", "gpu", "ines", NOW, gpus=1)


def session(starts: float = 60, ends: float = 180, seats: int = 10, **more: object) -> Session:
    made = Session("s", COURSE.id, at(starts), at(ends), seats, "ines", NOW, lead=timedelta(0), gpus=1)
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
    # 20 each: 40 are taken, and one that is called off before takes nothing.
    told = refused(check_session(course, session(), before, NOW), "course_limit")
    assert told == "20 GPU-hours are needed, and 10 of this course's 50 are left."
    before[0] = replace(before[0], cancelled_at=NOW)
    assert check_session(course, session(), before, NOW) is None
    refused(check_session(replace(course, archived_at=NOW), session(), [], NOW), "course_archived")


def test_what_sessions_take() -> None:
    course = replace(COURSE, most_gpu_hours=1, gpus=4)
    asked, other = session(180, 210, 1), session(60, 90, 1, id="other")
    assert check_session(course, asked, [other], NOW) is None
    for more, left in [
        ({"lead": 15 * MINUTE}, "0.25"),
        ({"lead": 90 * MINUTE}, "0"),  # of which an hour was to come when it was reserved
        ({"gpus": 2}, "0"),
        ({"ends_at": at(96)}, "0.4"),
        ({"ends_at": at(121), "cancelled_at": at(91)}, "0.48"),
        ({"ends_at": at(121), "cancelled_at": at(91), "lead": 15 * MINUTE}, "0.23"),
    ]:
        found = [replace(other, **more)]  # type: ignore[arg-type]
        told = refused(check_session(course, asked, found, NOW), "course_limit")
        assert told == f"0.5 GPU-hours are needed, and {left} of this course's 1 are left.", more
    for off in (at(0), at(60), at(90)):
        found = [replace(other, ends_at=at(121), cancelled_at=off)]
        assert check_session(course, asked, found, NOW) is None
    assert check_session(replace(course, most_gpu_hours=0), replace(asked, gpus=0), [other], NOW) is None


def test_more_time_of_any_seat_counts() -> None:
    course = replace(COURSE, most_gpu_hours=2)
    asked, other = session(180, 210, 1), session(60, 90, 1, id="other")
    longer = [Seat("other", "ann", until=at(120)), Seat("other", "bob", until=at(105)), Seat("other", "cyd")]
    assert check_session(course, asked, [other], NOW, longer[:1]) is None
    told = refused(check_session(course, replace(asked, seats=2), [other], NOW, longer), "course_limit")
    assert told == "1 GPU-hours are needed, and 0.75 of this course's 2 are left."
    # What ends with a session takes no more, and those of a session that is called off stop.
    assert check_session(course, replace(asked, seats=2), [replace(other, ends_at=at(120))], NOW, longer) is None
    off = replace(other, cancelled_at=at(80))
    assert check_session(course, replace(asked, seats=3), [off], NOW, longer) is None
    # Its own counts after its new end.
    own = [Seat("s", "ann", until=at(240))]
    assert check_session(course, replace(asked, ends_at=at(240)), [other], NOW, own) is None
    asked = replace(asked, seats=3)
    assert "2 GPU-hours are" in refused(check_session(course, asked, [other], NOW, own), "course_limit")


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


def test_a_seat_that_failed_too_often_goes_back() -> None:
    asked = session(60, 180, grace=15 * MINUTE)
    failed = Seat("s", "ann", asked_at=at(50), attempts=TRIES, problem="no image")
    assert unused(asked, [failed], at(74)) == []
    assert unused(asked, [failed], at(75)) == [failed]
    more: list[dict[str, Any]] = [
        {"attempts": TRIES - 1},  # it is tried once more
        {"problem": ""},
        {"wish": Wish.START},
        {"hand_at": at(61)},
        {"entered_at": at(61)},
        {"ended_at": at(61)},
        {"given_back_at": at(75)},
    ]
    assert [one for one in more if unused(asked, [replace(failed, **one)], at(75))] == []


def test_who_has_a_seat() -> None:
    def told(**more: Any) -> tuple[bool, bool]:
        seat = Seat("s", "ann", **more)
        return takes(seat), gone_back(seat)

    assert told() == (False, False)
    assert told(wish=Wish.START) == (True, False)
    assert told(asked_at=at(0)) == (True, False)
    assert told(asked_at=at(0), ended_at=at(1)) == (False, False)
    assert told(asked_at=at(0), problem="no image") == (False, False)
    assert told(asked_at=at(0), ready_at=at(1), problem="it has stopped") == (True, False)
    back: dict[str, Any] = {"given_back_at": at(10)}
    assert told(**back) == told(asked_at=at(0), ready_at=at(1), **back) == told(asked_at=at(10), **back)
    assert told(**back) == (False, True)
    assert told(wish=Wish.STOP, **back) == (False, True)
    assert told(wish=Wish.START, **back) == told(asked_at=at(11), **back) == (True, False)
    assert told(asked_at=at(0), ready_at=at(11), **back) == (True, False)


def test_who_waits_longest_for_help_is_first() -> None:
    def raised(user: str, when: datetime | None) -> Seat:
        return Seat("s", user, hand_at=when)

    found = hands([raised("cyd", at(2)), raised("bob", at(1)), raised("dan", None), raised("ann", at(2))])
    assert [seat.user for seat in found] == ["bob", "ann", "cyd"]


def test_gpu_hours() -> None:
    assert session(0, 90, 4, gpus=2).gpu_hours == 12
    asked = session(60, 90, 1, lead=90 * MINUTE)
    assert asked.reserved_from == NOW
    assert replace(asked, reserved_at=at(20)).reserved_from == at(20)
    assert replace(asked, lead=15 * MINUTE).reserved_from == at(45)
    assert session(0, 60).length == HOUR
