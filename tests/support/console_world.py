"""A ledger in which there is something of everything, for tests that walk over all pages and all routes.

Ann is the reader. What is others' carries names that stand nowhere else, so that it can be searched for in whatever
she is told.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

from spawner.console.scopes import OF_PEOPLE
from spawner.course_directory import Places
from spawner.ledger import AuditEntry
from spawner.operations import collections, courses, ends, inventory, leases, links, offers, sessions
from spawner.policy.classes import Course, Role
from spawner.policy.gpus import GpuState
from spawner.policy.handouts import Collected
from spawner.policy.homes import Home, HomeState
from spawner.policy.leases import GpuRequest
from spawner.policy.model import Deny
from spawner.state import StateDirectory

from .console import OF_HUB_ADMINS, ConsoleStand, Visitor
from .office import HOUR, MINUTE, Office
from .slots import gpus, mig, shared

ANN = "ann"
OTHERS = ("quixotania", "zebulonius", "ottoline.k")
"""Users of whom Ann is to learn nothing."""
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>'",
    "\u202egnp.exe\u202c",
    "😀 Ø & {{ 7*7 }} %s %(a)s",
    '=HYPERLINK("http://evil.test","x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1+1)",
    "a/b?c#d%2f..",
)
"""Names that somebody chose who means no good, or knows no better."""
HOSTILE_GROUP, HOSTILE_MODEL = "<b>grp</b>\"'=1", '<i>H100</i> "=x"'
HOSTILE_REASON = "<script>alert('why')</script> =1+1 \u202eesrever 🙂 \"quoted\" & 'so'"
HOSTILE_TITLE = "Machine <b>learning</b> =1+1 🙂 \"quoted\" & 'so'"
COURSE, OTHER_COURSE = "ml", "secret-course"
"""A course that Ann is a student of, and one of which she is to learn nothing."""


@dataclass(frozen=True)
class World:
    """What there is.

    Attributes
    ----------
    lease, ticket, closed
        Ann's own.
    others
        Ids of leases, tickets and homes that are not hers, none of which she may see.
    other_lease, other_ticket
        Two of them that are live.
    session
        Of the course, to come.
    link, token
        Id and secret of a join link into the course.
    collected
        Id of what was taken from Ann's seat in the session.
    """

    console: ConsoleStand
    lease: str
    ticket: str
    closed: str
    gpu: str
    other_lease: str
    other_ticket: str
    session: str
    link: str
    token: str
    collected: str = ""
    others: frozenset[str] = field(default_factory=frozenset)

    @property
    def secrets(self) -> frozenset[str]:
        """What may not stand in any answer to Ann."""
        return frozenset({*OTHERS, *self.others, OTHER_COURSE})

    def ann(self) -> Visitor:
        return self.console.as_user(ANN, ["physics"])

    def ann_in_browser(self) -> Visitor:
        return self.console.signed_in(ANN, ["physics"], OF_PEOPLE)

    def admin_in_browser(self) -> Visitor:
        return self.console.signed_in("olga", scopes=OF_HUB_ADMINS)


def populate(console: ConsoleStand) -> World:
    """Fill a console's ledger, and its hub."""
    office, hub = console.office, console.hub
    strangers = (*OTHERS, *HOSTILE)
    hub.add_user(ANN, ["physics"], servers={"": running_server("", ANN)})
    hub.add_user("olga", [], admin=True)
    hub.add_user("ines", ["teachers"])
    hub.add_user("ida", ["teachers"])
    hub.add_user("tara")
    for number, name in enumerate(strangers):
        groups = ["physics"] if number % 2 else ["physics", HOSTILE_GROUP]
        servers = {"lab": running_server("lab", name)} if name == OTHERS[0] else {}
        hub.add_user(name, groups, last_activity="2027-03-01T10:00:00Z", servers=servers)
    office.fit(gpus(8, model="A100"), shared(4, model="T4", index=8), mig(5 << 30, 5 << 30, model="A100", index=9))
    office.fit(gpus(4, model=HOSTILE_MODEL, node="node-b"), node="node-b")
    _quotas(office)
    closed = _history(office, strangers)
    ours, held, waiting = _today(office, strangers)
    _homes(office, strangers)
    inventory.set_state(office.desk, "gpu6", GpuState.DRAINING, "olga", HOSTILE_REASON)
    inventory.set_state(office.desk, "node-b-gpu3", GpuState.QUARANTINED, "olga", HOSTILE_REASON)
    office.reserve("deep-learning", office.clock.now + 20 * HOUR, office.clock.now + 23 * HOUR, "SIM-local-0")
    session = _classes(office)
    collected = _collect(console, session)
    link = links.make(office.desk, COURSE, Role.STUDENT, office.clock.now + timedelta(days=7), "ines")
    assert not isinstance(link, Deny)
    with office.ledger.transaction() as books:
        for name in HOSTILE:
            books.audit.append(
                AuditEntry(office.clock.now, name, "gpu.drain", f"user:{name}", {"state": name}, {"x": name}, name)
            )
    return World(
        console,
        lease=ours[0],
        ticket=ours[1],
        closed=closed[ANN],
        gpu="SIM-local-0",
        other_lease=held[0],
        other_ticket=waiting[0],
        session=session,
        link=links.id_of(link),
        token=link.token,
        collected=collected,
        others=frozenset([*held, *waiting, *(one for name, one in closed.items() if name != ANN)]),
    )


