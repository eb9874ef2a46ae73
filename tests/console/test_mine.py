"""One's own servers, leases, places in the queue and use: through the API and on the pages."""

from datetime import timedelta
from typing import Any

import pytest

from spawner.console.readings import HeldReading, Holding
from spawner.console.scopes import Scope
from spawner.operations import ends, mine
from spawner.policy.model import AtEnd, Person

from ..support.console import Asked, ConsoleStand, Visitor, open_console
from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus

RUNNING: dict[str, Any] = {
    "name": "",
    "ready": True,
    "pending": None,
    "stopped": False,
    "url": "/user/ann/",
    "started": "2027-03-01T11:00:00.000000Z",
    "last_activity": "2027-03-01T11:59:00.000000Z",
    "user_options": {"profile": "gpu", "gpus": 1},
}


def stopped(name: str, **options: Any) -> dict[str, Any]:
    still = {"ready": False, "stopped": True, "url": None, "started": None, "last_activity": None}
    return {**RUNNING, **still, "name": name, "user_options": options}


@pytest.fixture
def world(console: ConsoleStand) -> ConsoleStand:
    """Ann, whose default server holds a GPU, whose ``lab`` waits, and whose ``notes`` is stopped."""
    servers = {"": RUNNING, "lab": stopped("lab", profile="gpu"), "notes": stopped("notes", profile="cpu", clean=True)}
    console.hub.add_user("ann", ["physics"], servers=servers)
    office = console.office
    office.fit(gpus(2))
    office.running("ann", hours=4)
    office.running("bob", hours=2)
    office.queued("ann", server="lab", hours=2)
    return console


def asked(console: ConsoleStand) -> list[Asked]:
    return [one for one in console.hub.asked if one.method != "GET"]


# --- reading ------------------------------------------------------------------------------------------------------


def test_servers_with_what_they_hold(world: ConsoleStand) -> None:
    answer = world.as_user("ann").get("api/v1/users/ann/servers")
    default, lab, notes = answer.json()["items"]
    assert (default["key"], default["state"], default["url"], default["profile"]) == (
        "~",
        "running",
        "/user/ann/",
        "gpu",
    )
    assert default["lease"]["models"] == ["Simulated GPU"]
    assert default["lease"]["ends_at"] == "2027-03-01T16:00:00Z"
    assert (default["lease"]["can_extend"], default["lease"]["extend_code"]) == (False, "others_wait")
    assert default["lease"]["slots"][0]["isolation_text"] == "A whole GPU, yours alone"
    assert (lab["state"], lab["place"]["position"], lab["place"]["waiting"]) == ("waiting", 1, 1)
    assert lab["place"]["eta"] == "2027-03-01T14:02:00Z"
    assert (notes["state"], notes["clean"], notes["lease"]) == ("stopped", False, None)
    assert world.as_user("ann").get("api/v1/users/ann/servers/lab").json() == lab
    assert world.as_user("ann").get("api/v1/users/ann/servers/~").json()["name"] == ""
    assert world.as_user("ann").get("api/v1/users/ann/servers/none").status_code == 404


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"pending": "spawn", "ready": False}, "starting"),
        ({"pending": "stop"}, "stopping"),
        ({"ready": False, "stopped": True}, "stopped"),
    ],
)
def test_states(console: ConsoleStand, change: dict[str, Any], state: str) -> None:
    console.hub.add_user("ann", servers={"": {**RUNNING, **change}})
    [server] = console.as_user("ann").get("api/v1/users/ann/servers").json()["items"]
    assert (server["state"], server["url"]) == (state, "")


def test_the_default_server_is_there_before_it_was_ever_started(console: ConsoleStand) -> None:
    [server] = console.as_user("ann").get("api/v1/users/ann/servers").json()["items"]
    assert (server["name"], server["state"], server["options"]) == ("", "stopped", {})


