"""The board of GPUs on pages: what is shown of which, what an open page is sent, and taking GPUs out of service."""

import re
from dataclasses import replace
from urllib.parse import quote

import pytest
from markupsafe import Markup, escape
from starlette.requests import Request

from spawner.console.board import Snapshot, View, Wanted
from spawner.console.callers import Caller
from spawner.console.events import Event, stamp
from spawner.console.gpu_pages import Choice, News, choice_of
from spawner.console.readings import Reading, Trouble
from spawner.console.scopes import OF_ADMINS, Scope, implied
from spawner.operations import inventory
from spawner.policy.gpus import GpuState

from ..support.console import PREFIX, ConsoleStand, Visitor
from ..support.console_server import served
from ..support.office import MINUTE
from ..support.slots import gpus, mig, shared
from ..support.waiting import eventually
from .test_gpus_api import Followed

WHY = "new fans"
EVIL = "<script>alert('x')</script>\u202e\"&😀"


@pytest.fixture
def fitted(console: ConsoleStand) -> ConsoleStand:
    console.office.fit(gpus(2), shared(2, index=2))
    console.office.fit(mig(5 << 30, 10 << 30, node="far", model="H100"), node="far")
    console.office.running("ann", models=frozenset({"Simulated GPU"}), memory=16 << 30, server="lab")
    return console


def titles(page: str) -> list[str]:
    return re.findall(r'<h3 id="[^"]*"><a [^>]*><bdi>([^<]*)</bdi>', page)


def words(page: str) -> str:
    return " ".join(Markup(page).striptags().split())


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_a_card_tells_holder_use_and_end(fitted: ConsoleStand) -> None:
    now = fitted.office.clock.now
    fitted.console.readings.put({"SIM-local-0": Reading(now, 0.5, 4 << 30, 16 << 30, 61.4, 120.0, 2)})
    page = fitted.signed_in_admin().get("gpus").text
    assert titles(page) == ["far-gpu0", "gpu0", "gpu1", "gpu2"]
    card = words(page[page.index("gpu0</bdi>", page.index("This host")) : page.index("gpu1</bdi>")])
    for told in ("held", "simulated", "16 GiB", "50 %", "4 GiB of 16 GiB", "61 °C", "120 W", "2 processes without"):
        assert told in card, card
    assert "ann / lab until 16:00 UTC · 4 h" in card
    assert "MIG instance 1, 5 GiB: free" in words(page)
    assert page.count("No readings") == 3
    assert "The exporter" not in page


def test_filters_work_without_scripts(fitted: ConsoleStand) -> None:
    admin = fitted.signed_in_admin()
    inventory.set_state(fitted.office.desk, "gpu1", GpuState.DRAINING, "olga", WHY)
    form = "search=&node=&model=&standing={}&holder={}"
    assert titles(admin.get("gpus?" + form.format("draining", "")).text) == ["gpu1"]
    assert titles(admin.get("gpus?" + form.format("", "ann")).text) == ["gpu0"]
    assert titles(admin.get("gpus?search=fans&node=local").text) == ["gpu1"]
    assert titles(admin.get("gpus?standing=strange&page=no&view=x&colour=y").text) == [
        "far-gpu0",
        "gpu0",
        "gpu1",
        "gpu2",
    ]
    nothing = admin.get("gpus?model=V100").text
    assert "No GPU is like that" in nothing
    assert "Show all" in nothing


def test_the_heat_map_says_in_words_what_it_shows(fitted: ConsoleStand) -> None:
    fitted.console.readings.put({"SIM-local-0": Reading(fitted.office.clock.now, 0.43)})
    inventory.set_state(fitted.office.desk, "gpu1", GpuState.DRAINING, "olga", WHY)
    page = fitted.signed_in_admin().get("gpus?view=map").text
    labels = re.findall(
        r'class="cell ([^"]*)" id="[^"]*" href="([^"]*)"[^>]* aria-label="([^"]*)" data-sign="(.)"', page
    )
    assert labels[1:] == [
        ("h3 s-held", f"{PREFIX}gpus/SIM-local-0", "gpu0: held (ann), SM about 45 %", "0"),
        ("hx s-draining", f"{PREFIX}gpus/SIM-local-1", "gpu1: draining, no readings", "↓"),
        ("hx s-free", f"{PREFIX}gpus/SIM-local-2", "gpu2: free, no readings", "2"),
    ]


