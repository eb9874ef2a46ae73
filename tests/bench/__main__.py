"""``python -m tests.bench``: compare with stock DockerSpawner, print a table, write JSON."""

import contextlib
import datetime as dt
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click
import docker
from docker.errors import DockerException
from rich.console import Console

from spawner.settings import DEFAULT_IMAGE

from ..support.npm import ROOT
from .machine import describe, sentence
from .measure import at_once, one_by_one, warm_up
from .report import QUIET, Row, as_json, burst_rows, foreign, single_rows, table
from .sides import SpawnFailed, berth_side, stock_side

_PARTS = ("a", "b", "c")


def _parts(_context: click.Context, _parameter: click.Parameter, value: str) -> frozenset[str]:
    parts = frozenset(part.strip() for part in value.split(","))
    if not parts <= set(_PARTS):
        raise click.BadParameter(f"some of {', '.join(_PARTS)}, separated by commas")
    return parts


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and smaller rounds: 3 one by one, 4 at once, one round.")
@click.option("--only", default=",".join(_PARTS), callback=_parts, metavar="a,b,c", help="Which parts to measure.")
@click.option("--image", default=DEFAULT_IMAGE, show_default=True, help="Image of the servers on both sides.")
@click.option(
    "--stock-cmd",
    default="jupyterhub-singleuser",
    show_default=True,
    help="What stock DockerSpawner starts in the container. Berth starts the image's own command.",
)
@click.option("--repeats", type=click.IntRange(1), help="Servers per side, one by one.  [default: 10]")
@click.option("--at-once", "servers", type=click.IntRange(1), help="Servers per side at once.  [default: 16]")
@click.option("--rounds", type=click.IntRange(1), help="Rounds of servers at once.  [default: 2]")
def main(
    *,
    quick: bool,
    only: frozenset[str],
    image: str,
    stock_cmd: str,
    repeats: int | None,
    servers: int | None,
    rounds: int | None,
) -> None:
    """Compare Berth with stock DockerSpawner: same engine, same image, same limits, in one run.

    (a) seconds from request to ready; (b) many at once: CPU seconds per spawn, and wall time; (c) CPU seconds in
    the container until ready. Users are new, so each start makes a home volume too. The figures are never asserted.
    """
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    _end_cleanly()
    # The settings of whoever runs this must not reach one of the two sides.
    for name in [name for name in os.environ if name.startswith("BERTH_")]:
        del os.environ[name]
    try:
        client = docker.from_env()
        if not client.images.list(image):
            raise click.ClickException(f"There is no image {image} on the engine: make images.")
    except DockerException as error:
        raise click.ClickException(f"The Docker Engine does not answer: {error}") from None
    machine = describe(client, image)
    console.print(sentence(machine))
    own = client.images.get(image).attrs["Config"]["Cmd"] or ["?"]
    console.print(f"Commands in the container: stock {stock_cmd}, Berth {' '.join(own)} (the image's own)")
    repeats = repeats or (3 if quick else 10)
    servers = servers or (4 if quick else 16)
    rounds = rounds or (1 if quick else 2)
    rows: list[Row] = []
    raw: dict[str, object] = {}
    noise, failure = 0.0, ""
    with contextlib.ExitStack() as stack:
        # By its id: whoever builds the image meanwhile moves its name.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="berth-bench-")))
        stock = stack.enter_context(stock_side(directory / "stock", str(machine["image_id"]), stock_cmd, client))
        ours = stack.enter_context(berth_side(directory / "berth", str(machine["image_id"])))
        status = stack.enter_context(console.status("warming up"))

        def say(text: str) -> None:
            console.print(text, style="dim")
            status.update("measuring")

        try:
            warm_up([stock, ours])
            if only & {"a", "c"}:
                singles = one_by_one(client.api, [stock, ours], repeats, say)
                rows += single_rows(singles[stock.name], singles[ours.name], ready="a" in only, container="c" in only)
                raw["one_by_one"] = {name: asdict(single) for name, single in singles.items()}
            if "b" in only:
                bursts = at_once(client.api, [stock, ours], servers, rounds, say)
                rows += burst_rows(bursts[stock.name], bursts[ours.name])
                noise = foreign([bursts[stock.name], bursts[ours.name]])
                raw["at_once"] = {
                    name: {**asdict(burst), "work": [each.as_dict() for each in burst.work]}
                    for name, burst in bursts.items()
                }
        except SpawnFailed as error:
            failure = str(error)
    if rows:
        console.print(table(rows))
    if noise > QUIET:
        console.print(
            f"Other programs kept {noise:.2f} cores busy while (b) was measured. The figure of the whole machine is "
            "therefore not judged. Of the parts, the engine's may hold work for others too.",
            style="yellow",
        )
    path = _write(
        {"machine": machine, "stock_command": stock_cmd, "parts": sorted(only), "rows": as_json(rows), "measured": raw}
    )
    console.print(f"Written to {path.relative_to(ROOT)}")
    if failure:
        raise click.ClickException(f"Cut off, the rest was not measured. {failure}")


def _write(result: dict[str, object]) -> Path:
    now = dt.datetime.now(dt.UTC)
    path = ROOT / "bench" / "results" / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"finished": now.isoformat(), **result}, indent=2) + "\n", encoding="utf-8")
    return path


def _end_cleanly() -> None:
    """Let the first signal end the run with all clean-up, which further ones do not disturb."""

    def end(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


if __name__ == "__main__":
    main()
