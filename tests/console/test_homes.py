"""Homes through the API and on pages."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from spawner.console.scopes import Scope
from spawner.operations import home_work as work
from spawner.operations import homes
from spawner.policy.homes import HomeState

from ..support.console import ConsoleStand, Visitor
from ..support.office import HOUR, NOW, Office

DAY = timedelta(days=1)
HOSTILE = '<b>eve</b>"\u202e'


@pytest.fixture
def office_with_homes(office: Office) -> Office:
    """An office with three homes: ann's large and old, bob's in use, and one of a name that means no good."""
    seen = [
        work.SeenVolume("v-ann", "ann", NOW - 100 * DAY, in_use=False),
        work.SeenVolume("v-bob", "bob", NOW - 2 * DAY, in_use=True),
        work.SeenVolume("v-eve", HOSTILE, NOW - DAY, in_use=False),
    ]
    work.take_over(office.desk, seen, "v-", NOW)
    for name, size in (("ann", 5 << 30), ("bob", 1 << 20), ("eve", 3 << 30)):
        work.note_size(office.desk, f"v-{name}", size, None)
    return office


@pytest.fixture
def admin(console: ConsoleStand, office_with_homes: Office) -> Visitor:
    return console.as_admin()


@pytest.fixture
def browser(console: ConsoleStand, office_with_homes: Office) -> Visitor:
    return console.signed_in_admin()


def owners(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [home["owner"] for home in answer.json()["items"]]


def wish(visitor: Visitor, volume: str, verb: str, **body: Any) -> httpx2.Response:
    etag = visitor.get(f"api/v1/homes/{volume}").headers["ETag"]
    answer: httpx2.Response = visitor.post(
        f"api/v1/homes/{volume}/{verb}", json={"why": "a test", **body}, headers={"If-Match": etag}
    )
    return answer


def problem(answer: httpx2.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return str(answer.json()["detail"])


# --- the API ------------------------------------------------------------------------------------------------------


def test_the_list_is_filtered_sorted_and_paged(admin: Visitor) -> None:
    assert owners(admin.get("api/v1/homes?sort=size&descending=true")) == ["ann", HOSTILE, "bob"]
    assert owners(admin.get("api/v1/homes?sort=last_used")) == ["ann", HOSTILE, "bob"]
    assert owners(admin.get("api/v1/homes?search=NN")) == ["ann"]
    assert owners(admin.get("api/v1/homes?unused_days=90")) == ["ann"]
    assert owners(admin.get("api/v1/homes?state=archived&state=deleted")) == []
    assert owners(admin.get("api/v1/homes?gone=true")) == owners(admin.get("api/v1/homes?failed=true")) == []
    for sort in ("owner", "size", "last_used"):
        found, cursor = [], ""
        while True:
            page = admin.get(f"api/v1/homes?limit=1&sort={sort}{cursor}")
            found += owners(page)
            if page.json()["next"] is None:
                break
            cursor = f"&cursor={page.json()['next']}"
        assert found == owners(admin.get(f"api/v1/homes?sort={sort}"))
    other = admin.get("api/v1/homes?limit=1&sort=size").json()["next"]
    problem(admin.get(f"api/v1/homes?sort=owner&cursor={other}"), 400, "invalid_cursor")


def test_numbers(admin: Visitor) -> None:
    told = admin.get("api/v1/homes/summary").json()
    total = (5 << 30) + (1 << 20) + (3 << 30)
    states = [{"state": "present", "count": 3, "bytes": total, "archive_bytes": 0}]
    assert told == {"count": 3, "bytes": total, "archive_bytes": 0, "states": states}


def test_archived_and_restored(admin: Visitor, office: Office) -> None:
    answer = wish(admin, "v-ann", "archive")
    assert answer.status_code == 202
    told = answer.json()
    assert (told["state"], told["asked_by"], told["why"], told["wishes"]) == ("archiving", "olga", "a test", ["cancel"])
    assert answer.headers["ETag"] == admin.get("api/v1/homes/v-ann").headers["ETag"]
    desk = office.desk
    assert work.claim(desk, "v-ann", "w")
    assert work.beat(desk, "v-ann", "w", 1 << 30)
    now = admin.get("api/v1/homes/v-ann").json()
    assert (now["done_bytes"], now["to_do_bytes"]) == (1 << 30, 5 << 30)
    assert work.seal(desk, "v-ann", "w", 2 << 30, "5a", {})
    assert problem(wish(admin, "v-ann", "cancel"), 409, "too_late").startswith("It is too late")
    assert work.finish(desk, "v-ann", "w")
    told = admin.get("api/v1/homes/v-ann").json()
    assert (told["state"], told["archive_bytes"], told["wishes"]) == ("archived", 2 << 30, ["restore", "delete"])
    assert wish(admin, "v-ann", "restore").json()["state"] == "restoring"


def test_deleted_with_a_grace_period(admin: Visitor) -> None:
    told = wish(admin, "v-eve", "delete").json()
    assert told["delete_at"] == (NOW + 30 * DAY).isoformat().replace("+00:00", "Z")
    assert wish(admin, "v-eve", "cancel").json()["delete_at"] is None
    assert wish(admin, "v-eve", "delete", grace_days=2).json()["delete_at"].startswith("2027-03-03")
    for days in (-1, 4000, "x"):
        assert wish(admin, "v-ann", "delete", grace_days=days).status_code == 422


def test_what_is_refused(admin: Visitor, console: ConsoleStand) -> None:
    said = problem(wish(admin, "v-bob", "archive"), 409, "home_in_use")
    assert said == "A server of bob runs. Stop it first: a home in use is not archived."
    problem(wish(admin, "v-bob", "restore"), 409, "home_state")
    problem(admin.get("api/v1/homes/nowhere"), 404, "unknown_name")
    etag = admin.get("api/v1/homes/v-ann").headers["ETag"]
    problem(admin.post("api/v1/homes/v-ann/archive", json={"why": "x"}), 428, "version_needed")
    assert wish(admin, "v-ann", "archive").status_code == 202
    again = admin.post("api/v1/homes/v-ann/cancel", json={"why": "x"}, headers={"If-Match": etag})
    problem(again, 412, "changed_meanwhile")
    for why in ("", "  ", "x" * 501):
        assert wish(admin, "v-ann", "cancel", why=why).status_code == 422
    reader = console.as_user("rita", scopes=[Scope.READ])
    assert reader.get("api/v1/homes").status_code == 200
    problem(
        reader.post("api/v1/homes/v-ann/cancel", json={"why": "x"}, headers={"If-Match": "*"}), 403, "scope_missing"
    )
    problem(console.as_user("ann").get("api/v1/homes"), 403, "scope_missing")


def test_the_audit_tells_who(admin: Visitor, office: Office) -> None:
    wish(admin, "v-ann", "archive")
    [entry] = office.audit()
    assert (entry.actor, entry.action, entry.subject, entry.why) == ("olga", "home.archive", "home ann", "a test")


# --- pages --------------------------------------------------------------------------------------------------------


def test_an_empty_page_teaches(console: ConsoleStand) -> None:
    text = console.signed_in_admin().get("homes").text
    assert "There are no homes yet" in text
    assert "berth doctor" in text
    assert "<table" not in text


def test_the_page_lists_homes(browser: Visitor) -> None:
    text = browser.get("homes?sort=size&down=true").text
    assert text.index(">ann</bdi>") < text.index("&lt;b&gt;eve&lt;/b&gt;") < text.index(">bob</bdi>")
    assert "<b>eve" not in text
    assert "5.0 GiB" in text or "5 GiB" in text
    assert 'aria-sort="descending"' in text
    assert "homes/v-ann/archive" in text
    assert "homes/v-bob/archive" not in text  # in use
    assert "No such homes" in browser.get("homes?search=zoe").text
    assert "v-bob" not in browser.get("homes?unused=90").text
    assert browser.get("homes?shown=nonsense&unused=7000").status_code == 200


def test_who_only_reads_finds_no_buttons(console: ConsoleStand, office_with_homes: Office) -> None:
    reader = console.signed_in("rita", scopes=[Scope.READ])
    for page in ("homes", "homes/v-ann"):
        assert "homes/v-ann/archive" not in reader.get(page).text
    assert reader.get("homes/v-ann/archive").status_code == 403


def form(browser: Visitor, path: str, **fields: str) -> httpx2.Response:
    asked = browser.get(path)
    assert asked.status_code == 200, asked.text
    version = asked.text.partition('name="version" value="')[2].partition('"')[0].replace("&#34;", '"')
    return browser.send_form(path, version=version, **fields)


def test_archived_by_the_page(browser: Visitor, office: Office) -> None:
    asked = browser.get("homes/v-ann/archive").text
    for words in ("Archive a home", ">ann</bdi>", "5", "Reason"):
        assert words in asked
    done = form(browser, "homes/v-ann/archive", why="space")
    assert (done.status_code, done.headers["Location"]) == (303, "/services/console/homes/v-ann")
    page = browser.get("homes/v-ann").text
    assert "is being archived" in page
    assert "space" in page
    assert 'hx-trigger="every 3s"' in page
    work.claim(office.desk, "v-ann", "w")
    work.beat(office.desk, "v-ann", "w", 1 << 30)
    part = browser.get("homes/v-ann/now")
    assert '<progress max="100" value="20"' in part.text
    assert "HX-Refresh" not in part.headers
    work.fail(office.desk, "v-ann", "w", "The disk is full.")
    part = browser.get("homes/v-ann/now")
    assert part.headers["HX-Refresh"] == "true"
    assert "The disk is full." in part.text
    assert "every 3s" not in part.text
    assert "The disk is full." in browser.get("homes?shown=failed").text


def test_deleted_by_the_page(browser: Visitor, office: Office) -> None:
    asked = browser.get("homes/v-eve/delete").text
    assert 'value="30"' in asked
    assert "for good" in asked
    assert form(browser, "homes/v-eve/delete", why="left", days="3").status_code == 303
    assert homes.find(office.desk, "v-eve").delete_at == NOW + 3 * DAY
    assert "every 3s" not in browser.get("homes/v-eve").text  # nothing happens for days
    assert form(browser, "homes/v-eve/cancel", why="back").status_code == 303
    assert homes.find(office.desk, "v-eve").state is HomeState.PRESENT


def test_mistakes_are_told_on_the_page(browser: Visitor, office: Office) -> None:
    refused = form(browser, "homes/v-bob/archive", why="space")
    assert refused.status_code == 409
    assert "A server of bob runs" in refused.text
    assert 'value="space"' in refused.text  # what was typed is not lost
    old = browser.get("homes/v-ann/archive").text.partition('name="version" value="')[2].partition('"')[0]
    homes.delete(office.desk, "v-ann", "hugo", "left", HOUR)
    changed = browser.send_form("homes/v-ann/archive", version=old.replace("&#34;", '"'), why="space")
    assert changed.status_code == 412
    assert "meanwhile" in changed.text
    assert homes.find(office.desk, "v-ann").state is HomeState.DELETING
    for fields in ({"why": ""}, {"why": "x", "days": "-1"}):
        assert browser.send_form("homes/v-eve/delete", **fields).status_code == 422
    assert browser.get("homes/v-ann/nonsense").status_code == 422
    assert browser.get("homes/nowhere").status_code == 404


def test_long_lists_are_read_page_by_page(console: ConsoleStand, office: Office) -> None:
    seen = [work.SeenVolume(f"v-{number:03}", f"user{number:03}", NOW - DAY, in_use=False) for number in range(120)]
    work.take_over(office.desk, seen, "v-", NOW)
    browser = console.signed_in_admin()
    path, found = "homes", []
    while True:
        text = browser.get(path).text
        found += [owner for owner in (f"user{number:03}" for number in range(120)) if f">{owner}</bdi></a>" in text]
        following = text.partition('" rel="next"')[0]
        if following == text:
            break
        path = "homes" + following.rpartition('href="')[2].replace("&amp;", "&")
    assert found == [f"user{number:03}" for number in range(120)]
