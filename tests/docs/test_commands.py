"""The list of commands, compared with the commands."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from spawner.cli import main

PAGE = (Path(__file__).parents[2] / "docs/reference/commands.md").read_text(encoding="utf-8")


def commands(group: click.Group = main, before: str = "berth") -> Iterator[tuple[str, click.Command]]:
    """Give every command that does something, with the words that call it."""
    for name, command in group.commands.items():
        words = f"{before} {name}"
        if not isinstance(command, click.Group):
            yield words, command
            continue
        if command.invoke_without_command:
            yield words, command
        yield from commands(command, words)


def rows() -> dict[str, str]:
    return dict(re.findall(r"^\| `(berth [a-z -]+)` \| (.*) \|$", PAGE, re.MULTILINE))


def test_every_command_has_its_line() -> None:
    assert set(rows()) == {words for words, _ in commands()}


@pytest.mark.parametrize("words", sorted(rows()))
def test_options_that_are_told_are_there(words: str) -> None:
    command = dict(commands())[words]
    there = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert set(re.findall(r"--[a-z-]+", rows()[words])) <= there


def test_what_prints_data_takes_json() -> None:
    without = {words for words, command in commands() if not any("--json" in one.opts for one in command.params)}
    assert without <= {"berth settings reference", "berth exporter"}
