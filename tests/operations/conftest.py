from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from spawner.ledger import Ledger
from spawner.ledger.tables import metadata

from ..support import postgres
from ..support.ledgers import KINDS, Place, copied, sqlite_template
from ..support.office import Office

__all__ = ["ledger", "office", "open_office", "place", "postgres_url", "sqlite_template"]

OpenOffice = Callable[[], Office]


@pytest.fixture(scope="session")
def postgres_url(postgres_cluster: postgres.Cluster) -> Iterator[str]:
    """A database for all tests of these rooms, one after the other."""
    with postgres_cluster.database("operations") as url:
        made = Ledger(url)
        made.upgrade()
        made.close()
        yield url


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty ledger on each database."""
    if request.param == "sqlite":
        return copied(request.getfixturevalue("sqlite_template"), tmp_path)
    url: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")  # past the rule that some rows are final
        names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables if table.name != "pool")
        connection.execute(f"TRUNCATE {names}")
        connection.execute("UPDATE pool SET changes = 0, inventory = 0, quotas = 0, queue = 0")
    return Place("postgresql", url)


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    opened = Ledger(place.url)
    yield opened
    opened.close()


@pytest.fixture
def office(ledger: Ledger, place: Place) -> Office:
    """An office without GPUs, on each database."""
    return Office(ledger, place)


@pytest.fixture(scope="module")
def open_office(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenOffice]:
    """Open offices on SQLite, one after the other, as a property test needs them."""
    opened: list[Ledger] = []

    def make() -> Office:
        while opened:
            opened.pop().close()
        place = copied(sqlite_template, tmp_path_factory.mktemp("office"))
        opened.append(Ledger(place.url))
        return Office(opened[-1], place)

    yield make
    while opened:
        opened.pop().close()
