"""The ledger as such: where it is, what is said where it is not, who did what."""

import os
import pwd
import sqlite3
from pathlib import Path

import pytest

from spawner.cli.arguments import actor
from spawner.ledger import schema

from .admin import A100, Admin

READS = [["gpus"], ["leases"], ["queue"], ["quota", "show"], ["quota", "why", "ann"], ["usage"], ["audit"]]


@pytest.mark.parametrize("command", READS, ids=" ".join)
def test_without_a_ledger_none_is_made(tmp_path: Path, command: list[str]) -> None:
    person = Admin(tmp_path)
    sentence = person.refused(*command, code="ledger_outdated")
    assert str(person.state_dir / "ledger.sqlite") in sentence
    assert "`make up` has not run yet" in sentence
    assert not person.state_dir.exists()


def test_upgrade_makes_one_and_does_no_harm_later(tmp_path: Path) -> None:
    person = Admin(tmp_path)
    assert person.data("db", "status")["error"]["code"] == "ledger_outdated"
    assert "make up" in " ".join(person.ok("db", "status").split())
    assert not person.state_dir.exists()
    path = person.state_dir / "ledger.sqlite"
    assert person.data("db", "upgrade") == {"ledger": str(path), "schema": schema.head()}
    assert path.stat().st_mode & 0o777 == 0o600
    person.ok("quota", "set", "user", "ann", "gpus", "2", "--why", "x")
    assert f"has schema {schema.head()}" in person.ok("db", "upgrade")
    assert len(person.data("quota", "show")) == 1
    assert person.data("db", "status") == {
        "ledger": str(path),
        "kind": "sqlite",
        "expected": schema.head(),
        "ready": True,
        "error": None,
    }
    assert "which is this version's" in person.ok("db", "status")
    person.desk.ledger.close()


def test_a_database_of_ones_own(tmp_path: Path) -> None:
    person = Admin(tmp_path)
    place = {"BERTH_DATABASE_URL": f"sqlite:///{tmp_path / 'own.db'}"}
    person.ok("db", "upgrade", **place)
    assert (tmp_path / "own.db").exists()
    assert not person.state_dir.exists()
    assert person.data("gpus", **place) == {"gpus": [], "waiting": 0}
    nowhere = {"BERTH_DATABASE_URL": f"sqlite:///{tmp_path / 'no' / 'own.db'}"}
    assert "cannot be" in person.refused("db", "upgrade", code="ledger_unavailable", **nowhere)
    assert "mysql" in person.refused("gpus", code="settings_invalid", BERTH_DATABASE_URL="mysql://h/d")


def test_a_password_is_not_told(tmp_path: Path) -> None:
    person = Admin(tmp_path)
    place = {"BERTH_DATABASE_URL": "postgresql://berth:tr0ub4dor@127.0.0.1:9/berth"}
    for command in ([*READS[0]], ["db", "upgrade"]):
        sentence = person.refused(*command, code="ledger_unavailable", **place)
        assert "127.0.0.1" in sentence
        assert "tr0ub4dor" not in sentence
    said = person.ok("db", "status", "--json", **place)
    assert "ledger_unavailable" in said
    assert "tr0ub4dor" not in said


def test_a_ledger_of_another_version(admin: Admin) -> None:
    database = sqlite3.connect(admin.state_dir / "ledger.sqlite")
    database.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
    database.commit()
    database.close()
    assert "newer version" in admin.refused("gpus", code="ledger_outdated")
    assert "newer version" in admin.refused("db", "upgrade", code="ledger_outdated")
    status = admin.data("db", "status")
    assert (status["ready"], status["error"]["code"]) == (False, "ledger_outdated")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    person = Admin(tmp_path)
    file = tmp_path / "thesis.tex"
    file.write_text("work " * 1000)
    place = {"BERTH_DATABASE_URL": f"sqlite:///{file}"}
    assert "no SQLite database" in person.refused("gpus", code="ledger_unavailable", **place)
    assert file.read_text() == "work " * 1000


def test_the_audit_the_latest_first(admin: Admin) -> None:
    assert admin.ok("audit") == "Nothing was done yet.\n"
    admin.inventory((A100, 1))
    admin.ok("gpus", "drain", "gpu0", "--why", "fan")
    for gpus in ("1", "2", "3"):
        admin.ok("quota", "set", "user", "ann", "gpus", gpus, "--why", f"number {gpus}")
    assert [entry["why"] for entry in admin.data("audit", "--limit", "2")] == ["number 3", "number 2"]
    lines = admin.ok("audit").splitlines()
    assert len(lines) == 5
    for words in ("cli:olga", "quota.set", "user ann gpus", "value 2", "value 3", "number 3"):
        assert words in lines[1]
    for words in ("gpu.state", "gpu GPU-00000000", "state in_service", "state draining, why fan", "fan"):
        assert words in lines[4]
    assert "--limit" in admin.misused("audit", "--limit", "0")


def test_audit_is_filtered(admin: Admin) -> None:
    for user, why in (("ann", "thesis"), ("bob", "a deadline")):
        admin.ok("quota", "set", "user", user, "gpus", "2", "--why", why)

    def found(*options: str) -> list[str]:
        return [entry["why"] for entry in admin.data("audit", *options)]

    assert found("--search", "DEADLINE") == ["a deadline"]
    assert found("--actor", "cli:olga", "--action", "quota") == ["a deadline", "thesis"]
    assert found("--subject", "user ann gpus") == ["thesis"]
    assert found("--since", "1d") == ["a deadline", "thesis"]
    assert found("--until", "1d") == []
    assert admin.ok("audit", "--actor", "zoe") == "Nothing like that was done.\n"
    assert "not 'yesterday'" in admin.misused("audit", "--since", "yesterday")


def test_the_actor_is_who_called(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    assert admin.data("quota", "set", "user", "ann", "gpus", "1", "--why", "x", SUDO_USER=None)["by"] == f"cli:{me}"
    assert admin.data("quota", "set", "user", "ann", "gpus", "2", "--why", "x", SUDO_USER="ola")["by"] == "cli:ola"
    monkeypatch.setenv("SUDO_USER", "o\udcff")
    assert actor() == "cli:o?"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    assert actor() == "cli:uid 3999999999"
