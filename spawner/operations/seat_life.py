"""Seats as the janitor looks after them: started in time, seen, prolonged, their staff's wishes done, ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from statistics import median
from typing import Any

from ..ledger import AuditEntry, Books
from ..policy.classes import STAFF, Course, Phase, Role, Seat, Session, Wish
from ..policy.handouts import Kind
from ..policy.leases import RESERVED, Lease, LeaseState, TicketState
from ..policy.warmup import Pace, due, under_way
from .desk import Desk
from .leases import rewrite
from .pools import load_pool
from .repairs import JANITOR
from .seats import without_hand
from .sessions import find_session

_FEWEST, _LAST_STARTS = 3, 24  # starts of which one learns how long they take, and how many count
_SHORTEST, _LONGEST = timedelta(seconds=2), timedelta(minutes=10)
_BUSY = "The hub is busy; it is tried again."
_RUNS = frozenset({LeaseState.PENDING, LeaseState.ACTIVE})
_MEETS = frozenset({Phase.WARMING, Phase.OPEN})


@dataclass(frozen=True)
class Meeting:
    """A session whose seats are to be looked after, as the ledger knows it at `now`.

    Attributes
    ----------
    students, staff
        Of its course, by name.
    seats
        Those that something is known of, by user; guests' too.
    waits
        Whether another session of the course runs: its seats are the same servers.
    held
        Whose servers are seats of an earlier session still.
    """

    course: Course
    session: Session
    students: tuple[str, ...]
    staff: tuple[str, ...]
    seats: Mapping[str, Seat]
    now: datetime
    waits: bool = False
    held: frozenset[str] = frozenset()

    @cached_property
    def phase(self) -> Phase:
        return self.session.phase(self.now)

    @property
    def over(self) -> bool:
        """Whether it has ended or was called off."""
        return self.session.cancelled_at is not None or self.now >= self.session.ends_at

    @property
    def everybody(self) -> tuple[str, ...]:
        """Give who may have a seat: students and guests."""
        return tuple(dict.fromkeys([*self.students, *self.seats]))

    @property
    def roster(self) -> tuple[str, ...]:
        """Give whose seats are started by themselves: not those whose servers are an earlier session's still."""
        guests = [seat.user for seat in self.seats.values() if seat.guest and not seat.wish]
        return tuple(name for name in dict.fromkeys([*self.students, *guests]) if name not in self.held)

    def seat(self, user: str) -> Seat:
        return self.seats.get(user) or Seat(self.session.id, user)

    def end(self, user: str) -> datetime:
        """Tell when somebody's seat ends: at its session's end, or later where staff gave it more time."""
        if self.session.cancelled_at is not None:
            return self.session.cancelled_at
        until = self.seat(user).until
        return self.session.ends_at if until is None else max(self.session.ends_at, until)


def meetings(desk: Desk) -> list[Meeting]:
    """List the sessions that are being warmed up, that run, or that are over and not cleared yet; by start."""
    with desk.ledger.reading() as books:
        now = desk.clock()
        return _meetings(books, now)


def _meetings(books: Books, now: datetime) -> list[Meeting]:
    found: list[Meeting] = []
    for session in books.sessions.live(now):
        course = books.courses.get(session.course)
        if course is None or session.phase(now) is Phase.PLANNED:
            continue
        members = books.courses.members(course.id)
        before = [one for one in found if one.course.id == course.id]
        sitting = (seat for one in before for seat in one.seats.values() if seat.asked_at and not seat.ended_at)
        found.append(
            Meeting(
                course,
                session,
                tuple(one.user for one in members if one.role is Role.STUDENT),
                tuple(one.user for one in members if one.role in STAFF),
                {seat.user: seat for seat in books.sessions.seats(session.id)},
                now,
                waits=not all(one.over for one in before),
                held=frozenset(seat.user for seat in sitting),
            )
        )
    return found


# --- started in time --------------------------------------------------------------------------------------------------


