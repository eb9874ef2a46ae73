"""What breaks and what is taken out of service."""

import random
from collections.abc import Iterable
from datetime import timedelta

from ..policy.gpus import Slot
from .scenario import Outage, Scenario

_NODE_LIVES = 60  # days between two failures of one node
_GPU_LIVES = 250
_DRAINED_NODES = 0.08  # of all, in a week, for maintenance
_DRAINED_GPUS = 0.02


def draw(scenario: Scenario, slots: Iterable[Slot], chance: random.Random) -> list[Outage]:
    """Draw failures at any time, and drains in working hours; at least one of each."""
    of_node: dict[str, list[str]] = {}
    of_gpu: dict[str, list[str]] = {}
    for slot in slots:
        of_node.setdefault(slot.node, []).append(slot.id)
        of_gpu.setdefault(slot.gpu, []).append(slot.id)
    weeks = scenario.days / 7
    kinds = (
        (of_node, len(of_node) * scenario.days / _NODE_LIVES, True, (1, 6)),
        (of_gpu, len(of_gpu) * scenario.days / _GPU_LIVES, True, (4, 24)),
        (of_node, len(of_node) * weeks * _DRAINED_NODES, False, (4, 10)),
        (of_gpu, len(of_gpu) * weeks * _DRAINED_GPUS, False, (2, 8)),
    )
    outages: list[Outage] = []
    for parts, expected, kills, (least, most) in kinds:
        for _ in range(max(1, round(expected))):
            name = chance.choice(sorted(parts))
            moment = chance.randrange(scenario.days * 86_400)
            if not kills:
                moment = moment // 86_400 * 86_400 + chance.randrange(8 * 3600, 16 * 3600)
            starts_at = scenario.starts_at + timedelta(seconds=moment)
            length = timedelta(seconds=chance.randrange(least * 3600, most * 3600))
            outages.append(Outage(starts_at, starts_at + length, tuple(parts[name]), kills))
    return sorted(outages, key=lambda outage: (outage.starts_at, outage.slots))
