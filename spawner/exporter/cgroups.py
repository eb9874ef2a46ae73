"""What a container uses, as the kernel counts it: control groups of either version, and its network interfaces.

Files and their units: the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst. Those of version 1 are read
where a controller is mounted as one, else those of version 2. Nothing is kept open between two looks: a process number
that has become another's is found out, since everything of a process is read through one handle on it.
"""

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..engine.running import RunningContainer
from ..gpus.cgroups import CGROUPS, PROC

_CHUNK = 1 << 15  # bytes
_TICKS = os.sysconf("SC_CLK_TCK")  # per second
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENOTDIR})

Values = dict[str, float]


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
    """

    values: Mapping[str, float] = field(default_factory=dict)
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    controller: str
    name: str
    gives: tuple[str, ...]
    parse: Callable[[bytes], Values]


def read_use(container: RunningContainer, proc: Path = PROC, cgroups: Path = CGROUPS) -> Use | None:
    """Read what a container uses; None if it has ended."""
    try:
        process = os.open(proc / str(container.pid), os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    try:
        return _read(container, process, str(cgroups))
    finally:
        os.close(process)


def _read(container: RunningContainer, process: int, cgroups: str) -> Use | None:
    where = _directories(process, container.id, cgroups)
    if where is None:
        return None
    values: Values = {}
    absent: list[str] = []
    missing = 0
    files = [*(_V1 if "memory" in where else _V2), *(_NETWORK if container.own_network else ())]
    for file in files:
        try:
            told = file.parse(
                _contents(file.name, process)
                if file.controller == "net"
                else _contents(f"{where.get(file.controller, where.get('', ''))}/{file.name}")
            )
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
    if missing and _directories(process, container.id, cgroups) is None:
        return None
    inactive = values.pop("inactive", None)
    if inactive is not None and "memory" in values:
        values["working_set"] = max(0.0, values["memory"] - inactive)
    return Use(values, (*absent, *["not_supported"] * missing))


def _directories(process: int, container: str, cgroups: str) -> dict[str, str] | None:
    """Give the container's group by controller, and under an empty name that of version 2; None if it has ended.

    The container's, and not one that its first process made below it.
    """
    try:
        text = _contents("cgroup", process).decode("utf-8", "replace")
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    found: dict[str, str] = {}
    for line in text.splitlines():
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


def _contents(name: str, directory: int | None = None) -> bytes:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=directory)
    try:
        text = b""
        while chunk := os.read(descriptor, _CHUNK):  # the kernel may give a page at a time
            text += chunk
        return text
    finally:
        os.close(descriptor)


# --- the files ------------------------------------------------------------------------------------------------------


def _flat(names: Mapping[bytes, tuple[str, float]]) -> Callable[[bytes], Values]:
    """Make a parser of lines of a key and a value: which keys become which values, in which unit."""

    def parse(text: bytes) -> Values:
        found: Values = {}
        for line in text.splitlines():
            key, _, value = line.partition(b" ")
            if key in names:
                name, unit = names[key]
                found[name] = int(value) / unit if unit != 1 else int(value)
        return found

    return parse


def _single(name: str) -> Callable[[bytes], Values]:
    return lambda text: {name: int(text)}


def _io_v1(text: bytes) -> Values:
    """Read ``8:0 Read 4096`` and the like."""
    found: Values = {"read": 0, "written": 0}
    for line in text.splitlines():
        words = line.split()
        name = {b"Read": "read", b"Write": "written"}.get(words[1]) if len(words) == 3 else None
        if name:
            found[name] += int(words[2])
    return found


def _io_v2(text: bytes) -> Values:
    """Read ``8:0 rbytes=4096 wbytes=0 rios=1 ...``."""
    found: Values = {"read": 0, "written": 0}
    for word in text.split():
        key, _, value = word.partition(b"=")
        name = {b"rbytes": "read", b"wbytes": "written"}.get(key)
        if name:
            found[name] += int(value)
    return found


def _network(text: bytes) -> Values:
    found: Values = {"received": 0, "sent": 0}
    for line in text.splitlines()[2:]:
        interface, _, numbers = line.partition(b":")
        if interface.strip() != b"lo":
            columns = numbers.split()
            with suppress(IndexError):
                found["received"] += int(columns[0])
                found["sent"] += int(columns[8])
    return found


_IO, _CPU = ("read", "written"), ("cpu_user", "cpu_system")
_V1 = (
    _File("cpuacct", "cpuacct.stat", _CPU, _flat({b"user": ("cpu_user", _TICKS), b"system": ("cpu_system", _TICKS)})),
    _File("cpu", "cpu.stat", ("throttled",), _flat({b"throttled_time": ("throttled", 1e9)})),
    _File("memory", "memory.usage_in_bytes", ("memory",), _single("memory")),
    _File("memory", "memory.stat", ("working_set",), _flat({b"total_inactive_file": ("inactive", 1)})),
    _File("memory", "memory.oom_control", ("oom_kills",), _flat({b"oom_kill": ("oom_kills", 1)})),
    _File("pids", "pids.current", ("processes",), _single("processes")),
    _File("blkio", "blkio.throttle.io_service_bytes_recursive", _IO, _io_v1),
)
_V2 = (
    _File(
        "",
        "cpu.stat",
        (*_CPU, "throttled"),
        _flat(
            {
                b"user_usec": ("cpu_user", 1e6),
                b"system_usec": ("cpu_system", 1e6),
                b"throttled_usec": ("throttled", 1e6),
            }
        ),
    ),
    _File("", "memory.current", ("memory",), _single("memory")),
    _File("", "memory.stat", ("working_set",), _flat({b"inactive_file": ("inactive", 1)})),
    _File("", "memory.events", ("oom_kills",), _flat({b"oom_kill": ("oom_kills", 1)})),
    _File("", "pids.current", ("processes",), _single("processes")),
    _File("", "io.stat", _IO, _io_v2),
)
_NETWORK = (_File("net", "net/dev", ("received", "sent"), _network),)
