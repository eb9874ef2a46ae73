"""Leases, queue, use and audit: through the API and on their pages; what is written, and what is refused."""

import csv
import io
import json
import re
from datetime import timedelta
from typing import Any

import pytest

from spawner.ledger import AuditEntry
from spawner.operations import ends
from spawner.policy.leases import Lease

from ..support.console import ConsoleStand, Visitor
from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus

H = 3_600_000
HOSTILE = "<script>alert(1)</script>"


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.fixture
def busy(console: ConsoleStand) -> ConsoleStand:
    """Ann has had two T4 for four hours, idle for the last two of them; Bob an A100, and Eve and Fay wait for one."""
    office = console.office
    office.clock.now = NOW - 4 * HOUR
    office.fit(gpus(2, model="T4"), gpus(1, model="A100", first=2))
    ann = office.running("ann", 2, 24, groups=frozenset({"lab"}), models=frozenset({"T4"}))
    office.running("bob", 1, 24, models=frozenset({"A100"}))
    for user in ("eve", "fay"):
        office.queued(user, 1, 4, models=frozenset({"A100"}))
    office.wait(2 * HOUR)
    ends.note_idle(office.desk, office.lease(ann.id), office.clock.now)
    office.wait(2 * HOUR)
    return console


def lease_of(visitor: Visitor, user: str) -> dict[str, Any]:
    [found] = visitor.get("api/v1/leases", params={"user": user}).json()["items"]
    return found  # type: ignore[no-any-return]


# --- the API ------------------------------------------------------------------------------------------------------


def test_who_hoards(busy: ConsoleStand) -> None:
    told = busy.as_admin().get("api/v1/leases/idle").json()
    assert told["idle_ms"] == 4 * H
    [row] = told["items"]
    assert (row["user"], row["models"], row["idle_since"]) == ("ann", ["T4", "T4"], "2027-03-01T10:00:00Z")
    assert (row["gpu_ms"], row["idle_ms"], row["gpu_hours"]) == (8 * H, 4 * H, 8.0)


def test_leases_in_pages(busy: ConsoleStand) -> None:
    olga = busy.as_admin()
    first = olga.get("api/v1/leases", params={"limit": 1}).json()
    second = olga.get("api/v1/leases", params={"limit": 1, "cursor": first["next"]}).json()
    assert sorted(row["user"] for row in first["items"] + second["items"]) == ["ann", "bob"]
    assert second["next"] is None
    for asked, users in [
        ({"model": "A100"}, ["bob"]),
        ({"state": "pending"}, []),
        ({"open": "false"}, []),
        ({"since": NOW.isoformat()}, ["ann", "bob"]),
        ({"until": "2027-02-01T00:00:00Z"}, []),
    ]:
        assert sorted(row["user"] for row in olga.get("api/v1/leases", params=asked).json()["items"]) == users
    assert code(olga.get("api/v1/leases", params={"cursor": "x"})) == (400, "invalid_cursor")
    assert code(olga.get("api/v1/leases/nope")) == (404, "unknown_name")


def test_a_lease_is_ended_by_who_has_seen_it(busy: ConsoleStand) -> None:
    olga = busy.as_admin()
    lease = lease_of(olga, "ann")["id"]
    path = f"api/v1/leases/{lease}"
    seen = olga.get(path).headers["ETag"]
    ending = {"why": "  others   wait ", "notice_minutes": 15}
    assert code(olga.post(f"{path}/end", json=ending)) == (428, "version_needed")
    extended = olga.post(f"{path}/extend", json={"why": "thesis", "hours": 1}, headers={"If-Match": seen})
    assert extended.status_code == 200, extended.text
    stale = olga.post(f"{path}/end", json=ending, headers={"If-Match": seen})
    assert code(stale) == (412, "changed_meanwhile")
    assert busy.office.lease(lease).ending == ""
    ended = olga.post(f"{path}/end", json=ending, headers={"If-Match": extended.headers["ETag"]})
    assert ended.status_code == 200
    assert ended.json()["ending"] == "ended_by_admin"
    assert busy.office.lease(lease).ends_at == busy.office.clock.now + 15 * MINUTE
    done = [(entry.actor, entry.action, entry.why) for entry in busy.office.audit()]
    assert done == [("olga", "lease.extend", "thesis"), ("olga", "lease.end", "others wait")]
    listed = olga.get("api/v1/audit", params={"subject": f"lease {lease}"}).json()["items"]
    assert [row["action"] for row in listed] == ["lease.end", "lease.extend"]


