"""Seats of a session: who may sit where, what is known of each, hands, and what goes back to the pool."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ..errors import UnknownName
from ..ledger import AuditEntry, Books
from ..policy.classes import STAFF, Course, Late, Phase, Role, Seat, Session, gone_back, takes, unused
from ..policy.leases import Lease, LeaseState, Reservation
from ..policy.model import AtEnd, Deny
from ..policy.reservations import shrink
from .desk import Desk
from .offers import make_offers
from .pools import load_pool
from .sessions import absolve, find_session, mend_all

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
        Whether it goes before all who wait for GPUs: seats have gone back, and it may be one of those.
    reserved
        Whether it is one of those that the session reserved: all but staff's, where students and others of staff need
        them all.
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
        ``no_session`` where the course does not meet now, ``session_late`` where it takes nobody who came late,
        ``no_seat_left`` where others have all its seats.
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
                return _place(books, Placed(course, session, role, seat, after=after), now)
        ahead = [] if course.archived_at is not None else [one for one in kept if one.starts_at > now]
        when = f"The next begins at {ahead[0].starts_at:%Y-%m-%d %H:%M} UTC" if ahead else "None is planned"
        return Deny("no_session", f"{course.title} does not meet now. {when}.")


def _invited(seat: Seat) -> bool:
    """Tell whether somebody who is not in the course has this seat; it may have been taken back."""
    return seat.guest and not gone_back(seat)


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


def _place(books: Books, found: Placed, now: datetime) -> Placed | Deny:
    """Say on what terms somebody may take a seat."""
    session, seat = found.session, found.seat
    if found.staff:
        return replace(found, reserved=_is_spare(books, found))
    if found.after:
        return found
    # Who comes late is noted as being started only when it was allowed: by staff, or by the session as it was then.
    if session.late is Late.REFUSE and gone_back(seat):
        return Deny(
            "session_late",
            f"{found.course.title} began at {session.starts_at:%H:%M} UTC, and takes nobody who comes so late. "
            "Ask its staff, who can start your seat.",
        )
    late = seat.given_back_at is not None or _reserved(books, found.course, session) < session.seats
    first = replace(found, first=late and session.late is Late.FIRST)
    return none_left(first, books, now) or first


def none_left(found: Placed, books: Books, now: datetime) -> Deny | None:
    """Find whether others have all seats of a session by now; ``no_seat_left``.

    What is known of the seats lags behind: leases and places in the queue count as well.
    """
    session, user = found.session, found.seat.user
    if found.staff:
        if not found.reserved or _is_spare(books, found):
            return None
        return Deny(
            "no_seat_left",
            "Somebody else has just taken the last seat that is no student's. Start yours once more: your own quota "
            "counts then.",
        )
    if found.after or len(_taken(books, session, now) - {user}) < session.seats:
        return None
    all_seats = f"All {session.seats} seats" if session.seats > 1 else "The only seat"
    is_taken = f"{all_seats} of this session {'are' if session.seats > 1 else 'is'} taken."
    return Deny("no_seat_left", f"{is_taken} Ask its staff, or come again when one has gone back.")


def _taken(books: Books, session: Session, now: datetime) -> set[str]:
    """Name who has a server in a session, or is getting one."""
    known = {seat.user: seat for seat in books.sessions.seats(session.id)}
    names = {seat.user for seat in known.values() if takes(seat)}
    for lease in _leases(books, session.course):
        seat = known.get(lease.user)
        back = None if seat is None else seat.given_back_at
        # What was given back runs until it is stopped.
        if lease.ends_at > now and (back is None or lease.granted_at > back):
            names.add(lease.user)
    waiting = (ticket.request for ticket in books.tickets.waiting())
    return names | {one.user for one in waiting if one.course == session.course and one.ends_at and one.ends_at > now}


def _leases(books: Books, course: str) -> list[Lease]:
    """List the leases of a course's seats."""
    found = [lease for lease in books.leases.open() if lease.course == course == lease.server]
    return [lease for lease in found if lease.state is not LeaseState.RELEASING]


