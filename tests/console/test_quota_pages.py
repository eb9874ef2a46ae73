"""The pages of quotas: found, edited, looked at before saving; two admins at once; files; why."""

import html
import re
from typing import Any

import pytest

from spawner.console.scopes import Scope
from spawner.operations import quotas
from spawner.policy.quota import Subject

from ..support.console import PREFIX, ConsoleStand, Visitor
from ..support.office import HOUR, NOW
from ..support.slots import gpus

ANN = {"subject": "user", "name": "ann", "dimension": "gpus"}


def fields_of(answer: Any, action: str) -> dict[str, str]:
    """Read the fields of a page's form, as a browser would send them."""
    [form] = re.findall(rf'<form[^>]*action="{PREFIX}{action}".*?</form>', answer.text, re.DOTALL)
    return {
        name: html.unescape(value)
        for name, value in re.findall(r'<input[^>]*name="(\w+)"[^>]*?value="([^"]*)"', form)
        if name != "csrf"
    }


def edited(visitor: Visitor, **typed: str) -> Any:
    """Open a value's editor, type into it, and ask what that changes."""
    page = visitor.get("quotas/edit", params=ANN)
    return visitor.send_form("quotas/preview", **{**fields_of(page, "quotas/preview"), "why": "a test", **typed})


def test_the_table_shows_both_sides(console: ConsoleStand) -> None:
    office = console.office
    console.hub.add_user("ann", ["lab"])
    console.hub.add_user("bob", ["lab"])
    office.give("group", "lab", "gpus", 2, NOW + HOUR)
    office.give("user", "ann", "gpu_hours", 20)
    page = console.signed_in_admin().get("quotas").text
    assert "<b>2</b>" in page
    assert '<time datetime="2027-03-01T13:00:00Z"' in page
    assert "<b>20</b>" in page
    assert "<i>2</i>" in page  # what ann has from her group
    assert "<bdi>bob</bdi>" not in page
    everyone = console.signed_in_admin().get("quotas?everyone=true&search=b").text
    assert "<bdi>bob</bdi>" in everyone
    nothing = console.signed_in_admin().get("quotas?search=bob").text
    assert "quotas?search=bob&amp;everyone=true" in nothing
    reader = console.signed_in("rita", scopes=[Scope.READ]).get("quotas").text
    assert "quotas/edit" not in reader
    office.wait(2 * HOUR)
    assert "<s>2</s>" in console.signed_in_admin().get("quotas").text


def test_in_parts(console: ConsoleStand) -> None:
    for number in range(60):
        console.office.give("user", f"user{number:02}", "gpus", 2)
    olga = console.signed_in_admin()
    first = olga.get("quotas?subject=user").text
    [more] = re.findall(rf'href="{PREFIX}(quotas\?[^"]*cursor=[^"]*)"', first)
    rest = olga.get(html.unescape(more)).text
    assert ("user49" in first, "user50" in first, "user49" in rest, "user59" in rest) == (True, False, False, True)
    assert "To the first" in rest


def test_looked_at_then_saved(console: ConsoleStand) -> None:
    office, olga = console.office, console.signed_in_admin()
    office.fit(gpus(2))
    console.hub.add_user("ann", ["lab"])
    office.running("ann", 2)
    before = office.tables()
    looked = edited(olga, value="1", until="2027-03-01T14:00", back="search=an")
    assert looked.status_code == 200
    assert "changes the quota of 1 person" in looked.text
    assert "more GPUs are held than allowed" in looked.text
    assert office.tables() == before
    saved = olga.send_form("quotas/save", **fields_of(looked, "quotas/save"))
    assert (saved.status_code, saved.headers["Location"]) == (303, f"{PREFIX}quotas?search=an")
    [grant] = quotas.all_grants(office.desk)
    assert (grant.value, grant.until, grant.by, grant.why) == (1, NOW + 2 * HOUR, "olga", "a test")
    assert "GPUs at once of user ann: 1" in olga.get("quotas?search=an").text
    back = edited(olga, action="unset")
    assert "No lease that runs is touched" in back.text
    assert olga.send_form("quotas/save", **fields_of(back, "quotas/save")).status_code == 303
    assert quotas.all_grants(office.desk) == []