@pytest.mark.parametrize("what", ["servers", "leases", "queue", "usage", "gpu-use"])
def test_only_who_may_see_all_sees_others(world: ConsoleStand, what: str) -> None:
    path = f"api/v1/users/ann/{what}"
    assert world.as_user("ann").get(path).status_code == 200
    assert world.as_user("bob").get(path).status_code == 403
    assert world.as_admin().get(path).status_code == 200
    assert world.as_service("cron", [Scope.READ]).get(path).status_code == 200
    assert world.as_admin().get(f"api/v1/users/nobody/{what}").status_code == 404
    assert world.as_admin().get(f"api/v1/users/%2e%2e/{what}").status_code == 404


def test_leases_come_in_pages(office: Office) -> None:
    office.fit(gpus(1))
    with open_console(office) as console:
        for _ in range(5):
            office.stop(office.running("ann", hours=1))
            office.wait(HOUR)
        last = office.running("ann", hours=1)
        ann = console.as_user("ann")
        seen: list[dict[str, Any]] = []
        cursor = None
        while True:
            more: dict[str, str] = {"cursor": cursor} if cursor else {}
            page = ann.get("api/v1/users/ann/leases", params={"limit": 2, **more}).json()
            seen += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        assert [one["granted_at"] for one in seen] == sorted((one["granted_at"] for one in seen), reverse=True)
        assert len({one["id"] for one in seen}) == 6
        opened = ann.get("api/v1/users/ann/leases", params={"open": True}).json()["items"]
        assert [one["id"] for one in opened] == [last.id]
        assert {one["ending"] for one in seen if one["id"] != last.id} == {"stopped"}
        for cursor in ("nonsense", "WyJhIiwiYiJd"):
            assert ann.get("api/v1/users/ann/leases", params={"cursor": cursor}).json()["code"] == "invalid_cursor"


def test_use_is_told_by_day_in_ones_zone_with_what_runs(office: Office) -> None:
    office.fit(gpus(2))
    office.clock.now = NOW - timedelta(days=2)
    past = office.running("ann", 2, hours=20)  # from noon on
    office.wait(13 * HOUR)
    ends.note_idle(office.desk, office.lease(past.id), office.clock.now)
    office.wait(HOUR)
    office.stop(office.lease(past.id))  # at 2 in the night, UTC
    office.clock.now = NOW - HOUR
    running = office.running("ann", 1, hours=20)
    ends.note_idle(office.desk, office.lease(running.id), NOW - 30 * MINUTE)
    office.clock.now = NOW
    with open_console(office) as console:
        ann = console.as_user("ann")
        use = ann.get("api/v1/users/ann/usage").json()
        days = {day["day"]: (day["gpu_ms"] / 3_600_000, day["idle_gpu_ms"] / 3_600_000) for day in use["days"]}
        assert len(days) == 30
        # Of a closed lease the idle hour is spread over its fourteen, on each of two GPUs.
        assert days["2027-02-27"] == (24.0, pytest.approx(2 * 12 / 14, abs=1e-5))
        assert days["2027-02-28"] == (4.0, pytest.approx(2 * 2 / 14, abs=1e-5))
        assert days["2027-03-01"] == (1.0, 0.5)
        assert use["gpu_ms"] == 29 * 3_600_000
        tokyo = ann.get("api/v1/users/ann/usage", params={"zone": "Asia/Tokyo"}).json()
        told = {day["day"]: day["gpu_hours"] for day in tokyo["days"] if day["gpu_ms"]}
        assert told == {"2027-02-27": 6.0, "2027-02-28": 22.0, "2027-03-01": 1.0}
        part = {"since": "2027-02-27T20:00:00Z", "until": "2027-02-28T01:00:00Z"}
        assert ann.get("api/v1/users/ann/usage", params=part).json()["gpu_hours"] == 10.0
        for wrong in ({"zone": "Mars/Base"}, {"since": "2027-03-02T00:00:00Z"}, {"since": "2020-01-01T00:00:00Z"}):
            assert ann.get("api/v1/users/ann/usage", params=wrong).status_code == 422


