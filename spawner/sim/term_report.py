"""Figures of a term: what became of reservations, and what they cost everybody else."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from .checks import Checks, check
from .disciplines import FAIR_SHARE
from .engine import Simulation
from .fleet import weights
from .lectures import LATE, Lectures, Meeting
from .log import Hold, Log
from .report import Waits, seats_of, waits_of
from .scenario import Workload
from .term import Term, draw

_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
ALL = "all"


@dataclass(frozen=True, slots=True)
class Classes:
    """What became of the courses.

    Attributes
    ----------
    sessions, seats
        Reserved.
    moved
        Sessions at another time than the teacher wanted first.
    refused
        Sessions for which there was no room at any time that the teacher tried; nobody was promised these.
    kept
        Of the seats, those whose GPU was free when the reservation began, which is the lead before the bell.
    ready
        Of the seats, those whose server had answered at the bell.
    slowest
        From the bell until the last seat of all was ready, in seconds; 0 where none was late.
    attended, on_time
        Students who came, and those of them who did before unused seats went back.
    waited
        How long those who came on time waited for their server, in seconds: the longest.
    """

    sessions: int
    seats: int
    moved: int
    refused: int
    kept: int
    ready: int
    slowest: int
    attended: int
    on_time: int
    waited: int


@dataclass(frozen=True, slots=True)
class Hours:
    """GPU-hours: a share counts as its part of a GPU.

    Attributes
    ----------
    reserved
        From the lead before each bell until the end.
    seated
        Held by students' seats.
    returned
        Went back, because nobody had come: from then until the session's end.
    used_again
        Of these, what others held, or students who came late.
    """

    reserved: float
    seated: float
    returned: float
    used_again: float


@dataclass(frozen=True, slots=True)
class TermResult:
    """A term with courses, beside the same without.

    Attributes
    ----------
    late
        Waits of students who came when their seat had gone back.
    without, beside
        Waits of ordinary users, by group and for all: without courses, and beside them.
    shortened
        Ordinary leases that got an earlier end, of so many.
    checks
        What must never happen, of both runs together.
    """

    seed: int
    classes: Classes
    hours: Hours
    late: Waits
    without: Mapping[str, Waits]
    beside: Mapping[str, Waits]
    shortened: int
    leases: int
    checks: Checks

    @property
    def errors(self) -> dict[str, int]:
        """Count what must not happen, by name; a reserved seat whose GPU was not free is an error too."""
        lost = {"reservations_broken": self.classes.seats - self.classes.kept}
        return {name: count for name, count in (asdict(self.checks) | lost).items() if count}

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"errors": self.errors}


def run_term(term: Term) -> TermResult:
    """Simulate a term twice, without its courses and with them; the same term always gives the same result."""
    workload, labs = draw(term)
    alone = Simulation(workload, FAIR_SHARE).run()
    lectures = Lectures(workload, term, labs)
    log = lectures.run()
    seats = seats_of(log)
    over = [meeting for meeting in lectures.meetings if meeting.session.ends_at <= workload.scenario.ends_at]
    return TermResult(
        seed=term.seed,
        classes=_classes(over, lectures.refused, seats.kept),
        hours=_hours(workload, over, log),
        late=waits_of([each for each in log.asked if each.demand.row == LATE]),
        without=_ordinary(alone),
        beside=_ordinary(log),
        shortened=log.shortened,
        leases=sum(not hold.demand.course for hold in log.holds),
        checks=_both(*(check(workload, each, FAIR_SHARE.rules.window) for each in (alone, log))),
    )


def _both(one: Checks, other: Checks) -> Checks:
    found = asdict(other)
    return Checks(**{name: count + found[name] for name, count in asdict(one).items()})


def _ordinary(log: Log) -> dict[str, Waits]:
    asked = [each for each in log.asked if not each.demand.course]
    rows = {each.demand.row for each in asked}
    found = {row: waits_of([each for each in asked if each.demand.row == row]) for row in sorted(rows)}
    return {ALL: waits_of(asked)} | found


def _classes(meetings: list[Meeting], refused: int, kept: int) -> Classes:
    last, waited, ready, attended, on_time = 0, 0, 0, 0, 0
    for meeting in meetings:
        session = meeting.session
        gone = session.starts_at + session.grace
        attended += len(meeting.came)
        for student in meeting.lab.students:
            warm = meeting.warm.get(student, session.ends_at)
            came = meeting.came.get(student)
            ready += warm <= session.starts_at
            if came is not None and came < gone:
                on_time += 1
                waited = max(waited, (warm - came) // _SECOND)
                last = max(last, (warm - session.starts_at) // _SECOND)
    return Classes(
        sessions=len(meetings),
        seats=sum(len(meeting.slots) for meeting in meetings),
        moved=sum(meeting.moved for meeting in meetings),
        refused=refused,
        kept=kept,
        ready=ready,
        slowest=last,
        attended=attended,
        on_time=on_time,
        waited=waited,
    )


def _hours(workload: Workload, meetings: list[Meeting], log: Log) -> Hours:
    part = weights(workload.slots)
    by_slot: dict[str, list[Hold]] = {}
    for hold in log.holds:
        for slot in hold.slots:
            by_slot.setdefault(slot, []).append(hold)
    reserved = returned = again = 0.0
    for meeting in meetings:
        session = meeting.session
        begin = session.starts_at - session.lead
        reserved += sum(part[slot] for slot in meeting.slots) * ((session.ends_at - begin) / _HOUR)
        for slot, since in meeting.returned.items():
            returned += part[slot] * ((session.ends_at - since) / _HOUR)
            others = [hold for hold in by_slot[slot] if hold.since >= since]
            again += part[slot] * sum(_overlap(hold, since, session.ends_at) for hold in others)
    seated = sum(
        part[slot] * ((hold.until - hold.since) / _HOUR)
        for hold in log.holds
        if hold.demand.course
        for slot in hold.slots
    )
    return Hours(*(round(hours, 3) for hours in (reserved, seated, returned, again)))


def _overlap(hold: Hold, since: datetime, until: datetime) -> float:
    return max(timedelta(0), min(hold.until, until) - max(hold.since, since)) / _HOUR
