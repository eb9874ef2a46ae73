"""From a snapshot to samples."""

from collections.abc import Iterable, Mapping, Sequence

from ..gpus.telemetry import GpuTelemetry, Telemetry, Throughput
from ..metrics import of_containers as containers
from ..metrics import of_gpus as gpus
from ..metrics.metric import Declaration, Samples, Series
from .counters import Counters
from .names import Naming
from .snapshot import ContainerUse, Snapshot

_USE = {
    "memory": containers.MEMORY_USAGE,
    "working_set": containers.MEMORY_WORKING_SET,
    "processes": containers.PROCESSES,
}
_COUNTED: dict[str, tuple[Declaration, Series]] = {  # and the labels besides the name
    "cpu_user": (containers.CPU, ("user",)),
    "cpu_system": (containers.CPU, ("system",)),
    "throttled": (containers.CPU_THROTTLED, ()),
    "received": (containers.NETWORK_RECEIVED, ()),
    "sent": (containers.NETWORK_SENT, ()),
    "read": (containers.BLOCK_READ, ()),
    "written": (containers.BLOCK_WRITTEN, ()),
    "oom_kills": (containers.OOM_KILLS, ()),
}


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
        self._put_containers(samples, snapshot.containers)
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
        rows = use.processes if self._processes else ()
        called = self._naming.container
        processes = [
            (row.gpu, row.mig, str(row.pid), called(row.container) if row.container else "", row.lease) for row in rows
        ]
        samples.put_all(gpus.PROCESS_MEMORY, processes, [row.memory for row in rows])
        samples.put_all(gpus.PROCESS_SM, processes, [row.sm for row in rows])

    # --- containers -------------------------------------------------------------------------------------------

    def _put_containers(self, samples: Samples, each: Sequence[ContainerUse]) -> None:
        """Put a metric after the other, which takes half the time of a container after the other."""
        known = [one.container for one in each]
        names = [(self._naming.container(one),) for one in known]
        infos = [
            (name, one.id[:12], self._node, self._naming.user(one.user), one.server, one.course, one.lease, one.image)
            for (name,), one in zip(names, known, strict=True)
        ]
        samples.put_all(containers.CONTAINER_INFO, infos, [1] * len(infos))
        samples.put_all(containers.STARTED, names, [one.started_at for one in known])
        samples.put_all(containers.CPU_LIMIT, names, [one.cpu_limit for one in known])
        samples.put_all(containers.MEMORY_LIMIT, names, [one.memory_limit for one in known])
        samples.put_all(containers.PROCESSES_LIMIT, names, [one.processes_limit for one in known])
        values = [one.use.values if one.use else {} for one in each]
        for what, metric in _USE.items():
            samples.put_all(metric, names, [told.get(what) for told in values])
        counted = [
            self._containers.values(one.id, {what: told[what] for what in _COUNTED if what in told})
            for one, told in zip(known, values, strict=True)
        ]
        for what, (metric, mode) in _COUNTED.items():
            samples.put_all(metric, [(*name, *mode) for name in names], [told.get(what) for told in counted])


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
