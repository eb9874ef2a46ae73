"""Addresses of ledgers."""

import pytest

from spawner.errors import SettingsInvalid
from spawner.ledger import Ledger
from spawner.ledger.connect import describe, parse


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("sqlite:////var/lib/berth/ledger.db", "/var/lib/berth/ledger.db"),
        ("postgresql://berth:hunter2@db.lab:5433/ledger", "ledger on PostgreSQL at db.lab:5433"),
        ("postgres://berth@/ledger?host=/run/postgresql", "ledger on PostgreSQL at /run/postgresql"),
        ("postgresql+psycopg://berth:hunter2@db.lab/ledger", "ledger on PostgreSQL at db.lab"),
    ],
)
def test_understood(address: str, place: str) -> None:
    assert describe(parse(address)) == place
    assert "hunter2" not in repr(Ledger(address))  # and opens nothing


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hunter2", "not an address"),
        ("mysql://berth:hunter2@db/ledger", "mysql is not supported"),
        ("postgresql+asyncpg://berth:hunter2@db/ledger", "postgresql.asyncpg is not supported"),
        ("sqlite://", "plain file"),
        ("sqlite:///:memory:", "plain file"),
        ("sqlite:///file:x?mode=memory&uri=true", "plain file"),
    ],
)
def test_refused(address: str, said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said) as caught:
        Ledger(address)
    assert "hunter2" not in str(caught.value)


def test_a_relative_file_stays_where_it_is(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    ledger = Ledger("sqlite:///odd #%name.db")
    monkeypatch.chdir("/")
    ledger.upgrade()
    with ledger.reading() as books:
        assert books.leases.open() == []
    ledger.close()
