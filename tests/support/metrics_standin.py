"""A small Berth at the wire: every declared metric with plausible samples, served as exporter, janitor and hub do.

Two GPUs, two leases, a class, a queue. What a scenario changes is in `values`.
"""

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from spawner.metrics import of_classes, of_containers, of_gpus, of_hub, of_leases
from spawner.metrics.catalog import ALL_METRICS
from spawner.metrics.metric import Declaration, Histogram, Kind, Samples, Source
from spawner.metrics.server import serve
from spawner.metrics.settings import MetricsSettings

# What belongs together: labels take their values from one of these rows.
_GPUS: list[dict[str, str]] = [
    {"gpu": f"GPU-{number}", "index": str(number), "node": "here", "model": "A100", "slot": f"GPU-{number}"}
    | {"compute_capability": "8.0", "pci": f"0{number}:00.0", "driver": "550.1", "cuda": "12.4"}
    | {"simulated": "true", "mig_mode": "false", "mig": f"MIG-{number}", "profile": "1g.10gb"}
    for number in range(2)
]
_LEASES: list[dict[str, str]] = [
    _GPUS[0] | {"lease": "L0", "user": "ann", "server": "", "course": "dl101", "container": "berth-ann"},
    _GPUS[1] | {"lease": "L1", "user": "bob", "server": "lab", "course": "", "container": "berth-bob--lab"},
]
_HELD: list[dict[str, str]] = [
    lease | {"profile": "gpu", "state": "active", "group": group, "id": f"id-{lease['user']}", "image": "tensorflow"}
    | {"pid": "4711"}
    for lease, group in zip(_LEASES, ("students", "staff"), strict=True)
]  # fmt: skip
_VALUES: dict[str, tuple[str, ...]] = {
    "clock": ("graphics", "sm", "memory", "video"),
    "direction": ("transmit", "receive"),
    "kind": ("lease_without_container", "container_without_lease"),
    "loop": ("inventory", "reconcile", "offers", "expiry", "idle", "watchdog"),
    "mode": ("user", "system"),
    "outcome": ("granted", "queued", "denied", "failed", "ready", "served", "kept", "broken"),
    "phase": ("claim", "pull", "create", "ready", "total"),
    "probe": ("gpus", "engine", "cgroups", "homes"),
    "reason": ("", "quota_gpus", "hw_thermal", "power_cap", "not_supported"),
    "sensor": ("gpu", "memory"),
    "severity": ("corrected", "uncorrected"),
    "version": ("0.1.0",),
    "why": ("start", "gone", "busy", "image"),
    "hub": ("0a1b2c3d",),
    "xid": ("31",),
}
_STATES = {
    of_classes.CLASS_SEATS.name: ("ready", "working", "idle", "stuck"),
    of_leases.LEASES.name: ("offered", "pending", "active", "releasing"),
    of_leases.SLOTS.name: ("held", "free", "unusable"),
    of_leases.GPU_ADMIN_STATE.name: ("in_service", "draining", "out_of_service", "quarantined"),
    of_leases.QUEUE_LENGTH.name: ("waiting", "offered"),
    of_leases.RESERVATIONS.name: ("coming", "running"),
    of_leases.RESERVED_SLOTS.name: ("free", "held", "taken", "unusable"),
}
_NORMAL: dict[str, float] = {
    of_gpus.GPU_UP.name: 1,
    of_gpus.FOREIGN_PROCESSES.name: 0,
    of_gpus.FOREIGN_MEMORY.name: 0,
    of_gpus.THROTTLED.name: 0,
    of_gpus.TEMPERATURE.name: 60,
    of_gpus.TEMPERATURE_SLOWDOWN.name: 93,
    of_containers.HOME_USED.name: 5e9,
    of_containers.PROBE_UP.name: 1,
    of_leases.HOME_QUOTA.name: 2e10,
    of_leases.BUDGET.name: 360_000,
    of_leases.BUDGET_USED.name: 36_000,
    of_leases.LEDGER_UP.name: 1,
    of_leases.LOOP_INTERVAL.name: 30,
    of_leases.QUEUE_OLDEST.name: 120,
}


