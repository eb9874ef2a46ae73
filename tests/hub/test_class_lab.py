"""A seat in a whole hub, as its own server speaks for it: help, messages, files, materials, who is there."""

import asyncio
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import docker
import pytest
import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from spawner.course_directory import Places
from spawner.operations import announcements, courses, handouts, seats, sessions
from spawner.operations.desk import utc_now
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, Seat, Session
from spawner.policy.handouts import Kind, Push

from ..support.berth import Berth, containers_of, deployment, environment_of, eventually
from ..support.ledger_of import ledger_of

pytestmark = [pytest.mark.hub, pytest.mark.docker, pytest.mark.image]

PROFILES = [{"slug": "cpu", "name": "CPU", "cpu": 1, "memory": "1 GiB", "gpus": 0}]


@pytest.fixture(scope="module")
def berth(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A hub without GPUs, where ann sits in ines' class."""
    materials = tmp_path_factory.mktemp("materials")
    (materials / "first.txt").write_text("one\n")
    classes = {"materials": {"intro": str(materials)}}
    variables = {
        "BERTH_GPUS": "none",
        "BERTH_PROFILES": json.dumps(PROFILES),
        "BERTH_CLASSES": json.dumps(classes),
    }
    with deployment(tmp_path_factory.mktemp("berth"), **variables) as berth, berth.hub():
        for user in ("ann", "bob", "ines"):
            berth.add_user(user)
        course = Course("ml", "Machine learning", "cpu", "", utc_now(), materials="intro", folder="course")
        with ledger_of(berth) as desk:
            courses.create(desk, course, "ines")
            courses.enrol(desk, "ml", ["ann"], Role.STUDENT, "ines", agreed=True)
        eventually(lambda: (berth.state.course("ml").materials / "HEAD").is_file())
        with ledger_of(berth) as desk:
            begins = utc_now().replace(microsecond=0) - timedelta(minutes=1)
            answer = sessions.book(desk, Plan("ml", [(begins, begins + timedelta(hours=2))], 1), "ines")
            assert isinstance(answer, Planned), answer
        # The janitor may be faster.
        berth.start_server("ann", {}, "ml")
        eventually(lambda: berth.ready("ann", "ml"))
        yield berth


@pytest.fixture
def session(berth: Berth) -> Session:
    with ledger_of(berth) as desk, desk.ledger.reading() as books:
        return books.sessions.of_course("ml")[0]


@pytest.fixture
def token(berth: Berth, engine: docker.DockerClient) -> str:
    """The seat's own."""
    [container] = containers_of(engine, berth, "ann")
    environment = environment_of(container.attrs)
    return str(environment["JUPYTERHUB_API_TOKEN"])


def ask(berth: Berth, token: str, method: str, path: str, body: object = None) -> requests.Response:
    headers = {"Authorization": f"token {token}"}
    return requests.request(method, f"{berth.url}/hub/api/berth/{path}", json=body, headers=headers, timeout=30)


def person(berth: Berth, user: str) -> str:
    return str(berth.api("POST", f"users/{user}/tokens", {}).json()["token"])


def seat_of(berth: Berth, session: Session) -> Seat:
    with ledger_of(berth) as desk:
        [seat] = seats.board(desk, session.id)[1]
        return seat


def inside(engine: docker.DockerClient, berth: Berth, *command: str) -> str | None:
    """Give what a command in the seat's container writes; None if it fails."""
    [container] = containers_of(engine, berth, "ann")
    code, said = container.exec_run(list(command))
    return said.decode() if code == 0 else None


def test_a_seat_learns_of_its_class_without_a_lease(berth: Berth, session: Session, token: str) -> None:
    answer = ask(berth, token, "GET", "lease").json()
    assert (answer["lease"], answer["poll_seconds"]) == (None, 10)
    part = answer["class"]
    assert {name: part[name] for name in ("course", "title", "session", "exam", "staff", "hand")} == {
        "course": "ml",
        "title": "Machine learning",
        "session": session.id,
        "exam": False,
        "staff": False,
        "hand": {"raised": False, "place": None},
    }
    assert 6900 < part["left_seconds"] < 7200


def test_it_speaks_for_itself_only(berth: Berth, session: Session, token: str) -> None:
    bob = person(berth, "bob")
    for path, body in (("class/hand", {"raised": True}), ("class/deliveries", {"items": []})):
        assert ask(berth, bob, "POST", f"{path}?user=ann&server=ml", body).status_code == 403
        assert ask(berth, token, "POST", f"{path}?user=bob", body).status_code == 403
        own = ask(berth, person(berth, "ann"), "POST", path, body)
        assert (own.status_code, own.json()["reason"]) == (403, "no_session"), "her own server is no seat"
        assert ask(berth, token, "POST", path, []).status_code == 400
    assert ask(berth, bob, "GET", "lease?user=ann&server=ml").status_code == 403
    assert seat_of(berth, session).hand_at is None


def test_hands_go_up_and_down(berth: Berth, session: Session, token: str) -> None:
    assert ask(berth, token, "POST", "class/hand", {"raised": True}).json() == {"raised": True, "place": 1}
    assert seat_of(berth, session).hand_at is not None
    answer = ask(berth, token, "GET", "lease").json()
    assert (answer["class"]["hand"], answer["poll_seconds"]) == ({"raised": True, "place": 1}, 5)
    assert ask(berth, token, "POST", "class/hand", {"raised": False}).json() == {"raised": False, "place": None}
    assert seat_of(berth, session).hand_at is None


def test_materials_and_files_come_by_themselves(
    berth: Berth, engine: docker.DockerClient, session: Session, token: str
) -> None:
    assert eventually(lambda: inside(engine, berth, "cat", "/home/jovyan/course/first.txt")) == "one\n"
    inside(engine, berth, "sh", "-c", "mkdir ~/week2; echo mine > ~/week2/data.csv")
    places = Places(berth.state.courses)
    with ledger_of(berth) as desk:
        announcements.announce(desk, session.id, "Look at week2.", "ines")
        sent = handouts.push(desk, places, "ml", session.id, "week2/data.csv", io.BytesIO(b"1,2\n"), "ines")
        assert isinstance(sent, Push), sent
    assert eventually(lambda: inside(engine, berth, "cat", "/home/jovyan/week2/data.1.csv")) == "1,2\n"
    assert inside(engine, berth, "cat", "/home/jovyan/week2/data.csv") == "mine\n"

    def delivered() -> bool:
        with ledger_of(berth) as desk:
            return handouts.progress(desk, sent.id).beside == 1

    eventually(delivered)
    part = ask(berth, token, "GET", "lease").json()["class"]
    assert part["pushes"] == []
    assert [(file["path"], file["sent_as"], file["outcome"]) for file in part["files"]] == [
        ("week2/data.1.csv", "week2/data.csv", "beside")
    ]
    assert "Look at week2." in [message["text"] for message in part["messages"]]


def test_who_is_there_is_known(berth: Berth, session: Session, token: str) -> None:
    [admin] = berth.credentials.admin_users
    url = f"{berth.url}/user/ann/ml/"
    asyncio.run(_look(url, person(berth, admin), "", lambda: _visits(berth, session) == [admin]))
    asyncio.run(_look(url, person(berth, "ann"), "active", lambda: _sits_there(berth, session)))
    with ledger_of(berth) as desk, desk.ledger.reading() as books:
        noted = [entry for entry in books.audit.list() if entry.action == "seat.visit"]
    assert [(entry.actor, entry.after, entry.why) for entry in noted] == [
        (admin, {"user": "ann"}, "as the seat's server says")
    ]
    # Nobody makes entries in the audit under names that nobody has.
    said = {"busy_kernels": 0, "present": True, "visitors": ["nobody-at-all"], "active_seconds": 3}
    assert ask(berth, token, "POST", "lease/report", said).status_code == 204
    assert _visits(berth, session) == [admin]


def _as(token: str) -> dict[str, str]:
    return {"Authorization": f"token {token}"}


def _sits_there(berth: Berth, session: Session) -> bool:
    seat = seat_of(berth, session)
    return seat.entered_at is not None and seat.active_at is not None


def _visits(berth: Berth, session: Session) -> list[str]:
    with ledger_of(berth) as desk:
        return [one.sent_by for one in announcements.of_session(desk, session.id) if one.kind is Kind.VISIT]


async def _look(url: str, token: str, says: str, until: Any) -> None:
    """Have a page open until something is so."""
    address = f"{url.replace('http', 'ws', 1)}berth/pages"
    page = await websocket_connect(HTTPRequest(address, headers=_as(token)))
    if says:
        await page.write_message(json.dumps({"type": says}))
    try:
        await asyncio.to_thread(eventually, until)
    finally:
        page.close()
