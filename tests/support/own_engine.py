"""Docker Engines of a test's own, which may be killed and started again without anybody else's harm.

Each lives in a network namespace of its own, lest it takes the machine's engine's bridge.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import docker
import requests
from docker.errors import DockerException

_START_SECONDS = 90


@dataclass
class OwnEngine:
    """A second engine on this machine.

    Attributes
    ----------
    directory
        Of its state, its socket and its log; its name is the namespace's too.
    environment
        Of the daemon, besides this process's.
    options
        Further ones of ``dockerd``.
    """

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    _daemon: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """For ``DOCKER_HOST`` or ``base_url``."""
        return f"unix://{self.directory}/socket"

    @property
    def namespace(self) -> str:
        return self.directory.name

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def cgroup(self) -> str:
        """The control group above its containers'."""
        return self.namespace

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread, and processes and threads that it starts, live where the engine's containers are reached.

        Sockets made within are in the engine's network namespace: its bridges, its loopback, its firewall, and no way
        out. Unix sockets, such as the engines', are reached from everywhere.
        """
        with Path("/proc/thread-self/ns/net").open() as here, Path("/run/netns", self.namespace).open() as there:
            _set_network(there.fileno())
            try:
                yield
            finally:
                _set_network(here.fileno())

    def start(self, *more: str) -> None:
        """Start the daemon, again if it was killed; returns when it answers."""
        # Not `ip netns exec`, which would hide the control groups.
        command = ["nsenter", f"--net=/run/netns/{self.namespace}", "dockerd", *self._own_options(), *self.options]
        with self.log.open("ab") as output:
            self._daemon = subprocess.Popen(
                [*command, *more],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.connect().close()

    def connect(self) -> docker.APIClient:
        """Give a client, as soon as the daemon answers."""
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                client = docker.APIClient(base_url=self.url, version="auto", timeout=60)
                client.info()
            except (DockerException, requests.exceptions.RequestException) as error:
                if self._daemon is None or self._daemon.poll() is not None or time.monotonic() > end:
                    log = self.log.read_text(errors="replace")[-4000:]
                    raise RuntimeError(f"the second Docker Engine does not start: {error}\n{log}") from error
                time.sleep(0.1)
            else:
                return client

    def kill(self) -> None:
        """End the daemon as a crash would: its containers' processes live on."""
        self._end(signal.SIGKILL)
        # Its containerd dies with it, but not at once; a daemon that finds it still there, or another process under
        # its number, would wait for it in vain.
        written = self.directory / "exec" / "containerd" / "containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            pid = int(written.read_text())
            end = time.monotonic() + 10
            while str(self.directory) in Path("/proc", str(pid), "cmdline").read_text() and time.monotonic() < end:
                time.sleep(0.05)
        for left in (written, self.directory / "pid"):
            left.unlink(missing_ok=True)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._daemon is not None:
            self._daemon.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._daemon.wait(timeout=20)

    def _own_options(self) -> list[str]:
        return [
            f"--data-root={self.directory}/data",
            f"--exec-root={self.directory}/exec",
            f"--pidfile={self.directory}/pid",
            f"--host={self.url}",
            f"--cgroup-parent={self.cgroup}",
            # A containerd that the machine runs for others would be shared else.
            f"--containerd-namespace={self.namespace}",
            f"--containerd-plugins-namespace={self.namespace}-plugins",
            "--userland-proxy=false",
        ]


@contextlib.contextmanager
def place_for_engine(prefix: str) -> Iterator[Path]:
    """Give a directory and a network namespace of the same name.

    All that is left of an engine in it is removed at the end; and at the begin what killed test runs left of engines
    with this prefix, where no living one's is.
    """
    _clear_leftovers(prefix)
    # Not pytest's directory, whose path is too long for a socket's.
    name = f"{prefix}{os.getpid()}"
    directory = Path(tempfile.gettempdir(), name)
    directory.mkdir()
    try:
        subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield directory
    finally:
        clear(directory)


def why_not() -> str:
    """Say what a second engine lacks on this machine; empty if nothing."""
    if os.geteuid() != 0:
        return "a second Docker Engine needs root"
    missing = [program for program in ("dockerd", "ip", "nsenter", "runc") if shutil.which(program) is None]
    return f"a second Docker Engine needs {', '.join(missing)}" if missing else ""


def _set_network(descriptor: int) -> None:
    clone_newnet = 0x40000000
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, clone_newnet) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _clear_leftovers(prefix: str) -> None:
    for directory in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        owner = directory.name.removeprefix(prefix)
        if not Path("/proc", owner).exists() or owner == str(os.getpid()):
            clear(directory)


def clear(directory: Path) -> None:
    """End all processes of an engine, undo its mounts, remove its files and its namespace."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        pids = _processes_of(directory)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + 10
        while any(Path("/proc", str(pid), "cmdline").exists() for pid in pids) and time.monotonic() < end:
            time.sleep(0.05)
    for _ in range(3):  # a mount may lie on another
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{directory}/")]):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
    shutil.rmtree(directory, ignore_errors=True)
    for group in sorted(Path("/sys/fs/cgroup").glob(f"**/{directory.name}"), reverse=True):
        for part in [*sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True), group]:
            with contextlib.suppress(OSError):
                part.rmdir()
    if Path("/run/netns", directory.name).exists():
        subprocess.run(["ip", "netns", "delete", directory.name], check=False, capture_output=True)


def _processes_of(directory: Path) -> list[int]:
    """Find the engine, its containerd and the shims by the directory in their command lines, and the containers."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            cgroup = (entry / "cgroup").read_bytes()
            ours = f"{directory}/".encode()
            if ours in command or (directory.name.encode() in cgroup and ours in (entry / "mountinfo").read_bytes()):
                found.append(int(entry.name))
    return found
