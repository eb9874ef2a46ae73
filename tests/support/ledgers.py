"""Ledgers for tests, on each database. A conftest that wants `place` and `ledger` imports them."""

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from spawner.ledger import Ledger

from . import postgres

KINDS = ("sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[postgres.Cluster]:
    """Run one server for all tests; each gets a database of its own."""
    with postgres.cluster() as made:
        yield made


@dataclass(frozen=True)
class Place:
    """An empty database that a test may do with as it likes."""

    kind: str
    url: str


@contextlib.contextmanager
def empty_place(kind: str, directory: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Give a new database; PostgreSQL's server is started only where it is wanted."""
    number = next(_numbers)
    if kind == "sqlite":
        yield Place(kind, f"sqlite:///{directory / f'ledger{number}.db'}")
        return
    server: postgres.Cluster = request.getfixturevalue("postgres_cluster")
    with server.database(f"berth_{number}") as url:
        yield Place(kind, url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty ledger to be copied: to make its schema anew takes longer than many a test."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    made = Ledger(f"sqlite:///{path}")
    made.upgrade()
    made.close()
    return path


def copied(template: Path, directory: Path) -> Place:
    """Give an empty ledger in a file of its own, its schema made."""
    return Place("sqlite", f"sqlite:///{shutil.copy(template, directory / 'ledger.sqlite')}")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Give an empty database of each kind."""
    with empty_place(request.param, tmp_path, request) as made:
        yield made


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    """Give an empty ledger on each database, its schema made."""
    opened = Ledger(place.url)
    opened.upgrade()
    yield opened
    opened.close()
