"""Whether a session's seats fit, and if not, when or on which GPUs they would."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from .gpus import SlotKind
from .leases import GpuRequest, LeaseRules
from .pool import Pool, SlotClass
from .quota import ALL
from .reservations import room

_STEP = timedelta(minutes=15)  # to which offered times are rounded
_AHEAD = timedelta(days=7)
_TRIED = 60  # times that are looked at, the nearest first; one costs some milliseconds on 1,000 GPUs
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class OtherKind:
    """GPUs of another model or kind on which all seats would fit at the same time."""

    model: str
    kind: SlotKind
    memory: int
    seats: int


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether the seats fit.

    Attributes
    ----------
    wanted, seats
        How many seats are asked for, and how many there are at that time.
    times
        Begins at which all would fit, the nearest first; empty if they fit as asked.
    kinds
        What else they would fit on, the least valuable first; empty if they fit as asked.
    """

    wanted: int
    seats: int
    times: tuple[datetime, ...] = ()
    kinds: tuple[OtherKind, ...] = ()

    @property
    def fits(self) -> bool:
        return self.seats >= self.wanted


def fit(
    pool: Pool,
    request: GpuRequest,
    seats: int,
    starts_at: datetime,
    ends_at: datetime,
    rules: LeaseRules,
    now: datetime,
    most: int = 3,
) -> Fit:
    """Count the seats at a time, and where they do not suffice, look for times and kinds that do.

    Parameters
    ----------
    request
        What one seat needs; its ``course`` is whose it is.
    most
        How many other times are told.
    """
    found = room(pool, request, starts_at, ends_at, rules, now)
    if found >= seats:
        return Fit(seats, found)
    length = ends_at - starts_at
    times: list[datetime] = []
    for begin in _candidates(pool, starts_at, length, rules, now):
        if len(times) < most and room(pool, request, begin, begin + length, rules, now) >= seats:
            times.append(begin)
    return Fit(seats, found, tuple(times), tuple(_kinds(pool, request, seats, starts_at, ends_at, rules, now)))


def _candidates(pool: Pool, starts_at: datetime, length: timedelta, rules: LeaseRules, now: datetime) -> list[datetime]:
    """List times that might do, the nearest first: beside other reservations, and at the same hour of other days."""
    found = {starts_at + number * _DAY for number in (-2, -1, 1, 2, 3, 4, 5, 6, 7)}
    for reservation in pool.reservations.values():
        found.add(_up(reservation.ends_at + rules.turnover))
        found.add(_down(reservation.starts_at - rules.turnover - length))
    near = [begin for begin in found if begin > now and abs(begin - starts_at) <= _AHEAD and begin != starts_at]
    return sorted(near, key=lambda begin: (abs(begin - starts_at), begin))[:_TRIED]


def _kinds(
    pool: Pool,
    request: GpuRequest,
    seats: int,
    starts_at: datetime,
    ends_at: datetime,
    rules: LeaseRules,
    now: datetime,
) -> Iterator[OtherKind]:
    own = set(pool.classes(request, ALL))

    def value(slot_class: SlotClass) -> tuple[int, str, str]:
        return slot_class.memory, slot_class.model, slot_class.kind

    for slot_class in sorted(set(pool.all_classes()) - own, key=value):
        other = replace(
            request,
            models=frozenset({slot_class.model}),
            kinds=frozenset({slot_class.kind}),
            memory=slot_class.memory,
        )
        if (found := room(pool, other, starts_at, ends_at, rules, now)) >= seats:
            yield OtherKind(slot_class.model, slot_class.kind, slot_class.memory, found)


def _up(moment: datetime) -> datetime:
    return -(-(moment - _EPOCH) // _STEP) * _STEP + _EPOCH


def _down(moment: datetime) -> datetime:
    return (moment - _EPOCH) // _STEP * _STEP + _EPOCH


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
