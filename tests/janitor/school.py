"""A school whose janitor looks after its classes, against a hub at the wire."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from spawner.janitor.class_work import ClassWork
from spawner.janitor.classes_endings import ending_steps
from spawner.janitor.classes_rosters import roster_steps
from spawner.janitor.classes_seats import seat_steps
from spawner.janitor.classes_warmup import warmup_steps
from spawner.janitor.loops import Look
from spawner.janitor.post import Post
from spawner.janitor.steps import carry_out_all
from spawner.operations import announcements, courses, leases, seats, sessions
from spawner.operations.leases import Granted
from spawner.operations.sessions import Plan, Planned
from spawner.policy.classes import Course, Phase, Role, Seat, SeatState, Session, seat_state
from spawner.policy.handouts import Kind

from ..support.class_hub import ClassHub
from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus

SECOND = timedelta(seconds=1)
STUDENTS = ("ann", "bob", "cyd", "dan")
COURSE = Course("ml", "Machine learning", "cpu", "", NOW)
LOOPS = (roster_steps, warmup_steps, seat_steps, ending_steps)


@dataclass
class School:
    """A janitor that looks after classes, its ledger, and the hub it speaks to."""

    office: Office
    hub: ClassHub
    post: Post
    session: Session
    course: Course = COURSE
    checks: bool = True

    def turn(self, *looks: Look) -> list[str]:
        """Let loops take a turn each; gives what they found to be done."""
        texts = []
        for look in looks or LOOPS:
            self.post.classes.forget()
            before = self.office.tables() if self.checks else None
            steps = look(self.post)
            assert before is None or self.office.tables() == before  # looking changes nothing
            texts += [step.text for step in steps]
            carry_out_all(steps)
        return texts

    def settle(self, *looks: Look) -> None:
        """Let loops take turns until none of them finds anything."""
        for _ in range(30):
            if not self.turn(*looks):
                return
        raise AssertionError(self.turn(*looks))

    def born_again(self, **classes: Any) -> None:
        """Put another janitor in the place of one that was killed."""
        settings = self.post.settings
        if classes:
            settings = settings.model_copy(update={"classes": settings.classes.model_copy(update=classes)})
        self.post = replace(self.post, classes=ClassWork(), settings=settings)

    def seat(self, user: str) -> Seat:
        _, board = seats.board(self.office.desk, self.session.id)
        return next(seat for seat in board if seat.user == user)

    def states(self) -> dict[str, SeatState]:
        _, board = seats.board(self.office.desk, self.session.id)
        return {seat.user: seat_state(seat, self.office.clock.now) for seat in board}

    def phase(self) -> Phase:
        return sessions.find(self.office.desk, self.session.id).phase(self.office.clock.now)

    def told(self, user: str = "") -> list[str]:
        sent = announcements.for_seat(self.office.desk, self.session.id, user)
        return [one.text for one in sent if one.kind is Kind.NOTICE]

    def come(self) -> None:
        """Start the seats in time, and let their students come."""
        self.at(-1)
        self.settle()
        self.at(1)
        for user in STUDENTS:
            self.hub.servers[user, "ml"].active = self.office.clock.now
        self.settle()
        assert set(self.states().values()) == {SeatState.WORKING}

    def on_gpus(self, count: int, **course: Any) -> None:
        """Let the same people meet in another course, ``gp``, each seat of which has one of so many GPUs."""
        self.office.fit(gpus(count))
        self.course = replace(COURSE, id="gp", gpus=1, profile="gpu", **course)
        self.session = book(self.office, self.course, count)

    def lease(self, user: str = "ann") -> str:
        """Start a seat's server with GPUs, until its session's end."""
        hours = (self.session.ends_at - self.office.clock.now) / HOUR
        answer = leases.acquire(self.office.desk, self.course.seat(user, hours))
        assert isinstance(answer, Granted), answer
        return leases.activate(self.office.desk, answer.lease.id, f"container-{user}", self.office.clock.now).id

    def sit(self, user: str = "ann") -> str:
        """Do that, and let the hub know of it."""
        self.hub.users |= {user}
        self.hub.run(user, self.course.id)
        return self.lease(user)

    def at(self, minutes: float) -> None:
        """Go to some minutes after the session's start, or before."""
        self.office.clock.now = self.session.starts_at + minutes * MINUTE
        for one in self.hub.servers.values():
            one.active = min(one.active, self.office.clock.now)


def book(office: Office, course: Course = COURSE, seats_: int = 4, **plan: Any) -> Session:
    """Let Ines, with Tom's help, teach four students from two to four."""
    assert isinstance(courses.create(office.desk, course, "ines"), Course)
    courses.enrol(office.desk, course.id, STUDENTS, Role.STUDENT, "ines", agreed=True)
    courses.enrol(office.desk, course.id, ["tom"], Role.ASSISTANT, "ines")
    answer = sessions.book(office.desk, Plan(course.id, [(NOW + 2 * HOUR, NOW + 4 * HOUR)], seats_, **plan), "ines")
    assert isinstance(answer, Planned), answer
    return answer.sessions[0]