def _reserved(books: Books, course: Course, session: Session) -> int:
    """Tell how many seats a session has reserved still."""
    reservation = books.reservations.get(session.reservation) if session.reservation else None
    return session.seats if reservation is None or not course.gpus else len(reservation.slots) // course.gpus


def _is_spare(books: Books, found: Placed) -> bool:
    """Tell whether one of staff can have a reserved seat: no student, guest or other of staff has a claim to it."""
    others = claims(books, found.session, late=False) - {found.seat.user}
    return _reserved(books, found.course, found.session) > len(others)


def claims(books: Books, session: Session, *, late: bool = True) -> set[str]:
    """Name who has a claim to a seat: students and guests, unless theirs has gone back, and staff who sit on one.

    Parameters
    ----------
    late
        Whether to count who came when their seat had gone back, and got one as everybody does.
    """
    seats, staff = _people(books, session)
    names = {
        seat.user
        for seat in seats
        if seat.ended_at is None and (seat.given_back_at is None or (late and not gone_back(seat)))
    }
    return names | {lease.user for lease in _leases(books, session.course) if lease.user in staff}


def _people(books: Books, session: Session) -> tuple[list[Seat], set[str]]:
    """Give a seat for each student and guest of a session, and the names of its course's staff."""
    known = {seat.user: seat for seat in books.sessions.seats(session.id)}
    members = books.courses.members(session.course)
    staff = {one.user for one in members if one.role in STAFF}
    students = [one.user for one in members if one.role is Role.STUDENT]
    names = dict.fromkeys([*students, *(name for name in known if name not in staff)])
    return [known.get(name) or Seat(session.id, name) for name in names], staff


def _end(session: Session, seat: Seat) -> datetime:
    return session.ends_at if seat.until is None else max(session.ends_at, seat.until)


def board(desk: Desk, session: str) -> tuple[Session, tuple[Seat, ...]]:
    """Give a session and a seat for each of its course's students, and for guests; by name."""
    with desk.ledger.reading() as books:
        found = find_session(books, session)
        known = {seat.user: seat for seat in books.sessions.seats(session)}
        names = {one.user for one in books.courses.members(found.course, [Role.STUDENT])} | known.keys()
        return found, tuple(known.get(name, Seat(session, name)) for name in sorted(names))


# --- what is seen -----------------------------------------------------------------------------------------------------


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
        seat = find_seat(books, session, user)
        return seat if seat.hand_at is not None else _put(books, replace(seat, hand_at=desk.clock()))


def lower_hand(desk: Desk, session: str, user: str, actor: str, why: str = "") -> Seat:
    """Lower somebody's hand; does nothing where it is not raised.

    Raises
    ------
    UnknownName
        If they have no seat in this session.
    """
    with desk.ledger.transaction() as books:
        return _put(books, without_hand(books, find_seat(books, session, user), actor, desk.clock(), why))


def without_hand(books: Books, seat: Seat, actor: str, now: datetime, why: str = "") -> Seat:
    """Give a seat whose hand is down, which is noted if it was up: a report tells of it, the seat itself forgets."""
    if seat.hand_at is None:
        return seat
    before, after = {"user": seat.user, "raised_at": seat.hand_at.isoformat()}, {"user": seat.user}
    books.audit.append(AuditEntry(now, actor, "seat.hand", f"session {seat.session}", before, after, why))
    return replace(seat, hand_at=None)


def find_seat(books: Books, session: str, user: str) -> Seat:
    """Give a seat of somebody who is in the course, or a guest.

    Raises
    ------
    UnknownName
    """
    found, seat = find_session(books, session), books.sessions.seat(session, user)
    if seat is None and books.courses.member(found.course, user) is None:
        raise UnknownName(f"{user} has no seat in this session.")
    return seat or Seat(session, user)


def _seat(books: Books, session: str, user: str) -> Seat:
    return books.sessions.seat(session, user) or Seat(session, user)


def _put(books: Books, seat: Seat) -> Seat:
    books.sessions.put_seats([seat])
    return seat


