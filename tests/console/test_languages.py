"""The console's languages: catalogues that are whole, and pages in each."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from spawner.console.languages import LOCALES, catalogues, choose, dated
from spawner.ledger import Ledger

from ..support.console import open_console
from ..support.console_routes import routes_of
from ..support.console_world import World, populate
from ..support.ledgers import copied
from ..support.office import Office
from .access import ACCESS
from .test_access import QUERIES, values

ROOT = Path(__file__).parents[2]
CATALOGUES = sorted(LOCALES.glob("*/LC_MESSAGES/console.po"))


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place = copied(sqlite_template, tmp_path_factory.mktemp("languages"))
    ledger = Ledger(place.url)
    with open_console(Office(ledger, place)) as stand:
        yield populate(stand)
    ledger.close()


def test_all_texts_are_translated() -> None:
    """None is missing, and none is left over."""
    told = subprocess.run([sys.executable, "scripts/messages.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, ""), told.stdout + told.stderr


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parent.parent.name)
def test_translations_have_what_they_are_to_show(path: Path) -> None:
    with path.open("rb") as file:
        catalog = read_po(file)
    for message in catalog:
        if not message.id:
            continue
        ids, strings = _forms(message.id), _forms(message.string)
        wanted = {name for text in ids for name in _placeholders(text)}
        for text in strings:
            assert _placeholders(text) == wanted, ids[0]
            assert _edges(text) == _edges(ids[0]), ids[0]
        assert not message.fuzzy, ids[0]
    assert not catalog.obsolete


def _forms(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """The one form of a plain message, or all of one with plurals."""
    if text is None:
        return ()
    return (text,) if isinstance(text, str) else tuple(text)


def _placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)s|{\w+}", text))


def _edges(text: str) -> tuple[bool, bool]:
    """Whether a text begins and ends with a space, which pages rely on between two texts."""
    return text[:1].isspace(), text[-1:].isspace()


def test_german_is_among_them() -> None:
    assert list(catalogues()) == ["en", "de"]
    assert all(one.gettext("") == "" for one in catalogues().values())
    assert choose(None, "fr;q=0.9, de-AT;q=0.8, en;q=0.7") == "de"
    assert choose("en", "de") == "en"
    assert choose("xx", "fr") == "en"
    assert dated(date(2027, 3, 1), "EEE, d MMM y", "de") == "Mo., 1. März 2027"
    assert dated(date(2027, 3, 1), "EEE, d MMM y", "en") == "Mon, 1 Mar 2027"


def test_every_page_in_every_language(world: World) -> None:
    somebody = world.admin_in_browser()
    for language in catalogues():
        for called in routes_of(world.console.app):
            access = ACCESS[str(called)]
            if called.method != "GET" or called.in_api or access.anyone or access.endless:
                continue
            path = called.at(values(world, own=False))
            answer = somebody.get(path, params=QUERIES.get(str(called)), headers={"Accept-Language": language})
            assert answer.status_code < 500, (language, str(called))
            assert "Project-Id-Version" not in answer.text, (language, str(called))
            if "<html" in answer.text:
                assert f'<html lang="{language}"' in answer.text, str(called)


def test_a_reader_chooses(world: World) -> None:
    somebody = world.ann_in_browser()
    assert "My servers and GPUs" in somebody.get("").text
    assert "Meine Server und GPUs" in somebody.get("language/de?next=/services/console/").text
    page = somebody.get("").text
    assert "Meine Server und GPUs" in page
    assert '<html lang="de"' in page
    # What the policy says stays English.
    assert "Somebody waits for such a GPU" in page
    assert "My servers and GPUs" in somebody.get("language/en?next=/services/console/").text
