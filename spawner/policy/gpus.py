"""GPUs and slots as the policy sees them: what can be leased."""

import enum
from dataclasses import dataclass
from datetime import datetime


class SlotKind(enum.StrEnum):
    """What part of a GPU a slot is."""

    EXCLUSIVE = "exclusive"
    MIG = "mig"
    SHARED = "shared"


class Isolation(enum.StrEnum):
    """What keeps the holder of a slot within it, strongest first.

    ``hardware``: a whole GPU or a MIG instance. ``kernel``: the container's cgroup bounds its GPU memory
    (``dmem.max``). ``mps``: NVIDIA's Multi-Process Service bounds memory and threads. ``cooperative``: TensorFlow
    is asked to take memory as it needs it, and a watchdog ends what takes too much.
    """

    HARDWARE = "hardware"
    KERNEL = "kernel"
    MPS = "mps"
    COOPERATIVE = "cooperative"


class GpuState(enum.StrEnum):
    """An admin's word about a GPU. Only ``in_service`` gets new leases; running ones go on in any state."""

    IN_SERVICE = "in_service"
    DRAINING = "draining"
    OUT_OF_SERVICE = "out_of_service"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A physical GPU in the inventory.

    Attributes
    ----------
    uuid
        As NVML gives it, ``GPU-...``; ``SIM-...`` for a simulated one.
    node
        Name of the host it is in.
    index
        NVML's index on that host; may change when the host is rebooted.
    memory
        Bytes.
    island
        GPUs with the same island reach each other fast (NVLink or the same NUMA node); empty if unknown.
    compute_capability
        ``"8.0"``; empty if unknown.
    healthy
        Whether the probe could read it at its last try.
    problem
        What is wrong with it, for people; empty if nothing is.
    state, state_since, state_by, state_why
        What an admin (or the janitor) has decreed, when, who and why.
    """

    uuid: str
    node: str
    index: int
    model: str
    memory: int
    island: str = ""
    compute_capability: str = ""
    driver: str = ""
    simulated: bool = False
    healthy: bool = True
    problem: str = ""
    state: GpuState = GpuState.IN_SERVICE
    state_since: datetime | None = None
    state_by: str = ""
    state_why: str = ""

    @property
    def name(self) -> str:
        """The name for people and commands: ``gpu0``, with the host in front where it is not the only one."""
        return gpu_name(self.node, self.index)


LOCAL_NODE = "local"  # the one host of a deployment without a cluster


def gpu_name(node: str, index: int) -> str:
    return f"gpu{index}" if node == LOCAL_NODE else f"{node}-gpu{index}"


@dataclass(frozen=True, slots=True)
class Slot:
    """What one lease can hold: a GPU, a MIG instance of it, or a share of it.

    Attributes
    ----------
    id
        Unique in the deployment, stable over restarts; stands in the label ``berth.slots``. The GPU's or MIG
        instance's UUID; for shares the GPU's UUID, a colon and a number.
    gpu
        UUID of the physical GPU.
    memory
        Bytes that its holder may use.
    device
        What a container runtime is asked for: UUID of the GPU or of the MIG instance.
    usable
        Whether it may be leased now: its GPU is in service and healthy.
    """

    id: str
    gpu: str
    node: str
    kind: SlotKind
    model: str
    memory: int
    isolation: Isolation
    device: str
    island: str = ""
    simulated: bool = False
    usable: bool = True
