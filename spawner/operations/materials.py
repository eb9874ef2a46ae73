"""How a course's materials are: which there are, since when, what was wrong, and when they are looked at again.

That is kept in a small file in the course's directory, beside the repository that it is about.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from ..course_directory import Places
from ..errors import CourseFilesFailed
from ..policy.classes import Course, Session
from .desk import Desk

BEFORE = timedelta(minutes=10)
"""How long before the first seat may be started materials begin to be kept fresh."""
_OFTEN = timedelta(minutes=3)
_AFTER_FAILURE = timedelta(minutes=1)
_FAILS_ON = timedelta(minutes=10)
_SELDOM = timedelta(hours=6)
_FAILING = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class MaterialsState:
    """What is known of a course's materials.

    Attributes
    ----------
    source, wanted
        From where, and from which branch, they were last to come; as `spawner.policy.classes.Course` had it.
    tried_at
        When they were last looked at.
    fresh_at
        When that went well last; None for never.
    commit, branch
        What seats get; empty if there is nothing yet.
    problem
        Why the last look came to nothing, in a sentence; empty if it went well. Seats get what there was before.
    failures
        How many looks in a row have come to nothing for that reason.
    left_out
        Of a directory: what was not taken, and why.
    fingerprint
        Of a directory, which tells whether anything in it was changed.
    """

    source: str
    wanted: str
    tried_at: datetime
    fresh_at: datetime | None = None
    commit: str = ""
    branch: str = ""
    problem: str = ""
    failures: int = 0
    left_out: tuple[str, ...] = ()
    fingerprint: str = ""


def state_of(places: Places, course: str) -> MaterialsState | None:
    """Read what is known of a course's materials; None if they were never looked at, or it cannot be read.

    Raises
    ------
    UnknownName
        If no course can be called so.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(places.course(course).materials_note.read_text(encoding="utf-8"))
        fresh_at = said["fresh_at"]
        return MaterialsState(
            **{
                **said,
                "tried_at": datetime.fromisoformat(said["tried_at"]),
                "fresh_at": datetime.fromisoformat(fresh_at) if fresh_at else None,
                "left_out": tuple(said["left_out"]),
            }
        )
    return None


def keep_state(places: Places, course: str, state: MaterialsState) -> None:
    """Write what is known, whole or not at all.

    Raises
    ------
    CourseFilesFailed
    """
    directory = places.course(course)
    said = asdict(state) | {
        "tried_at": state.tried_at.isoformat(),
        "fresh_at": state.fresh_at.isoformat() if state.fresh_at else None,
    }
    try:
        with directory.new_file() as (file, part):
            file.write(json.dumps(said, indent=1).encode())
            file.flush()
            part.replace(directory.materials_note)
    except OSError as error:
        raise CourseFilesFailed(f"{directory.materials_note} cannot be written: {error.strerror}.") from error


def due(desk: Desk, places: Places) -> list[tuple[Course, MaterialsState | None]]:
    """List the courses whose materials are to be looked at now, with what is known of them.

    Those that meet soon, or now, every few minutes; those whose source was changed at once.
    """
    found = []
    with desk.ledger.reading() as books:
        now = desk.clock()
        for course in books.courses.all():
            if course.materials:
                state = state_of(places, course.id)
                if state is None or _is_due(course, state, books.sessions.of_course(course.id), now):
                    found.append((course, state))
    return found


def _is_due(course: Course, state: MaterialsState, sessions: list[Session], now: datetime) -> bool:
    if (state.source, state.wanted) != (course.materials, course.branch) or now < state.tried_at:
        return True
    meets = any(one.starts_at - one.lead - BEFORE <= now < one.ends_at for one in sessions if one.cancelled_at is None)
    if not state.problem:
        return now >= state.tried_at + (_OFTEN if meets else _SELDOM)
    # What fails for the same reason again is not tried as often any more: each try may fetch as much as there may be.
    first, most = (_AFTER_FAILURE, _FAILS_ON) if meets else (_FAILING, _SELDOM)
    return now >= state.tried_at + min(first * (1 << min(max(state.failures - 1, 0), 10)), most)
