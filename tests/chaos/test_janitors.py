"""Two janitors at once, one whose ledger and engine are away, one that did not live to finish what it began."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spawner.ledger import Ledger
from spawner.operations import leases
from spawner.operations.desk import Desk
from spawner.settings import LeaseSettings, LimitSettings

from ..support import own_engine
from ..support.processes import process, processes_of
from .books import OpenLease
from .people import People
from .truth import check
from .world import World, wait_for, world

pytestmark = [pytest.mark.docker, pytest.mark.hub]

LOOPS = ("expiry", "idle", "inventory", "offers", "reconcile", "watchdog")
HOUR = {"profile": "gpu", "hours": 1}


@pytest.fixture(scope="module")
def alive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, People]]:
    if lacking := own_engine.why_not():
        pytest.skip(lacking)
    with world(tmp_path_factory.mktemp("world"), seed=0) as made:
        yield made


def started(made: World, user: str) -> OpenLease:
    """Start a server with a GPU for an hour; gives its lease."""
    assert made.berth.start_server(user, HOUR).status_code in {201, 202}

    def lease() -> OpenLease | None:
        found = [lease for lease in made.books.open_leases() if lease.user == user and lease.state == "active"]
        return found[0] if found else None

    wait_for(lambda: lease() is not None, 30, f"no lease for {user}")
    found = lease()
    assert found is not None
    return found


def test_two_janitors_do_no_harm(alive: tuple[World, People], tmp_path: Path) -> None:
    made, people = alive
    [first] = processes_of("spawner.janitor", made.berth.state.path)
    command = Path(f"/proc/{first}/cmdline").read_text().strip("\0").split("\0")
    command[command.index("--hub-pid") + 1] = str(os.getpid())  # it ends with us, not with the hub
    entries = Path(f"/proc/{first}/environ").read_text().strip("\0").split("\0")
    environment = dict(entry.split("=", 1) for entry in entries)
    root = Path(f"/proc/{first}/cwd").readlink()
    with process(command, tmp_path / "second.log", cwd=root, env=environment) as second:
        people.act()
        time.sleep(15)
        people.rest()
        made.settle()
        assert second.poll() is None, (tmp_path / "second.log").read_text()
        assert first in processes_of("spawner.janitor", made.berth.state.path)
        assert "Traceback" not in (tmp_path / "second.log").read_text()
    made.drain(people)
    check(made)


def test_every_loop_survives_an_engine_and_a_ledger_that_are_away(alive: tuple[World, People]) -> None:
    made, people = alive
    before = started(made, "user0")
    janitors = processes_of("spawner.janitor", made.berth.state.path)
    path = made.berth.state.ledger_file
    made.engine.kill()
    path.rename(f"{path}.hidden")
    time.sleep(8)
    Path(f"{path}.hidden").rename(path)
    made.engine.start("--live-restore")
    back = time.time()
    wait_for(
        lambda: all(made.books.loop_succeeded(loop) > back for loop in LOOPS),
        60,
        lambda: f"not back: {[loop for loop in LOOPS if made.books.loop_succeeded(loop) <= back]}",
    )
    assert processes_of("spawner.janitor", made.berth.state.path) == janitors
    made.settle()
    assert made.books.open_leases() == [before]
    assert [life.container for life in made.lives.living()] == [before.container]
    made.drain(people)
    check(made)


def test_an_ending_that_a_killed_janitor_began_is_finished(alive: tuple[World, People]) -> None:
    made, people = alive
    lease = started(made, "user1")
    ledger = Ledger(made.berth.state.ledger_url(None))
    leases.release(Desk(ledger, LimitSettings().rules(), LeaseSettings().rules()), lease.id, "expired")
    ledger.close()
    # Its server goes on without a GPU.
    wait_for(lambda: not made.books.open_leases(), 40, "the lease stays")
    wait_for(lambda: made.berth.ready("user1"), 30, "no server")
    assert made.lives.living() == []
    made.drain(people)
    check(made)
