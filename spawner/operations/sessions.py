"""Sessions of courses: whether they fit, reserved all or none, cancelled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..errors import UnknownName
from ..ledger import AuditEntry, Books
from ..policy.classes import Course, Late, Phase, Session, check_session
from ..policy.fitting import Fit, fit
from ..policy.leases import RESERVED, Lease, LeaseState, Reservation
from ..policy.model import Deny
from ..policy.pool import Pool
from ..policy.recurrence import Span
from ..policy.reservations import mend, reserve
from .courses import find_in
from .desk import Desk
from .leases import rewrite
from .offers import make_offers
from .pools import load_pool


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for.

    Attributes
    ----------
    spans
        Begins and ends; several make a series.
    seats, title, lead, grace, late, exam, terminals
        As in `spawner.policy.classes.Session`.
    """

    course: str
    spans: Sequence[Span]
    seats: int
    title: str = ""
    lead: timedelta = timedelta(minutes=15)
    grace: timedelta = timedelta(minutes=15)
    late: Late = Late.FIRST
    exam: bool = False
    terminals: bool = True


@dataclass(frozen=True, slots=True)
class Shortened:
    """A lease that makes room.

    Attributes
    ----------
    lease
        As it was.
    """

    lease: Lease
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Planned:
    """Sessions that are reserved, or would be, and who makes room for them."""

    sessions: tuple[Session, ...]
    reservations: tuple[Reservation, ...]
    shortened: tuple[Shortened, ...]


@dataclass(frozen=True, slots=True)
class NoFit:
    """A session for which there are too few seats, with what would do."""

    starts_at: datetime
    fit: Fit

    @property
    def denied(self) -> Deny:
        wanted, seats = self.fit.wanted, self.fit.seats
        return Deny(
            "no_capacity",
            f"{wanted} seat{'' if wanted == 1 else 's'} asked for, and there {'is' if seats == 1 else 'are'} "
            f"{seats or 'none'} at {self.starts_at:%Y-%m-%d %H:%M} UTC.",
        )


Answer = Planned | NoFit | Deny


def preview(desk: Desk, plan: Plan, actor: str) -> Answer:
    """Tell what `book` would do, without doing it."""
    with desk.ledger.reading() as books:
        return _plan(desk, books, plan, actor, desk.clock())


