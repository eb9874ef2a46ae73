"""The schema's revision: made, upgraded, checked."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from ..errors import LedgerOutdated
from .connect import WRITES, describe, make_engine
from .faults import CURE

VERSION_TABLE = "berth_alembic_version"  # not alembic's own: the hub's database has one of that name

_LOCK = 0x6265727468  # of PostgreSQL's advisory locks: "berth"
_PATIENCE = "60s"


def configuration(connection: Connection | None = None) -> Config:
    """Make alembic's configuration; a file of it would have to be shipped and found."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def head() -> str:
    """Give the revision of this program."""
    found = ScriptDirectory.from_config(configuration()).get_current_head()
    if found is None:  # cannot be: there is a first one
        raise AssertionError
    return found


def upgrade(url: URL, revision: str = "head") -> None:
    """Bring the schema to a revision, all in one transaction, one process at a time."""
    engine = make_engine(url, create=True).execution_options(**{WRITES: True})
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            found = _found(connection)
            if found is not None and not _known(found):
                raise _newer(url, found)
            command.upgrade(configuration(connection), revision)
    finally:
        engine.dispose()


def require(url: URL) -> None:
    """Raise `LedgerOutdated` unless the schema is this program's."""
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        raise LedgerOutdated(f"There is no ledger at {describe(url)} yet; run `{CURE}`.")
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            found = _found(connection)
    finally:
        engine.dispose()
    if found == head():
        return
    if found is not None and not _known(found):
        raise _newer(url, found)
    raise LedgerOutdated(
        f"The ledger {describe(url)} has schema {found or 'none'}, this version of Berth expects {head()}; "
        f"run `{CURE}`."
    )


def _found(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _known(revision: str) -> bool:
    try:
        return ScriptDirectory.from_config(configuration()).get_revision(revision) is not None
    except CommandError:
        return False


def _newer(url: URL, found: str) -> LedgerOutdated:
    return LedgerOutdated(
        f"The ledger {describe(url)} has schema {found}, which a newer version of Berth has made; this one expects "
        f"{head()}. Install that version again: `{CURE}` of this one cannot go back."
    )
