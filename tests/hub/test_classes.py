"""A class in a whole hub: begins and ends by itself; its staff may enter its seats; a killed hub ends nothing."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import docker
import pytest
import requests

from spawner.operations import courses, seat_life, seats, sessions
from spawner.operations.desk import utc_now
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Phase, Role, Seat, SeatState, Session, seat_state

from ..support.berth import Berth, containers_of, deployment, eventually
from ..support.ledger_of import ledger_of, loops, open_leases
from ..support.tiny_image import ensure_tiny_image

pytestmark = [pytest.mark.hub, pytest.mark.docker, pytest.mark.image]

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
STUDENTS = ("ann", "bob")
PATIENCE = 300.0


def meet(berth: Berth, course: Course, students: tuple[str, ...], after: timedelta = timedelta(0)) -> Session:
    """Let Ines, with Tom's help, teach some students, whom the hub does not know."""
    with ledger_of(berth) as desk:
        assert isinstance(courses.create(desk, course, "ines"), Course)
        courses.enrol(desk, course.id, students, Role.STUDENT, "ines", agreed=True)
        courses.enrol(desk, course.id, ["tom"], Role.ASSISTANT, "ines")
        begins = utc_now() + after
        answer = sessions.book(desk, Plan(course.id, [(begins, begins + HOUR)], len(students)), "ines")
        assert isinstance(answer, Planned), answer
        return answer.sessions[0]


def board(berth: Berth, session: Session) -> tuple[Session, tuple[Seat, ...]]:
    with ledger_of(berth) as desk:
        return seats.board(desk, session.id)


def states(berth: Berth, session: Session) -> dict[str, SeatState]:
    return {seat.user: seat_state(seat, utc_now()) for seat in board(berth, session)[1]}


def all_ready(berth: Berth, session: Session) -> bool:
    return set(states(berth, session).values()) <= {SeatState.READY, SeatState.WORKING, SeatState.IDLE}


def until(berth: Berth, session: Session, ends_at: datetime) -> None:
    """Let a session end earlier, with all that is reserved for it."""
    with ledger_of(berth) as desk, desk.ledger.transaction() as books:
        found = books.sessions.get(session.id)
        assert found is not None
        books.sessions.update(replace(found, ends_at=ends_at))
        if (reservation := books.reservations.get(found.reservation)) is not None:
            books.reservations.update(replace(reservation, ends_at=ends_at))
        for lease in books.leases.open():
            assert books.leases.update(replace(lease, ends_at=ends_at), lease)


# --- with real servers ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def berth(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A hub with two simulated GPUs, of which ann and bob have seats."""
    profiles = [
        {"slug": "cpu", "name": "CPU", "cpu": 1, "memory": "1 GiB", "gpus": 0},
        {"slug": "gpu", "name": "GPU", "cpu": 1, "memory": "1 GiB", "gpus": 1},
    ]
    variables = {
        "BERTH_GPUS": "sim:2",
        "BERTH_PROFILES": json.dumps(profiles),
        "BERTH_CLASSES": json.dumps({"teachers": ["lecturers"], "starts_at_once": 2}),
    }
    with deployment(tmp_path_factory.mktemp("classes"), **variables) as berth, berth.hub():
        eventually(lambda: {"inventory", "seats"} <= set(loops(berth)))
        yield berth


@pytest.fixture(scope="module")
def session(berth: Berth) -> Session:
    berth.add_user("eve")
    berth.start_server("eve")
    session = meet(berth, Course("ml", "Machine learning", "gpu", "", utc_now(), gpus=1), STUDENTS, 20 * SECOND)
    eventually(lambda: all_ready(berth, session), PATIENCE)
    return session


def status_of(berth: Berth, user: str, path: str) -> int:
    """Ask for somebody's server through the proxy, as a user with a token of theirs."""
    token = berth.api("POST", f"users/{user}/tokens", {"expires_in": 600}).json()["token"]
    return requests.get(
        f"{berth.url}/user/{path}/api/contents",
        headers={"Authorization": f"token {token}"},
        allow_redirects=False,
        timeout=60,
    ).status_code


def group_of(berth: Berth, name: str) -> set[str]:
    return set(berth.api("GET", f"groups/{name}").json().get("users", []))


def test_a_class_begins_by_itself(berth: Berth, session: Session) -> None:
    found, seats_ = board(berth, session)
    assert found.warmed_at is not None
    assert all(seat.attempts == 1 and not seat.problem for seat in seats_)
    assert {(lease.user, lease.server, lease.course) for lease in open_leases(berth)} == {
        (user, "ml", "ml") for user in STUDENTS
    }
    # The groups come by themselves, and take in who was unknown once the users are made.
    eventually(lambda: group_of(berth, "course-ml-students") == set(STUDENTS))
    eventually(lambda: group_of(berth, "course-ml-staff") == {"ines", "tom"})
    with ledger_of(berth) as desk:
        assert seat_life.pace(desk, 2, SECOND).at_once == 2


