"""From what a host has to what can be leased. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ..errors import SettingsInvalid, UnknownName
from ..policy.admission import format_bytes
from ..policy.gpus import LOCAL_NODE, Gpu, Isolation, Slot, SlotKind, gpu_name
from .readings import GpuReading, Inventory

EVERY = "*"


@dataclass(frozen=True, slots=True)
class Share:
    """How a GPU is divided among users.

    Attributes
    ----------
    count
        Slots it is divided into; 1 leases it as a whole.
    memory
        Bytes of each; None takes an equal part.
    """

    count: int
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"at least one share, not {self.count}")
        if self.memory is not None and self.memory < 1:
            raise ValueError("at least one byte for a share")
        if self.count == 1 and self.memory is not None:
            raise ValueError("no memory for a single share: the GPU is leased as a whole")


# What is shared: by name (``gpu0``), UUID or model of a GPU, or ``*`` for all.
Sharing = Mapping[str, Share]

WHOLE = Share(1)


@dataclass(frozen=True, slots=True)
class Layout:
    """What there is to lease on a host.

    Attributes
    ----------
    notes
        What an admin might wonder about, a sentence each: why a GPU has no slots, what setting has no effect.
    """

    gpus: tuple[Gpu, ...]
    slots: tuple[Slot, ...]
    notes: tuple[str, ...] = ()


def lay_out(
    inventory: Inventory,
    sharing: Sharing,
    *,
    node: str = LOCAL_NODE,
    enforced: Mapping[str, Isolation] | None = None,
    known: Collection[str] = (),
) -> Layout:
    """Derive GPUs and slots from an inventory.

    A whole GPU is one slot; one in MIG mode has a slot per instance; a shared one has as many as the most specific
    entry of `sharing` says: that of its UUID, else its name, its model, ``*``. The ids of slots depend on nothing but
    UUIDs and the number of a share.

    Parameters
    ----------
    enforced
        By UUID, what bounds the users of a GPU if it is shared (`spawner.gpus.isolation.survey`); cooperative where
        it says nothing.
    known
        Names, UUIDs and models that `sharing` may hold though no GPU of the inventory has them, such as those of GPUs
        that were there before.

    Raises
    ------
    UnknownName
        If `sharing` names a GPU that is neither here nor `known`; the message lists those that are.
    SettingsInvalid
        If the shares of a GPU would have more memory than it has.
    """
    _refuse_unknown(inventory, sharing, node, known)
    gpus: list[Gpu] = []
    slots: list[Slot] = []
    notes = [f"{problem} It has no slots." for problem in inventory.unidentified]
    for reading in inventory.gpus:
        gpu = _gpu(reading, inventory, node)
        gpus.append(gpu)
        key, share = _share_of(sharing, gpu)
        if reading.mig_mode:
            slots += _instances(gpu, reading)
            if not reading.mig:
                notes.append(
                    f"{gpu.name} is in MIG mode and has no instances, so there is nothing of it to lease. "
                    "Make some (nvidia-smi mig -cgi ... -C), or turn MIG mode off."
                )
            if share.count > 1 and key != EVERY:
                notes.append(f"{gpu.name} is in MIG mode: its instances are leased, and not the shares set for {key}.")
        elif not reading.memory:
            notes.append(f"{gpu.name} could never be read, so its memory is unknown and it has no slots.")
        elif share.count == 1:
            slots.append(_slot(gpu, gpu.uuid, SlotKind.EXCLUSIVE, gpu.memory, Isolation.HARDWARE, gpu.uuid))
        else:
            slots += _shares(gpu, key, share, (enforced or {}).get(gpu.uuid, Isolation.COOPERATIVE))
    return Layout(tuple(gpus), tuple(slots), tuple(notes))


def _gpu(reading: GpuReading, inventory: Inventory, node: str) -> Gpu:
    return Gpu(
        reading.uuid,
        node,
        reading.index,
        reading.model,
        reading.memory,
        reading.island,
        reading.compute_capability,
        inventory.driver,
        inventory.simulated,
        not reading.health.problem and not reading.health.lost,
        reading.health.problem,
    )


def _slot(gpu: Gpu, slot_id: str, kind: SlotKind, memory: int, isolation: Isolation, device: str) -> Slot:
    return Slot(
        slot_id, gpu.uuid, gpu.node, kind, gpu.model, memory, isolation, device, gpu.island, gpu.simulated, gpu.healthy
    )


def _instances(gpu: Gpu, reading: GpuReading) -> Iterable[Slot]:
    for instance in reading.mig:
        yield _slot(gpu, instance.uuid, SlotKind.MIG, instance.memory, Isolation.HARDWARE, instance.uuid)


def _shares(gpu: Gpu, key: str, share: Share, isolation: Isolation) -> Iterable[Slot]:
    memory = gpu.memory // share.count if share.memory is None else share.memory
    if memory < 1 or memory * share.count > gpu.memory:
        raise SettingsInvalid(
            f"gpu_shares: {key}: {share.count} shares of {format_bytes(memory)} do not fit on {gpu.name}, "
            f"which has {format_bytes(gpu.memory)}."
        )
    for number in range(share.count):
        yield _slot(gpu, f"{gpu.uuid}:{number}", SlotKind.SHARED, memory, isolation, gpu.uuid)


def _share_of(sharing: Sharing, gpu: Gpu) -> tuple[str, Share]:
    for key in (gpu.uuid, gpu.name, gpu_name(LOCAL_NODE, gpu.index), gpu.model, EVERY):
        if key in sharing:
            return key, sharing[key]
    return EVERY, WHOLE


def _refuse_unknown(inventory: Inventory, sharing: Sharing, node: str, known: Collection[str]) -> None:
    names = [gpu_name(node, reading.index) for reading in inventory.gpus]
    models = sorted({reading.model for reading in inventory.gpus})
    accepted = {EVERY, *known, *names, *models, *(reading.uuid for reading in inventory.gpus)}
    accepted |= {gpu_name(LOCAL_NODE, reading.index) for reading in inventory.gpus}
    unknown = sorted(set(sharing) - accepted)
    if unknown:
        here = f"{', '.join(names)} ({', '.join(models)})" if names else "no GPUs"
        raise UnknownName(
            f"gpu_shares: there is no GPU {', '.join(unknown)} here; this host has {here}. "
            "Give a name, a UUID, a model, or * for all."
        )
