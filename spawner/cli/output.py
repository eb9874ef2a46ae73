"""What the commands print: sentences for people, or one JSON object for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table


class Output:
    """One command's output.

    Attributes
    ----------
    as_json
        Whether a program reads it: standard output then holds one JSON value and nothing else.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._people = Console(stderr=as_json, highlight=False, soft_wrap=True)
        self._out = Console(highlight=False, soft_wrap=True)

    @property
    def is_terminal(self) -> bool:
        return self._out.is_terminal and not self.as_json

    def step(self, sentence: str) -> None:
        """Tell what is going on."""
        self._people.print("[bold cyan]==>[/]", end=" ")
        self._people.print(sentence, markup=False)

    def detail(self, line: str) -> None:
        """Tell how far it is."""
        self._people.print(f"    {line}", markup=False, style="dim")

    def say(self, sentence: str) -> None:
        """Tell a result to people."""
        self._people.print(sentence, markup=False)

    def data(self, value: Mapping[str, Any] | Sequence[Any]) -> None:
        """Give a result to a program; nothing where people read."""
        if self.as_json:
            click.echo(json.dumps(value, indent=2, default=str))

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        """Give pairs of names and values to people."""
        grid = Table.grid(padding=(0, 2))
        for name, value in rows:
            grid.add_row(f"[bold]{name}[/]", value.replace("[", r"\["))
        self._people.print(grid)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value, for programs.")
