"""Classes: courses, who is in them, when they meet, and what a seat is doing.

A course is a roster and what its seats are like; a session is one meeting of it, with GPUs reserved from its start to
its end. A seat is a student's server in a session: the named server of the course's id, so that a student's own servers
are nobody's but theirs.
"""

import enum
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .gpus import SlotKind
from .leases import GpuRequest
from .leasing import describe
from .model import AtEnd, Deny

_ID = re.compile(r"[a-z](?:-?[a-z0-9])*")
_LONGEST_ID = 30  # it is the name of a server, of which JupyterHub asks that, and the form above
_TAKEN = frozenset({"new"})
LONGEST = timedelta(hours=24)
"""Of one session; an exam's day is shorter."""
_HOUR = timedelta(hours=1)


class Role(enum.StrEnum):
    """What somebody is in a course."""

    INSTRUCTOR = "instructor"  # may change everything about it
    ASSISTANT = "assistant"  # sees the board, enters and restarts seats, lowers hands
    STUDENT = "student"


STAFF = frozenset({Role.INSTRUCTOR, Role.ASSISTANT})


def above(role: Role, other: Role) -> bool:
    """Tell whether one role may do more than another."""
    order = list(Role)
    return order.index(role) < order.index(other)


class HomesAfter(enum.StrEnum):
    """What becomes of the homes of a course's students when it is archived."""

    KEEP = "keep"
    ARCHIVE = "archive"


