"""What an admin does with leases, queue, use and audit in a browser, from the first look to the entry that stays."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from spawner.console.callers import SESSION_COOKIE
from spawner.ledger import Ledger
from spawner.operations import ends
from spawner.policy.leases import Lease

from ..support.browser import visitor
from ..support.console import OF_HUB_ADMINS, PREFIX, ConsoleStand, open_console
from ..support.console_server import served
from ..support.ledgers import copied, sqlite_template
from ..support.office import HOUR, NOW, Office
from ..support.slots import gpus

__all__ = ["sqlite_template"]

pytestmark = [pytest.mark.browser]


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """Ann has had two GPUs for four hours, idle for two; Bob has the third, for which Eve and Fay wait."""
    place = copied(sqlite_template, tmp_path)
    ledger = Ledger(place.url)
    made = Office(ledger, place)
    made.clock.now = NOW - 4 * HOUR
    made.fit(gpus(2, model="T4"), gpus(1, model="A100", first=2))
    ann = made.running("ann", 2, 24, models=frozenset({"T4"}))
    made.running("bob", 1, 24, models=frozenset({"A100"}))
    for user in ("eve", "fay"):
        made.queued(user, 1, 4, models=frozenset({"A100"}))
    made.wait(2 * HOUR)
    ends.note_idle(made.desk, made.lease(ann.id), made.clock.now)
    made.wait(2 * HOUR)
    yield made
    ledger.close()


@pytest.fixture
def stand(office: Office) -> Iterator[ConsoleStand]:
    with open_console(office) as opened:
        yield opened


def lease_of(office: Office, user: str) -> Lease:
    with office.ledger.reading() as books:
        [found] = [lease for lease in books.leases.open() if lease.user == user]
    return found


def sign_in(page: Page, stand: ConsoleStand, address: str) -> None:
    stand.hub.add_user("olga", admin=True)
    sealed = stand.console.keys.seal({"token": stand.hub.token("olga", OF_HUB_ADMINS)})
    page.context.add_cookies([{"name": SESSION_COOKIE, "value": sealed, "url": f"{address}{PREFIX}"}])


def test_an_admins_round(browser: Browser, stand: ConsoleStand, office: Office) -> None:
    with served(stand.app) as address, visitor(browser, timezone_id="Europe/Berlin") as page:
        sign_in(page, stand, address)
        page.goto(f"{address}{PREFIX}leases")
        _end_the_hoarders_lease(page, office)
        _be_refused_in_a_second_window(page, stand, office)
        _move_up_and_send_away(page, office)
        _see_what_was_used(page)
        _find_it_in_the_audit(page)


def _end_the_hoarders_lease(page: Page, office: Office) -> None:
    idle = page.get_by_role("region", name="Held, but idle now")
    expect(idle).to_contain_text("4.0 GPU-hours")
    idle.get_by_role("row", name="ann").get_by_role("link", name="End").click()
    expect(page.get_by_role("heading", name="End the lease of ann?")).to_be_visible()
    page.get_by_role("button", name="End this lease").click()  # the browser asks for the reason first
    expect(page.get_by_role("heading", name="End the lease of ann?")).to_be_visible()
    page.get_by_label("When").select_option("in an hour")
    page.get_by_label("Reason").fill("others wait")
    page.get_by_role("button", name="End this lease").click()
    expect(page.get_by_role("status")).to_contain_text("The lease of ann ends in an hour")
    expect(page.get_by_role("main")).to_contain_text("An admin ended it")
    assert lease_of(office, "ann").ends_at == office.clock.now + HOUR


def _be_refused_in_a_second_window(page: Page, stand: ConsoleStand, office: Office) -> None:
    bob = lease_of(office, "bob")
    page.goto(f"{page.url.partition('/leases/')[0]}/leases/{bob.id}/end")
    answer = stand.as_admin("petra").post(
        f"api/v1/leases/{bob.id}/end", json={"why": "repairs", "notice_minutes": 30}, headers={"If-Match": "*"}
    )
    assert answer.status_code == 200
    page.get_by_label("Reason").fill("others wait")
    page.get_by_role("button", name="End this lease").click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody has changed this lease meanwhile")
    expect(page.get_by_label("Reason")).to_have_value("others wait")
    assert lease_of(office, "bob").ends_at == office.clock.now + timedelta(minutes=30)


def _move_up_and_send_away(page: Page, office: Office) -> None:
    page.get_by_role("link", name="Leases and queue").first.click()
    page.get_by_role("link", name="Queue", exact=True).click()
    page.get_by_role("row", name="fay").get_by_role("link", name="Move up").click()
    page.get_by_label("Reason").fill("a deadline")
    page.get_by_role("button", name="Move up").click()
    expect(page.get_by_role("status")).to_contain_text("fay is next.")
    expect(page.get_by_role("row").nth(1)).to_contain_text("fay")
    page.get_by_role("row", name="eve").get_by_role("link", name="Send away").click()
    page.get_by_label("Reason").fill("left us")
    page.get_by_role("button", name="Send out of the queue").click()
    expect(page.get_by_role("status")).to_contain_text("eve waits no more.")
    with office.ledger.reading() as books:
        assert [ticket.user for ticket in books.tickets.waiting()] == ["fay"]


def _see_what_was_used(page: Page) -> None:
    page.get_by_role("link", name="Use", exact=True).click()
    expect(page.get_by_role("img", name="GPU-hours a day")).to_be_visible()
    page.get_by_role("link", name="ann").click()
    expect(page.get_by_role("row", name="Mon, 1 Mar 2027").last).to_contain_text("8.0")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save as CSV").click()
    assert saved.value.path().read_text().startswith("day,gpu_ms,")
    page.get_by_role("link", name="Waste").click()
    expect(page.get_by_role("main")).to_contain_text("GPU-hours wasted")
    page.get_by_role("link", name="The week").click()
    # 09:00 there is 08:00 in UTC: three GPUs that were held all through it.
    expect(page.get_by_title("Mon 1, 09: 3", exact=True)).to_be_visible()


def _find_it_in_the_audit(page: Page) -> None:
    page.get_by_role("link", name="Audit").click()
    page.get_by_label("Search").fill("DEADLINE")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("row").nth(1)).to_contain_text("ticket.move_up")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save as CSV").click()
    assert "a deadline" in saved.value.path().read_text()