def test_live_use_of_ones_own(world: ConsoleStand) -> None:
    [lease] = mine.mine(world.console.desk, Person("ann")).leases
    slot = lease.lease.slots[0]
    ann = world.as_user("ann")
    [empty] = ann.get("api/v1/users/ann/gpu-use").json()["items"]
    assert (empty["latest"], empty["points"], empty["memory_total"]) == (None, [], 16 << 30)
    for second in range(0, 60, 10):
        at = NOW - timedelta(seconds=60 - second)
        world.console.readings.put(
            {}, {Holding(lease.lease.id, slot, slot): HeldReading(at, second / 100, 4.0 * 2**30)}
        )
    told = ann.get("api/v1/users/ann/gpu-use").json()
    [live] = told["items"]
    assert (told["problem"], live["server"], live["model"]) == ("", "", "Simulated GPU")
    assert [point["sm"] for point in live["points"]] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert live["latest"] == {"at": "2027-03-01T11:59:50Z", "sm": 0.5, "memory": 4.0 * 2**30}
    page = world.signed_in("ann").get("").text
    assert "50 %" in page
    assert "4 GiB" in page
    assert "GPU use, last 15 minutes" in page


# --- acting -------------------------------------------------------------------------------------------------------


def test_a_start_is_asked_for_in_the_users_name(world: ConsoleStand) -> None:
    world.hub.says("POST", "users/ann/servers/notes", 202)
    options = {"profile": "gpu", "gpus": 2, "hours": 1.5, "if_busy": "cpu", "at_end": "stop", "clean": True}
    answer = world.as_user("ann").post("api/v1/users/ann/servers/notes/start", json=options)
    assert (answer.status_code, answer.json()["key"]) == (202, "notes")
    assert asked(world) == [Asked("POST", "users/ann/servers/notes", "ann", options)]
    world.hub.says("POST", "users/ann/server", 201)
    assert world.as_user("ann").post("api/v1/users/ann/servers/~/start", json={}).status_code == 202
    assert asked(world)[-1] == Asked("POST", "users/ann/server", "ann", {"if_busy": "queue"})


def test_what_the_hub_refuses_is_told(world: ConsoleStand) -> None:
    world.hub.says("POST", "users/ann/servers/notes", 400, {"message": "notes is already running"})
    answer = world.as_user("ann").post("api/v1/users/ann/servers/notes/start", json={})
    assert (answer.status_code, answer.json()["detail"]) == (409, "notes is already running")
    assert "reason" not in answer.json()
    says = {"message": "This server does not run.", "reason": "not_running"}
    world.hub.says("POST", "berth/lease/restart", 409, says)
    told = world.as_user("ann").post("api/v1/users/ann/servers/notes/restart", json={}).json()
    assert (told["code"], told["reason"], told["detail"]) == ("hub_refused", "not_running", says["message"])


@pytest.mark.parametrize(
    "options", [{"gpus": -1}, {"hours": 0}, {"if_busy": "wait"}, {"clean": "perhaps"}, {"gpus": 1.5}, {"at_end": ""}]
)
def test_options_that_mean_nothing(world: ConsoleStand, options: dict[str, Any]) -> None:
    assert world.as_user("ann").post("api/v1/users/ann/servers/notes/start", json=options).status_code == 422
    assert asked(world) == []


def test_stop_and_restart(world: ConsoleStand) -> None:
    ann = world.as_user("ann")
    world.hub.says("DELETE", "users/ann/server", 202)
    world.hub.says("POST", "berth/lease/restart", 202, {})
    assert ann.post("api/v1/users/ann/servers/~/stop").status_code == 202
    assert ann.post("api/v1/users/ann/servers/~/restart", json={"clean": True}).status_code == 202
    assert ann.post("api/v1/users/ann/servers/~/restart", json={}).status_code == 202
    assert asked(world) == [
        Asked("DELETE", "users/ann/server", "ann", None),
        Asked("POST", "berth/lease/restart", "ann", {"clean": True}),
        Asked("POST", "berth/lease/restart", "ann", {"clean": False}),
    ]