def pace(desk: Desk, at_once: int, looks: timedelta) -> Pace:
    """Tell how fast seats are started here, as the last ones were."""
    with desk.ledger.reading() as books:
        seconds = [took.total_seconds() for took in books.sessions.last_starts(_LAST_STARTS)]
    found = Pace(at_once=at_once, looks=looks)
    if len(seconds) < _FEWEST:
        return found
    return replace(found, takes=min(max(timedelta(seconds=median(seconds)), _SHORTEST), _LONGEST))


def to_start(desk: Desk, at: Pace) -> list[tuple[Meeting, str]]:
    """List the seats that are to be started now, of all sessions together not more than `Pace.at_once`."""
    with desk.ledger.reading() as books:
        return _to_start(books, at, desk.clock())


def take_next(desk: Desk, at: Pace) -> tuple[Meeting, str] | None:
    """Give the seat that is to be started next, and note that it is asked for; None if none is to be started now."""
    if not to_start(desk, at):
        return None  # without a write
    with desk.ledger.transaction() as books:
        now = desk.clock()
        found = _to_start(books, at, now)
        if not found:
            return None
        meeting, user = found[0]
        _asked(books, meeting.session, meeting.seat(user), now)
        return meeting, user


def _to_start(books: Books, at: Pace, now: datetime) -> list[tuple[Meeting, str]]:
    found: list[tuple[Meeting, str]] = []
    all_now = _meetings(books, now)
    counts = [sum(under_way(seat, now) for seat in one.seats.values()) for one in all_now]
    left = at.at_once - sum(counts)
    for one, count in zip(all_now, counts, strict=True):
        if one.over or one.waits or left <= 0:
            continue
        # `due` counts itself what is under way in this session.
        names = due(one.session, one.roster, one.seats.values(), replace(at, at_once=left + count), now)
        found += [(one, name) for name in names]
        left -= len(names)
    return found


def starting(seat: Seat) -> bool:
    """Tell whether a seat's server was asked for, and nothing was heard of it yet."""
    return seat.asked_at is not None and seat.ready_at is None and not seat.problem and seat.ended_at is None


# --- what is seen -----------------------------------------------------------------------------------------------------

Change = Callable[[Seat], Seat | None]
"""Gives a seat as it is to be; None where nothing is to be changed any more."""
Test = Callable[[Seat], bool]


def change(desk: Desk, session: str, user: str, how: Change) -> bool:
    """Change what is known of a seat, as it is by now; False if nothing was to be changed."""
    with desk.ledger.transaction() as books:
        find_session(books, session)
        was = books.sessions.seat(session, user) or Seat(session, user)
        now = how(was)
        if now is None or now == was:
            return False
        books.sessions.put_seats([now])
        return True


def asked(desk: Desk, session: str, user: str, at: datetime | None = None) -> None:
    """Note that a seat's server was asked for; where it is seen, at a time, only if that start is not known yet."""
    with desk.ledger.transaction() as books:
        found, now = find_session(books, session), desk.clock()
        seat = books.sessions.seat(session, user) or Seat(session, user)
        since = seat.ready_at or seat.asked_at
        if at is not None and (starting(seat) or (since is not None and at <= since)):
            return
        _asked(books, found, seat, min(at or now, now))


def _asked(books: Books, session: Session, seat: Seat, at: datetime) -> None:
    _begun(books, session, at)
    books.sessions.put_seats(
        [replace(seat, asked_at=at, attempts=seat.attempts + 1, problem="", ready_at=None, ended_at=None)]
    )


def begun(desk: Desk, session: str) -> bool:
    """Note that a server of a session runs, so that it is cleared at its end; False if that was known."""
    with desk.ledger.transaction() as books:
        return _begun(books, find_session(books, session), desk.clock())


def _begun(books: Books, session: Session, at: datetime) -> bool:
    if session.warmed_at is not None:
        return False
    books.sessions.update(replace(session, warmed_at=at))
    return True


def ready(desk: Desk, session: str, user: str) -> timedelta | None:
    """Note that a seat's server answers; gives how long its start took, None if that is known already."""
    took: list[timedelta] = []

    def noted(seat: Seat) -> Seat | None:
        if seat.ended_at is not None or (seat.ready_at is not None and not seat.problem):
            return None
        now = desk.clock()
        if seat.ready_at is None:
            took.append(now - (seat.asked_at or now))
        return replace(seat, asked_at=seat.asked_at or now, ready_at=seat.ready_at or now, problem="")

    change(desk, session, user, noted)
    return took[0] if took else None


