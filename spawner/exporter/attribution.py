"""From what GPUs and containers say to who uses what. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..engine.running import Running, RunningContainer
from ..gpus.attribution import SlotUse, attribute
from ..gpus.readings import GpuProcess, Processes
from ..gpus.telemetry import GpuTelemetry, Telemetry
from ..policy.gpus import Isolation, Slot, SlotKind


@dataclass(frozen=True, slots=True)
class Holding:
    """A slot that a container says it holds.

    Attributes
    ----------
    gpu
        UUID; empty for a MIG instance of no GPU that is known.
    """

    container: RunningContainer
    slot: str
    gpu: str


@dataclass(frozen=True, slots=True)
class LeaseUse:
    """What a lease's container takes of a GPU; None where it cannot be told.

    Where one lease holds several shares of one GPU, all it takes of that stands at the first of them.

    Attributes
    ----------
    memory
        Bytes.
    sm
        From 0 to 1.
    """

    gpu: str
    slot: str
    lease: str
    processes: int | None
    memory: int | None
    sm: float | None


@dataclass(frozen=True, slots=True)
class ForeignUse:
    """What runs on a GPU outside any lease of it."""

    gpu: str
    processes: int
    memory: int | None


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process on a GPU, and whose it is.

    Attributes
    ----------
    container
        None where it is in none of ours.
    lease
        Empty where its container holds nothing of this GPU.
    """

    gpu: str
    mig: str
    pid: int
    container: RunningContainer | None
    lease: str
    memory: int | None
    sm: float | None


@dataclass(frozen=True, slots=True)
class GpuUse:
    """Who uses the GPUs.

    Attributes
    ----------
    gone
        How many processes the driver named that had ended before it could be told whose they were.
    """

    leases: tuple[LeaseUse, ...] = ()
    foreign: tuple[ForeignUse, ...] = ()
    processes: tuple[ProcessRow, ...] = ()
    gone: int = 0


Owners = Mapping[int, Sequence[str] | None]


def holdings(containers: Iterable[RunningContainer], parents: Mapping[str, str]) -> tuple[Holding, ...]:
    """Tell who holds which slot, as the containers' labels say.

    Parameters
    ----------
    parents
        GPU by MIG instance.
    """
    return tuple(
        Holding(container, slot, _gpu_of(slot, parents))
        for container in containers
        if container.lease
        for slot in container.slots
    )


def _gpu_of(slot: str, parents: Mapping[str, str]) -> str:
    device = slot.partition(":")[0]
    return parents.get(device, "" if device.startswith("MIG-") else device)


def parents_of(telemetry: Telemetry) -> dict[str, str]:
    """Give the GPU of each MIG instance."""
    told = {mig.uuid: one.gpu.uuid for one in telemetry.gpus for mig in one.mig}
    return {**{mig.uuid: one.gpu.uuid for one in telemetry.gpus for mig in one.gpu.mig}, **told}


def attribute_use(telemetry: Telemetry, running: Running, held: Sequence[Holding], owners: Owners) -> GpuUse:
    """Give each process on a GPU to the lease it belongs to.

    While the engine is away, a process in a container that is not known may be one of ours that has just been started:
    it is neither a lease's nor foreign. Before the engine was ever heard of, nothing can be told of anybody.

    Parameters
    ----------
    owners
        By pid, the containers it is in, the outermost first; None for one that has ended.
    """
    rows, gone = _rows(telemetry, owners)
    inside = {row.pid: next((id_ for id_ in owners[row.pid] or () if id_ in running.containers), None) for row in rows}
    known = [row for row in rows if inside[row.pid] or not owners[row.pid] or running.fresh]
    unread = frozenset(one.gpu.uuid for one in telemetry.gpus if one.processes is None)
    slots = _slots(telemetry, held)
    found = attribute(Processes(tuple(known), unread), inside, slots)
    foreign = {(process.gpu, process.mig, process.pid) for process in found.strangers}
    sm = {
        (one.gpu.uuid, process.mig, process.pid): process.sm
        for one in telemetry.gpus
        for process in one.processes or ()
    }
    return GpuUse(
        tuple(_lease_uses(telemetry, running, found.uses, slots, found.strangers, sm)),
        tuple(_foreign(telemetry, found.strangers)) if running.known else (),
        tuple(
            ProcessRow(
                row.gpu,
                row.mig,
                row.pid,
                container := running.containers.get(inside[row.pid] or ""),
                container.lease if container and (row.gpu, row.mig, row.pid) not in foreign else "",
                row.memory,
                sm[row.gpu, row.mig, row.pid],
            )
            for row in rows
        ),
        gone,
    )