@pytest.mark.parametrize("body", [{}, {"why": " "}, {"why": "x\0"}, {"why": "x", "notice_minutes": -1}])
def test_an_end_without_a_reason_is_none(busy: ConsoleStand, body: dict[str, object]) -> None:
    olga = busy.as_admin()
    lease = lease_of(olga, "ann")["id"]
    answer = olga.post(f"api/v1/leases/{lease}/end", json=body, headers={"If-Match": "*"})
    assert code(answer) == (422, "invalid_request")
    assert busy.office.lease(lease).ending == ""


def test_the_queue_is_changed(busy: ConsoleStand) -> None:
    olga = busy.as_admin()
    first, second = olga.get("api/v1/queue").json()["items"]
    assert (first["user"], first["position"], first["models"], first["state"]) == ("eve", 1, ["A100"], "waiting")
    assert first["eta"] is not None
    moved = olga.post(f"api/v1/queue/{second['ticket']}/move-up", json={"why": "a deadline"})
    assert moved.json()["moved_up"] == 1
    assert [row["user"] for row in olga.get("api/v1/queue").json()["items"]] == ["fay", "eve"]
    assert olga.delete(f"api/v1/queue/{first['ticket']}", params={"why": "gone"}).status_code == 204
    assert [row["user"] for row in olga.get("api/v1/queue").json()["items"]] == ["fay"]
    assert code(olga.delete(f"api/v1/queue/{first['ticket']}", params={"why": "gone"})) == (404, "unknown_name")
    assert [entry.action for entry in busy.office.audit()] == ["ticket.move_up", "ticket.drop"]


def test_use_and_waste(busy: ConsoleStand) -> None:
    olga = busy.as_admin()
    told = olga.get("api/v1/usage", params={"by": "user"}).json()
    assert [(row["key"], row["gpu_ms"], row["idle_ms"]) for row in told["rows"]] == [
        ("ann", 8 * H, 4 * H),
        ("bob", 4 * H, 0),
    ]
    assert told["total"]["gpu_hours"] == 12.0
    busy.office.stop(_lease(busy.office, "ann"))
    days = olga.get("api/v1/usage", params={"by": "day", "zone": "Pacific/Auckland"}).json()["rows"]
    # It is 01:00 of the next day there.
    assert [(row["key"], row["gpu_ms"]) for row in days] == [("2027-03-01", 9 * H), ("2027-03-02", 3 * H)]
    wasted = olga.get("api/v1/usage", params={"by": "model", "sort": "idle", "limit": 1}).json()
    assert ([row["key"] for row in wasted["rows"]], wasted["left_out"]) == (["T4"], 1)
    assert olga.get("api/v1/usage", params={"group": "lab"}).json()["total"]["booked_ms"] == 8 * H


def _lease(office: Office, user: str) -> Lease:
    with office.ledger.reading() as books:
        [found] = [lease for lease in books.leases.open() if lease.user == user]
    return found


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"zone": "Mars/Base"}, (422, "unknown_zone")),
        ({"zone": "../../etc/passwd"}, (422, "unknown_zone")),
        ({"since": "2027-03-02T00:00:00Z", "until": "2027-03-01T00:00:00Z"}, (422, "invalid_range")),
        ({"since": "2020-03-02T00:00:00Z", "until": "2027-03-01T00:00:00Z"}, (422, "invalid_range")),
        ({"since": "0001-01-01T00:00:00+14:00"}, (422, "invalid_request")),
        ({"since": "2027-03-01T00:00:00"}, (422, "invalid_request")),
        ({"by": "colour"}, (422, "invalid_request")),
        ({"user": "a\0"}, (422, "invalid_request")),
    ],
)
def test_what_is_no_range(busy: ConsoleStand, asked: dict[str, str], told: tuple[int, str]) -> None:
    olga = busy.as_admin()
    assert code(olga.get("api/v1/usage", params=asked)) == told
    assert code(olga.get("api/v1/usage/export", params=asked)) == told


def test_the_week(busy: ConsoleStand) -> None:
    told = busy.as_admin().get("api/v1/usage/week", params={"zone": "Europe/Berlin"}).json()
    assert told["begin"] == "2027-02-28T23:00:00Z"
    assert told["hours"][0] == [0] * 9 + [3 * H] * 4 + [0] * 11  # 09:00 to 13:00 there
    assert told["total_ms"] == 12 * H


