"""``python -m tests.bench.console``: server time of the console's pages and reads, in a large deployment."""

import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spawner.console.process import spare_collections
from spawner.ledger import Ledger

from ..console.access import ACCESS, Access
from ..console.test_access import values
from ..support import postgres
from ..support.classroom import readings_of
from ..support.console import ConsoleStand, Visitor, open_console
from ..support.console_routes import Called, routes_of
from ..support.console_world import ANN, World
from ..support.ledgers import Place
from ..support.office import NOW, Office
from .busy_ledger import Busy, Size, fill

BUDGET = 200  # milliseconds, 95th percentile


@dataclass(frozen=True)
class Line:
    """Figures of a route: milliseconds, bytes."""

    route: str
    status: int
    p50: float
    p95: float
    size: int


class Stopwatch:
    """ASGI middleware that notes how long the app took with each request, its answer's body included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.took = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.took = time.perf_counter() - begun
            await send(message)

        await self._app(scope, receive, sending)


@contextlib.contextmanager
def busy_console(url: str, kind: str, size: Size) -> Iterator[World]:
    """Open a console over a busy ledger."""
    busy = fill(url, NOW, size)
    ledger = Ledger(url)
    with open_console(Office(ledger, Place(kind, url))) as stand:
        for name, group in busy.groups.items():
            stand.hub.add_user(name, [group], last_activity="2027-03-01T10:00:00Z")
        readings_of(stand.office, stand.console.readings, size.seats)
        spare_collections()  # as its process does
        yield _world(stand, busy)
    ledger.close()


def _world(stand: ConsoleStand, busy: Busy) -> World:
    return World(
        stand,
        busy.lease,
        busy.ticket,
        busy.closed,
        "n000-gpu0",
        busy.other_lease,
        busy.other_ticket,
        busy.session,
        sha256(busy.token.encode()).hexdigest()[:16],
        busy.token,
        "none",
    )


def measured(world: World, only: str) -> Iterator[Called]:
    """List what is read: all pages, and all of the API, or what has some text in its path."""
    for called in routes_of(world.console.app):
        access = ACCESS.get(str(called), Access())
        if called.method == "GET" and not access.anyone and not access.endless and only in called.path:
            yield called


def measure(world: World, rounds: int, only: str = "") -> Iterator[Line]:
    watch = Stopwatch(world.console.app)
    paths = values(world, own=True)
    for called in measured(world, only):
        somebody = _visitor(world, called, watch)
        took = []
        for number in range(rounds + 3):
            answer = somebody.get(called.at(paths), follow_redirects=False)
            if number >= 3:  # the first fill what processes keep
                took.append(watch.took * 1e3)
        cuts = statistics.quantiles(took, n=20)
        yield Line(str(called).replace("GET ", "/"), answer.status_code, cuts[9], cuts[18], len(answer.content))


def _visitor(world: World, called: Called, watch: ASGIApp) -> Visitor:
    """As an admin, who sees most; one's own as somebody who has much."""
    console, access = world.console, ACCESS.get(str(called), Access())
    own = access.owned or called.path.startswith("mine") or called.path == ""
    if called.in_api:
        like = console.as_user(ANN) if own else console.as_admin()
    else:
        like = console.signed_in(ANN) if own else console.signed_in_admin()
    made = Visitor(watch, base_url=str(like.base_url), headers=dict(like.headers), cookies=like.cookies)
    made.form_token = like.form_token
    return made


@click.command()
@click.option("--users", default=10_000, show_default=True)
@click.option("--gpus", default=1000, show_default=True)
@click.option("--queued", default=500, show_default=True)
@click.option("--closed", default=100_000, show_default=True, help="Leases that have ended.")
@click.option("--seats", default=350, show_default=True, help="Of a class that meets now.")
@click.option("--only", default="", help="Routes with this in their path.")
@click.option("--rounds", default=20, show_default=True, help="Requests of each route.")
@click.option("--postgresql", is_flag=True, help="In PostgreSQL, not in SQLite.")
@click.option("--json", "as_json", is_flag=True)
def main(
    *,
    users: int,
    gpus: int,
    queued: int,
    closed: int,
    seats: int,
    only: str,
    rounds: int,
    postgresql: bool,
    as_json: bool,
) -> None:
    """Measure how long the console works for each page and each read of the API.

    The time is the server's: from a request's arrival in the application until its answer is written; one after the
    other. People, machines and jobs are drawn as the simulator draws them.
    """
    size = Size(users, gpus, queued, closed, seats)
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as directory, contextlib.ExitStack() as opened:
        url, kind = f"sqlite:///{Path(directory) / 'ledger.db'}", "sqlite"
        if postgresql:
            server = opened.enter_context(postgres.cluster(durable=True))
            url, kind = opened.enter_context(server.database("bench")), "postgresql"
        world = opened.enter_context(busy_console(url, kind, size))
        lines = list(measure(world, rounds, only))
    if as_json:
        click.echo(json.dumps([asdict(line) for line in lines], indent=2))
        return
    show(lines, size, "PostgreSQL" if postgresql else "SQLite")


def show(lines: list[Line], size: Size, database: str) -> None:
    console = Console(highlight=False)
    table = Table("route", "status", "p50, ms", "p95, ms", f"p95 <= {BUDGET} ms", "KiB")
    for line in lines:
        met = "yes" if line.p95 <= BUDGET else "NO"
        figures = f"{line.p50:.1f}", f"{line.p95:.1f}"
        table.add_row(line.route, str(line.status), *figures, met, f"{line.size / 1024:.0f}")
    console.print(table)
    sizes = f"{size.users:,} users, {size.gpus:,} GPUs, {size.queued:,} queued, {size.closed:,} closed leases"
    sizes += f", {size.seats:,} seats in a class"
    console.print(f"{sizes}, in {database}.")


if __name__ == "__main__":
    main()
