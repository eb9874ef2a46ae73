"""What must never happen, looked for in the log alone: nothing here asks the pool or the policy."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from .log import Down, Hold, Log
from .scenario import Workload

_Span = tuple[datetime, datetime, int]


@dataclass(frozen=True, slots=True)
class Checks:
    """Numbers of what must not be.

    Attributes
    ----------
    double_leases
        Times that a slot was held by two leases at once.
    budget_errors
        Users who at any time had used more than their budget within the rolling window, and sums of use that were not
        what the policy's own functions give.
    quota_errors
        Users who held more GPUs at once than their quota allows.
    unusable_leases
        Leases granted on a GPU that was out of service.
    seats_taken
        Reserved seats that somebody else held at their start.
    """

    double_leases: int
    budget_errors: int
    quota_errors: int
    unusable_leases: int
    seats_taken: int


def check(workload: Workload, log: Log, window: timedelta) -> Checks:
    """Look through a log."""
    by_slot: dict[str, list[Hold]] = {}
    by_user: dict[str, list[Hold]] = {}
    for hold in log.holds:
        if not hold.demand.course:  # a class costs its students nothing of their own
            by_user.setdefault(hold.demand.user, []).append(hold)
        for slot in hold.slots:
            by_slot.setdefault(slot, []).append(hold)
    return Checks(
        double_leases=sum(_overlaps(holds) for holds in by_slot.values()),
        budget_errors=log.mismatches + sum(_over_budget(workload, user, by_user[user], window) for user in by_user),
        quota_errors=sum(
            most_at_once((hold.since, hold.until, len(hold.slots)) for hold in holds)
            > workload.quotas[holds[0].demand.group].gpus
            for holds in by_user.values()
        ),
        unusable_leases=sum(_granted_while_down(down, by_slot.get(down.slot, ())) for down in log.downs),
        seats_taken=sum(
            hold.since <= reservation.starts_at < hold.until and hold.demand.course != reservation.course
            for reservation in log.reservations
            for slot in reservation.slots
            for hold in by_slot.get(slot, ())
        ),
    )


def _overlaps(holds: list[Hold]) -> int:
    in_order = sorted(holds, key=lambda hold: hold.since)
    count, free_at = 0, in_order[0].since
    for hold in in_order:
        count += hold.since < free_at
        free_at = max(free_at, hold.until)
    return count


def _over_budget(workload: Workload, user: str, holds: list[Hold], window: timedelta) -> bool:
    hours = workload.quotas[holds[0].demand.group].gpu_hours
    if hours == float("inf"):
        return False
    spans: list[_Span] = list(workload.past.get(user, ()))
    spans += [
        (hold.started_at, hold.ended_at or workload.scenario.ends_at, len(hold.slots))
        for hold in holds
        if hold.started_at is not None
    ]
    budget = timedelta(hours=hours)
    # What a window holds is greatest where something ends.
    return any(sum((_part(span, end - window, end) for span in spans), timedelta(0)) > budget for _, end, _ in spans)


def _part(span: _Span, begin: datetime, finish: datetime) -> timedelta:
    start, end, slots = span
    return max(timedelta(0), min(end, finish) - max(start, begin)) * slots


def most_at_once(spans: Iterable[_Span]) -> int:
    """Give the most that is held at one time; what ends when something else begins makes room for it."""
    changes = sorted(
        change for start, end, count in spans for change in ((start, 1, count), (end, 0, -count)) if start < end
    )
    most = held = 0
    for _, _, change in changes:
        held += change
        most = max(most, held)
    return most


def _granted_while_down(down: Down, holds: Iterable[Hold]) -> int:
    return sum(down.since <= hold.since < down.until for hold in holds)