def running_server(name: str, user: str) -> dict[str, object]:
    return {
        "name": name,
        "ready": True,
        "pending": None,
        "stopped": False,
        "url": f"/user/{user}/",
        "started": "2027-03-01T11:00:00Z",
        "last_activity": "2027-03-01T11:59:00Z",
        "user_options": {"profile": "gpu", "gpus": 1},
        "progress_url": f"/hub/api/users/{user}/server/progress",
    }


def _quotas(office: Office) -> None:
    office.give("default", "", "gpu_hours", 100)
    office.give("default", "", "gpus", 4)
    office.give("user", ANN, "gpus", 4)
    office.give("group", "physics", "gpus", 3)
    office.give("group", HOSTILE_GROUP, "gpu_hours", 200)
    office.give("user", OTHERS[0], "gpus", 5, office.clock.now + timedelta(days=3))
    for name in HOSTILE:
        if name.isprintable():
            office.give("user", name, "priority", 3)


def _request(user: str, hours: float, count: int = 1, server: str = "") -> GpuRequest:
    groups = frozenset({"physics"}) if user == ANN else frozenset({"physics", HOSTILE_GROUP})
    return GpuRequest(user, server, "gpu", count, hours, groups=groups)


def _start(office: Office, user: str, hours: float, count: int = 1) -> str:
    answer = leases.acquire(office.desk, _request(user, hours, count))
    assert isinstance(answer, leases.Granted), answer
    leases.activate(office.desk, answer.lease.id, f"container-{answer.lease.id}", office.clock.now)
    return answer.lease.id


def _history(office: Office, strangers: tuple[str, ...]) -> dict[str, str]:
    """Let everybody have had a lease in the last days."""
    closed = {}
    now = office.clock.now
    office.clock.now = now - timedelta(days=3)
    for user in (ANN, *strangers):
        closed[user] = _start(office, user, 4)
        office.wait(90 * MINUTE)
        leases.release(office.desk, closed[user], "stopped")
        leases.close(office.desk, closed[user], office.clock.now)
    office.clock.now = now
    return closed