def test_many_are_a_heat_map_and_cards_are_paged(console: ConsoleStand) -> None:
    for node in range(26):
        console.office.fit(gpus(8, node=f"n{node:02}"), node=f"n{node:02}")
    admin = console.signed_in_admin()
    page = admin.get("gpus").text
    assert page.count('class="cell hx') == 208 + 1  # and one in the legend
    first = admin.get("gpus?view=cards").text
    assert len(titles(first)) == 60
    assert titles(first)[-1] == "n07-gpu3"
    last = admin.get("gpus?view=cards&page=4").text
    assert titles(last)[-1] == "n25-gpu7"
    assert titles(admin.get("gpus?view=cards&page=99").text) == titles(last)
    assert len(titles(admin.get("gpus?search=n00-").text)) == 8


def test_no_gpus_yet(console: ConsoleStand) -> None:
    page = console.signed_in_admin().get("gpus").text
    for told in ("No GPUs are known", "nvidia-smi", "berth doctor", "BERTH_GPUS=sim:4"):
        assert told in page
    assert "sse-connect" not in page


def test_why_there_are_no_readings(fitted: ConsoleStand) -> None:
    fitted.console.readings.fail("x", Trouble("refused", "node7:9410"))
    admin = fitted.signed_in_admin()
    told = "The exporter at node7:9410 refuses the token: compare metrics.token there and here."
    assert told in admin.get("gpus").text
    assert told in admin.get("gpus/SIM-local-0").text


def test_what_others_have_named_stays_text(console: ConsoleStand) -> None:
    [gpu], [slot] = gpus(1, node=EVIL, model=EVIL)
    uuid = "GPU-<b>\"'&?# ü"
    console.office.fit(([replace(gpu, uuid=uuid)], [replace(slot, id=uuid, gpu=uuid)]), node=EVIL)
    console.office.running(EVIL, models=frozenset(), course=EVIL)
    inventory.set_state(console.office.desk, uuid, GpuState.DRAINING, EVIL, EVIL)
    admin = console.signed_in_admin()
    for path in ("gpus", "gpus?view=map", "gpus?search=%3Cscript%3E"):
        page = admin.get(path).text
        assert "<script>alert" not in page
        assert escape(EVIL) in page
        assert "<b>" not in page
    link = re.search(rf'"{PREFIX}(gpus/GPU[^"]*)"', admin.get("gpus").text)
    assert link is not None
    for path in (link[1], f"{link[1]}/change?state=in_service", f"gpus/change?node={quote(EVIL)}&state=in_service"):
        answer = admin.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text
        assert "<b>" not in answer.text
        assert escape(EVIL) in answer.text
    where = confirmed(admin, f"{link[1]}/change?state=in_service", EVIL)
    assert admin.get(where.removeprefix(PREFIX)).status_code == 200
    assert confirmed(admin, f"gpus/change?node={quote(EVIL)}&state=draining", EVIL)


# --- what an open page is sent ----------------------------------------------------------------------------------------


def sent(stand: ConsoleStand, choice: Choice, page: str) -> News:
    """Look on as a page does."""
    [(known, fingerprint)] = re.findall(r'sse-connect="[^"]*since=([^"&]*)&amp;shown=([^"&]*)"', page)
    scope = {"type": "http", "headers": [], "path": f"{PREFIX}gpus/live", "app": stand.app, "query_string": b""}
    caller = Caller("olga", "user", frozenset(), implied(frozenset(OF_ADMINS)), "t")
    return News(Request(scope), stand.console, caller, choice, known, fingerprint)


def news(stand: ConsoleStand, looking: News) -> list[Event]:
    return looking(stand.console.watch.board.look())


def test_only_what_has_changed_is_sent(fitted: ConsoleStand) -> None:
    page = fitted.signed_in_admin().get("gpus").text
    looking = sent(fitted, choice_of(), page)
    assert news(fitted, looking) == []
    fitted.office.wait(MINUTE)
    assert news(fitted, looking) == []  # time alone changes nothing
    lease = fitted.office.running("bob", kinds=frozenset({"mig"}))
    [event] = news(fitted, looking)
    assert event.name == "changed"
    assert titles(event.data) == ["far-gpu0"]
    assert "1 partly held" in words(event.data)
    assert 'id="gpus-summary"' in event.data
    fitted.console.readings.put({"SIM-local-1": Reading(fitted.office.clock.now, 0.5)})
    assert titles(news(fitted, looking)[0].data) == ["gpu1"]
    fitted.office.stop(lease)
    assert titles(news(fitted, looking)[0].data) == ["far-gpu0"]