class Late(enum.StrEnum):
    """What a student meets who comes when the unused seats have been given back."""

    FIRST = "first"  # in the queue, before everybody else
    QUEUE = "queue"  # like everybody else
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Course:
    """A course.

    Attributes
    ----------
    id
        Short name: of its groups at the hub, and of its students' servers.
    profile
        Slug of the profile of its seats.
    gpus, models, kinds, memory
        Of one seat, as in `spawner.policy.leases.GpuRequest`; no GPUs make a class on CPUs.
    at_end
        What becomes of a seat when its session is over.
    materials
        Where its materials come from: the address of a git repository, or the name of a directory that admins offer;
        empty for none.
    branch, folder
        Which branch of the repository, and the folder in each home that the materials are put into.
    data
        Name of a data set that admins offer, which its seats can read; empty for none.
    collect
        Folder of each home that is collected at the end of a session; empty for none.
    homes
        What becomes of its students' homes when it is archived.
    group
        Group of the hub whose members are its students, besides the roster; empty for none.
    most_seats, most_gpu_hours, most_ahead
        What admins allow it: seats in one session; GPU-hours of all its sessions together, see `gpu_time`; how long
        before its start a session may be reserved. None for as much as there is.
    archived_at
        Since when nothing of it can be changed or begun.
    """

    id: str
    title: str
    profile: str
    created_by: str
    created_at: datetime
    gpus: int = 0
    models: frozenset[str] = frozenset()
    kinds: frozenset[SlotKind] = frozenset()
    memory: int = 0
    at_end: AtEnd = AtEnd.STOP
    materials: str = ""
    branch: str = ""
    folder: str = ""
    data: str = ""
    collect: str = ""
    homes: HomesAfter = HomesAfter.KEEP
    group: str = ""
    most_seats: int | None = None
    most_gpu_hours: float | None = None
    most_ahead: timedelta | None = None
    archived_at: datetime | None = None
    version: int = 1

    @property
    def students_group(self) -> str:
        """Name of its students' group at the hub."""
        return f"course-{self.id}-students"

    @property
    def staff_group(self) -> str:
        return f"course-{self.id}-staff"

    def seat(self, user: str, hours: float | None = None) -> GpuRequest:
        """Give what a seat asks for."""
        return GpuRequest(
            user=user,
            server=self.id,
            profile=self.profile,
            count=self.gpus,
            hours=hours,
            models=self.models,
            kinds=self.kinds,
            memory=self.memory,
            course=self.id,
            at_end=self.at_end,
        )


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a course.

    Attributes
    ----------
    via
        How they came in: ``roster``, ``group``, ``link`` or ``lti``.
    agreed_at
        Since when its staff may enter their seat, in which their home is, and collect from it: they followed a link,
        came by a launch, said yes, or an admin put them in. None for whom an instructor has only written down.
    """

    course: str
    user: str
    role: Role
    added_at: datetime
    added_by: str
    via: str = "roster"
    agreed_at: datetime | None = None


class Phase(enum.StrEnum):
    """Where a session is in its life, by the clock and what was done."""

    PLANNED = "planned"
    WARMING = "warming"  # its seats are being started
    OPEN = "open"
    ENDING = "ending"  # it is over, and some of its seats still stop
    OVER = "over"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Session:
    """One meeting of a course.

    Attributes
    ----------
    seats
        How many are reserved; a roster may be longer.
    lead
        How long before the start its seats begin to be started, at the most.
    grace
        After the start; what nobody uses then goes back to the pool.
    gpus
        Of each seat, as the course had them when they were reserved.
    reservation
        Id of the reservation of its GPUs; empty for a class on CPUs.
    reserved_at
        When these were last reserved anew, since it was changed; None where that was at `created_at`.
    series
        Id that all sessions of a series share; empty for a single one.
    late
        What becomes of students who come after that.
    exam, terminals
        Whether its seats run in exam mode, and whether they have terminals.
    collect_at
        When staff last asked that its seats' work be collected; see `Course.collect`.
    warmed_at, cleared_at
        When the first seat was asked for, and when the last one was gone.
    """

    id: str
    course: str
    starts_at: datetime
    ends_at: datetime
    seats: int
    created_by: str
    created_at: datetime
    title: str = ""
    lead: timedelta = timedelta(minutes=15)
    grace: timedelta = timedelta(minutes=15)
    gpus: int = 0
    reservation: str = ""
    reserved_at: datetime | None = None
    series: str = ""
    late: Late = Late.FIRST
    exam: bool = False
    terminals: bool = True
    collect_at: datetime | None = None
    warmed_at: datetime | None = None
    cleared_at: datetime | None = None
    cancelled_at: datetime | None = None
    version: int = 1

    @property
    def length(self) -> timedelta:
        return self.ends_at - self.starts_at

    def phase(self, now: datetime) -> Phase:
        """Tell where it is in its life."""
        if self.cancelled_at is not None:
            return Phase.CANCELLED
        if now >= self.ends_at:
            # One that never began has nothing to clear.
            return Phase.ENDING if self.warmed_at is not None and self.cleared_at is None else Phase.OVER
        if now >= self.starts_at:
            return Phase.OPEN
        return Phase.WARMING if self.warmed_at is not None or now >= self.starts_at - self.lead else Phase.PLANNED

    @property
    def reserved_from(self) -> datetime:
        """Since when its GPUs are nobody else's: its lead before the start, or since they were reserved if later."""
        return max(self.reserved_at or self.created_at, self.starts_at - self.lead)

    @property
    def gpu_time(self) -> timedelta:
        """What its reservation takes, on all GPUs together; of one that was called off, what it has taken."""
        end = self.ends_at if self.cancelled_at is None else self.cancelled_at
        return self.seats * self.gpus * max(timedelta(0), end - self.reserved_from)

    @property
    def gpu_hours(self) -> float:
        return self.gpu_time / _HOUR

    def more_time(self, seat: "Seat") -> timedelta:
        """Give what a seat takes that was given more time; when a session is called off, none goes on."""
        if seat.until is None or self.cancelled_at is not None:
            return timedelta(0)
        return self.gpus * max(timedelta(0), seat.until - self.ends_at)


# --- what can be ------------------------------------------------------------------------------------------------------


def check_course(course: Course) -> Deny | None:
    """Find what is wrong with a course; ``invalid_option``."""
    if len(course.id) > _LONGEST_ID or course.id in _TAKEN or not _ID.fullmatch(course.id):
        return Deny(
            "invalid_option",
            "A course's short name begins with a small letter, and has small letters, digits and single hyphens, "
            f"{_LONGEST_ID} at most; {course.id!r} cannot be one.",
        )
    if not course.title.strip() or not course.title.isprintable():
        return Deny("invalid_option", "A course has a title, in one line.")
    if not 0 <= course.gpus <= 16:
        return Deny("invalid_option", "A seat has from none to 16 GPUs.")
    return None


