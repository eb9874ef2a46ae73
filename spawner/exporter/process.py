"""Running an exporter in the foreground, started by the hub or by hand."""

import gc
import logging
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from ..errors import SettingsInvalid
from ..metrics.server import PatientServer
from ..policy.gpus import LOCAL_NODE
from ..settings import Settings
from ..state import StateDirectory
from .opening import Exporter, Node

_LOG = logging.getLogger("berth.exporter")
_PARENT_SECONDS = 2.0
_KEY_BYTES = 32
_OPEN_FILES = 65536
_GARBAGE = 50_000  # a scrape makes thousands of short-lived objects, and no cycles


def find_node(settings: Settings, hub_id: str = "", name: str = LOCAL_NODE, key_file: Path | None = None) -> Node:
    """Tell which node this is; what is not said comes from the state directory.

    Raises
    ------
    SettingsInvalid
        If nobody says which hub's node it is, or how users' names are hidden.
    """
    state = StateDirectory(settings.state_dir)
    hub = hub_id or state.known_hub_id()
    if not hub:
        raise SettingsInvalid(
            f"There is no hub's state in {settings.state_dir}; say with --hub-id whose containers count. "
            "The hub's own machine has the id in the file hub-id of its state directory."
        )
    if not settings.metrics.hash_users:
        return Node(hub, name)
    if key_file is None and (hub_id and hub_id != state.known_hub_id()):
        raise SettingsInvalid(
            "metrics.hash_users: the key of the hashes is missing here; copy the file metrics-key from the hub's state "
            "directory, and name it with --key-file."
        )
    return Node(hub, name, state.metrics_key if key_file is None else _read_key(key_file))


def _read_key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise SettingsInvalid(f"--key-file: {path} cannot be read as a key: {error}.") from None
    if len(key) != _KEY_BYTES:
        raise SettingsInvalid(f"--key-file: {path} holds {len(key)} bytes, and not the {_KEY_BYTES} of a key.")
    return key


def log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="[%(levelname)1.1s %(asctime)s %(name)s] %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )


def _allow_open_files() -> None:
    """Take what the system allows at the most: some files per container stay open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(settings: Settings, node: Node, hub_pid: int | None = None) -> None:
    """Serve until told to stop, or until the hub that started this is gone.

    Parameters
    ----------
    hub_pid
        The hub's process, if it started this.
    """
    _allow_open_files()
    gc.freeze()  # what is there by now stays, and need not be looked through again
    gc.set_threshold(_GARBAGE)
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    exporter = Exporter(settings, node)
    exporter.start()
    server = PatientServer(settings.metrics, settings.metrics.exporter_port, exporter.collect)
    while not stop.wait(_PARENT_SECONDS):
        if hub_pid is not None and os.getppid() != hub_pid:
            # The next hub starts an exporter of its own.
            _LOG.info("The hub is gone; so is its exporter.")
            stop.set()
    server.close()
    exporter.close()
