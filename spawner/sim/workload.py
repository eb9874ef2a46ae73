"""A scenario's workload: drawn once, the same for every discipline.

Each purpose has a random source of its own, so that a change to one leaves the others as they were.
"""

import random
from dataclasses import replace
from datetime import timedelta

from ..policy.accounting import Interval
from . import classes, demands, faults, fleet, people
from .scenario import Demand, Scenario, Workload

_HOUR = timedelta(hours=1)


def draw(scenario: Scenario) -> Workload:
    """Draw a workload; the same scenario always gives the same one."""

    def chance(purpose: str) -> random.Random:
        return random.Random(f"{scenario.seed}/{purpose}")

    slots = fleet.build(scenario.gpus, scenario.per_node)
    members, quotas = people.members(scenario.users), people.quotas()
    part = _least_part(fleet.weights(slots))
    sessions, wanted = classes.draw(scenario, members["students"], chance("classes"))
    gpu_hours = scenario.gpus * scenario.days * 24 * scenario.load
    gpu_hours -= sum(demand.work / _HOUR * (1.0 if demand.kinds else part) for demand in wanted)
    past: dict[str, list[Interval]] = {}
    for group in people.GROUPS:
        share, quota = gpu_hours * group.load / 100, quotas[group.name]
        own = demands.draw(scenario, group, members[group.name], quota, share, part, chance(f"demands of {group.name}"))
        past.update(demands.past(scenario, own, quota, chance(f"past of {group.name}")))
        wanted.extend(own)
    return Workload(
        scenario,
        slots,
        quotas,
        _numbered(wanted),
        tuple(sessions),
        tuple(faults.draw(scenario, slots, chance("faults"))),
        past,
    )


def _least_part(weights: dict[str, float]) -> float:
    """Tell what part of a GPU the smallest slots are on average; 1 where all are whole."""
    parts = [weight for weight in weights.values() if weight < 1]
    return sum(parts) / len(parts) if parts else 1.0


def _numbered(wanted: list[Demand]) -> tuple[Demand, ...]:
    in_order = sorted(wanted, key=lambda demand: (demand.at, demand.user, demand.count))
    return tuple(replace(demand, id=number) for number, demand in enumerate(in_order))
