"""Changes of sessions that are reserved already: moved, made larger or smaller, longer or shorter; all or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from ..ledger import AuditEntry, Books
from ..policy.classes import LONGEST, Late, Phase, Seat, Session, check_session
from ..policy.leases import RESERVED, Lease, LeaseState, Reservation
from ..policy.model import Deny
from ..policy.pool import Pool
from .courses import find_in
from .desk import Desk
from .leases import rewrite
from .offers import make_offers
from .pools import load_pool
from .sessions import NoFit, Shortened, absolve, find_session, make_room, mend_all, reserve_for

Check = Callable[[Session], None]
"""Called with a session as it is, while nobody else can change it; nothing is done if it raises."""

_WHILE_RUNNING = frozenset({"ends_at", "title", "late", "grace"})
_RESERVED_BY = ("starts_at", "ends_at", "seats", "lead")


@dataclass(frozen=True, slots=True)
class Change:
    """What a session is to be like; None for as it is. Values as in `spawner.policy.classes.Session`."""

    starts_at: datetime | None = None
    ends_at: datetime | None = None
    seats: int | None = None
    title: str | None = None
    lead: timedelta | None = None
    grace: timedelta | None = None
    late: Late | None = None
    exam: bool | None = None
    terminals: bool | None = None

    def of(self, session: Session) -> Session:
        """Give a session as it would be."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(session, **values)


@dataclass(frozen=True, slots=True)
class Changed:
    """A session that is changed, or would be.

    Attributes
    ----------
    reservation
        Of its GPUs from now on; None for a class on CPUs.
    shortened
        Leases that make room.
    seats
        Leases of its own seats that end at another time, as they are from now on.
    prolonged
        Seats to which staff gave more time, as they are from now on, where it was moved.
    """

    before: Session
    session: Session
    reservation: Reservation | None = None
    shortened: tuple[Shortened, ...] = ()
    seats: tuple[Lease, ...] = ()
    prolonged: tuple[Seat, ...] = ()


def preview_change(desk: Desk, session: str, change: Change) -> Changed | NoFit | Deny:
    """Tell what `change` would do, without doing it."""
    with desk.ledger.reading() as books:
        return _plan(desk, books, find_session(books, session), change, desk.clock())


def change(
    desk: Desk, session: str, wanted: Change, actor: str, why: str = "", check: Check | None = None
) -> Changed | NoFit | Deny:
    """Change a session that is to come, or the end, title, late policy and grace of one that has begun.

    Its GPUs are reserved anew, at once: it keeps what it has where it cannot get what is wanted.

    Returns
    -------
    Changed, NoFit or Deny
        ``Deny`` codes: ``session_over``, ``session_begun`` (only its end can change now), ``no_capacity`` (it cannot
        last so long; says until when), and those of `spawner.policy.classes.check_session`.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.transaction() as books:
        now, was = desk.clock(), find_session(books, session)
        if check is not None:
            check(was)
        answer = _plan(desk, books, was, wanted, now)
        if not isinstance(answer, Changed) or answer.session == was:
            return answer
        books.sessions.update(answer.session)
        if answer.reservation is not None and not books.reservations.update(answer.reservation):
            books.reservations.insert(answer.reservation)
        make_room(books, answer.shortened, actor, was.course, now)
        held = {lease.id: lease for lease in books.leases.open()}
        for lease in answer.seats:
            rewrite(books, lease, held[lease.id])
        for seat in answer.prolonged:
            _move(books, seat, actor, why, now)
        before, after = shown(was), shown(answer.session)
        same = {name for name in before if before[name] == after[name]}
        before, after = ({name: one[name] for name in one if name not in same} for one in (before, after))
        books.audit.append(AuditEntry(now, actor, "session.change", f"session {was.id}", before, after, why))
        mend_all(desk, books, actor, now)
        absolve(desk, books, now)
        make_offers(desk, books, now)
        return answer


def _move(books: Books, seat: Seat, actor: str, why: str, now: datetime) -> None:
    """Write down that a seat's more time is another."""
    was = books.sessions.seat(seat.session, seat.user)
    if was is None or was.until == seat.until:
        return
    books.sessions.put_seats([replace(was, until=seat.until)])
    before, after = (
        {"user": one.user, "until": None if one.until is None else one.until.isoformat()} for one in (was, seat)
    )
    books.audit.append(AuditEntry(now, actor, "seat.time", f"session {seat.session}", before, after, why))


