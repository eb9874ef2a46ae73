"""A class in session, with seats in every state: for tests, benches and pictures of its board."""

from dataclasses import replace
from datetime import timedelta

from spawner.console.readings import HeldReading, Holding, Readings
from spawner.operations import courses, leases, seat_life, seats, sessions
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Role, Seat, Session
from spawner.policy.leases import Lease, LeaseState

from .office import HOUR, MINUTE, NOW, Office
from .slots import gpus

COURSE = Course("ml", "Machine learning", "gpu", "", NOW, gpus=1)
NAMES = (
    "ada", "bela", "carl", "dora", "edsger", "frances", "grace", "hedy", "irene", "john", "katherine", "linus",
    "margaret", "niklaus", "olga.k", "peter", "quentin", "radia", "sophie", "tim", "ursula", "vint", "whitfield",
    "xenia", "yukihiro", "zoe",
)  # fmt: skip
SECOND = timedelta(seconds=1)


def student(number: int) -> str:
    """Name a student, the first by names that one knows."""
    name = NAMES[number % len(NAMES)]
    return name if number < len(NAMES) else f"{name}{number // len(NAMES) + 1}"


def class_in_session(office: Office, students: int = 8, *, since: timedelta = 20 * MINUTE) -> Session:
    """Let Ines teach a class that began so long ago; Tom assists. Of its seats no two beside each other are alike."""
    office.fit(gpus(students))
    desk, names = office.desk, [student(number) for number in range(students)]
    courses.create(desk, COURSE, "ines")
    courses.enrol(desk, COURSE.id, names, Role.STUDENT, "ines", agreed=True)
    courses.enrol(desk, COURSE.id, ["tom"], Role.ASSISTANT, "ines")
    now = office.clock.now
    answer = sessions.book(
        desk, Plan(COURSE.id, [(now + HOUR, now + 3 * HOUR)], students, title="Convolutions"), "ines"
    )
    assert isinstance(answer, Planned), answer
    session = answer.sessions[0]
    office.clock.now = session.starts_at + since
    with office.ledger.transaction() as books:
        books.sessions.update(replace(session, warmed_at=session.starts_at - 5 * MINUTE))
        slots = answer.reservations[0].slots
        seats = [seat(session, name, number, office) for number, name in enumerate(names)]
        books.sessions.put_seats([one for one in seats if one.asked_at is not None])
        for one, slot in zip(seats, slots, strict=True):
            if one.ready_at is not None:
                books.leases.insert(lease(one, slot, session))
    return session


def seat(session: Session, name: str, number: int, office: Office) -> Seat:
    now = office.clock.now
    asked = session.starts_at - 5 * MINUTE + number % 40 * 5 * SECOND
    ready = replace(Seat(session.id, name), asked_at=asked, attempts=1, ready_at=asked + 18 * SECOND)
    entered = replace(ready, entered_at=session.starts_at + number % 9 * MINUTE, active_at=now - number % 4 * MINUTE)
    match number % 13:
        case 3:
            return replace(entered, active_at=max(session.starts_at, now - 15 * MINUTE))
        case 5:
            return replace(ready, ready_at=None, attempts=3, problem="The server did not answer within a minute.")
        case 7:
            return ready
        case 8:
            return Seat(session.id, name)
        case 9:
            return Seat(session.id, name, asked_at=now - 8 * SECOND, attempts=1)
        case 2 | 6:
            return replace(entered, hand_at=now - (number + 1) % 11 * MINUTE)
    return entered


def lease(seat: Seat, slot: str, session: Session) -> Lease:
    started = seat.ready_at or session.starts_at
    return Lease(
        f"lease-{seat.user}",
        seat.user,
        COURSE.id,
        "gpu",
        LeaseState.ACTIVE,
        (slot,),
        granted_at=started,
        ends_at=session.ends_at,
        changed_at=started,
        course=COURSE.id,
        started_at=started,
        seen_at=started,
        container=f"container-{seat.user}",
    )


def readings_of(office: Office, readings: Readings, students: int) -> None:
    """Let the seats' GPUs have done something in the last minutes."""
    with office.ledger.reading() as books:
        held = [one for one in books.leases.open() if one.course == COURSE.id]
    for step in range(30, -1, -1):
        at = office.clock.now - step * 10 * SECOND
        values = {
            Holding(one.id, one.slots[0], one.slots[0]): HeldReading(
                at, ((number * 37 + step * 11) % 100) / 100, (2 + number * 3 % 13) * (1 << 30)
            )
            for number, one in enumerate(held[:students])
        }
        readings.put({}, values)


def end_class(office: Office, session: Session) -> None:
    """Let the rest of a lesson pass; some GPUs did nothing for a while, and all hands are answered."""
    desk = office.desk
    with office.ledger.reading() as books:
        held = [one for one in books.leases.open() if one.course == COURSE.id]
        hands = [one.user for one in books.sessions.seats(session.id) if one.hand_at is not None]
    for user in hands:
        seats.lower_hand(desk, session.id, user, "tom")
    office.clock.now = session.ends_at
    with office.ledger.transaction() as books:
        for number, one in enumerate(held):
            books.leases.update(replace(one, idle_ms=number * 7 % 40 * 60_000), one)
            known = next(seat for seat in books.sessions.seats(session.id) if seat.user == one.user)
            if known.entered_at is not None:
                books.sessions.put_seats([replace(known, active_at=session.ends_at - number % 6 * MINUTE)])
    for one in held:
        leases.release(desk, one.id, "expired")
        leases.close(desk, one.id, office.clock.now)
    seat_life.cleared(desk, session.id)
    office.wait(MINUTE)
