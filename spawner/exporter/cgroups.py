"""What a container uses, as the kernel counts it: control groups of either version, and its network interfaces.

The files of version 1 are read where a controller is mounted as one, else those of version 2. They are kept open from
one look to the next, which halves what a look costs. That cannot go wrong: a file of a group that was removed gives an
error for ever, also where one with the same name was made, and what is known of a process is read through one handle
on it, which its successor under the same number does not inherit. Only the file of a network keeps that alive, so that
`UseReader.keep` is to be called when a container has ended.

Where its first process is, is asked of the group: a list of its processes comes at a tenth of the cost of a process's
list of groups, and says whose all the others are. Only one that is not in it is asked itself.
"""

import errno
import functools
import os
import resource
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..engine.running import RunningContainer
from ..gpus.cgroups import CGROUPS, PROC
from .kernel_files import NETWORK, VERSION_1, VERSION_2, KernelFile, Values

_PAGE = 4096  # bytes
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENOTDIR})
_MEMBERS = "cgroup.procs"
_PATIENCE = 1.0  # seconds
_PER_CONTAINER = 3 + max(len(VERSION_1), len(VERSION_2))  # open files


@dataclass(frozen=True, slots=True)
class Use:
    """What a container uses; seconds, bytes, counts. What could not be read is missing.

    Attributes
    ----------
    values
        ``cpu_user``, ``cpu_system``, ``throttled``, ``memory``, ``working_set``, ``processes``, ``oom_kills``,
        ``read``, ``written``, ``received``, ``sent``.
    absent
        Why each missing one is: not_supported, denied, failed.
    pids
        Of the processes in its group; those in groups below are not among them.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()


class _Opened:
    """The open files of a container; those of its group are opened when they are first read.

    Attributes
    ----------
    pids
        Of the processes in its group, at the last `find`.
    """

    def __init__(self, container: RunningContainer, proc: Path, cgroups: str) -> None:
        self.pid = container.pid
        self.pids: tuple[int, ...] = ()
        self._id, self._cgroups = container.id, cgroups
        self._process = os.open(f"{proc}/{container.pid}", os.O_PATH | os.O_DIRECTORY)
        self._files: dict[str, int] = {}
        self._where: dict[str, str] = {}

    def find(self) -> bool:
        """Find the container's group; tell whether it still has one."""
        self.pids = self._members()
        if self.pid in self.pids:
            return True
        try:
            where = _parse(_read_at("cgroup", self._process), self._id, self._cgroups)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        if where is None:
            return False
        if where != self._where:
            self.close_files()
            self._where = where
            self.pids = self._members()
        return True

    @property
    def files(self) -> tuple[KernelFile, ...]:
        return VERSION_1 if "memory" in self._where else VERSION_2

    def read(self, file: KernelFile) -> bytes:
        return self._read(file.name, file.controller)

    def _members(self) -> tuple[int, ...]:
        if not self._where:
            return ()
        try:
            return tuple(map(int, self._read(_MEMBERS, "memory").split()))
        except (OSError, ValueError):  # it was removed, or has none of its own (cgroup-v2.rst, "Threads")
            return ()

    def _read(self, name: str, controller: str) -> bytes:
        descriptor = self._files.get(name)
        if descriptor is None:
            if name == NETWORK.name:  # to open it costs more than all else
                descriptor = os.open(name, os.O_RDONLY, dir_fd=self._process)
            else:
                path = f"{self._where.get(controller, self._where.get('', ''))}/{name}"
                descriptor = os.open(path, os.O_RDONLY)
            self._files[name] = descriptor
        return _read(descriptor)

    def close_files(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def close(self) -> None:
        self.close_files()
        os.close(self._process)


class UseReader:
    """Reads what containers use; thread-safe.

    Parameters
    ----------
    most_open
        Containers whose files are kept open; by default as many as half of the files that this process may open allow.
    """

    def __init__(self, proc: Path = PROC, cgroups: Path = CGROUPS, most_open: int | None = None) -> None:
        self._proc, self._cgroups = proc, str(cgroups)
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_open = allowed // 2 // _PER_CONTAINER if most_open is None else most_open
        self._opened: dict[str, _Opened] = {}
        self._lock = threading.Lock()

    def read(self, container: RunningContainer) -> Use | None:
        """Read what a container uses; None if it has ended.

        Raises
        ------
        OSError
            If nothing of it may be read.
        """
        with self._lock:
            opened = self._open(container)
            if opened is None:
                return None
            use = _use(opened, own_network=container.own_network)
            if use is None or len(self._opened) > self._most_open:
                self._opened.pop(container.id).close()
            return use

    def keep(self, containers: Collection[str]) -> None:
        """Close what is open of all others."""
        # A read that hangs holds up nobody but the next read.
        if self._lock.acquire(timeout=_PATIENCE):
            try:
                for id_ in self._opened.keys() - set(containers):
                    self._opened.pop(id_).close()
            finally:
                self._lock.release()

    def _open(self, container: RunningContainer) -> _Opened | None:
        found = self._opened.get(container.id)
        if found is not None and found.pid == container.pid:
            return found
        if found is not None:
            self._opened.pop(container.id).close()
        try:
            found = self._opened[container.id] = _Opened(container, self._proc, self._cgroups)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        return found


def _use(opened: _Opened, *, own_network: bool) -> Use | None:
    if not opened.find():
        return None
    values: Values = {}
    absent: list[str] = []
    missing = 0
    for file in (*opened.files, NETWORK) if own_network else opened.files:
        try:
            told = file.parse(opened.read(file))
        except OSError as error:
            if error.errno in _GONE:
                missing += len(file.gives)
            else:
                absent += ["denied" if error.errno in {errno.EACCES, errno.EPERM} else "failed"] * len(file.gives)
            continue
        except ValueError:
            absent += ["failed"] * len(file.gives)
            continue
        values.update(told)
        missing += len(file.gives) - len(told)
    # Has it ended meanwhile, or does this kernel not count that?
    if missing and not opened.find():
        return None
    inactive = values.pop("inactive", None)
    if inactive is not None and "memory" in values:
        values["working_set"] = max(0.0, values["memory"] - inactive)
    return Use(values, (*absent, *["not_supported"] * missing), opened.pids)


@functools.lru_cache(maxsize=4096)  # it stays the same as long as the container runs
def _parse(text: bytes, container: str, cgroups: str) -> dict[str, str] | None:
    """Find the container's groups, and not those that its first process made below them."""
    found: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        _, controllers, path = line.split(":", 2)
        begin, name, below = path.partition(container)
        if not name:
            continue
        group = begin + name + below.partition("/")[0]
        if not controllers:
            found[""] = cgroups + group
        for controller in controllers.split(","):
            if controller:
                found[controller] = f"{cgroups}/{controller}{group}"
    return found or None


def _read_at(name: str, directory: int) -> bytes:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=directory)
    try:
        return _read(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes:
    text = chunk = os.pread(descriptor, _PAGE, 0)
    while len(chunk) > _PAGE // 2:  # of long files the kernel gives about a page at a time
        chunk = os.pread(descriptor, _PAGE, len(text))
        text += chunk
    return text
