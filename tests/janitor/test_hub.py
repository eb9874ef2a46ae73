"""The hub's API, whatever it answers."""

import json
from typing import Any

import pytest

from spawner.janitor import hub as module
from spawner.janitor.hub import Hub, HubUnavailable

from ..support.api_hub import TOKEN, ApiHub, Trick

ANN = "/hub/api/users/ann/server"
LAB = "/hub/api/users/ann/servers/lab"
STATE = r"GET /hub/api/users/ann\?include_stopped_servers"


@pytest.fixture
def speaker(hub: ApiHub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(module, "_TIMEOUT", 0.4)
    monkeypatch.setattr(module, "_SAVE_TIMEOUT", 0.4)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    return Hub(hub.api_url, hub.url, TOKEN)


def servers(**states: tuple[bool, str | None]) -> dict[str, object]:
    return {"servers": {name: {"ready": ready, "pending": pending} for name, (ready, pending) in states.items()}}


@pytest.mark.parametrize("status", [201, 202])
def test_a_server_is_started(hub: ApiHub, speaker: Hub, status: int) -> None:
    hub.says("^POST ", status)
    assert speaker.start("ann", "", {"profile": "gpu", "hours": None})
    assert speaker.start("ann", "lab", {"profile": "cpu"})
    assert hub.asked == [f"POST {ANN}", f"POST {LAB}"]
    assert hub.bodies == {f"POST {ANN}": {"profile": "gpu", "hours": None}, f"POST {LAB}": {"profile": "cpu"}}
    assert hub.tokens == {f"token {TOKEN}"}


@pytest.mark.parametrize("said", ["ann is already running", "ann is pending spawn", "ann is pending stop"])
def test_one_that_runs_or_is_about_to_is_let_be(hub: ApiHub, speaker: Hub, said: str) -> None:
    hub.says("^POST ", 400, {"status": 400, "message": said})
    assert not speaker.start("ann", "", {})


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "There is no profile 'x'."),
        (403, "Forbidden"),
        (404, "Not Found"),
        (409, "Conflict"),
        (429, "Too many users trying to log in right now. Try again in 30 seconds."),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
    ],
)
def test_what_the_hub_refuses(hub: ApiHub, speaker: Hub, status: int, said: str) -> None:
    hub.says(".", status, {"status": status, "message": said})
    with pytest.raises(HubUnavailable, match=str(status)) as refused:
        speaker.start("ann", "", {})
    assert said in str(refused.value)
    assert TOKEN not in str(refused.value)
    if status != 404:
        with pytest.raises(HubUnavailable, match=str(status)):
            speaker.stop("ann", "", 1)


def test_a_server_is_stopped_at_once(hub: ApiHub, speaker: Hub) -> None:
    hub.says("^DELETE ", 204)
    assert speaker.stop("ann", "lab", 5)
    assert hub.asked == [f"DELETE {LAB}"]


@pytest.mark.parametrize(
    ("status", "body"), [(404, "no such server"), (400, {"message": "ann is not running"})], ids=["404", "400"]
)
def test_one_that_does_not_run_needs_no_stop(hub: ApiHub, speaker: Hub, status: int, body: object) -> None:
    hub.says("^DELETE ", status, body)
    assert not speaker.stop("ann", "", 5)


def test_a_slow_stop_is_waited_for(hub: ApiHub, speaker: Hub) -> None:
    hub.says("^DELETE ", 202)
    hub.says(STATE, 200, servers(lab=(False, None)))
    hub.says(STATE, 200, servers(lab=(False, "stop")), times=3)
    hub.says(STATE, 200, servers(lab=(True, "stop")), times=1)
    assert speaker.stop("ann", "lab", 5)
    assert len(hub.asked) == 6
    for gone in (servers(), servers(other=(True, None))):
        hub.says(STATE, 200, gone)
        assert speaker.stop("ann", "lab", 5)
    hub.says(STATE, 404)  # with its user
    assert speaker.stop("ann", "lab", 5)


def test_a_stop_that_does_not_end(hub: ApiHub, speaker: Hub) -> None:
    hub.says("^DELETE ", 202)
    hub.says(STATE, 200, servers(lab=(True, "stop")))
    with pytest.raises(HubUnavailable, match="ann/lab has not stopped within 0 s"):
        speaker.stop("ann", "lab", 0.05)


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"servers": {"lab": {}}}', '{"servers": {"lab": 3}}'])
def test_answers_that_are_none(hub: ApiHub, speaker: Hub, body: str) -> None:
    hub.says("^DELETE ", 202)
    hub.says(STATE, 200, body)
    with pytest.raises(HubUnavailable, match="something else than expected"):
        speaker.stop("ann", "lab", 1)


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("trick", ["hang", "gone", "half", "garbage"])
def test_a_hub_that_breaks_off(hub: ApiHub, speaker: Hub, trick: Trick, status: int) -> None:
    hub.says(".", status, "not running", trick=trick)
    with pytest.raises(HubUnavailable, match="does not answer at"):
        speaker.start("ann", "", {})
    with pytest.raises(HubUnavailable, match="does not answer at"):
        speaker.stop("ann", "", 1)
    assert not speaker.save("ann", "")


def test_a_hub_that_is_not_there() -> None:
    speaker = Hub("http://127.0.0.1:1/hub/api", "http://127.0.0.1:1", TOKEN)
    with pytest.raises(HubUnavailable, match="does not answer at"):
        speaker.start("ann", "", {})
    assert not speaker.save("ann", "")


def test_servers_are_asked_to_save(hub: ApiHub, speaker: Hub) -> None:
    hub.says("POST /user/ann/berth/save", 200, {"saved": 1})
    hub.says("POST /user/ann/lab/berth/save", 204)
    assert speaker.save("ann", "")
    assert speaker.save("ann", "lab")
    assert not speaker.save("bob", "")


