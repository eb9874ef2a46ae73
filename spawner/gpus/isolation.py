"""What keeps the users of a shared GPU within their shares on this host, and what their containers need for it."""

import errno
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..policy.gpus import Isolation, Slot, SlotKind
from .cgroups import CGROUPS, read_capacity, regions_of
from .readings import GpuReading, Inventory

KERNEL_DRIVER = 615  # first branch that charges a GPU's memory to control groups
MPS_CUDA = (11, 5)  # first with CUDA_MPS_PINNED_DEVICE_MEM_LIMIT
MPS_CAPABILITY = (7, 0)  # Volta: from it on clients of MPS have address spaces of their own

# In a container.
MPS_PIPES = "/run/nvidia-mps"
SHM = "/dev/shm"  # noqa: S108  where POSIX says that shared memory is


@dataclass(frozen=True, slots=True)
class HostPlaces:
    """Where on the host things are.

    Attributes
    ----------
    pipes
        The MPS control daemon's ``CUDA_MPS_PIPE_DIRECTORY``.
    shm
        Directory that the daemon has as its /dev/shm; None if it has the host's, whose IPC namespace containers then
        share.
    """

    cgroups: Path = CGROUPS
    pipes: Path = Path("/tmp/nvidia-mps")  # noqa: S108  NVIDIA's default
    shm: Path | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a way of enforcement is offered, and why it is not."""

    isolation: Isolation
    offered: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Enforcement:
    """What bounds the users of one GPU if it is shared.

    Attributes
    ----------
    isolation
        The strongest that is offered.
    findings
        All three ways, strongest first.
    regions
        Names of its memory for the kernel (``dmem.max``); empty unless `isolation` is ``kernel``.
    """

    gpu: str
    index: int
    memory: int
    isolation: Isolation
    findings: tuple[Finding, ...]
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """What a container must have so that its slots' bounds hold.

    Attributes
    ----------
    ipc
        Its IPC namespace, ``host``; empty for one of its own.
    device_memory
        Bytes by region, to be set once it runs (`spawner.gpus.cgroups.limit_device_memory`).
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    ipc: str = ""
    device_memory: Mapping[str, int] = field(default_factory=dict)


def survey(inventory: Inventory, places: HostPlaces | None = None) -> dict[str, Enforcement]:
    """Find for each GPU, by UUID, the strongest enforcement that this host offers."""
    where = places or HostPlaces()
    capacity = read_capacity(where.cgroups)
    kernel_problem = _kernel_problem(inventory, where.cgroups)
    mps_problem = _mps_problem(inventory, where.pipes)
    found = {}
    for gpu in inventory.gpus:
        regions = regions_of(gpu.pci, capacity)
        why_not_kernel = kernel_problem or ("" if regions else "The driver registered no memory of this GPU with dmem.")
        why_not_mps = mps_problem or _too_old(gpu)
        findings = (
            Finding(Isolation.KERNEL, not why_not_kernel, why_not_kernel),
            Finding(Isolation.MPS, not why_not_mps, why_not_mps),
            Finding(Isolation.COOPERATIVE, True),
        )
        strongest = next(finding.isolation for finding in findings if finding.offered)
        found[gpu.uuid] = Enforcement(
            gpu.uuid,
            gpu.index,
            gpu.memory,
            strongest,
            findings,
            regions if strongest is Isolation.KERNEL else (),
        )
    return found


def enforced(surveyed: Mapping[str, Enforcement]) -> dict[str, Isolation]:
    """Give what `spawner.gpus.slots.lay_out` wants to know."""
    return {gpu: enforcement.isolation for gpu, enforcement in surveyed.items()}


def _kernel_problem(inventory: Inventory, cgroups: Path) -> str:
    if inventory.simulated:
        return "The GPUs are simulated."
    try:
        controllers = (cgroups / "cgroup.controllers").read_text(encoding="utf-8").split()
    except OSError:
        return "This host has cgroup v1; dmem belongs to cgroup v2 (systemd.unified_cgroup_hierarchy=1)."
    if "dmem" not in controllers:
        return "The kernel has no dmem controller: Linux 6.14 or newer with CONFIG_CGROUP_DMEM has it."
    branch = _numbers(inventory.driver)[:1]
    if branch < (KERNEL_DRIVER,):
        return (
            f"Driver {inventory.driver or 'unknown'} does not charge memory to cgroups; {KERNEL_DRIVER} and newer do."
        )
    return ""


