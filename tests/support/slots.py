"""GPUs and slots for tests: simulated, so that no engine is asked for devices."""

from spawner.policy.gpus import LOCAL_NODE, Gpu, Isolation, Slot, SlotKind

MODEL = "Simulated GPU"
MEMORY = 16 << 30


def gpus(count: int, *, model: str = MODEL, node: str = LOCAL_NODE, first: int = 0) -> tuple[list[Gpu], list[Slot]]:
    """Make whole GPUs, each one slot."""
    made = [
        Gpu(f"SIM-{node}-{index}", node, index, model, MEMORY, simulated=True) for index in range(first, first + count)
    ]
    slots = [
        Slot(gpu.uuid, gpu.uuid, node, SlotKind.EXCLUSIVE, model, MEMORY, Isolation.HARDWARE, gpu.uuid, simulated=True)
        for gpu in made
    ]
    return made, slots


def shared(
    parts: int, *, model: str = MODEL, node: str = LOCAL_NODE, index: int = 0, island: str = ""
) -> tuple[list[Gpu], list[Slot]]:
    """Make one GPU that several share by agreement."""
    [gpu], _ = gpus(1, model=model, node=node, first=index)
    return [gpu], [
        Slot(
            f"{gpu.uuid}:{number}",
            gpu.uuid,
            node,
            SlotKind.SHARED,
            model,
            MEMORY // parts,
            Isolation.COOPERATIVE,
            gpu.uuid,
            island,
            simulated=True,
        )
        for number in range(parts)
    ]


def mig(*sizes: int, model: str = MODEL, node: str = LOCAL_NODE, index: int = 0) -> tuple[list[Gpu], list[Slot]]:
    """Make one GPU in MIG mode, with instances of so many bytes."""
    [gpu], _ = gpus(1, model=model, node=node, first=index)
    ids = [f"MIG-{gpu.uuid}-{number}" for number in range(len(sizes))]
    return [gpu], [
        Slot(slot, gpu.uuid, node, SlotKind.MIG, model, size, Isolation.HARDWARE, slot, simulated=True)
        for slot, size in zip(ids, sizes, strict=True)
    ]
