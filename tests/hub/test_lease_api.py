"""The API of leases and the queue, asked with the tokens that there are: a server's, a person's, a stranger's."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import docker
import pytest
import requests

from spawner.ledger import Ledger
from spawner.operations import repairs
from spawner.operations.desk import Desk
from spawner.policy.leases import Lease
from spawner.settings import LeaseSettings, LimitSettings

from ..support.berth import Berth, containers_of, deployment, environment_of, eventually

pytestmark = [pytest.mark.hub, pytest.mark.docker, pytest.mark.image]

PROFILES = [
    {"slug": "cpu", "name": "CPU", "cpu": 1, "memory": "1 GiB", "gpus": 0},
    {"slug": "gpu", "name": "GPU", "cpu": 1, "memory": "1 GiB", "gpus": 1},
]


@pytest.fixture(scope="module")
def berth(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A hub with one simulated GPU, which ann's default server holds; her server ``lab`` has none."""
    variables = {
        "BERTH_GPUS": "sim:1",
        "BERTH_PROFILES": json.dumps(PROFILES),
        # Long enough to be extended, short enough that there is a notice.
        "BERTH_LEASES": json.dumps({"wait_seconds": 60, "warn_minutes": [70, 10]}),
    }
    with deployment(tmp_path_factory.mktemp("berth"), **variables) as berth, berth.hub():
        for user in ("ann", "bob"):
            berth.add_user(user)
        eventually(lambda: berth.start_server("ann", {"profile": "gpu", "hours": 1, "if_busy": "refuse"}).ok)
        eventually(lambda: berth.ready("ann"))
        berth.start_server("ann", {"profile": "cpu"}, "lab").raise_for_status()
        eventually(lambda: berth.ready("ann", "lab"))
        yield berth


@dataclass(frozen=True)
class Asker:
    """Somebody with a token."""

    url: str
    token: str

    def __call__(self, method: str, path: str, body: object = None, data: str | None = None) -> requests.Response:
        return requests.request(
            method,
            f"{self.url}/hub/api/berth/{path}",
            json=body,
            data=data,
            headers={"Authorization": f"token {self.token}"} if self.token else {},
            timeout=30,
        )


def _server(berth: Berth, engine: docker.DockerClient, name: str) -> Asker:
    """Ask as a server of ann's, with the token that is in its environment."""
    for container in containers_of(engine, berth, "ann"):
        environment = environment_of(container.attrs)
        if container.labels["berth.server"] == name:
            return Asker(berth.url, environment["JUPYTERHUB_API_TOKEN"])
    raise AssertionError(f"no container of {name!r}")


def _person(berth: Berth, user: str, *scopes: str) -> Asker:
    answer = berth.api("POST", f"users/{user}/tokens", {"scopes": list(scopes)} if scopes else {})
    return Asker(berth.url, answer.json()["token"])


@contextlib.contextmanager
def _ledger(berth: Berth) -> Iterator[Desk]:
    ledger = Ledger(berth.state.ledger_url(None))
    try:
        yield Desk(ledger, LimitSettings().rules(), LeaseSettings().rules())
    finally:
        ledger.close()


def _lease(berth: Berth) -> Lease | None:
    with _ledger(berth) as desk:
        return next((lease for lease in repairs.open_leases(desk) if lease.user == "ann"), None)


def test_a_server_learns_of_its_lease(berth: Berth, engine: docker.DockerClient) -> None:
    answer = _server(berth, engine, "")("GET", "lease").json()
    lease = answer["lease"]
    assert lease["model"] == "Simulated GPU"
    assert lease["simulated"] is True
    assert lease["isolation_text"] == "A whole GPU, yours alone"
    assert (lease["gpus"], lease["state"], lease["can_extend"]) == (1, "active", True)
    assert 0 < lease["left_seconds"] <= 3600
    assert datetime.fromisoformat(lease["ends_at"]) > datetime.fromisoformat(answer["now"])
    assert [message["actions"] for message in answer["messages"]] == [["extend", "release"]]
    assert answer["poll_seconds"] > 0


def test_a_server_without_a_lease_is_told_so(berth: Berth, engine: docker.DockerClient) -> None:
    answer = _server(berth, engine, "lab")("GET", "lease").json()
    assert (answer["lease"], answer["messages"]) == (None, [])
    refused = _server(berth, engine, "lab")("POST", "lease/extend", {"hours": 1})
    assert (refused.status_code, refused.json()["reason"]) == (403, "no_lease")


def test_a_server_speaks_for_itself_only(berth: Berth, engine: docker.DockerClient) -> None:
    lab, default = _server(berth, engine, "lab"), _server(berth, engine, "")
    assert lab("GET", "lease?server=").status_code == 403
    assert lab("POST", "lease/extend?server=", {"hours": None}).status_code == 403
    assert default("GET", "lease?server=lab").status_code == 403
    assert default("GET", "lease?user=bob").status_code == 403
    assert default("GET", "lease?server=").json()["lease"] is not None
    assert default("GET", "mine").status_code == 403


def test_a_person_asks_for_their_servers(berth: Berth) -> None:
    ann, bob = _person(berth, "ann"), _person(berth, "bob")
    assert ann("GET", "lease").json()["lease"] is not None
    assert ann("GET", "lease?server=lab").json()["lease"] is None
    assert ann("GET", "lease?server=gone").status_code == 404
    assert bob("GET", "lease?user=ann").status_code == 403
    assert bob("POST", "lease/release?user=ann", {"at_end": "stop"}).status_code == 403
    looker = _person(berth, "ann", "read:servers!user=ann")
    assert looker("GET", "lease").json()["lease"] is not None
    assert looker("POST", "lease/release", {"at_end": "stop"}).status_code == 403
    assert Asker(berth.url, "")("GET", "lease").status_code == 403
    admin = Asker(berth.url, berth.token)
    assert admin("GET", "lease?user=ann").json()["lease"] is not None