@dataclass
class Standin:
    """What is served.

    Attributes
    ----------
    values
        By metric's name: the value of a sample with these labels, None for no sample.
    ports
        By source.
    """

    values: dict[str, Callable[[dict[str, str]], float | None]] = field(default_factory=dict)
    ports: dict[Source, int] = field(default_factory=dict)
    began: float = field(default_factory=time.time)

    def collect(self, source: Source) -> list[Metric]:
        samples = Samples()
        for metric in ALL_METRICS:
            if metric.source is not source:
                continue
            for row in _rows(metric):
                labels = tuple(row[name] for name in metric.labels)
                if metric.kind is Kind.HISTOGRAM:
                    served = int(time.time() - self.began) + 1
                    counts = tuple(served if number == 3 else 0 for number in range(len(metric.buckets) + 1))
                    samples.put_histogram(metric, Histogram(counts, served * metric.buckets[3]), *labels)
                else:
                    samples.put(metric, self._value(metric, row), *labels)
        return [*samples, *(_of_jupyterhub() if source is Source.HUB else [])]

    def _value(self, metric: Declaration, row: dict[str, str]) -> float | None:
        if metric.name in self.values:
            return self.values[metric.name](row)
        if metric.kind is Kind.INFO:
            return 1
        if metric.kind is Kind.COUNTER:
            # Faults do not go on and on.
            still = metric.name in {of_gpus.ECC_ERRORS.name, of_gpus.XID_ERRORS.name}
            return 1 if still or row.get("outcome") in {"failed", "broken"} else time.time() - self.began
        if metric.name in _NORMAL:
            return _NORMAL[metric.name]
        if metric.name.endswith("_timestamp_seconds"):
            return time.time() - 20
        if metric is of_leases.GPU_ADMIN_STATE:
            return float(row["state"] == "in_service")
        if metric is of_leases.RESERVED_SLOTS:
            return float(row["state"] in {"free", "held"})
        return 0.4 if metric.name.endswith("_ratio") else 1


def _rows(metric: Declaration) -> Iterator[dict[str, str]]:
    """Give the label values of each sample."""
    of_a_gpu = not {"lease", "user", "container", "course", "group"} & set(metric.labels)
    listed = _VALUES | ({"state": _STATES[metric.name]} if metric.name in _STATES else {})
    if metric is of_hub.SPAWNS or metric is of_hub.LEASE_REQUESTS:
        listed = listed | {"reason": ("",)}
    ours = {name: listed[name] for name in metric.labels if name in listed}
    seen = set()
    for row in _GPUS if of_a_gpu else _HELD:
        for choice in itertools.product(*ours.values()):
            found = {"kind": "exclusive"} | row | dict(zip(ours, choice, strict=True))
            labels = tuple(found[name] for name in metric.labels)
            if labels not in seen:
                seen.add(labels)
                yield found


def _of_jupyterhub() -> list[Metric]:
    servers = GaugeMetricFamily("jupyterhub_running_servers", "Servers.", value=2)
    counted = GaugeMetricFamily("jupyterhub_request_duration_seconds_count", "Requests.", labels=["code"])
    counted.add_metric(["200"], time.time() % 1e6)
    memory = GaugeMetricFamily("process_resident_memory_bytes", "Memory.", value=2e8)
    processor = GaugeMetricFamily("process_cpu_seconds_total", "CPU.", value=time.time() % 1e6)
    return [servers, counted, memory, processor]


@contextlib.contextmanager
def standin(**changes: Any) -> Iterator[Standin]:
    """Serve one; gives it, with the ports of its parts."""
    made = Standin(dict(changes))
    settings = MetricsSettings()
    servers = {source: serve(settings, 0, functools.partial(made.collect, source)) for source in Source}
    made.ports = {source: server.port for source, server in servers.items()}
    try:
        yield made
    finally:
        for server in servers.values():
            server.close()
