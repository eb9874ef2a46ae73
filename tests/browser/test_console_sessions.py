"""Planning a session in a real browser: the hint follows what is typed, with a script and without one.

Over a ledger of the test's own and a stand-in for the hub; a whole class, with a whole hub, is tried elsewhere.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from spawner.console.callers import SESSION_COOKIE
from spawner.console.scopes import OF_PEOPLE
from spawner.ledger import Ledger
from spawner.operations import courses, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role
from spawner.policy.gpus import SlotKind

from ..support.browser import axe, inaccessible, visitor
from ..support.console import PREFIX, ConsoleStand, open_console
from ..support.console_server import served
from ..support.ledgers import copied, sqlite_template
from ..support.office import HOUR, NOW, Office
from ..support.slots import gpus, shared

__all__ = ["sqlite_template"]

pytestmark = [pytest.mark.browser]

COURSE = Course("ml", "Deep learning", "gpu", "", NOW, gpus=1, kinds=frozenset({SlotKind.EXCLUSIVE}))
PHONE = ViewportSize(width=390, height=844)


@pytest.fixture(scope="module")
def site(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ConsoleStand, str]]:
    """Ines gives a course with three students on four GPUs; another has three of them on Tuesday."""
    place = copied(sqlite_template, tmp_path_factory.mktemp("sessions"))
    ledger = Ledger(place.url)
    with open_console(Office(ledger, place)) as stand:
        office = stand.office
        office.fit(gpus(4, model="A100"), shared(8, index=4, model="T4"))
        for course, who in ((COURSE, "ines"), (replace(COURSE, id="art", title="Arts"), "ida")):
            assert isinstance(courses.create(office.desk, course, who), Course)
        courses.enrol(office.desk, "ml", ["ann", "bob", "cyd"], Role.STUDENT, "ines")
        starts = NOW + timedelta(days=1, hours=2)
        answer = sessions.book(office.desk, Plan("art", [(starts, starts + 2 * HOUR)], 3), "ida")
        assert isinstance(answer, Planned)
        with served(stand.app) as address:
            yield stand, address
    ledger.close()


def sign_in(page: Page, site: tuple[ConsoleStand, str], name: str) -> None:
    stand, address = site
    if name not in stand.hub.users:
        stand.hub.add_user(name)
    sealed = stand.console.keys.seal({"token": stand.hub.token(name, OF_PEOPLE)})
    page.context.add_cookies([{"name": SESSION_COOKIE, "value": sealed, "url": f"{address}{PREFIX}"}])


def clean(page: Page) -> None:
    assert axe(page) == []
    assert inaccessible(page) == []


def test_a_class_is_planned(site: tuple[ConsoleStand, str], browser: Browser) -> None:
    root = f"{site[1]}{PREFIX}"
    with visitor(browser, timezone_id="Europe/Berlin") as page:
        sign_in(page, site, "ines")
        page.goto(f"{root}courses/ml/sessions")
        page.get_by_role("link", name="Plan the first session").click()
        page.reload()  # by now the browser has said its zone
        expect(page.get_by_text("By the clocks of Europe/Berlin.")).to_be_visible()
        fit = page.get_by_role("complementary", name="Does it fit?")
        expect(fit).to_contain_text("Say the day")
        page.get_by_label("Day", exact=True).fill("2027-03-02")
        page.get_by_label("Begins", exact=True).fill("15:00")
        page.get_by_label("Ends", exact=True).fill("17:00")
        expect(fit).to_contain_text("It does not fit. On 2 Mar, 15:00: 1 seat is to be had, and 3 are asked for.")
        clean(page)
        page.get_by_label("Seats", exact=True).fill("1")
        expect(fit).to_contain_text("It fits. 1 seat, 2 Mar, 15:00")
        clean(page)
        page.get_by_label("Seats", exact=True).fill("3")
        expect(fit).to_contain_text("It does not fit.")
        fit.get_by_role("link", name="Tue 2 Mar, 17:30").click()
        expect(page.get_by_label("Begins", exact=True)).to_have_value("17:30")
        expect(page.get_by_label("Ends", exact=True)).to_have_value("19:30")
        expect(fit).to_contain_text("It fits. 3 seats")
        page.get_by_label("Title").fill("Backpropagation")
        page.get_by_role("button", name="Reserve it").click()
        expect(page.get_by_role("status")).to_contain_text("The session is planned.")
        expect(page.get_by_role("heading", name="Backpropagation")).to_be_visible()
        clean(page)

        page.get_by_role("link", name="Change").click()
        page.get_by_label("Ends", exact=True).fill("20:00")
        expect(fit).to_contain_text("2 h 30 min")
        page.get_by_role("button", name="Change it").click()
        expect(page.get_by_role("status")).to_contain_text("The session is changed.")
        page.get_by_role("link", name="Calendar").click()
        expect(page.get_by_role("img", name=re.compile("^A100, Whole GPU. 4 in all"))).to_be_visible()
        clean(page)

        page.goto(f"{root}courses/ml/sessions")
        page.get_by_role("link", name="Call off").click()
        clean(page)
        page.get_by_role("button", name="Call it off").click()
        expect(page.get_by_role("status")).to_contain_text("The session is called off.")


@pytest.mark.parametrize("options", [{"color_scheme": "dark"}, {"viewport": PHONE}], ids=["dark", "phone"])
def test_it_can_be_read_by_everybody(site: tuple[ConsoleStand, str], browser: Browser, options: Any) -> None:
    root = f"{site[1]}{PREFIX}"
    filled = "shown=1&zone=UTC&late=first&lead=15&grace=15&date=2027-03-02&begins=14:00&ends=16:00"
    with visitor(browser, **options) as page:
        sign_in(page, site, "ines")
        for path in (
            "calendar",
            f"courses/ml/sessions/new?{filled}&seats=3",
            f"courses/ml/sessions/new?{filled}&seats=1",
            f"courses/ml/sessions/new?{filled}&seats=x&weekly=1",
            "courses/ml/sessions",
        ):
            answer = page.goto(f"{root}{path}")
            assert answer is not None
            assert answer.ok
            clean(page)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_without_a_script(site: tuple[ConsoleStand, str], browser: Browser) -> None:
    with visitor(browser, java_script_enabled=False) as page:
        sign_in(page, site, "ines")
        page.goto(f"{site[1]}{PREFIX}courses/ml/sessions/new")
        page.get_by_label("Day", exact=True).fill("2027-03-02")
        page.get_by_label("Begins", exact=True).fill("14:00")
        page.get_by_label("Ends", exact=True).fill("16:00")
        page.get_by_role("button", name="Check").click()
        fit = page.get_by_role("complementary", name="Does it fit?")
        expect(fit).to_contain_text("It does not fit.")
        fit.get_by_role("link", name="Fewer seats: 1").click()
        expect(fit).to_contain_text("It fits. 1 seat")