def _rows(telemetry: Telemetry, owners: Owners) -> tuple[list[GpuProcess], int]:
    """Give each process once, and how many have ended."""
    found = {
        (one.gpu.uuid, process.mig, process.pid): GpuProcess(process.pid, one.gpu.uuid, process.mig, process.memory)
        for one in telemetry.gpus
        for process in one.processes or ()
    }
    there = [process for process in found.values() if owners.get(process.pid) is not None]
    return there, len(found) - len(there)


def _slots(telemetry: Telemetry, held: Iterable[Holding]) -> dict[str, list[Slot]]:
    """Make what attribution needs of the held slots that are on GPUs of this host."""
    gpus = {one.gpu.uuid: one for one in telemetry.gpus}
    made: dict[str, list[Slot]] = {}
    for holding in held:
        one = gpus.get(holding.gpu)
        if one is None or not one.up:
            continue
        device, share, _ = holding.slot.partition(":")
        kind = SlotKind.SHARED if share else SlotKind.EXCLUSIVE if device == holding.gpu else SlotKind.MIG
        slot = Slot(
            holding.slot,
            holding.gpu,
            "",
            kind,
            one.gpu.model,
            one.gpu.memory,
            # What bounds a share makes no difference here.
            Isolation.COOPERATIVE if kind is SlotKind.SHARED else Isolation.HARDWARE,
            device,
        )
        made.setdefault(holding.container.id, []).append(slot)
    return made


def _lease_uses(
    telemetry: Telemetry,
    running: Running,
    uses: Iterable[SlotUse],
    slots: Mapping[str, Sequence[Slot]],
    strangers: Collection[GpuProcess],
    sm: Mapping[tuple[str, str, int], float | None],
) -> Iterator[LeaseUse]:
    gpus = {one.gpu.uuid: one for one in telemetry.gpus}
    visited = {process.mig or process.gpu for process in strangers}
    by_id = {(container, slot.id): slot for container, held in slots.items() for slot in held}
    told: set[tuple[str, str]] = set()
    for use in uses:
        slot = by_id[use.container, use.slot]
        if (use.container, slot.device) in told:
            continue
        told.add((use.container, slot.device))
        lease = running.containers[use.container].lease
        # Nobody else's kernels run there.
        alone = slot.kind is not SlotKind.SHARED and slot.device not in visited
        whole = _whole(gpus[slot.gpu], slot) if alone else None
        own = [sm[process.gpu, process.mig, process.pid] for process in use.processes]
        yield LeaseUse(
            slot.gpu, slot.id, lease, len(use.processes), use.memory, _sum_ratio(own) if whole is None else whole
        )
    for container, held in slots.items():
        for slot in held:
            # A GPU whose processes cannot be read, but leased as a whole.
            if gpus[slot.gpu].processes is None and slot.kind is not SlotKind.SHARED:
                whole = _whole(gpus[slot.gpu], slot)
                if whole is not None:
                    yield LeaseUse(slot.gpu, slot.id, running.containers[container].lease, None, None, whole)


def _whole(one: GpuTelemetry, slot: Slot) -> float | None:
    if slot.kind is SlotKind.EXCLUSIVE:
        return one.sm
    return next((mig.sm for mig in one.mig if mig.uuid == slot.device), None)


def _sum_ratio(told: Sequence[float | None]) -> float | None:
    known = [ratio for ratio in told if ratio is not None]
    return min(1.0, sum(known)) if len(known) == len(told) else None


def _foreign(telemetry: Telemetry, strangers: Collection[GpuProcess]) -> Iterator[ForeignUse]:
    by_gpu: dict[str, list[GpuProcess]] = {}
    for process in strangers:
        by_gpu.setdefault(process.gpu, []).append(process)
    for one in telemetry.gpus:
        if one.up and one.processes is not None:
            here = by_gpu.get(one.gpu.uuid, [])
            told = [process.memory for process in here if process.memory is not None]
            yield ForeignUse(one.gpu.uuid, len(here), sum(told) if len(told) == len(here) else None)
