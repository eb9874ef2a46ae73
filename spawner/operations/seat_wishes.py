"""What staff do with the seats of a session: start, restart and stop them, give more time or memory, let guests sit.

Nothing is started or stopped here: a wish stands in the seat until the janitor has carried it out.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from ..ledger import AuditEntry, Books
from ..policy.classes import (
    LONGEST,
    STAFF,
    Course,
    Member,
    Phase,
    Seat,
    SeatState,
    Session,
    Wish,
    gpu_time,
    over_gpu_hours,
    seat_state,
    takes,
)
from ..policy.leases import Lease, LeaseState
from ..policy.leasing import describe
from ..policy.model import Deny
from . import announcements
from .courses import find_in
from .desk import Desk
from .leases import rewrite
from .pools import load_pool
from .seats import claims, find_seat, without_hand
from .sessions import find_session

_LIVE = frozenset({Phase.WARMING, Phase.OPEN})
_AHEAD = _LIVE | {Phase.PLANNED}
_RUNS = frozenset({LeaseState.PENDING, LeaseState.ACTIVE})
_OVER = Deny("session_over", "This session is over, or called off.")
_FEWEST_BYTES = 256 << 20  # below that JupyterLab does not start

RUNNING = frozenset({SeatState.READY, SeatState.WORKING, SeatState.IDLE})
"""States in which a seat's server answers."""


def wish(desk: Desk, session: str, user: str, wanted: Wish, actor: str, why: str = "") -> Seat | Deny:
    """Have a seat started, restarted or stopped, as soon as the janitor comes by; `Wish.NONE` takes a wish back.

    Returns
    -------
    Seat or Deny
        ``session_over``; ``no_session`` where it has not begun to be warmed up; ``seat_runs`` where one is to be
        started that runs, ``seat_not_running`` where one is to be stopped or restarted that was never started or has
        ended; ``no_seat_left`` where all seats are taken.

    Raises
    ------
    UnknownName
        If they have no seat in this session.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        found, seat = find_session(books, session), find_seat(books, session, user)
        if (wrong := _refused(books, found, seat, wanted, now)) is not None:
            return wrong
        if seat.wish is wanted:
            return seat
        changed = replace(seat, wish=wanted, wished_by=actor if wanted else "")
        books.sessions.put_seats([changed])
        action = f"seat.{wanted}" if wanted else "seat.let_be"
        _note(books, now, actor, action, session, {"user": user, "state": seat_state(seat, now)}, {"user": user}, why)
        return changed


def _refused(books: Books, session: Session, seat: Seat, wanted: Wish, now: datetime) -> Deny | None:
    phase = session.phase(now)
    if wanted is Wish.STOP and phase is Phase.ENDING:
        return None  # one whose time was prolonged, or that does not end
    if phase is Phase.PLANNED:
        return Deny("no_session", f"Its seats can be started from {_clock(session.starts_at - session.lead)} on.")
    if phase not in _LIVE:
        return _OVER
    state = seat_state(seat, now)
    under_way = seat.asked_at is not None and seat.ended_at is None
    if wanted is Wish.START:
        if state in RUNNING or state is SeatState.STARTING:
            return Deny("seat_runs", f"{seat.user}'s server runs, or is being started; restart it instead.")
        taken = sum(takes(one) for one in books.sessions.seats(session.id) if one.user != seat.user)
        if taken >= session.seats:
            return Deny("no_seat_left", f"All {session.seats} seats of this session are taken.")
    elif wanted is not Wish.NONE and not under_way:
        return Deny("seat_not_running", f"{seat.user}'s server does not run; start it instead.")
    return None


# --- more time --------------------------------------------------------------------------------------------------------


def give_time(desk: Desk, session: str, user: str, until: datetime, actor: str, why: str = "") -> Seat | Deny:
    """Let a seat go on after its session's end; its lease, where it has one, lasts as long.

    Not into what somebody else has reserved, and not further than the course's GPU-hours reach.

    Returns
    -------
    Seat or Deny
        ``invalid_option`` where that is no more time, or more than a session can take; ``reserved`` says until when it
        could be; ``course_limit``; ``session_over``.

    Raises
    ------
    UnknownName
        If they have no seat in this session.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        found, seat = find_session(books, session), find_seat(books, session, user)
        course = find_in(books, found.course)
        goes_on = seat.until is not None and seat.until > now and found.cancelled_at is None
        if found.phase(now) not in _AHEAD and not goes_on:
            return _OVER
        if (wrong := _too_long(books, course, found, seat, until, now)) is not None:
            return wrong
        lease = _lease_of(books, course, user)
        if (bound := _bound(desk, books, course, found, lease, until, now)) is not None:
            return bound
        changed = replace(seat, until=until)
        books.sessions.put_seats([changed])
        before = {"user": user, "until": _said(seat.until)}
        _note(books, now, actor, "seat.time", session, before, {"user": user, "until": _said(until)}, why)
        # One that an admin ends, or that makes room for a class, ends then all the same.
        if lease is not None and not lease.ending and lease.ends_at < until:
            longer = replace(lease, ends_at=until, warned=None)
            rewrite(books, longer, lease)
            was, will = ({"ends_at": _said(one.ends_at)} for one in (lease, longer))
            books.audit.append(AuditEntry(now, actor, "lease.extend", f"lease {lease.id}", was, will, why))
        return changed