def failed(desk: Desk, session: str, user: str, problem: str, still: Test) -> bool:
    """Note why a seat does not run, if it is `still` as it was."""
    return change(desk, session, user, lambda seat: replace(seat, problem=problem) if still(seat) else None)


def active(desk: Desk, session: str, user: str, at: datetime) -> bool:
    """Note when a seat was in use, unless it is known to have been later."""

    def noted(seat: Seat) -> Seat | None:
        return replace(seat, active_at=at) if seat.active_at is None or seat.active_at < at else None

    return change(desk, session, user, noted)


def entered(desk: Desk, session: str, user: str, at: datetime) -> bool:
    """Note when somebody came to their seat, unless that is known."""
    return change(desk, session, user, lambda seat: replace(seat, entered_at=at) if seat.entered_at is None else None)


def not_asked(desk: Desk, session: str, user: str) -> bool:
    """Note that a seat's server was not asked for after all: the hub was busy, or did not live to start it."""

    def forgotten(seat: Seat) -> Seat | None:
        if not starting(seat):
            return None
        attempts = max(0, seat.attempts - 1)
        # One whose starts have failed before is tried again for what it says; without a word it would be taken for one
        # that was stopped.
        return replace(seat, asked_at=None, attempts=attempts, problem=seat.problem or (_BUSY if attempts else ""))

    return change(desk, session, user, forgotten)


def stopped(desk: Desk, session: str, user: str) -> bool:
    """Note that a seat's server was stopped, on purpose: it is not started again without a wish."""

    def noted(seat: Seat) -> Seat:
        return replace(seat, asked_at=None, ready_at=None, problem="", attempts=max(1, seat.attempts))

    return change(desk, session, user, noted)


def was_visited(desk: Desk, session: str, user: str) -> bool:
    """Tell whether staff have opened somebody's seat: then its use is no sign of its student."""
    with desk.ledger.reading() as books:
        return any(one.kind is Kind.VISIT for one in books.handouts.announcements(session, user))


# --- wishes -----------------------------------------------------------------------------------------------------------


def half_done(desk: Desk, session: str, user: str) -> bool:
    """Note that a seat that is to be restarted is stopped, so that what is left is to start it."""

    def noted(seat: Seat) -> Seat | None:
        if seat.wish is not Wish.RESTART:
            return None
        return replace(seat, wish=Wish.START, asked_at=None, ready_at=None, problem="")

    return change(desk, session, user, noted)


def wish_done(desk: Desk, session: str, user: str, wish: Wish, problem: str = "") -> bool:
    """Note that a wish was carried out, or could not be; False if it was taken back or another came meanwhile."""
    with desk.ledger.transaction() as books:
        find_session(books, session)
        seat = books.sessions.seat(session, user)
        if seat is None or seat.wish is not wish:
            return False
        done = replace(seat, wish=Wish.NONE, wished_by="", problem=problem or seat.problem)
        if wish is Wish.STOP:
            done = replace(done, asked_at=None, ready_at=None, problem=problem, attempts=max(1, seat.attempts))
        books.sessions.put_seats([done])
        after: dict[str, Any] = {"user": user, "wish": wish}
        if problem:
            after["problem"] = problem
        why = f"asked for by {seat.wished_by}" if seat.wished_by else ""
        books.audit.append(AuditEntry(desk.clock(), JANITOR, "seat.wish_done", f"session {session}", None, after, why))
        return True


def short_leases(desk: Desk) -> list[tuple[Meeting, Lease, datetime]]:
    """List the leases that end before the time that staff gave their seats, each with the end that both can have."""
    with desk.ledger.reading() as books:
        found = []
        for meeting in _meetings(books, desk.clock()):
            for seat in meeting.seats.values():
                short = _short(desk, books, meeting.session, seat, meeting.now)
                if short is not None:
                    found.append((meeting, *short))
        return found


