"""What people do with their GPUs, as far as it follows from what they want."""

from dataclasses import replace
from datetime import datetime, timedelta

from ..policy.leases import GpuRequest
from .scenario import Demand

IDLE = timedelta(hours=1)  # after which unused GPUs are taken back
_WORTH_IT = timedelta(minutes=5)  # of work left, or nobody comes back for it


def request_of(demand: Demand) -> GpuRequest:
    """Give what somebody asks the hub for."""
    return GpuRequest(
        demand.user,
        str(demand.id),
        "gpu",
        demand.count,
        hours=demand.hours,
        kinds=demand.kinds,
        memory=demand.memory,
        course=demand.course,
        groups=frozenset({demand.group}),
        ends_at=demand.ends_at,
    )


def is_taken_back(demand: Demand) -> bool:
    """Tell whether the GPUs will be idle so long that their user loses them."""
    return demand.tail > IDLE and not demand.dodges


def leaves_at(demand: Demand, started_at: datetime) -> datetime:
    """Tell when somebody is through, or has their idle GPUs taken back."""
    return started_at + demand.work + (IDLE if is_taken_back(demand) else demand.tail)


def hours_for(length: timedelta) -> float:
    """Give the hours to ask for, in quarters and a little more than needed."""
    return (length // timedelta(minutes=15) + 2) / 4


def rest_of(demand: Demand, worked: timedelta, now: datetime) -> Demand | None:
    """Give what somebody comes back for whose server ended before the work was done; None if nothing is left."""
    left = demand.work - worked
    if left < _WORTH_IT or not demand.returns:
        return None
    hours = None if demand.hours is None else min(hours_for(left), demand.hours)
    return replace(demand, at=now + demand.back_after, work=left, hours=hours, attempt=demand.attempt + 1)
