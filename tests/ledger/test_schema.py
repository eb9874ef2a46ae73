"""The schema: made from nothing or from an earlier revision, by several at once, checked, like the tables in code."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from spawner.errors import LeaseLost, LedgerOutdated, LedgerUnavailable
from spawner.ledger import Ledger, schema
from spawner.ledger.connect import parse
from spawner.ledger.tables import metadata

from ..support.ledgers import Place
from . import examples

ROOT = Path(__file__).parents[2]
REVISIONS = [
    script.revision for script in reversed(list(ScriptDirectory.from_config(schema.configuration()).walk_revisions()))
]


def differences(connection: Connection) -> list[object]:
    """Say where the database's schema is not that of the tables in code, as `alembic check` does."""
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": schema.VERSION_TABLE,
            "compare_type": True,
            "target_metadata": metadata,
        },
    )
    return compare_metadata(context, metadata)  # type: ignore[no-any-return]


def seed(connection: Connection) -> dict[str, int]:
    """Write a row into each table as it is at this revision; gives how many each has."""
    written = {}
    inspector = inspect(connection)
    wanted = [table.name for table in metadata.sorted_tables if inspector.has_table(table.name)]
    wanted.remove("lease_slots")  # which the database itself keeps
    for table in wanted:
        if table != "pool":
            values = {}
            for column in inspector.get_columns(table):
                name, kind = column["name"], str(column["type"]).upper()
                if kind == "BOOLEAN":
                    values[name] = "true"
                elif "INT" in kind or "DOUBLE" in kind:
                    values[name] = "7"
                elif (table, name) == ("leases", "slots"):
                    values[name] = "'[\"x\"]'"
                elif name in {"groups", "models", "kinds", "slots", "value", "scopes"}:
                    values[name] = "'[]'"
                elif name in _CHOICES:
                    values[name] = f"'{_CHOICES[name].get(table, '')}'"
                elif name in {"before", "after", "labels", "headers"}:
                    values[name] = "'{}'"
                else:
                    values[name] = "'x'"
            names = ", ".join(f'"{name}"' for name in values)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(values.values())})"))
        written[table] = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
    return written


_CHOICES = {
    "state": {"gpus": "in_service", "leases": "active", "tickets": "waiting", "homes": "present"},
    "phase": {"homes": ""},
    "at_end": {"leases": "cpu", "tickets": "stop"},
    "kind": {"slots": "exclusive"},
    "isolation": {"slots": "hardware"},
    "subject": {"quotas": "user", "audit": "user:x"},
}


def test_the_tables_are_those_in_code(place: Place) -> None:
    Ledger(place.url).upgrade()
    with create_engine(parse(place.url)).connect() as connection:
        assert differences(connection) == []
        assert "alembic_version" not in inspect(connection).get_table_names()
        assert set(inspect(connection).get_table_names()) == {*metadata.tables, schema.VERSION_TABLE}


@pytest.mark.parametrize("revision", REVISIONS)
def test_from_each_revision_with_data(place: Place, revision: str) -> None:
    url = parse(place.url)
    schema.upgrade(url, revision)
    engine = create_engine(url)
    with engine.begin() as connection:
        written = seed(connection)
    assert all(count == 1 for count in written.values())
    ledger = Ledger(place.url)
    if revision != REVISIONS[-1]:
        with pytest.raises(LedgerOutdated, match=rf"schema {revision}.*expects {REVISIONS[-1]}.*berth db upgrade"):
            ledger.require_schema()
    ledger.upgrade()
    ledger.require_schema()
    ledger.upgrade()  # and once more does nothing
    with engine.connect() as connection:
        assert differences(connection) == []
        for table, count in written.items():
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == count, table
    with ledger.reading() as books:  # all can be read
        assert [lease.id for lease in books.leases.open()] == ["x"]
        assert [ticket.id for ticket in books.tickets.waiting()] == ["x"]
        assert [gpu.uuid for gpu in books.gpus.all()] == ["x"]
        assert [slot.id for slot in books.gpus.slots()] == ["x"]
        assert len(books.usage.rows()) == len(books.audit.list()) == len(books.quotas.all()) == 1
        assert len(books.loops.all()) == 1
        assert len(books.homes.all()) == written.get("homes", 0)
    # The database's own guards are still there.
    with pytest.raises(LeaseLost), ledger.transaction() as books:
        books.leases.insert(examples.lease(1, "x"))
    for table in ("usage", "audit"):
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(text(f"DELETE FROM {table}"))
    ledger.close()
    engine.dispose()


def test_there_is_more_than_the_first_revision() -> None:
    assert len(REVISIONS) > 1


def test_two_processes_at_once(place: Place) -> None:
    program = "import sys; from spawner.ledger import Ledger; print(flush=True); sys.stdin.readline();"
    program += "ledger = Ledger(sys.argv[1]); ledger.upgrade(); ledger.require_schema()"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, place.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(4)
    ]
    for each in running:
        assert each.stdout is not None
        each.stdout.readline()
    for each in running:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    for each in running:
        _, errors = each.communicate(timeout=90)
        assert each.returncode == 0, errors
    with create_engine(parse(place.url)).connect() as connection:
        assert differences(connection) == []
        assert connection.execute(text("SELECT count(*) FROM pool")).scalar_one() == 1


def test_a_newer_schema_is_left_alone(place: Place) -> None:
    ledger = Ledger(place.url)
    ledger.upgrade()
    with create_engine(parse(place.url)).begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    for step in (ledger.require_schema, ledger.upgrade):
        with pytest.raises(LedgerOutdated, match=rf"9999.*newer.*{REVISIONS[-1]}"):
            step()
    ledger.close()


def test_an_empty_database(place: Place) -> None:
    ledger = Ledger(place.url)
    with pytest.raises(LedgerOutdated, match="berth db upgrade"):
        ledger.require_schema()
    if place.kind == "sqlite":
        with pytest.raises(LedgerUnavailable, match="berth db upgrade"), ledger.transaction():
            pass
        Path(place.url.removeprefix("sqlite:///")).touch()
    for opened in (ledger.transaction, ledger.reading):
        with pytest.raises(LedgerOutdated, match="berth db upgrade"), opened():
            pass
    ledger.upgrade()  # the same ledger goes on
    with ledger.transaction() as books:
        assert books.leases.open() == []
    ledger.close()


def test_an_upgrade_that_fails_leaves_nothing_behind(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    from spawner.ledger.migrations.versions import v0002_idle_kernels

    url = parse(place.url)
    with monkeypatch.context() as patched:
        # Alembic loads a module of its own from the file: make what it calls fail.
        patched.setattr("alembic.op.add_column", fail)
        with pytest.raises(ZeroDivisionError):
            schema.upgrade(url)
    assert v0002_idle_kernels.down_revision == REVISIONS[0]
    with create_engine(url).connect() as connection:
        assert inspect(connection).get_table_names() == []
    schema.upgrade(url)


def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    Ledger(f"sqlite:///{tmp_path}/ledger.db").upgrade()
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600


def test_the_migrations_are_in_the_wheel(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("spawner/ledger/")}
    there = (ROOT / "spawner/ledger").rglob("*")
    assert packed == {
        str(path.relative_to(ROOT)) for path in there if path.is_file() and "__pycache__" not in path.parts
    }