def test_where_others_are_to_be_shown_all_is_sent(fitted: ConsoleStand) -> None:
    page = fitted.signed_in_admin().get("gpus?standing=free").text
    looking = sent(fitted, choice_of(standing="free"), page)
    assert news(fitted, looking) == []
    inventory.set_state(fitted.office.desk, "gpu1", GpuState.DRAINING, "olga", WHY)
    [event] = news(fitted, looking)
    assert event.name == "board"
    assert titles(event.data) == ["far-gpu0", "gpu2"]
    assert news(fitted, looking) == []


def test_a_cell_does_not_flutter(fitted: ConsoleStand) -> None:
    readings, now = fitted.console.readings, fitted.office.clock.now
    readings.put({"SIM-local-0": Reading(now, 0.40)})
    looking = sent(fitted, choice_of(view="map"), fitted.signed_in_admin().get("gpus?view=map").text)
    readings.put({"SIM-local-0": Reading(now, 0.41, 3, 4, 60)})
    assert "cell" not in "".join(event.data for event in news(fitted, looking))
    readings.put({"SIM-local-0": Reading(now, 0.5, 3, 4, 60)})
    [event] = news(fitted, looking)
    assert event.data.count('class="cell') == 1


def test_an_open_page_moves(fitted: ConsoleStand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted.console.watch, "seconds", 0.05)
    fitted.hub.add_user("olga")
    token = fitted.hub.token("olga", [Scope.READ])
    with served(fitted.app) as address:
        page = fitted.with_token(token).get("gpus").text
        [live] = re.findall(r'sse-connect="([^"]*)"', page)
        path = str(Markup(live).unescape()).removeprefix(PREFIX)
        stream = Followed(f"{address}{PREFIX}{path}", token, {})
        assert stream.answer.status == 200
        eventually(lambda: fitted.console.watch.viewers == 1)
        inventory.set_state(fitted.office.desk, "gpu1", GpuState.DRAINING, "olga", WHY)
        lines: list[str] = []
        while not any("gpu1</bdi>" in line for line in lines):
            lines.append(stream.answer.readline().decode())
        assert "event: changed\n" in lines
        assert f"id: {stamp(fitted.console.watch, fitted.console.watch.board.look())}\n" in lines
        stream.close()


# --- changing ---------------------------------------------------------------------------------------------------------


def confirmed(visitor: Visitor, path: str, why: str) -> str:
    """Ask, and do it; gives where that leads."""
    page = visitor.get(path)
    assert page.status_code == 200, page.text
    seen = str(Markup(re.findall(r'name="seen" value="([^"]*)"', page.text)[0]).unescape())
    answer = visitor.send_form(path, why=why, seen=seen)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def test_a_gpu_is_drained_and_comes_back(fitted: ConsoleStand) -> None:
    greta = fitted.signed_in("greta", scopes=[Scope.GPUS])
    asked = words(greta.get("gpus/SIM-local-0/change?state=draining").text)
    assert "1 lease of it runs: ann / lab, gpu0, until 16:00 UTC (4 h)" in asked
    where = confirmed(greta, "gpus/SIM-local-0/change?state=draining", f" {WHY} ")
    page = words(greta.get(where.removeprefix(PREFIX)).text)
    assert "Draining: gpu0." in page
    assert f"State: draining {WHY} – greta" in page
    assert "Put back into service" in page
    confirmed(greta, "gpus/SIM-local-0/change?state=in_service", "they turn")
    page = words(greta.get("gpus/SIM-local-0").text)
    assert "State: in service" in page
    assert re.search(r"greta in service they turn .*greta draining new fans", page)


@pytest.mark.parametrize("why", ["", "   ", "x" * 501])
def test_without_a_reason_it_asks_again(fitted: ConsoleStand, why: str) -> None:
    answer = fitted.signed_in_admin().send_form("gpus/SIM-local-0/change?state=draining", why=why, seen="*")
    assert answer.status_code == 422
    assert "Give a reason" in answer.text
    assert fitted.office.audit() == []


