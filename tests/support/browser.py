"""Debian's Chromium, driven by Playwright, that reaches this machine only."""

import contextlib
import functools
import os
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, BrowserType, Page, Route, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from .compiling import compile_c
from .npm import npm_ci

AXE = Path(__file__).with_name("axe")
_NO_NETLINK = Path(__file__).with_name("no_netlink.c")


def chromium_path() -> str | None:
    """Find the browser, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser without a window."""
    with sync_playwright() as playwright:
        browser = _launch(playwright.chromium)
        try:
            yield browser
        finally:
            _alive(browser).close()


# By which a browser's process is found; and what was started in place of one that was killed.
_MARKS: dict[Browser, str] = {}
_INSTEAD: dict[Browser, Browser] = {}
_PATIENCE = 60  # seconds


def _launch(kind: BrowserType) -> Browser:
    mark = f"--started-for-test={uuid.uuid4().hex}"
    browser = kind.launch(
        executable_path=chromium_path(),
        # In a container /dev/shm may hold 64 MiB only, and a page of JupyterLab that finds no room there crashes.
        args=["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage", mark],
        env={**os.environ, "LD_PRELOAD": str(Path(_without_netlink().name, "no_netlink.so"))},
    )
    _MARKS[browser] = mark
    return browser


@functools.cache
def _without_netlink() -> "tempfile.TemporaryDirectory[str]":
    """Compile what keeps Chromium from hearing of networks that come and go."""
    directory = tempfile.TemporaryDirectory()
    made = Path(directory.name, _NO_NETLINK.name).with_suffix(".so")
    compile_c(_NO_NETLINK, made, "-fPIC", "-shared")
    return directory


def _alive(browser: Browser) -> Browser:
    """Give a browser, or the one that runs in its place since it was killed."""
    while not browser.is_connected():
        if browser not in _INSTEAD:
            _INSTEAD[browser] = _launch(browser.browser_type)
        browser = _INSTEAD[browser]
    return browser


def _close(browser: Browser, context: BrowserContext) -> None:
    """Close a context; a browser that does not get that done is killed.

    Seen once in hundreds of times: Chromium never ends to close a context whose page was just going somewhere.
    """
    overdue = threading.Timer(_PATIENCE, _kill, [_MARKS[browser]])
    overdue.start()
    try:
        context.unroute_all(behavior="ignoreErrors")
        context.close()
    except PlaywrightError:
        if browser.is_connected():
            raise
    finally:
        overdue.cancel()


def _kill(mark: str) -> None:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if mark.encode() in words and not any(word.startswith(b"--type=") for word in words):
                os.kill(int(entry.parent.name), signal.SIGKILL)


@contextlib.contextmanager
def visitor(browser: Browser, **options: Any) -> Iterator[Page]:
    """Open a page as someone new: no cookies yet. What leaves this machine fails at once instead of stalling.

    Parameters
    ----------
    options
        Of the browser's context, such as ``color_scheme="dark"``.
    """
    browser = _alive(browser)
    context = browser.new_context(ignore_https_errors=True, **options)
    context.set_default_timeout(10_000)
    context.route("**/*", _stay_here)
    said: list[str] = []
    context.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    context.on("requestfailed", lambda request: said.append(f"failed: {request.method} {request.url}"))
    context.on("response", lambda answer: said.append(f"{answer.status}: {answer.url}") if not answer.ok else None)
    page = context.new_page()
    page.on("crash", lambda _: said.append("the page has crashed"))
    try:
        yield page
    except Exception as error:
        error.add_note(_describe(page, said))
        raise
    finally:
        _close(browser, context)


def _describe(page: Page, said: list[str]) -> str:
    """Tell what a page shows, and what the browser said of late, for whoever reads why a test failed."""
    try:
        text = " ".join(page.inner_text("body").split())[:1500]
    except PlaywrightError as error:
        text = f"(cannot be read: {error.message})"
    return "\n".join([f"The page {page.url} shows: {text}", *said[-30:]])


def _stay_here(route: Route) -> None:
    if urlsplit(route.request.url).hostname in {"127.0.0.1", "localhost", None}:
        route.continue_()
    else:
        route.abort()


def inaccessible(page: Page) -> list[str]:
    """List what on a page, as it shows now, has no name, too little contrast, or no room."""
    script = Path(__file__).with_name("accessible.js").read_text(encoding="utf-8")
    # Its leading comment is not part of the function.
    found: list[str] = page.evaluate(script[script.index("() =>") :].rstrip().rstrip(";"))
    return found


def axe(page: Page, *rules: str, within: Sequence[str] = ()) -> list[str]:
    """List what axe-core finds on a page, as it shows now, that is serious or critical; of some rules, if named.

    Parameters
    ----------
    within
        Selectors of the parts that are looked at; left out, all of it.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate((npm_ci(AXE) / "axe-core/axe.min.js").read_text(encoding="utf-8"))
    # Colours change slowly: what is wrong stays so.
    if not _violations(page, rules, within):
        return []
    page.wait_for_timeout(200)
    return _violations(page, rules, within)


def _violations(page: Page, rules: Sequence[str], within: Sequence[str]) -> list[str]:
    found = page.evaluate(
        """async ({ rules, within }) => {
            const chosen = rules.length ? { runOnly: rules } : {};
            const options = { resultTypes: ["violations"], iframes: false, ...chosen };
            const { violations } = await axe.run(within.length ? { include: within } : document, options);
            return violations.flatMap(({ id, impact, help, nodes }) =>
                nodes.map((node) => [impact, `${id} (${impact}): ${help}: ${node.html.slice(0, 160)}`]));
        }""",
        {"rules": list(rules), "within": [[selector] for selector in within]},
    )
    return [told for impact, told in found if impact in {"serious", "critical"}]
