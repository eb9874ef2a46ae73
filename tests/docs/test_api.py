"""The API's reference is that of the API, and whole; the examples in the how-to do what they say."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spawner.console.reference import PAGE, PREFIX, described, render
from spawner.console.scopes import Scope
from spawner.ledger import Ledger

from ..support.console import OF_HUB_ADMINS, ConsoleStand, open_console
from ..support.console_server import served
from ..support.console_world import populate
from ..support.ledgers import copied, sqlite_template
from ..support.office import Office

__all__ = ["sqlite_template"]

ROOT = Path(__file__).parents[2]
HOW_TO = (ROOT / "docs/how-to/call-the-api-from-scripts.md").read_text(encoding="utf-8")


def test_the_page_is_what_make_docs_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(described()), "run `make docs`"


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, found in described()["paths"].items():
        for method, operation in found.items():
            yield f"{method.upper()} {path.removeprefix(PREFIX)}", operation


def test_every_operation_is_described() -> None:
    lacking = []
    for title, operation in operations():
        if len(operation["summary"].split()) < 2:
            lacking.append(f"{title}: no summary")
        lacking += [
            f"{title}: {one['name']} is not described"
            for one in operation.get("parameters", ())
            if "$ref" not in one and not one.get("description")
        ]
        scopes = [scope for one in operation.get("security", ()) for scope in one["hub"]]
        if "hub" not in {name for one in operation.get("security", ()) for name in one}:
            lacking.append(f"{title}: asks for no token")
        if not set(scopes) <= set(Scope) or (not scopes and not title.endswith("/me")):
            lacking.append(f"{title}: names no scope")
        for status, answer in operation["responses"].items():
            whole = status == "204" or "content" in answer
            if status.startswith("2") and not whole:
                lacking.append(f"{title}: {status} is not described")
        if operation.get("requestBody") and not operation["requestBody"]["content"]:
            lacking.append(f"{title}: its body is not described")
    assert not lacking, "\n".join(lacking)


def test_links_lead_somewhere() -> None:
    text = PAGE.read_text(encoding="utf-8")
    there = {title.lower() for title in re.findall(r"^### ([\w-]+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= there


@pytest.fixture
def stand(sqlite_template: Path, tmp_path: Path) -> Iterator[ConsoleStand]:
    place = copied(sqlite_template, tmp_path)
    ledger = Ledger(place.url)
    with open_console(Office(ledger, place)) as stand:
        populate(stand)
        yield stand
    ledger.close()


def test_the_examples_run(stand: ConsoleStand, tmp_path: Path) -> None:
    examples = [
        text for text in re.findall(r"^```sh\n(.*?)^```", HOW_TO, re.DOTALL | re.MULTILINE) if "# not" not in text
    ]
    assert len(examples) >= 5
    token = stand.hub.token("olga", OF_HUB_ADMINS)
    (tmp_path / "token").write_text(f'header = "Authorization: Bearer {token}"\n')
    with served(stand.app) as address:
        call = f'curl --silent --show-error --fail-with-body --config {tmp_path / "token"} "$@"'
        script = "\n".join(
            [
                "set -euo pipefail",
                f"BERTH={address}{PREFIX}api/v1",
                f"berth-api() {{ {call}; }}",
                'date() { case "$*" in *day*) echo 2027-03-02T12:00:00Z ;; *) echo 2027-03-01T00:00:00Z ;; esac; }',
                *(f"{text}\necho; echo ---" for text in examples),
            ]
        )
        ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = ran.stdout.split("---\n")
    assert json.loads(told[0])["name"] == "olga"
    assert "ann\t2027-03-01T" in told[1]
    assert (tmp_path / "use.csv").read_text(encoding="utf-8-sig").startswith("group,")
    assert json.loads(told[3])["value"] == 2
    assert [entry.why for entry in stand.office.audit()[-2:]] == ["Until the paper is out", "A deadline tonight"]
    problem = json.loads(told[5])
    shown = re.search(r"^```json\n(.*?)^```", HOW_TO, re.DOTALL | re.MULTILINE)
    assert shown is not None
    assert problem == json.loads(shown[1])
