"""What people see of GPUs on the hub's pages: the form's fields, the queue, one's own leases."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import docker
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from spawner.ledger import Books, Ledger

from ..support.berth import Berth, deployment, eventually
from ..support.browser import inaccessible, visitor

pytestmark = [pytest.mark.docker, pytest.mark.image, pytest.mark.hub, pytest.mark.browser]

PROFILES = [
    {"slug": "cpu", "name": "CPU", "cpu": 1, "memory": "1 GiB", "gpus": 0},
    {"slug": "gpu", "name": "GPU", "cpu": 1, "memory": "1 GiB", "gpus": 1},
    # On a tenth of a core, so that the start takes long enough to be stopped.
    {"slug": "slow", "name": "Slow", "cpu": 0.1, "memory": "1 GiB", "gpus": 0},
    {"slug": "big", "name": "Big", "cpu": 1, "memory": "1 GiB", "gpus": 1, "gpu_memory": "1 TiB"},
]
PHONE = {"viewport": {"width": 390, "height": 844}}
DARK = {"color_scheme": "dark"}


@pytest.fixture(scope="module")
def hub(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A hub with two simulated GPUs."""
    variables = {
        "BERTH_GPUS": "sim:2",
        "BERTH_PROFILES": json.dumps(PROFILES),
        "BERTH_LIMITS": json.dumps({"default": {"gpus": 2, "gpu_hours": 40}}),
        "BERTH_LEASES": json.dumps({"wait_seconds": 3}),
    }
    with deployment(tmp_path_factory.mktemp("berth"), **variables) as berth, berth.hub():
        # The janitor brings the GPUs in.
        eventually(lambda: _books(berth, lambda books: books.gpus.slots()))
        yield berth


@pytest.fixture
def gpus(hub: Berth) -> Iterator[Berth]:
    """The hub, with nobody in it and all GPUs free."""
    yield hub
    for user in hub.api("GET", "users").json():
        hub.api("DELETE", f"berth/queue/{user['name']}/")
        eventually(lambda name=user["name"]: hub.settled(name))  # type: ignore[misc]
        hub.api("DELETE", f"users/{user['name']}").raise_for_status()
    eventually(lambda: not _books(hub, lambda books: books.leases.open()))


def _books(berth: Berth, question: Callable[[Books], Any]) -> Any:
    ledger = Ledger(berth.state.ledger_url(None))
    try:
        with ledger.reading() as books:
            return question(books)
    finally:
        ledger.close()


def _sign_in(page: Page, berth: Berth, user: str) -> None:
    page.goto(berth.url)
    page.get_by_label("Username:").fill(user)
    page.get_by_label("Password:").fill(berth.credentials.user_password)
    page.get_by_role("button", name="Sign in").click()


def _hold(berth: Berth, user: str, **options: Any) -> None:
    """Have somebody hold GPUs."""
    berth.add_user(user)
    berth.start_server(user, {"profile": "gpu", **options}).raise_for_status()


def _options(berth: Berth, user: str) -> dict[str, Any]:
    return dict(eventually(lambda: berth.servers(user).get("", {}).get("user_options")))


def _start(page: Page) -> None:
    page.get_by_role("button", name="Start", exact=True).click()


def test_fields_follow_the_profile_and_the_keyboard(gpus: Berth, browser: Browser) -> None:
    with visitor(browser) as page:
        _sign_in(page, gpus, "ann")
        fields = page.get_by_role("group", name="Your GPU lease")
        expect(page.get_by_role("radio", name="CPU")).to_be_checked()
        expect(fields).to_be_hidden()
        expect(page.get_by_role("radio", name="Big")).to_be_disabled()
        expect(page.locator("#profile-big-about")).to_contain_text("this hub has none such")
        assert inaccessible(page) == []

        page.get_by_role("radio", name="CPU").focus()
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("radio", name="GPU")).to_be_checked()
        expect(page.get_by_role("radio", name="GPU")).to_have_accessible_description(re.compile("2 of 2 free now"))
        expect(fields).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_label("Number of GPUs")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_label("How long")).to_be_focused()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        expect(page.get_by_label("How long")).to_have_value("1")
        page.keyboard.press("Tab")
        expect(page.get_by_label("When the lease ends")).to_be_focused()
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("group", name="If nothing is free")).to_be_hidden()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/user/ann/lab"), timeout=60_000)
    assert _options(gpus, "ann") == {"profile": "gpu", "gpus": 1, "hours": 1.0, "at_end": "stop"}


