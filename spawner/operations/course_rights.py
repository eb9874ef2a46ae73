"""Who has which rights at the hub for being in a course."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..ledger import AuditEntry
from ..policy.classes import STAFF, Course, Phase, Role
from .desk import Desk
from .repairs import JANITOR
from .seat_life import Meeting, meetings

_MET = frozenset({Phase.WARMING, Phase.OPEN, Phase.ENDING})


@dataclass(frozen=True)
class Rights:
    """A course and its people.

    Attributes
    ----------
    by_group
        Students who are in it because they are in a group of the hub.
    agreed
        Students whose seats staff may enter. A guest's, whose home it has and who was never asked, they may not.
    meets
        Whether a session is being warmed up, runs, or ends.
    sitting
        Who has a seat in a session now: from its warm-up until its end, or later where staff gave more time.
    shares
        Whose seats who was let into by now, as far as they were not kept out of them since: owner and user.
    """

    course: Course
    students: frozenset[str]
    staff: frozenset[str]
    by_group: frozenset[str]
    agreed: frozenset[str]
    meets: bool
    sitting: frozenset[str] = frozenset()
    shares: frozenset[tuple[str, str]] = frozenset()

    @property
    def seats(self) -> frozenset[str]:
        """Give whose seats staff may enter now. What goes on after a session is its student's own."""
        return self.agreed & self.sitting


def all_rights(desk: Desk, *, ask: bool = True) -> list[Rights]:
    """Give who is in which course; archived ones too, of which nobody has any rights.

    Parameters
    ----------
    ask
        Whether it takes `Member.agreed_at` to enter somebody's seat.
    """
    live = meetings(desk)
    with desk.ledger.reading() as books:
        now = desk.clock()
        meeting = {one.course for one in books.sessions.live(now) if one.phase(now) in _MET}
        found = []
        for course in books.courses.all(archived=True):
            members = books.courses.members(course.id)
            students = frozenset(one.user for one in members if one.role is Role.STUDENT)
            found.append(
                Rights(
                    # What else changes of a course changes nobody's rights.
                    replace(course, version=0),
                    students,
                    frozenset(one.user for one in members if one.role in STAFF),
                    frozenset(one.user for one in members if one.via == "group" and one.role is Role.STUDENT),
                    frozenset(one.user for one in members if one.role is Role.STUDENT and (one.agreed_at or not ask)),
                    course.id in meeting,
                    _sitting(one for one in live if one.course.id == course.id),
                    frozenset(books.courses.shares(course.id)),
                )
            )
        return found


def _sitting(live: Iterable[Meeting]) -> frozenset[str]:
    return frozenset(
        user for one in live for user in one.everybody if one.now < one.end(user) and one.seat(user).ended_at is None
    )


# --- what the hub was asked for ---------------------------------------------------------------------------------------


def give_share(desk: Desk, course: str, owner: str, user: str) -> None:
    """Note that somebody is let into a seat, before the hub is asked: so nothing that was given is forgotten."""
    with desk.ledger.transaction() as books:
        books.courses.put_share(course, owner, user, desk.clock())


def forget_share(desk: Desk, course: str, owner: str, user: str) -> bool:
    """Note that somebody cannot enter a seat any more, as the hub says; False if nothing was noted."""
    with desk.ledger.transaction() as books:
        return books.courses.remove_share(course, owner, user)


def stopped(desk: Desk, course: str, user: str) -> None:
    """Note that the server was stopped with which somebody could read what only a course's staff may."""
    with desk.ledger.transaction() as books:
        entry = AuditEntry(
            desk.clock(), JANITOR, "course.stop", f"course {course}", {"user": user}, None, "not of its staff any more"
        )
        books.audit.append(entry)
