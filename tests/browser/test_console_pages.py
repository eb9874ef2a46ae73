"""All pages of the console in a real browser: for everybody, on every screen, by keyboard, without scripts.

Over a seeded ledger and a stand-in for the hub; what needs a whole hub is tried elsewhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, ViewportSize
from playwright.sync_api import Error as PlaywrightError

from spawner.console.callers import SESSION_COOKIE
from spawner.console.scopes import OF_PEOPLE
from spawner.ledger import Ledger

from ..console.access import ACCESS, MEMBER
from ..console.test_access import QUERIES, values
from ..support.browser import axe, visitor
from ..support.console import OF_HUB_ADMINS, PREFIX, ConsoleStand, open_console
from ..support.console_routes import routes_of
from ..support.console_server import served
from ..support.console_world import ANN, World, populate
from ..support.ledgers import copied, sqlite_template
from ..support.office import Office

__all__ = ["sqlite_template"]

pytestmark = [pytest.mark.browser]

PHONE, WIDE = ViewportSize(width=390, height=844), ViewportSize(width=1600, height=1000)
_MAY = {ANN: OF_PEOPLE, "olga": tuple(OF_HUB_ADMINS)}


@dataclass
class Site:
    """A console that is served.

    Attributes
    ----------
    world
        What is in it; None if nothing is.
    """

    stand: ConsoleStand
    address: str
    world: World | None

    def sign_in(self, page: Page, name: str) -> None:
        if name not in self.stand.hub.users:
            self.stand.hub.add_user(name)
        token = self.stand.hub.token(name, _MAY[name])
        sealed = self.stand.console.keys.seal({"token": token})
        context: BrowserContext = page.context
        context.add_cookies([{"name": SESSION_COOKIE, "value": sealed, "url": f"{self.address}{PREFIX}"}])

    def pages_of(self, name: str) -> list[str]:
        """List the paths of the pages that somebody may read; of a world without things, those that name none."""
        found = []
        for called in routes_of(self.stand.app):
            access = ACCESS[str(called)]
            if called.method != "GET" or called.in_api or access.anyone or access.endless:
                continue
            if (called.parameters or str(called) in QUERIES) and self.world is None:
                continue
            if called.parameters and called.path.startswith("mine/") and name != ANN:
                continue  # of things that are Ann's
            if name == ANN and (access.own not in {*OF_PEOPLE, "custom:berth:read:self"} or access.course > MEMBER):
                continue
            own = name == ANN or called.path.startswith("courses/")  # whose students others are not
            path = called.at(values(self.world, own=own)) if self.world else called.path
            query = urlencode(QUERIES.get(str(called), {}))
            found.append(f"{path}?{query}" if query else path)
        return found


@contextmanager
def site(template: Path, directory: Path, *, full: bool) -> Iterator[Site]:
    place = copied(template, directory)
    ledger = Ledger(place.url)
    with open_console(Office(ledger, place)) as stand:
        world = populate(stand) if full else None
        with served(stand.app) as address:
            yield Site(stand, address, world)
    ledger.close()


@pytest.fixture(scope="module")
def full(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(sqlite_template, tmp_path_factory.mktemp("full"), full=True) as made:
        yield made


@pytest.fixture(scope="module")
def empty(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(sqlite_template, tmp_path_factory.mktemp("empty"), full=False) as made:
        yield made


def _lost(request: Request) -> bool:
    """Tell whether a request failed, and was not just given up because the page is left."""
    return request.failure is not None and "ERR_ABORTED" not in request.failure


@contextmanager
def listening(page: Page) -> Iterator[list[str]]:
    """Note what the browser complains about, a broken content policy among it."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"failed: {request.url}") if _lost(request) else None)
    yield said


def read(page: Page, where: Site, path: str) -> bool:
    """Open a page; false if it is none, but a file or a fragment."""
    try:
        answer = page.goto(f"{where.address}{PREFIX}{path}", wait_until="load")
    except PlaywrightError as error:
        if "Download is starting" in error.message:
            return False
        raise
    assert answer is not None
    assert answer.status == 200, f"{path}: {answer.status}"
    return page.locator("html[lang]").count() > 0


