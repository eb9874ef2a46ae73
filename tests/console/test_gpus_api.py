"""GPUs in the REST API: what there is, who holds it, taking it out of service and back, following it live."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from spawner.console.readings import INTERVAL, Reading, Trouble
from spawner.console.scopes import Scope
from spawner.errors import LedgerUnavailable
from spawner.operations import inventory
from spawner.operations.desk import Desk
from spawner.policy.gpus import GpuState

from ..support.console import OF_HUB_ADMINS, PREFIX, ConsoleStand
from ..support.console_server import served
from ..support.slots import gpus, mig, shared
from ..support.waiting import eventually

WHY = "new fans"


@pytest.fixture
def fitted(console: ConsoleStand) -> ConsoleStand:
    """Two nodes: one with a GPU that Ann holds, a divided one and a shared one; one with two of another model."""
    console.office.fit(gpus(1), mig(5 << 30, 10 << 30, index=1), shared(2, index=2))
    console.office.fit(gpus(2, node="far", model="H100"), node="far")
    console.office.running("ann", models=frozenset({"Simulated GPU"}), memory=16 << 30, server="lab", course="dl101")
    return console


def names(console: ConsoleStand, query: str = "") -> list[str]:
    answer = console.as_admin().get(f"api/v1/gpus{query}")
    assert answer.status_code == 200, answer.text
    return [gpu["name"] for gpu in answer.json()["items"]]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_gpu_with_its_holder_and_what_it_does(fitted: ConsoleStand) -> None:
    now = fitted.office.clock.now
    fitted.console.readings.put({"SIM-local-0": Reading(now, 0.5, 4 << 30, 16 << 30, 61.0, 120.0, 1)})
    answer = fitted.as_admin().get("api/v1/gpus/SIM-local-0")
    assert answer.headers["ETag"] == f'"{answer.json()["version"]}"'
    gpu = answer.json()
    assert (gpu["name"], gpu["node"], gpu["standing"], gpu["simulated"]) == ("gpu0", "local", "held", True)
    assert gpu["decree"] == {"state": "in_service", "since": None, "by": "", "why": ""}
    [slot] = gpu["slots"]
    assert (slot["kind"], slot["isolation"], slot["quarantine"]) == ("exclusive", "hardware", None)
    assert {name: slot["lease"][name] for name in ("user", "server", "state")} == {
        "user": "ann",
        "server": "lab",
        "state": "active",
    }
    assert slot["lease"]["ends_at"] == "2027-03-01T16:00:00Z"
    assert gpu["reading"] == {
        "at": "2027-03-01T12:00:00Z",
        "sm_utilization": 0.5,
        "memory_used": 4 << 30,
        "memory_total": 16 << 30,
        "temperature_celsius": 61.0,
        "power_watts": 120.0,
        "foreign_processes": 1,
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["far-gpu0", "far-gpu1", "gpu0", "gpu1", "gpu2"]),
        ("?node=far", ["far-gpu0", "far-gpu1"]),
        ("?model=H100&node=local", []),
        ("?holder=ann", ["gpu0"]),
        ("?free=true&node=local", ["gpu1", "gpu2"]),
        ("?free=false", ["far-gpu1", "gpu0"]),
        ("?standing=partly_held", ["gpu2"]),
        ("?standing=free&node=local", ["gpu1"]),
        ("?state=draining", ["far-gpu1"]),
        ("?search=LAB", ["gpu0"]),
        ("?search=%20fans%20", ["far-gpu1"]),
        ("?search=bob&free=true", ["gpu2"]),
    ],
)
def test_filters(fitted: ConsoleStand, query: str, found: list[str]) -> None:
    inventory.set_state(fitted.office.desk, "far-gpu1", GpuState.DRAINING, "olga", WHY)
    fitted.office.running("bob", kinds=frozenset({"shared"}))
    assert names(fitted, query) == found


def test_in_pages(fitted: ConsoleStand) -> None:
    admin, found, cursor = fitted.as_admin(), [], ""
    for _ in range(3):
        page = admin.get(f"api/v1/gpus?limit=2{cursor}").json()
        found += [gpu["name"] for gpu in page["items"]]
        cursor = f"&cursor={page['next']}"
    assert page["next"] is None
    assert found == names(fitted)
    assert admin.get("api/v1/gpus?cursor=abc").json()["code"] == "invalid_cursor"


def test_where_a_gpu_stands(console: ConsoleStand) -> None:
    office = console.office
    broken, slots = gpus(1, first=2)
    office.fit(gpus(1), mig(5 << 30, 5 << 30, index=1), (broken, slots), (gpus(1, first=3)[0], []))
    with office.ledger.transaction() as books:
        books.gpus.quarantine_slot("SIM-local-0", "the driver refused", office.clock.now)
    inventory.set_state(office.desk, "gpu1", GpuState.QUARANTINED, "olga", WHY)
    office.fit(gpus(1), mig(5 << 30, 5 << 30, index=1), (gpus(1, first=3)[0], []))
    standings = {gpu["name"]: gpu["standing"] for gpu in console.as_admin().get("api/v1/gpus").json()["items"]}
    assert standings == {"gpu0": "quarantined", "gpu1": "quarantined", "gpu2": "unhealthy", "gpu3": "nothing_to_lease"}
    slot = console.as_admin().get("api/v1/gpus/SIM-local-0").json()["slots"][0]
    assert slot["quarantine"] == {"at": "2027-03-01T12:00:00Z", "why": "the driver refused"}


def test_the_last_quarter_of_an_hour(fitted: ConsoleStand) -> None:
    office, readings = fitted.office, fitted.console.readings
    reader = fitted.as_user("rita", scopes=[Scope.READ])
    series = reader.get("api/v1/gpus/SIM-local-0/series").json()
    assert (series["points"], series["problem"]["kind"]) == ([], "starting")
    for step in range(3):
        readings.put({"SIM-local-0": Reading(office.clock.now, step / 10)})
        office.wait(INTERVAL)
    readings.fail("x", Trouble("away", "node7:9410", "timed out"))
    series = reader.get("api/v1/gpus/SIM-local-0/series").json()
    assert [point["sm_utilization"] for point in series["points"]] == [0.0, 0.1, 0.2]
    assert series["problem"]["detail"] == "The exporter at node7:9410 does not answer: timed out."
    assert reader.get("api/v1/gpus/GPU-9/series").status_code == 404


# --- changing ---------------------------------------------------------------------------------------------------------


def test_out_of_service_and_back(fitted: ConsoleStand) -> None:
    greta = fitted.as_user("greta", scopes=[Scope.GPUS])
    path = "api/v1/gpus/SIM-local-0"
    seen = greta.get(path).headers["ETag"]
    change = {"state": "draining", "why": f" {WHY} "}
    assert greta.put(f"{path}/state", json=change).status_code == 428
    answer = greta.put(f"{path}/state", json=change, headers={"If-Match": seen})
    assert answer.status_code == 200, answer.text
    assert answer.json()["decree"] == {"state": "draining", "since": "2027-03-01T12:00:00Z", "by": "greta", "why": WHY}
    assert answer.json()["slots"][0]["lease"]["user"] == "ann"
    again = greta.put(f"{path}/state", json={"state": "in_service", "why": "x"}, headers={"If-Match": seen})
    assert (again.status_code, again.json()["code"]) == (412, "changed_meanwhile")
    assert "draining by greta, 'new fans'" in again.json()["detail"]
    back = {"If-Match": f'"other", {answer.headers["ETag"]}'}
    assert greta.put(f"{path}/state", json={"state": "in_service", "why": "they turn"}, headers=back).is_success
    assert [(entry.actor, entry.action, entry.why) for entry in fitted.office.audit()] == [
        ("greta", "gpu.state", WHY),
        ("greta", "gpu.state", "they turn"),
    ]


@pytest.mark.parametrize("why", ["", "  ", "x" * 501])
def test_a_reason_is_wanted(fitted: ConsoleStand, why: str) -> None:
    answer = fitted.as_admin().put(
        "api/v1/gpus/SIM-local-0/state", json={"state": "draining", "why": why}, headers={"If-Match": "*"}
    )
    assert answer.status_code == 422
    assert fitted.office.audit() == []


def test_a_whole_node_after_a_look_at_whom_it_concerns(fitted: ConsoleStand) -> None:
    office, admin = fitted.office, fitted.as_admin()
    inventory.set_state(office.desk, "gpu1", GpuState.QUARANTINED, "olga", "it fell off the bus")
    body = {"node": "local", "state": "draining", "why": WHY}
    dry = admin.post("api/v1/gpus/state-changes", json={**body, "dry_run": True})
    plan = dry.json()
    assert [gpu["name"] for gpu in plan["changed"]] == ["gpu0", "gpu2"]
    assert [gpu["name"] for gpu in plan["left"]] == ["gpu1"]
    assert [(lease["user"], lease["server"], lease["gpus"]) for lease in plan["leases"]] == [
        ("ann", "lab", ["SIM-local-0"])
    ]
    assert names(fitted, "?state=draining") == []
    assert admin.post("api/v1/gpus/state-changes", json=body).status_code == 428
    done = admin.post("api/v1/gpus/state-changes", json=body, headers={"If-Match": dry.headers["ETag"]})
    assert [gpu["decree"]["state"] for gpu in done.json()["changed"]] == ["draining", "draining"]
    assert names(fitted, "?state=draining") == ["gpu0", "gpu2"]
    stale = admin.post("api/v1/gpus/state-changes", json=body, headers={"If-Match": dry.headers["ETag"]})
    assert stale.status_code == 412
    back = {"node": "local", "state": "in_service", "why": "done"}
    assert admin.post("api/v1/gpus/state-changes", json=back, headers={"If-Match": "*"}).is_success
    assert names(fitted, "?state=quarantined") == ["gpu1"]


def test_certain_gpus_all_or_none(fitted: ConsoleStand) -> None:
    admin, everything = fitted.as_admin(), {"If-Match": "*"}
    body = {"gpus": ["SIM-local-0", "SIM-local-0", "SIM-far-1", "GPU-9"], "state": "out_of_service", "why": WHY}
    answer = admin.post("api/v1/gpus/state-changes", json=body, headers=everything)
    assert (answer.status_code, answer.json()["detail"]) == (404, "There is no GPU 'GPU-9'.")
    assert names(fitted, "?state=out_of_service") == []
    admin.post("api/v1/gpus/state-changes", json={**body, "gpus": body["gpus"][:3]}, headers=everything)
    assert names(fitted, "?state=out_of_service") == ["far-gpu1", "gpu0"]
    for wrong in ({}, {"node": "local", "gpus": ["SIM-local-0"]}):
        answer = admin.post("api/v1/gpus/state-changes", json={"state": "draining", "why": WHY, **wrong})
        assert answer.status_code == 422
    missing = admin.post("api/v1/gpus/state-changes", json={"node": "x", "state": "draining", "why": WHY})
    assert missing.status_code == 404


# --- following --------------------------------------------------------------------------------------------------------


class Followed:
    """A stream of events, read in a thread.

    Attributes
    ----------
    events
        Name, data and id of each.
    """

    def __init__(self, address: str, token: str, headers: Mapping[str, str]) -> None:
        split = urlsplit(address)
        self._connection = HTTPConnection(str(split.hostname), split.port, timeout=20)
        headers = {"Authorization": f"Bearer {token}", **headers}
        self._connection.request("GET", f"{split.path}?{split.query}", headers=headers)
        self._socket = self._connection.sock
        self.answer = self._connection.getresponse()
        self.events: list[tuple[str, Any, str]] = []
        self.over = False

    def read(self) -> "Followed":
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        fields: dict[str, str] = {}
        with suppress(OSError, HTTPException), closing(self._connection):
            while line := self.answer.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = fields.get(name, "") + value
                else:
                    if "event" in fields:
                        self.events.append((fields["event"], json.loads(fields["data"]), fields.get("id", "")))
                    fields = {}
        self.over = True

    def states(self) -> list[tuple[str, str]]:
        return [(data["name"], data["standing"]) for name, data, _ in self.events if name == "gpu"]

    @property
    def last_id(self) -> str:
        return next(str(found) for _, _, found in reversed(self.events) if found)


@pytest.fixture
def quick(fitted: ConsoleStand, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ConsoleStand, str]]:
    monkeypatch.setattr(fitted.console.watch, "seconds", 0.05)
    with served(fitted.app) as address:
        yield fitted, f"{address}{PREFIX}"


def follow(address: str, token: str, query: str = "", headers: Mapping[str, str] | None = None) -> Followed:
    found = Followed(f"{address}api/v1/gpus/events{query}", token, headers or {})
    assert found.answer.status == 200, found.answer.read()
    assert str(found.answer.getheader("Content-Type")).startswith("text/event-stream")
    return found.read()


def token_of(stand: ConsoleStand, name: str = "olga") -> str:
    stand.hub.add_user(name)
    return stand.hub.token(name, OF_HUB_ADMINS)


def test_changes_arrive_by_themselves(quick: tuple[ConsoleStand, str]) -> None:
    stand, address = quick
    token = token_of(stand)
    everything = follow(address, token)
    held = follow(address, token, "?holder=ann")
    eventually(lambda: len(everything.events) == 5 and len(held.events) == 1)
    everything.events.clear()
    lease = stand.office.running("bob", models=frozenset({"H100"}))
    eventually(lambda: everything.states() == [("far-gpu0", "held")])
    stand.console.readings.put({"SIM-far-1": Reading(stand.office.clock.now, 0.5)})
    eventually(lambda: len(everything.events) == 2)
    assert everything.events[-1][1]["reading"]["sm_utilization"] == 0.5
    stand.office.stop(lease)
    eventually(lambda: everything.states()[-1] == ("far-gpu0", "free"))
    assert len(held.events) == 1  # nothing of this was Ann's
    mine = next(lease for lease in _open(stand) if lease.user == "ann")
    stand.office.stop(mine)
    eventually(lambda: held.events[1:] and held.events[1][:2] == ("left", {"uuid": "SIM-local-0"}))


def _open(stand: ConsoleStand) -> list[Any]:
    with stand.office.ledger.reading() as books:
        return books.leases.open()


def test_who_comes_again_misses_nothing(quick: tuple[ConsoleStand, str]) -> None:
    stand, address = quick
    token = token_of(stand)
    first = follow(address, token)
    eventually(lambda: len(first.events) == 5)
    seen = first.last_id
    first.close()
    eventually(lambda: stand.console.watch.viewers == 0)
    inventory.set_state(stand.office.desk, "far-gpu1", GpuState.DRAINING, "olga", WHY)
    again = follow(address, token, headers={"Last-Event-ID": seen})
    eventually(lambda: again.states() == [("far-gpu1", "draining")])
    free = follow(address, token, "?standing=free", headers={"Last-Event-ID": seen})
    eventually(lambda: [event[:2] for event in free.events] == [("left", {"uuid": "SIM-far-1"})])
    for unknown in ("", "abc", f"{'0' * 8}-1", f"{seen}9" + "9" * 30, "-"):
        other = follow(address, token, headers={"Last-Event-ID": unknown})
        eventually(lambda other=other: len(other.events) == 5)  # type: ignore[misc]
        other.close()


def test_however_many_look_on_the_ledger_is_read_once(fitted: ConsoleStand, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    board = inventory.board

    def counted(desk: Desk) -> inventory.Board:
        looks.append(time.monotonic())
        return board(desk)

    monkeypatch.setattr(inventory, "board", counted)
    monkeypatch.setattr(fitted.console.watch, "seconds", 0.5)
    with served(fitted.app) as address:
        events = f"{address}{PREFIX}"
        viewers = [follow(events, token_of(fitted, name)) for name in ("olga", "oscar", "otto") for _ in range(6)]
        eventually(lambda: all(len(viewer.events) == 5 for viewer in viewers))
        assert fitted.console.watch.viewers == 18
        began = looks[0]
        inventory.set_state(fitted.office.desk, "gpu0", GpuState.DRAINING, "olga", WHY)
        eventually(lambda: all(len(viewer.events) == 6 for viewer in viewers))
        assert len(looks) <= (time.monotonic() - began) / 0.5 + 2
        for viewer in viewers:
            viewer.close()
        eventually(lambda: fitted.console.watch.viewers == 0)
        eventually(lambda: "watch" not in {thread.name for thread in threading.enumerate()})


def test_no_more_than_a_bound_look_on(quick: tuple[ConsoleStand, str]) -> None:
    stand, address = quick
    token = token_of(stand)
    viewers = [follow(address, token) for _ in range(8)]
    eventually(lambda: stand.console.watch.viewers == 8)
    answer = requests.get(f"{address}api/v1/gpus/events", headers={"Authorization": f"Bearer {token}"}, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_viewers")
    assert int(answer.headers["Retry-After"]) > 0
    viewers[0].close()
    eventually(lambda: stand.console.watch.viewers == 7)
    follow(address, token)


def test_a_ledger_that_is_away_ends_the_stream(
    quick: tuple[ConsoleStand, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand, address = quick
    token = token_of(stand)
    viewer = follow(address, token)
    eventually(lambda: len(viewer.events) == 5)

    def away(_desk: object) -> None:
        raise LedgerUnavailable("The ledger is away.")

    with monkeypatch.context() as patched:
        patched.setattr(inventory, "board", away)
        eventually(lambda: viewer.over)
        answer = requests.get(f"{address}api/v1/gpus/events", headers={"Authorization": f"Bearer {token}"}, timeout=20)
        assert answer.status_code == 503
    assert len(viewer.events) == 5
    again = follow(address, token)
    eventually(lambda: len(again.events) == 5)
