"""Small weeks, written by hand."""

from datetime import timedelta
from typing import Any

from spawner.policy.gpus import SlotKind
from spawner.policy.quota import UNLIMITED, Quota
from spawner.sim import fleet
from spawner.sim.disciplines import Discipline
from spawner.sim.engine import Simulation
from spawner.sim.log import Asked, Log
from spawner.sim.scenario import MONDAY, Demand, Outage, Session, Workload
from spawner.sim.scenario import Scenario as Scenario

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
WHOLE = frozenset({SlotKind.EXCLUSIVE})
AMPLE = Quota(
    cpu=8, memory=1 << 36, processes=4096, shm=1 << 30, open_files=16384, gpus=8, gpu_hours=UNLIMITED, lease_hours=24
)


def demand(at: float, user: str, work: float, **more: Any) -> Demand:
    """Somebody wants one GPU `at` hours after Monday's midnight, for `work` hours."""
    known: dict[str, Any] = {"group": "lab", "row": "lab", "count": 1, "memory": 1 << 34, "kinds": WHOLE}
    return Demand(0, MONDAY + at * HOUR, user, work=work * HOUR, **{**known, **more})


def week(
    *demands: Demand,
    gpus: int = 1,
    days: int = 7,
    quota: Quota = AMPLE,
    sessions: tuple[Session, ...] = (),
    outages: tuple[Outage, ...] = (),
    **more: Any,
) -> Workload:
    """A workload on nodes of A100, 8 GPUs each."""
    groups = {each.group for each in demands}
    kept = tuple(slot for slot in fleet.build(10 * gpus, 8) if slot.model.startswith("A100"))[:gpus]
    return Workload(
        Scenario(users=len(demands), gpus=gpus, days=days),
        kept,
        dict.fromkeys(groups, quota),
        tuple(sorted(demands, key=lambda each: each.at)),
        sessions,
        outages,
        **more,
    )


def simulated(workload: Workload, discipline: Discipline) -> Log:
    return Simulation(workload, discipline).run()


def waits(log: Log) -> dict[str, float]:
    """Hours from a user's first request until it was served or given up."""
    found: dict[str, float] = {}
    for each in log.asked:
        found.setdefault(each.demand.user, (each.until - each.at) / HOUR)
    return found


def asked_by(log: Log, user: str) -> list[Asked]:
    return [each for each in log.asked if each.demand.user == user]