def check_session(
    course: Course, session: Session, sessions: Iterable[Session], now: datetime, prolonged: Sequence["Seat"] = ()
) -> Deny | None:
    """Find why a session cannot be, whatever GPUs there are.

    Parameters
    ----------
    sessions
        All of the course, over and called-off ones too; what it was itself does not count.
    prolonged
        The seats of all of them that were given more time.

    Returns
    -------
    Deny or None
        ``invalid_option``, ``course_archived``, ``course_limit`` (names the limit), ``session_overlaps``.
    """
    if course.archived_at is not None:
        return Deny("course_archived", f"{course.title} is archived; bring it back first.")
    if session.seats < 1:
        return Deny("invalid_option", "A session has at least one seat.")
    if session.ends_at <= session.starts_at or session.ends_at <= now:
        return Deny("invalid_option", "A session ends after it starts, and not in the past.")
    if session.length > LONGEST:
        return Deny("invalid_option", f"A session takes {describe(LONGEST)} at most.")
    if session.lead < timedelta(0) or session.grace < timedelta(0):
        return Deny("invalid_option", "Neither the time before the start nor the one after it is negative.")
    others = [other for other in sessions if other.id != session.id]
    for other in others:
        if other.cancelled_at is None and other.starts_at < session.ends_at and session.starts_at < other.ends_at:
            return Deny(
                "session_overlaps",
                f"{course.title} has another session then, from {other.starts_at:%Y-%m-%d %H:%M} to "
                f"{other.ends_at:%H:%M} UTC.",
            )
    return _over_limits(course, session, others, now, prolonged)


def _over_limits(
    course: Course, session: Session, others: Sequence[Session], now: datetime, prolonged: Sequence["Seat"]
) -> Deny | None:
    seats, ahead = course.most_seats, course.most_ahead
    if seats is not None and session.seats > seats:
        return Deny("course_limit", f"{session.seats} seats asked for; this course may have {seats} at a time.")
    if ahead is not None and session.starts_at - now > ahead:
        return Deny("course_limit", f"This course may reserve {describe(ahead)} ahead; this is further away.")
    return over_gpu_hours(course, gpu_time(others, prolonged), gpu_time([session], prolonged))


def over_gpu_hours(course: Course, used: timedelta, wanted: timedelta) -> Deny | None:
    """Find whether a course's GPU-hours are too few for what is wanted; ``course_limit``."""
    hours = course.most_gpu_hours
    if hours is None or not wanted or (used + wanted) / _HOUR <= hours:
        return None
    left = max(timedelta(0), timedelta(hours=hours) - used)
    return Deny(
        "course_limit",
        f"{_hundredths(wanted, math.ceil)} GPU-hours are needed, and {_hundredths(left, math.floor)} of this course's "
        f"{hours:g} are left.",
    )


def gpu_time(sessions: Iterable[Session], prolonged: Iterable["Seat"]) -> timedelta:
    """Give what sessions take of their course's GPU-hours: from when their GPUs are reserved, whoever uses them.

    Parameters
    ----------
    prolonged
        Seats that were given more time; those of other sessions are left out.
    """
    known = {one.id: one for one in sessions}
    whole = sum((one.gpu_time for one in known.values()), timedelta(0))
    return whole + sum((known[one.session].more_time(one) for one in prolonged if one.session in known), timedelta(0))


def _hundredths(time: timedelta, rounded: Callable[[float], int]) -> str:
    return f"{rounded(time / (_HOUR / 100)) / 100:g}"


# --- seats ------------------------------------------------------------------------------------------------------------


class SeatState(enum.StrEnum):
    """What a seat is doing, as the board says it."""

    NOT_STARTED = "not_started"
    STARTING = "starting"
    READY = "ready"  # runs, and its student has not come yet
    WORKING = "working"
    IDLE = "idle"
    STUCK = "stuck"
    GIVEN_BACK = "given_back"  # its student did not come in time, and others may have the GPU
    ENDED = "ended"


