"""``python -m tests.bench.ledger``: how many claims a second the ledger takes, on each database."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from spawner.ledger import Ledger

from ..support import postgres
from ..support.claims import Work, at_once, fill

WANTED = 300  # claims a second, 8 processes, 2 cores


def measure(url: str, processes: int, seconds: float, slots: int) -> list[Work]:
    ledger = Ledger(url)
    ledger.upgrade()
    fill(ledger, slots, datetime.now(UTC))
    ledger.close()
    return at_once(url, processes, seconds, hold=max(1, slots // processes // 2))


@click.command()
@click.option("--processes", default=8, show_default=True)
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--slots", default=[64, 1000], show_default=True, multiple=True, help="Sizes of the inventory.")
def main(processes: int, seconds: float, slots: tuple[int, ...]) -> None:
    """Claim and release as fast as it goes. A claim: lock, read slots, open leases and queue, insert, commit.

    A release reads its lease, closes it and books its use. Half of the slots are held meanwhile.
    """
    console = Console(highlight=False)
    table = Table("database", "slots", "claims/s", "releases/s", "longest wait, s")
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as directory, postgres.cluster(durable=True) as server:
        for count in slots:
            with server.database(f"bench_{count}") as url:
                for name, address in (("SQLite", f"sqlite:///{Path(directory) / f'{count}.db'}"), ("PostgreSQL", url)):
                    done = measure(address, processes, seconds, count)
                    claims, releases = sum(work.claims for work in done), sum(work.releases for work in done)
                    table.add_row(
                        name,
                        str(count),
                        f"{claims / seconds:.0f}",
                        f"{releases / seconds:.0f}",
                        f"{max(work.longest for work in done):.2f}",
                    )
    console.print(table)
    console.print(f"Wanted: {WANTED} claims a second with {processes} processes.")


if __name__ == "__main__":
    main()