def test_hours_that_the_budget_does_not_hold_are_not_offered(gpus: Berth, browser: Browser) -> None:
    with visitor(browser) as page:
        _sign_in(page, gpus, "ann")
        page.get_by_role("radio", name="GPU").check()
        day = page.locator("#berth-hours option[value='24']")
        expect(day).to_be_enabled()
        page.get_by_label("How long").select_option("24")
        page.get_by_label("Number of GPUs").select_option("2")
        expect(day).to_be_disabled()
        expect(page.get_by_label("How long")).to_have_value("")


def test_the_form_works_without_scripts(gpus: Berth, browser: Browser) -> None:
    with visitor(browser, java_script_enabled=False) as page:
        _sign_in(page, gpus, "ann")
        expect(page.get_by_label("How long")).to_be_visible()
        expect(page.get_by_role("group", name="If nothing is free")).to_be_visible()
        page.get_by_role("radio", name="CPU", exact=True).check()
        _start(page)
        assert _options(gpus, "ann") == {"profile": "cpu", "if_busy": "queue"}
    eventually(lambda: gpus.ready("ann"))
    with visitor(browser, java_script_enabled=False) as page:
        _sign_in(page, gpus, "bob")
        page.get_by_role("radio", name="GPU").check()
        page.get_by_label("How long").select_option("2")
        _start(page)
        assert _options(gpus, "bob") == {"profile": "gpu", "hours": 2.0, "if_busy": "queue"}
    eventually(lambda: gpus.ready("bob"))


def test_where_nothing_is_free_one_may_start_on_cpu(gpus: Berth, browser: Browser) -> None:
    _hold(gpus, "zoe", gpus=2, hours=1)
    with visitor(browser, **PHONE, **DARK) as page:
        _sign_in(page, gpus, "ann")
        page.get_by_role("radio", name="GPU").check()
        expect(page.locator("#profile-gpu-about")).to_contain_text("0 of 2 free now")
        expect(page.locator("#profile-gpu-about")).to_contain_text("You would likely wait about 1 h 5 min.")
        assert inaccessible(page) == []
        page.get_by_label("Start on CPU now").check()
        _start(page)
        page.wait_for_url(re.compile(r"/user/ann/lab"), timeout=60_000)
    assert _options(gpus, "ann")["if_busy"] == "cpu"


def test_who_waits_is_served_by_itself(gpus: Berth, browser: Browser) -> None:
    _hold(gpus, "zoe", gpus=2, hours=1)
    with visitor(browser, timezone_id="Asia/Tokyo", **DARK) as page, visitor(browser, **PHONE) as later:
        _sign_in(page, gpus, "ann")
        page.get_by_role("radio", name="GPU").check()
        _start(page)
        panel = page.get_by_role("region", name="You are in the queue")
        expect(panel).to_contain_text("Number 1 of 1")
        expect(page.locator(".progress")).to_be_hidden()
        assert inaccessible(page) == []
        # The start hands over to the queue; the page goes on.
        eventually(lambda: gpus.settled("ann"))
        page.reload()
        expect(page.get_by_role("heading", name="You are in the queue")).to_be_visible()
        expect(page.get_by_text("Your server did not start")).to_be_hidden()
        eta = datetime.fromisoformat(gpus.api("GET", "berth/queue/ann/").json()["eta"]).astimezone(
            ZoneInfo("Asia/Tokyo")
        )
        expect(page.locator("#berth-queue-eta")).to_contain_text(f"{eta:%H:%M}")
        assert inaccessible(page) == []
        # Whoever comes back finds the queue too, wherever they look.
        _sign_in(later, gpus, "ann")
        expect(later.get_by_text("This server waits in the queue already, as number 1 of 1")).to_be_visible()
        later.goto(f"{gpus.url}/user/ann/lab")
        expect(later.get_by_role("heading", name="You are in the queue")).to_be_visible()
        assert inaccessible(later) == []
        later.goto(f"{gpus.url}/hub/home")
        expect(later.get_by_text("Number 1 of 1 in the queue")).to_be_visible()

        gpus.api("DELETE", "users/zoe/server").raise_for_status()
        page.wait_for_url(re.compile(r"/user/ann/lab"), timeout=60_000)
    lease = gpus.api("GET", "berth/lease?user=ann").json()["lease"]
    assert (lease["gpus"], lease["state"]) == (1, "active")


