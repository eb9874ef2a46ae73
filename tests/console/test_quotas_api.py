"""Quotas through the API: set, taken back, previewed, imported, explained; who comes second is told."""

from typing import Any

import pytest

from spawner.console.scopes import Scope
from spawner.operations import quotas

from ..support.console import ConsoleStand, Visitor
from ..support.office import HOUR, NOW
from ..support.slots import gpus

GPUS = "api/v1/quotas/user/ann/gpus"
NEW = {"If-None-Match": "*"}


def put(visitor: Visitor, path: str, value: object, headers: dict[str, str], why: str = "a test", **more: Any) -> Any:
    return visitor.put(path, json={"value": value, "why": why, **more}, headers=headers)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(
    "path",
    [
        GPUS,
        "api/v1/quotas/default/gpus",
        "api/v1/quotas/group/%2Fstaff%2Fai/gpus",
        "api/v1/quotas/user/a%20%3Cb%3E/gpus",
    ],
)
def test_set_read_replaced_and_taken_back(console: ConsoleStand, path: str) -> None:
    olga = console.as_admin()
    assert code(olga.get(path)) == (404, "not_set")
    made = put(olga, path, 2, NEW, until="2027-03-02T13:00:00+01:00")
    assert made.status_code == 200, made.text
    model = made.json()
    assert (model["value"], model["text"], model["until"]) == (2, "2", "2027-03-02T12:00:00Z")
    assert (model["by"], model["why"], model["over"]) == ("olga", "a test", False)
    read = olga.get(path)
    assert read.json() == model
    assert read.headers["ETag"] == made.headers["ETag"] == f'"{model["version"]}"'
    [grant] = quotas.all_grants(console.office.desk)
    assert (grant.value, grant.by) == (2, "olga")
    again = put(olga, path, "3", {"If-Match": read.headers["ETag"]})
    assert again.json()["value"] == 3
    assert olga.delete(path, params={"why": "enough"}, headers={"If-Match": again.headers["ETag"]}).status_code == 204
    assert code(olga.delete(path, params={"why": "enough"}, headers={"If-Match": "*"})) == (404, "not_set")
    assert [entry.action for entry in console.office.audit()] == ["quota.set", "quota.set", "quota.unset"]


def test_who_comes_second_is_told_and_nothing_is_lost(console: ConsoleStand) -> None:
    olga, petra = console.as_admin(), console.as_admin("petra")
    put(olga, GPUS, 2, NEW)
    seen = {"If-Match": olga.get(GPUS).headers["ETag"]}
    assert put(petra, GPUS, 4, seen, why="a deadline").status_code == 200
    for answer in (
        put(olga, GPUS, 1, seen),
        put(olga, GPUS, 1, NEW),
        olga.delete(GPUS, params={"why": "x"}, headers=seen),
    ):
        assert code(answer) == (412, "quota_changed")
        assert "petra has set user ann gpus to 4" in answer.json()["detail"]
        assert answer.json()["current"]["value"] == 4
        assert answer.json()["current"]["why"] == "a deadline"
        assert answer.headers["ETag"] == olga.get(GPUS).headers["ETag"]
    assert put(olga, GPUS, 1, {"If-Match": answer.headers["ETag"]}).json()["value"] == 1
    assert put(olga, GPUS, 6, {"If-Match": "*"}).json()["value"] == 6
    assert code(put(olga, "api/v1/quotas/user/bob/gpus", 6, {"If-Match": "*"})) == (412, "quota_changed")
    assert code(put(olga, GPUS, 6, {})) == (428, "version_needed")
    assert code(olga.delete(GPUS, params={"why": "x"})) == (428, "version_needed")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("api/v1/quotas/user/ann/tpus", {"value": 1}, 404),
        ("api/v1/quotas/team/ann/gpus", {"value": 1}, 422),
        ("api/v1/quotas/group//gpus", {"value": 1}, 404),
        (GPUS, {"value": -1}, 422),
        (GPUS, {"value": True}, 422),
        (GPUS, {"value": None}, 422),
        (GPUS, {"value": 1, "until": "2027-03-01T12:00:00Z"}, 422),
        (GPUS, {"value": 1, "until": "2027-03-03T12:00:00"}, 422),
        (GPUS, {"value": 1, "until": "9999-12-31T23:59:59-12:00"}, 422),
        (GPUS, {"value": 1, "why": " "}, 422),
        (GPUS, {"value": 1, "why": "a\u202eb"}, 422),
        ("api/v1/quotas/user/ann/models", {"value": []}, 200),
        ("api/v1/quotas/user/ann/home", {"value": "200 GiB"}, 200),
    ],
)
def test_values(console: ConsoleStand, path: str, body: dict[str, object], status: int) -> None:
    answer = console.as_admin().put(path, json={"why": "a test", **body}, headers=NEW)
    assert answer.status_code == status, answer.text
    assert len(quotas.all_grants(console.office.desk)) == (status == 200)