def test_tables_for_spreadsheets(busy: ConsoleStand) -> None:
    office, olga = busy.office, busy.as_admin()
    with office.ledger.transaction() as books:
        books.audit.append(AuditEntry(NOW, "=cmd()", "gpu.drain", "gpu:+1", {"a": 1}, None, "-2, \"so\"\n'x'"))
    answer = olga.get("api/v1/audit/export")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert 'filename="berth-audit-2027-03-01.csv"' in answer.headers["Content-Disposition"]
    [row] = csv.DictReader(io.StringIO(answer.text))
    assert (row["actor"], row["subject"], row["why"]) == ("'=cmd()", "gpu:+1", "'-2, \"so\"\n'x'")
    assert (json.loads(row["before"]), row["after"]) == ({"a": 1}, "")
    assert list(csv.DictReader(io.StringIO(olga.get("api/v1/audit/export?actor=eve").text))) == []
    used = list(csv.DictReader(io.StringIO(olga.get("api/v1/usage/export?by=user&sort=key").text)))
    assert [(row["user"], int(row["gpu_ms"]), row["idle_hours"]) for row in used] == [
        ("ann", 8 * H, "4.000"),
        ("bob", 4 * H, "0.000"),
    ]


def test_times_in_audit_are_the_readers(busy: ConsoleStand) -> None:
    with busy.office.ledger.transaction() as books:
        told = {"ends_at": "2027-03-02T02:00:34.507000+00:00", "until": "never", "seen_at": "2027-03-02T02:00:34"}
        books.audit.append(AuditEntry(NOW, "otto", "lease.end", "lease 7", told, None, "others wait"))
    page = busy.signed_in_admin().get("audit?subject=lease+7").text
    assert '<time datetime="2027-03-02T02:00:34Z" data-form="short">2 Mar, 02:00 UTC</time>' in page
    assert "<bdi>never</bdi>" in page
    assert "<bdi>2027-03-02T02:00:34</bdi>" in page  # of no zone: shown as it is


def test_audit_in_pages(busy: ConsoleStand) -> None:
    olga = busy.as_admin()
    for number in range(3):
        busy.office.give("user", f"u{number}", "gpus", number + 1)
    first = olga.get("api/v1/audit", params={"limit": 2, "action": "quota"}).json()
    assert [row["after"]["value"] for row in first["items"]] == ["3", "2"]
    second = olga.get("api/v1/audit", params={"cursor": first["next"], "action": "quota"}).json()
    assert [row["after"]["value"] for row in second["items"]] == ["1"]
    assert olga.get("api/v1/audit", params={"text": "U1"}).json()["items"][0]["after"]["value"] == "2"
    assert olga.get("api/v1/audit", params={"until": NOW.isoformat()}).json()["items"] == []


# --- the pages ----------------------------------------------------------------------------------------------------


def field(text: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', text)
    assert found is not None
    return found[1].replace("&#34;", '"')


def test_a_lease_is_ended_on_its_page(busy: ConsoleStand) -> None:
    olga = busy.signed_in_admin()
    lease = _lease(busy.office, "ann")
    listed = olga.get("leases").text
    assert "Held, but idle now" in listed
    assert f"leases/{lease.id}/end" in listed
    asked = olga.get(f"leases/{lease.id}/end").text
    assert "End the lease of ann?" in asked
    version = field(asked, "version")
    ended = olga.send_form(f"leases/{lease.id}/end", version=version, why="others wait", notice="60")
    assert (ended.status_code, ended.headers["Location"]) == (303, f"/services/console/leases/{lease.id}")
    after = olga.get(f"leases/{lease.id}").text
    assert "The lease of ann ends in an hour; its user is told." in after
    assert "others wait" in after
    assert busy.office.lease(lease.id).ends_at == busy.office.clock.now + HOUR
    # The same form once more, as from a second window: it has changed since.
    again = olga.send_form(f"leases/{lease.id}/end", version=version, why="others wait")
    assert again.status_code == 412
    assert "Somebody has changed this lease meanwhile" in again.text
    assert 'value="others wait"' in again.text
    assert busy.office.lease(lease.id).ends_at == busy.office.clock.now + HOUR


def test_a_lease_is_extended_on_its_page(busy: ConsoleStand) -> None:
    olga = busy.signed_in_admin()
    lease = _lease(busy.office, "ann")
    path = f"leases/{lease.id}/extend"
    version = field(olga.get(path).text, "version")
    wrong = olga.send_form(path, version=version, why="thesis", hours="many")
    assert (wrong.status_code, "Hours are a number above 0" in wrong.text) == (422, True)
    assert olga.send_form(path, version=version, why="thesis", hours="1,5").status_code == 303
    assert busy.office.lease(lease.id).ends_at == lease.ends_at + timedelta(hours=1.5)
    other = _lease(busy.office, "bob")  # for whose GPU others wait
    path = f"leases/{other.id}/extend"
    refused = olga.send_form(path, version=field(olga.get(path).text, "version"), why="thesis")
    assert refused.status_code == 409
    assert busy.office.lease(other.id) == other


def test_the_queue_on_its_page(busy: ConsoleStand) -> None:
    olga = busy.signed_in_admin()
    listed = olga.get("leases/queue").text
    first, second = re.findall(r"queue/(\w+)/drop", listed)
    assert "Then comes eve" in olga.get(f"leases/queue/{second}/up").text
    assert olga.send_form(f"leases/queue/{second}/up", why="a deadline").status_code == 303
    assert "fay is next." in olga.get("leases/queue").text
    assert "would have to ask again" in olga.get(f"leases/queue/{first}/drop").text
    assert olga.send_form(f"leases/queue/{first}/drop", why="left us").status_code == 303
    assert re.findall(r"queue/(\w+)/drop", olga.get("leases/queue").text) == [second]
    assert olga.get(f"leases/queue/{first}/drop").status_code == 404
    assert olga.send_form(f"leases/queue/{second}/drop", why=" ").status_code == 422


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("usage", ["GPU-hours a day", "ann", "12.0"]),
        ("usage?by=group", ["(no group)", "lab"]),
        ("usage?by=day&user=ann", ["Mon, 1 Mar 2027", "8.0"]),
        ("usage?days=365&by=model", ["GPU-hours in seven days each", "A100"]),
        ("usage?first=2027-01-01&last=2027-01-31", ["No GPU was leased in this time"]),
        ("usage/waste", ["GPU-hours wasted", "4.0", "Idle now"]),
        ("usage/waste?user=bob", ["Nothing was wasted in this time"]),
        ("usage/week", ["GPU-hours leased in each hour", "Monday, 08:00"]),
        ("usage/week?day=2027-01-01", ["No GPU was leased in this week", "28 Dec", "3 Jan 2027"]),
        ("audit", ["Nothing was done yet"]),
        ("audit?actor=eve", ["Nothing like that was done"]),
        ("leases?user=zoe", ["No lease is like that"]),
    ],
)
def test_what_pages_show(busy: ConsoleStand, path: str, words: list[str]) -> None:
    answer = busy.signed_in_admin().get(path)
    assert answer.status_code == 200
    for word in words:
        assert word in answer.text, word