def test_one_may_leave_the_queue_at_any_time(gpus: Berth, browser: Browser) -> None:
    _hold(gpus, "zoe", gpus=2)
    with visitor(browser) as page:
        _sign_in(page, gpus, "ann")
        # While its start still waits, and after it has given up.
        for waits in (True, False):
            page.get_by_role("radio", name="GPU").check()
            _start(page)
            expect(page.get_by_text("Number 1 of 1", exact=True)).to_be_visible()
            if not waits:
                eventually(lambda: gpus.settled("ann"))
                page.reload()
            page.get_by_role("button", name="Leave the queue").click()
            expect(page.get_by_role("heading", name="Start your server")).to_be_visible()
            assert gpus.api("GET", "berth/queue/ann/").status_code == 404
            expect(page.get_by_text("waits in the queue already")).to_be_hidden()
    assert not gpus.ready("ann")


@pytest.mark.parametrize("waits", [True, False], ids=["while it waits", "afterwards"])
def test_one_may_give_up_waiting_for_a_cpu(gpus: Berth, browser: Browser, waits: bool) -> None:
    _hold(gpus, "zoe", gpus=2)
    with visitor(browser) as page:
        _sign_in(page, gpus, "ann")
        page.get_by_role("radio", name="GPU").check()
        _start(page)
        expect(page.get_by_text("Number 1 of 1", exact=True)).to_be_visible()
        if not waits:
            eventually(lambda: gpus.settled("ann"))
            page.reload()
        page.get_by_role("button", name="Start on CPU now").click()
        page.wait_for_url(re.compile(r"/user/ann/lab"), timeout=60_000)
    assert _options(gpus, "ann") == {"profile": "gpu", "gpus": 0}
    assert gpus.api("GET", "berth/queue/ann/").status_code == 404


def test_ones_gpus_on_the_home_page(gpus: Berth, browser: Browser) -> None:
    _hold(gpus, "eva", hours=0.5)  # nobody who has used any of the budget before
    with visitor(browser, **DARK) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        _sign_in(page, gpus, "eva")
        page.wait_for_url(re.compile(r"/user/eva/"))
        page.goto(f"{gpus.url}/hub/home")
        mine = page.get_by_role("region", name="Your GPUs")
        expect(mine).to_contain_text(re.compile(r"Simulated GPU\s*simulated on your default server, (29|30) min left"))
        expect(mine).to_contain_text("Your GPU quota: 1 of 2 GPUs in use; 39.5 of 40 GPU-hours left for these 7 days.")
        assert inaccessible(page) == []
        page.get_by_role("button", name="Extend the lease on your default server").click()
        expect(mine).to_contain_text(re.compile(r"(24 h|23 h 59 min) left"))
        expect(mine.get_by_role("alert")).to_contain_text("Extended.")
        page.get_by_role("button", name="Release the GPU of your default server").click()
        expect(mine).to_contain_text("0 of 2 GPUs in use", timeout=60_000)
        expect(mine.get_by_role("button")).to_have_count(0)
    eventually(lambda: gpus.ready("eva"))
    assert _options(gpus, "eva") == {"profile": "gpu", "gpus": 0}


@pytest.mark.parametrize("options", [{}, DARK, {**PHONE, **DARK}], ids=["light", "dark", "phone"])
def test_every_page_can_be_read(gpus: Berth, browser: Browser, options: dict[str, Any]) -> None:
    with visitor(browser, **options) as page:
        page.goto(gpus.url)
        assert inaccessible(page) == []
        _sign_in(page, gpus, "ann")
        for path in ("home", "spawn", "token", "user/ann/lab", "no-such-page"):
            page.goto(f"{gpus.url}/hub/{path}")
            assert inaccessible(page) == [], path


def _too_slow(route: Route) -> None:
    """Answer as the hub does where a busy machine takes more than a second to end a start."""
    if route.request.method == "DELETE":
        route.fulfill(status=500, json={"status": 500, "message": "Internal Server Error"})
    else:
        route.fallback()


def test_the_pending_page_stops_the_server_that_it_is_about(gpus: Berth, browser: Browser) -> None:
    gpus.add_user("ann")
    gpus.start_server("ann", {"profile": "cpu"}).raise_for_status()
    with visitor(browser) as page:
        _sign_in(page, gpus, "ann")
        page.wait_for_url(re.compile(r"/user/ann/"))
        page.goto(f"{gpus.url}/hub/spawn/ann/second")
        page.get_by_role("radio", name="Slow").check()
        _start(page)
        page.route("**/hub/api/users/ann/servers/second", _too_slow, times=1)
        with page.expect_response(lambda response: response.status == 500):
            page.get_by_role("button", name="Stop the start").click()
        expect(page.get_by_role("heading", name="Start second")).to_be_visible(timeout=30_000)
    eventually(lambda: gpus.settled("ann"))
    assert gpus.ready("ann")
    assert not gpus.ready("ann", "second")
