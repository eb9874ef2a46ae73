"""Seats of a session: who may sit where, what is known of each, hands, and what goes back to the pool."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ..errors import UnknownName
from ..ledger import AuditEntry, Books
from ..policy.classes import STAFF, Course, Late, Phase, Role, Seat, Session, Wish, unused
from ..policy.model import AtEnd, Deny
from ..policy.warmup import Pace, due
from .desk import Desk
from .offers import make_offers
from .sessions import find_session

_STARTS = frozenset({Wish.START, Wish.RESTART})
_GOES_ON = timedelta(minutes=10)  # after a session, for the start without GPUs that follows its seats' ends
_AFTER = 3


@dataclass(frozen=True, slots=True)
class Placed:
    """A seat that somebody may take now.

    Attributes
    ----------
    role
        Of who sits there; staff may have a seat of their own to show things. A guest counts as a student.
    seat
        What is known of it.
    first
        Whether it goes before all who wait for GPUs: its student came late, and it was given back.
    reserved
        Whether it is one of those that the session reserved: all but staff's, where students need them all.
    after
        Whether the session is over, and the seat goes on without GPUs as the course has it.
    """

    course: Course
    session: Session
    role: Role
    seat: Seat
    first: bool = False
    reserved: bool = True
    after: bool = False

    @property
    def staff(self) -> bool:
        return self.role in STAFF

    @property
    def ends_at(self) -> datetime:
        """When its time is up: later than the session's end where staff gave it more."""
        return _end(self.session, self.seat)


def placed(desk: Desk, user: str, server: str) -> Placed | Deny | None:
    """Tell whether a server is a seat in a course.

    Returns
    -------
    Placed, Deny or None
        None where the server is its user's own: it is not called like a course that they are in, or a guest of now.
        ``no_session`` where the course does not meet now, ``session_late`` where it takes nobody who came late.
    """
    if not server:
        return None
    with desk.ledger.reading() as books:
        course = books.courses.get(server)
        if course is None:
            return None
        now, member = desk.clock(), books.courses.member(server, user)
        kept = [one for one in books.sessions.of_course(course.id) if one.cancelled_at is None]
        known = {one.id: seat for one in kept if (seat := books.sessions.seat(one.id, user)) is not None}
        if member is None:
            kept = [one for one in kept if one.id in known and _invited(known[one.id])]
            if not any(_end(one, known[one.id]) > now for one in kept):
                return None
        if course.archived_at is None:
            session, after = _session_for(course, kept, known, now)
            if session is not None:
                role = Role.STUDENT if member is None else member.role
                seat = known.get(session.id, Seat(session.id, user))
                return _place(books, Placed(course, session, role, seat, after=after))
        ahead = [] if course.archived_at is not None else [one for one in kept if one.starts_at > now]
        when = f"The next begins at {ahead[0].starts_at:%Y-%m-%d %H:%M} UTC" if ahead else "None is planned"
        return Deny("no_session", f"{course.title} does not meet now. {when}.")


def _invited(seat: Seat) -> bool:
    """Tell whether somebody who is not in the course has this seat; it may have been taken back."""
    return seat.guest and not _given_back(seat)


def _given_back(seat: Seat) -> bool:
    """Tell whether a seat went back to the pool, and nobody of staff has had it started since."""
    if seat.given_back_at is None or seat.wish in _STARTS:
        return False
    return seat.asked_at is None or seat.asked_at < seat.given_back_at


def _session_for(
    course: Course, sessions: Iterable[Session], known: Mapping[str, Seat], now: datetime
) -> tuple[Session | None, bool]:
    """Choose the session that a seat is in now, and tell whether that is over.

    One that runs goes before one in which the seat was given more time, that before one which is being warmed up. Of
    one that is just over a seat is started anew only to go on without its GPUs.
    """
    ranked: list[tuple[int, Session]] = []
    for one in sessions:
        seat = known.get(one.id)
        phase = one.phase(now)
        if phase is Phase.OPEN:
            ranked.append((0, one))
        elif phase is Phase.WARMING:
            ranked.append((2, one))
        elif seat is not None and one.ends_at <= now:
            if _end(one, seat) > now:
                ranked.append((1, one))
            elif course.at_end is AtEnd.CPU and not one.exam and seat.ready_at and now - _end(one, seat) < _GOES_ON:
                ranked.append((3, one))
    if not ranked:
        return None, False
    rank, session = min(ranked, key=lambda pair: pair[0])
    return session, rank == _AFTER


def _place(books: Books, found: Placed) -> Placed | Deny:
    """Say on what terms somebody may take a seat."""
    session, seat = found.session, found.seat
    if found.staff:
        students = {one.user for one in books.courses.members(found.course.id, [Role.STUDENT])}
        students |= {one.user for one in books.sessions.seats(session.id) if one.guest and _invited(one)}
        return replace(found, reserved=session.seats > len(students))
    if found.after or not _given_back(seat):
        return found
    if session.late is Late.REFUSE:
        return Deny(
            "session_late",
            f"{found.course.title} began at {session.starts_at:%H:%M} UTC, and takes nobody who comes so late. "
            "Ask its staff, who can start your seat.",
        )
    return replace(found, first=session.late is Late.FIRST)


def _end(session: Session, seat: Seat) -> datetime:
    return session.ends_at if seat.until is None else max(session.ends_at, seat.until)


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


def lower_hand(desk: Desk, session: str, user: str, actor: str) -> Seat:
    """Lower somebody's hand; does nothing where it is not raised.

    Raises
    ------
    UnknownName
        If they have no seat in this session.
    """
    with desk.ledger.transaction() as books:
        found = find_session(books, session)
        seat = books.sessions.seat(session, user)
        if seat is None and books.courses.member(found.course, user) is None:
            raise UnknownName(f"{user} has no seat in this session.")
        return _put(books, without_hand(books, seat or Seat(session, user), actor, desk.clock()))


def without_hand(books: Books, seat: Seat, actor: str, now: datetime, why: str = "") -> Seat:
    """Give a seat whose hand is down, which is noted if it was up: a report tells of it, the seat itself forgets."""
    if seat.hand_at is None:
        return seat
    before, after = {"user": seat.user, "raised_at": seat.hand_at.isoformat()}, {"user": seat.user}
    books.audit.append(AuditEntry(now, actor, "seat.hand", f"session {seat.session}", before, after, why))
    return replace(seat, hand_at=None)


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
        gone = {seat.user for seat in left}
        # Of who came late after all there is nothing to be kept: what they have they got as everybody does.
        kept = [one for one in everybody if one.user not in gone and not (one.given_back_at or one.ended_at)]
        # Nor for whom a longer roster has no seat.
        back = len(left) + sum(one.given_back_at is not None for one in everybody)
        _keep(books, found, min(len(kept), found.seats - back))
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
