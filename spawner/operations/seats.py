"""Seats of a session: who may sit where, what is known of each, hands, and what goes back to the pool."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..errors import UnknownName
from ..ledger import AuditEntry, Books
from ..policy.classes import STAFF, Course, Phase, Role, Seat, Session, unused
from ..policy.model import Deny
from ..policy.warmup import Pace, due
from .desk import Desk
from .offers import make_offers
from .sessions import find_session

_LIVE = frozenset({Phase.WARMING, Phase.OPEN})


@dataclass(frozen=True, slots=True)
class Placed:
    """A seat that somebody may take now.

    Attributes
    ----------
    role
        Of who sits there; staff may have a seat of their own to show things.
    """

    course: Course
    session: Session
    role: Role


def placed(desk: Desk, user: str, server: str) -> Placed | Deny | None:
    """Tell whether a server is a seat in a course.

    Returns
    -------
    Placed, Deny or None
        None where the server is its user's own: it is not called like a course that they are in. ``no_session`` where
        the course does not meet now.
    """
    if not server:
        return None
    with desk.ledger.reading() as books:
        course, member = books.courses.get(server), books.courses.member(server, user)
        if course is None or member is None:
            return None
        now = desk.clock()
        ahead = [one for one in books.sessions.of_course(course.id) if one.cancelled_at is None and one.ends_at > now]
        if course.archived_at is None and ahead and ahead[0].phase(now) in _LIVE:
            return Placed(course, ahead[0], member.role)
        when = f"The next begins at {ahead[0].starts_at:%Y-%m-%d %H:%M} UTC" if ahead else "None is planned"
        return Deny("no_session", f"{course.title} does not meet now. {when}.")


def board(desk: Desk, session: str) -> tuple[Session, tuple[Seat, ...]]:
    """Give a session and a seat for each of its course's students, and for guests; by name."""
    with desk.ledger.reading() as books:
        found = find_session(books, session)
        known = {seat.user: seat for seat in books.sessions.seats(session)}
        names = {one.user for one in books.courses.members(found.course, [Role.STUDENT])} | known.keys()
        return found, tuple(known.get(name, Seat(session, name)) for name in sorted(names))


def to_start(desk: Desk, pace: Pace) -> list[tuple[Session, str]]:
    """List the seats that are to be started now, of all sessions."""
    found = []
    with desk.ledger.reading() as books:
        now = desk.clock()
        for session in books.sessions.live(now):
            roster = [one.user for one in books.courses.members(session.course, [Role.STUDENT])]
            names = due(session, roster, books.sessions.seats(session.id), pace, now)
            found += [(session, name) for name in names]
    return found


# --- what is seen -----------------------------------------------------------------------------------------------------


def asked(desk: Desk, session: str, user: str) -> Seat:
    """Note that a seat's server was asked for."""
    with desk.ledger.transaction() as books:
        found, now = find_session(books, session), desk.clock()
        if found.warmed_at is None:
            books.sessions.update(replace(found, warmed_at=now))
        was = _seat(books, session, user)
        return _put(books, replace(was, asked_at=now, attempts=was.attempts + 1, problem="", ready_at=None))


def note(desk: Desk, session: str, user: str, **seen: Any) -> Seat:
    """Note what was seen of a seat: `ready_at`, `entered_at`, `ended_at`, `problem`."""
    with desk.ledger.transaction() as books:
        find_session(books, session)
        return _put(books, replace(_seat(books, session, user), **seen))


def raise_hand(desk: Desk, session: str, user: str) -> Seat:
    """Ask for help; who asks again keeps the place.

    Raises
    ------
    UnknownName
        If they are not in the session's course.
    """
    with desk.ledger.transaction() as books:
        found = find_session(books, session)
        seat = books.sessions.seat(session, user)
        if seat is None and books.courses.member(found.course, user) is None:
            raise UnknownName(f"{user} has no seat in this session.")
        seat = seat or Seat(session, user)
        return seat if seat.hand_at is not None else _put(books, replace(seat, hand_at=desk.clock()))


def lower_hand(desk: Desk, session: str, user: str) -> Seat:
    with desk.ledger.transaction() as books:
        find_session(books, session)
        return _put(books, replace(_seat(books, session, user), hand_at=None))


def _seat(books: Books, session: str, user: str) -> Seat:
    return books.sessions.seat(session, user) or Seat(session, user)


def _put(books: Books, seat: Seat) -> Seat:
    books.sessions.put_seats([seat])
    return seat


# --- what goes back ---------------------------------------------------------------------------------------------------


def give_back(desk: Desk, session: str, actor: str = "janitor") -> tuple[str, ...]:
    """Give the seats that nobody came to back to the pool; gives whose they were.

    Their servers are to be stopped by who calls this. The reservation keeps what the others need. A student who comes
    later asks as everybody does, and goes first.
    """
    with desk.ledger.transaction() as books:
        found, now = find_session(books, session), desk.clock()
        known = {seat.user: seat for seat in books.sessions.seats(session)}
        roster = [one.user for one in books.courses.members(found.course, [Role.STUDENT])]
        everybody = [known.get(name, Seat(session, name)) for name in dict.fromkeys([*roster, *known])]
        left = unused(found, everybody, now)
        if not left:
            return ()
        books.sessions.put_seats([replace(seat, given_back_at=now) for seat in left])
        _keep(books, found, len(everybody) - len(left))
        names = tuple(seat.user for seat in left)
        entry = AuditEntry(
            now, actor, "session.give_back", f"session {session}", None, {"users": list(names)}, "unused"
        )
        books.audit.append(entry)
        make_offers(desk, books, now)
        return names


def _keep(books: Books, session: Session, seats: int) -> None:
    """Leave a reservation as many GPUs as some seats need, those that they hold first."""
    reservation = books.reservations.get(session.reservation) if session.reservation else None
    course = books.courses.get(session.course)
    if reservation is None or course is None:
        return
    held = {slot for lease in books.leases.open() if lease.course == course.id for slot in lease.slots}
    ordered = sorted(reservation.slots, key=lambda slot: slot not in held)
    books.reservations.update(replace(reservation, slots=tuple(ordered[: max(seats * course.gpus, 0)])))


def may_see(desk: Desk, course: str, user: str) -> bool:
    """Tell whether somebody is of a course's staff."""
    with desk.ledger.reading() as books:
        member = books.courses.member(course, user)
        return member is not None and member.role in STAFF


def next_for(desk: Desk, user: str) -> list[tuple[Course, Session]]:
    """List the sessions to come, and those that run, of the courses somebody is in; by start."""
    found = []
    with desk.ledger.reading() as books:
        now: datetime = desk.clock()
        for member in books.courses.of_user(user):
            course = books.courses.get(member.course)
            if course is not None and course.archived_at is None:
                sessions = books.sessions.of_course(course.id)
                found += [(course, one) for one in sessions if one.cancelled_at is None and one.ends_at > now]
    return sorted(found, key=lambda pair: (pair[1].starts_at, pair[0].id))
