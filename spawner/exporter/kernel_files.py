"""What the kernel's files about a control group and a network say, and in which units.

See the kernel's Documentation/admin-guide: cgroup-v1 (cpuacct, memory, blkio-controller) and cgroup-v2.rst.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")  # per second

Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class KernelFile:
    """A file to be read.

    Attributes
    ----------
    controller
        Of version 1; empty for version 2.
    gives
        What of `spawner.exporter.cgroups.Use` it tells.
    """

    controller: str
    name: str
    gives: tuple[str, ...]
    parse: Callable[[bytes], Values]


def _flat(names: Mapping[bytes, tuple[str, float]]) -> Callable[[bytes], Values]:
    """Make a parser of lines of a key and a value: which keys become which values, in which unit."""
    wanted = [(b"\n%b " % key, name, unit) for key, (name, unit) in names.items()]

    def parse(text: bytes) -> Values:
        found: Values = {}
        text = b"\n%b\n" % text
        for key, name, unit in wanted:
            if (at := text.find(key)) >= 0:
                begin = at + len(key)
                value = int(text[begin : text.index(b"\n", begin)])
                found[name] = value / unit if unit != 1 else value
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
VERSION_1 = (
    KernelFile(
        "cpuacct", "cpuacct.stat", _CPU, _flat({b"user": ("cpu_user", _TICKS), b"system": ("cpu_system", _TICKS)})
    ),
    KernelFile("cpu", "cpu.stat", ("throttled",), _flat({b"throttled_time": ("throttled", 1e9)})),
    KernelFile("memory", "memory.usage_in_bytes", ("memory",), _single("memory")),
    KernelFile("memory", "memory.stat", ("working_set",), _flat({b"total_inactive_file": ("inactive", 1)})),
    KernelFile("memory", "memory.oom_control", ("oom_kills",), _flat({b"oom_kill": ("oom_kills", 1)})),
    KernelFile("pids", "pids.current", ("processes",), _single("processes")),
    KernelFile("blkio", "blkio.throttle.io_service_bytes_recursive", _IO, _io_v1),
)
VERSION_2 = (
    KernelFile(
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
    KernelFile("", "memory.current", ("memory",), _single("memory")),
    KernelFile("", "memory.stat", ("working_set",), _flat({b"inactive_file": ("inactive", 1)})),
    KernelFile("", "memory.events", ("oom_kills",), _flat({b"oom_kill": ("oom_kills", 1)})),
    KernelFile("", "pids.current", ("processes",), _single("processes")),
    KernelFile("", "io.stat", _IO, _io_v2),
)
NETWORK = KernelFile("", "net/dev", ("received", "sent"), _network)
