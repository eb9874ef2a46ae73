"""Who has which rights at the hub for being in a course."""

from dataclasses import dataclass, replace

from ..policy.classes import STAFF, Course, Phase, Role
from .desk import Desk

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
    """

    course: Course
    students: frozenset[str]
    staff: frozenset[str]
    by_group: frozenset[str]
    agreed: frozenset[str]
    meets: bool

    @property
    def seats(self) -> frozenset[str]:
        """Give whose servers called like the course are seats that staff may enter."""
        return self.agreed


def all_rights(desk: Desk, *, ask: bool = True) -> list[Rights]:
    """Give who is in which course; archived ones too, of which nobody has any rights.

    Parameters
    ----------
    ask
        Whether it takes `Member.agreed_at` to enter somebody's seat.
    """
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
                )
            )
        return found