def test_times_are_those_of_the_readers_zone(console: ConsoleStand) -> None:
    olga = console.signed_in_admin()
    olga.cookies.set("berth-zone", "Europe%2FBerlin", path=PREFIX)
    page = olga.get("quotas/edit", params=ANN)
    assert "Until (Europe/Berlin)" in page.text
    typed = {**fields_of(page, "quotas/preview"), "value": "1", "until": "2027-07-01T14:00", "why": "x"}
    olga.cookies.set("berth-zone", "Asia%2FTokyo", path=PREFIX)  # what the field said holds
    looked = olga.send_form("quotas/preview", **typed)
    olga.send_form("quotas/save", **fields_of(looked, "quotas/save"))
    [grant] = quotas.all_grants(console.office.desk)
    assert grant.until is not None
    assert grant.until.isoformat() == "2027-07-01T12:00:00+00:00"
    assert 'value="2027-07-01T21:00"' in olga.get("quotas/edit", params=ANN).text


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"value": "many"}, "gpus must be a whole number"),
        ({"value": "1", "why": " "}, "Give a reason"),
        ({"value": "1", "until": "2027-02-01T12:00"}, "has passed"),
        ({"value": "1", "until": "soon"}, "must be a date and a time"),
        ({"value": "1", "until": "2027-07-01T14:00", "zone": "../x"}, "must be a date and a time"),
    ],
)
def test_a_mistake_is_told_where_it_was_made(console: ConsoleStand, typed: dict[str, str], said: str) -> None:
    answer = edited(console.signed_in_admin(), **typed)
    assert answer.status_code == 422
    assert said in html.unescape(answer.text)
    assert f'value="{typed["value"]}"' in answer.text
    assert quotas.all_grants(console.office.desk) == []


def test_what_may_be_a_mistake(console: ConsoleStand) -> None:
    olga = console.signed_in_admin()
    asked = {"subject": "group", "name": "labb", "dimension": "models"}
    page = olga.get("quotas/edit", params=asked)
    looked = olga.send_form("quotas/preview", **{**fields_of(page, "quotas/preview"), "value": "T44", "why": "x"})
    assert "Nobody is in a group of this name yet" in looked.text
    assert "There is none of this name now: T44" in looked.text


def test_two_admins_at_once(console: ConsoleStand) -> None:
    olga, petra = console.signed_in_admin(), console.signed_in_admin("petra")
    hers, theirs = edited(olga, value="1", why="fair use"), edited(petra, value="6", why="a deadline")
    assert petra.send_form("quotas/save", **fields_of(theirs, "quotas/save")).status_code == 303
    told = olga.send_form("quotas/save", **fields_of(hers, "quotas/save"))
    assert told.status_code == 409
    for said in ("<b>6</b>", "<bdi>petra</bdi>", "a deadline", "<b>1</b>", "fair use"):
        assert said in told.text
    [grant] = quotas.all_grants(console.office.desk)
    assert (grant.value, grant.by) == (6, "petra")
    again = olga.send_form("quotas/preview", **fields_of(told, "quotas/preview"))
    assert again.status_code == 200
    assert olga.send_form("quotas/save", **fields_of(again, "quotas/save")).status_code == 303
    [grant] = quotas.all_grants(console.office.desk)
    assert (grant.value, grant.by, grant.why) == (1, "olga", "fair use")
    late = edited(petra, value="3")
    quotas.unset_quota(console.office.desk, Subject.USER, "ann", "gpus", "olga", "over now")
    gone = petra.send_form("quotas/save", **fields_of(late, "quotas/save"))
    assert gone.status_code == 409
    assert "taken back by" in gone.text
    assert "over now" in gone.text


def test_parts_of_the_table_are_rows(console: ConsoleStand) -> None:
    olga = console.signed_in_admin()
    asked = {"HX-Request": "true"}
    row = olga.get("quotas/edit", params=ANN, headers=asked)
    assert row.text.lstrip().startswith('<tr class="editing">')
    fields = {**fields_of(row, "quotas/preview"), "value": "1", "why": "x"}
    for name, value in (("X-CSRF-Token", olga.form_token), ("HX-Request", "true")):
        olga.headers[name] = value
    assert olga.send_form("quotas/preview", **fields).text.lstrip().startswith('<tr class="editing">')
    console.office.give("user", "ann", "gpus", 3)
    assert "Somebody else has changed" in olga.send_form("quotas/preview", **fields).text


def test_which_value_is_asked_where_it_is_not_said(console: ConsoleStand) -> None:
    olga = console.signed_in_admin()
    assert 'name="dimension"' in olga.get("quotas/edit").text
    assert 'value="group" selected' in olga.get("quotas/edit?subject=group&name=lab").text
    assert "everybody (default)" in olga.get("quotas/edit?subject=default&name=x&dimension=gpus").text


