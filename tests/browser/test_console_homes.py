"""Homes in a real browser: what an admin wishes, and how the page tells that the janitor does it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from spawner.console.callers import SESSION_COOKIE
from spawner.ledger import Ledger
from spawner.operations import home_work as work
from spawner.operations import homes
from spawner.policy.homes import HomeState

from ..support.browser import visitor
from ..support.console import OF_HUB_ADMINS, PREFIX, ConsoleStand, open_console
from ..support.console_server import served
from ..support.ledgers import copied, sqlite_template
from ..support.office import NOW, Office

__all__ = ["sqlite_template"]

pytestmark = pytest.mark.browser

GIB = 1 << 30


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """An office with homes of Ann and Bob."""
    place = copied(sqlite_template, tmp_path)
    ledger = Ledger(place.url)
    made = Office(ledger, place)
    names = "ann", "bob"
    long_ago = NOW - timedelta(days=200)
    work.take_over(made.desk, [work.SeenVolume(f"v-{name}", name, long_ago, in_use=False) for name in names], "v-", NOW)
    for name, size in zip(names, (4 * GIB, GIB), strict=True):
        work.note_size(made.desk, f"v-{name}", size, None)
    yield made
    ledger.close()


def sign_in(page: Page, stand: ConsoleStand, address: str) -> None:
    stand.hub.add_user("olga")
    sealed = stand.console.keys.seal({"token": stand.hub.token("olga", OF_HUB_ADMINS)})
    page.context.add_cookies([{"name": SESSION_COOKIE, "value": sealed, "url": f"{address}{PREFIX}"}])


@pytest.mark.parametrize("scripts", [True, False])
def test_archived_before_ones_eyes(browser: Browser, office: Office, scripts: bool) -> None:
    desk = office.desk
    with (
        open_console(office) as stand,
        served(stand.app) as address,
        visitor(browser, java_script_enabled=scripts, locale="en-GB") as page,
    ):
        sign_in(page, stand, address)
        page.goto(f"{address}{PREFIX}homes")
        page.get_by_role("link", name="Archive ann").click()
        expect(page.get_by_role("heading", name="Archive a home")).to_be_visible()
        expect(page.get_by_role("main")).to_contain_text("4 GiB")
        page.get_by_label("Reason").fill("not used since summer")
        page.get_by_role("button", name="Archive").click()
        expect(page.get_by_role("status")).to_contain_text("is being archived")
        expect(page.get_by_text("not used since summer").first).to_be_visible()
        assert homes.find(desk, "ann").state is HomeState.ARCHIVING
        # The janitor's part.
        assert work.claim(desk, "v-ann", "w")
        assert work.beat(desk, "v-ann", "w", GIB)
        if not scripts:
            page.reload()
        expect(page.locator("progress")).to_have_attribute("value", "25")
        assert work.seal(desk, "v-ann", "w", GIB // 2, "5a" * 32, {})
        assert work.finish(desk, "v-ann", "w")
        if not scripts:
            page.reload()
        expect(page.locator(".tag", has_text="Archived")).to_be_visible()
        # What can be done now is shown, too: the whole page is new.
        page.get_by_role("link", name="Delete").click()
        page.get_by_label("Days until then").fill("7")
        page.get_by_label("Reason").fill("left")
        page.get_by_role("button", name="Delete").click()
        expect(page.locator(".tag", has_text="To be deleted")).to_be_visible()
        page.goto(f"{address}{PREFIX}homes?shown=deleting")
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_role("link", name="Take back ann").click()
        page.get_by_label("Reason").fill("is back")
        page.get_by_role("button", name="Take back").click()
        expect(page.locator(".tag", has_text="Archived")).to_be_visible()
    assert [entry.action for entry in office.audit()] == [
        "home.archive",
        "home.archived",
        "home.delete",
        "home.cancel",
    ]