def test_staff_enter_its_seats_and_never_other_servers(berth: Berth, session: Session) -> None:
    eventually(lambda: berth.ready("eve"), PATIENCE)
    for user in STUDENTS:
        eventually(lambda user=user: status_of(berth, "tom", f"{user}/ml") == 200)  # type: ignore[misc]
    for staff in ("ines", "tom"):
        assert status_of(berth, staff, "ann/ml") == 200
        assert status_of(berth, staff, "bob/ml") == 200
        assert status_of(berth, staff, "eve") == 403
    # Nor do they have any other right of these people's.
    token = berth.api("POST", "users/tom/tokens", {"expires_in": 600}).json()["token"]
    for method, path in (("GET", "users/ann"), ("POST", "users/ann/servers/own"), ("DELETE", "users/ann/servers/ml")):
        answer = requests.request(
            method, f"{berth.url}/hub/api/{path}", headers={"Authorization": f"token {token}"}, timeout=60
        )
        assert answer.status_code in {403, 404}, (method, path)
    # Students have nothing of each other's.
    assert status_of(berth, "ann", "ann/ml") == 200
    assert status_of(berth, "bob", "ann/ml") == 403
    assert status_of(berth, "eve", "ann/ml") == 403
    # Who is of the staff no more has lost it.
    with ledger_of(berth) as desk:
        courses.expel(desk, "ml", ["tom"], "ines")
    eventually(lambda: status_of(berth, "tom", "ann/ml") == 403)


def test_teachers_hold_their_scope(berth: Berth) -> None:
    berth.add_user("lea")
    berth.api("POST", "groups/lecturers/users", {"users": ["lea"]}).raise_for_status()
    for user, expected in (("lea", True), ("eve", False)):
        token = berth.api("POST", f"users/{user}/tokens", {"expires_in": 600}).json()["token"]
        headers = {"Authorization": f"token {token}"}
        scopes = requests.get(f"{berth.url}/hub/api/user", headers=headers, timeout=60).json()["scopes"]
        assert ("custom:berth:teach" in scopes) is expected


def test_its_gpus_are_back_within_a_minute_of_its_end(
    berth: Berth, session: Session, engine: docker.DockerClient
) -> None:
    end = utc_now() + 5 * SECOND
    until(berth, session, end)
    eventually(lambda: open_leases(berth) == [], PATIENCE)
    with ledger_of(berth) as desk, desk.ledger.reading() as books:
        closed = [entry for user in STUDENTS for entry in books.usage.rows() if entry.user == user]
    assert {row.course for row in closed} == {"ml"}
    assert max(row.ended_at for row in closed) - end < 60 * SECOND
    eventually(lambda: board(berth, session)[0].phase(utc_now()) is Phase.OVER)
    assert set(states(berth, session).values()) == {SeatState.ENDED}
    assert all(containers_of(engine, berth, user) == [] for user in STUDENTS)
    assert berth.ready("eve")


# --- many seats, and a hub that is killed -----------------------------------------------------------------------------


def test_a_hub_that_is_killed_while_a_class_warms_up(engine: docker.DockerClient, tmp_path: Path) -> None:
    students = tuple(f"student{number:02}" for number in range(24))
    profile = {"slug": "light", "name": "Light", "cpu": 0.2, "memory": "64 MiB", "gpus": 0}
    variables = {"BERTH_IMAGE": ensure_tiny_image(engine.api), "BERTH_PROFILES": json.dumps([profile])}
    with deployment(tmp_path, **variables) as berth:
        with berth.hub() as pid:
            eventually(lambda: "warmup" in loops(berth))
            session = meet(berth, Course("ml", "Machine learning", "light", "", utc_now()), students, SECOND)
            eventually(lambda: len(_with_container(engine, berth)) >= 6, PATIENCE)
            berth.kill_hub(pid)
        assert not all_ready(berth, session)
        with berth.hub():
            eventually(lambda: all_ready(berth, session), PATIENCE)
            # Each has one server, and none was counted as failed.
            there = sorted(one.labels["berth.user"] for one in containers_of(engine, berth))
            assert there == sorted(students)
            assert [seat.user for seat in board(berth, session)[1] if seat.attempts > 2 or seat.problem] == []
            assert all(itertools.starmap(berth.ready, ((student, "ml") for student in students)))


def _with_container(engine: docker.DockerClient, berth: Berth) -> set[str]:
    return {one.labels["berth.user"] for one in containers_of(engine, berth)}
