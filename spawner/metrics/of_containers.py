"""Metrics of users' containers and homes, and of the exporter itself; the exporter of their node serves them.

Label `container` is the container's name.
"""

from .metric import Declaration, Kind, Source


def _gauge(name: str, text: str, *labels: str) -> Declaration:
    return Declaration(f"berth_container_{name}", Kind.GAUGE, text, Source.EXPORTER, ("container", *labels))


def _counter(name: str, text: str, *labels: str) -> Declaration:
    return Declaration(f"berth_container_{name}_total", Kind.COUNTER, text, Source.EXPORTER, ("container", *labels))


CONTAINER_INFO = Declaration(
    "berth_container_info",
    Kind.INFO,
    "A running container: whose it is, and the lease it says it has, empty without one.",
    Source.EXPORTER,
    ("container", "id", "node", "user", "server", "course", "lease", "image"),
)
STARTED = _gauge("start_time_seconds", "When it was started, since 1970.")
CPU = _counter("cpu_seconds", "CPU time; `mode` is user or system.", "mode")
CPU_LIMIT = _gauge("cpu_limit_cores", "CPU time per second it may use.")
CPU_THROTTLED = _counter("cpu_throttled_seconds", "Time it was held back for having used up its CPU time.")
MEMORY_WORKING_SET = _gauge("memory_working_set_bytes", "Memory, without what of its page cache may be dropped.")
MEMORY_USAGE = _gauge("memory_usage_bytes", "Memory, page cache included.")
MEMORY_LIMIT = _gauge("memory_limit_bytes", "Memory it may use.")
PROCESSES = _gauge("processes", "Processes and threads.")
PROCESSES_LIMIT = _gauge("processes_limit", "Processes and threads it may have.")
NETWORK_RECEIVED = _counter("network_receive_bytes", "What it received over the network.")
NETWORK_SENT = _counter("network_transmit_bytes", "What it sent over the network.")
BLOCK_READ = _counter("block_read_bytes", "What it read from disks.")
BLOCK_WRITTEN = _counter("block_write_bytes", "What it wrote to disks.")
OOM_KILLS = _counter("oom_kills", "Processes that the kernel killed for want of memory.")

HOME_USED = Declaration(
    "berth_home_used_bytes",
    Kind.GAUGE,
    "Disk space that a user's home takes, measured now and then.",
    Source.EXPORTER,
    ("user",),
)
HOME_MEASURED = Declaration(
    "berth_home_measured_timestamp_seconds",
    Kind.GAUGE,
    "When a home was last measured, since 1970.",
    Source.EXPORTER,
    ("user",),
)

EXPORTER_INFO = Declaration(
    "berth_exporter_info",
    Kind.INFO,
    "This exporter: Berth's version, its node, its hub.",
    Source.EXPORTER,
    ("version", "node", "hub"),
)
PROBE_UP = Declaration(
    "berth_probe_up",
    Kind.GAUGE,
    "Whether the last look by `probe` (gpus, engine, cgroups, homes) brought all there is to it.",
    Source.EXPORTER,
    ("probe",),
)
PROBE_DURATION = Declaration(
    "berth_probe_duration_seconds", Kind.GAUGE, "How long the last look took.", Source.EXPORTER, ("probe",)
)
PROBE_ERRORS = Declaration(
    "berth_probe_errors_total",
    Kind.COUNTER,
    "Readings that are absent, by why: not_supported, lost, timeout, unavailable, gone, denied, failed.",
    Source.EXPORTER,
    ("probe", "reason"),
)

CONTAINER_METRICS = tuple(value for value in globals().copy().values() if isinstance(value, Declaration))
