"""``python -m tests.bench.ledger``: how many claims a second the ledger takes, on each database."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from spawner.ledger import Ledger

from ..support import postgres
from ..support.claims import at_once, fill

WANTED = 300  # claims a second, each with its release, 8 processes, 2 cores


@dataclass(frozen=True)
class Measured:
    """What all processes did.

    Attributes
    ----------
    claims, releases
        A second.
    longest
        Seconds that one transaction took at most, waiting for the others included.
    client_ms, server_ms
        Processor time for one claim and its release, in our processes and in the database's.
    """

    claims: float
    releases: float
    longest: float
    client_ms: float
    server_ms: float


def measure(url: str, processes: int, seconds: float, slots: int, server_cpu: Callable[[], float]) -> Measured:
    ledger = Ledger(url)
    ledger.upgrade()
    fill(ledger, slots, datetime.now(UTC))
    ledger.close()
    before = server_cpu()
    done = at_once(url, processes, seconds, hold=max(1, slots // processes // 2))
    server = server_cpu() - before
    claims, releases = sum(work.claims for work in done), sum(work.releases for work in done)
    return Measured(
        claims / seconds,
        releases / seconds,
        max(work.longest for work in done),
        sum(work.cpu for work in done) / releases * 1000,
        server / releases * 1000,
    )


@click.command()
@click.option("--processes", default=8, show_default=True)
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--slots", default=[64, 1000], show_default=True, multiple=True, help="Sizes of the inventory.")
def main(processes: int, seconds: float, slots: tuple[int, ...]) -> None:
    """Claim and release as fast as it goes, each in a transaction of its own.

    A claim: lock, read slots, open leases and queue, insert, commit. A release reads its lease, closes it and books its
    use. Half of the slots are held meanwhile. Claims and releases alternate, so that so many claims a second are twice
    as many transactions. PostgreSQL has each on disk when it returns; SQLite, as ever, a moment later.
    """
    console = Console(highlight=False)
    table = Table("database", "slots", "claims/s", "releases/s", "longest wait, s", "CPU per claim + release, ms")
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as directory, postgres.cluster(durable=True) as server:
        for count in slots:
            file = f"sqlite:///{Path(directory) / f'{count}.db'}"
            with server.database(f"bench_{count}") as url:
                for name, address, cpu in (
                    ("SQLite", file, lambda: 0.0),
                    ("PostgreSQL", url, server.cpu_seconds),
                ):
                    done = measure(address, processes, seconds, count, cpu)
                    table.add_row(
                        name,
                        str(count),
                        f"{done.claims:.0f}",
                        f"{done.releases:.0f}",
                        f"{done.longest:.2f}",
                        f"{done.client_ms:.2f}" + (f" + {done.server_ms:.2f} (server)" if done.server_ms else ""),
                    )
    console.print(table)
    console.print(
        f"Wanted: {WANTED} claims a second with {processes} processes, each claim followed by a release: "
        f"{2 * WANTED} transactions."
    )


if __name__ == "__main__":
    main()
