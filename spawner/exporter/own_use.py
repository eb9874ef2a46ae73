"""What this process itself uses, as prometheus-client tells it; its collector looks at each open file in turn."""

import os
import resource
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import PLATFORM_COLLECTOR
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_OWN = Path("/proc/self")
_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), resource.getpagesize()  # per second, bytes


def _booted_at() -> float:
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("btime "))


def _open_files() -> int:
    """Count them; since Linux 6.2 the directory's size is their number."""
    return (_OWN / "fd").stat().st_size or len(os.listdir(_OWN / "fd"))  # noqa: PTH208  only the number is wanted


class OwnUse:
    """Tells of this process and its Python."""

    def __init__(self) -> None:
        self._booted_at = _booted_at()

    def collect(self) -> Iterable[Metric]:
        # man 5 proc_pid_stat, from the third field on
        stat = (_OWN / "stat").read_bytes().rpartition(b")")[2].split()
        user, system, started, size, resident = (int(stat[field - 3]) for field in (14, 15, 22, 23, 24))
        most_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield GaugeMetricFamily("process_virtual_memory_bytes", "Virtual memory size in bytes.", size)
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory size in bytes.", resident * _PAGE)
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            self._booted_at + started / _TICKS,
        )
        yield CounterMetricFamily(
            "process_cpu_seconds", "Total user and system CPU time spent in seconds.", user / _TICKS + system / _TICKS
        )
        yield GaugeMetricFamily("process_open_fds", "Number of open file descriptors.", _open_files())
        yield GaugeMetricFamily("process_max_fds", "Maximum number of open file descriptors.", most_files)
        yield from PLATFORM_COLLECTOR.collect()