def extend(
    desk: Desk, session: str, by: timedelta, actor: str, why: str = "", check: Check | None = None
) -> Changed | NoFit | Deny:
    """Let a session last longer, or with a negative time shorter; see `change`."""
    end = find_end(desk, session) + by
    return change(desk, session, Change(ends_at=end), actor, why, check)


def find_end(desk: Desk, session: str) -> datetime:
    with desk.ledger.reading() as books:
        return find_session(books, session).ends_at


def shown(session: Session) -> dict[str, object]:
    """Give what audit tells of a session."""
    return {
        "starts_at": session.starts_at.isoformat(),
        "ends_at": session.ends_at.isoformat(),
        "seats": session.seats,
        "title": session.title,
        "lead_minutes": session.lead // timedelta(minutes=1),
        "grace_minutes": session.grace // timedelta(minutes=1),
        "late": session.late,
        "exam": session.exam,
        "terminals": session.terminals,
    }


# --- what would be ----------------------------------------------------------------------------------------------------


def _plan(desk: Desk, books: Books, was: Session, wanted: Change, now: datetime) -> Changed | NoFit | Deny:
    phase = was.phase(now)
    if phase in {Phase.ENDING, Phase.OVER, Phase.CANCELLED}:
        return Deny("session_over", "This session is over, or called off already.")
    session = wanted.of(was)
    if session == was:
        return Changed(was, was)
    session = replace(session, version=was.version + 1)
    course = find_in(books, was.course)
    begun = phase is not Phase.PLANNED
    if begun and (fixed := _fixed(was, session)):
        return Deny(
            "session_begun",
            f"Its seats are being started or run already, so its {fixed} cannot change any more; its end, title, late "
            "policy and grace can.",
        )
    anew = any(getattr(session, name) != getattr(was, name) for name in _RESERVED_BY)
    if anew and not begun:
        session = replace(session, gpus=course.gpus, reserved_at=now)
    prolonged = books.sessions.prolonged(course.id)
    moved = () if begun else tuple(_along(seat, was, session) for seat in prolonged if seat.session == was.id)
    if not begun:
        prolonged = [*(seat for seat in prolonged if seat.session != was.id), *moved]
    wrong = check_session(course, session, books.sessions.of_course(course.id), now, prolonged)
    if wrong is not None and not (begun and _is_old(wrong, was, session)):
        return wrong
    held = books.reservations.get(was.reservation) if was.reservation else None
    if not anew:
        return Changed(was, session, held)
    if begun:
        return _lengthen(desk, books, was, session, held, now)
    if not course.gpus:
        off = held and replace(held, cancelled=True)
        return Changed(was, replace(session, reservation=""), off, prolonged=moved)
    pool = load_pool(books, desk.rules, now)
    if held is not None:
        pool.put_reservation(replace(held, cancelled=True))
    found = reserve_for(desk, pool, course, session, now, held)
    if isinstance(found, NoFit | Deny):
        return found
    reservation, shortened = found
    latest = pool.free_until(reservation.slots, session.ends_at, desk.rules.turnover, course.id)
    moved = tuple(_lasting(seat, session, latest) for seat in moved)
    return Changed(was, replace(session, reservation=reservation.id), reservation, shortened, prolonged=moved)


