import json
from datetime import UTC, datetime, timedelta

import pytest

from spawner.operations import seat_life, seats
from spawner.policy.leases import Lease

from .admin import A100, Admin

STARTS = (datetime.now(UTC) + timedelta(days=3)).replace(hour=10, minute=0, second=0, microsecond=0)
FROM = ("--from", f"{STARTS:%Y-%m-%d %H:%M}", "--for", "2h")


@pytest.fixture
def course(admin: Admin) -> Admin:
    """A course of three on two GPUs."""
    admin.inventory((A100, 1), (A100, 1))
    admin.ok("course", "create", "ml", "--title", "ML", "--instructor", "eva", "--profile", "gpu", "--gpus", "1")
    admin.ok("course", "enrol", "ml", "ann", "ben", "cleo")
    return admin


def reserved(admin: Admin, *arguments: str) -> list[str]:
    return [one["id"] for one in admin.data("session", "reserve", "ml", *arguments)["sessions"]]


def test_reserve_show_and_cancel(course: Admin) -> None:
    said = course.data("session", "reserve", "ml", *FROM, "--seats", "2", "--title", "Lab 1", "--lead", "20")
    assert said["reserved"] is True
    assert said["shortened"] == []
    (session,) = said["sessions"]
    assert (session["starts_at"], session["lead_minutes"], session["state"]) == (STARTS.isoformat(), 20, "planned")
    (listed,) = course.data("session", "list")
    assert listed | {"created_at": session["created_at"]} == session
    assert course.data("session", "show", session["id"]) == listed
    page = course.ok("session", "show", session["id"])
    for words in ("Lab 1", f"{STARTS - timedelta(minutes=20):%Y-%m-%d %H:%M} UTC", "planned", "first"):
        assert words in page
    assert "Lab 1" in course.ok("session", "list").splitlines()[1]
    assert [one["id"] for one in course.data("course", "show", "ml")["sessions"]] == [session["id"]]
    assert session["id"] in course.ok("course", "show", "ml")
    assert "1 session cancelled" in course.ok("session", "cancel", session["id"], "--why", "ill")
    assert course.data("session", "list") == []
    assert [one["state"] for one in course.data("session", "list", "--course", "ml")] == ["cancelled"]
    assert "cancelled" in course.ok("session", "show", session["id"])
    assert "over" in course.refused("session", "cancel", session["id"], "--why", "x", code="session_over")
    assert [entry["action"] for entry in course.audit()[:2]] == ["session.cancel", "session.reserve"]


def test_dry_run_reserves_nothing(course: Admin) -> None:
    before = len(course.audit())
    assert "1 session would fit; nothing is reserved." in course.ok(
        "session", "reserve", "ml", *FROM, "--seats", "2", "--dry-run"
    )
    assert course.data("session", "list") == []
    assert len(course.audit()) == before


def test_what_does_not_fit_says_what_would(course: Admin) -> None:
    reserved(course, *FROM, "--seats", "2")
    course.ok("course", "create", "dl", "--title", "DL", "--instructor", "eva", "--profile", "gpu", "--gpus", "1")
    sentence = course.refused("session", "reserve", "dl", *FROM, "--seats", "1", code="no_capacity")
    assert "They fit at" in sentence
    ahead = course.refused("session", "reserve", "dl", *FROM, "--seats", "3", code="no_capacity")
    assert "fewer seats" in ahead
    assert "another session then" in course.refused(
        "session", "reserve", "ml", *FROM, "--seats", "1", code="session_overlaps"
    )


def test_what_would_fit_is_told_to_programs(course: Admin) -> None:
    reserved(course, *FROM, "--seats", "2")
    course.ok("course", "create", "dl", "--title", "DL", "--instructor", "eva", "--profile", "gpu", "--gpus", "1")
    done = course.run("session", "reserve", "dl", *FROM, "--seats", "1", "--json")
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["starts_at"], error["seats"], error["kinds"]) == (
        "no_capacity",
        STARTS.isoformat(),
        0,
        [],
    )
    assert all(datetime.fromisoformat(time).tzinfo for time in error["times"])
    assert error["times"]


