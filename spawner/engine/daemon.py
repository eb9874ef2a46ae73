"""The Docker Engine's own process: used where one answers, else started.

An engine that answers is never reconfigured. One that does not is started by systemd where that runs, else in the
background, over whatever a killed one left behind.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import docker
import requests
from docker.constants import MINIMUM_DOCKER_API_VERSION
from docker.errors import DockerException

from ..errors import EngineUnavailable, NotRoot

Report = Callable[[str], None]

_SYSTEMD = Path("/run/systemd/system")
_CGROUPS = Path("/sys/fs/cgroup")
_START_SECONDS = 90.0
_OPEN_FILES = 1 << 20  # dockerd's systemd unit sets no limit; containers cannot have more than their engine


@dataclass(frozen=True)
class EnginePlaces:
    """Where a Docker Engine on this machine keeps what; the defaults are dockerd's own.

    Attributes
    ----------
    command
        What starts it, in the background.
    log
        Where its output goes when we start it without systemd.
    """

    socket: Path = Path("/var/run/docker.sock")
    pid_file: Path = Path("/var/run/docker.pid")
    exec_root: Path = Path("/var/run/docker")
    data_root: Path = Path("/var/lib/docker")
    configuration: Path = Path("/etc/docker/daemon.json")
    log: Path = Path("/var/log/berth-dockerd.log")
    command: tuple[str, ...] = ("dockerd",)

    @property
    def containerd_pid_file(self) -> Path:
        """The pid of the containerd that dockerd starts for itself."""
        return self.exec_root / "containerd" / "containerd.pid"


DEFAULT_PLACES = EnginePlaces()


def ensure_engine(report: Report, places: EnginePlaces = DEFAULT_PLACES) -> None:
    """See to it that a Docker Engine answers.

    Parameters
    ----------
    report
        Called with a sentence for each thing that takes time.

    Raises
    ------
    EngineUnavailable
        If none answers and none can be started; says why.
    NotRoot
        If only root could start or use it.
    """
    named = os.environ.get("DOCKER_HOST")
    if named:
        cause = _why_silent(named)
        if cause:
            raise EngineUnavailable(
                f"No Docker Engine answers at {named}, which DOCKER_HOST names ({cause}). "
                "Start that one, or unset DOCKER_HOST to use this machine's own."
            )
        return
    address = f"unix://{places.socket}"
    if not _why_silent(address):
        return
    if places.socket.exists() and not os.access(places.socket, os.R_OK | os.W_OK):
        raise NotRoot(
            f"Only root and the group docker may use the Docker Engine ({places.socket}): "
            "run as root, or as root: usermod -aG docker YOUR_NAME, and sign in anew."
        )
    running = _pid_of(places.pid_file, "dockerd")
    if running is not None:
        report(f"Waiting for the Docker Engine (pid {running}), which is starting")
        if _answers_within(_START_SECONDS, address, lambda: _pid_of(places.pid_file, "dockerd") is not None):
            return
    if os.geteuid() != 0:
        raise NotRoot(
            "The Docker Engine does not run, and only root can start it: systemctl start docker, or `make up` as root."
        )
    if _SYSTEMD.is_dir() and places == DEFAULT_PLACES:
        _start_with_systemd(report, address)
    else:
        _start_in_background(report, places, address)


def _why_silent(address: str) -> str | None:
    """Give the reason why no engine answers there; none if one does."""
    if address.startswith("unix://"):  # the reason in the system's own words
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(10)
            try:
                probe.connect(address.removeprefix("unix://"))
            except OSError as error:
                return (error.strerror or str(error)).lower()
    try:
        # With a version given, nothing is asked before the ping, which needs none.
        client = docker.APIClient(base_url=address, version=MINIMUM_DOCKER_API_VERSION, timeout=10)
        try:
            client.ping()
        finally:
            client.close()
    except (DockerException, requests.exceptions.RequestException) as error:
        # The system's own words, out of those that three libraries wrapped them in.
        told = re.search(r"\[Errno -?\d+\] ([\w ]+)", repr(error)) or re.search(r"(timed out)", str(error))
        return told[1].lower() if told else (str(error).splitlines() or ["no reason given"])[0][:200]
    return None


def _answers_within(seconds: float, address: str, alive: Callable[[], bool]) -> bool:
    """Wait until an engine answers, or the process that should is not `alive`, or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not _why_silent(address):
            return True
        if not alive():
            return False
        time.sleep(0.25)
    return False


