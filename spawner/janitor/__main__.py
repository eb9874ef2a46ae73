"""The janitor's process, a managed service of the hub: ``python -m spawner.janitor``."""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import FrameType

import click

from ..errors import BerthError
from ..metrics.pseudonyms import Pseudonyms
from ..metrics.server import PatientServer
from ..settings_file import load_settings
from ..state import StateDirectory
from .hub import Hub
from .loops import Loop, Runner
from .metrics import LedgerMetrics
from .opening import make_post
from .post import Post
from .schedule import loops

_LOG = logging.getLogger("berth.janitor")
_PARENT_SECONDS = 2.0


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
    stop = post.stopping

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    planned = loops(post.settings)
    runners = {loop.name: Runner(post, loop, owner) for loop in planned}
    server = _serve_metrics(post, runners, planned)
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
    server.close()


def _serve_metrics(post: Post, runners: Mapping[str, Runner], planned: Iterable[Loop]) -> PatientServer:
    settings = post.settings.metrics
    key = StateDirectory(post.settings.state_dir).metrics_key if settings.hash_users else None
    metrics = LedgerMetrics(post.desk, runners, planned, Pseudonyms(key), classes=post.classes)
    metrics.begin()
    return PatientServer(settings, settings.janitor_port, metrics.collect)


if __name__ == "__main__":
    main()