def test_change(course: Admin) -> None:
    (session,) = reserved(course, *FROM, "--seats", "2")
    later = STARTS + timedelta(days=1)
    said = course.data("session", "change", session, "--from", f"{later:%Y-%m-%d %H:%M}", "--title", "Moved")
    assert said["changed"] is True
    # It is as long as before.
    assert (said["session"]["starts_at"], said["session"]["title"]) == (later.isoformat(), "Moved")
    assert said["session"]["ends_at"] == (later + timedelta(hours=2)).isoformat()
    options = ("--seats", "1", "--lead", "5", "--grace", "20", "--late", "queue", "--exam", "--no-terminals")
    words = course.ok("session", "change", session, *options, "--for", "90m", "--dry-run")
    assert "It would fit; nothing is changed." in words
    found = course.data("session", "show", session)
    assert found["seats"] == 2
    assert "Session changed." in course.ok("session", "change", session, *options, "--for", "90m", "--why", "room")
    found = course.data("session", "show", session)
    assert [found[name] for name in ("seats", "lead_minutes", "grace_minutes", "late", "exam", "terminals")] == [
        *(1, 5, 20, "queue", True, False)
    ]
    assert found["ends_at"] == (later + timedelta(minutes=90)).isoformat()
    found = course.data(
        *("session", "change", session, "--until", f"{later + timedelta(hours=1):%Y-%m-%d %H:%M}"),
        *("--no-exam", "--terminals"),
    )["session"]
    assert (found["exam"], found["terminals"]) == (False, True)
    assert found["ends_at"] == (later + timedelta(hours=1)).isoformat()
    assert ("session.change", "room") in [(entry["action"], entry["why"]) for entry in course.audit()]
    berlin = course.data("session", "change", session, "--from", "2030-07-01 10:00", "--zone", "Europe/Berlin")
    assert berlin["session"]["starts_at"] == "2030-07-01T08:00:00+00:00"


def test_what_cannot_be_changed(course: Admin) -> None:
    (session,) = reserved(course, *FROM, "--seats", "2")
    assert "Say what is to change" in course.misused("session", "change", session)
    both = ("--for", "1h", "--until", "2030-01-01 10:00")
    assert "--until or --for" in course.misused("session", "change", session, *both)
    assert "fewer seats" in course.refused("session", "change", session, "--seats", "3", code="no_capacity")
    error = json.loads(course.run("session", "change", session, "--seats", "3", "--json").stdout)["error"]
    assert error["seats"] == 2
    assert "no session 'x'" in course.refused("session", "change", "x", "--seats", "1", code="unknown_name")
    assert "no session 'x'" in course.refused("session", "extend", "x", "--by", "15m", code="unknown_name")
    course.ok("session", "cancel", session, "--why", "ill")
    course.refused("session", "change", session, "--seats", "1", code="session_over")
    course.refused("session", "extend", session, "--by", "15m", code="session_over")


def test_extend(course: Admin) -> None:
    (session,) = reserved(course, *FROM, "--seats", "2")
    end = STARTS + timedelta(hours=2, minutes=15)
    assert f"It ends at {end:%Y-%m-%d %H:%M} UTC." in course.ok("session", "extend", session, "--by", "15m")
    said = course.data("session", "extend", session, "--by", "1h", "--why", "questions")
    assert said["session"]["ends_at"] == (end + timedelta(hours=1)).isoformat()


def test_who_makes_room_is_told(course: Admin) -> None:
    lease: Lease = course.lease("zoe", hours=4)
    start = course.desk.clock() + timedelta(hours=2)
    asked = ("session", "reserve", "ml", "--from", f"{start:%Y-%m-%d %H:%M}", "--for", "2h", "--seats", "2")
    words = course.ok(*asked, "--dry-run")
    assert "1 lease would end earlier" in words
    said = course.data(*asked)
    (room,) = said["shortened"]
    assert (room["lease"], room["user"]) == (lease.id, "zoe")
    assert room["ends_at"] < room["ended_at"]
    assert datetime.fromisoformat(room["ends_at"]) < start - timedelta(minutes=15)