def _start_with_systemd(report: Report, address: str) -> None:
    report("Starting the Docker Engine (systemctl start docker)")
    done = subprocess.run(["systemctl", "start", "docker"], capture_output=True, check=False, text=True, timeout=180)
    if done.returncode != 0 or not _answers_within(_START_SECONDS, address, lambda: True):
        raise EngineUnavailable(
            f"The Docker Engine could not be started: {done.stderr.strip() or 'it does not answer'}. "
            "Its own words: journalctl -u docker"
        )


def _start_in_background(report: Report, places: EnginePlaces, address: str) -> None:
    program = places.command[0]
    if shutil.which(program) is None:
        raise EngineUnavailable(f"The Docker Engine is not installed ({program} is not to be found).")
    _clear_leftovers(places)
    _mount_cgroups()
    report(f"Starting the Docker Engine in the background (log: {places.log})")
    places.log.parent.mkdir(parents=True, exist_ok=True)
    with places.log.open("ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            [*places.command, *_live_restore(places)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("BERTH_")},
            preexec_fn=_raise_limits,
        )

    def alive() -> bool:
        # Two starts may race; the other one's engine is as good.
        return process.poll() is None or _pid_of(places.pid_file, "dockerd") is not None

    if not _answers_within(_START_SECONDS, address, alive):
        raise EngineUnavailable(
            f"The Docker Engine could not be started: {_last_words(places.log, begin)} (log: {places.log})"
        )


def _live_restore(places: EnginePlaces) -> list[str]:
    """Let containers run on while the engine restarts, unless the machine's owner decided about it."""
    try:
        configured = json.loads(places.configuration.read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError):  # dockerd itself says best what is wrong with its file
        configured = {}
    swarm = places.data_root / "swarm" / "docker-state.json"  # a member of a swarm does not start with it
    return [] if "live-restore" in configured or swarm.exists() else ["--live-restore"]


def _raise_limits() -> None:
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NPROC, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _clear_leftovers(places: EnginePlaces) -> None:
    """Remove pid files whose process is gone, or is another one that got its number.

    dockerd refuses to start over a pid file whose number lives, and waits in vain for a containerd that is none.
    Sockets, bridges, mounts and dead containers it clears by itself.
    """
    if _pid_of(places.pid_file, "dockerd") is None:
        places.pid_file.unlink(missing_ok=True)
    if _pid_of(places.containerd_pid_file, "containerd") is None:
        places.containerd_pid_file.unlink(missing_ok=True)


def _pid_of(pid_file: Path, name: str) -> int | None:
    """Read a pid that belongs to a living process of this name."""
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
        process = Path(f"/proc/{pid}")
        state = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
        found = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, ValueError, IndexError):
        return None
    return pid if found == name and state != "Z" else None


def _mount_cgroups() -> None:
    """Mount control groups where no init system did, as in a bare virtual machine."""
    if any(_CGROUPS.glob("cgroup.controllers")) or (_CGROUPS / "memory").is_dir() or not _CGROUPS.is_dir():
        return
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(_CGROUPS)], capture_output=True, check=False)


def _last_words(log: Path, begin: int) -> str:
    """Give the last thing that dockerd said since `begin` which sounds like the reason of its end."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    telling = [line for line in lines if "failed" in line.lower() or "level=fatal" in line or "unable" in line]
    return (telling or lines or ["it said nothing"])[-1][:400]
