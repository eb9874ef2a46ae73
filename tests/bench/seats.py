"""``python -m tests.bench.seats``: how long a class takes to be ready, and what others' starts suffer meanwhile.

The same seats are asked for all at once from a plain JupyterHub with DockerSpawner, which is what a script would do
there. Light seats are servers of a 2 MB image that answers the hub and does nothing else: they measure what is ours.
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import click
import docker
import yaml
from rich.console import Console
from rich.table import Table

from spawner.engine.containers import SERVER_LABEL
from spawner.operations import courses, seats, sessions
from spawner.operations.desk import utc_now
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, SeatState, seat_state
from spawner.policy.names import container_name
from spawner.settings import DEFAULT_IMAGE

from ..support.berth import Berth, containers_of, deployment, environment_of, eventually
from ..support.ledger_of import ledger_of, loops
from ..support.tiny_image import ensure_tiny_image
from .questions import Questions, ask
from .sides import CPU_LIMIT, MEMORY_LIMIT, Side, SpawnFailed, stock_side

_PATIENCE = 1200.0
_QUIET_STARTS = 3
_PAUSE = 1.0


@dataclass
class Warmed:
    """How a class got ready.

    Attributes
    ----------
    wall
        Seconds from the first request until the last seat was ready.
    takes
        Seconds of each seat, from its request.
    failed
        What went wrong, by user.
    quiet, meanwhile
        Seconds of starts of people who are not in the class: before it, and while it got ready.
    questions
        What its seats cost the hub from then on.
    """

    wall: float = 0.0
    takes: list[float] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    quiet: list[float] = field(default_factory=list)
    meanwhile: list[float] = field(default_factory=list)
    questions: Questions | None = None

    @property
    def suffer(self) -> float | None:
        return statistics.median(self.meanwhile) / statistics.median(self.quiet) if self.meanwhile else None


def of_stock(directory: Path, image: str, command: str, students: list[str], client: docker.DockerClient) -> Warmed:
    """Ask for all seats at once."""
    found = Warmed()
    with stock_side(directory, image, command, client) as side:
        for user in students:
            side.add_user(user)
        found.quiet = [_start_and_stop(side, f"quiet{number}") for number in range(_QUIET_STARTS)]

        def start(user: str) -> None:
            try:
                found.takes.append(side.spawn(user))
            except (SpawnFailed, OSError) as error:
                found.failed[user] = str(error)[:200]

        threads = [threading.Thread(target=start, args=(user,)) for user in students]
        with _others(side, found):
            begun = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            found.wall = time.perf_counter() - begun
    return found


def of_berth(directory: Path, image: str, students: list[str]) -> Warmed:
    """Plan a session that begins now; the janitor does the rest."""
    found = Warmed()
    directory.mkdir()
    file = directory / "berth.yaml"
    profile = {"slug": "bench", "name": "Bench", "cpu": CPU_LIMIT, "memory": MEMORY_LIMIT}
    file.write_text(yaml.safe_dump({"image": image, "pull": "never", "profiles": [profile]}), encoding="utf-8")
    with deployment(directory, BERTH_CONFIG=str(file)) as berth, berth.hub() as pid:
        hub_id = berth.state.hub_id
        name = container_name
        side = Side("Berth", berth.url, pid, lambda user: name(hub_id, user, ""), {"profile": "bench"}, berth.token)
        eventually(lambda: {"rosters", "warmup", "seats"} <= set(loops(berth)))
        found.quiet = [_start_and_stop(side, f"quiet{number}") for number in range(_QUIET_STARTS)]
        with _others(side, found):
            _teach(berth, students, found)
        found.questions = ask(berth.url, pid, _tokens(berth))
    return found


def _tokens(berth: Berth) -> list[str]:
    """Give the seats' servers' tokens, from their environments."""
    client = docker.from_env()
    there = [environment_of(one.attrs) for one in containers_of(client, berth) if one.labels[SERVER_LABEL] == "bench"]
    client.close()
    return [environment["JUPYTERHUB_API_TOKEN"] for environment in there]


def _teach(berth: Berth, students: list[str], found: Warmed) -> None:
    with ledger_of(berth) as desk:
        courses.create(desk, Course("bench", "Bench", "bench", "", utc_now()), "ines")
        courses.enrol(desk, "bench", students, Role.STUDENT, "ines", agreed=True)
        begins = utc_now()
        answer = sessions.book(desk, Plan("bench", [(begins, begins + timedelta(hours=2))], len(students)), "ines")
        if not isinstance(answer, Planned):
            raise click.ClickException(f"The class could not be planned: {answer}")
        session = answer.sessions[0].id
        running = {SeatState.READY, SeatState.WORKING, SeatState.IDLE}
        end = time.monotonic() + _PATIENCE
        while True:
            _, board = seats.board(desk, session)
            if all(seat_state(seat, utc_now()) in running for seat in board):
                break
            if time.monotonic() > end:
                break
            time.sleep(_PAUSE)
    for seat in board:
        if seat.ready_at is None or seat.asked_at is None or seat.attempts != 1:
            found.failed[seat.user] = seat.problem or f"{seat.attempts} requests"
        else:
            found.takes.append((seat.ready_at - seat.asked_at).total_seconds())
    there = [seat for seat in board if seat.ready_at is not None and seat.asked_at is not None]
    first = min(seat.asked_at for seat in there if seat.asked_at is not None)
    found.wall = (max(seat.ready_at for seat in there if seat.ready_at is not None) - first).total_seconds()


def _start_and_stop(side: Side, user: str) -> float:
    side.add_user(user)
    seconds = side.spawn(user)
    side.stop(user)
    return seconds


@contextmanager
def _others(side: Side, found: Warmed) -> Iterator[None]:
    """Let somebody who is not in the class start servers, one after the other."""
    over = threading.Event()

    def start() -> None:
        number = 0
        while not over.wait(_PAUSE):
            number += 1
            try:
                found.meanwhile.append(_start_and_stop(side, f"other{number}"))
            except (SpawnFailed, OSError) as error:
                found.failed[f"other{number}"] = str(error)[:200]

    thread = threading.Thread(target=start)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def table(title: str, stock: Warmed, ours: Warmed) -> Table:
    made = Table(title=title)
    for name in ("", "stock", "Berth", "Berth / stock"):
        made.add_column(name, justify="left" if not name else "right")
    made.add_row(
        "all seats ready", f"{stock.wall:.1f} s", f"{ours.wall:.1f} s", f"{ours.wall / stock.wall:.2f} (aim: 1 at most)"
    )
    made.add_row("a seat, median", *(_seconds(statistics.median(one.takes or [0.0])) for one in (stock, ours)), "")
    made.add_row("the slowest seat", *(_seconds(max(one.takes, default=0.0)) for one in (stock, ours)), "")
    made.add_row("seats and others that failed", str(len(stock.failed)), str(len(ours.failed)), "(aim: none)")
    made.add_row(
        "others' starts, by those on a quiet hub",
        *(f"{one.suffer:.1f}x of {len(one.meanwhile)}" if one.suffer else "none came through" for one in (stock, ours)),
        "",
    )
    return made


def words(found: Questions, seats: int) -> str:
    """Say what a class costs the hub while it meets."""
    return (
        f"The hub spends {found.own:.1f} ms of CPU on a seat's question, {found.report:.1f} ms on its report; on "
        f"JupyterHub's own answer to who asks {found.stock:.1f} ms "
        f"({found.own / found.stock:.2f}, {found.report / found.stock:.2f}). {seats} seats at their pace take "
        f"{100 * found.core:.0f} % of a core; 95 of 100 requests are answered within {found.slow:.0f} ms."
    )


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value else "none"


@click.command()
@click.option("--seats", "light", default=100, show_default=True, help="Light seats; 0 leaves them out.")
@click.option("--real", default=16, show_default=True, help="Seats of the image that users have; 0 leaves them out.")
@click.option("--image", default=DEFAULT_IMAGE, show_default=True, help="That image.")
def main(light: int, real: int, image: str) -> None:
    """Measure how fast classes are ready."""
    client = docker.from_env()
    console = Console(highlight=False)
    plans = [
        (light, "light seats", ensure_tiny_image(client.api), "/bin/serve"),
        (real, "seats of the real image", image, "jupyterhub-singleuser"),
    ]
    for count, what, name, command in plans:
        if not count:
            continue
        students = [f"student{number:03}" for number in range(count)]
        with tempfile.TemporaryDirectory(prefix="berth-bench-") as place:
            stock = of_stock(Path(place) / "stock", name, command, students, client)
            ours = of_berth(Path(place) / "berth", name, students)
        console.print(table(f"{count} {what}", stock, ours))
        if ours.questions is not None:
            console.print(words(ours.questions, count))
        for side, one in (("stock", stock), ("Berth", ours)):
            for user, why in sorted(one.failed.items())[:5]:
                console.print(f"{side}: {user}: {why}", style="yellow")
    client.close()


if __name__ == "__main__":
    main()
