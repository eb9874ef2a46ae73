"""Arguments that several commands take, and who called them."""

import math
import os
import pwd
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from ..operations.times import parse_span, parse_time

C = TypeVar("C", bound=Callable[..., Any])


def actor() -> str:
    """Name the person in the audit: who called sudo, else the owner of this process."""
    name = os.environ.get("SUDO_USER", "")
    if not name:
        uid = os.getuid()
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = f"uid {uid}"
    return f"cli:{name.encode('utf-8', 'replace').decode()}"


class _Line(click.ParamType[str]):
    """One line of text that is not empty."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        line = " ".join(value.split())
        if not line:
            self.fail("it must not be empty.", param, ctx)
        if not line.isprintable():  # half characters of a broken encoding, too
            self.fail("it must be printable text in UTF-8.", param, ctx)
        return line


class _Moment(click.ParamType[datetime]):
    """A point in time."""

    name = "time"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_time(value)
        except ValueError as error:
            self.fail(f"expected {error}.", param, ctx)


class _Span(click.ParamType[timedelta]):
    """A length of time."""

    name = "length"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse_span(value)
        except ValueError as error:
            self.fail(f"expected {error}.", param, ctx)


class _Since(click.ParamType[datetime | timedelta]):
    """A point in time, or how long ago it was."""

    name = "time"

    def convert(
        self, value: str | datetime | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | timedelta:
        if isinstance(value, (datetime, timedelta)):
            return value
        reader: click.ParamType[Any] = _Span() if value.strip()[-1:] in {"m", "h", "d", "w"} else _Moment()
        found: datetime | timedelta = reader.convert(value, param, ctx)
        return found


class _Hours(click.ParamType[float]):
    """A number of hours above 0, at most a year."""

    name = "hours"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            hours = float(value)
        except ValueError:
            hours = math.nan
        if not 0 < hours <= 24 * 366:
            self.fail(f"expected a number of hours above 0 and up to a year, not {value!r}.", param, ctx)
        return hours


LINE, MOMENT, SPAN, SINCE, HOURS = _Line(), _Moment(), _Span(), _Since(), _Hours()

why_option = click.option("--why", type=LINE, required=True, help="The reason; stands in the audit.")


def bare(context: click.Context) -> bool:
    """Tell whether a group was called without a command of its own.

    Raises
    ------
    click.UsageError
        If options stand before a command, where they would mean nothing.
    """
    if context.invoked_subcommand is None:
        return True
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"Put {parameter.opts[0]} behind {context.invoked_subcommand}.", context)
    return False
