"""The simulated machines: nodes of several models, some of them cut into MIG instances or shared."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..policy.gpus import Isolation, Slot, SlotKind

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class NodeType:
    """Nodes that are alike.

    Attributes
    ----------
    part
        Of the fleet's nodes, in percent.
    slots
        Per GPU.
    memory
        Of one slot, bytes.
    islands
        Groups of GPUs in one node that reach each other fast.
    """

    model: str
    part: int
    kind: SlotKind
    memory: int
    slots: int = 1
    islands: int = 1
    isolation: Isolation = Isolation.HARDWARE


NODE_TYPES = (
    NodeType("A100-SXM4-40GB", 34, SlotKind.EXCLUSIVE, 40 * _GIB),
    NodeType("H100-SXM5-80GB", 20, SlotKind.EXCLUSIVE, 80 * _GIB),
    NodeType("V100-SXM2-16GB", 18, SlotKind.EXCLUSIVE, 16 * _GIB, islands=2),
    NodeType("T4", 12, SlotKind.EXCLUSIVE, 16 * _GIB, islands=2),
    NodeType("T4", 8, SlotKind.SHARED, 4 * _GIB, slots=4, islands=2, isolation=Isolation.MPS),
    NodeType("A100-SXM4-40GB", 8, SlotKind.MIG, 5 * _GIB, slots=7),
)


def build(gpus: int, per_node: int = 8, known: Sequence[NodeType] = NODE_TYPES) -> tuple[Slot, ...]:
    """Build a fleet of so many GPUs; of the types, as many nodes as their parts say, by largest remainder."""
    nodes = -(-gpus // per_node)
    types = [known[chosen] for chosen in apportion(nodes, [node_type.part for node_type in known])]
    slots: list[Slot] = []
    for number, node_type in enumerate(types):
        for index in range(min(per_node, gpus - number * per_node)):
            slots.extend(_gpu(f"n{number:03d}", index, per_node, node_type))
    return tuple(slots)


def _gpu(node: str, index: int, per_node: int, node_type: NodeType) -> Iterable[Slot]:
    gpu = f"{node}-gpu{index}"
    for part in range(node_type.slots):
        name = gpu if node_type.slots == 1 else f"{gpu}:{part}"
        yield Slot(
            id=name,
            gpu=gpu,
            node=node,
            kind=node_type.kind,
            model=node_type.model,
            memory=node_type.memory,
            isolation=node_type.isolation,
            device=name if node_type.kind is SlotKind.MIG else gpu,
            island=str(index * node_type.islands // per_node),
            simulated=True,
        )


def apportion(seats: int, weights: list[float] | list[int]) -> list[int]:
    """Deal seats out in proportion to weights, by largest remainder.

    Returns
    -------
    list of int
        One index of `weights` per seat, ascending.
    """
    total = sum(weights)
    exact = [seats * weight / total for weight in weights]
    given = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda index: (given[index] - exact[index], index))
    for index in by_remainder[: seats - sum(given)]:
        given[index] += 1
    return [index for index, count in enumerate(given) for _ in range(count)]


def weights(slots: Iterable[Slot]) -> dict[str, float]:
    """Tell what part of a GPU each slot is, by id."""
    slots = list(slots)
    on_gpu = Counter(slot.gpu for slot in slots)
    return {slot.id: 1 / on_gpu[slot.gpu] for slot in slots}
