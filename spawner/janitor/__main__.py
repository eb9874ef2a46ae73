"""The janitor's process, a managed service of the hub: ``python -m spawner.janitor``."""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from datetime import datetime
from pathlib import Path
from types import FrameType

import click
import docker
from docker.utils import kwargs_from_env

from ..engine.client import engine_errors
from ..errors import BerthError
from ..gpus.probes import open_probe
from ..ledger import Ledger
from ..operations.desk import Desk, utc_now
from ..operations.repairs import open_leases
from ..policy.gpus import LOCAL_NODE
from ..settings import Settings
from ..settings_file import load_settings
from ..state import StateDirectory
from .hub import Hub
from .loops import Loop, Runner
from .post import Post
from .tasks import expiry_once, idle_once, inventory_once, offers_once, reconcile_once
from .watchdog import watchdog_once

_LOG = logging.getLogger("berth.janitor")
_PARENT_SECONDS = 2.0


def loops(settings: Settings) -> tuple[Loop, ...]:
    return (
        Loop("inventory", inventory_once, 30.0),
        Loop("reconcile", reconcile_once, settings.leases.reconcile_seconds),
        Loop("offers", offers_once, 2.0),
        Loop("expiry", expiry_once, 5.0),
        Loop("idle", idle_once, 30.0),
        Loop("watchdog", watchdog_once, 15.0),
    )


def make_post(settings: Settings, hub: Hub | None, hub_began: datetime | None) -> Post:
    """Build the janitor's context from a deployment's settings.

    Raises
    ------
    LedgerOutdated
        If the ledger has another schema; says which command cures it.
    EngineUnavailable
    """
    state = StateDirectory(settings.state_dir)
    ledger = Ledger(state.ledger_url(settings.database_url))
    ledger.require_schema()
    with engine_errors():
        engine = docker.APIClient(version="auto", timeout=60, **kwargs_from_env())
    desk = Desk(ledger, settings.limits.rules(), settings.leases.rules())

    def holders() -> dict[str, tuple[int, ...]]:
        return {slot: () for lease in open_leases(desk) for slot in lease.slots}

    return Post(
        desk,
        engine,
        state.hub_id,
        settings,
        open_probe(
            settings.gpus, demo=settings.sign_in.method == "demo", node=LOCAL_NODE, clock=utc_now, holders=holders
        ),
        hub,
        hub_began,
    )


@click.command()
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Where the deployment's code lies.")
@click.option("--proxy", required=True, help="Address of the proxy, under which the servers are.")
@click.option("--hub-pid", type=int, required=True, help="The hub's process; the janitor ends with it.")
@click.option("--hub-began", type=datetime.fromisoformat, required=True, help="When the hub's process began.")
def main(root: Path, proxy: str, hub_pid: int, hub_began: datetime) -> None:
    """Run all loops until told to stop, or until the hub that started this is gone."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="[%(levelname)1.1s %(asctime)s %(name)s] %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    hub = Hub(os.environ["JUPYTERHUB_API_URL"], proxy, os.environ["JUPYTERHUB_API_TOKEN"])
    try:
        post = make_post(load_settings(root), hub, hub_began)
    except BerthError as error:
        _LOG.error("%s [%s]", error, error.code)
        sys.exit(1)
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    runners = {loop.name: Runner(post, loop, owner) for loop in loops(post.settings)}
    # In the foreground first: nothing is handed out before what exists is known.
    for name in ("inventory", "reconcile"):
        runners[name].turn()
    threads = [threading.Thread(target=runner.run, args=(stop,), name=name) for name, runner in runners.items()]
    for thread in threads:
        thread.start()
    while not stop.wait(_PARENT_SECONDS):
        if os.getppid() != hub_pid:
            # The next hub starts a janitor of its own, with a token that is good.
            _LOG.info("The hub is gone; so is its janitor.")
            stop.set()
    for thread in threads:
        thread.join(timeout=100)
    for runner in runners.values():
        runner.give_back()


if __name__ == "__main__":
    main()