@pytest.mark.parametrize("path", ["leases", "leases/queue", "usage", "usage/waste", "usage/week", "audit"])
def test_where_there_is_nothing_pages_teach(console: ConsoleStand, path: str) -> None:
    assert 'class="empty"' in console.signed_in_admin().get(path).text


def test_more_than_a_page(console: ConsoleStand) -> None:
    office, olga = console.office, console.signed_in_admin()
    office.fit(gpus(1))
    for number in range(52):
        office.stop(office.running("ann", server=f"s{number}"))
        office.give("user", "ann", "priority", number)
    for path in ("leases?shown=all", "audit"):
        first = olga.get(path).text
        following = re.search(r'href="([^"]*)" rel="next"', first)
        assert following is not None
        second = olga.get(following[1].replace("&amp;", "&").removeprefix("/services/console/")).text
        assert second.count("<tr") == 1 + 2  # a head, and the two that are left
        assert 'rel="next"' not in second


def test_hostile_words_stay_words(console: ConsoleStand) -> None:
    office, olga = console.office, console.signed_in_admin()
    office.fit(gpus(1, model=HOSTILE))
    lease = office.running(HOSTILE, groups=frozenset({HOSTILE}), server=HOSTILE)
    office.queued(HOSTILE, server="b", models=frozenset({HOSTILE}))
    office.wait(HOUR)
    with office.ledger.transaction() as books:
        books.audit.append(AuditEntry(NOW, HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, HOSTILE, HOSTILE))
    for path in ("leases", f"leases/{lease.id}", f"leases/{lease.id}/end", "leases/queue", "audit"):
        text = olga.get(path).text
        assert HOSTILE not in text
        assert "&lt;script&gt;alert(1)" in text, path
    for by in ("user", "group", "model"):
        assert HOSTILE not in olga.get(f"usage?by={by}").text


def test_who_may_only_read_is_offered_nothing_else(busy: ConsoleStand) -> None:
    rita = busy.signed_in("rita", scopes=["custom:berth:read"])
    lease = _lease(busy.office, "ann")
    for path in ("leases", "leases/queue", f"leases/{lease.id}"):
        text = rita.get(path).text
        assert "/end" not in text
        assert "/up" not in text
        assert "/drop" not in text
    assert rita.get(f"leases/{lease.id}/end").status_code == 403
    assert rita.send_form(f"leases/{lease.id}/end", why="x").status_code == 403


def test_a_long_queue_shows_who_is_next(busy: ConsoleStand) -> None:
    for number in range(120):
        busy.office.queued(f"w{number}")
    olga = busy.signed_in_admin()
    short, whole = olga.get("leases/queue").text, olga.get("leases/queue?shown=all").text
    assert (short.count("/drop"), whole.count("/drop")) == (100, 122)  # eve and fay among them
    assert "Show all 122" in short
    assert "Show all" not in whole
