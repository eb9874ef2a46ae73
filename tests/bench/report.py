"""Figures made of the measurements: the rows of the table. No I/O."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from .measure import Burst, Single

AIM_READY, AIM_CPU = 0.7, 0.6
_UNATTRIBUTED = 0.4  # cores' worth of kernel threads and interrupts that belong to no process, while both cores work
QUIET = 0.1  # cores that other programs may keep busy before the whole machine's figure says nothing


@dataclass(frozen=True)
class Row:
    """One figure of both sides, in seconds.

    Attributes
    ----------
    detail
        Whether it is a part of the row above.
    aim
        What the ratio should be at most; None where nothing is aimed at.
    """

    what: str
    stock: float
    ours: float
    aim: float | None = None
    spread: tuple[str, str] = ("", "")
    detail: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours by stock; None where stock spent nothing that can be measured."""
        return self.ours / self.stock if self.stock >= 0.005 else None

    @property
    def met(self) -> bool | None:
        return None if self.aim is None or self.ratio is None else self.ratio <= self.aim


def spread(values: Sequence[float]) -> str:
    """Write the least and the greatest value."""
    return f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else ""


def single_rows(stock: Single, ours: Single, *, ready: bool, container: bool) -> list[Row]:
    rows = []
    if ready:
        rows.append(_median("(a) request to ready, one at a time", stock.ready, ours.ready, AIM_READY))
        rows.append(_median("    request to JupyterLab's page", stock.lab, ours.lab))
    if container:
        rows.append(_median("(c) CPU in the container until ready", stock.container, ours.container))
        rows.append(_median("    CPU until JupyterLab's page", stock.container_lab, ours.container_lab))
    return rows


def _median(what: str, stock: Sequence[float], ours: Sequence[float], aim: float | None = None) -> Row:
    return Row(
        f"{what}, median of {len(stock)}",
        statistics.median(stock),
        statistics.median(ours),
        aim,
        (spread(stock), spread(ours)),
    )


def foreign(bursts: Sequence[Burst]) -> float:
    """Give the most cores that other programs kept busy, before or during any round."""
    return max(
        max(work.idle_rate, abs(work.machine - work.attributed) / wall - _UNATTRIBUTED)
        for burst in bursts
        for work, wall in zip(burst.work, burst.wall, strict=True)
    )


def burst_rows(stock: Burst, ours: Burst) -> list[Row]:
    title = f"(b) {stock.servers} at once"

    def per_spawn(part: str) -> tuple[list[float], list[float]]:
        return (
            [getattr(each, part) / stock.servers for each in stock.work],
            [getattr(each, part) / ours.servers for each in ours.work],
        )

    def row(what: str, part: str, aim: float | None = None, *, detail: bool = True) -> Row:
        first, second = per_spawn(part)
        return Row(what, statistics.mean(first), statistics.mean(second), aim, (spread(first), spread(second)), detail)

    return [
        Row(
            f"{title}: until all are ready",
            statistics.mean(stock.wall),
            statistics.mean(ours.wall),
            spread=(spread(stock.wall), spread(ours.wall)),
        ),
        row(
            f"{title}: CPU per spawn, whole machine",
            "machine",
            AIM_CPU if foreign([stock, ours]) <= QUIET else None,
            detail=False,
        ),
        row(f"{title}: CPU per spawn, sum of the parts", "attributed", AIM_CPU, detail=False),
        row("containers", "containers"),
        row("hub", "hub"),
        row("proxy", "proxy"),
        row("dockerd and containerd", "engine"),
        row("shims and runc", "shims"),
    ]


def table(rows: Sequence[Row]) -> Table:
    made = Table(title="Seconds; less is better")
    made.add_column("")
    for heading in ("stock DockerSpawner", "Berth", "ratio", "aim"):
        made.add_column(heading, justify="right")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        aim = "" if row.aim is None else f"<= {row.aim:.2f}"
        verdict = {None: "", True: " [green]met[/]", False: " [red]missed[/]"}[row.met]
        made.add_row(
            f"  {row.what}" if row.detail else row.what,
            _cell(row.stock, row.spread[0]),
            _cell(row.ours, row.spread[1]),
            ratio,
            f"{aim}{verdict}",
            style="dim" if row.detail else "",
        )
    return made


def _cell(value: float, around: str) -> str:
    return f"{value:.2f} ({around})" if around else f"{value:.2f}"


def as_json(rows: Sequence[Row]) -> list[Mapping[str, object]]:
    return [
        {
            "what": row.what,
            "stock_seconds": row.stock,
            "berth_seconds": row.ours,
            "ratio": row.ratio,
            "aim": row.aim,
            "met": row.met,
        }
        for row in rows
    ]
