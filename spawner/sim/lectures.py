"""Classes within a simulation: reserved, warmed up, attended, given back, as the hub does it.

Decisions are the policy's own: `reserve` and `fit` for the reservation, `begin_at` and `due` for the warm-up, `unused`
for what goes back.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from ..policy.classes import Seat, Session, unused
from ..policy.fitting import fit
from ..policy.leases import GpuRequest, Lease, LeaseState, Reservation
from ..policy.reservations import Reserved, reserve
from ..policy.warmup import RETRY, Pace, begin_at, due
from .disciplines import FAIR_SHARE
from .engine import Simulation
from .people import COURSES
from .scenario import Demand, Workload
from .term import Lab, Term

LATE = "late students"
"""The row of students who came when their seats had been given back."""
_ATTEND = 0.85
_COME_LATE = 0.06  # of those who attend: when unused seats have been given back
_START_FAILS = 0.01
_WEEK = timedelta(days=7)
_HOUR = timedelta(hours=1)


@dataclass(slots=True)
class Meeting:
    """A session, and what became of its seats.

    Attributes
    ----------
    reserved_at, moved
        When it was reserved, and whether at another time than its teacher wanted first.
    slots
        As they were reserved.
    warm
        When each seat's server was ready first, by name.
    returned
        Slots that went back, and when.
    came
        When students came, by name.
    """

    lab: Lab
    session: Session
    reserved_at: datetime
    moved: bool
    slots: tuple[str, ...]
    seats: dict[str, Seat] = field(default_factory=dict)
    leases: dict[str, str] = field(default_factory=dict)
    warm: dict[str, datetime] = field(default_factory=dict)
    returned: dict[str, datetime] = field(default_factory=dict)
    came: dict[str, datetime] = field(default_factory=dict)


class Lectures(Simulation):
    """A term of ordinary users and of courses.

    Attributes
    ----------
    meetings
        What was reserved, in the order of reservation.
    refused
        Sessions for which there was no room when they were asked for, at none of the times that were offered.
    """

    def __init__(self, workload: Workload, term: Term, labs: Sequence[Lab]) -> None:
        super().__init__(workload, FAIR_SHARE)
        self.meetings: list[Meeting] = []
        self.refused = 0
        self._term = term
        self._pace = Pace()
        self._chance = random.Random(f"{term.seed}/students")
        self._seat_of: dict[int, tuple[Meeting, str]] = {}
        self._next_demand = len(workload.demands)
        (self._pool_of_all,) = self._pools.values()
        for lab in labs:
            if lab.ahead is None:
                self._agenda.at(lab.booked_at, partial(self._book_term, lab))
                continue
            for week in range(term.weeks):
                starts_at = self._begins(lab.hours[0], week)
                asked_at = max(term.starts_at, starts_at - lab.ahead)
                self._agenda.at(asked_at, partial(self._book_one, lab, week))

    def _begins(self, hour: timedelta, week: int) -> datetime:
        return self._term.starts_at + week * _WEEK + hour

    # --- reserving ----------------------------------------------------------------------------------------------------

    def _book_term(self, lab: Lab, now: datetime) -> None:
        """Reserve all sessions at one hour of the week, all or none."""
        for number, hour in enumerate(lab.hours):
            starts = [self._begins(hour, week) for week in range(self._term.weeks)]
            if self._reserve(lab, [start for start in starts if start > now], moved=number > 0, now=now):
                return
        self.refused += self._term.weeks

    def _book_one(self, lab: Lab, week: int, now: datetime) -> None:
        """Reserve one session, or at the nearest time that is offered instead."""
        wanted = self._begins(lab.hours[0], week)
        if self._reserve(lab, [wanted], moved=False, now=now):
            return
        lead = self._session(lab, wanted, now).lead
        begin, end = max(now, wanted - lead), wanted + lab.length
        offered = fit(self._pool_of_all, _seat(lab), len(lab.students), begin, end, self._rules, now).times
        # What is offered is when the GPUs are free from, for as long as was asked for.
        if not any(self._reserve(lab, [time + lead], moved=True, now=now) for time in offered):
            self.refused += 1

    def _session(self, lab: Lab, starts_at: datetime, now: datetime) -> Session:
        name = f"{lab.course}-{starts_at:%m%d%H%M}"
        return Session(
            name, lab.course, starts_at, starts_at + lab.length, len(lab.students), "", now, reservation=name
        )

    def _reserve(self, lab: Lab, starts: Sequence[datetime], *, moved: bool, now: datetime) -> bool:
        pool = self._pool_of_all
        made: list[Meeting] = []
        shorten: list[tuple[Lease, datetime]] = []
        for starts_at in starts:
            session = self._session(lab, starts_at, now)
            begin = max(now, starts_at - session.lead)
            answer = reserve(pool, _seat(lab), session.seats, begin, session.ends_at, self._rules, now)
            if not isinstance(answer, Reserved):
                for meeting in made:
                    pool.put_reservation(replace(pool.reservations[meeting.session.id], cancelled=True))
                return False
            pool.put_reservation(Reservation(session.id, lab.course, answer.slots, begin, session.ends_at))
            shorten += answer.shorten
            made.append(Meeting(lab, session, now, moved, answer.slots))
        self._make_room(shorten, now)
        for meeting in made:
            self._plan(meeting)
        self.meetings += made
        return True

    def _make_room(self, shorten: Sequence[tuple[Lease, datetime]], now: datetime) -> None:
        ends: dict[str, datetime] = {}
        for lease, end in shorten:
            ends[lease.id] = min(end, ends.get(lease.id, end))
        self.log.shortened += len(ends)
        for lease_id, end in ends.items():
            self._put(replace(self._pool_of_all.leases[lease_id], ends_at=end, changed_at=now))
            self._watch_end(lease_id)

    def _plan(self, meeting: Meeting) -> None:
        session = meeting.session
        reservation = self._pool_of_all.reservations[session.id]
        self._agenda.at(reservation.starts_at, partial(self._hold, meeting))
        first = max(reservation.starts_at, begin_at(session, session.seats, self._pace))
        self._agenda.at(first, partial(self._warm, meeting))
        self._agenda.at(session.starts_at + session.grace, partial(self._give_back, meeting))
        self._agenda.at(session.ends_at, partial(self._end_of, meeting))
        for student in meeting.lab.students:
            if self._chance.random() < _ATTEND:
                self._agenda.at(self._arrival(session), partial(self._come, meeting, student))

    def _arrival(self, session: Session) -> datetime:
        if self._chance.random() < _COME_LATE:
            after = session.grace + timedelta(minutes=self._chance.randrange(1, 30))
            return session.starts_at + after
        earliest = session.starts_at - session.lead
        wanted = session.starts_at + timedelta(seconds=round(self._chance.gauss(0, 180)))
        return min(max(earliest, wanted), session.starts_at + session.grace - timedelta(seconds=30))

    # --- warming up ---------------------------------------------------------------------------------------------------

    def _hold(self, meeting: Meeting, _now: datetime) -> None:
        """Note the reservation as it is when its GPUs have to be free."""
        self.log.reservations.append(self._pool_of_all.reservations[meeting.session.id])

    def _warm(self, meeting: Meeting, now: datetime) -> None:
        session = meeting.session
        for student in due(session, meeting.lab.students, meeting.seats.values(), self._pace, now):
            self._start_seat(meeting, student, now)
        waiting = [seat for seat in meeting.seats.values() if seat.ready_at is None and seat.given_back_at is None]
        if now < session.starts_at + session.grace and (waiting or len(meeting.seats) < session.seats):
            self._agenda.at(now + min(self._pace.looks, RETRY), partial(self._warm, meeting))

    def _start_seat(self, meeting: Meeting, student: str, now: datetime) -> None:
        was = meeting.seats.get(student, Seat(meeting.session.id, student))
        meeting.seats[student] = replace(was, asked_at=now, attempts=was.attempts + 1, problem="")
        self._ask(meeting, student, COURSES, now)

    def _ask(self, meeting: Meeting, student: str, row: str, now: datetime) -> None:
        lab, session = meeting.lab, meeting.session
        left = session.ends_at - now
        demand = Demand(
            self._next_demand,
            now,
            student,
            "students",
            row,
            1,
            lab.memory,
            left,
            kinds=lab.kinds,
            course=lab.course,
            waits=left,
            startup=timedelta(seconds=self._chance.randrange(8, 30)),
            stop_takes=timedelta(seconds=self._chance.randrange(2, 40)),
            start_fails=self._chance.random() < _START_FAILS,
            ends_at=session.ends_at,
            first=row == LATE,
            returns=False,
        )
        self._next_demand += 1
        self._seat_of[demand.id] = meeting, student
        self._arrive(demand, now)

    def _ready(self, lease_id: str, now: datetime) -> None:
        super()._ready(lease_id, now)
        server = self._servers.get(lease_id)
        found = None if server is None else self._seat_of.get(server.demand.id)
        if found is None:
            return
        meeting, student = found
        seat = meeting.seats[student]
        if self._lease(lease_id, LeaseState.ACTIVE) is None:
            meeting.seats[student] = replace(seat, problem="its start failed")
            return
        meeting.leases[student] = lease_id
        meeting.warm.setdefault(student, now)
        meeting.seats[student] = replace(seat, ready_at=now)

    # --- the lesson ---------------------------------------------------------------------------------------------------

    def _come(self, meeting: Meeting, student: str, now: datetime) -> None:
        meeting.came[student] = now
        seat = meeting.seats.get(student, Seat(meeting.session.id, student))
        meeting.seats[student] = replace(seat, entered_at=now)
        if seat.given_back_at is not None:
            self._ask(meeting, student, LATE, now)
        elif seat.asked_at is None:  # earlier than the warm-up: the student starts it
            self._start_seat(meeting, student, now)

    def _give_back(self, meeting: Meeting, now: datetime) -> None:
        session = meeting.session
        everybody = [meeting.seats.get(name, Seat(session.id, name)) for name in meeting.lab.students]
        left = unused(session, everybody, now)
        if not left:
            return
        for seat in left:
            meeting.seats[seat.user] = replace(seat, given_back_at=now)
            lease = meeting.leases.pop(seat.user, None)
            if lease is not None:
                self._release(lease, "given_back", now)
        pool, keep = self._pool_of_all, len(everybody) - len(left)
        reservation = pool.reservations[session.id]
        held = {
            slot
            for lease in pool.leases.values()
            if lease.course == session.course and lease.state is not LeaseState.RELEASING
            for slot in lease.slots
        }
        ordered = sorted(reservation.slots, key=lambda slot: slot not in held)
        meeting.returned = dict.fromkeys(ordered[keep:], now)
        pool.put_reservation(replace(reservation, slots=tuple(ordered[:keep])))
        self._something_changed(now)

    def _end_of(self, meeting: Meeting, now: datetime) -> None:
        pool = self._pool_of_all
        pool.put_reservation(replace(pool.reservations[meeting.session.id], cancelled=True))
        self._something_changed(now)


def _seat(lab: Lab) -> GpuRequest:
    return GpuRequest("", "", "", 1, kinds=lab.kinds, memory=lab.memory, course=lab.course)
