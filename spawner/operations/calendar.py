"""Who has GPUs when: what there is of each kind over some days, and which classes have reserved it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..ledger import Books
from ..policy.classes import Course, Session
from ..policy.gpus import Isolation, SlotKind
from .availability import KindOfGpu, Step, kinds_of
from .desk import Desk
from .pools import load_pool


@dataclass(frozen=True, slots=True)
class Booking:
    """Slots that a class has reserved.

    Attributes
    ----------
    session
        None for what was reserved without one.
    """

    course: str
    title: str
    session: Session | None
    starts_at: datetime
    ends_at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class KindCapacity:
    """Slots that are alike.

    Attributes
    ----------
    steps
        How many are what: the first at the begin of the time that is looked at, or now if that is later; empty where
        all of it has passed. Each holds until the next.
    bookings
        By start.
    """

    model: str
    kind: SlotKind
    isolation: Isolation
    memory: int
    simulated: bool
    total: int
    steps: tuple[Step, ...]
    bookings: tuple[Booking, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What there is from `since` to `until`, as of `at`; the most powerful kinds first."""

    at: datetime
    since: datetime
    until: datetime
    kinds: tuple[KindCapacity, ...]


def capacity(desk: Desk, since: datetime, until: datetime) -> Capacity:
    """Tell what there is within some time, if every lease runs to its end and nobody else comes.

    Leases are told of only from now on; what classes had before, as long as their sessions are known.
    """
    with desk.ledger.reading() as books:
        now = desk.clock()
        pool = load_pool(books, desk.rules, now)
        bookings = _bookings(books, since, until, now)
        kinds = kinds_of(pool, desk.rules, now, max(until, now))
        of_kind: dict[tuple[str, SlotKind, Isolation, int], list[str]] = {}
        for slot in pool.slots.values():
            of_kind.setdefault((slot.model, slot.kind, slot.isolation, slot.memory), []).append(slot.id)
        found = tuple(
            _kind(one, _of_slots(bookings, of_kind[one.model, one.kind, one.isolation, one.memory]), since, until, now)
            for one in kinds
        )
    return Capacity(now, since, until, found)


def _kind(
    found: KindOfGpu, bookings: Iterable[Booking], since: datetime, until: datetime, now: datetime
) -> KindCapacity:
    steps = tuple(_within(found.steps, max(since, now), until)) if until > now else ()
    return KindCapacity(
        found.model,
        found.kind,
        found.isolation,
        found.memory,
        found.simulated,
        found.total,
        steps,
        tuple(sorted(bookings, key=lambda one: (one.starts_at, one.course))),
    )


def _within(steps: Sequence[Step], since: datetime, until: datetime) -> Iterator[Step]:
    """Cut steps to a time."""
    before = [step for step in steps if step.at <= since]
    if before:
        yield replace(before[-1], at=since)
    yield from (step for step in steps if since < step.at < until)


_Booked = tuple[Booking, tuple[str, ...]]


def _bookings(books: Books, since: datetime, until: datetime, now: datetime) -> list[_Booked]:
    """List what is reserved within a time, with the slots of each."""
    courses: dict[str, Course] = {one.id: one for one in books.courses.all(archived=True)}
    sessions = {one.reservation: one for one in books.sessions.within(since, until) if one.reservation}
    known = {one.id: one for one in books.reservations.upcoming(now) if one.starts_at < until and one.ends_at > since}
    for reservation_id in sessions.keys() - known.keys():
        past = books.reservations.get(reservation_id)
        if past is not None and not past.cancelled:
            known[past.id] = past
    return [
        (
            Booking(
                one.course,
                courses[one.course].title if one.course in courses else one.course,
                sessions.get(one.id),
                one.starts_at,
                one.ends_at,
                len(one.slots),
            ),
            one.slots,
        )
        for one in known.values()
    ]


def _of_slots(bookings: Iterable[_Booked], slots: Iterable[str]) -> Iterator[Booking]:
    members = set(slots)
    for booking, reserved in bookings:
        if count := sum(slot in members for slot in reserved):
            yield replace(booking, count=count)