def _today(office: Office, strangers: tuple[str, ...]) -> tuple[tuple[str, str], list[str], list[str]]:
    """Let all GPUs be in use, and some people wait."""
    now = office.clock.now
    office.clock.now = now - 2 * HOUR
    mine = _start(office, ANN, 6)
    held = [_start(office, user, 6, 2 if number == 0 else 1) for number, user in enumerate(strangers)]
    while True:  # nothing is to be free, so that whoever asks waits
        answer = leases.acquire(office.desk, _request(f"filler{len(held)}", 10))
        if not isinstance(answer, leases.Granted):
            offers.cancel(office.desk, f"filler{len(held)}", "")
            break
        leases.activate(office.desk, answer.lease.id, f"container-{answer.lease.id}", office.clock.now)
        held.append(answer.lease.id)
    waiting = []
    for user in (*strangers[1:], ANN):
        answer = leases.acquire(office.desk, _request(user, 4, server="lab"))
        assert isinstance(answer, leases.Queued), answer
        waiting.append(answer.ticket.id)
    office.clock.now = now
    ends.note_idle(office.desk, office.lease(held[0]), now - HOUR)
    ticket = waiting.pop()
    return (mine, ticket), held, waiting


def _classes(office: Office) -> str:
    """Make a course of Ann's and one of others', each with a session to come; gives hers."""
    now, made = office.clock.now, []
    for course, teacher, title in ((COURSE, "ines", HOSTILE_TITLE), (OTHER_COURSE, "ida", "x")):
        answer = courses.create(office.desk, Course(course, title, "cpu", teacher, now), teacher)
        assert not isinstance(answer, Deny), answer
        begins = now + timedelta(days=2)
        booked = sessions.book(office.desk, sessions.Plan(course, [(begins, begins + HOUR)], 8), teacher)
        assert isinstance(booked, sessions.Planned), booked
        made.append(booked.sessions[0].id)
    courses.enrol(
        office.desk, COURSE, [ANN, *(name for name in HOSTILE if _can_enrol(name))], Role.STUDENT, "ines", agreed=True
    )
    courses.enrol(office.desk, COURSE, ["tara"], Role.ASSISTANT, "ines")
    courses.enrol(office.desk, OTHER_COURSE, OTHERS, Role.STUDENT, "ida")
    return made[0]


def _collect(console: ConsoleStand, session: str) -> str:
    """Let work of Ann's have been collected."""
    at, places = console.office.clock.now, Places(StateDirectory(console.console.settings.state_dir).courses)
    path = places.course(COURSE).create().archive(session, ANN, at)
    path.parent.mkdir()
    path.write_bytes(b"work")
    taken = Collected("", session, ANN, "week1", at, f"{session}/{path.name}", 1, 4, sha256(b"work").hexdigest())
    return collections.note(console.office.desk, taken).id


def _can_enrol(name: str) -> bool:
    return name.isprintable() and "/" not in name


def _homes(office: Office, strangers: tuple[str, ...]) -> None:
    now = office.clock.now
    with office.ledger.transaction() as books:
        for number, user in enumerate((ANN, *strangers)):
            state = HomeState.ARCHIVED if number % 4 == 3 else HomeState.PRESENT
            books.homes.insert(
                Home(
                    f"berth-home-{number}" if user != ANN else "berth-home-ann",
                    user,
                    state,
                    now - timedelta(days=9),
                    size=number * 3 << 30,
                    measured_at=now - HOUR,
                    last_used_at=now - number * timedelta(days=5),
                    owner_gone_at=now - timedelta(days=2) if number == 6 else None,
                    why=HOSTILE_REASON if number % 3 == 0 else "",
                    asked_by=user if number % 3 == 0 else "",
                    archive=f"home-{number}.tar.zst" if state is HomeState.ARCHIVED else "",
                    archive_size=number << 30 if state is HomeState.ARCHIVED else None,
                    archived_at=now - timedelta(days=9) if state is HomeState.ARCHIVED else None,
                    sha256="ab" * 32 if state is HomeState.ARCHIVED else "",
                    error=HOSTILE_REASON if number == 5 else "",
                )
            )