def book(desk: Desk, plan: Plan, actor: str, why: str = "") -> Answer:
    """Reserve sessions, all or none.

    From then on they are certain: leases that would run into them end before, and nobody else gets these GPUs. GPUs
    are reserved from the lead on, so that seats can be started before the bell.

    Returns
    -------
    Planned, NoFit or Deny
        ``Deny`` as `spawner.policy.classes.check_session` says.

    Raises
    ------
    UnknownName
        If there is no such course.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        answer = _plan(desk, books, plan, actor, now)
        if not isinstance(answer, Planned):
            return answer
        books.sessions.insert(answer.sessions)
        for reservation in answer.reservations:
            books.reservations.insert(reservation)
        for session in answer.sessions:
            shown = {
                "starts_at": session.starts_at.isoformat(),
                "ends_at": session.ends_at.isoformat(),
                "seats": session.seats,
            }
            subject = f"session {session.id}"
            books.audit.append(AuditEntry(now, actor, "session.reserve", subject, {"course": plan.course}, shown, why))
        make_room(books, answer.shortened, actor, plan.course, now)
        return answer


def _plan(desk: Desk, books: Books, plan: Plan, actor: str, now: datetime) -> Answer:
    course, pool = find_in(books, plan.course), load_pool(books, desk.rules, now)
    others, prolonged = books.sessions.of_course(course.id), books.sessions.prolonged(course.id)
    series = desk.new_id() if len(plan.spans) > 1 else ""
    made: list[Session] = []
    reservations: list[Reservation] = []
    shortened: dict[str, Shortened] = {}
    for starts_at, ends_at in plan.spans:
        session = Session(
            desk.new_id(),
            course.id,
            starts_at,
            ends_at,
            plan.seats,
            actor,
            now,
            title=plan.title,
            lead=plan.lead,
            grace=plan.grace,
            gpus=course.gpus,
            series=series,
            late=plan.late,
            exam=plan.exam,
            terminals=plan.terminals,
        )
        if (wrong := check_session(course, session, [*others, *made], now, prolonged)) is not None:
            return wrong
        if course.gpus:
            found = reserve_for(desk, pool, course, session, now)
            if isinstance(found, NoFit | Deny):
                return found
            reservation, makes_room = found
            reservations.append(reservation)
            session = replace(session, reservation=reservation.id)
            for one in makes_room:
                known = shortened.get(one.lease.id)
                if known is None or one.ends_at < known.ends_at:
                    shortened[one.lease.id] = one
        made.append(session)
    return Planned(tuple(made), tuple(reservations), tuple(shortened.values()))


def make_room(books: Books, all_shortened: Sequence[Shortened], actor: str, course: str, now: datetime) -> None:
    """Let leases end before the sessions that they would run into."""
    for shortened in all_shortened:
        rewrite(books, _shorter(shortened), shortened.lease)
        before, after = ({"ends_at": end.isoformat()} for end in (shortened.lease.ends_at, shortened.ends_at))
        subject, told = f"lease {shortened.lease.id}", f"reserved for course {course}"
        books.audit.append(AuditEntry(now, actor, "lease.shorten", subject, before, after, told))


def mend_all(desk: Desk, books: Books, actor: str, now: datetime) -> None:
    """Give sessions to come other GPUs for those that were lost, from leases that can still be told to make room."""
    planned = {one.reservation for one in books.sessions.live(now) if one.reservation and one.cancelled_at is None}
    unusable = {slot.id for slot in books.gpus.slots() if not slot.usable}
    hurt = [one for one in books.reservations.upcoming(now) if one.id in planned and not unusable.isdisjoint(one.slots)]
    for reservation in hurt:
        pool = load_pool(books, desk.rules, now)
        found = mend(pool, reservation, desk.rules, now)
        if found is not None:
            books.reservations.update(replace(reservation, slots=found.slots))
            shortened = [Shortened(lease, end) for lease, end in found.shorten]
            make_room(books, shortened, actor, reservation.course, now)


def absolve(desk: Desk, books: Books, now: datetime) -> None:
    """Take back the word that leases make room for a class, where none has their slots afterwards any more.

    They end when they were to by then; their users may extend them as any other.
    """
    reservations = books.reservations.upcoming(now)
    for lease in books.leases.open():
        if lease.ending != RESERVED or lease.state is LeaseState.RELEASING:
            continue
        following = [
            one
            for one in reservations
            if one.course != lease.course
            and not set(one.slots).isdisjoint(lease.slots)
            and one.starts_at <= lease.ends_at + desk.rules.turnover
        ]
        if not following:
            rewrite(books, replace(lease, ending=""), lease)


def _shorter(shortened: Shortened) -> Lease:
    lease, end = shortened.lease, shortened.ends_at
    if lease.state is LeaseState.OFFERED:
        until = lease.offered_until
        return replace(lease, ends_at=end, offered_until=None if until is None else min(until, end))
    # What an admin has begun to end, or a budget, is no less over for that.
    return replace(lease, ends_at=end, ending=lease.ending or RESERVED, warned=None)


def reserve_for(
    desk: Desk, pool: Pool, course: Course, session: Session, now: datetime, was: Reservation | None = None
) -> tuple[Reservation, tuple[Shortened, ...]] | NoFit | Deny:
    """Reserve a session's GPUs in the pool, so that the next of its series finds them taken.

    Parameters
    ----------
    was
        What it had before; the same GPUs go before others, and it keeps its id.
    """
    begins_at, request = session.reserved_from, course.seat("")
    known = was.slots if was is not None else ()
    found = reserve(pool, request, session.seats, begins_at, session.ends_at, desk.rules, now, known)
    if isinstance(found, Deny):
        if found.code != "no_capacity":
            return found
        lead = session.lead
        # Where the lead has begun already, at other times all of it is wanted.
        told = fit(pool, request, session.seats, session.starts_at - lead, session.ends_at, desk.rules, now)
        return NoFit(session.starts_at, replace(told, times=tuple(begin + lead for begin in told.times)))
    reservation = Reservation(was.id if was else desk.new_id(), course.id, found.slots, begins_at, session.ends_at)
    pool.put_reservation(reservation)
    return reservation, tuple(Shortened(lease, end) for lease, end in found.shorten)


def find(desk: Desk, session: str) -> Session:
    """Give a session.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        return find_session(books, session)


def find_session(books: Books, session: str) -> Session:
    found = books.sessions.get(session)
    if found is None:
        raise UnknownName(f"There is no session {session!r}.")
    return found


def cancel(desk: Desk, session: str, actor: str, why: str, *, following: bool = False) -> tuple[Session, ...] | Deny:
    """Call a session off, and give its GPUs back at once.

    Parameters
    ----------
    following
        Whether the later ones of its series are called off too.

    Returns
    -------
    tuple or Deny
        ``session_over`` where it has ended, or was called off.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        first = find_session(books, session)
        if first.phase(now) in {Phase.ENDING, Phase.OVER, Phase.CANCELLED}:
            return Deny("session_over", "This session is over, or called off already.")
        found = [first]
        if following and first.series:
            later = [one for one in books.sessions.of_series(first.series) if one.starts_at > first.starts_at]
            found += [one for one in later if one.cancelled_at is None]
        cancelled = []
        for one in found:
            off = replace(one, cancelled_at=now, version=one.version + 1)
            books.sessions.update(off)
            if one.reservation and (reservation := books.reservations.get(one.reservation)) is not None:
                books.reservations.update(replace(reservation, cancelled=True))
            entry = AuditEntry(now, actor, "session.cancel", f"session {one.id}", {"course": one.course}, None, why)
            books.audit.append(entry)
            cancelled.append(off)
        mend_all(desk, books, actor, now)
        absolve(desk, books, now)
        make_offers(desk, books, now)
        return tuple(cancelled)


def upcoming(desk: Desk, since: datetime, until: datetime) -> list[tuple[Session, Course]]:
    """List the sessions within a time with their courses, by start: the calendar."""
    with desk.ledger.reading() as books:
        courses = {one.id: one for one in books.courses.all(archived=True)}
        return [(one, courses[one.course]) for one in books.sessions.within(since, until)]
