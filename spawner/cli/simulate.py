"""``berth simulate``: a week of many people on many GPUs, under our policy and under what is common without one."""

import importlib.util
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from ..sim.disciplines import DISCIPLINES
from ..sim.plot import plot
from ..sim.report import Result
from ..sim.run import run
from ..sim.scenario import Scenario, Workload
from ..sim.workload import draw
from .arguments import bare
from .output import Output, json_option
from .simulate_classes import classes

_DEFAULTS = Scenario()


@dataclass(frozen=True, slots=True)
class Took:
    """How long a run took, in seconds: by the clock, and of a core."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.cpu:.1f} s CPU)"

    def as_json(self) -> dict[str, float]:
        return {"run_seconds": round(self.wall, 3), "cpu_seconds": round(self.cpu, 3)}


def _drawable(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    """Refuse before the long run what could not be drawn after it."""
    if value is not None and importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib, which is not installed: pip install 'jupyterhub-berth[sim]'.")
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory {value.absolute().parent}.")
    return value


@click.group(invoke_without_command=True)
@click.option("--users", type=click.IntRange(10, 1_000_000), default=_DEFAULTS.users, show_default=True)
@click.option("--gpus", type=click.IntRange(1, 100_000), default=_DEFAULTS.gpus, show_default=True)
@click.option(
    "--days", type=click.IntRange(1, 366), default=_DEFAULTS.days, show_default=True, help="From a Monday on."
)
@click.option("--seed", type=int, default=_DEFAULTS.seed, show_default=True, help="The same seed, the same figures.")
@click.option(
    "--load",
    type=click.FloatRange(0.01, 10),
    default=_DEFAULTS.load,
    show_default=True,
    help="GPU time that is asked for, as a part of what there is.",
)
@click.option(
    "--discipline",
    "chosen",
    type=click.Choice(list(DISCIPLINES)),
    multiple=True,
    help="Which to compare; may be given several times.  [default: all]",
)
@click.option(
    "--plot",
    "picture",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    callback=_drawable,
    help="Draw waits and utilisation into this PNG file.",
)
@json_option
@click.pass_context
def simulate(
    context: click.Context,
    *,
    users: int,
    gpus: int,
    days: int,
    seed: int,
    load: float,
    chosen: tuple[str, ...],
    picture: Path | None,
    as_json: bool,
) -> None:
    """Simulate people on leased GPUs, and compare ways to hand them out.

    Fair share is Berth's own policy: the very functions that the hub calls. FIFO serves whoever came first, without
    backfill. Pinned gives each group a fixed part of the GPUs. All get the same requests. Touches no hub and no GPU.

    Ends with status 1 if something happened that must not: a GPU leased twice, a budget or quota exceeded.
    """
    if not bare(context):
        return
    output = Output(as_json)
    scenario = Scenario(users, gpus, days, seed, load)
    output.step(f"{users:,} users, {gpus:,} GPUs, {days} days, seed {seed}")
    workload = draw(scenario)
    results: list[tuple[Result, Took]] = []
    for name in chosen or DISCIPLINES:
        discipline = DISCIPLINES[name]
        began = time.perf_counter(), time.process_time()
        result = run(workload, discipline)
        took = Took(time.perf_counter() - began[0], time.process_time() - began[1])
        results.append((result, took))
        output.detail(f"{discipline.title}: {took}. {discipline.description}")
    output.data(
        {
            "scenario": {**asdict(scenario), **_size(workload)},
            "results": [{**result.as_json(), **took.as_json()} for result, took in results],
        }
    )
    output.listing(["", *(result.title for result, _ in results)], _figures(results))
    output.listing(["wait: median / 95 % / longest", *(result.title for result, _ in results)], _waits(results))
    if picture is not None:
        plot(scenario, [result for result, _ in results], picture)
        output.step(f"Drawn: {picture}")
    errors = [f"{result.title}: {name} {count}" for result, _ in results for name, count in _errors(result)]
    if errors:
        raise click.ClickException(f"What must not happen has happened. {'; '.join(errors)}.")


simulate.add_command(classes)


def _size(workload: Workload) -> dict[str, int]:
    return {
        "slots": len(workload.slots),
        "demands": len(workload.demands),
        "sessions": len(workload.sessions),
        "outages": len(workload.outages),
    }


def _errors(result: Result) -> list[tuple[str, int]]:
    return [(name, count) for name, count in asdict(result.checks).items() if count]


def _figures(results: Sequence[tuple[Result, Took]]) -> list[list[str]]:
    def row(name: str, value: Any) -> list[str]:
        return [name, *(value(result) for result, _ in results)]

    return [
        row("GPU time leased", lambda result: _percent(result.utilisation.leased)),
        row("GPU time at work", lambda result: _percent(result.utilisation.busy)),
        row("work done, of what was asked for", lambda result: _percent(result.work_done)),
        row("fairness (Jain)", lambda result: f"{result.fairness:.3f}"),
        row("gave up waiting", lambda result: f"{result.waits['all'].gave_up:,}"),
        row("GPU in class within 5 min", lambda r: _part(r.seats.in_time, r.seats.students)),
        row("reserved seats kept", lambda r: _part(r.seats.kept, r.seats.booked)),
        row("longest wait, of its bound", _starvation),
        row("denied", lambda r: ", ".join(f"{code} {count}" for code, count in r.denials.items()) or "none"),
        row("leased twice", lambda result: str(result.checks.double_leases)),
        row("budget errors", lambda result: str(result.checks.budget_errors)),
        row("other errors", lambda result: str(sum(count for _, count in _errors(result)) - _named(result))),
        ["run time", *(str(took) for _, took in results)],
    ]


def _named(result: Result) -> int:
    return result.checks.double_leases + result.checks.budget_errors


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def _part(count: int, whole: int) -> str:
    return f"{count:,} of {whole:,}" if whole else "none"


def _starvation(result: Result) -> str:
    bound = result.starvation.bound
    return _time(result.starvation.longest) + ("" if bound is None else f" of {_time(bound)}")


def _waits(results: Sequence[tuple[Result, Took]]) -> list[list[str]]:
    return [
        [row, *(" / ".join(_time(wait) for wait in _three(result, row)) for result, _ in results)]
        for row in results[0][0].waits
    ]


def _three(result: Result, row: str) -> tuple[int, ...]:
    waits = result.waits.get(row)
    return (waits.p50, waits.p95, waits.max) if waits else ()


def _time(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
