"""The starts before the bell: paced, in time, never more than there are seats."""

import random
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.policy.classes import SLOW, TRIES, Seat, Session
from spawner.policy.warmup import RETRY, Pace, begin_at, due, under_way, yielding

from .pools import MINUTE, NOW

_TICK = timedelta(seconds=5)
PACE = Pace(timedelta(seconds=20), 4)


def session(seats: int = 8, starts: float = 30, **more: object) -> Session:
    starts_at = NOW + starts * MINUTE
    made = Session("s", "ml", starts_at, starts_at + 60 * MINUTE, seats, "ines", NOW)
    return replace(made, **more)  # type: ignore[arg-type]


def names(count: int) -> list[str]:
    return [f"u{number:02}" for number in range(count)]


def test_begins_as_late_as_it_may() -> None:
    asked = session(8)
    # Two batches of 20 s, half as much again, and 5 s until each is seen.
    assert begin_at(asked, 8, PACE) == asked.starts_at - timedelta(seconds=125)
    assert begin_at(asked, 1000, PACE) == asked.starts_at - asked.lead
    assert due(asked, names(8), [], PACE, asked.starts_at - timedelta(seconds=126)) == []
    assert due(asked, names(8), [], PACE, asked.starts_at - timedelta(seconds=125)) == names(4)


def test_what_fails_is_tried_again_after_the_others() -> None:
    asked = session(8)
    now = asked.starts_at
    failed = Seat("s", "u00", asked_at=now, attempts=1, problem="no room")
    later = now + RETRY
    assert due(asked, names(3), [failed], PACE, now) == ["u01", "u02"]
    assert due(asked, names(3), [failed], PACE, later) == ["u01", "u02", "u00"]
    assert due(asked, names(3), [replace(failed, attempts=TRIES)], PACE, later) == ["u01", "u02"]


def test_a_start_that_hangs_holds_up_no_other() -> None:
    asked = session(8)
    now = asked.starts_at
    hanging = [Seat("s", name, asked_at=now, attempts=1) for name in names(4)]
    assert due(asked, names(8), hanging, PACE, now) == []
    assert not any(under_way(seat, now + SLOW) for seat in hanging)
    assert due(asked, names(8), hanging, PACE, now + SLOW) == names(8)[4:]


def test_what_was_given_back_or_is_over_is_not_started_again() -> None:
    asked = session(8)
    now = asked.starts_at + asked.grace
    back, ended = Seat("s", "u00", given_back_at=now), Seat("s", "u01", attempts=1, asked_at=now, ended_at=now)
    stopped = Seat("s", "u02", attempts=1)
    assert due(asked, names(4), [back, ended, stopped], PACE, now) == ["u03"]


def test_others_go_first_but_a_class_begins() -> None:
    assert [yielding(8, others) for others in (0, 1, 6, 7, 500)] == [8, 7, 2, 2, 2]
    assert [yielding(1, others) for others in (0, 1)] == [1, 1]


def test_nothing_is_started_before_or_after() -> None:
    asked = session(8)
    assert due(asked, names(8), [], PACE, NOW) == []
    assert due(asked, names(8), [], PACE, asked.ends_at) == []
    assert due(replace(asked, cancelled_at=NOW), names(8), [], PACE, asked.starts_at) == []


@settings(deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(1, 10),
    st.integers(1, 60),
    st.sampled_from([0, 0.1, 0.5]),
    st.randoms(use_true_random=False),
)
def test_a_whole_warm_up(
    roster: int, seats: int, at_once: int, takes: int, fails: float, chance: random.Random
) -> None:
    """Whatever fails: never more than may be under way, nor than there are seats; all that can be is ready."""
    asked, pace = session(seats, lead=timedelta(minutes=30)), Pace(timedelta(seconds=takes), at_once)
    found: dict[str, Seat] = {}
    ready_at: dict[str, tuple[datetime, bool]] = {}
    now = NOW
    while now < asked.ends_at:
        for user, (when, well) in list(ready_at.items()):
            if now >= when:
                del ready_at[user]
                found[user] = replace(
                    found[user], ready_at=when if well else None, problem="" if well else "it did not start"
                )
        for user in due(asked, names(roster), found.values(), pace, now):
            before = found.get(user, Seat("s", user))
            found[user] = replace(before, asked_at=now, attempts=before.attempts + 1, problem="")
            ready_at[user] = now + pace.takes, before.attempts == TRIES - 1 or chance.random() >= fails
        assert len(ready_at) <= at_once
        assert sum(seat.ready_at is not None for seat in found.values()) + len(ready_at) <= seats
        if sum(seat.ready_at is not None for seat in found.values()) == min(roster, seats):
            break
        now += _TICK
    assert sum(seat.ready_at is not None for seat in found.values()) == min(roster, seats)
    # Where nothing fails and the lead suffices, before the bell.
    wanted = min(roster, seats)
    if not fails and begin_at(asked, wanted, pace) > asked.starts_at - asked.lead:
        assert now <= asked.starts_at + _TICK