def _along(seat: Seat, was: Session, session: Session) -> Seat:
    """Move a seat with its session: it has as much more time after it as it had, if a seat may last so long."""
    if seat.until is None:
        return seat
    moved = replace(seat, until=seat.until + (session.ends_at - was.ends_at))
    return _lasting(moved, session, session.starts_at + LONGEST)


def _lasting(seat: Seat, session: Session, latest: datetime | None) -> Seat:
    """Let a seat last until some time at the most; what is not after its session's end is no more time."""
    if seat.until is None:
        return seat
    until = min(seat.until, latest or seat.until)
    return replace(seat, until=until if until > session.ends_at else None)


def _fixed(was: Session, session: Session) -> str:
    """Name what would change that cannot any more."""
    words = {"starts_at": "start", "seats": "number of seats", "lead": "warm-up", "exam": "exam mode"}
    for name in asdict(Change()):
        if name not in _WHILE_RUNNING and getattr(was, name) != getattr(session, name):
            return words.get(name, name)
    return ""


def _is_old(wrong: Deny, was: Session, session: Session) -> bool:
    """Tell whether a limit was passed before: admins may have lowered it while a session ran, or was near."""
    if wrong.code != "course_limit" or session.ends_at > was.ends_at:
        return False
    return session.seats <= was.seats and session.gpu_time <= was.gpu_time


def _lengthen(
    desk: Desk, books: Books, was: Session, session: Session, held: Reservation | None, now: datetime
) -> Changed | Deny:
    """Let a session end at another time, on the GPUs that it has."""
    pool = load_pool(books, desk.rules, now)
    reservation = None
    if held is not None:
        pool.put_reservation(replace(held, cancelled=True))
        latest = pool.free_until(held.slots, was.ends_at, desk.rules.turnover)
        if latest is not None and session.ends_at > latest:
            return _no_longer(latest, was, pool, held.slots, session, desk)
        reservation = replace(held, ends_at=session.ends_at)
    leases = tuple(_with_end(desk, books, pool, was, session, reservation))
    return Changed(was, session, reservation, (), leases)


def _no_longer(latest: datetime, was: Session, pool: Pool, slots: Sequence[str], session: Session, desk: Desk) -> Deny:
    taken = sum(
        any(
            start < session.ends_at + desk.rules.turnover and end > was.ends_at
            for start, end in pool.reserved(slot, "")
        )
        for slot in slots
    )
    last = f"It can last until {latest:%H:%M} UTC" if latest > was.ends_at else "It cannot last longer"
    gpus = f"{taken} of its GPUs {'is' if taken == 1 else 'are'}"
    return Deny("no_capacity", f"{last}: after that, {gpus} reserved for another class.")


def _with_end(
    desk: Desk, books: Books, pool: Pool, was: Session, session: Session, reservation: Reservation | None
) -> list[Lease]:
    """Give the leases of a session's seats with its new end; what staff have given single ones stays theirs."""
    own = set(reservation.slots) if reservation is not None else set()
    later = {seat.user: seat.until for seat in books.sessions.seats(was.id) if seat.until is not None}
    found = []
    for lease in pool.leases.values():
        if lease.course != was.course or lease.server != was.course or lease.state is LeaseState.RELEASING:
            continue
        if lease.ending and lease.ending != RESERVED:
            continue  # an admin ends it, or its user does
        end = max(session.ends_at, later.get(lease.user, session.ends_at))
        if end > lease.ends_at:
            # What sits beside what is reserved has it as long as nobody else does, or waits.
            beside = not own.issuperset(lease.slots)
            free = pool.free_until(lease.slots, lease.ends_at, desk.rules.turnover, "" if beside else was.course)
            end = lease.ends_at if beside and pool.queue else max(lease.ends_at, min(end, free or end))
        if end != lease.ends_at and (end < lease.ends_at or lease.ends_at >= was.ends_at - desk.rules.shortest):
            found.append(replace(lease, ends_at=end, warned=None))
    return found
