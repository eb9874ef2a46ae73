"""Processes of this machine as /proc tells them; a number that was given anew is never taken for its old owner."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_LISTENING = "0A"


@dataclass(frozen=True)
class Process:
    """A process, told from all later ones of the same number by its start.

    Attributes
    ----------
    started
        In clock ticks since boot: field 22 of ``/proc/PID/stat``, see proc(5).
    """

    pid: int
    started: int

    @classmethod
    def living(cls, pid: int) -> Self | None:
        """Give the process that has this number now; none for a zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()  # the command's name before it may hold anything
        return None if fields[0] in {"Z", "X"} else cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        return Process.living(self.pid) == self

    @property
    def command(self) -> str:
        """The command line; the name where there is none."""
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            name = Path(f"/proc/{self.pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
            return " ".join(word for word in words if word) or name
        return "gone"

    def stop(self, seconds: float) -> bool:
        """Ask it to end and wait; kill it after `seconds`. Tell whether it ended by itself."""
        self._signal(signal.SIGTERM)
        if self._gone_within(seconds):
            return True
        self._signal(signal.SIGKILL)
        self._gone_within(5)
        return False

    def _signal(self, number: signal.Signals) -> None:
        # A descriptor of the process holds on to it: between looking and signalling its number may change hands.
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        return True


def read_pid(path: Path) -> int | None:
    """Read a pid file's first word."""
    try:
        return int(path.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None


def listener(port: int) -> Process | None:
    """Find the process that listens on a TCP port; none if there is none, or if it is not ours to see."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return None
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (folder / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in sockets:
                        return Process.living(int(folder.name))
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
