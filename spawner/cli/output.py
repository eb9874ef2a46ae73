"""What the commands print: sentences for people, or one JSON object for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

_AS_JSON = "berth.as_json"
_SHORT = 16  # columns: a time to the minute, an id of a lease
_ONE_LINE = 100_000  # columns, more than any row has


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

    def listing(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Give rows under headings to people; nothing where a program reads.

        Where no terminal bounds the width each row is one line, for grep and the like.
        """
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for number, heading in enumerate(headings):
            # Times and ids in two halves cannot be read or copied; words can.
            short = all(len(row[number]) <= _SHORT for row in rows)
            table.add_column(heading, overflow="fold", no_wrap=short)
        for row in rows:
            table.add_row(*(Text(_printable(cell)) for cell in row))
        console = self._out if self._out.is_terminal else Console(highlight=False, width=_ONE_LINE)
        console.print(table, soft_wrap=False)

    def refuse(self, code: str, reason: str, **more: Any) -> NoReturn:
        """End the command with a refusal: exit status 1, the reason, its code; for programs more, as JSON has it."""
        refuse(code, reason, as_json=self.as_json, **more)


def refuse(code: str, reason: str, *, as_json: bool, **more: Any) -> NoReturn:
    """Print a refusal for people, and for programs too where one reads; exit status 1."""
    if as_json:
        click.echo(json.dumps({"error": {"code": code, "message": reason, **more}}, indent=2))
    click.echo(f"berth: {reason} [{code}]", err=True)
    raise SystemExit(1)


def wants_json(context: click.Context) -> bool:
    """Tell whether the command that runs in a context was called with ``--json``."""
    return bool(context.meta.get(_AS_JSON))


def _printable(text: str) -> str:
    """Take out what would steer a terminal: users' servers write some of these words."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _note(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    context.meta[_AS_JSON] = value or wants_json(context)
    return value


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_note, help="Print one JSON value, for programs."
)
