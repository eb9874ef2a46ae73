"""CPU seconds: of the whole machine, of processes, of containers."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import docker

_TICKS = os.sysconf("SC_CLK_TCK")
_NANOSECONDS = 1e9


def machine_seconds(text: str | None = None) -> float:
    """Give the CPU seconds that all cores worked since boot.

    User, nice, system and both kinds of interrupts; not idle, not waiting for disks, not stolen by other guests
    (the first line of ``/proc/stat``, see proc(5)).
    """
    line = (text if text is not None else Path("/proc/stat").read_text(encoding="ascii")).splitlines()[0]
    user, nice, system, _idle, _iowait, interrupts, soft_interrupts = (int(word) for word in line.split()[1:8])
    return (user + nice + system + interrupts + soft_interrupts) / _TICKS


@dataclass(frozen=True)
class Process:
    """A line of ``/proc/PID/stat``.

    Attributes
    ----------
    seconds
        CPU time of the process and of its children that have ended and been waited for.
    """

    pid: int
    name: str
    parent: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        head, _, tail = text.rpartition(")")  # the name may hold anything
        pid, _, name = head.partition(" (")
        fields = tail.split()
        return cls(int(pid), name, int(fields[1]), sum(int(field) for field in fields[11:15]) / _TICKS)


def processes() -> Iterator[Process]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            yield Process.parse(path.read_text(encoding="utf-8", errors="replace"))


def process_seconds(pid: int) -> float:
    """Give the CPU seconds of a process so far."""
    return Process.parse(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")).seconds


def engine_pids() -> frozenset[int]:
    """Find the engine's processes: a further engine, in a network namespace of its own, is not the one measured."""
    here = Path("/proc/self/ns/net").readlink()
    found = set()
    for each in processes():
        if each.name in {"dockerd", "containerd"}:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{each.pid}/ns/net").readlink() == here:
                    found.add(each.pid)
    return frozenset(found)


@dataclass(frozen=True)
class Reading:
    """CPU seconds at one moment.

    Attributes
    ----------
    own
        Of the benchmark itself, which stands in `machine` too.
    """

    machine: float
    own: float
    hub: float
    proxy: float
    engine: float

    @classmethod
    def take(cls, hub_pid: int, engine: frozenset[int]) -> Self:
        seen = list(processes())
        times = os.times()
        return cls(
            machine=machine_seconds(),
            own=times.user + times.system,
            hub=sum(each.seconds for each in seen if each.pid == hub_pid),
            proxy=sum(each.seconds for each in seen if each.parent == hub_pid and each.name in {"node", "MainThread"}),
            engine=sum(each.seconds for each in seen if each.pid in engine),
        )


@dataclass(frozen=True)
class Work:
    """CPU seconds spent in a window, by who spent them.

    Attributes
    ----------
    machine
        All, less the benchmark's own and less what the machine spends when nothing is asked of it.
    containers
        Of the processes in the users' containers.
    shims
        containerd's helpers of these containers, runc included.
    idle_rate
        Cores that were busy before, when nothing was asked of the machine.
    """

    machine: float
    containers: float
    hub: float
    proxy: float
    engine: float
    shims: float
    idle_rate: float

    @property
    def attributed(self) -> float:
        """The sum of the parts: free of what else the machine did, and blind to the kernel's own threads."""
        return self.containers + self.hub + self.proxy + self.engine + self.shims

    def as_dict(self) -> dict[str, float]:
        return {**asdict(self), "attributed": self.attributed}


def work(before: Reading, after: Reading, wall: float, idle_rate: float, containers: float, shims: float) -> Work:
    """Give what was spent between two readings.

    Parameters
    ----------
    wall
        Seconds between them.
    idle_rate
        CPU seconds per second that the machine spends when nothing is asked of it.
    containers, shims
        Both began in the window: their seconds so far.
    """
    busy = after.machine - before.machine - (after.own - before.own) - idle_rate * wall
    return Work(
        machine=busy,
        containers=containers,
        hub=after.hub - before.hub,
        proxy=after.proxy - before.proxy,
        engine=after.engine - before.engine,
        shims=shims,
        idle_rate=idle_rate,
    )


def container_seconds(client: docker.APIClient, container: str) -> float:
    """Ask the engine for a container's CPU seconds, whichever kind of cgroup counts them."""
    answer = client.stats(container, stream=False, one_shot=True)
    return float(answer["cpu_stats"]["cpu_usage"]["total_usage"]) / _NANOSECONDS


def shim_seconds(ids: frozenset[str]) -> float:
    """Sum the CPU seconds of the shims of these containers, by full id."""
    total = 0.0
    for each in processes():
        if each.name.startswith("containerd-shim"):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{each.pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                if ids & set(words):
                    total += each.seconds
    return total
