"""The picture of a comparison: who waits how long, and how full the GPUs are."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from .report import ALL, Result
from .scenario import Scenario

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#0072b2", "#e69f00", "#999999")  # told apart by the colour-blind too (Okabe and Ito)
_GRID = "#e4e4e4"
_LEAST = 1 / 60  # hours; what is shorter is drawn so, for a logarithm has no zero


def plot(scenario: Scenario, results: Sequence[Result], path: Path) -> None:
    """Draw the results into a PNG file. Needs matplotlib, which nothing else here does."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 8.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, height_ratios=(1.15, 1))
    figure.suptitle(
        f"{scenario.users:,} users, {scenario.gpus:,} GPUs, {scenario.days} days, seed {scenario.seed}", fontsize=12
    )
    _waits(upper, results)
    _utilisation(lower, scenario, results)
    # Nothing about the time of drawing, so that the same figures give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _waits(axes: "Axes", results: Sequence[Result]) -> None:
    rows = [row for row in results[0].waits if row != ALL]
    width = 0.8 / len(results)
    for number, (result, colour) in enumerate(zip(results, _COLOURS, strict=False)):
        places = [index - 0.4 + width * (number + 0.5) for index in range(len(rows))]
        waits = [result.waits[row] for row in rows if row in result.waits]
        hours = [max(_LEAST, wait.p95 / 3600) for wait in waits]
        axes.bar(places, hours, width * 0.92, color=colour, label=result.title, zorder=2)
        for place, wait, height in zip(places, waits, hours, strict=True):
            axes.annotate(
                _short(wait.p95),
                (place, height),
                (0, 6 if wait.p95 < 60 else 3),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        axes.scatter(
            places,
            [max(_LEAST, wait.p50 / 3600) for wait in waits],
            marker="D",
            s=22,
            color="white",
            edgecolors="black",
            linewidths=0.8,
            zorder=3,
            label="median" if result is results[-1] else None,
        )
    axes.set_yscale("log")
    axes.set_ylim(_LEAST * 0.9, 100)
    axes.set_yticks([1 / 60, 1 / 6, 1, 6, 24, 72], ["≤ 1 min", "10 min", "1 h", "6 h", "24 h", "72 h"])
    axes.minorticks_off()
    axes.set_xticks(range(len(rows)), rows)
    axes.set_ylabel("wait for GPUs (log scale)")
    axes.set_title("Waiting time by group: bars are the 95th percentile", loc="left", fontsize=11)
    axes.legend(frameon=False, ncols=len(results) + 1, loc="upper right", fontsize=9)
    _tidy(axes)


def _utilisation(axes: "Axes", scenario: Scenario, results: Sequence[Result]) -> None:
    for result, colour in zip(results, _COLOURS, strict=False):
        busy = result.utilisation.busy_by_hour
        percent = [100 * part for part in busy]
        axes.plot(
            [hour + 0.5 for hour in range(len(busy))],
            percent,
            color=colour,
            linewidth=1.6,
            label=f"{result.title}, {100 * result.utilisation.busy:.1f} % on the whole",
        )
    for day in range(scenario.days):
        if (scenario.starts_at + timedelta(days=day)).weekday() >= 5:
            axes.axvspan(24 * day, 24 * day + 24, color="#f3f3f3", zorder=0, linewidth=0)
    axes.set_xlim(0, 24 * scenario.days)
    axes.set_ylim(0, 100)
    days = range(scenario.days)
    names = [f"{scenario.starts_at + timedelta(days=day):%a}" for day in days]
    step = max(1, scenario.days // 14)
    axes.set_xticks([24 * day for day in days][::step], names[::step], ha="left")
    axes.set_xlabel("day, from midnight UTC (weekend shaded)")
    axes.set_ylabel("GPUs at work (% of all)")
    axes.set_title("Utilisation by hour, and on the whole (of the GPU time in service)", loc="left", fontsize=11)
    axes.legend(frameon=False, ncols=len(results), loc="lower center", fontsize=9)
    _tidy(axes)


def _tidy(axes: "Axes") -> None:
    axes.grid(axis="y", color=_GRID, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _short(seconds: int) -> str:
    if seconds < 60:
        return "0" if seconds == 0 else f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