# What another layout may break.
_OF_LAYOUT = ("target-size", "scrollable-region-focusable", "aria-hidden-focus", "th-has-data-cells", "td-headers-attr")


@pytest.mark.parametrize(("which", "name"), [("full", "olga"), ("full", ANN), ("empty", "olga"), ("empty", ANN)])
def test_nothing_serious_on_any_page(browser: Browser, request: pytest.FixtureRequest, which: str, name: str) -> None:
    """In light and dark, on a phone and a wide screen: axe-core finds nothing, all fits, the browser is content."""
    where: Site = request.getfixturevalue(which)
    wrong: list[str] = []
    with visitor(browser, viewport=WIDE, locale="en-GB", timezone_id="Europe/Berlin") as page, listening(page) as said:
        where.sign_in(page, name)
        for path in where.pages_of(name):
            said.clear()
            if not read(page, where, path):
                continue
            found = axe(page)
            page.emulate_media(color_scheme="dark")
            found += [f"dark: {told}" for told in axe(page, "color-contrast")]
            page.emulate_media(color_scheme="light")
            page.set_viewport_size(PHONE)
            found += [f"on a phone: {told}" for told in axe(page, *_OF_LAYOUT)]
            beyond = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
            if beyond > 0:
                found.append(f"on a phone: wider than the window by {beyond} pixels")
            wrong += [f"{path or '/'}: {told}" for told in found]
            wrong += [f"{path or '/'}: {told}" for told in said]
            page.set_viewport_size(WIDE)
    assert wrong == []


_FOCUSED = """() => {
    const one = document.activeElement;
    if (!one || one === document.body) return null;
    const style = getComputedStyle(one), box = one.getBoundingClientRect();
    const all = [...document.querySelectorAll("*")];
    const ringed = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
    return {
        html: one.outerHTML.slice(0, 120), place: all.indexOf(one), order: one.tabIndex,
        seen: ringed && box.width > 0 && box.right > 0 && box.left < innerWidth && box.bottom > 0
            && box.top < innerHeight,
    };
}"""
_MOST_STEPS = 60


def test_by_keyboard_alone(browser: Browser, full: Site) -> None:
    """Every page begins with a way past the menu; focus goes from top to bottom, and is always seen."""
    with visitor(browser, viewport=WIDE) as page:
        full.sign_in(page, "olga")
        for path in full.pages_of("olga"):
            if path.count("/") > 1 or not read(page, full, path):
                continue  # of those about one thing, few
            page.evaluate("() => document.activeElement?.blur()")  # of what a page focuses by itself
            page.keyboard.press("Tab")
            first = page.evaluate(_FOCUSED)
            if "skip" not in first["html"]:  # a field that was focused by itself
                page.evaluate("() => document.querySelector('a.skip').focus()")
                first = page.evaluate(_FOCUSED)
            assert first["seen"], f"{path}: the link to the content is not seen when it is focused"
            place = first["place"]
            for _ in range(_MOST_STEPS):
                page.keyboard.press("Tab")
                focused = page.evaluate(_FOCUSED)
                if focused is None or "skip" in focused["html"]:
                    break
                assert focused["seen"], f"{path}: the focus cannot be seen at {focused['html']}"
                assert focused["order"] == 0, f"{path}: out of order: {focused['html']}"
                within = focused["place"] == place and 'type="date"' in focused["html"]  # day, month, year
                assert focused["place"] > place or within, f"{path}: the focus goes back at {focused['html']}"
                place = focused["place"]
            page.locator("a.skip").focus()
            page.keyboard.press("Enter")
            assert page.evaluate("() => document.activeElement.id") == "main", path


def test_without_scripts(browser: Browser, full: Site) -> None:
    """What can be read with scripts can be read without them: the same headings, tables and forms."""
    shown: list[dict[str, list[int]]] = []
    for scripts in (True, False):
        with visitor(browser, viewport=WIDE, java_script_enabled=scripts) as page:
            full.sign_in(page, "olga")
            shown.append({})
            for path in full.pages_of("olga"):
                if read(page, full, path):
                    assert page.locator("main h1").first.is_visible(), path
                    counts = [page.locator(f"main {what}").count() for what in ("h1, h2, h3", "tr", "form", "time")]
                    shown[-1][path] = counts
    assert shown[0] == shown[1]
