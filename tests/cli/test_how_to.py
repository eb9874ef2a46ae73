"""Every command of the how-to about quotas is run, in its order, and says what the page says."""

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from .admin import A100, Admin, admin

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/give-gpu-quotas.md").read_text(encoding="utf-8")
# The page's year is some summer; here it must lie ahead.
TEXT = PAGE.replace("2027-07-31", f"{datetime.now(UTC).year + 1}-07-31")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
LEASE, TICKET = "5be0c1a7d2f34986", "77d0a4be19c3528f"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def steps() -> list[tuple[str, str]]:
    """Give each command with what the page shows below it."""
    found = []
    for block in blocks("console"):
        for command, output in re.findall(r"^# (.*)\n((?:(?!# ).*\n)*)", block, re.MULTILINE):
            found.append((command, output))
    return found


def alike(text: str) -> list[list[str]]:
    """Take out what differs from day to day: times, and how wide a table is."""
    return [TIME.sub("TIME", line).split() for line in text.splitlines()]


def test_all_console_lines_are_commands_or_their_output() -> None:
    assert len(steps()) > 25
    assert all(command.startswith("berth ") for command, _ in steps())
    assert sum(len(output.splitlines()) for _, output in steps()) + len(steps()) == sum(
        len(block.splitlines()) for block in blocks("console")
    )


def test_every_command_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks("yaml"):
        name = re.match(r"# (\S+)\n", block)
        assert name
        Path(name[1]).write_text(block, encoding="utf-8")
    for person in admin(tmp_path):
        person.inventory((A100, 1), (A100, 1))
        person.ids = ["for the queue, had she to wait", LEASE]
        person.lease("ann", groups=frozenset({"vision"}))
        person.lease("ben")
        person.ids = [TICKET]
        person.wait("cleo")
        person.wait("dan")
        for command, output in steps():
            check(person, command, output)
        assert {entry["actor"] for entry in person.audit()} == {"cli:olga"}
        assert [place["user"] for place in person.data("queue")] == ["cleo"]


def check(person: Admin, command: str, output: str) -> None:
    done = person.run(*shlex.split(command)[1:])
    refused = output.startswith("berth: ")
    assert done.exit_code == (1 if refused else 0), f"{command}\n{done.output}"
    if output:
        assert alike(done.stderr if refused else done.stdout) == alike(output), command
