"""Reservations: which slots a course gets for an hour, and who has to make room."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from .leases import GpuRequest, Lease, LeaseRules, LeaseState, Reservation
from .model import Deny
from .pool import Pool
from .quota import ALL


@dataclass(frozen=True, slots=True)
class Reserved:
    """Slots for a reservation.

    Attributes
    ----------
    shorten
        Leases that would run into it, each with the end it gets. Their users have to be told.
    """

    slots: tuple[str, ...]
    shorten: tuple[tuple[Lease, datetime], ...] = ()


def reserve(
    pool: Pool,
    request: GpuRequest,
    seats: int,
    starts_at: datetime,
    ends_at: datetime,
    rules: LeaseRules,
    now: datetime,
) -> Reserved | Deny:
    """Choose `seats` times ``request.count`` slots that are free of other reservations from start to end.

    Those come first whose leases end in time; then those whose leases lose the least.

    Returns
    -------
    Reserved or Deny
        ``Deny`` codes: ``invalid_option`` (a time that has passed, or an end before its start), ``no_capacity`` (says
        how many seats there would be).
    """
    if ends_at <= starts_at or ends_at <= now:
        return Deny("invalid_option", "A reservation ends after it starts, and not in the past.")
    chosen: list[str] = []
    fitting = 0
    for slot_class in pool.classes(request, ALL):
        for ids in pool.members(slot_class).values():
            seatable = _seats(pool, _candidates(pool, ids, starts_at, ends_at, rules), request.count, starts_at, rules)
            fitting += len(seatable)
            for seat in seatable:
                if len(chosen) < seats * request.count:
                    chosen.extend(seat)
    if fitting < seats:
        return Deny(
            "no_capacity",
            f"{seats} seats asked for, and there are {fitting} at that time. Choose another time, fewer seats, or "
            "another kind of GPU.",
        )
    latest = max(starts_at - rules.turnover, now)
    shorten = {
        lease.id: (lease, latest)
        for slot in chosen
        if (lease := pool.holder(slot)) is not None
        and lease.ends_at > latest
        and lease.state is not LeaseState.RELEASING
    }
    return Reserved(tuple(chosen), tuple(shorten.values()))


def _candidates(pool: Pool, ids: Iterable[str], starts_at: datetime, ends_at: datetime, rules: LeaseRules) -> list[str]:
    return [
        slot_id
        for slot_id in ids
        if pool.slots[slot_id].usable
        and not any(
            start < ends_at + rules.turnover and starts_at < finish + rules.turnover
            for start, finish in pool.reserved(slot_id, "")
        )
    ]


def _seats(pool: Pool, ids: list[str], count: int, starts_at: datetime, rules: LeaseRules) -> list[tuple[str, ...]]:
    """Group slots of one node to seats of `count` different GPUs, those that disturb nobody first."""

    def loss(slot_id: str) -> tuple[float, str]:
        lease = pool.holder(slot_id)
        overrun = (lease.ends_at - (starts_at - rules.turnover)).total_seconds() if lease else 0.0
        return max(0.0, overrun), slot_id

    if count == 1:
        return [(slot_id,) for slot_id in sorted(ids, key=loss)]
    by_gpu: dict[str, list[str]] = {}
    for slot_id in sorted(ids, key=loss):
        by_gpu.setdefault(pool.slots[slot_id].gpu, []).append(slot_id)
    seats: list[tuple[str, ...]] = []
    while True:
        # From the GPUs with most slots left, or some would be left over alone.
        gpus = sorted(by_gpu, key=lambda gpu: (-len(by_gpu[gpu]), gpu))[:count]
        if len(gpus) < count:
            return seats
        seats.append(tuple(by_gpu[gpu].pop(0) for gpu in gpus))
        by_gpu = {gpu: slots for gpu, slots in by_gpu.items() if slots}


def replan(pool: Pool, reservation: Reservation, rules: LeaseRules, now: datetime) -> Reservation | None:
    """Replace slots of a reservation that cannot be used any more, by such of the same class.

    Returns
    -------
    Reservation or None
        None where nothing has to change, or nothing can.
    """
    slots = list(reservation.slots)
    lost = [slot_id for slot_id in slots if slot_id not in pool.slots or not pool.slots[slot_id].usable]
    for old in lost:
        known = pool.slots.get(old)
        if known is None:
            continue
        request = GpuRequest(
            "", "", "", 1, models=frozenset({known.model}), kinds=frozenset({known.kind}), memory=known.memory
        )
        free = reserve(pool, request, 1, max(reservation.starts_at, now), reservation.ends_at, rules, now)
        if isinstance(free, Reserved) and not free.shorten and free.slots[0] not in slots:
            slots[slots.index(old)] = free.slots[0]
    if tuple(slots) == reservation.slots:
        return None
    return replace(reservation, slots=tuple(slots))