def _too_long(
    books: Books, course: Course, session: Session, seat: Seat, until: datetime, now: datetime
) -> Deny | None:
    present = max(session.ends_at, seat.until or session.ends_at)
    if until <= present or until <= now:
        return Deny("invalid_option", f"This seat lasts until {_clock(present)} already; choose a later end.")
    if until - session.starts_at > LONGEST:
        return Deny("invalid_option", f"A seat lasts {describe(LONGEST)} at most, from its session's start.")
    sessions, prolonged = books.sessions.of_course(course.id), books.sessions.prolonged(course.id)
    used, wanted = gpu_time(sessions, prolonged), session.gpus * (until - present)
    return over_gpu_hours(course, used, wanted)


def _bound(
    desk: Desk,
    books: Books,
    course: Course,
    session: Session,
    lease: Lease | None,
    until: datetime,
    now: datetime,
) -> Deny | None:
    """Refuse a time at which its GPUs are another's; of a seat without a lease, those of all seats."""
    if not course.gpus:
        return None
    reservation = books.reservations.get(session.reservation) if session.reservation else None
    slots = lease.slots if lease is not None else reservation.slots if reservation is not None else ()
    could = load_pool(books, desk.rules, now).free_until(slots, session.ends_at, desk.rules.turnover, course.id)
    if could is None or until <= could:
        return None
    if could <= session.ends_at:
        return Deny("reserved", "Its GPUs are reserved right after this session, so there is no more time for it.")
    return Deny("reserved", f"Its GPUs are reserved afterwards; it could last until {_clock(could)}.")


# --- more memory ------------------------------------------------------------------------------------------------------


def give_memory(
    desk: Desk, session: str, user: str, size: int, actor: str, why: str = "", *, most: int | None = None
) -> Seat | Deny:
    """Let a seat's server have this many bytes of memory, from its next start on.

    Parameters
    ----------
    size
        In all; 0 takes what was given back.
    most
        What who gives it may give; None for any.

    Returns
    -------
    Seat or Deny
        ``invalid_option`` where no server runs with so little; ``over_limit``; ``session_over``.

    Raises
    ------
    UnknownName
        If they have no seat in this session.
    """
    if size and size < _FEWEST_BYTES:
        return Deny("invalid_option", f"A server takes {_FEWEST_BYTES >> 20} MiB of memory at least.")
    if most is not None and size > most:
        return Deny(
            "over_limit", f"A server may have {most / (1 << 30):g} GiB of memory at most; ask an admin for more."
        )
    with desk.ledger.transaction() as books:
        now = desk.clock()
        found, seat = find_session(books, session), find_seat(books, session, user)
        if found.phase(now) not in _AHEAD:
            return _OVER
        if seat.memory == size:
            return seat
        changed = replace(seat, memory=size)
        books.sessions.put_seats([changed])
        before, after = ({"user": user, "memory": one.memory} for one in (seat, changed))
        _note(books, now, actor, "seat.memory", session, before, after, why)
        return changed


# --- guests -----------------------------------------------------------------------------------------------------------


def seats_left(desk: Desk, session: str) -> int:
    """Tell how many seats nobody has a claim to: not a student of the course, nor a guest."""
    with desk.ledger.reading() as books:
        return _left(books, find_session(books, session))


def _left(books: Books, session: Session) -> int:
    return max(0, session.seats - len(claims(books, session)))


