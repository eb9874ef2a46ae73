"""From a snapshot to samples."""

from collections.abc import Iterable, Mapping

from ..gpus.telemetry import GpuTelemetry, Telemetry, Throughput
from ..metrics import of_containers as containers
from ..metrics import of_gpus as gpus
from ..metrics.metric import Declaration, Samples
from .counters import Counters
from .names import Naming
from .snapshot import ContainerUse, Snapshot

_USE = {
    "throttled": containers.CPU_THROTTLED,
    "working_set": containers.MEMORY_WORKING_SET,
    "memory": containers.MEMORY_USAGE,
    "processes": containers.PROCESSES,
    "received": containers.NETWORK_RECEIVED,
    "sent": containers.NETWORK_SENT,
    "read": containers.BLOCK_READ,
    "written": containers.BLOCK_WRITTEN,
    "oom_kills": containers.OOM_KILLS,
}
_COUNTED = frozenset({"throttled", "received", "sent", "read", "written", "oom_kills"})


class Renderer:
    """Renders a node's snapshots. Not thread-safe.

    Parameters
    ----------
    version
        Berth's.
    processes
        Whether each process on a GPU has samples of its own.
    """

    def __init__(self, *, version: str, node: str, hub: str, naming: Naming, processes: bool) -> None:
        self._about = version, node, hub
        self._node = node
        self._naming = naming
        self._processes = processes
        self._containers, self._devices = Counters(), Counters()

    def render(self, snapshot: Snapshot) -> Samples:
        """Give the samples; each metric is named, also one that has none."""
        samples = Samples()
        samples.declare((*gpus.GPU_METRICS, *containers.CONTAINER_METRICS))
        samples.info(containers.EXPORTER_INFO, *self._about)
        if snapshot.telemetry:
            for one in snapshot.telemetry.gpus:
                self._gpu(samples, snapshot.telemetry, one)
        self._use(samples, snapshot)
        self._containers.keep({each.container.id for each in snapshot.containers})
        for each in snapshot.containers:
            self._container(samples, each)
        for home in snapshot.homes:
            user = self._naming.user(home.user)
            samples.put(containers.HOME_USED, home.used, user)
            samples.put(containers.HOME_MEASURED, home.measured_at, user)
        for probe, state in snapshot.probes.items():
            samples.put(containers.PROBE_UP, int(state.up), probe)
            samples.put(containers.PROBE_DURATION, state.seconds, probe)
        for (probe, reason), count in snapshot.errors.items():
            samples.put(containers.PROBE_ERRORS, count, probe, reason)
        return samples

    # --- GPUs -------------------------------------------------------------------------------------------------

    def _gpu(self, samples: Samples, host: Telemetry, one: GpuTelemetry) -> None:
        about, gpu = one.gpu, one.gpu.uuid
        samples.info(
            gpus.GPU_INFO,
            *(gpu, self._node, str(about.index), about.model, about.compute_capability, about.pci),
            *(host.driver, host.cuda, _word(host.simulated), _word(about.mig_mode)),
        )
        samples.put(gpus.GPU_UP, int(one.up), gpu)
        for metric, value in (
            (gpus.SM_UTILIZATION, one.sm),
            (gpus.MEMORY_UTILIZATION, one.memory_io),
            (gpus.ENCODER_UTILIZATION, one.encoder),
            (gpus.DECODER_UTILIZATION, one.decoder),
            (gpus.MEMORY_USED, one.memory_used),
            (gpus.MEMORY_FREE, one.memory_free),
            (gpus.MEMORY_TOTAL, one.memory_total),
            (gpus.POWER, one.power),
            (gpus.POWER_LIMIT, one.power_limit),
            (gpus.TEMPERATURE_SLOWDOWN, one.slowdown),
        ):
            samples.put(metric, value, gpu)
        _each(samples, gpus.TEMPERATURE, gpu, one.temperatures)
        _each(samples, gpus.CLOCK, gpu, one.clocks)
        _each(samples, gpus.CLOCK_MAX, gpu, one.clocks_max)
        _each(samples, gpus.THROTTLED, gpu, one.throttled)
        _each(samples, gpus.PCIE_THROUGHPUT, gpu, _ways(one.pcie))
        self._count(samples, gpus.ENERGY, gpu, {} if one.energy is None else {"": one.energy})
        self._count(samples, gpus.NVLINK_BYTES, gpu, _ways(one.nvlink))
        self._count(samples, gpus.ECC_ERRORS, gpu, one.ecc)
        self._count(samples, gpus.XID_ERRORS, gpu, {str(xid): count for xid, count in one.xids.items()})
        for mig in one.mig:
            samples.info(gpus.MIG_INSTANCE_INFO, gpu, mig.uuid, mig.profile)
            samples.put(gpus.MIG_MEMORY_USED, mig.memory_used, gpu, mig.uuid)
            samples.put(gpus.MIG_MEMORY_TOTAL, mig.memory_total, gpu, mig.uuid)

    def _count(self, samples: Samples, metric: Declaration, gpu: str, readings: Mapping[str, float]) -> None:
        for label, reading in readings.items():
            value = self._devices.value(gpu, (metric.name, label), reading)
            samples.put(metric, value, gpu, *([label] if label else []))

    def _use(self, samples: Samples, snapshot: Snapshot) -> None:
        for held in snapshot.holdings:
            owner = held.container
            samples.info(
                gpus.LEASE_INFO,
                *(owner.lease, held.gpu, held.slot, self._naming.user(owner.user), owner.server, owner.course),
                self._naming.container(owner),
            )
        use = snapshot.gpu_use
        if use is None:
            return
        for lease in use.leases:
            labels = lease.gpu, lease.slot, lease.lease
            samples.put(gpus.LEASE_MEMORY, lease.memory, *labels)
            samples.put(gpus.LEASE_SM, lease.sm, *labels)
            samples.put(gpus.LEASE_PROCESSES, lease.processes, *labels)
        for foreign in use.foreign:
            samples.put(gpus.FOREIGN_PROCESSES, foreign.processes, foreign.gpu)
            samples.put(gpus.FOREIGN_MEMORY, foreign.memory, foreign.gpu)
        for row in use.processes if self._processes else ():
            container = self._naming.container(row.container) if row.container else ""
            process = row.gpu, row.mig, str(row.pid), container, row.lease
            samples.put(gpus.PROCESS_MEMORY, row.memory, *process)
            samples.put(gpus.PROCESS_SM, row.sm, *process)

    # --- containers -------------------------------------------------------------------------------------------

    def _container(self, samples: Samples, each: ContainerUse) -> None:
        container = each.container
        name = self._naming.container(container)
        samples.info(
            containers.CONTAINER_INFO,
            *(name, container.id[:12], self._node, self._naming.user(container.user), container.server),
            *(container.course, container.lease, container.image),
        )
        samples.put(containers.STARTED, container.started_at, name)
        samples.put(containers.CPU_LIMIT, container.cpu_limit, name)
        samples.put(containers.MEMORY_LIMIT, container.memory_limit, name)
        samples.put(containers.PROCESSES_LIMIT, container.processes_limit, name)
        values = each.use.values if each.use else {}
        for what, metric in _USE.items():
            if what in values:
                samples.put(metric, self._reading(container.id, what, values[what]), name)
        for mode in ("user", "system"):
            if (seconds := values.get(f"cpu_{mode}")) is not None:
                samples.put(containers.CPU, self._containers.value(container.id, mode, seconds), name, mode)

    def _reading(self, container: str, what: str, value: float) -> float:
        return self._containers.value(container, what, value) if what in _COUNTED else value


def _each(samples: Samples, metric: Declaration, gpu: str, values: Mapping[str, float]) -> None:
    for label, value in values.items():
        samples.put(metric, float(value), gpu, label)


def _ways(way: Throughput | None) -> dict[str, float]:
    told: Iterable[tuple[str, float | None]] = (
        () if way is None else (("transmit", way.transmit), ("receive", way.receive))
    )
    return {name: value for name, value in told if value is not None}


def _word(value: bool) -> str:
    return "true" if value else "false"