def test_of_two_at_once_the_second_is_told(fitted: ConsoleStand) -> None:
    olga, greta = fitted.signed_in_admin(), fitted.signed_in("greta", scopes=[Scope.GPUS])
    path = "gpus/SIM-local-0/change?state=draining"
    seen = str(Markup(re.findall(r'name="seen" value="([^"]*)"', olga.get(path).text)[0]).unescape())
    confirmed(greta, "gpus/SIM-local-0/change?state=quarantined", "it fell off the bus")
    answer = olga.send_form(path, why=WHY, seen=seen)
    assert answer.status_code == 412
    assert "Somebody has changed this meanwhile" in answer.text
    assert f'value="{WHY}"' in answer.text
    assert len(fitted.office.audit()) == 1


def test_a_node_is_drained_but_for_what_is_out_for_a_reason(fitted: ConsoleStand) -> None:
    olga = fitted.signed_in_admin()
    inventory.set_state(fitted.office.desk, "gpu1", GpuState.QUARANTINED, "greta", "it fell off the bus")
    path = "gpus/change?node=local&state=draining"
    asked = words(olga.get(path).text)
    assert "It is about 2 GPUs: gpu0, gpu2." in asked
    assert "These stay as they are: gpu1 (in quarantine)." in asked
    where = confirmed(olga, path, WHY)
    assert titles(olga.get(where.removeprefix(PREFIX)).text) == ["gpu0", "gpu1", "gpu2"]
    assert [gpu.state for gpu, _ in inventory.board(fitted.office.desk).gpus] == [
        "in_service",
        "draining",
        "quarantined",
        "draining",
    ]
    assert "There is nothing to do" in olga.get(path).text


def test_who_may_only_read_sees_no_actions(fitted: ConsoleStand) -> None:
    rita = fitted.signed_in("rita", scopes=[Scope.READ])
    assert "change?" not in rita.get("gpus").text
    assert "change?" not in rita.get("gpus/SIM-local-0").text


def test_a_gpu_that_is_not_there(fitted: ConsoleStand) -> None:
    olga = fitted.signed_in_admin()
    for path in (
        "gpus/GPU-9",
        "gpus/GPU-9/now",
        "gpus/GPU-9/change?state=draining",
        "gpus/change?node=x&state=draining",
    ):
        assert olga.get(path).status_code == 404


def test_its_last_quarter_of_an_hour_is_drawn(fitted: ConsoleStand) -> None:
    olga = fitted.signed_in_admin()
    assert "Nobody has said yet what it does" in olga.get("gpus/SIM-local-0").text
    for step in range(10):
        fitted.console.readings.put({"SIM-local-0": Reading(fitted.office.clock.now, step / 10, 1 << 30, 16 << 30, 60)})
        fitted.office.wait(MINUTE / 6)
    now = olga.get("gpus/SIM-local-0/now").text
    assert now.count('class="plot-area"') == 3
    assert "<html" not in now
    assert "90 %" in words(now)


# --- the board itself -------------------------------------------------------------------------------------------------


def test_what_is_gone_from_the_ledger_is_told(fitted: ConsoleStand) -> None:
    board = fitted.console.watch.board
    before: Snapshot = board.look()
    fitted.office.fit(gpus(1), shared(2, index=2))
    with fitted.office.ledger.transaction() as books:
        assert books.gpus.forget("SIM-local-1")
    after = board.look()
    assert after.removed == {"SIM-local-1": before.number + 1}
    assert board.look() == after
    fitted.office.fit(gpus(2), shared(2, index=2))
    assert board.look().removed == {}


@pytest.mark.parametrize(("sm", "level"), [(None, None), (0.0, 0), (0.02, 0), (0.1, 1), (0.5, 3), (0.93, 6), (1.0, 6)])
def test_shades(fitted: ConsoleStand, sm: float | None, level: int | None) -> None:
    if sm is not None:
        fitted.console.readings.put({"SIM-local-0": Reading(fitted.office.clock.now, sm)})
    view: View = fitted.console.watch.board.look().by_uuid["SIM-local-0"]
    assert view.level == level
    assert Wanted(text="gpu0").fits(view)
