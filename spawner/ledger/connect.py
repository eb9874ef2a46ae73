"""Engines for the two databases: how they are opened, and how a transaction begins."""

import contextlib
import math
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from ..errors import LedgerUnavailable, SettingsInvalid
from .faults import fault, translate

PATIENCE = 5.0  # seconds for a lock, a connection, or one of the pool's
WRITES = "berth_writes"  # option of a connection: its transactions write

_GIVE_UP_QUERY = 30  # seconds: far more than any of our queries takes
_STEP = 10  # milliseconds that SQLite itself waits for a lock, in short sleeps, before we look at the clock


def parse(address: str) -> URL:
    """Read a ledger's address.

    Raises
    ------
    SettingsInvalid
        If it names neither an SQLite file nor a PostgreSQL database. Does not repeat the address: there may be a
        password in it.
    """
    try:
        url = make_url(address)
    except ArgumentError:
        raise SettingsInvalid(
            "database_url: not an address. Write sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE."
        ) from None
    kind = url.get_backend_name()
    if kind == "sqlite":
        if not url.database or url.database == ":memory:" or url.database.startswith("file:") or url.query:
            raise SettingsInvalid("database_url: SQLite needs a plain file, as in sqlite:////var/lib/berth/ledger.db.")
        return url.set(drivername="sqlite", database=str(Path(url.database).absolute()))
    if kind in {"postgresql", "postgres"} and url.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        return url.set(drivername="postgresql+psycopg")
    raise SettingsInvalid(
        f"database_url: {url.drivername} is not supported; sqlite:///PATH and postgresql://HOST/DATABASE are."
    )


def describe(url: URL) -> str:
    """Name a ledger in messages, without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return f"{url.database or url.username} on PostgreSQL at {url.host or url.query.get('host', 'this host')}" + (
        f":{url.port}" if url.port else ""
    )


def make_engine(url: URL, *, create: bool = False, on_connect: Callable[[], object] = lambda: None) -> Engine:
    """Make an engine; nothing is opened yet.

    Parameters
    ----------
    create
        Whether an SQLite file that is not there is made.
    on_connect
        Called whenever a connection is opened: the database may have been replaced meanwhile.
    """
    place = describe(url)
    options = {"pool_size": 5, "max_overflow": 15, "pool_timeout": PATIENCE}
    if url.get_backend_name() == "sqlite":
        path = str(url.database)
        engine = create_engine(url, creator=lambda: _open_sqlite(path, create=create), **options)
        _watch_sqlite(engine, path, place)
    else:
        engine = create_engine(url, connect_args=_POSTGRES_ARGUMENTS, use_native_hstore=False, **options)
        event.listen(engine, "connect", _prepare_postgres)

    @event.listens_for(engine, "connect")
    def connected(_connection: object, _record: ConnectionPoolEntry) -> None:
        on_connect()

    @event.listens_for(engine, "handle_error")
    def failed(context: ExceptionContext) -> BaseException | None:
        return translate(context, place)

    return engine


# --- SQLite -------------------------------------------------------------------------------------------------------


def _open_sqlite(path: str, *, create: bool) -> sqlite3.Connection:
    if create and not Path(path).exists():
        # Leases name users and what they did: not for others on the machine. What is wrong SQLite says better.
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.create_function("power", 2, math.pow, deterministic=True)  # not built in everywhere
    except BaseException:
        connection.close()
        raise
    return connection


def _patiently(action: Callable[[], object]) -> None:
    """Do what may find the database locked, again and again.

    SQLite's own patience sleeps longer and longer, so that one of many writers could starve.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            action()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.001)
        else:
            return


def _watch_sqlite(engine: Engine, path: str, place: str) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        if driver is None:  # cannot be: it was just opened
            raise AssertionError
        try:
            if not connection.get_execution_options().get(WRITES):
                driver.execute("PRAGMA query_only = ON")
                driver.execute("BEGIN")
                return
            driver.execute("PRAGMA query_only = OFF")
            driver.execute(f"PRAGMA busy_timeout = {_STEP}")
            try:
                _patiently(lambda: driver.execute("BEGIN IMMEDIATE"))
            finally:
                driver.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000:.0f}")
        except sqlite3.Error as error:
            raise (fault(error, place) or error) from error

    @event.listens_for(engine, "connect")
    def note_file(_connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        record.info["file"] = _identity(path)

    @event.listens_for(engine, "checkout")
    def same_file(_connection: sqlite3.Connection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        # A file deleted or replaced is still open here: what is written to it would be lost.
        if record.info["file"] != _identity(path):
            raise DisconnectionError(f"{path} is another file now")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  for every transaction
    except OSError:
        return None
    return found.st_dev, found.st_ino


# --- PostgreSQL ---------------------------------------------------------------------------------------------------

# libpq's: notice within seconds that the server's host is gone, too.
_POSTGRES_ARGUMENTS = {
    "connect_timeout": int(PATIENCE),
    "tcp_user_timeout": int(PATIENCE * 2000),
    "keepalives_idle": 30,
    "application_name": "berth",
}


def _prepare_postgres(connection: psycopg.Connection[object], _record: ConnectionPoolEntry) -> None:
    """Set bounds: a process that stands still must not keep the ledger locked for all others."""
    connection.autocommit = True
    connection.execute(
        f"SET lock_timeout = '{PATIENCE:.0f}s'; SET statement_timeout = '{_GIVE_UP_QUERY}s'; "
        f"SET idle_in_transaction_session_timeout = '{_GIVE_UP_QUERY}s'; SET timezone = 'UTC'"
    )
    connection.autocommit = False


def no_connection_left(place: str) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"The ledger {place} is busy: this program has too many transactions open at once. Try again in a moment."
    )
