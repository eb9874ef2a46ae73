"""The hub's process: started, waited for, found again, stopped."""

import itertools
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import errors
from ..errors import BerthError, HubNotReady, StateDirectoryBusy
from ..processes import Process, read_pid
from ..state import StateDirectory, StateLock
from .deployment import Deployment

_LOG_LIMIT = 20 << 20
_READY_SECONDS = 120.0
_STOP_SECONDS = 30.0
_QUIET_SECONDS = 20.0
_PROXY = "configurable-http-proxy"


@dataclass(frozen=True)
class Hub:
    """A hub that runs.

    Attributes
    ----------
    fingerprint
        Of the settings it was started with; empty for one that was not started by ``berth up``.
    """

    process: Process
    fingerprint: str


def running_hub(state: StateDirectory) -> Hub | None:
    """Find the hub that works on a state directory."""
    try:
        pid, started, fingerprint = state.hub_pid_file.read_text(encoding="ascii").split()
        process = Process(int(pid), int(started))
    except (OSError, ValueError):
        return None
    return Hub(process, fingerprint) if process.alive else None


def orphaned_proxy(state: StateDirectory) -> Process | None:
    """Find the proxy that a hub left behind; whatever else got its number is let alone."""
    pid = read_pid(state.proxy_pid_file)
    process = None if pid is None else Process.living(pid)
    return process if process and _PROXY in process.command else None


def stop_proxy(state: StateDirectory) -> Process | None:
    """Stop the proxy of a hub that is gone, and give it.

    The next hub would do so too, but would signal whatever process has the number by now.
    """
    proxy = orphaned_proxy(state)
    if proxy:
        proxy.stop(5)
    state.proxy_pid_file.unlink(missing_ok=True)
    return proxy


def stop_hub(state: StateDirectory) -> tuple[Process, bool] | None:
    """Stop the hub; give its process and whether it ended by itself. None if there was none.

    Raises
    ------
    StateDirectoryBusy
        If something holds the directory that is no hub of ours.
    """
    hub = running_hub(state)
    process = hub.process if hub else _lock_owner(state)
    if process is None:
        state.hub_pid_file.unlink(missing_ok=True)
        return None
    by_itself = process.stop(_STOP_SECONDS)
    state.hub_pid_file.unlink(missing_ok=True)
    return process, by_itself


def _lock_owner(state: StateDirectory) -> Process | None:
    """Find a hub that was started by hand, and so left no pid file, by the lock it holds."""
    if not state.lock_file.exists():
        return None
    try:
        state.lock().release()
    except StateDirectoryBusy:
        pid = read_pid(state.lock_file)
        process = None if pid is None else Process.living(pid)
        if process and "jupyterhub" in process.command:
            return process
        raise
    return None


def start_hub(deployment: Deployment, lock: StateLock, report: Callable[[str], None]) -> Hub:
    """Start the hub in a session of its own and wait until its API answers through the proxy.

    Parameters
    ----------
    lock
        On the state directory; the hub inherits it.

    Raises
    ------
    HubNotReady
        If it ends, or does not answer in time; says why, in the hub's own words. What the hub itself raised on
        purpose is raised here as what it is.
    """
    state = deployment.state
    log_path = state.hub_log
    if log_path.exists() and log_path.stat().st_size > _LOG_LIMIT:
        log_path.replace(log_path.with_suffix(".log.1"))
    descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        begin = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(deployment.root / "jupyterhub_config.py")],
            cwd=deployment.root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock.fd,),
            env=hub_environment(deployment),
        )
    process = Process.living(child.pid)
    if process is None:
        raise _reason(log_path, begin, f"The hub ended at once (exit status {child.wait()})")
    lock.name_owner(child.pid)
    hub = Hub(process, deployment.fingerprint())
    record = state.hub_pid_file.with_suffix(".new")
    record.write_text(f"{process.pid} {process.started} {hub.fingerprint}\n", encoding="ascii")
    record.replace(state.hub_pid_file)
    began = told = time.monotonic()
    while not (_said_ready(log_path, begin, began) and answers(deployment.local_url)):
        now = time.monotonic()
        if child.poll() is not None:
            state.hub_pid_file.unlink(missing_ok=True)
            stop_proxy(state)
            raise _reason(log_path, begin, f"The hub ended (exit status {child.returncode})")
        if now - began > _READY_SECONDS:
            raise HubNotReady(
                f"The hub (pid {child.pid}) did not answer within {_READY_SECONDS:.0f} s at "
                f"{deployment.local_url}; it still runs. Its log: {log_path}"
            )
        if now - told > 10:
            told = now
            report(f"not yet, after {now - began:.0f} s (log: {log_path})")
        time.sleep(0.1)
    return hub


def _said_ready(log: Path, begin: int, began: float) -> bool:
    """Tell whether to ask yet: the proxy fills the log with errors where it is asked before the hub is there."""
    with log.open("rb") as file:
        file.seek(begin)
        return b"JupyterHub is now running" in file.read() or time.monotonic() - began > _QUIET_SECONDS


def answers(url: str) -> bool:
    """Tell whether a hub's API answers at an address."""
    # No proxy of the environment: this is about this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/hub/api/", timeout=5) as answer:
            return "version" in json.load(answer)
    except (OSError, ValueError, urllib.error.URLError):
        return False


def hub_environment(deployment: Deployment) -> dict[str, str]:
    """Give the hub's environment: ours, where it finds the proxy's Node, and the image chosen here."""
    environment = dict(os.environ)
    wheel = deployment.root / ".venv" / "node" / "bin"
    folders = [str(Path(sys.executable).parent), *([str(wheel)] if wheel.is_dir() else [])]
    environment["PATH"] = os.pathsep.join([*folders, environment.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    environment["BERTH_IMAGE"] = deployment.image
    return environment


_RAISED = re.compile(r"^(?:\w+\.)*(\w+): (.+)$")


def _reason(log: Path, begin: int, what: str) -> BerthError:
    """Read the hub's own reason off its log: the exception it died of, else its last lines."""
    with log.open("rb") as file:
        file.seek(begin)
        # JupyterHub indents the exceptions that it logs.
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").rstrip().splitlines()]
    for index in range(len(lines) - 1, -1, -1):
        match = _RAISED.match(lines[index])
        kind = getattr(errors, match[1], None) if match else None
        if match and isinstance(kind, type) and issubclass(kind, BerthError):
            # A message of several lines ends where the log goes on.
            rest = itertools.takewhile(lambda line: line and not line.startswith("["), lines[index + 1 :])
            return kind("\n".join([match[2], *rest]))
    last = "\n".join(f"    {line}" for line in lines[-12:])
    return HubNotReady(f"{what}. The last lines of its log, {log}:\n{last}\n  ")
