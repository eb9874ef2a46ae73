"""``berth usage``: who used how many GPU-hours."""

import csv
import sys
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal, get_args

import click

from ..operations import reports
from ..operations.reports import Row
from ..operations.usage import By
from .arguments import SINCE
from .deployment import Deployment
from .output import Output, json_option
from .shapes import exactly, minute

_HOUR_MS = 3_600_000
_HEADINGS = {"gpu_ms": "GPU-hours", "running_ms": "running so far", "idle_ms": "idle"}
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
@click.option("--idle", is_flag=True, help="Also what of it was leased but idle; of leases that run, with --running.")
@json_option
def usage(
    by: By,
    since: datetime | timedelta,
    until: datetime | timedelta | None,
    form: Literal["table", "csv", "json"],
    running: bool,
    idle: bool,
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
    found = reports.report(desk, by, begin, end)
    columns = ["gpu_ms", *(["running_ms"] if running else []), *(["idle_ms"] if idle else [])]

    def numbers(row: Row) -> dict[str, int]:
        wasted = row.idle_ms if running else row.booked_idle_ms
        every = {"gpu_ms": row.booked_ms, "running_ms": row.running_ms, "idle_ms": wasted}
        return {name: every[name] for name in columns}

    rows = [row for row in found.rows if running or row.booked_ms]
    if by != "day":
        rows.sort(key=lambda row: (-row.booked_ms - row.running_ms * running, row.key))
    if form == "csv" and not output.as_json:
        _csv(by, columns, [(row.key, numbers(row)) for row in rows])
        return
    output.data(
        {
            "by": by,
            "since": exactly(begin),
            "until": exactly(end),
            "rows": [_data(numbers(row)) | {by: row.key} for row in rows],
            "total": _data(numbers(found.total)),
        }
    )
    if output.as_json:
        return
    if not rows:
        output.say(f"No GPU was used from {minute(begin)} to {minute(end)} UTC.")
        return
    listed = [(row.key or _NOBODY.get(by, ""), numbers(row)) for row in rows]
    output.listing(
        [by, *(_HEADINGS[name] for name in columns)],
        [(name, *map(hours, said.values())) for name, said in [*listed, ("all", numbers(found.total))]],
    )
    output.say(f"From {minute(begin)} to {minute(end)} UTC.")


def hours(milliseconds: int) -> str:
    """Write GPU-hours to the thousandth, rounded half to even."""
    return str((Decimal(milliseconds) / _HOUR_MS).quantize(Decimal("0.001"), ROUND_HALF_EVEN))


def _moment(said: datetime | timedelta, now: datetime) -> datetime:
    return now - said if isinstance(said, timedelta) else said


def _data(numbers: dict[str, int]) -> dict[str, object]:
    return {**numbers, "gpu_hours": float(hours(numbers["gpu_ms"]))}


def _csv(by: By, columns: list[str], rows: list[tuple[str, dict[str, int]]]) -> None:
    """Print whole milliseconds, which are exact, and the hours rounded from them."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    more = columns[1:]
    writer.writerow([by, "gpu_ms", "gpu_hours", *more])
    for key, numbers in rows:
        writer.writerow([key, numbers["gpu_ms"], hours(numbers["gpu_ms"]), *(numbers[name] for name in more)])
