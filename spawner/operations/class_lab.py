"""A seat's own server: what it is told of its class, and what it says of its student."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..ledger import Books
from ..policy.classes import STAFF, Course, Phase, Role, Seat, Session, hands
from ..policy.handouts import Announcement, Delivery, Kind, Push
from ..policy.model import Deny
from . import announcements, handouts, seats
from .desk import Desk

MOST_MESSAGES = 100
"""That a seat is told; of more, the last."""
# Staff see minutes; a report of each server every few seconds shall not be a write each.
_FINE = timedelta(seconds=60)
_NOW = frozenset({Phase.WARMING, Phase.OPEN, Phase.ENDING})
_NO_SEAT = Deny("no_session", "This server is no seat of a class that meets now.")


@dataclass(frozen=True, slots=True)
class Lesson:
    """A session as one seat of it sees it.

    Attributes
    ----------
    role
        Of who sits there; a guest counts as a student.
    ends_at
        When this seat ends: later than the session if staff have given it more time.
    hand_at, place
        Since when they ask for help, and how many hands there are up to theirs; None and 0 where they do not.
    messages
        For this seat, as they were sent.
    pushes
        Files that are to be put into this home now.
    files
        What became of those that were sent since the seats of this session began to start, with each its push.
    withheld
        How many files wait until they agree that staff put something into their home.
    """

    course: Course
    session: Session
    role: Role
    ends_at: datetime
    hand_at: datetime | None
    place: int
    messages: tuple[Announcement, ...]
    pushes: tuple[Push, ...]
    files: tuple[tuple[Push, Delivery], ...]
    withheld: int = 0

    @property
    def staff(self) -> bool:
        return self.role in STAFF


def lesson(desk: Desk, user: str, server: str, *, ask: bool = True) -> Lesson | None:
    """Give the session in which a server is a seat now; None where it is none.

    Parameters
    ----------
    ask
        Whether it takes `Member.agreed_at` to put something into somebody's home.
    """
    if not server:
        return None
    with desk.ledger.reading() as books:
        found = _find(books, user, server, desk.clock())
        if found is None:
            return None
        course, session, role, seat = found
        pushes = books.handouts.pushes(course.id)
        member = books.courses.member(course.id, user) if pushes else None
        taken = {one.push: one for one in books.handouts.deliveries([push.id for push in pushes], user)}
        since = session.starts_at - session.lead
        found_now = Lesson(
            course,
            session,
            role,
            _end(session, seat),
            seat.hand_at,
            _place(books, session, user) if seat.hand_at is not None else 0,
            tuple(books.handouts.announcements(session.id, user)[-MOST_MESSAGES:]),
            (),
            tuple((push, taken[push.id]) for push in pushes if push.id in taken and taken[push.id].at >= since),
        )
    if not pushes:
        return found_now
    sent = handouts.pushes_for(desk, course.id, user, session.id, ask=ask)
    asked = ask and member is not None and member.role is Role.STUDENT and member.agreed_at is None
    if sent or not asked:
        return replace(found_now, pushes=sent)
    return replace(found_now, withheld=len(handouts.pushes_for(desk, course.id, user, session.id, ask=False)))


# --- what it says -----------------------------------------------------------------------------------------------------


def seen(
    desk: Desk, user: str, server: str, *, present: bool, active_at: datetime | None, visitors: Collection[str] = ()
) -> None:
    """Take a server's word of who is there; does nothing where it is no seat.

    Parameters
    ----------
    present
        Whether its owner has a page open.
    active_at
        When they, or a kernel, last did something. Work where no visitor was is its owner's, from wherever they do it.
    visitors
        Names of others who are there, or came since the last word: each is told to the owner, and noted in the audit,
        once.
    """
    if not server:
        return
    with desk.ledger.reading() as books:
        now = desk.clock()
        found = _find(books, user, server, now)
        if found is None:
            return
        _, session, role, seat = found
        active_at = None if active_at is None or _only_its_start(seat, active_at) else min(active_at, now)
        if active_at is not None and seat.entered_at is None and not visitors:
            sent = books.handouts.announcements(session.id, user)
            present = present or not any(one.kind is Kind.VISIT for one in sent)
    # Staff's own seats are for showing things; nobody waits for them, and no board has a card for them.
    if role is Role.STUDENT and _newer(seat, present, active_at, now) is not None:
        with desk.ledger.transaction() as books:
            changed = _newer(books.sessions.seat(session.id, user) or seat, present, active_at, now)
            if changed is not None:
                books.sessions.put_seats([changed])
    for visitor in visitors:
        announcements.visited(desk, session.id, user, visitor, announcements.BY_ITS_WORD)


def set_hand(desk: Desk, user: str, server: str, raised: bool, by: str = "") -> Seat | Deny:
    """Raise or lower the hand of who sits at a server.

    Parameters
    ----------
    by
        Who asks for it, by the server's word; empty for who sits there.

    Returns
    -------
    Seat or Deny
        ``no_session`` where the server is no seat now, ``staff_seat`` where it is one of staff, ``not_your_hand`` where
        it is somebody else's: the course's staff may lower it, and nobody raises it.
    """
    by = by or user
    with desk.ledger.reading() as books:
        found = _find(books, user, server, desk.clock())
        member = None if found is None else books.courses.member(found[0].id, by)
    if found is None:
        return _NO_SEAT
    _, session, role, _ = found
    if role in STAFF:
        return Deny("staff_seat", "Staff help those who raise a hand; their own seats have none.")
    if by != user and (raised or member is None or member.role not in STAFF):
        return Deny("not_your_hand", f"This is the hand of {user}. Staff of the course may lower it, nobody raises it.")
    if raised:
        return seats.raise_hand(desk, session.id, user)
    return seats.lower_hand(desk, session.id, user, by, "" if by == user else announcements.BY_ITS_WORD)


def taken(desk: Desk, user: str, server: str, deliveries: Sequence[Delivery]) -> Deny | None:
    """Take a server's word of what became of pushed files in its home; what was not sent to it is passed over.

    Returns
    -------
    Deny or None
        ``no_session`` where the server is no seat now.
    """
    with desk.ledger.reading() as books:
        found = _find(books, user, server, desk.clock())
        if found is None:
            return _NO_SEAT
        known = {push.id for push in books.handouts.pushes(found[0].id)}
    handouts.delivered(desk, user, [one for one in deliveries if one.push in known])
    return None


# --- which seat -------------------------------------------------------------------------------------------------------


def _find(books: Books, user: str, server: str, now: datetime) -> tuple[Course, Session, Role, Seat] | None:
    """Find the session of which a server is a seat, as `spawner.operations.seats.placed` would start it.

    One that is over counts while its seat still stops.
    """
    course = books.courses.get(server) if server else None
    if course is None:
        return None
    member = books.courses.member(course.id, user)
    ranked = []
    for session in books.sessions.of_course(course.id):
        if session.phase(now) not in _NOW:
            continue  # of a term's sessions, seats are looked up in the one or two that count
        known = books.sessions.seat(session.id, user)
        seat = known or Seat(session.id, user)
        if (member is not None or seat.guest) and (rank := _rank(session, seat, now)) is not None:
            ranked.append((rank, session, seat))
    if not ranked:
        return None
    _, session, seat = min(ranked, key=lambda one: one[0])
    return course, session, member.role if member is not None else Role.STUDENT, seat


def _rank(session: Session, seat: Seat, now: datetime) -> int | None:
    """Tell which of several sessions a seat is in, the lowest; None if it is not in this one."""
    phase = session.phase(now)
    if phase is Phase.OPEN:
        return 0
    if phase is Phase.WARMING:
        return 2
    if seat.ended_at is not None:
        return None
    return 1 if _end(session, seat) > now else 3  # staff gave it more time, or it is being stopped


def _end(session: Session, seat: Seat) -> datetime:
    return session.ends_at if seat.until is None else max(session.ends_at, seat.until)


def _place(books: Books, session: Session, user: str) -> int:
    names = [seat.user for seat in hands(books.sessions.seats(session.id))]
    return names.index(user) + 1


def _only_its_start(seat: Seat, active_at: datetime) -> bool:
    """Tell whether a server means its own start: Jupyter's kernel manager counts it as its kernels' first activity."""
    return seat.entered_at is None and (seat.ready_at is None or active_at <= seat.ready_at)


def _newer(seat: Seat, present: bool, active_at: datetime | None, now: datetime) -> Seat | None:
    """Give a seat with what is new of it; None if that is nothing, or not worth a write."""
    if seat.ended_at is not None:
        return None
    changed = replace(seat, heard_at=seat.heard_at or now)
    if present and seat.entered_at is None:
        changed = replace(changed, entered_at=now)
    if active_at is not None and (seat.active_at is None or active_at - seat.active_at >= _FINE):
        changed = replace(changed, active_at=active_at)
    return None if changed == seat else changed