def test_a_lease_is_extended_released_and_audited(console: ConsoleStand) -> None:
    console.office.fit(gpus(1))
    console.hub.add_user("ann", servers={"": RUNNING})
    lease = console.office.running("ann", hours=2)
    ann = console.as_user("ann")
    path = f"api/v1/users/ann/leases/{lease.id}"
    assert ann.post(f"{path}/extend", json={"hours": 1}).json()["ends_at"] == "2027-03-01T15:00:00Z"
    assert ann.post(f"{path}/extend", json={}).json()["ends_at"] == "2027-03-02T12:00:00Z"
    refused = ann.post(f"{path}/extend", json={"hours": 1})
    assert (refused.status_code, refused.json()["code"]) == (409, "over_limit")
    assert ann.post(f"{path}/release", json={"at_end": "stop"}).status_code == 202
    given = console.office.lease(lease.id)
    assert (given.ends_at, given.at_end, given.ending) == (NOW, AtEnd.STOP, "released")
    assert [(entry.actor, entry.action) for entry in console.office.audit()] == [
        ("ann", "lease.extend"),
        ("ann", "lease.extend"),
        ("ann", "lease.end"),
    ]
    assert ann.post("api/v1/users/ann/leases/none/extend", json={}).status_code == 404


def test_nobody_acts_for_others(world: ConsoleStand) -> None:
    [lease] = mine.mine(world.console.desk, Person("ann")).leases
    [place] = mine.mine(world.console.desk, Person("ann")).places
    before = world.office.tables()
    for somebody in (world.as_user("bob"), world.as_admin(), world.as_service("cron", list(Scope))):
        for path, body in [
            (f"users/ann/leases/{lease.lease.id}/extend", {}),
            (f"users/ann/leases/{lease.lease.id}/release", {"at_end": "cpu"}),
            ("users/ann/servers/~/stop", {}),
            ("users/ann/servers/notes/start", {}),
            ("users/ann/servers/~/restart", {}),
        ]:
            assert somebody.post(f"api/v1/{path}", json=body).status_code == 403, path
        assert somebody.delete(f"api/v1/users/ann/queue/{place.ticket.id}").status_code == 403
    # Nor with another's thing under one's own name.
    bob = world.as_user("bob")
    assert bob.post(f"api/v1/users/bob/leases/{lease.lease.id}/release", json={"at_end": "cpu"}).status_code == 404
    assert bob.delete(f"api/v1/users/bob/queue/{place.ticket.id}").status_code == 404
    assert world.office.tables() == before
    assert asked(world) == []


def test_a_token_to_read_does_not_act(world: ConsoleStand) -> None:
    reader = world.as_user("ann", scopes=[Scope.SELF_READ])
    assert reader.get("api/v1/users/ann/servers").status_code == 200
    assert reader.post("api/v1/users/ann/servers/~/stop").json()["code"] == "scope_missing"


def test_leaving_the_queue(world: ConsoleStand) -> None:
    ann = world.as_user("ann")
    [place] = ann.get("api/v1/users/ann/queue").json()["items"]
    assert (place["server"], place["state"], place["gpus"]) == ("lab", "waiting", 1)
    assert ann.delete(f"api/v1/users/ann/queue/{place['ticket']}").status_code == 204
    assert ann.get("api/v1/users/ann/queue").json() == {"items": []}
    assert ann.delete(f"api/v1/users/ann/queue/{place['ticket']}").status_code == 404