def test_a_series_by_local_clocks_with_exceptions(course: Admin) -> None:
    # Clocks in Berlin go back on the last Sunday of October.
    said = course.data(
        *("session", "reserve", "ml", "--from", "2030-10-21 10:00", "--until", "2030-10-21 12:00"),
        *("--zone", "Europe/Berlin", "--seats", "2", "--weekly-until", "2030-11-06"),
        *("--on", "mon", "--on", "wed", "--skip", "2030-10-23", "--exam", "--no-terminals", "--late", "refuse"),
    )
    assert [one["starts_at"] for one in said["sessions"]] == [
        "2030-10-21T08:00:00+00:00",
        "2030-10-28T09:00:00+00:00",
        "2030-10-30T09:00:00+00:00",
        "2030-11-04T09:00:00+00:00",
        "2030-11-06T09:00:00+00:00",
    ]
    assert {one["series"] for one in said["sessions"]} != {""}
    first = said["sessions"][0]
    assert (first["exam"], first["terminals"], first["late"]) == (True, False, "refuse")
    third = said["sessions"][2]["id"]
    cancelled = course.data("session", "cancel", third, "--following", "--why", "strike")
    assert len(cancelled) == 3
    until = course.data("session", "list", "--until", "520w", "--course", "ml")
    assert [one["id"] for one in until] == [one["id"] for one in said["sessions"][:2]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "2030-10-21", "--for", "2h"), "2027-03-01 14:00"),
        (("--from", "2030-10-21 10:00"), "--until or --for"),
        (("--from", "2030-10-21 10:00", "--for", "2h", "--until", "2030-10-21 12:00"), "--until or --for"),
        (("--from", "2030-10-21 10:00", "--for", "2h", "--zone", "Mars/Olympus"), "Mars/Olympus"),
        (("--from", "2030-10-21 10:00", "--for", "2h", "--on", "mon"), "--weekly-until"),
        (("--from", "2030-10-21 10:00", "--for", "2h", "--weekly-until", "soon"), "'soon'"),
    ],
)
def test_wrong_use(course: Admin, arguments: tuple[str, ...], words: str) -> None:
    assert words in course.misused("session", "reserve", "ml", "--seats", "2", *arguments)


def test_refusals(course: Admin) -> None:
    past = ("--from", "2020-01-01 10:00", "--for", "2h")
    assert "past" in course.refused("session", "reserve", "ml", *past, "--seats", "1", code="invalid_option")
    back = ("--from", "2030-01-02 10:00", "--until", "2030-01-01 10:00", "--seats", "1")
    assert "after it starts" in course.refused("session", "reserve", "ml", *back, code="invalid_option")
    weeks = (*FROM, "--seats", "1", "--weekly-until", "2020-01-01")
    assert "before the first" in course.refused("session", "reserve", "ml", *weeks, code="invalid_option")
    for command in (("show",), ("cancel", "--why", "x"), ("board",)):
        assert "no session 'x'" in course.refused("session", *command, "x", code="unknown_name")
    assert "no course 'nn'" in course.refused("session", "list", "--course", "nn", code="unknown_name")
    assert "no course 'nn'" in course.refused("session", "reserve", "nn", *FROM, "--seats", "1", code="unknown_name")
    assert "no sessions" in course.ok("session", "list")


def test_the_board(course: Admin) -> None:
    (session,) = reserved(course, *FROM, "--seats", "2")
    course.clock_ahead = STARTS + timedelta(minutes=5) - datetime.now(UTC)
    now = course.desk.clock()
    for name in ("ann", "ben"):
        seat_life.asked(course.desk, session, name)
        seats.note(course.desk, session, name, ready_at=now)
    seats.note(course.desk, session, "ann", entered_at=now)
    seats.raise_hand(course.desk, session, "ben")
    course.clock_ahead += timedelta(seconds=5)
    seats.raise_hand(course.desk, session, "ann")
    seats.note(course.desk, session, "cleo", problem="its image cannot be pulled")
    said = course.data("session", "board", session)
    found = {one["user"]: one for one in said["seats"]}
    assert [*found] == ["ann", "ben", "cleo"]
    assert [one["hand_place"] for one in found.values()] == [2, 1, None]
    assert found["cleo"]["state"] == "stuck"
    assert said["session"]["id"] == session
    page = course.ok("session", "board", session)
    for words in ("hand 1, since", "hand 2, since", "stuck", "its image cannot be pulled"):
        assert words in page


def test_a_board_of_nobody(admin: Admin) -> None:
    admin.ok("course", "create", "cs", "--title", "CS", "--instructor", "eva", "--profile", "cpu")
    (said,) = admin.data("session", "reserve", "cs", *FROM, "--seats", "2")["sessions"]
    assert "Nobody is in cs" in admin.ok("session", "board", said["id"])
