"""A class of forty as its staff see it: the documentation's pictures of it, taken as the console's are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from spawner.console.callers import SESSION_COOKIE
from spawner.console.rendering import ZONE_COOKIE
from spawner.console.scopes import OF_PEOPLE
from spawner.ledger import Ledger
from spawner.operations import announcements, courses, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, Session

from ..support.browser import visitor
from ..support.classroom import COURSE, class_in_session, end_class, readings_of, student
from ..support.console import PREFIX, ConsoleStand, open_console
from ..support.console_server import served
from ..support.ledgers import copied, sqlite_template
from ..support.office import HOUR, NOW, Office
from .test_docs_pictures import pictures, take

__all__ = ["pictures", "sqlite_template", "take"]

pytestmark = [pytest.mark.browser]

STUDENTS = 40
TOMORROW = NOW + timedelta(days=1, hours=2)


@pytest.fixture
def stand(sqlite_template: Path, tmp_path: Path) -> Iterator[ConsoleStand]:
    place = copied(sqlite_template, tmp_path)
    ledger = Ledger(place.url)
    with open_console(Office(ledger, place)) as opened:
        opened.hub.add_user("ines")
        yield opened
    ledger.close()


@pytest.fixture
def session(stand: ConsoleStand) -> Session:
    """Forty students meet, and tomorrow another class has most of the GPUs."""
    session = class_in_session(stand.office, STUDENTS)
    readings_of(stand.office, stand.console.readings, STUDENTS)
    desk = stand.office.desk
    other = replace(COURSE, id="vision", title="Computer vision")
    assert isinstance(courses.create(desk, other, "ida"), Course)
    courses.enrol(desk, other.id, [student(number) for number in range(26)], Role.STUDENT, "ida")
    for days in (0, 2):
        starts = TOMORROW + timedelta(days=days)
        answer = sessions.book(desk, Plan(other.id, [(starts, starts + 2 * HOUR)], 26), "ida")
        assert isinstance(answer, Planned), answer
    announcements.announce(desk, session.id, "Have a look at the second cell.", "ines")
    return session


@contextmanager
def reading(browser: Browser, stand: ConsoleStand, height: int) -> Iterator[Callable[[str], Page]]:
    size = ViewportSize(width=1200, height=height)
    with (
        served(stand.app) as address,
        visitor(browser, viewport=size, locale="en-GB", timezone_id="Europe/Berlin") as page,
    ):
        root = f"{address}{PREFIX}"
        sealed = stand.console.keys.seal({"token": stand.hub.token("ines", OF_PEOPLE)})
        known = {SESSION_COOKIE: sealed, ZONE_COOKIE: "Europe%2FBerlin"}
        page.context.add_cookies([{"name": name, "value": value, "url": root} for name, value in known.items()])

        def opened(path: str) -> Page:
            page.goto(f"{root}{path}")
            expect(page.locator("main h1")).to_be_visible()
            expect(page.get_by_role("heading", name="There is no such thing")).to_have_count(0)
            return page

        yield opened


def test_what_an_instructor_sees(
    browser: Browser, stand: ConsoleStand, session: Session, take: Callable[[Page, str], None]
) -> None:
    where = f"courses/ml/sessions/{session.id}"
    with reading(browser, stand, 1000) as opened:
        page = opened(f"{where}/board")
        expect(page.get_by_role("article")).to_have_count(STUDENTS)
        expect(page.locator("#live-note")).to_have_text("live")
        take(page, "class-board")
        page = opened("courses/ml/sessions/new")
        page.get_by_label("Title").fill("Backpropagation")
        page.get_by_label("Day", exact=True).fill(f"{TOMORROW:%Y-%m-%d}")
        page.get_by_label("Begins", exact=True).fill("15:00")
        page.get_by_label("Ends", exact=True).fill("17:00")
        expect(page.get_by_role("complementary", name="Does it fit?")).to_contain_text("It does not fit.")
        take(page, "class-plan")
        take(opened("calendar"), "class-calendar")
    end_class(stand.office, session)
    with reading(browser, stand, 1000) as opened:
        page = opened(f"{where}/report")
        expect(page.get_by_role("row", name=student(20))).to_be_visible()
        take(page, "class-report")