def even_out(desk: Desk, session: str, user: str) -> bool:
    """Let a seat's lease last as long as staff gave it, or the seat no longer than its lease can; False if they agree.

    What was reserved since stays certain, and a lease that is being ended is: that is a later word than that of staff.
    """
    with desk.ledger.transaction() as books:
        found, now = find_session(books, session), desk.clock()
        seat = books.sessions.seat(session, user)
        short = _short(desk, books, found, seat, now) if seat is not None else None
        if seat is None or seat.until is None or short is None:
            return False
        lease, end = short
        if end > lease.ends_at:
            rewrite(books, replace(lease, ends_at=end, warned=None), lease)
            before, after = ({"ends_at": one.isoformat()} for one in (lease.ends_at, end))
            why = "its seat has more time"
            books.audit.append(AuditEntry(now, JANITOR, "lease.extend", f"lease {lease.id}", before, after, why))
        if found.ends_at < end < seat.until:
            books.sessions.put_seats([replace(seat, until=end)])
            before, after = ({"user": user, "until": one.isoformat()} for one in (seat.until, end))
            why = f"its lease ends then: {lease.ending or RESERVED}"
            books.audit.append(AuditEntry(now, JANITOR, "seat.time", f"session {session}", before, after, why))
        return True


def _short(desk: Desk, books: Books, session: Session, seat: Seat, now: datetime) -> tuple[Lease, datetime] | None:
    """Give a seat's lease that ends too soon, and when both can end; None where nothing is to be changed."""
    if seat.until is None or seat.ended_at is not None or session.cancelled_at is not None:
        return None
    lease = books.leases.of_server(seat.user, session.course)
    if lease is None or lease.state not in _RUNS or not now < lease.ends_at < seat.until:
        return None
    end = _can_last(desk, books, lease, seat.until, now)
    # Until its session ends a seat may get another lease, for which it keeps its time.
    return (lease, end) if end > min(lease.ends_at, session.ends_at) else None


def _can_last(desk: Desk, books: Books, lease: Lease, until: datetime, now: datetime) -> datetime:
    """Tell how much of a time a lease can have: not what is reserved for others, and no more if it is being ended."""
    if lease.ending:
        return lease.ends_at
    pool = load_pool(books, desk.rules, now)
    free = pool.free_until(lease.slots, lease.ends_at, desk.rules.turnover, lease.course)
    return max(lease.ends_at, min(until, free or until))


# --- the end ----------------------------------------------------------------------------------------------------------


def ended(desk: Desk, session: str, user: str) -> bool:
    """Note that somebody's seat is over: its server has stopped, or is no seat any more."""
    with desk.ledger.transaction() as books:
        find_session(books, session)
        seat = books.sessions.seat(session, user) or Seat(session, user)
        if seat.ended_at is not None:
            return False
        books.sessions.put_seats([_over(books, seat, desk.clock())])
        return True


def _over(books: Books, seat: Seat, now: datetime) -> Seat:
    lowered = without_hand(books, seat, JANITOR, now, "the seat has ended")
    return replace(lowered, ended_at=now, wish=Wish.NONE, wished_by="")


def cleared(desk: Desk, session: str) -> bool:
    """Note that nothing of a session runs any more; False if that was noted already."""
    with desk.ledger.transaction() as books:
        found, now = find_session(books, session), desk.clock()
        if found.cleared_at is not None or found.warmed_at is None:
            return False
        seats = [seat for seat in books.sessions.seats(session) if seat.ended_at is None]
        books.sessions.put_seats([_over(books, seat, now) for seat in seats])
        meets = any(one.phase(now) in _MEETS for one in books.sessions.of_course(found.course))
        called_off = found.cancelled_at is not None and not meets
        for ticket in books.tickets.waiting():
            wish = ticket.request
            # Nobody starts a seat that is over; who asked for one shall not stand in the queue for ever.
            if wish.server == found.course and wish.ends_at is not None and (called_off or wish.ends_at <= now):
                books.tickets.update(replace(ticket, state=TicketState.CANCELLED), ticket)
        books.sessions.update(replace(found, cleared_at=now))
        return True


def collected(desk: Desk, session: str, since: datetime) -> frozenset[str]:
    """Tell whose work was collected at some time or later."""
    with desk.ledger.reading() as books:
        return frozenset(one.user for one in books.handouts.collected(session) if one.taken_at >= since)
