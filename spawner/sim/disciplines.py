"""The ways to hand out GPUs which are compared: Berth's policy, and what is common without one.

All run the same functions of the policy, the same quotas, and the same rules for idle GPUs and extensions; they differ
in the order of the queue, in who may pass, in reservations, and in what a group can reach.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from ..policy.gpus import Slot
from ..policy.leases import LeaseRules
from ..policy.pool import SlotClass, class_of
from ..policy.quota import allows
from .fleet import apportion
from .scenario import Demand, Workload

_HOUR = timedelta(hours=1)
# Everybody is impatient at once, so that only the arrival counts; and nobody passes one who waits.
_BY_ARRIVAL = LeaseRules(patience=timedelta(0), depth=0)


@dataclass(frozen=True, slots=True)
class Discipline:
    """A way to hand out GPUs.

    Attributes
    ----------
    title
        For people.
    pinned
        Whether each row (`spawner.sim.scenario.Demand`) has GPUs of its own.
    reserves
        Whether courses reserve their seats.
    """

    name: str
    title: str
    description: str
    rules: LeaseRules = field(default_factory=LeaseRules)
    pinned: bool = False
    reserves: bool = False


FAIR_SHARE = Discipline(
    "fair-share",
    "fair share",
    "Berth's policy: priority, decayed use, arrival; backfill; reservations for courses.",
    reserves=True,
)
FIFO = Discipline(
    "fifo",
    "FIFO",
    "First come, first served for each kind of GPU, without backfill; no reservations.",
    rules=_BY_ARRIVAL,
)
PINNED = Discipline(
    "pinned",
    "pinned",
    "Each group owns a fixed part of the GPUs, as large as the part it asks for; first come, first served within it.",
    rules=_BY_ARRIVAL,
    pinned=True,
)
DISCIPLINES: Mapping[str, Discipline] = {discipline.name: discipline for discipline in (FAIR_SHARE, FIFO, PINNED)}


def split(workload: Workload) -> dict[str, list[Slot]]:
    """Give each row of demands GPUs of its own: of each kind, in proportion to the time that it will want of it.

    That is better than anybody could do beforehand, for it knows the demands.
    """
    kinds: dict[SlotClass, list[Slot]] = {}
    for slot in workload.slots:
        kinds.setdefault(class_of(slot), []).append(slot)
    rows = sorted({demand.row for demand in workload.demands})
    wanted = _wanted(workload, kinds)
    given: dict[str, list[Slot]] = {row: [] for row in rows}
    for kind, slots in kinds.items():
        gpus: dict[str, list[Slot]] = {}
        for slot in slots:
            gpus.setdefault(slot.gpu, []).append(slot)
        # The largest first, and neighbours together: who has many GPUs has whole nodes.
        ranked = sorted(rows, key=lambda row: (-wanted[row, kind], row))
        odds = [wanted[row, kind] for row in ranked]
        owners = apportion(len(gpus), odds if any(odds) else [1.0] * len(odds))
        for gpu, owner in zip(gpus.values(), owners, strict=True):
            given[ranked[owner]].extend(gpu)
    return given


def _wanted(workload: Workload, kinds: Mapping[SlotClass, list[Slot]]) -> Mapping[tuple[str, SlotClass], float]:
    """Estimate the slot-hours that each row takes of each kind of slot.

    The choosiest demands come first, and each takes the least valuable kind that has time left, as the policy does.
    """
    left = {kind: float(len(slots) * workload.scenario.days * 24) for kind, slots in kinds.items()}
    by_need: dict[tuple[SlotClass, ...], dict[str, float]] = {}
    for demand in workload.demands:
        fitting = [kind for kind in kinds if _fits(demand, kind, workload.quotas[demand.group].models)]
        need = tuple(sorted(fitting, key=lambda kind: (kind.memory, kind.model, kind.kind)))
        hours_of = by_need.setdefault(need, {})
        hours_of[demand.row] = hours_of.get(demand.row, 0.0) + demand.count * (demand.work / _HOUR)
    wanted: defaultdict[tuple[str, SlotClass], float] = defaultdict(float)
    for need, rows in sorted(by_need.items(), key=lambda item: len(item[0])):
        hours = total = sum(rows.values())
        for kind in need:
            # What goes beyond all of them waits for the most valuable.
            taken = hours if kind == need[-1] else min(hours, left[kind])
            left[kind], hours = max(0.0, left[kind] - taken), hours - taken
            for row, its in rows.items():
                wanted[row, kind] += taken * its / total
    return wanted


def _fits(demand: Demand, kind: SlotClass, models: frozenset[str]) -> bool:
    return (
        (not demand.kinds or kind.kind in demand.kinds) and kind.memory >= demand.memory and allows(models, kind.model)
    )