def test_a_person_sees_what_is_theirs(berth: Berth) -> None:
    mine = _person(berth, "ann")("GET", "mine").json()
    assert [(lease["server"], lease["gpus"]) for lease in mine["leases"]] == [("", 1)]
    assert mine["queue"] == []
    assert mine["quota"] == {"gpus": 1, "held": 1, "budget_hours": None, "left_hours": None, "window_days": 7}


@pytest.mark.parametrize("data", ["", "no", "[1]", "null", '"x"'])
@pytest.mark.parametrize("path", ["lease/extend", "lease/release", "lease/report"])
def test_a_body_that_is_no_object_is_refused_with_words(
    berth: Berth, engine: docker.DockerClient, path: str, data: str
) -> None:
    answer = _server(berth, engine, "")("POST", path, data=data)
    assert (answer.status_code, answer.json()["message"]) == (400, "The body must be a JSON object.")


def test_reports_reach_the_ledger(berth: Berth, engine: docker.DockerClient) -> None:
    server = _server(berth, engine, "")
    report = {
        "busy_kernels": 1,
        "last_kernel_activity": None,
        "gpu": {"expected": 1, "seen": 0, "problem": "Unknown Error"},
        "selfcheck": {"ok": False, "problems": ["libcudnn.so.8 is missing"]},
    }
    assert server("POST", "lease/report", report).status_code == 204
    lease = _lease(berth)
    assert lease is not None
    assert lease.problem == "Unknown Error"
    assert lease.busy_at is not None
    assert "self-check: libcudnn.so.8 is missing" in berth.log.read_text()
    messages = server("GET", "lease").json()["messages"]
    assert ["restart"] in [message["actions"] for message in messages]
    well = {"busy_kernels": 0, "last_kernel_activity": None, "gpu": {"expected": 1, "seen": 1, "problem": ""}}
    assert server("POST", "lease/report", well).status_code == 204
    # The server reports by itself too, but nothing else than that.
    assert (_lease(berth) or lease).problem == ""


def test_the_queue_is_told_and_left(berth: Berth, engine: docker.DockerClient) -> None:
    ann, bob = _person(berth, "ann"), _person(berth, "bob")
    assert bob("GET", "queue/bob/").status_code == 404
    berth.api("POST", "users/bob/server", {"profile": "gpu"}, timeout=60)
    place = eventually(lambda: bob("GET", "queue/bob/").json())
    assert {name: place[name] for name in ("state", "position", "waiting", "blocked", "gpus", "profile")} == {
        "state": "waiting",
        "position": 1,
        "waiting": 1,
        "blocked": False,
        "gpus": 1,
        "profile": "gpu",
    }
    assert datetime.fromisoformat(place["eta"]) > datetime.fromisoformat(place["since"])
    assert bob("GET", "queue/bob").json()["position"] == 1
    assert bob("GET", "mine").json()["queue"][0]["position"] == 1
    assert ann("GET", "queue/bob/").status_code == 404, "who waits is nobody else's business"
    assert ann("DELETE", "queue/bob/").status_code == 404
    refused = ann("POST", "lease/extend", {"hours": None})
    assert (refused.status_code, refused.json()["reason"]) == (403, "others_wait")
    assert bob("DELETE", "queue/bob/").status_code == 204
    assert bob("DELETE", "queue/bob/").json()["reason"] == "not_waiting"
    eventually(lambda: berth.settled("bob"))
    assert not berth.ready("bob")


def test_a_lease_is_extended(berth: Berth, engine: docker.DockerClient) -> None:
    server = _server(berth, engine, "")
    before = server("GET", "lease").json()["lease"]["left_seconds"]
    answer = server("POST", "lease/extend", {"hours": 0.5}).json()
    assert answer["text"].startswith("Extended. The GPU is yours for 1 h 2")
    assert server("GET", "lease").json()["lease"]["left_seconds"] > before + 1700
    too_much = server("POST", "lease/extend", {"hours": 500})
    assert (too_much.status_code, too_much.json()["reason"]) == (403, "over_limit")
    assert "24 h" in too_much.json()["message"]


def test_a_server_is_started_again(berth: Berth, engine: docker.DockerClient) -> None:
    def lab() -> str:
        return next(
            (found.id for found in containers_of(engine, berth, "ann") if found.labels["berth.server"] == "lab"), ""
        )

    before = lab()
    assert _server(berth, engine, "lab")("POST", "lease/restart", {}).status_code == 202
    eventually(lambda: lab() not in {"", before} and berth.ready("ann", "lab"))
    assert berth.servers("ann")["lab"]["user_options"] == {"profile": "cpu"}
    refused = _person(berth, "bob")("POST", "lease/restart", {})
    assert (refused.status_code, refused.json()["reason"]) == (409, "not_running")


def test_a_released_gpu_leaves_the_work_on_cpu(berth: Berth, engine: docker.DockerClient) -> None:
    server = _server(berth, engine, "")
    assert server("POST", "lease/release", {"at_end": "cpu"}).status_code == 202
    eventually(lambda: _lease(berth) is None)
    eventually(lambda: berth.ready("ann"))
    assert berth.servers("ann")[""]["user_options"] == {"profile": "gpu", "gpus": 0}
    assert _server(berth, engine, "")("GET", "lease").json()["lease"] is None
    with _ledger(berth) as desk, desk.ledger.reading() as books:
        (closed,) = books.leases.history(user="ann")
    assert closed.ending == "released"