def hand_over(desk: Desk, session: str, guest: str, actor: str, why: str = "") -> Seat | Deny:
    """Give a seat to somebody who is not in the course; it is started like the others.

    Returns
    -------
    Seat or Deny
        ``invalid_option`` where nobody can be called so, ``in_course`` for who has a seat as a member,
        ``no_seat_left`` while all are students' or guests', ``session_over``.
    """
    if not guest.strip() or not guest.isprintable() or "/" in guest:
        return Deny("invalid_option", f"No user can be called {guest!r}.")
    with desk.ledger.transaction() as books:
        now, found = desk.clock(), find_session(books, session)
        phase = found.phase(now)
        if phase not in _AHEAD:
            return _OVER
        if books.courses.member(found.course, guest) is not None:
            return Deny("in_course", f"{guest} is in this course, and needs no guest's seat.")
        was = books.sessions.seat(session, guest)
        if was is not None and was.guest and was.given_back_at is None and was.ended_at is None:
            return was
        if not _left(books, found):
            return Deny(
                "no_seat_left",
                f"All {found.seats} seats are students' or guests'. One is left when a student's goes back, or when "
                "the session has more seats.",
            )
        begins = phase in _LIVE
        seat = Seat(
            session, guest, guest=True, wish=Wish.START if begins else Wish.NONE, wished_by=actor if begins else ""
        )
        books.sessions.put_seats([seat])
        _note(books, now, actor, "seat.guest", session, None, {"user": guest}, why)
        return seat


def take_back(desk: Desk, session: str, guest: str, actor: str, why: str = "") -> Seat | Deny:
    """Take a guest's seat back; its server is stopped.

    Returns
    -------
    Seat or Deny
        ``not_a_guest`` for a member of the course: their seat is stopped instead.

    Raises
    ------
    UnknownName
        If they have no seat in this session.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        find_session(books, session)
        seat = find_seat(books, session, guest)
        if not seat.guest:
            return Deny("not_a_guest", f"{guest} is in the course; stop the seat instead.")
        if seat.given_back_at is not None:
            return seat
        runs = seat.asked_at is not None and seat.ended_at is None
        changed = replace(
            without_hand(books, seat, actor, now, why),
            given_back_at=now,
            wish=Wish.STOP if runs else Wish.NONE,
            wished_by=actor if runs else "",
        )
        books.sessions.put_seats([changed])
        _note(books, now, actor, "seat.take_back", session, {"user": guest}, None, why)
        return changed


# --- visits -----------------------------------------------------------------------------------------------------------


def visit(desk: Desk, session: str, user: str, actor: str, why: str = "", *, ask: bool = True) -> Seat | Deny:
    """Note that staff open somebody's server, or their own, and tell its student when they do so first.

    Parameters
    ----------
    ask
        Whether it takes `Member.agreed_at`.

    Returns
    -------
    Seat or Deny
        ``seat_not_running``; ``not_agreed``; ``not_a_student`` for the seat of a guest, of other staff, or of somebody
        who is not in the course any more.

    Raises
    ------
    UnknownName
        If they have no seat in this session.
    """
    with desk.ledger.reading() as books:
        member = books.courses.member(find_session(books, session).course, user)
        seat = find_seat(books, session, user)
        if actor != user and (closed := _closed(seat, member, ask=ask)) is not None:
            return closed
        if seat.ready_at is None or seat.ended_at is not None:
            return Deny("seat_not_running", f"{user}'s server does not run; start it first.")
    if actor != user and announcements.visited(desk, session, user, actor, why) is None:
        with desk.ledger.transaction() as books:
            _note(books, desk.clock(), actor, "seat.visit", session, None, {"user": user}, why)
    return seat


def _closed(seat: Seat, member: Member | None, *, ask: bool) -> Deny | None:
    """Find why a seat is not open to staff; the hub lets them into no other, see `course_rights.Rights.seats`."""
    user = seat.user
    if member is None and seat.guest:
        return Deny("not_a_student", f"{user} is a guest: nobody opens a guest's server.")
    if member is None:
        return Deny("not_a_student", f"{user} is not in the course any more: nobody else opens their server.")
    if member.role in STAFF:
        return Deny("not_a_student", f"{user} is of the course's staff: nobody else opens their server.")
    if ask and member.agreed_at is None:
        return Deny(
            "not_agreed",
            f"{user} has not agreed yet that staff open their server. Ask them to say so on the course's page.",
        )
    return None


def _lease_of(books: Books, course: Course, user: str) -> Lease | None:
    lease = books.leases.of_server(user, course.id)
    return lease if lease is not None and lease.state in _RUNS else None


def _note(
    books: Books, now: datetime, actor: str, action: str, session: str, before: Any, after: Any, why: str
) -> None:
    books.audit.append(AuditEntry(now, actor, action, f"session {session}", before, after, why))


def _said(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
