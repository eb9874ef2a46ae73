"""Courses: who sits in them, when they meet, what their students do there."""

import random
from dataclasses import replace
from datetime import timedelta

from ..policy.gpus import SlotKind
from .demands import habits
from .people import COURSES, WHOLE
from .scenario import Demand, Scenario, Session

_GIB = 1 << 30
_PEOPLE_PER_COURSE = 250
_LENGTH = timedelta(hours=2)
_LATE = 0.1
_PRESENT = 0.85  # of those enrolled
_KINDS: tuple[tuple[frozenset[SlotKind], int], ...] = ((frozenset(), 4), (frozenset(), 4), (WHOLE, 16))


def draw(scenario: Scenario, students: list[str], chance: random.Random) -> tuple[list[Session], list[Demand]]:
    """Draw the sessions of all courses, and what their students ask for."""
    sessions: list[Session] = []
    demands: list[Demand] = []
    for number in range(max(1, scenario.users // _PEOPLE_PER_COURSE)):
        most = max(1, min(len(students), scenario.gpus // 16 + 1, 50))
        enrolled = chance.sample(students, chance.randint(max(1, most // 2), most))
        kinds, gib = chance.choice(_KINDS)
        for meeting, (day, hour) in enumerate(sorted((chance.randrange(5), chance.randrange(8, 17)) for _ in range(2))):
            for week in range(-(-scenario.days // 7)):
                starts_at = scenario.starts_at + timedelta(days=7 * week + day, hours=hour)
                session = Session(
                    id=f"c{number:02d}-{week}-{meeting}",
                    course=f"c{number:02d}",
                    booked_at=max(scenario.starts_at, starts_at - _ahead(chance)),
                    starts_at=starts_at,
                    ends_at=starts_at + _LENGTH,
                    seats=len(enrolled),
                    memory=gib * _GIB,
                    kinds=kinds,
                )
                if session.ends_at <= scenario.ends_at:
                    sessions.append(session)
                    demands.extend(_student(session, name, chance) for name in enrolled if chance.random() < _PRESENT)
    return sessions, demands


def _ahead(chance: random.Random) -> timedelta:
    """Tell how long before a session its teacher reserves: days, or at the last moment."""
    if chance.random() < _LATE:
        return timedelta(minutes=chance.randrange(15, 120))
    return timedelta(hours=chance.randrange(24, 144))


def _student(session: Session, name: str, chance: random.Random) -> Demand:
    # Some come early, most within minutes.
    at = session.starts_at + timedelta(seconds=round(chance.gauss(60, 150)))
    over = session.ends_at - timedelta(seconds=chance.randrange(0, 900))
    demand = Demand(0, at, name, "students", COURSES, 1, session.memory, over - at)
    return replace(
        habits(demand, over - at, chance),
        kinds=session.kinds,
        hours=2.0,
        course=session.course,
        waits=over - at,
        takes_after=timedelta(0),
    )