def test_an_offer_is_shown_and_declined(console: ConsoleStand) -> None:
    office = console.office
    office.fit(gpus(1))
    lease = office.running("bob")
    office.queued("ann")
    office.stop(lease)
    ann = console.as_user("ann")
    [place] = ann.get("api/v1/users/ann/queue").json()["items"]
    assert (place["state"], place["position"], place["offered_until"]) == ("offered", 0, "2027-03-01T12:05:00Z")
    [server] = ann.get("api/v1/users/ann/servers").json()["items"]
    assert (server["state"], server["lease"]) == ("offered", None)
    assert ann.delete(f"api/v1/users/ann/queue/{place['ticket']}").status_code == 204
    assert office.lease(office.ticket(place["ticket"]).lease).ending == "declined"


# --- pages --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ann(world: ConsoleStand) -> Visitor:
    return world.signed_in("ann")


def test_the_start_page_tells_all(ann: Visitor) -> None:
    page = ann.get("").text
    for told in ("Default server", "Lease ends in", "4 h", "1 of 1", "Not to be extended now", "1 of 4 in use"):
        assert told in page, told
    assert 'data-until="2027-03-01T16:00:00+00:00"' in page
    assert ann.get("mine/now", headers={"HX-Request": "true"}).text in page


def test_who_has_never_started_anything_is_told_how(console: ConsoleStand) -> None:
    page = console.signed_in("ann").get("").text
    for told in ("It has never been started", "mine/servers/~/start", "No GPU was used", "No lease has ended yet"):
        assert told in page, told


def test_a_quota_without_gpus_says_so(console: ConsoleStand) -> None:
    console.office.give("user", "ann", "gpus", 0)
    assert "Your quota has no GPUs" in console.signed_in("ann").get("").text


def test_others_are_shown_to_admins_without_buttons(world: ConsoleStand) -> None:
    page = world.signed_in_admin().get("people/ann").text
    assert "Lease ends in" in page
    assert "Release GPU" not in page
    assert world.signed_in("bob").get("people/ann").status_code == 403
    assert world.signed_in_admin().get("people/nobody").status_code == 404


def test_a_form_starts_a_server(world: ConsoleStand, ann: Visitor) -> None:
    world.hub.says("POST", "users/ann/servers/notes", 202)
    page = ann.get("mine/servers/notes/start").text
    assert 'value="cpu" required checked' in page
    assert 'name="clean" value="true" checked' not in page, "what held for one start"
    fields = {"profile": "gpu", "gpus": "1", "hours": "", "if_busy": "queue", "at_end": "cpu"}
    answer = ann.send_form("mine/servers/notes/start", **fields)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/services/console/")
    sent = {"profile": "gpu", "gpus": 1, "if_busy": "queue", "at_end": "cpu"}
    assert asked(world) == [Asked("POST", "users/ann/servers/notes", "ann", sent)]
    assert "on its way" in ann.get("").text


def test_a_start_that_is_refused_says_why_and_keeps_what_was_chosen(world: ConsoleStand, ann: Visitor) -> None:
    world.hub.says("POST", "users/ann/servers/notes", 403, {"message": "9 GPUs asked for; your limit is <4>."})
    answer = ann.send_form("mine/servers/notes/start", profile="gpu", gpus="9")
    assert answer.status_code == 409
    assert "9 GPUs asked for; your limit is &lt;4&gt;." in answer.text
    assert 'value="9"' in answer.text
    wrong = ann.send_form("mine/servers/notes/start", profile="gpu", gpus="nine")
    assert (wrong.status_code, "gpus: " in wrong.text) == (422, True)


def test_a_form_asks_once_before_work_ends(world: ConsoleStand, ann: Visitor) -> None:
    world.hub.says("DELETE", "users/ann/server", 204)
    world.hub.says("POST", "berth/lease/restart", 202, {})
    assert "Running kernels" in ann.get("mine/servers/~/stop").text
    assert ann.send_form("mine/servers/~/stop").status_code == 303
    assert "Nothing is deleted" in ann.get("mine/servers/~/restart?clean=true").text
    assert ann.send_form("mine/servers/~/restart", clean="true").status_code == 303
    assert [(one.method, one.body) for one in asked(world)] == [("DELETE", None), ("POST", {"clean": True})]


