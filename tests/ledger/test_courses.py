"""Courses, rosters, sessions and seats, as both databases keep them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawner.ledger import Ledger
from spawner.policy.classes import STAFF, Course, Member, Role, Seat, Session
from spawner.policy.gpus import SlotKind
from spawner.policy.model import AtEnd

from ..support.office import HOUR, NOW
from . import strategies as ours

TIMES = st.none() | ours.TIMES


def course(name: str = "ml", **more: Any) -> Course:
    return replace(Course(name, f"About {name}", "gpu", "ines", NOW), **more)


def session(name: str, starts: float = 1, **more: Any) -> Session:
    starts_at = NOW + starts * HOUR
    return replace(Session(name, "ml", starts_at, starts_at + HOUR, 10, "ines", NOW), **more)


def test_all_of_a_course_comes_back(ledger: Ledger) -> None:
    made = course(
        title="Ünder\u202e 🙂 %s",
        gpus=2,
        models=frozenset({"A100", "H100"}),
        kinds=frozenset({SlotKind.MIG}),
        memory=5 << 30,
        at_end=AtEnd.CPU,
        most_seats=40,
        most_gpu_hours=12.5,
        most_ahead=timedelta(days=30),
    )
    with ledger.transaction() as books:
        books.courses.insert(made)
        books.courses.insert(course("art", archived_at=NOW))
        assert books.courses.get("ml") == made
        assert books.courses.get("none") is None
        assert books.courses.all() == [made]
        books.courses.update(replace(made, title="Other", version=2))
    with ledger.reading() as books:
        assert [one.title for one in books.courses.all(archived=True)] == ["About art", "Other"]


def test_rosters(ledger: Ledger) -> None:
    def member(user: str, role: Role = Role.STUDENT, name: str = "ml") -> Member:
        return Member(name, user, role, NOW, "ines")

    with ledger.transaction() as books:
        books.courses.put_members([member("bob"), member("ann"), member("ines", Role.INSTRUCTOR)])
        books.courses.put_members([member("ann", name="art"), member("bob", Role.ASSISTANT)])
        assert [one.user for one in books.courses.members("ml")] == ["ann", "bob", "ines"]
        assert [one.user for one in books.courses.members("ml", STAFF)] == ["bob", "ines"]
        assert [one.course for one in books.courses.of_user("ann")] == ["art", "ml"]
        assert books.courses.counts()["ml", Role.STUDENT] == 1
        assert books.courses.remove_members("ml", ["ann", "nobody"]) == 1
        assert books.courses.member("ml", "ann") is None
        assert books.courses.member("art", "ann") == member("ann", name="art")


def test_whose_seats_staff_were_let_into(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        for owner, user in (("bob", "tom"), ("ann", "tom"), ("ann", "ines"), ("ann", "tom")):
            books.courses.put_share("ml", owner, user, NOW)
        books.courses.put_share("art", "ann", "tom", NOW)
    with ledger.transaction() as books:
        assert books.courses.shares("ml") == [("ann", "ines"), ("ann", "tom"), ("bob", "tom")]
        assert books.courses.remove_share("ml", "ann", "tom")
        assert not books.courses.remove_share("ml", "ann", "tom")
    with ledger.reading() as books:
        assert books.courses.shares("ml") == [("ann", "ines"), ("bob", "tom")]
        assert books.courses.shares("art") == [("ann", "tom")]


def test_which_sessions(ledger: Ledger) -> None:
    before, running, ahead = session("a", -3), session("b", -0.5, series="s"), session("c", 5, series="s")
    stopping = session("d", -2, warmed_at=NOW - 2 * HOUR)
    cancelled = session("e", 6, cancelled_at=NOW)
    with ledger.transaction() as books:
        books.sessions.insert([ahead, running, before, stopping, cancelled])
        assert books.sessions.of_course("ml") == [before, stopping, running, ahead, cancelled]
        assert books.sessions.of_series("s") == [running, ahead]
        assert books.sessions.within(NOW, NOW + 7 * HOUR) == [running, ahead]
        assert books.sessions.live(NOW) == [stopping, running, ahead]
        books.sessions.update(replace(stopping, cleared_at=NOW))
        assert books.sessions.live(NOW) == [running, ahead]
        assert books.sessions.get("e") == cancelled


def test_who_was_given_more_time(ledger: Ledger) -> None:
    ahead, off, other = session("a", 5, gpus=2), session("b", 6, cancelled_at=NOW), session("c", 5, course="art")
    longer = Seat("a", "ann", until=NOW + 7 * HOUR)
    with ledger.transaction() as books:
        books.sessions.insert([ahead, replace(off, reserved_at=NOW), other])
        books.sessions.put_seats([longer, Seat("a", "bob"), *(replace(longer, session=name) for name in "bc")])
    with ledger.reading() as books:
        assert books.sessions.of_course("ml") == [ahead, replace(off, reserved_at=NOW)]
        found = sorted(books.sessions.prolonged("ml"), key=lambda seat: seat.session)
        assert found == [longer, replace(longer, session="b")]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.builds(
            Seat,
            st.sampled_from(["a", "b"]),
            ours.TEXT,
            asked_at=TIMES,
            attempts=st.integers(0, 9),
            ready_at=TIMES,
            entered_at=TIMES,
            hand_at=TIMES,
            given_back_at=TIMES,
            ended_at=TIMES,
            problem=ours.TEXT,
            guest=st.booleans(),
        ),
        max_size=6,
        unique_by=lambda seat: (seat.session, seat.user),
    )
)
def test_seats(ledger: Ledger, found: list[Seat]) -> None:
    with ledger.transaction() as books:
        for name in ("a", "b"):
            books.sessions.put_seats([replace(one, problem="was") for one in found if one.session == name])
        books.sessions.put_seats(found)
        for name in ("a", "b"):
            there = {one.user: one for one in books.sessions.seats(name)}
            for one in found:
                if one.session == name:
                    assert there[one.user] == books.sessions.seat(name, one.user) == one