class Wish(enum.StrEnum):
    """What staff want done with a seat."""

    NONE = ""
    START = "start"
    RESTART = "restart"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Seat:
    """A student's place in a session: what is known of it by now.

    Attributes
    ----------
    asked_at, attempts
        When its server was last asked for, and how often.
    ready_at
        When its server answered.
    entered_at, active_at
        When its student was first there, and when they or a kernel of theirs were last seen at work.
    hand_at
        Since when its student asks for help.
    given_back_at, ended_at
        See `SeatState`.
    problem
        What is wrong with it, for staff; empty if nothing is.
    guest
        Whether it was handed to somebody who is not in the course.
    until, memory
        More time and memory that staff have given it: an end after the session's, and bytes; None and 0 for none.
    wish, wished_by
        What staff want done with it, until the janitor has done it.
    heard_at
        When its server first said itself who is there; what else is seen of its use is a guess, and no longer counts.
    """

    session: str
    user: str
    asked_at: datetime | None = None
    attempts: int = 0
    ready_at: datetime | None = None
    entered_at: datetime | None = None
    hand_at: datetime | None = None
    given_back_at: datetime | None = None
    ended_at: datetime | None = None
    problem: str = ""
    guest: bool = False
    active_at: datetime | None = None
    until: datetime | None = None
    memory: int = 0
    wish: Wish = Wish.NONE
    wished_by: str = ""
    heard_at: datetime | None = None


SLOW = timedelta(minutes=5)  # a start that takes longer hangs: an image is there by then
QUIET = timedelta(minutes=10)
TRIES = 3
"""Of a seat's start that fails, before it is left to its student and staff."""


def seat_state(seat: Seat, now: datetime) -> SeatState:
    """Tell what a seat is doing."""
    if seat.ended_at is not None:
        return SeatState.ENDED
    if seat.problem:
        return SeatState.STUCK
    if seat.ready_at is not None:
        if seat.entered_at is None:
            return SeatState.READY
        seen = max(seat.entered_at, seat.active_at or seat.entered_at)
        return SeatState.WORKING if now - seen < QUIET else SeatState.IDLE
    if seat.given_back_at is not None and (seat.asked_at is None or seat.asked_at <= seat.given_back_at):
        return SeatState.GIVEN_BACK
    if seat.asked_at is None:
        return SeatState.NOT_STARTED
    return SeatState.STARTING if now - seat.asked_at < SLOW else SeatState.STUCK


def unused(session: Session, seats: Iterable[Seat], now: datetime) -> list[Seat]:
    """List the seats that go back to the pool: nobody has come to them within the grace time.

    They were ready, or are not started any more, for that has failed too often. A seat that is ready late waits as long
    for its student as the others: they could not have come before.
    """
    if session.phase(now) is not Phase.OPEN:
        return []
    return [
        seat
        for seat in seats
        if (seat.ready_at is not None or _is_left(seat))
        and now >= max(seat.ready_at or session.starts_at, session.starts_at) + session.grace
        and seat.entered_at is None
        and seat.given_back_at is None
        and seat.ended_at is None
        and seat.hand_at is None
    ]


def _is_left(seat: Seat) -> bool:
    """Tell whether a seat's start has failed for good, unless staff or its student try once more."""
    return bool(seat.problem) and seat.attempts >= TRIES and seat.wish is Wish.NONE


def gone_back(seat: Seat) -> bool:
    """Tell whether a seat went back to the pool, and neither staff nor its student have had it started since."""
    if seat.given_back_at is None or seat.wish in {Wish.START, Wish.RESTART}:
        return False
    since = seat.ready_at or seat.asked_at
    return since is None or since <= seat.given_back_at


def takes(seat: Seat) -> bool:
    """Tell whether a seat has a server, or is getting one; one whose start has failed leaves its place to others."""
    if seat.wish is Wish.START:
        return True
    if seat.asked_at is None or seat.ended_at is not None or gone_back(seat):
        return False
    return seat.ready_at is not None or not seat.problem


def hands(seats: Iterable[Seat]) -> list[Seat]:
    """List who asks for help, the longest waiting first."""
    return sorted((seat for seat in seats if seat.hand_at is not None), key=lambda seat: (seat.hand_at, seat.user))
