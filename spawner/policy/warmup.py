"""When the seats of a class are started, so that the last is ready at the bell and nobody else is starved.

A start takes `Pace.takes` from its request until the server answers, and the machines can do some at once. Berth takes
only a part of these for classes; the rest is everybody's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from .classes import SLOW, TRIES, Phase, Seat, Session

SPARE = 1.5
"""How much longer than the last starts took is planned for: a start of a real class is slower than one alone."""
RETRY = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast seats are started.

    Attributes
    ----------
    takes
        From the request of a seat until it is ready, as the last ones took.
    at_once
        Starts under way together.
    looks
        From one look at the seats to the next.
    """

    takes: timedelta = timedelta(seconds=20)
    at_once: int = 8
    looks: timedelta = timedelta(seconds=5)


def begin_at(session: Session, seats: int, pace: Pace) -> datetime:
    """Tell when the first of so many seats has to be started, for the last to be ready at the start.

    With room for a start of the last batch that fails and is tried again. Never earlier than the session's lead, which
    is when its GPUs are surely free.
    """
    one = pace.takes * SPARE + pace.looks
    takes = ceil(seats / pace.at_once) * one + RETRY + one
    return max(session.starts_at - session.lead, session.starts_at - takes)


def due(session: Session, roster: Iterable[str], seats: Iterable[Seat], pace: Pace, now: datetime) -> list[str]:
    """List those of a roster, students and guests, whose seats are to be started now, in its order.

    Not more than the session's seats in all, those given back counted, nor than `Pace.at_once` under way; a start that
    hangs holds up no other. A seat whose start failed is tried again after a while, behind those that were not tried
    yet, `TRIES` times in all; whoever comes by themselves then starts their seat by hand, as does whose seat was given
    back.
    """
    phase = session.phase(now)
    if phase not in {Phase.WARMING, Phase.OPEN}:
        return []
    known = {seat.user: seat for seat in seats}
    names = list(roster)
    there = [seat for seat in known.values() if seat.ended_at is None and seat.given_back_at is None]
    given_back = sum(seat.given_back_at is not None for seat in known.values())
    taken = sum(seat.asked_at is not None and not _failed(seat) for seat in there)
    starting = sum(under_way(seat, now) for seat in there)
    waiting = {seat.user: seat for seat in there}
    fresh = [name for name in names if name not in known or (name in waiting and waiting[name].attempts == 0)]
    again = [
        name
        for name in names
        if name in waiting and _failed(waiting[name]) and waiting[name].attempts < TRIES and _rested(waiting[name], now)
    ]
    if phase is Phase.WARMING and now < begin_at(session, min(session.seats, len(names)), pace):
        return []
    room = max(0, min(session.seats - taken - given_back, pace.at_once - starting))
    return [*fresh, *again][:room]


def under_way(seat: Seat, now: datetime) -> bool:
    """Tell whether a seat is being started, and that does not hang."""
    if seat.asked_at is None or seat.ready_at is not None or _failed(seat):
        return False
    return now - seat.asked_at < SLOW


def yielding(at_once: int, others: int) -> int:
    """Tell how many starts of seats may be under way while others' servers start too.

    Each of those takes the place of a seat; a quarter stays the classes', or a crowd of people would keep a class from
    ever beginning.
    """
    return max(at_once - others, ceil(at_once / 4), 1)


def _failed(seat: Seat) -> bool:
    return bool(seat.problem) and seat.ready_at is None


def _rested(seat: Seat, now: datetime) -> bool:
    return seat.asked_at is None or now - seat.asked_at >= RETRY