# --- what goes back ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Back:
    """What goes back to the pool.

    Attributes
    ----------
    seats
        Those to which nobody came.
    gpus
        How many are reserved no more.
    reservation
        As it is then; None where it stays as it is.
    """

    seats: tuple[Seat, ...]
    gpus: int = 0
    reservation: Reservation | None = None


def goes_back(desk: Desk, session: str) -> Back | None:
    """Tell what `give_back` would give back now; None for nothing."""
    with desk.ledger.reading() as books:
        return _back(desk, books, find_session(books, session), desk.clock())


def give_back(desk: Desk, session: str, actor: str = "janitor") -> tuple[str, ...]:
    """Give the seats that nobody came to back to the pool, and GPUs that no seat needs; gives whose seats they were.

    Their servers are to be stopped by who calls this. The reservation keeps what the others need: the GPUs that they
    have. A student who comes later asks as everybody does, and goes first.
    """
    with desk.ledger.transaction() as books:
        found, now = find_session(books, session), desk.clock()
        back = _back(desk, books, found, now)
        if back is None:
            return ()
        books.sessions.put_seats([replace(seat, given_back_at=now) for seat in back.seats])
        names = tuple(seat.user for seat in back.seats)
        given = {"users": list(names), "gpus": back.gpus}
        books.audit.append(AuditEntry(now, actor, "session.give_back", f"session {session}", None, given, "unused"))
        if back.reservation is not None:
            books.reservations.update(back.reservation)
            mend_all(desk, books, actor, now)
            absolve(desk, books, now)
        make_offers(desk, books, now)
        return names


def _back(desk: Desk, books: Books, session: Session, now: datetime) -> Back | None:
    if session.phase(now) is not Phase.OPEN or now < session.starts_at + session.grace:
        return None
    everybody, staff = _people(books, session)
    left = unused(session, everybody, now)
    gone = {seat.user for seat in left}
    # Of who came late after all there is nothing to be kept: what they have they got as everybody does.
    kept = [one for one in everybody if one.user not in gone and not (one.given_back_at or one.ended_at)]
    # Nor for whom a longer roster has no seat: nobody is started in place of those that went back.
    back = len(left) + sum(one.given_back_at is not None for one in everybody)
    needed = min(len(kept), max(sum(map(takes, kept)), session.seats - back))
    stay = {seat.user for seat in kept} | staff
    held = [one for one in books.leases.open() if one.course == session.course == one.server and one.user in stay]
    needed += sum(lease.user in staff for lease in held)
    smaller = _smaller(desk, books, session, needed, {slot for lease in held for slot in lease.slots}, now)
    if smaller is None:
        return Back(tuple(left)) if left else None
    was, will = smaller
    return Back(tuple(left), len(was.slots) - len(will.slots), will)


def _smaller(
    desk: Desk, books: Books, session: Session, seats: int, held: set[str], now: datetime
) -> tuple[Reservation, Reservation] | None:
    """Give a session's reservation as it is, and with as many GPUs as some seats need; None where it has no more."""
    reservation = books.reservations.get(session.reservation) if session.reservation else None
    course = books.courses.get(session.course)
    if reservation is None or course is None or not course.gpus or len(reservation.slots) <= seats * course.gpus:
        return None
    return reservation, shrink(load_pool(books, desk.rules, now), reservation, seats, course.gpus, held)


def next_for(desk: Desk, user: str) -> list[tuple[Course, Session, Role]]:
    """List the sessions to come, and those that run, of somebody's courses, with what they are there; by start."""
    found = []
    with desk.ledger.reading() as books:
        now: datetime = desk.clock()
        for member in books.courses.of_user(user):
            course = books.courses.get(member.course)
            if course is not None and course.archived_at is None:
                sessions = books.sessions.of_course(course.id)
                ahead = [one for one in sessions if one.cancelled_at is None and one.ends_at > now]
                found += [(course, one, member.role) for one in ahead]
    return sorted(found, key=lambda one: (one[1].starts_at, one[0].id))
