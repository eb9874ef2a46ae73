"""The board of a class in a browser: it moves by itself, and staff act on seats from it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from spawner.console.callers import SESSION_COOKIE
from spawner.console.rendering import ZONE_COOKIE
from spawner.console.scopes import OF_PEOPLE
from spawner.ledger import Ledger
from spawner.operations import class_board, seats
from spawner.policy.classes import Session, Wish

from ..support.browser import axe, visitor
from ..support.classroom import class_in_session, readings_of
from ..support.console import PREFIX, ConsoleStand, open_console
from ..support.console_server import served
from ..support.ledgers import copied, sqlite_template
from ..support.office import Office

__all__ = ["sqlite_template"]

pytestmark = [pytest.mark.browser]


@pytest.fixture
def stand(sqlite_template: Path, tmp_path: Path) -> Iterator[ConsoleStand]:
    place = copied(sqlite_template, tmp_path)
    ledger = Ledger(place.url)
    with open_console(Office(ledger, place)) as opened:
        yield opened
    ledger.close()


def sign_in(page: Page, stand: ConsoleStand, address: str) -> None:
    stand.hub.add_user("tom")
    sealed = stand.console.keys.seal({"token": stand.hub.token("tom", OF_PEOPLE)})
    known = {SESSION_COOKIE: sealed, ZONE_COOKIE: "Europe%2FBerlin"}
    page.context.add_cookies(
        [{"name": name, "value": value, "url": f"{address}{PREFIX}"} for name, value in known.items()]
    )


def test_a_class_at_its_board(browser: Browser, stand: ConsoleStand, tmp_path: Path) -> None:
    session = class_in_session(stand.office, 12)
    readings_of(stand.office, stand.console.readings, 12)
    with served(stand.app) as address:
        board = f"{address}{PREFIX}courses/ml/sessions/{session.id}/board"
        with visitor(browser, viewport={"width": 1600, "height": 1000}, timezone_id="Europe/Berlin") as page:
            sign_in(page, stand, address)
            page.goto(board)
            _moves_by_itself(page, stand, session)
            assert axe(page) == []
            _several_are_restarted(page, stand, session)
            _a_hand_is_lowered(page)
            _a_server_is_opened(page)
            _a_message_and_a_file(page, tmp_path)
            _names_are_hidden(page, board)
        with visitor(
            browser, viewport={"width": 390, "height": 844}, color_scheme="dark", timezone_id="Europe/Berlin"
        ) as phone:
            sign_in(phone, stand, address)
            for where in (board, f"{board}?names=hidden", f"{board}/seats/ada", f"{board}/do?action=time&user=ada"):
                phone.goto(where)
                assert axe(phone) == [], where
                assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
            phone.goto(board.replace("/board", "/report"))
            assert axe(phone) == []
            assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")


def _moves_by_itself(page: Page, stand: ConsoleStand, session: Session) -> None:
    expect(page.get_by_role("article")).to_have_count(12)
    expect(page.locator("#live-note")).to_have_text("live")
    page.evaluate("() => { window.same = true; }")
    hands = page.get_by_role("region", name="2 ask for help")
    expect(hands.get_by_role("listitem").first).to_contain_text("grace since 14:13")
    for name in ("ada", "bela"):
        page.get_by_role("checkbox", name=f"Choose {name}", exact=True).check()
    seats.raise_hand(stand.office.desk, session.id, "ada")
    seats.note(stand.office.desk, session.id, "bela", problem="It hangs <b>.")
    expect(page.get_by_role("region", name="3 ask for help").get_by_role("listitem").last).to_contain_text("ada")
    expect(page.get_by_role("article", name="bela", exact=True)).to_contain_text("! stuck")
    expect(page.get_by_role("article", name="bela", exact=True)).to_contain_text("It hangs <b>.")
    # Said to who hears the page; and what was chosen stays so.
    expect(page.locator("#class-said")).to_have_text("3 ask for help: grace, carl, ada. 2 seats are stuck.")
    expect(page.locator(".pick:checked")).to_have_count(2)
    assert page.evaluate("() => window.same") is True


def _several_are_restarted(page: Page, stand: ConsoleStand, session: Session) -> None:
    page.get_by_label("With those chosen").select_option("Restart")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("main")).to_contain_text("It is about 2 seats: ada, bela")
    assert axe(page) == []
    page.get_by_label("Reason").fill("they hang")
    page.get_by_role("button", name="Restart").click()
    expect(page.get_by_role("status").filter(has_text="restarted")).to_have_text("To be restarted: ada, bela.")
    expect(page.get_by_role("article", name="ada", exact=True)).to_contain_text("to be restarted")
    found = class_board.class_board(stand.office.desk, session.id).by_user
    assert [found[name].seat.wish for name in ("ada", "bela", "carl")] == [Wish.RESTART, Wish.RESTART, Wish.NONE]


def _a_hand_is_lowered(page: Page) -> None:
    hands = page.get_by_role("region", name=re.compile("ask for help"))
    hands.get_by_role("button", name="Lower the hand of grace").click()
    expect(page.get_by_role("main")).to_contain_text("Hands lowered: grace.")
    expect(hands.get_by_role("listitem").first).to_contain_text("carl")


def _a_server_is_opened(page: Page) -> None:
    with page.expect_popup() as opened:
        page.get_by_role("article", name="dora", exact=True).get_by_role("button", name="Open").click()
    opened.value.wait_for_url("**/user/dora/ml/")
    opened.value.close()


def _a_message_and_a_file(page: Page, tmp_path: Path) -> None:
    page.get_by_role("link", name="Message to all").click()
    page.get_by_label("Message").fill("Have a look at the second cell.")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("main")).to_contain_text("Sent to all seats.")
    page.get_by_role("link", name="Send a file").click()
    file = tmp_path / "task.ipynb"
    file.write_text("{}")
    page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Send to all").click()
    row = page.get_by_role("row", name="task.ipynb")
    expect(row).to_contain_text("in 0 of 12 homes · 12 are still to come")
    assert axe(page) == []


def _names_are_hidden(page: Page, board: str) -> None:
    page.goto(board)
    page.get_by_text("Shown: all seats").click()
    page.get_by_role("link", name="Names hidden, for a projector").click()
    expect(page.get_by_role("article", name="Seat 1", exact=True)).to_contain_text("working")
    expect(page.get_by_role("main")).not_to_contain_text("ada")
    expect(page.locator("#live-note")).to_have_text("live")
    assert axe(page) == []
