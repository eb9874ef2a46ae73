"""Databases that are locked, full, read-only, damaged, gone: an error for people, and all is well afterwards."""

import contextlib
import os
import secrets
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from spawner.errors import LedgerOutdated, LedgerUnavailable
from spawner.ledger import AuditEntry, Books, Ledger, connect

from ..support import postgres
from ..support.ledgers import Place
from .examples import NOW, lease

on_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("place", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
PAGE = "x" * 4000


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a lock for a moment only."""
    monkeypatch.setattr(connect, "PATIENCE", 1)


def write(ledger: Ledger, number: object = 1) -> None:
    with ledger.transaction() as books:
        books.leases.insert(lease(number, f"slot{number}"))


def read(ledger: Ledger) -> set[str]:
    with ledger.reading() as books:
        return {found.id for found in books.leases.open()}


@contextlib.contextmanager
def unavailable(*words: str) -> Iterator[None]:
    with pytest.raises(LedgerUnavailable) as caught:
        yield
    for word in words:
        assert word in str(caught.value)
    assert "sqlalche.me" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def path_of(place: Place) -> Path:
    return Path(place.url.removeprefix("sqlite:///"))


# --- both ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_held_by_another_program(place: Place) -> None:
    ledger, other = Ledger(place.url), Ledger(place.url)
    ledger.upgrade()
    write(ledger, 1)
    with other.transaction():
        began = time.monotonic()
        with unavailable("locked", "Try again"):
            write(ledger, 2)
        assert time.monotonic() - began >= 0.9  # it did wait
        assert read(ledger) == {"lease1"}  # whoever only reads is not disturbed
    write(ledger, 2)
    assert read(ledger) == {"lease1", "lease2"}
    ledger.close()
    other.close()


def test_a_short_wait_is_not_noticed(place: Place) -> None:
    ledger, other = Ledger(place.url), Ledger(place.url)
    ledger.upgrade()
    begun = threading.Event()

    def hold() -> None:
        with other.transaction() as books:
            begun.set()
            time.sleep(0.3)
            books.leases.insert(lease(2, "slot2"))

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(10)
    write(ledger, 1)
    assert read(ledger) == {"lease1", "lease2"}
    holder.join()
    ledger.close()
    other.close()


@pytest.mark.usefixtures("impatient")
def test_too_many_transactions_in_one_process(place: Place) -> None:
    ledger = Ledger(place.url)
    ledger.upgrade()
    enough, go_on = threading.Barrier(21), threading.Event()

    def keep() -> None:
        with ledger.reading():
            enough.wait(20)
            go_on.wait(20)

    keepers = [threading.Thread(target=keep) for _ in range(20)]
    for keeper in keepers:
        keeper.start()
    enough.wait(20)
    with unavailable("too many transactions"):
        read(ledger)
    go_on.set()
    for keeper in keepers:
        keeper.join()
    write(ledger)
    ledger.close()


def test_many_threads(ledger: Ledger) -> None:
    def work(who: int) -> None:
        for number in range(10):
            write(ledger, f"{who}-{number}")
            read(ledger)

    threads = [threading.Thread(target=work, args=[who]) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read(ledger)) == 80


# --- SQLite -------------------------------------------------------------------------------------------------------


@on_sqlite
def test_the_file_vanishes_and_comes_back(ledger: Ledger, place: Place) -> None:
    write(ledger, 1)
    ledger.close()  # so that the write-ahead log is in the file
    assert read(ledger) == {"lease1"}
    away = path_of(place).with_name("away")
    path_of(place).rename(away)
    for act in (write, read):
        with unavailable("cannot be opened", str(path_of(place))):
            act(ledger)
    assert not path_of(place).exists()  # and no empty one is made in its place
    with pytest.raises(LedgerOutdated, match="berth db upgrade"):
        ledger.require_schema()
    away.rename(path_of(place))
    write(ledger, 2)
    assert read(ledger) == {"lease1", "lease2"}


@on_sqlite
def test_a_damaged_file(place: Place) -> None:
    ledger = Ledger(place.url)
    path_of(place).write_bytes(b"this is not a database, but long enough to be looked at" * 100)
    for act in (ledger.upgrade, ledger.require_schema, lambda: write(ledger), lambda: read(ledger)):
        with unavailable("no SQLite database", "copy"):
            act()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/none/ledger.db")
    with unavailable(f"{tmp_path}/none/ledger.db"):
        ledger.upgrade()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", directory], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def fill_up(write_one: Callable[[Books], None], ledger: Ledger, most: int) -> int:
    """Write until it is refused; gives how many were kept."""
    for kept in range(most):
        try:
            with ledger.transaction() as books:
                write_one(books)
        except LedgerUnavailable as error:
            assert "full" in str(error)  # noqa: PT017
            return kept
    raise AssertionError("the disk did not fill up")


def write_a_page(books: Books) -> None:
    books.audit.append(AuditEntry(NOW, "ann", "quota.set", "user:bob", why=PAGE))


def test_a_full_disk_under_sqlite(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (256 << 10))
    ledger = Ledger(f"sqlite:///{small_disk}/ledger.db")
    ledger.upgrade()
    kept = fill_up(write_a_page, ledger, 2000)
    assert kept > 0
    with ledger.reading() as books:  # reading goes on, and nothing half is there
        assert len(books.audit.list(limit=5000)) == kept
    with unavailable("full"):
        for _ in range(10):  # an error once is no reason to let the next one through
            with ledger.transaction() as books:
                write_a_page(books)
    ballast.unlink()
    with ledger.transaction() as books:
        write_a_page(books)
        assert len(books.audit.list(limit=5000)) >= kept + 1
    ledger.close()
    with sqlite3.connect(small_disk / "ledger.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_read_only_disk_under_sqlite(small_disk: Path) -> None:
    ledger = Ledger(f"sqlite:///{small_disk}/ledger.db")
    ledger.upgrade()
    write(ledger, 1)
    ledger.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with unavailable(str(small_disk)):
        write(ledger, 2)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    write(ledger, 2)
    assert read(ledger) == {"lease1", "lease2"}
    ledger.close()


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


@pytest.fixture
def own_cluster() -> Iterator[postgres.Cluster]:
    """Run a server that this test may stop."""
    with postgres.cluster() as made:
        yield made


@pytest.mark.postgres
@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_server_that_stops_and_starts(own_cluster: postgres.Cluster, how: str) -> None:
    ledger = Ledger(own_cluster.url())
    ledger.upgrade()
    write(ledger, 1)
    assert read(ledger) == {"lease1"}
    own_cluster.stop(how)
    for act in (write, read):
        with unavailable("127.0.0.1", "server"):
            act(ledger)
    for step in (ledger.upgrade, ledger.require_schema):
        with unavailable("127.0.0.1", "server"):
            step()
    own_cluster.start()
    assert read(ledger) == {"lease1"}
    write(ledger, 2)
    # Stopped and started between two transactions: nobody notices.
    own_cluster.stop(how)
    own_cluster.start()
    write(ledger, 3)
    own_cluster.stop(how)
    own_cluster.start()
    assert read(ledger) == {"lease1", "lease2", "lease3"}
    ledger.close()


@pytest.mark.postgres
def test_a_server_that_stops_within_a_transaction(own_cluster: postgres.Cluster) -> None:
    ledger = Ledger(own_cluster.url())
    ledger.upgrade()
    with unavailable(), ledger.transaction() as books:
        books.leases.insert(lease(1, "a"))
        own_cluster.stop("immediate")
        books.leases.insert(lease(2, "b"))
    own_cluster.start()
    with unavailable(), ledger.transaction() as books:
        books.leases.insert(lease(1, "a"))
        own_cluster.stop("immediate")
    own_cluster.start()
    assert read(ledger) == set()
    write(ledger, 3)
    assert read(ledger) == {"lease3"}
    ledger.close()


@on_postgres
def test_a_standby_or_read_only_server(ledger: Ledger, place: Place) -> None:
    write(ledger, 1)
    name = place.url.rpartition("/")[2]
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        ledger.close()
        with unavailable("read-only"):
            write(ledger, 2)
        assert read(ledger) == {"lease1"}
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    ledger.close()
    write(ledger, 2)


@on_postgres
def test_a_database_or_password_that_is_not_there(place: Place) -> None:
    with unavailable("does not exist", "database_url"):
        read(Ledger(f"{place.url}_none"))
    with unavailable("127.0.0.1:1", "Connection refused"):
        read(Ledger("postgresql://ann:hunter2@127.0.0.1:1/ledger"))


@on_postgres
def test_tables_of_another(ledger: Ledger, place: Place) -> None:
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS stranger")
        connection.execute("CREATE ROLE stranger LOGIN")
    stranger = Ledger(place.url.replace("postgres@", "stranger@"))
    with unavailable("right"):
        write(stranger)
    stranger.close()


@pytest.mark.postgres
def test_a_full_disk_under_postgresql(own_cluster: postgres.Cluster, small_disk: Path) -> None:
    """A whole server needs 40 MB, so only the ledger's tables lie on the small disk."""
    subprocess.run(["mount", "-o", "remount,size=12m", small_disk], check=True)
    for directory in (small_disk, *small_disk.parents[:3]):
        if directory.is_relative_to("/tmp"):
            directory.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(small_disk, "postgres")
    with psycopg.connect(own_cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        connection.execute("CREATE DATABASE small TABLESPACE small")
    ledger = Ledger(own_cluster.url("small"))
    ledger.upgrade()
    ballast = small_disk / "ballast"
    left = shutil.disk_usage(small_disk).free
    ballast.write_bytes(b"x" * (left - (256 << 10)))

    def write_a_page(books: Books) -> None:  # that cannot be compressed
        books.audit.append(AuditEntry(NOW, "ann", "quota.set", "user:bob", why=secrets.token_hex(2000)))

    kept = fill_up(write_a_page, ledger, 2000)
    with ledger.reading() as books:
        assert len(books.audit.list(limit=5000)) == kept
    ballast.unlink()
    with ledger.transaction() as books:
        write_a_page(books)
        assert len(books.audit.list(limit=5000)) == kept + 1
    ledger.close()
    own_cluster.stop("immediate")
