"""All that the board of a class shows, read at one moment: seats and what holds them, hands, how warm-up goes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from math import ceil
from statistics import median

from ..ledger import Books
from ..policy.classes import Course, Phase, Role, Seat, SeatState, Session, hands, seat_state
from ..policy.gpus import Slot
from ..policy.leases import Lease
from ..policy.warmup import SPARE, Pace, begin_at
from .courses import find_in
from .desk import Desk
from .seats import claims
from .sessions import find_session

_LIVE = frozenset({Phase.WARMING, Phase.OPEN})
_FEWEST = 3  # seats of which one learns how long a start takes


@dataclass(frozen=True, slots=True)
class SeatView:
    """A seat on the board.

    Attributes
    ----------
    role
        None for a guest, and for who has left the course since.
    lease, slots
        What it holds now.
    """

    seat: Seat
    state: SeatState
    role: Role | None
    lease: Lease | None = None
    slots: tuple[Slot, ...] = ()

    @property
    def user(self) -> str:
        return self.seat.user


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How the start of all seats goes.

    Attributes
    ----------
    ready, wanted
        Seats that answer, or did; and all that are to.
    begins_at
        When the first is started, while none is.
    expected_at
        When the last will be ready, as fast as it went so far; None where all are, or nothing is started any more.
    """

    ready: int
    wanted: int
    begins_at: datetime | None = None
    expected_at: datetime | None = None

    @property
    def done(self) -> bool:
        return self.ready >= self.wanted


@dataclass(frozen=True)
class ClassBoard:
    """A session at one moment.

    Attributes
    ----------
    seats
        One for each student, for each guest, and for staff who have one in this session; by name.
    left
        Seats that nobody has a claim to.
    """

    at: datetime
    course: Course
    session: Session
    seats: tuple[SeatView, ...]
    warm_up: WarmUp
    left: int

    @property
    def phase(self) -> Phase:
        return self.session.phase(self.at)

    @cached_property
    def hands(self) -> tuple[SeatView, ...]:
        """Those who ask for help, the longest waiting first."""
        return tuple(self.by_user[seat.user] for seat in hands(one.seat for one in self.seats))

    @cached_property
    def by_user(self) -> Mapping[str, SeatView]:
        return {one.user: one for one in self.seats}

    @cached_property
    def counts(self) -> Mapping[SeatState, int]:
        return Counter(one.state for one in self.seats)


def class_board(desk: Desk, session: str, pace: Pace | None = None) -> ClassBoard:
    """Read the board of a session.

    Parameters
    ----------
    pace
        How fast seats are started, as long as too few of this session have been.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        now, found = desk.clock(), find_session(books, session)
        course = find_in(books, found.course)
        roles = {one.user: one.role for one in books.courses.members(course.id)}
        known = {seat.user: seat for seat in books.sessions.seats(session)}
        names = {name for name, role in roles.items() if role is Role.STUDENT} | known.keys()
        held = _held(books, course, found)
        left = max(0, found.seats - len(claims(books, found)))
    seats = [known.get(name) or Seat(session, name) for name in sorted(names)]
    views = [_view(seat, roles.get(seat.user), held.get(seat.user), now) for seat in seats]
    warm_up = warming(found, [one.seat for one in views if one.role is None or one.role is Role.STUDENT], pace, now)
    return ClassBoard(now, course, found, tuple(views), warm_up, left)


def _view(seat: Seat, role: Role | None, held: tuple[Lease, tuple[Slot, ...]] | None, now: datetime) -> SeatView:
    lease, slots = held or (None, ())
    return SeatView(seat, seat_state(seat, now), role, lease, slots)


def _held(books: Books, course: Course, session: Session) -> Mapping[str, tuple[Lease, tuple[Slot, ...]]]:
    """Give the leases of a session's seats, as those of a course do not overlap."""
    leases = [
        one
        for one in books.leases.open()
        if one.course == course.id == one.server
        and one.granted_at < session.ends_at
        and one.ends_at > session.starts_at
    ]
    if not leases:
        return {}
    wanted = {slot for lease in leases for slot in lease.slots}
    slots = {slot.id: slot for slot in books.gpus.slots() if slot.id in wanted}
    return {lease.user: (lease, tuple(slots[one] for one in lease.slots if one in slots)) for lease in leases}


def warming(session: Session, seats: Sequence[Seat], pace: Pace | None, now: datetime) -> WarmUp:
    """Tell how the warm-up of some seats goes."""
    there = [seat for seat in seats if seat.given_back_at is None]
    wanted = min(session.seats, len(there))
    ready = min(wanted, sum(seat.ready_at is not None for seat in there))
    given = pace or Pace()
    spans = (seat.ready_at - seat.asked_at for seat in there if seat.ready_at and seat.asked_at)
    took = [span.total_seconds() for span in spans if span > timedelta(0)]
    each = timedelta(seconds=median(took)) if len(took) >= _FEWEST else given.takes * SPARE
    phase = session.phase(now)
    if ready >= wanted or phase not in _LIVE | {Phase.PLANNED}:
        return WarmUp(ready, wanted)
    begun = any(seat.asked_at is not None for seat in there)
    begins_at = max(now, begin_at(session, wanted, given)) if not begun else None
    rounds = ceil((wanted - ready) / given.at_once)
    return WarmUp(ready, wanted, begins_at, (begins_at or now) + rounds * (each + given.looks))