def _mps_problem(inventory: Inventory, pipes: Path) -> str:
    if inventory.simulated:
        return "The GPUs are simulated."
    if _numbers(inventory.cuda)[:2] < MPS_CUDA:
        return f"The driver does CUDA {inventory.cuda or 'unknown'}; memory limits of MPS need 11.5 or newer."
    return _why_silent(pipes / "control")


def _why_silent(control: Path) -> str:
    """Give the reason why no MPS control daemon answers; empty if one does."""
    try:
        if stat.S_ISFIFO(control.stat().st_mode):
            os.close(os.open(control, os.O_WRONLY | os.O_NONBLOCK))  # ENXIO without a reader
        else:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(control))
    except FileNotFoundError:
        return f"No MPS control daemon runs: {control} is not there (nvidia-cuda-mps-control -d starts one)."
    except OSError as error:
        if error.errno == errno.EPROTOTYPE:  # a socket of another kind, and somebody listens
            return ""
        if error.errno in {errno.ECONNREFUSED, errno.ENXIO}:
            return f"No MPS control daemon runs any more: nobody listens at {control}."
        return f"The MPS control daemon at {control} does not answer: {(error.strerror or str(error)).lower()}."
    return ""


def _too_old(gpu: GpuReading) -> str:
    if _numbers(gpu.compute_capability)[:2] >= MPS_CAPABILITY:
        return ""
    return f"MPS bounds memory from compute capability 7.0 (Volta) on; this GPU has {gpu.compute_capability or 'none'}."


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


# --- what a container needs ---------------------------------------------------------------------------------------


def needs_of(slots: Sequence[Slot], surveyed: Mapping[str, Enforcement], places: HostPlaces | None = None) -> Needs:
    """Derive what a container with these slots needs; nothing for whole GPUs and MIG instances.

    A slot's own `isolation` decides, as it was told to its user.

    Parameters
    ----------
    surveyed
        From `survey`; must know the GPU of every slot with kernel or MPS isolation.
    """
    where = places or HostPlaces()
    shared = [slot for slot in slots if slot.kind is SlotKind.SHARED]
    if not shared:
        return Needs()
    # TensorFlow would take all the memory it sees, and fail at any bound.
    environment = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    device_memory = {
        region: slot.memory
        for slot in shared
        if slot.isolation is Isolation.KERNEL
        for region in surveyed[slot.gpu].regions
    }
    behind_mps = [slot for slot in shared if slot.isolation is Isolation.MPS]
    if not behind_mps:
        return Needs(environment, device_memory=device_memory)
    environment |= {
        "CUDA_MPS_PIPE_DIRECTORY": MPS_PIPES,
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(min(_percentage(slot, surveyed) for slot in behind_mps)),
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": _memory_limits(slots, surveyed),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # so that the numbers in the limit are those of the driver
    }
    mounts = [Mount(str(where.pipes), MPS_PIPES)]
    if where.shm is not None:
        mounts.append(Mount(str(where.shm), SHM))
    return Needs(environment, tuple(mounts), "" if where.shm else "host", device_memory)


def mps_defaults(slots: Sequence[Slot], surveyed: Mapping[str, Enforcement]) -> tuple[str, ...]:
    """Give the commands that make the MPS control daemon itself bound its clients, one per GPU.

    The limits in a container's environment are its user's to change; the daemon's are not, and clients can only go
    below them. The daemon must run with ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` and see all GPUs.
    """
    largest: dict[str, int] = {}
    for slot in slots:
        if slot.isolation is Isolation.MPS:
            largest[slot.gpu] = max(largest.get(slot.gpu, 0), slot.memory)
    return tuple(
        f"set_default_device_pinned_mem_limit {surveyed[gpu].index} {memory >> 20}M"
        for gpu, memory in sorted(largest.items(), key=lambda item: surveyed[item[0]].index)
    )


def _percentage(slot: Slot, surveyed: Mapping[str, Enforcement]) -> int:
    """Give a share's part of the GPU's threads: that which it has of the memory."""
    return min(100, max(1, 100 * slot.memory // surveyed[slot.gpu].memory))


def _memory_limits(slots: Sequence[Slot], surveyed: Mapping[str, Enforcement]) -> str:
    """Write ``0=4096M,1=8192M``; the numbers count the container's own GPUs, in the order of their bus ids."""
    gpus = sorted(slots, key=lambda slot: surveyed[slot.gpu].index if slot.gpu in surveyed else 0)
    return ",".join(
        f"{number}={slot.memory >> 20}M" for number, slot in enumerate(gpus) if slot.isolation is Isolation.MPS
    )
