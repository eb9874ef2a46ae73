"""Whatever people call themselves, their groups and their reasons: it is text, in pages, files and headers alike.

And what is secret stands nowhere but where it has to.
"""

import csv
import io
import logging
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest

from spawner.console.callers import SESSION_COOKIE
from spawner.console.context import Console
from spawner.ledger import Ledger

from ..support.console import OF_HUB_ADMINS, PREFIX, Visitor, open_console
from ..support.console_routes import Called, routes_of
from ..support.console_world import HOSTILE, HOSTILE_GROUP, HOSTILE_MODEL, HOSTILE_REASON, World, populate
from ..support.ledgers import copied
from ..support.office import Office
from .access import ACCESS
from .test_access import QUERIES, values

# Of which a page may carry no part that is not escaped.
RAW = [text for text in (*HOSTILE, HOSTILE_GROUP, HOSTILE_MODEL, HOSTILE_REASON) if "<" in text]
# What a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
SECRET = "s3cret-hub-t0ken"


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place = copied(sqlite_template, tmp_path_factory.mktemp("hostile"))
    ledger = Ledger(place.url)
    with open_console(Office(ledger, place)) as stand:
        yield populate(stand)
    ledger.close()


class Elements(HTMLParser):
    """All elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def reads(world: World) -> Iterator[Called]:
    for called in routes_of(world.console.app):
        access = ACCESS[str(called)]
        if called.method == "GET" and not access.endless and "oauth" not in called.path and called.path != "logout":
            yield called


def get(world: World, called: Called, somebody: Visitor, **more: str) -> httpx2.Response:
    path = called.at({**values(world, own=False), **more})
    answer: httpx2.Response = somebody.get(path, params=QUERIES.get(str(called)), follow_redirects=False)
    return answer


def check(answer: httpx2.Response, told: str) -> None:
    """Check that an answer carries nothing that a browser would do."""
    for name, value in answer.headers.items():
        assert value.isascii(), (told, name)
        assert value.isprintable(), (told, name)
    if not answer.headers.get("Content-Type", "").startswith("text/html"):
        assert answer.headers["X-Content-Type-Options"] == "nosniff", told
        return
    for text in RAW:
        assert text not in answer.text, told
    for tag, attributes in Elements(answer.text).found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (told, tag, attributes)
        if tag == "script":
            assert (attributes.get("src") or "").startswith(f"{PREFIX}static/"), (told, attributes)
        for link in ("href", "src", "action", "formaction", "hx-get", "hx-post"):
            assert not re.match(r"\s*(javascript|data|vbscript):|//", attributes.get(link) or ""), (told, attributes)
        assert tag not in {"style", "iframe", "object", "embed", "base"}, (told, tag)


def test_pages_and_answers_show_text(world: World) -> None:
    admin, page_admin = world.console.as_admin(), world.admin_in_browser()
    shown = ""
    for called in reads(world):
        somebody = admin if called.in_api else page_admin
        for name in (None, *HOSTILE) if "name" in called.parameters else (None,):
            answer = get(world, called, somebody, **({} if name is None else {"name": name, "user": name}))
            assert answer.status_code < 500, (str(called), name)
            check(answer, f"{called} {name or ''}")
            shown += answer.text if not called.in_api else ""
    for text in (*HOSTILE, HOSTILE_GROUP, HOSTILE_MODEL, HOSTILE_REASON):
        escaped = (
            text.replace("&", "&amp;")
            .replace("<", "&lt;")
            .replace(">", "&gt;")
            .replace('"', "&#34;")
            .replace("'", "&#39;")
        )
        assert escaped in shown, f"{text} is shown nowhere"


@pytest.mark.parametrize("name", HOSTILE)
def test_whoever_is_called_so_has_pages_too(world: World, name: str) -> None:
    somebody = world.console.signed_in(name)
    for path in ("", "free", "mine/leases", "nowhere", f"people/{httpx2.URL('').copy_with(path='/x').path}"):
        answer = somebody.get(path)
        assert answer.status_code in {200, 403, 404}, path
        check(answer, f"{path} of {name}")


def test_words_of_a_query_are_text_too(world: World) -> None:
    """What is searched for stands in the page's fields again."""
    somebody = world.admin_in_browser()
    words = (
        "search",
        "user",
        "q",
        "owner",
        "actor",
        "name",
        "next",
        "why",
        "cursor",
        "group",
        "node",
        "model",
        "action",
    )
    for called in reads(world):
        if called.in_api:
            continue
        for text in (HOSTILE[1], HOSTILE[2]):
            query = {**dict.fromkeys(words, text), **QUERIES.get(str(called), {})}
            answer = somebody.get(called.at(values(world, own=False)), params=query, follow_redirects=False)
            assert answer.status_code < 500, (str(called), text)
            check(answer, f"{called} with {text}")


