"""Reservations: which slots a course gets for an hour, and who has to make room."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .leases import GpuRequest, Lease, LeaseRules, LeaseState, Reservation
from .model import Deny
from .pool import Pool, SlotClass, class_of
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
    prefer: Collection[str] = (),
) -> Reserved | Deny:
    """Choose `seats` times ``request.count`` slots that are free of other reservations from start to end.

    Those come first whose leases end in time; then those whose leases lose the least. Nobody's lease is cut down to
    less than ``rules.notice`` from now.

    Parameters
    ----------
    prefer
        Slots that are taken before others which disturb as much.

    Returns
    -------
    Reserved or Deny
        ``Deny`` codes: ``invalid_option`` (no seats, or a time that has passed, or an end before its start),
        ``no_capacity`` (says how many seats there would be).
    """
    if seats < 1 or request.count < 1:
        return Deny("invalid_option", "A reservation has one seat or more, each with one GPU or more.")
    if ends_at <= starts_at or ends_at <= now:
        return Deny("invalid_option", "A reservation ends after it starts, and not in the past.")
    period = _Period(pool, request.course, starts_at, ends_at, rules, now)
    found = period.all_seats(request)
    if len(found) < seats:
        return Deny(
            "no_capacity",
            f"{seats} seat{'' if seats == 1 else 's'} asked for, and there {'is' if len(found) == 1 else 'are'} "
            f"{len(found) or 'none'} at that time. Choose another time, fewer seats, or another kind of GPU.",
        )
    # Sorting keeps the order of classes, the least valuable first, among seats that disturb equally.
    found.sort(key=lambda seat: (max(map(period.loss, seat)), not set(prefer).issuperset(seat)))
    chosen = tuple(slot_id for seat in found[:seats] for slot_id in seat)
    latest = max(starts_at - rules.turnover, now)
    shorten = {lease.id: lease for slot_id in chosen if (lease := period.disturbed(slot_id)) is not None}
    return Reserved(chosen, tuple((lease, latest) for lease in shorten.values() if lease.ends_at > latest))


def room(
    pool: Pool, request: GpuRequest, starts_at: datetime, ends_at: datetime, rules: LeaseRules, now: datetime
) -> int:
    """Count the seats of ``request.count`` slots that could be reserved from start to end."""
    return len(_Period(pool, request.course, starts_at, ends_at, rules, now).all_seats(request))


@dataclass(frozen=True)
class _Period:
    """A time for which a course wants slots."""

    pool: Pool
    course: str
    starts_at: datetime
    ends_at: datetime
    rules: LeaseRules
    now: datetime

    def disturbed(self, slot_id: str) -> Lease | None:
        """Give the lease that would run into the period; one of the course itself has its seat already."""
        lease = self.pool.holder(slot_id)
        if lease is None or lease.state is LeaseState.RELEASING or (self.course and lease.course == self.course):
            return None
        return lease if lease.ends_at > self.starts_at - self.rules.turnover else None

    def loss(self, slot_id: str) -> timedelta:
        """Give how much time the holder of a slot would lose."""
        lease = self.disturbed(slot_id)
        return timedelta(0) if lease is None else lease.ends_at - (self.starts_at - self.rules.turnover)

    def all_seats(self, request: GpuRequest) -> list[tuple[str, ...]]:
        """Find all seats for a request, those of the least valuable classes first."""
        return [
            seat
            for slot_class in self.pool.classes(request, ALL)
            for ids in self.pool.members(slot_class).values()
            for seat in self.seats(ids, request.count)
        ]

    def seats(self, ids: Iterable[str], count: int) -> list[tuple[str, ...]]:
        """Group slots of one node to seats of `count` different GPUs, as many as possible."""
        usable = (slot_id for slot_id in ids if self.is_free(slot_id) and self.in_time(slot_id))
        return _grouped(self.pool, sorted(usable, key=lambda slot_id: (self.loss(slot_id), slot_id)), count)

    def in_time(self, slot_id: str) -> bool:
        """Tell whether a slot's holder can still be told; what is only on offer is nobody's work."""
        lease = self.disturbed(slot_id)
        if lease is None or lease.state is LeaseState.OFFERED:
            return True
        return self.starts_at - self.rules.turnover >= min(self.now + self.rules.notice, lease.ends_at)

    def is_free(self, slot_id: str) -> bool:
        return self.pool.slots[slot_id].usable and not any(
            start < self.ends_at + self.rules.turnover and self.starts_at < finish + self.rules.turnover
            for start, finish in self.pool.reserved(slot_id, "")
        )


def _grouped(pool: Pool, ids: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """Group slots of one node to seats of `count` different GPUs, as many as possible; the first ones first."""
    if count == 1:
        return [(slot_id,) for slot_id in ids]
    rank = {slot_id: place for place, slot_id in enumerate(ids)}
    by_gpu: dict[str, list[str]] = {}
    for slot_id in ids:
        by_gpu.setdefault(pool.slots[slot_id].gpu, []).append(slot_id)
    seats: list[tuple[str, ...]] = []
    while len(by_gpu) >= count:
        # From the GPUs with most slots left, or some would be left over alone.
        gpus = sorted(by_gpu, key=lambda gpu: (-len(by_gpu[gpu]), rank[by_gpu[gpu][0]]))[:count]
        seats.append(tuple(by_gpu[gpu].pop(0) for gpu in gpus))
        by_gpu = {gpu: slots for gpu, slots in by_gpu.items() if slots}
    return seats


def shrink(pool: Pool, reservation: Reservation, seats: int, count: int, held: Collection[str]) -> Reservation:
    """Leave a reservation the slots of so many seats, each with `count`.

    Parameters
    ----------
    held
        Slots of those who stay: these stay reserved. Then whole seats of what is free; then of what others hold still,
        who are to go; what is broken leaves first.
    """

    def worth(slot_id: str) -> tuple[bool, bool]:
        slot = pool.slots.get(slot_id)
        return slot is None or not slot.usable, pool.holder(slot_id) is not None

    others = sorted((slot_id for slot_id in reservation.slots if slot_id not in held), key=worth)
    alike: dict[tuple[str, SlotClass], list[str]] = {}
    for slot_id in others:
        if slot_id in pool.slots:
            alike.setdefault((pool.slots[slot_id].node, pool.class_of(slot_id)), []).append(slot_id)
    whole = sorted(
        (seat for ids in alike.values() for seat in _grouped(pool, ids, count)), key=lambda seat: max(map(worth, seat))
    )
    mine = (slot_id for slot_id in reservation.slots if slot_id in held)
    # What makes no whole seat comes last.
    ordered = dict.fromkeys([*mine, *(slot_id for seat in whole for slot_id in seat), *others])
    return replace(reservation, slots=tuple(ordered)[: seats * count])


def replan(pool: Pool, reservation: Reservation, rules: LeaseRules, now: datetime) -> Reservation | None:
    """Replace slots of a reservation that cannot be used any more, by such of the same class.

    Returns
    -------
    Reservation or None
        None where nothing has to change, or nothing can.
    """
    starts_at = max(reservation.starts_at, now)
    if reservation.ends_at <= starts_at:
        return None
    period = _Period(pool, reservation.course, starts_at, reservation.ends_at, rules, now)
    slots = list(reservation.slots)
    for place, old in enumerate(reservation.slots):
        known = pool.slots.get(old)
        if known is None or known.usable:
            continue
        alike = (slot for ids in pool.members(class_of(known)).values() for slot in ids)
        undisturbed = (
            slot for slot in alike if slot not in slots and period.is_free(slot) and not period.disturbed(slot)
        )
        slots[place] = min(undisturbed, default=old)
    if tuple(slots) == reservation.slots:
        return None
    return replace(reservation, slots=tuple(slots))


def mend(pool: Pool, reservation: Reservation, rules: LeaseRules, now: datetime) -> Reserved | None:
    """Replace lost slots of a reservation by such of the same class, where leases that can still be told make room.

    For what `replan` leaves: nothing of the class is free then. Slots of the same node go before others.

    Returns
    -------
    Reserved or None
        All slots of the reservation; None where nothing has to change, or nothing can.
    """
    period = _Period(pool, reservation.course, reservation.starts_at, reservation.ends_at, rules, now)
    slots = list(reservation.slots)
    latest = reservation.starts_at - rules.turnover
    shorten: dict[str, tuple[Lease, datetime]] = {}

    def worth(slot_id: str, node: str) -> tuple[bool, timedelta, str]:
        return pool.slots[slot_id].node != node, period.loss(slot_id), slot_id

    for place, old in enumerate(reservation.slots):
        known = pool.slots.get(old)
        if known is None or known.usable or latest <= now:
            continue
        alike = (slot_id for ids in pool.members(class_of(known)).values() for slot_id in ids)
        able = [one for one in alike if one not in slots and period.is_free(one) and period.in_time(one)]
        if not able:
            continue
        node = known.node
        slots[place] = min(able, key=lambda slot_id: worth(slot_id, node))
        lease = period.disturbed(slots[place])
        if lease is not None and lease.ends_at > latest:
            shorten[lease.id] = lease, latest
    if tuple(slots) == reservation.slots:
        return None
    return Reserved(tuple(slots), tuple(shorten.values()))
