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
    guests
        Who has a guest's seat in a session of now.
    meets
        Whether a session is being warmed up, runs, or ends.
    """

    course: Course
    students: frozenset[str]
    staff: frozenset[str]
    by_group: frozenset[str]
    guests: frozenset[str]
    meets: bool

    @property
    def seats(self) -> frozenset[str]:
        """Give whose servers called like the course are seats that staff may enter."""
        return self.students | self.guests


def all_rights(desk: Desk) -> list[Rights]:
    """Give who is in which course; archived ones too, of which nobody has any rights."""
    with desk.ledger.reading() as books:
        now, meeting, guests = desk.clock(), set(), set()
        for session in books.sessions.live(now):
            if session.phase(now) in _MET:
                meeting.add(session.course)
                seats = books.sessions.seats(session.id)
                guests |= {(session.course, one.user) for one in seats if one.guest and one.given_back_at is None}
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
                    frozenset(user for course_id, user in guests if course_id == course.id),
                    course.id in meeting,
                )
            )
        return found
