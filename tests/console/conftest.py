from collections.abc import Iterator
from pathlib import Path

import pytest

from spawner.ledger import Ledger

from ..support.console import ConsoleStand, open_console
from ..support.ledgers import copied, sqlite_template
from ..support.office import Office

__all__ = ["console", "office", "sqlite_template"]


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """An office without GPUs."""
    place = copied(sqlite_template, tmp_path)
    ledger = Ledger(place.url)
    yield Office(ledger, place)
    ledger.close()


@pytest.fixture
def console(office: Office) -> Iterator[ConsoleStand]:
    """A console over the office's ledger."""
    with open_console(office) as stand:
        yield stand