def test_forms_of_leases_and_the_queue(world: ConsoleStand, ann: Visitor) -> None:
    found = mine.mine(world.console.desk, Person("ann"))
    [lease], [place] = found.leases, found.places
    root = f"mine/leases/{lease.lease.id}"
    assert "Somebody waits for such a GPU" in ann.get(f"{root}/extend").text
    assert ann.send_form(f"{root}/extend").status_code == 409
    assert "end of the queue" in ann.get(f"mine/queue/{place.ticket.id}/leave").text
    assert ann.send_form(f"mine/queue/{place.ticket.id}/leave").status_code == 303
    assert "As long as I may" in ann.get(f"{root}/extend").text
    assert ann.send_form(f"{root}/extend", hours="2").status_code == 303
    assert world.office.lease(lease.lease.id).ends_at == NOW + 6 * HOUR
    assert ann.send_form(f"{root}/extend", hours="nan").status_code == 422
    assert 'value="stop"' in ann.get(f"{root}/release").text
    assert ann.send_form(f"{root}/release", at_end="stop").status_code == 303
    assert world.office.lease(lease.lease.id).ending == "released"


def test_leases_before_come_in_pages(world: ConsoleStand, ann: Visitor) -> None:
    assert "Default server" not in ann.get("mine/leases").text
    assert "default server" in ann.get("mine/leases").text
    assert ann.get("mine/leases?cursor=x").status_code == 400


# --- what is free -------------------------------------------------------------------------------------------------


def test_what_is_free_and_whose_class_has_the_rest(world: ConsoleStand) -> None:
    world.office.reserve("ml", NOW + 10 * HOUR, NOW + 12 * HOUR, "SIM-local-0")
    answer = world.as_user("eva").get("api/v1/availability", params={"hours": 24}).json()
    [kind] = answer["kinds"]
    steps = [(step["at"], step["free"], step["leased"], step["reserved"]) for step in kind["steps"]]
    assert steps == [
        ("2027-03-01T12:00:00Z", 0, 2, 0),
        ("2027-03-01T14:02:00Z", 1, 1, 0),
        ("2027-03-01T16:02:00Z", 2, 0, 0),
        ("2027-03-01T22:00:00Z", 1, 0, 1),
        ("2027-03-02T00:00:00Z", 2, 0, 0),
    ]
    assert (kind["waiting"], kind["next_free"]) == (1, "2027-03-01T14:02:00Z")
    assert [one["course"] for one in kind["reserved"]] == [""]
    for knows in (world.as_admin(), world.as_instructor(), world.as_user("mia", ["ml"])):
        [kind] = knows.get("api/v1/availability").json()["kinds"]
        assert [one["course"] for one in kind["reserved"]] == ["ml"]
    assert world.as_user("eva").get("api/v1/availability", params={"model": "no such"}).json()["kinds"] == []


def test_the_page_of_what_is_free(world: ConsoleStand) -> None:
    world.office.reserve("ml", NOW + 10 * HOUR, NOW + 12 * HOUR, "SIM-local-0")
    page = world.signed_in("eva").get("free").text
    for told in ("of 2 free now", "1 server waits", "reserved for", "a class", "Whole GPU"):
        assert told in page, told
    assert "<bdi>ml</bdi>" not in page
    assert "<bdi>ml</bdi>" in world.signed_in("mia", ["ml"]).get("free").text
    world.office.give("user", "eva", "models", "A100")
    assert "Not in your quota" in world.signed_in("eva").get("free").text


def test_a_hub_without_gpus_says_what_to_check(console: ConsoleStand) -> None:
    assert "This hub has no GPUs" in console.signed_in("ann").get("free").text