def test_listed_filtered_in_parts(console: ConsoleStand) -> None:
    olga = console.as_admin()
    console.office.give("user", "ann", "gpus", 2)
    console.office.give("user", "ann", "models", "none", NOW + HOUR)
    console.office.give("group", "lab", "cpu", 1.5)
    console.office.give("default", "", "home", "unlimited")
    whole = olga.get("api/v1/quotas")
    assert [(one["subject"], one["name"], one["value"]) for one in whole.json()["items"]] == [
        ("default", "", "unlimited"),
        ("group", "lab", 1.5),
        ("user", "ann", 2),
        ("user", "ann", []),
    ]
    assert whole.headers["ETag"] == f'"{quotas.all_set(console.office.desk).version}"'
    parts, cursor = [], None
    while True:
        part = olga.get("api/v1/quotas", params={"limit": 1, **({"cursor": cursor} if cursor else {})}).json()
        parts += part["items"]
        cursor = part["next"]
        if cursor is None:
            break
    assert parts == whole.json()["items"]
    for query, count in (
        ("subject=user", 2),
        ("name=ann&dimension=gpus", 1),
        ("temporary=true", 1),
        ("search=LAB olga", 1),
        ("search=nothing", 0),
    ):
        assert len(olga.get(f"api/v1/quotas?{query}").json()["items"]) == count, query
    assert code(olga.get("api/v1/quotas?cursor=made-up")) == (400, "invalid_cursor")


def test_the_table(console: ConsoleStand) -> None:
    for number in range(3):
        console.hub.add_user(f"user{number}", ["lab"])
    console.office.give("group", "lab", "gpus", 2)
    olga = console.as_admin()
    rows = olga.get("api/v1/quotas/table").json()["items"]
    assert [(row["subject"], row["name"], row["known"]) for row in rows] == [
        ("default", "", True),
        ("group", "lab", True),
    ]
    page = olga.get("api/v1/quotas/table?everyone=true&subject=user&search=user&limit=2").json()
    assert [row["name"] for row in page["items"]] == ["user0", "user1"]
    cell = next(cell for cell in page["items"][0]["cells"] if cell["dimension"] == "gpus")
    assert (cell["setting"], cell["grant"], cell["effective"]["value"], cell["effective_from"]) == (
        None,
        None,
        2,
        "group lab",
    )
    rest = olga.get(f"api/v1/quotas/table?everyone=true&subject=user&search=user&cursor={page['next']}").json()
    assert [row["name"] for row in rest["items"]] == ["user2"]
    assert rest["next"] is None


def test_a_preview_names_people_leases_and_tickets(console: ConsoleStand) -> None:
    office = console.office
    office.fit(gpus(2))
    for name in ("ann", "bob"):
        console.hub.add_user(name, ["lab"])
    lease = office.running("ann", 2, 8, groups=frozenset({"lab"}))
    ticket = office.queued("bob", 2, groups=frozenset({"lab"}))
    before = office.tables()
    changes = [
        {"subject": "group", "name": "lab", "dimension": "gpu_hours", "value": 4},
        {"subject": "group", "name": "lab", "dimension": "gpus", "value": 1},
        {"subject": "user", "name": "zoe", "dimension": "cpu", "value": None},
    ]
    answer = console.as_admin().post("api/v1/quotas/preview?limit=1", json={"changes": changes})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [(one["before"], one["after"]["value"]) for one in told["changes"]] == [(None, 4), (None, 1)]
    assert (told["people_known"], told["people_total"], len(told["people"])) == (True, 2, 1)
    assert [
        (one["dimension"], one["before"]["text"], one["after"]["value"]) for one in told["people"][0]["shifts"]
    ] == [
        ("gpus", "4", 1),
        ("gpu_hours", "unlimited", 4),
    ]
    [touched] = told["leases"]
    assert (touched["lease"], touched["effects"]) == (lease.id, ["shortened", "too_many"])
    assert touched["new_ends_at"] == "2027-03-01T14:00:00Z"
    [waiting] = told["tickets"]
    assert (waiting["ticket"], waiting["effect"], waiting["code"]) == (ticket.id, "never", "over_limit")
    assert office.tables() == before
    console.hub.away = True
    bad = {"changes": [{"subject": "user", "name": "", "dimension": "gpus", "value": 1}]}
    assert console.as_admin().post("api/v1/quotas/preview", json=bad).status_code == 503