def test_names_are_quoted(hub: ApiHub, speaker: Hub) -> None:
    hub.says(".", 204)
    assert speaker.stop("ann/../bob?x", "a b", 1)
    assert speaker.save("ann/../bob?x", "a b")
    assert hub.asked == [
        "DELETE /hub/api/users/ann%2F..%2Fbob%3Fx/servers/a%20b",
        "POST /user/ann%2F..%2Fbob%3Fx/a%20b/berth/save",
    ]


def test_the_environments_proxy_is_not_asked(hub: ApiHub, speaker: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    hub.says("^DELETE ", 204)
    assert speaker.stop("ann", "", 1)


def test_no_token_is_shown(speaker: Hub) -> None:
    assert TOKEN not in repr(speaker)


# --- people, groups, who may enter what -------------------------------------------------------------------------------


def pages(*items: object, total: int | None = None) -> dict[str, object]:
    return {"items": list(items), "_pagination": {"next": None, "total": len(items) if total is None else total}}


def test_servers_are_read_with_their_use(hub: ApiHub, speaker: Hub) -> None:
    told: dict[str, Any] = {
        "ready": True,
        "pending": None,
        "started": "2027-03-01T12:00:00.000000Z",
        "last_activity": None,
        "state": {},
    }
    seat = {**told, "state": {"object_id": "f00", "course": "ml", "staff": True}}
    begins = {**told, "ready": False, "pending": "spawn"}
    theirs = {"name": "bob", "servers": {"ml": seat, "": begins}}
    hub.says(r"GET /hub/api/users\?state=active", 200, pages({"name": "ann", "servers": {"ml": told}}, theirs))
    server, of_staff, unknown = speaker.servers().values()
    assert [(one.course, one.staff, one.told) for one in (server, of_staff, unknown)] == [
        ("", False, True),
        ("ml", True, True),
        ("", False, False),
    ]
    assert (server.user, server.name, server.ready, server.pending) == ("ann", "ml", True, "")
    assert server.started is not None
    assert server.started.isoformat() == "2027-03-01T12:00:00+00:00"
    assert server.active is None
    assert hub.asked == ["GET /hub/api/users?state=active&offset=0&limit=200"]


def test_users_are_made_once(hub: ApiHub, speaker: Hub) -> None:
    hub.says("^POST /hub/api/users/ann", 409)
    hub.says("^POST /hub/api/users/ann", 201, times=1)
    assert speaker.make_user("ann")
    assert not speaker.make_user("ann")
    hub.says("^POST /hub/api/users/x", 400, "Invalid username")
    with pytest.raises(HubUnavailable) as refused:
        speaker.make_user("x")
    assert not refused.value.passing


def test_only_what_differs_of_a_group_is_asked_for(hub: ApiHub, speaker: Hub) -> None:
    hub.says("GET /hub/api/groups/g", 200, {"name": "g", "users": ["ann", "bob"]})
    hub.says("(POST|DELETE) /hub/api/groups/g/users", 200)
    assert speaker.set_group("g", ["bob", "cyd"])
    assert hub.bodies == {
        "POST /hub/api/groups/g/users": {"users": ["cyd"]},
        "DELETE /hub/api/groups/g/users": {"users": ["ann"]},
    }
    assert not speaker.set_group("g", ["ann", "bob"])


def test_shares(hub: ApiHub, speaker: Hub) -> None:
    one = {"server": {"user": {"name": "ann"}, "name": "ml"}, "user": {"name": "tom"}, "group": None}
    hub.says("GET /hub/api/users/tom/shared", 200, pages(one, {**one, "user": None, "group": {"name": "g"}}))
    assert speaker.shared_with("tom") == {("ann", "ml")}
    assert speaker.shared_with("eve") == set()
    hub.says("^POST /hub/api/shares/ann/ml", 200)
    hub.says("^DELETE /hub/api/users/tom/shared/ann/ml", 204)
    assert speaker.share("ann", "ml", "tom")
    assert hub.bodies == {"POST /hub/api/shares/ann/ml": {"user": "tom", "scopes": ["access:servers!server=ann/ml"]}}
    assert not speaker.share("ann", "art", "tom")
    assert speaker.unshare("ann", "ml", "tom")
    assert not speaker.unshare("ann", "ml", "eve")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_go_well_later(hub: ApiHub, speaker: Hub, status: int) -> None:
    hub.says(".", status)
    with pytest.raises(HubUnavailable) as refused:
        speaker.begin("ann", "ml", {})
    assert refused.value.passing


@pytest.mark.parametrize("body", ["<html>", "[]", '{"items": [{}], "_pagination": {"next": null, "total": 1}}'])
def test_lists_that_are_none(hub: ApiHub, speaker: Hub, body: str) -> None:
    hub.says(".", 200, body)
    for ask in (speaker.servers, speaker.groups, speaker.users, lambda: speaker.shared_with("tom")):
        with pytest.raises(HubUnavailable, match="something else than expected"):
            ask()


def test_why_a_start_failed(hub: ApiHub, speaker: Hub) -> None:
    assert speaker.failure("ann", "ml") == ""
    failed = {"progress": 100, "failed": True, "message": "Spawn failed: no space left"}
    hub.says("GET /hub/api/users/ann/servers/ml/progress", 200, f"\n\ndata: {json.dumps(failed)}\n\n")
    assert speaker.failure("ann", "ml") == "no space left"
    hub.says("GET /hub/api/users/ann/servers/ml/progress", 200, 'data: {"progress": 100, "ready": true}\n')
    assert speaker.failure("ann", "ml") == ""