def test_why(console: ConsoleStand) -> None:
    console.hub.add_user("ann", ["lab"])
    console.office.give("group", "lab", "gpus", 2, NOW + HOUR)
    console.office.give("group", "staff", "gpus", 3)
    olga = console.signed_in_admin()
    assert "Name somebody" in olga.get("quotas/why").text
    page = olga.get("quotas/why?user=ann").text
    assert "<bdi>group lab</bdi>" in page
    assert "<b>2</b>" in page
    assert "<bdi>group staff</bdi>" in olga.get("quotas/why?user=ann&groups=staff").text
    assert "no user of this name" in olga.get("quotas/why?user=nobody").text


def test_a_file_is_tried_then_made(console: ConsoleStand) -> None:
    office, olga = console.office, console.signed_in_admin()
    console.hub.add_user("zoe")
    office.give("user", "zoe", "gpus", 8)
    typed = {"text": "users:\n  ann:\n    gpus: 2\n", "format": "yaml", "mode": "replace", "why": "new term"}
    before = office.tables()
    tried = olga.send_form("quotas/import/preview", **typed)
    assert tried.status_code == 200, tried.text
    assert "taken back" in tried.text
    assert "Change 2 values" in tried.text
    assert "changes the quota of 1 person" in tried.text
    assert office.tables() == before
    fields = fields_of(tried, "quotas/import/save")
    office.give("user", "bob", "gpus", 1)
    late = olga.send_form("quotas/import/save", **fields)
    assert late.status_code == 409
    assert "olga has set user bob gpus to 1" in late.text
    assert "Change 3 values" in late.text
    assert olga.send_form("quotas/import/save", **fields_of(late, "quotas/import/save")).status_code == 303
    assert [(one.name, one.value, one.why) for one in quotas.all_grants(office.desk)] == [("ann", 2, "new term")]
    same = olga.send_form("quotas/import/preview", **typed)
    assert "Nothing changes" in same.text
    added = olga.send_form("quotas/import/preview", **{**typed, "text": "users: {bob: {gpus: 1}}", "mode": "add"})
    assert olga.send_form("quotas/import/save", **fields_of(added, "quotas/import/save")).status_code == 303
    assert len(quotas.all_grants(office.desk)) == 2


def test_a_file_with_mistakes(console: ConsoleStand) -> None:
    olga = console.signed_in_admin()
    sent = olga.post(
        "quotas/import/preview",
        data={"csrf": olga.form_token, "why": "x", "mode": "add"},
        files={"file": ("term.csv", b"subject,name,dimension,value\nuser,ann,tpus,1\nuser,<b>,gpus,x\n")},
    )
    assert sent.status_code == 422
    assert "term.csv, line 2: There is no dimension" in html.unescape(sent.text)
    assert "line 3: gpus must be a whole number" in html.unescape(sent.text)
    assert olga.send_form("quotas/import/preview", why="x").status_code == 422
    assert olga.send_form("quotas/import/preview", text="default: {gpus: 1}").status_code == 422
    damaged = {"content": "%%", "version": "1", "why": "x", "format": "csv"}
    assert olga.send_form("quotas/import/save", **damaged).status_code == 400


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a\"b'c&d", "😀 /x?y#z"])
def test_hostile_names_are_text(console: ConsoleStand, name: str) -> None:
    console.hub.add_user(name, [name])
    olga = console.signed_in_admin()
    for subject in ("user", "group"):
        page = olga.get("quotas/edit", params={**ANN, "subject": subject, "name": name})
        fields = {**fields_of(page, "quotas/preview"), "value": "1", "why": name}
        assert fields["name"] == name
        looked = olga.send_form("quotas/preview", **fields)
        assert olga.send_form("quotas/save", **fields_of(looked, "quotas/save")).status_code == 303
    assert {one.name for one in quotas.all_grants(console.office.desk)} == {name}
    for path in ("quotas?everyone=true", "quotas/why"):
        page = olga.get(path, params=None if "?" in path else {"user": name})
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert f"<bdi>{html.escape(name, quote=False)}".replace('"', "&#34;").replace("'", "&#39;") in page.text


def test_the_way_back_stays_within_the_table(console: ConsoleStand) -> None:
    olga = console.signed_in_admin()
    for back in ("//evil.test", "https://evil.test", "x\r\nSet-Cookie: a=b"):
        looked = edited(olga, value="1", back=back)
        saved = olga.send_form("quotas/save", **fields_of(looked, "quotas/save"))
        assert saved.headers["Location"].startswith(f"{PREFIX}quotas")
        assert "Set-Cookie: a" not in str(saved.headers)
        quotas.unset_quota(console.office.desk, Subject.USER, "ann", "gpus", "olga", "again")