def test_a_file_in_and_out(console: ConsoleStand) -> None:
    office, olga = console.office, console.as_admin()
    console.hub.add_user("zoe")
    office.give("user", "zoe", "gpus", 8)
    office.give("user", "old", "gpus", 8, NOW + HOUR)
    office.wait(2 * HOUR)
    exported = olga.get("api/v1/quotas/export?format=csv")
    assert exported.text == "subject,name,dimension,value,until,why\nuser,zoe,gpus,8,,a test\n"
    assert exported.headers["Content-Disposition"] == 'attachment; filename="quotas.csv"'
    yaml = b"default:\n  gpus: 1\nusers:\n  zoe:\n    gpus: {value: 2, why: less}\n"
    as_yaml = {"Content-Type": "application/yaml"}
    written = office.tables()
    dry = olga.post("api/v1/quotas/import?dry_run=true", content=yaml, headers=as_yaml)
    assert dry.status_code == 200, dry.text
    assert (dry.json()["done"], len(dry.json()["changes"])) == (False, 3)
    assert [one["user"] for one in dry.json()["preview"]["people"]] == ["olga", "zoe"]
    assert office.tables() == written
    assert code(olga.post("api/v1/quotas/import", content=yaml, headers=as_yaml)) == (428, "version_needed")
    seen = {**as_yaml, "If-Match": dry.headers["ETag"]}
    office.give("user", "bob", "gpus", 1)
    late = olga.post("api/v1/quotas/import?why=new+term", content=yaml, headers=seen)
    assert code(late) == (412, "quota_changed")
    assert "olga has set user bob gpus to 1" in late.json()["detail"]
    added = olga.post(
        "api/v1/quotas/import?why=new+term&keep_others=true", content=yaml, headers={**as_yaml, "If-Match": "*"}
    )
    assert added.json()["done"] is True
    reasons = {(one.name, one.dimension): one.why for one in quotas.all_grants(office.desk)}
    assert reasons == {
        ("", "gpus"): "new term",
        ("bob", "gpus"): "a test",
        ("old", "gpus"): "a test",
        ("zoe", "gpus"): "less",
    }
    mistakes = olga.post(
        "api/v1/quotas/import?dry_run=true", content=b"subject,name\n", headers={"Content-Type": "text/csv"}
    )
    assert code(mistakes) == (422, "quota_invalid")
    assert "the file, line 1" in mistakes.json()["detail"]
    assert olga.post("api/v1/quotas/import", json={}).status_code == 415


def test_why(console: ConsoleStand) -> None:
    office = console.office
    office.fit(gpus(1))
    office.give("group", "lab", "gpus", 2, NOW + HOUR)
    office.give("group", "staff", "gpus", 6)
    office.give("default", "", "gpu_hours", 10)
    office.running("ann", groups=frozenset({"lab"}))
    office.wait(HOUR / 2)
    ann, olga = console.as_user("ann", ["lab"]), console.as_admin()
    told = olga.get("api/v1/users/ann/quota").json()
    values = {one["dimension"]: one for one in told["quota"]}
    assert (values["gpus"]["value"], values["gpus"]["source"], values["gpus"]["set_in"]) == (2, "group lab", "ledger")
    assert (values["gpus"]["by"], values["gpus"]["why"], values["gpus"]["until"]) == (
        "olga",
        "a test",
        "2027-03-01T13:00:00Z",
    )
    assert (values["cpu"]["set_in"], told["groups"], told["gpus_held"]) == ("settings", ["lab"], 1)
    assert (told["limit_gpu_ms"], told["used_gpu_ms"], told["committed_gpu_ms"]) == (36_000_000, 1_800_000, 12_600_000)
    assert told["left_gpu_ms"] == 21_600_000
    own = ann.get("api/v1/users/ann/quota").json()
    hidden = {one["dimension"]: one for one in own["quota"]}["gpus"]
    assert (hidden["value"], hidden["until"], hidden["by"], hidden["why"]) == (2, "2027-03-01T13:00:00Z", "", "")
    assert code(ann.get("api/v1/users/olga/quota")) == (403, "scope_missing")
    assert code(ann.get("api/v1/users/ann/quota?group=staff")) == (403, "scope_missing")
    assert code(olga.get("api/v1/users/nobody/quota")) == (404, "unknown_name")
    other = olga.get("api/v1/users/ann/quota?group=staff&group=lab").json()
    assert {one["dimension"]: one["value"] for one in other["quota"]}["gpus"] == 6
    assert code(console.as_user("ann", scopes=[]).get("api/v1/users/ann/quota")) == (403, "scope_missing")


def test_without_the_hub_quotas_are_set_all_the_same(console: ConsoleStand) -> None:
    """Who comes must be known, but not who else there is."""
    olga = console.as_admin()
    console.hub.says("GET", "users", 500, {"message": "no"})
    plan = {"changes": [{"subject": "default", "dimension": "gpus", "value": 1}]}
    told = olga.post("api/v1/quotas/preview", json=plan).json()
    assert (told["people_known"], told["people_total"]) == (False, 0)
    assert put(olga, "api/v1/quotas/default/gpus", 1, NEW).status_code == 200
    assert olga.get("api/v1/quotas/table").status_code == 200


def test_setting_takes_its_scope(console: ConsoleStand) -> None:
    reader = console.as_user("rita", scopes=[Scope.READ])
    assert reader.get("api/v1/quotas").status_code == 200
    assert code(put(reader, GPUS, 1, NEW)) == (403, "scope_missing")
    assert put(console.as_service("cron", [Scope.QUOTAS]), GPUS, 1, NEW).json()["by"] == "cron"
