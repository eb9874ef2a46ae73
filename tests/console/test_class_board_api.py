"""The board of a class, what is sent to seats and taken from them, and reports, through the API."""

import csv
import io
import zipfile
from contextlib import closing
from typing import Any

import httpx2
import pytest

from spawner.console.class_desk import places
from spawner.operations import collections, courses, handouts, seats
from spawner.policy.classes import Session, Wish
from spawner.policy.handouts import Collected

from ..support.classroom import class_in_session, readings_of
from ..support.console import PREFIX, ConsoleStand, Visitor
from ..support.console_server import served
from ..support.office import MINUTE, Office
from ..support.waiting import eventually
from .test_class_board import seat
from .test_gpus_api import Followed


@pytest.fixture
def session(console: ConsoleStand) -> Session:
    made = class_in_session(console.office, 10)
    readings_of(console.office, console.console.readings, 10)
    return made


@pytest.fixture
def tom(console: ConsoleStand, session: Session) -> Visitor:
    return console.as_user("tom")


def path(session: Session, more: str) -> str:
    return f"api/v1/courses/ml/sessions/{session.id}/{more}"


def problem(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_the_board(tom: Visitor, session: Session) -> None:
    board = tom.get(path(session, "board")).json()
    assert (board["phase"], board["hands"], board["seats_left"]) == ("open", ["grace", "carl"], 0)
    assert board["counts"] == {"working": 5, "idle": 1, "stuck": 1, "ready": 1, "not_started": 1, "starting": 1}
    assert (board["warm_up"]["ready"], board["warm_up"]["wanted"]) == (7, 10)
    ada = board["seats"][0]
    assert (ada["user"], ada["state"], ada["lease"]["id"]) == ("ada", "working", "lease-ada")
    assert 0 <= ada["gpu_utilization"] <= 1
    assert ada["gpu_memory_total"] == 16 << 30
    assert tom.get(path(session, "seats/grace")).json()["hand_place"] == 1
    assert problem(tom.get(path(session, "seats/nobody"))) == (404, "unknown_name")


def test_actions(tom: Visitor, console: ConsoleStand, session: Session) -> None:
    answer = tom.post(path(session, "seats/actions"), json={"action": "restart", "users": ["ada", "irene", "nobody"]})
    assert answer.status_code == 202
    assert [(one["user"], one["done"], one["code"]) for one in answer.json()["results"]] == [
        ("ada", True, ""),
        ("irene", False, "seat_not_running"),
        ("nobody", False, "unknown_name"),
    ]
    one = tom.post(path(session, "seats/bela/actions"), json={"action": "stop", "why": "empty"})
    assert (one.json()["wish"], one.json()["wished_by"]) == ("stop", "tom")
    assert problem(tom.post(path(session, "seats/irene/actions"), json={"action": "stop"})) == (409, "seat_not_running")
    assert problem(tom.post(path(session, "seats/ada/actions"), json={"action": "time"})) == (409, "invalid_option")
    until = (session.ends_at + 30 * MINUTE).isoformat()
    assert tom.post(path(session, "seats/ada/actions"), json={"action": "time", "until": until}).json()["until"]
    naive = tom.post(path(session, "seats/ada/actions"), json={"action": "time", "until": "2027-03-01T16:00:00"})
    assert naive.status_code == 422
    memory = tom.post(path(session, "seats/ada/actions"), json={"action": "memory", "memory": 5 << 30})
    assert memory.json()["memory"] == 5 << 30
    much = {"action": "memory", "memory": 50 << 30}
    assert problem(tom.post(path(session, "seats/ada/actions"), json=much)) == (409, "over_limit")
    lowered = tom.post(path(session, "seats/grace/actions"), json={"action": "lower-hand"})
    assert lowered.json()["hand_raised_at"] is None
    assert seat(console, session, "ada").seat.wish is Wish.RESTART


def test_a_call_is_carried_out_once(tom: Visitor, console: ConsoleStand, session: Session) -> None:
    before = len(console.office.audit())
    for _ in range(2):
        answer = tom.post(
            path(session, "messages"), json={"text": "Five minutes left."}, headers={"Idempotency-Key": "m1"}
        )
        assert answer.status_code == 201
    assert len(console.office.audit()) == before + 1
    assert [one["text"] for one in tom.get(path(session, "messages")).json()] == ["Five minutes left."]


def test_visits_and_guests(tom: Visitor, console: ConsoleStand, session: Session) -> None:
    assert tom.post(path(session, "seats/ada/visit"), json={}).json() == {"path": "/user/ada/ml/"}
    assert problem(tom.post(path(session, "seats/irene/visit"), json={})) == (409, "seat_not_running")
    console.hub.add_user("eve")
    assert problem(tom.post(path(session, "guests"), json={"user": "eve"})) == (409, "no_seat_left")
    assert problem(tom.post(path(session, "guests"), json={"user": "unheard-of"})) == (422, "unknown_user")
    seats.give_back(console.office.desk, session.id)
    made = tom.post(path(session, "guests"), json={"user": "eve"})
    assert (made.status_code, made.json()["guest"], made.json()["wish"]) == (201, True, "start")
    assert problem(tom.delete(path(session, "guests/ada"))) == (409, "not_a_guest")
    assert tom.delete(path(session, "guests/eve")).json()["state"] == "given_back"


def test_files_of_any_size_within_bounds(tom: Visitor, console: ConsoleStand, session: Session) -> None:
    content = bytes(9 << 20)  # more than other bodies may have
    sent = tom.post(path(session, "pushes?path=data/big.npy"), content=content)
    assert (sent.status_code, sent.json()["homes"], sent.json()["waiting"]) == (201, 10, 10)
    with console.office.ledger.reading() as books:
        (push,) = books.handouts.pushes("ml")
    assert (push.size, push.path) == (9 << 20, "data/big.npy")
    assert handouts.progress(console.office.desk, push.id).push == push
    assert problem(tom.post(path(session, "pushes?path=../x"), content=b"x")) == (409, "invalid_option")
    stranger = console.anonymous().post(path(session, "pushes?path=x"), content=content)
    assert stranger.status_code in {401, 413}
    assert tom.post(path(session, "messages"), content=content).status_code == 413
    assert [one["path"] for one in tom.get(path(session, "pushes")).json()] == ["data/big.npy"]


def collect(console: ConsoleStand, session: Session, user: str, content: bytes) -> Collected:
    """Let the janitor have taken something."""
    at = console.office.clock.now
    file = places(console.console).course("ml").create().archive(session.id, user, at)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    taken = Collected("", session.id, user, "work", at, f"{session.id}/{file.name}", 2, 90, "ab" * 32)
    return collections.note(console.office.desk, taken)


def test_work_is_collected_and_downloaded(tom: Visitor, console: ConsoleStand, session: Session) -> None:
    assert problem(tom.post(path(session, "collections"))) == (409, "nothing_to_collect")
    courses.change(console.office.desk, "ml", "ines", collect="work")
    asked = tom.post(path(session, "collections"))
    assert (asked.status_code, asked.json()["items"]) == (202, [])
    taken = collect(console, session, "ada", b"what Ada did")
    listed = tom.get(path(session, "collections")).json()
    assert (listed["asked_at"] is not None, [one["sha256"] for one in listed["items"]]) == (True, ["ab" * 32])
    one = tom.get(path(session, f"collections/{taken.id}"))
    assert (one.content, one.headers["Content-Type"]) == (b"what Ada did", "application/gzip")
    packed = zipfile.ZipFile(io.BytesIO(tom.get(path(session, "collections/export")).content))
    assert min(packed.namelist()).startswith("ada-")
    assert problem(tom.get(path(session, "collections/none"))) == (404, "unknown_name")
    assert console.as_user("ada").get(path(session, f"collections/{taken.id}")).status_code == 403


def test_reports(tom: Visitor, console: ConsoleStand, session: Session) -> None:
    console.office.clock.now = session.ends_at + MINUTE
    report = tom.get(path(session, "report")).json()
    assert (report["came"], len(report["students"])) == (6, 10)
    assert report["reserved_ms"] > report["gpu_ms"] > 0
    [table, whole] = [
        list(csv.DictReader(io.StringIO(tom.get(where).text)))
        for where in (path(session, "report/export"), "api/v1/courses/ml/report/export")
    ]
    assert [row["student"] for row in table] == [row["user"] for row in report["students"]]
    assert table[5]["problem"] == "The server did not answer within a minute."
    assert whole[0]["attended"] == "1"
    course = tom.get("api/v1/courses/ml/report").json()
    assert [one["session"] for one in course["sessions"]] == [session.id]
    pages = console.signed_in("tom")
    for where in (f"courses/ml/sessions/{session.id}/report", "courses/ml/report"):
        page = pages.get(where)
        assert page.status_code == 200
        assert "6 of 10" in page.text


def test_events(console: ConsoleStand, session: Session) -> None:
    office: Office = console.office
    token = console.hub.token("tom", ["custom:berth:self"])
    console.hub.add_user("tom")
    with (
        served(console.app) as at,
        closing(Followed(f"{at}{PREFIX}{path(session, 'board/events')}", token, {}).read()) as followed,
    ):
        eventually(lambda: len(of(followed, "seat")) == 10)
        assert len(of(followed, "board")) == 1
        seats.raise_hand(office.desk, session.id, "ada")
        eventually(lambda: of(followed, "board")[-1]["hands"] == ["grace", "carl", "ada"])
        assert of(followed, "seat")[-1]["user"] == "ada"
        courses.expel(office.desk, "ml", ["irene"], "ines")
        eventually(lambda: of(followed, "left"))
        assert of(followed, "left") == [{"user": "irene"}]


def of(followed: Followed, name: str) -> list[Any]:
    return [data for kind, data, _ in followed.events if kind == name]
