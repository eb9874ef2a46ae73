"""What a probe reads of a host's GPUs: plain values, the same for real and simulated ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .telemetry import Telemetry

Clock = Callable[[], datetime]

# Who holds what, for simulated load: by slot id (`spawner.policy.gpus.Slot.id`), the pids of the holder's processes.
Holders = Callable[[], Mapping[str, Sequence[int]]]


# XIDs that tell of a user's program, not of the GPU, as NVIDIA's device plugin for Kubernetes has them (13, 31, 43,
# 45, 68, 109), and those that only inform: a memory row remapped (63), many corrected errors (92), a changed recovery
# action (154), which is read by itself.
HARMLESS_XIDS = frozenset({13, 31, 43, 45, 63, 68, 92, 109, 154})


@dataclass(frozen=True, slots=True)
class MigInstance:
    """A part of a GPU in MIG mode.

    Attributes
    ----------
    profile
        NVIDIA's name of its size, ``1g.5gb``.
    memory
        Bytes.
    """

    uuid: str
    profile: str
    memory: int


@dataclass(frozen=True, slots=True)
class Health:
    """What speaks against using a GPU.

    Attributes
    ----------
    lost
        It does not answer any more ("fallen off the bus").
    ecc_uncorrected
        Memory errors that could not be corrected, since the driver was loaded; None where they are not counted.
    xid
        The last critical error that the driver reported (NVIDIA's XID number); None if there was none. Errors of
        programs, such as a bad pointer, do not count.
    problem
        What is wrong and what to do, a sentence or two for people; empty if it may be used.
    """

    lost: bool = False
    ecc_uncorrected: int | None = None
    xid: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU.

    Attributes
    ----------
    uuid
        ``GPU-...``, or ``SIM-...`` for a simulated one.
    index
        The driver's number; may change when the host is rebooted.
    memory
        Bytes; 0 if it never could be read.
    compute_capability
        ``"8.0"``; empty if unknown.
    island
        The same for GPUs that reach each other fast, by NVLink or within a NUMA node; empty if unknown.
    pci
        Its bus id as the kernel writes it, ``0000:3b:00.0``; empty if unknown.
    mig_mode
        Whether it is divided; then it can be used by its instances only.
    """

    uuid: str
    index: int
    model: str
    memory: int
    compute_capability: str = ""
    island: str = ""
    pci: str = ""
    mig_mode: bool = False
    mig: tuple[MigInstance, ...] = ()
    health: Health = Health()


@dataclass(frozen=True, slots=True)
class Inventory:
    """The GPUs of a host.

    Attributes
    ----------
    gpus
        By index. One that went missing altogether is not in it; one that is there and fails is, with its problem.
    driver
        Version of the driver, ``550.54.15``.
    cuda
        The newest CUDA that the driver can do, ``12.4``; empty if unknown.
    unidentified
        Problems of GPUs that could not even say which they are.
    """

    gpus: tuple[GpuReading, ...] = ()
    driver: str = ""
    cuda: str = ""
    simulated: bool = False
    unidentified: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """What one process takes of a GPU or a MIG instance.

    Attributes
    ----------
    mig
        UUID of the MIG instance; empty for the whole GPU.
    memory
        Bytes; None where the driver does not tell.
    """

    pid: int
    gpu: str
    mig: str
    memory: int | None


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes on a host's GPUs.

    Attributes
    ----------
    unread
        UUIDs of the GPUs whose processes could not be read: nothing is known about these.
    """

    found: tuple[GpuProcess, ...] = ()
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Activity:
    """What a GPU or a MIG instance does now.

    Attributes
    ----------
    sm
        Share of the last moments in which a kernel ran, 0 to 1; None where it cannot be read.
    memory_used
        Bytes; None likewise.
    """

    gpu: str
    mig: str
    sm: float | None
    memory_used: int | None


class Probe(Protocol):
    """Reads a host's GPUs. What fails for one GPU marks that GPU and leaves the others; thread-safe.

    All readings raise `spawner.errors.GpuProbeFailed` if nothing can be read at all.
    """

    @property
    def simulated(self) -> bool: ...

    def inventory(self) -> Inventory: ...

    def processes(self) -> Processes: ...

    def activity(self) -> tuple[Activity, ...]:
        """Give each GPU that is not in MIG mode, and each MIG instance."""
        ...

    def telemetry(self) -> "Telemetry": ...

    def close(self) -> None: ...
