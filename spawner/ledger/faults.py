"""What databases say when something is wrong, in the words of `spawner.errors`."""

import re
import sqlite3

import psycopg
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from ..errors import BerthError, LeaseLost, LedgerOutdated, LedgerUnavailable

CURE = "berth db upgrade"

# By the primary result code; the extended ones are told apart by their higher bits.
_SQLITE = {
    sqlite3.SQLITE_BUSY: "is locked: another program has been writing to it for seconds. Try again in a moment",
    sqlite3.SQLITE_LOCKED: "is locked: another program has been writing to it for seconds. Try again in a moment",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full. Free some space; nothing else is needed",
    sqlite3.SQLITE_READONLY: "may not be written: make the file, its directory and the file system writable",
    sqlite3.SQLITE_PERM: "may not be opened: give this program's user the right to read and write it",
    sqlite3.SQLITE_AUTH: "may not be opened: give this program's user the right to read and write it",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: the file is gone, or it or its directory may not be read and written. "
    f"Bring it back, or make an empty one with `{CURE}`",
    sqlite3.SQLITE_CORRUPT: "is damaged. Stop the hub and put back the last good copy of the file",
    sqlite3.SQLITE_NOTADB: "is no SQLite database. Stop the hub and put back the last good copy of the file",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error, or is full. Look at the system's log",
    sqlite3.SQLITE_NOLFS: "is too large for its file system",
    sqlite3.SQLITE_PROTOCOL: "is locked: too many programs open it at once. Try again in a moment",
    sqlite3.SQLITE_NOMEM: "cannot be used: this machine is out of memory",
}

# By SQLSTATE, or its class: https://www.postgresql.org/docs/15/errcodes-appendix.html
_POSTGRES = {
    "08": "is lost: the connection broke. Look whether the server runs; nothing else is needed when it is back",
    "25006": "may not be written: the server is a standby, or set to read-only",
    "25P03": "gave up: a transaction stood still for too long. Try again",
    "28": "refuses the login. Check the user and the password in `database_url`",
    "3D000": "does not exist. Create the database, then run `berth db upgrade`",
    "40": "gave up: transactions were in each other's way. Try again",
    "42501": "refuses a right: the login must own the ledger's tables",
    "53100": "cannot grow: its disk is full. Free some space; nothing else is needed",
    "53200": "is out of memory",
    "53300": "takes no more connections. Raise max_connections, or end other programs' connections",
    "53": "is short of resources",
    "55P03": "is locked: another transaction has held it for seconds. Try again in a moment",
    "57014": "gave up: a query took too long",
    "57P": "is being shut down or started. Nothing else is needed when it is back",
    "58": "cannot be read or written: the server reports an error of its disk. Look at its log",
    "XX": "is damaged, or its server fails. Look at the server's log",
}
_NO_CONNECTION = "Look whether the server runs, and whether `database_url` is right"

_TWICE = {
    "one_open_lease_per_slot": "a slot is held by an open lease already",
    "lease_slots.slot": "a slot is held by an open lease already",
    "one_open_lease_per_server": "the server has an open lease already",
    "leases.username": "the server has an open lease already",
    "one_live_ticket_per_server": "the server has a place in the queue already",
    "tickets.username": "the server has a place in the queue already",
    "usage_pkey": "the use of a slot by this lease is booked already",
    "usage.lease": "the use of a slot by this lease is booked already",
}


def translate(context: ExceptionContext, place: str) -> BaseException | None:
    """Give our own error for one of the database's; None for a fault of our program, which stays as it is.

    Parameters
    ----------
    place
        The ledger's name in messages.
    """
    if not isinstance(context.sqlalchemy_exception, DBAPIError):
        original = context.original_exception
        cause = getattr(original, "orig", None)  # what a column's type has raised
        return cause if isinstance(cause, BaseException) else original
    return fault(context.original_exception, place)


def fault(error: BaseException, place: str) -> BerthError | ValueError | None:
    """Give our own error for a driver's."""
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error, place)
    if isinstance(error, psycopg.Error):
        return _of_postgres(error, place)
    return None


def _of_sqlite(error: sqlite3.Error, place: str) -> BerthError | ValueError | None:
    if isinstance(error, sqlite3.IntegrityError):
        return _broken_rule(str(error), place)
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the module itself: a closed connection or cursor
        return LedgerUnavailable(f"The ledger {place} is lost: {error}.")
    if code & 0xFF == sqlite3.SQLITE_ERROR:
        return _outdated(place) if re.match(r"no such (table|column)|table \S+ has no column", str(error)) else None
    said = _SQLITE.get(code & 0xFF)
    return LedgerUnavailable(
        f"The ledger {place} {said}." if said else f"The ledger {place} cannot be used: {_first_line(error)}."
    )


def _of_postgres(error: psycopg.Error, place: str) -> BerthError | ValueError | None:
    state = error.sqlstate
    if isinstance(error, psycopg.IntegrityError):
        return _broken_rule(f"{error.diag.constraint_name or ''} {_first_line(error)}", place)
    if state in {"42P01", "42703"}:
        return _outdated(place)
    if isinstance(error, psycopg.DataError):
        return ValueError(f"The ledger cannot keep this: {_first_line(error)}.")
    if state is None:
        if isinstance(error, psycopg.OperationalError):
            # As libpq puts it: connection to server at ADDRESS, port NUMBER failed: FATAL:  REASON
            reason = re.sub(r"^.*failed: (FATAL:\s*)?", "", _first_line(error))
            return LedgerUnavailable(f"The ledger {place} cannot be reached: {reason}. {_NO_CONNECTION}.")
        return None
    said = _POSTGRES.get(state) or _POSTGRES.get(state[:3]) or _POSTGRES.get(state[:2])
    if said:
        return LedgerUnavailable(f"The ledger {place} {said}.")
    if isinstance(error, psycopg.ProgrammingError | psycopg.NotSupportedError):
        return None
    return LedgerUnavailable(f"The ledger {place} cannot be used: {_first_line(error)}.")


def _broken_rule(said: str, place: str) -> LeaseLost:
    known = next((words for name, words in _TWICE.items() if name in said), said.strip())
    return LeaseLost(f"The ledger {place} refused a change: {known}. Nothing was written; look again and decide anew.")


def _outdated(place: str) -> LedgerOutdated:
    return LedgerOutdated(f"The ledger {place} lacks tables of this version of Berth; run `{CURE}`.")


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
