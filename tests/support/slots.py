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
