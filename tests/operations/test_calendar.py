"""What there is of GPUs over some days, and who has reserved it."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from spawner.operations import calendar, courses, inventory, sessions
from spawner.operations.availability import Step
from spawner.operations.calendar import Booking, KindCapacity
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Session
from spawner.policy.gpus import GpuState, SlotKind

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus, shared

DAY = timedelta(days=1)
COURSE = Course("ml", "Machine learning", "gpu", "", NOW, gpus=1, kinds=frozenset({SlotKind.EXCLUSIVE}))


@pytest.fixture
def taught(office: Office) -> Office:
    office.fit(gpus(4), shared(8, index=4))
    assert isinstance(courses.create(office.desk, COURSE, "ines"), Course)
    return office


def booked(office: Office, seats: int, *starts: datetime) -> tuple[Session, ...]:
    spans = [(start, start + 2 * HOUR) for start in starts]
    answer = sessions.book(office.desk, Plan("ml", spans, seats), "ines")
    assert isinstance(answer, Planned), answer
    return answer.sessions


def whole(office: Office, since: datetime = NOW, until: datetime = NOW + DAY) -> KindCapacity:
    found = calendar.capacity(office.desk, since, until)
    assert (found.at, found.since, found.until) == (office.clock.now, since, until)
    return next(one for one in found.kinds if one.kind is SlotKind.EXCLUSIVE)


def test_who_has_what_when(taught: Office) -> None:
    [session] = booked(taught, 3, NOW + 4 * HOUR)
    taught.running("ann", hours=2, kinds=COURSE.kinds)
    found = whole(taught)
    begin, end = session.starts_at - session.lead, session.ends_at
    assert (found.total, found.bookings) == (4, (Booking("ml", "Machine learning", session, begin, end, 3),))
    free_again = NOW + 2 * HOUR + taught.desk.rules.turnover
    assert found.steps == (
        Step(NOW, 3, 1, 0, 0),
        Step(free_again, 4, 0, 0, 0),
        Step(begin, 1, 0, 3, 0),
        Step(end, 4, 0, 0, 0),
    )
    shares = next(one for one in calendar.capacity(taught.desk, NOW, NOW + DAY).kinds if one.kind is SlotKind.SHARED)
    assert (shares.total, shares.bookings) == (8, ())


def test_another_week(taught: Office) -> None:
    first, second = booked(taught, 2, NOW + HOUR, NOW + 7 * DAY)
    taught.running("ann", hours=2, kinds=COURSE.kinds)
    later = whole(taught, NOW + 7 * DAY - HOUR, NOW + 8 * DAY)
    assert [one.session for one in later.bookings] == [second]
    assert later.steps[0] == Step(NOW + 7 * DAY - HOUR, 4, 0, 0, 0)
    taught.wait(DAY)
    before = whole(taught, NOW - DAY, NOW + DAY - MINUTE)
    # What was is told of classes alone.
    assert ([one.session for one in before.bookings], before.steps) == ([first], ())


def test_what_is_called_off_or_out_of_service(taught: Office) -> None:
    [session] = booked(taught, 4, NOW + HOUR)
    with taught.ledger.reading() as books:
        uuid = next(one.uuid for one in books.gpus.all())
    inventory.set_state(taught.desk, uuid, GpuState.DRAINING, "olga", "broken")
    assert whole(taught).steps[0].out == 1
    sessions.cancel(taught.desk, session.id, "ines", "ill")
    assert whole(taught).bookings == ()


def test_what_is_reserved_without_a_session(taught: Office) -> None:
    with taught.ledger.reading() as books:
        slot = next(one.id for one in books.gpus.slots() if one.kind is SlotKind.EXCLUSIVE)
    taught.reserve("workshop", NOW + HOUR, NOW + 2 * HOUR, slot)
    [found] = whole(taught).bookings
    assert found == Booking("workshop", "workshop", None, NOW + HOUR, NOW + 2 * HOUR, 1)
    assert isinstance(courses.create(taught.desk, replace(COURSE, id="workshop", title="A day"), "eve"), Course)
    assert whole(taught).bookings[0].title == "A day"
