"""``berth simulate classes``: a term of courses beside ordinary users, and what it costs them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import median_low

import click

from ..sim.report import Waits
from ..sim.term import Term
from ..sim.term_report import ALL, TermResult, run_term
from .output import Output, json_option
from .shapes import plural

_DEFAULTS = Term()


@click.command()
@click.option("--courses", type=click.IntRange(1, 500), default=_DEFAULTS.courses, show_default=True)
@click.option("--weeks", type=click.IntRange(1, 52), default=_DEFAULTS.weeks, show_default=True)
@click.option("--gpus", type=click.IntRange(8, 10_000), default=_DEFAULTS.gpus, show_default=True)
@click.option(
    "--users", type=click.IntRange(10, 100_000), default=_DEFAULTS.users, show_default=True, help="Besides students."
)
@click.option(
    "--load",
    type=click.FloatRange(0.01, 10),
    default=_DEFAULTS.load,
    show_default=True,
    help="GPU time that ordinary users ask for, as a part of what there is.",
)
@click.option("--seed", type=int, default=_DEFAULTS.seed, show_default=True, help="The same seed, the same figures.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many terms, from it on.")
@json_option
def classes(
    *, courses: int, weeks: int, gpus: int, users: int, load: float, seed: int, seeds: int, as_json: bool
) -> None:
    """Simulate a term of weekly labs on the GPUs that ordinary users have too.

    Each term runs twice, with its courses and without, so that what they cost everybody else is known. Reservations,
    warm-up and what goes back are decided by the functions that the hub calls. No GPU breaks in it.

    Ends with status 1 if something happened that must not: a reserved seat whose GPU was not free in time, a GPU
    leased twice, a budget or quota exceeded.
    """
    output = Output(as_json)
    terms = [
        Term(courses=courses, weeks=weeks, gpus=gpus, users=users, seed=seed + number, load=load)
        for number in range(seeds)
    ]
    output.step(f"{plural(courses, 'course')}, {plural(weeks, 'week')}, {gpus:,} GPUs, {users:,} ordinary users")
    results = []
    for term in terms:
        began = time.perf_counter()
        results.append(run_term(term))
        output.detail(f"Seed {term.seed}: {time.perf_counter() - began:.1f} s")
    output.data({"terms": [asdict(term) for term in terms], "results": [result.as_json() for result in results]})
    output.listing(["", *(f"seed {result.seed}" for result in results)], _figures(results))
    output.listing(
        ["wait of ordinary users: without courses → beside them", "median", "95 %", "gave up"], _prices(results)
    )
    errors = [
        f"Seed {result.seed}: {name} {count}" for result in results for name, count in sorted(result.errors.items())
    ]
    if errors:
        raise click.ClickException(f"What must not happen has happened. {'; '.join(errors)}.")


def _figures(results: Sequence[TermResult]) -> list[list[str]]:
    def row(name: str, value: Callable[[TermResult], str]) -> list[str]:
        return [name, *(value(result) for result in results)]

    return [
        row("sessions reserved", lambda r: f"{r.classes.sessions:,}"),
        row("at another time than wanted", lambda r: f"{r.classes.moved:,}"),
        row("refused, for want of room", lambda r: f"{r.classes.refused:,}"),
        row("reserved seats kept", lambda r: f"{r.classes.kept:,} of {r.classes.seats:,}"),
        row("seats ready at the bell", lambda r: f"{r.classes.ready:,} of {r.classes.seats:,}"),
        row("last seat ready after it", lambda r: f"{r.classes.slowest} s"),
        row("late students' wait: median / 95 %", lambda r: f"{_time(r.late.p50)} / {_time(r.late.p95)}"),
        row("GPU-hours reserved", lambda r: f"{r.hours.reserved:,.0f}"),
        row("went back unused", lambda r: _part(r.hours.returned, r.hours.reserved)),
        row("of these used again", lambda r: _part(r.hours.used_again, r.hours.returned)),
        row("leases cut short for a class", lambda r: f"{r.shortened:,} of {r.leases:,}"),
        row("errors", lambda r: str(sum(r.errors.values()))),
    ]


def _prices(results: Sequence[TermResult]) -> list[list[str]]:
    """Give each group's figures of the middle seed, by how much longer 95 % of all waited."""
    by_price = [result.beside[ALL].p95 - result.without[ALL].p95 for result in results]
    middle = results[by_price.index(median_low(by_price))]
    none = Waits(0, 0, 0, 0, 0, 0, 0, 0)
    rows = []
    for name in middle.beside:
        without, beside = middle.without.get(name, none), middle.beside[name]
        rows.append(
            [
                name,
                f"{_time(without.p50)} → {_time(beside.p50)}",
                f"{_time(without.p95)} → {_time(beside.p95)}",
                f"{without.gave_up:,} → {beside.gave_up:,}",
            ]
        )
    return rows


def _part(hours: float, whole: float) -> str:
    return f"{hours:,.0f} ({100 * hours / whole:.0f} %)" if whole else "0"


def _time(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
