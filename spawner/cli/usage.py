"""``berth usage``: who used how many GPU-hours."""

import csv
import sys
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal, get_args

import click

from ..operations import usage as operations
from ..operations.usage import By
from .arguments import SINCE
from .deployment import Deployment
from .output import Output, json_option
from .shapes import exactly, minute

_HOUR_MS = 3_600_000
_NOBODY = {"group": "(no group)", "course": "(no course)", "model": "(unknown)"}


@click.command()
@click.option("--by", type=click.Choice(get_args(By)), default="user", show_default=True, help="What to sum up by.")
@click.option(
    "--since",
    type=SINCE,
    default="7d",
    show_default=True,
    help="Begin: a date or time (UTC), or how long ago, as 12h, 7d, 4w.",
)
@click.option("--until", type=SINCE, help="End, likewise; not included [default: now].")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option("--running", is_flag=True, help="Also what leases that still run have used so far.")
@json_option
def usage(
    by: By,
    since: datetime | timedelta,
    until: datetime | timedelta | None,
    form: Literal["table", "csv", "json"],
    running: bool,
    as_json: bool,
) -> None:
    """Sum up the GPU-hours of a time, those of closed leases, to the millisecond.

    Days begin at midnight UTC. A member of two groups counts in both.
    """
    output = Output(as_json or form == "json")
    desk = Deployment.load().desk()
    now = desk.clock()
    begin, end = _moment(since, now), now if until is None else _moment(until, now)
    if begin >= end:
        raise click.UsageError(f"--since ({minute(begin)} UTC) must lie before --until ({minute(end)} UTC).")
    booked = operations.totals(desk, by, begin, end)
    so_far = operations.running_ms(desk, begin, end, by) if running else {}
    rows = [(key, booked.get(key, 0), so_far.get(key, 0)) for key in {**booked, **so_far}]
    rows.sort(key=lambda row: row[0] if by == "day" else (-row[1] - row[2], row[0]))
    # Not the sum of the rows: members of two groups are in two.
    total = sum(operations.totals(desk, "user", begin, end).values())
    total_running = sum(operations.running_ms(desk, begin, end).values()) if running else 0
    if form == "csv" and not output.as_json:
        _csv(by, rows, running=running)
        return
    output.data(
        {
            "by": by,
            "since": exactly(begin),
            "until": exactly(end),
            "rows": [
                _numbers(booked_ms, running_ms, running=running) | {by: key} for key, booked_ms, running_ms in rows
            ],
            "total": _numbers(total, total_running, running=running),
        }
    )
    if output.as_json:
        return
    if not rows:
        output.say(f"No GPU was used from {minute(begin)} to {minute(end)} UTC.")
        return
    columns = [(key or _NOBODY.get(by, ""), booked_ms, running_ms) for key, booked_ms, running_ms in rows]
    output.listing(
        [by, "GPU-hours", *(["running so far"] if running else [])],
        [
            (name, hours(booked_ms), *([hours(running_ms)] if running else []))
            for name, booked_ms, running_ms in [*columns, ("all", total, total_running)]
        ],
    )
    output.say(f"From {minute(begin)} to {minute(end)} UTC.")


def hours(milliseconds: int) -> str:
    """Write GPU-hours to the thousandth, rounded half to even."""
    return str((Decimal(milliseconds) / _HOUR_MS).quantize(Decimal("0.001"), ROUND_HALF_EVEN))


def _moment(said: datetime | timedelta, now: datetime) -> datetime:
    return now - said if isinstance(said, timedelta) else said


def _numbers(booked: int, so_far: int, *, running: bool) -> dict[str, object]:
    numbers: dict[str, object] = {"gpu_ms": booked, "gpu_hours": float(hours(booked))}
    return numbers | ({"running_ms": so_far} if running else {})


def _csv(by: By, rows: list[tuple[str, int, int]], *, running: bool) -> None:
    """Print whole milliseconds, which are exact, and the hours rounded from them."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([by, "gpu_ms", "gpu_hours", *(["running_ms"] if running else [])])
    for key, booked, so_far in rows:
        writer.writerow([key, booked, hours(booked), *([so_far] if running else [])])