def test_no_file_carries_a_formula(world: World) -> None:
    admin, page_admin = world.console.as_admin(), world.admin_in_browser()
    files = 0
    for called in reads(world):
        somebody = admin if called.in_api else page_admin
        answer = somebody.get(called.at(values(world, own=False)), params={"format": "csv"}, follow_redirects=False)
        if "text/csv" not in answer.headers.get("Content-Type", ""):
            continue
        files += 1
        found = answer.headers["Content-Disposition"]
        assert re.fullmatch(r'attachment; filename="[a-z0-9_.-]+"', found), (str(called), found)
        text = answer.content.decode("utf-8-sig")
        for row in csv.reader(io.StringIO(text)):
            for cell in row:
                number = re.fullmatch(r"-?[0-9.]+", cell)
                assert number or not cell.startswith(_FORMULA), (str(called), cell)
    assert files >= 3


@pytest.mark.parametrize("broken", ["nothing", "the hub", "the ledger", "the console"])
def test_no_secret_in_pages_answers_and_logs(
    world: World, broken: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens and cookies stand nowhere, a form's token in its own page only; in errors neither."""
    hub, console = world.console.hub, world.console.console
    hub.owners[SECRET] = "user", "olga", list(OF_HUB_ADMINS)
    sealed = console.keys.seal({"token": SECRET})
    browser, program = world.console.anonymous(), world.console.with_token(SECRET)
    browser.cookies.set(SESSION_COOKIE, sealed, path=PREFIX)
    form_token = console.keys.form_token(SECRET)
    program.get("api/v1/me")  # the hub's word is kept from here on
    if broken == "the hub":
        monkeypatch.setattr(hub, "away", True)
    elif broken == "the ledger":
        monkeypatch.setattr(console.desk.ledger, "_start", _fail_as_a_ledger)
    elif broken == "the console":
        monkeypatch.setattr(Console, "catalogue", property(_fail))
        monkeypatch.setattr(console.desk.ledger, "_start", _fail)
    caplog.set_level(logging.DEBUG)
    for called in reads(world):
        answer = get(world, called, program if called.in_api else browser)
        told = f"{called}, {broken} is broken: {answer.status_code}"
        assert SECRET not in answer.text + str(answer.headers), told
        assert sealed not in answer.text, told
        if called.in_api or answer.status_code >= 400:
            assert form_token not in answer.text, told
        else:
            rest = re.sub(r"hx-headers='[^']*'|<input type=\"hidden\" name=\"csrf\"[^>]*>", "", answer.text)
            assert form_token not in rest, told
    for secret in (SECRET, sealed, form_token):
        assert secret not in caplog.text
        assert secret not in repr(console)
        assert not [record for record in caplog.records if secret in str(record.exc_info or "")]


def _fail(*_: object, **__: object) -> None:
    raise ZeroDivisionError


def _fail_as_a_ledger(*_: object, **__: object) -> None:
    from spawner.errors import LedgerUnavailable

    raise LedgerUnavailable("The ledger is away.")
