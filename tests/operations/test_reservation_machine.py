"""Whatever is asked for, extended, booked, moved, called off or taken out of service: no reservation is ever broken."""

import itertools
from datetime import datetime, timedelta
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from spawner.operations import courses, inventory, leases, offers, reservations, session_changes, sessions
from spawner.operations.leases import Granted, Queued
from spawner.operations.session_changes import Change, Changed
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Session
from spawner.policy.gpus import GpuState
from spawner.policy.leases import GpuRequest, Lease, LeaseRules, LeaseState, Reservation
from spawner.policy.model import Deny

from ..support.office import HOUR, MINUTE, NOW
from ..support.slots import gpus, shared
from .conftest import OpenOffice

COURSES = ("ml", "art")
NUMBERS = st.integers(0, 50)
STARTS = st.sampled_from([0, 20, 30, 60, 90, 150, 240])
LENGTHS = st.sampled_from([30, 60, 120])


class ReservationMachine(RuleBasedStateMachine):
    """Ordinary users and two courses on six slots."""

    open_office: ClassVar[OpenOffice]

    def __init__(self) -> None:
        super().__init__()
        self.office = type(self).open_office()
        self.office.fit(gpus(4), shared(2, index=4))
        for number, course in enumerate(COURSES):
            made = courses.create(self.office.desk, Course(course, course, "gpu", "", NOW, gpus=1 + number), "ines")
            assert isinstance(made, Course)
        # Since when a reservation has a slot: a lost one is replaced late, if need be.
        self.since: dict[tuple[str, str], datetime] = {}

    @property
    def now(self) -> datetime:
        return self.office.clock.now

    # --- what happens -------------------------------------------------------------------------------------------------

    @rule(
        user=st.sampled_from(["ann", "bob", "eve", "fay"]),
        count=st.sampled_from([1, 1, 2]),
        hours=st.sampled_from([0.3, 1, 3, None]),
        course=st.sampled_from(["", "", *COURSES]),
    )
    def ask(self, user: str, count: int, hours: float | None, course: str) -> None:
        answer = leases.acquire(self.office.desk, GpuRequest(user, course, "gpu", count, hours, course=course))
        if isinstance(answer, Granted):
            leases.activate(self.office.desk, answer.lease.id, f"c-{answer.lease.id}", self.now)
        elif isinstance(answer, Queued):
            assert answer.position >= 1

    @rule(number=NUMBERS, hours=st.sampled_from([0.5, 2, None]))
    @precondition(lambda self: self._open(LeaseState.ACTIVE))
    def extend_lease(self, number: int, hours: float | None) -> None:
        held = self._open(LeaseState.ACTIVE)
        leases.extend(self.office.desk, held[number % len(held)].id, hours, "ann")

    @rule(number=NUMBERS)
    @precondition(lambda self: self._open())
    def stop(self, number: int) -> None:
        held = self._open()
        self._end(held[number % len(held)])

    @rule(
        course=st.sampled_from(COURSES),
        starts=STARTS,
        minutes=LENGTHS,
        seats=st.integers(1, 4),
        weeks=st.sampled_from([1, 1, 3]),
        lead=st.sampled_from([0, 15]),
    )
    def book(self, course: str, starts: int, minutes: int, seats: int, weeks: int, lead: int) -> None:
        begins = [self.now + starts * MINUTE + number * 5 * HOUR for number in range(weeks)]
        spans = [(begin, begin + minutes * MINUTE) for begin in begins]
        plan = Plan(course, spans, seats, lead=lead * MINUTE)
        would = sessions.preview(self.office.desk, plan, "ines")
        answer = sessions.book(self.office.desk, plan, "ines")
        assert type(answer) is type(would)
        if isinstance(answer, Planned):
            for one in answer.shortened:
                assert one.lease.state is LeaseState.OFFERED or one.ends_at >= self.now + self._rules.notice

    @rule(
        number=NUMBERS,
        starts=st.none() | STARTS,
        minutes=LENGTHS,
        seats=st.none() | st.integers(1, 4),
    )
    @precondition(lambda self: self._sessions())
    def move(self, number: int, starts: int | None, minutes: int, seats: int | None) -> None:
        planned = self._sessions()
        session = planned[number % len(planned)]
        begin = session.starts_at if starts is None else self.now + starts * MINUTE
        wanted = Change(starts_at=begin, ends_at=begin + minutes * MINUTE, seats=seats)
        answer = session_changes.change(self.office.desk, session.id, wanted, "ines")
        if not isinstance(answer, Changed):
            assert sessions.find(self.office.desk, session.id) == session

    @rule(number=NUMBERS, minutes=st.sampled_from([-30, 30, 90]))
    @precondition(lambda self: self._sessions())
    def lengthen(self, number: int, minutes: int) -> None:
        planned = self._sessions()
        session = planned[number % len(planned)]
        answer = session_changes.extend(self.office.desk, session.id, minutes * MINUTE, "ines")
        assert isinstance(answer, Changed) or sessions.find(self.office.desk, session.id) == session

    @rule(number=NUMBERS, following=st.booleans())
    @precondition(lambda self: self._sessions())
    def cancel(self, number: int, following: bool) -> None:
        planned = self._sessions()
        answer = sessions.cancel(
            self.office.desk, planned[number % len(planned)].id, "ines", "ill", following=following
        )
        assert not isinstance(answer, Deny)

    @rule(gpu=st.integers(0, 4), state=st.sampled_from([GpuState.DRAINING, GpuState.IN_SERVICE, GpuState.IN_SERVICE]))
    def drain_or_resume(self, gpu: int, state: GpuState) -> None:
        with self.office.ledger.reading() as books:
            name = sorted(one.uuid for one in books.gpus.all())[gpu]
        inventory.set_state(self.office.desk, name, state, "olga", "a test")

    @rule(minutes=st.sampled_from([5, 30, 120]))
    def wait(self, minutes: int) -> None:
        """Let time pass, in which the janitor ends what is over and offers what is free."""
        until = self.now + minutes * MINUTE
        while self.now < until:
            ends = [lease.ends_at for lease in self._open() if lease.ends_at > self.now]
            self.office.clock.now = min([until, *ends])
            for lease in self._open():
                if lease.state is LeaseState.OFFERED and (lease.offered_until or self.now) <= self.now:
                    offers.withdraw(self.office.desk, lease.id)
                elif lease.ends_at <= self.now and lease.state is not LeaseState.OFFERED:
                    self._end(lease)
            offers.offer_now(self.office.desk)
            self._look_at_what_begins()

    def _look_at_what_begins(self) -> None:
        with self.office.ledger.reading() as books:
            for one in books.reservations.upcoming(self.now):
                if one.starts_at <= self.now:
                    assert not reservations.seats_of(books, one).taken or self._is_late(one)

    # --- what must always be ------------------------------------------------------------------------------------------

    @invariant()
    def nobody_else_has_what_is_reserved(self) -> None:
        held = {slot: lease for lease in self._open() for slot in lease.slots}
        known = set()
        for one in self._reservations():
            for slot in one.slots:
                since = self.since.setdefault((one.id, slot), self.now)
                known.add((one.id, slot))
                lease = held.get(slot)
                if lease is None or lease.course == one.course or lease.state is LeaseState.RELEASING:
                    continue
                room = max(one.starts_at - self._rules.turnover, since)
                assert lease.ends_at <= room or lease.granted_at >= one.ends_at, (lease, one)
        self.since = {key: at for key, at in self.since.items() if key in known}

    @invariant()
    def nothing_is_reserved_twice(self) -> None:
        times: dict[str, list[tuple[datetime, datetime]]] = {}
        for one in self._reservations():
            for slot in one.slots:
                times.setdefault(slot, []).append((one.starts_at, one.ends_at))
        for spans in times.values():
            spans.sort()
            assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans)), spans

    @invariant()
    def every_session_has_its_seats(self) -> None:
        with self.office.ledger.reading() as books:
            gpus_of = {one.id: one.gpus for one in books.courses.all(archived=True)}
            for session in books.sessions.live(self.now):
                if session.cancelled_at is None and session.ends_at > self.now:
                    found = books.reservations.get(session.reservation)
                    assert found is not None
                    assert not found.cancelled
                    assert len(set(found.slots)) == session.seats * gpus_of[session.course]
                    assert found.ends_at == session.ends_at

    # --- parts --------------------------------------------------------------------------------------------------------

    @property
    def _rules(self) -> LeaseRules:
        return self.office.desk.rules

    def _open(self, *states: LeaseState) -> list[Lease]:
        with self.office.ledger.reading() as books:
            found = sorted(books.leases.open(), key=lambda lease: lease.id)
        return [lease for lease in found if not states or lease.state in states]

    def _sessions(self) -> list[Session]:
        with self.office.ledger.reading() as books:
            found = books.sessions.live(self.now)
        return [one for one in found if one.cancelled_at is None and one.ends_at > self.now]

    def _reservations(self) -> list[Reservation]:
        with self.office.ledger.reading() as books:
            return books.reservations.upcoming(self.now)

    def _is_late(self, one: Reservation) -> bool:
        """Tell whether a reservation got one of its slots so late that its holder could not make room."""
        return any(
            self.since.get((one.id, slot), self.now) > one.starts_at - timedelta(minutes=15) for slot in one.slots
        )

    def _end(self, lease: Lease) -> None:
        if lease.state is LeaseState.OFFERED:
            offers.cancel(self.office.desk, lease.user, lease.server)
        else:
            leases.release(self.office.desk, lease.id, lease.ending or "stopped")
            leases.close(self.office.desk, lease.id, self.now)


def test_a_reservation_is_never_broken(open_office: OpenOffice) -> None:
    machine = type("Machine", (ReservationMachine,), {"open_office": staticmethod(open_office)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
