"""A ledger as it is after weeks of a large deployment, written fast: people, machines and jobs are the simulator's."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, create_engine, insert, update

from spawner.ledger import AuditEntry, Ledger, tables
from spawner.ledger.connect import parse
from spawner.policy.classes import Course, Member, Role, Seat, Session
from spawner.policy.gpus import Gpu, GpuState
from spawner.policy.homes import Home, HomeState
from spawner.policy.joining import JoinLink
from spawner.policy.leases import GpuRequest, Lease, LeaseState, Reservation, Ticket, TicketState, UsageRow
from spawner.policy.quota import QuotaGrant, Subject
from spawner.sim.fleet import build
from spawner.sim.people import GROUPS, Group, members

from ..support.console_world import ANN, COURSE, OTHERS

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_AUDIT, _LOT = 20_000, 5000
_SESSION, _RESERVATION, _TOKEN = "now", "for-now", "come-in"
_MENDED = {"state": "draining", "why": "It gets too hot"}, {"state": "in_service", "why": "New fans"}
_COLUMNS = {
    "user": "username",
    "index": "number",
    "size": "bytes",
    "done": "done_bytes",
    "archive_size": "archive_bytes",
    "lead": "lead_ms",
    "grace": "grace_ms",
    "most_ahead": "most_ahead_ms",
}


@dataclass(frozen=True)
class Size:
    """How much there is."""

    users: int = 10_000
    gpus: int = 1000
    queued: int = 500
    closed: int = 100_000
    seats: int = 350


@dataclass(frozen=True)
class Busy:
    """What was written.

    Attributes
    ----------
    groups
        Of each user.
    lease, ticket, closed
        Of `ANN`, who uses much.
    other_lease, other_ticket
        Of `OTHERS[0]`.
    session, token
        Of a course in which Ann is one of many, and which meets now; of a join link into it.
    """

    groups: dict[str, str]
    lease: str
    ticket: str
    closed: str
    other_lease: str
    other_ticket: str
    session: str
    token: str


def fill(url: str, now: datetime, size: Size, seed: int = 1) -> Busy:
    """Make a ledger and write all."""
    made = Ledger(url)
    made.upgrade()
    made.close()
    engine = create_engine(parse(url))
    with engine.begin() as connection:
        found = _Writer(connection, now, size, random.Random(seed)).write()
    engine.dispose()
    return found


class _Writer:
    def __init__(self, connection: Connection, now: datetime, size: Size, chance: random.Random) -> None:
        self._connection, self._now, self._size, self._chance = connection, now, size, chance
        self._slots = build(size.gpus)
        self._people = members(size.users)
        self._people["research"][:2] = [ANN, OTHERS[0]]
        self._groups = {group.name: group for group in GROUPS}
        self._loads = [group.load for group in GROUPS]
        self._numbers = iter(range(1, 1 << 40))

    def write(self) -> Busy:
        self._inventory()
        open_leases = [*self._running(), *self._class()]
        closed, usage = self._history()
        tickets = list(self._queue())
        self._put(tables.leases, [*open_leases, *closed], version=1)
        self._put(tables.tickets, tickets, version=1)
        self._put(tables.usage, usage)
        self._put(tables.quotas, list(self._quotas()))
        self._put(tables.audit, list(self._audit()))
        self._put(tables.homes, list(self._homes()))
        numbers = {"changes": 10, "inventory": 1, "quotas": 1, "queue": 1}
        self._connection.execute(update(tables.pool).values(**numbers))

        def of(what: Sequence[Any], user: str) -> str:
            return next(str(one.id) for one in what if getattr(one, "user", None) == user)

        asked = {ticket.request.user: ticket.id for ticket in tickets}
        return Busy(
            {name: group for group, names in self._people.items() for name in names},
            of(open_leases, ANN),
            asked[ANN],
            of(closed, ANN),
            of(open_leases, OTHERS[0]),
            asked[OTHERS[0]],
            _SESSION,
            _TOKEN,
        )

    def _put(self, table: Table, values: Sequence[Any], **more: Any) -> None:
        """Write dataclasses, whose fields are the columns but for a few names."""
        for begin in range(0, len(values), _LOT):
            rows = [{**_row(value, table), **more} for value in values[begin : begin + _LOT]]
            self._connection.execute(insert(table), rows)

    def _id(self) -> str:
        return f"{next(self._numbers):016x}"

    def _inventory(self) -> None:
        gpus: dict[str, Gpu] = {}
        for slot in self._slots:
            index = int(slot.gpu.rpartition("gpu")[2])
            gpus[slot.gpu] = Gpu(slot.gpu, slot.node, index, slot.model, slot.memory, simulated=True)
        for uuid in self._chance.sample(sorted(gpus), len(gpus) // 50):
            gpus[uuid] = replace(
                gpus[uuid],
                state=GpuState.DRAINING,
                state_by="olga",
                state_why="It gets too hot",
                state_since=self._now - DAY,
            )
        self._put(tables.gpus, list(gpus.values()), present=True)
        places: dict[str, int] = {}
        rows = []
        for slot in self._slots:
            places[slot.gpu] = places.get(slot.gpu, -1) + 1
            rows.append({**_row(slot, tables.slots), "place": places[slot.gpu], "present": True, "quarantined_why": ""})
        self._connection.execute(insert(tables.slots), rows)

    def _somebody(self) -> tuple[Group, str]:
        group = self._chance.choices(GROUPS, self._loads)[0]
        names = self._people[group.name]
        # Few use much: the density falls with the place in the list.
        return group, names[int(len(names) * self._chance.random() ** 2)]

    def _lease(self, group: Group, user: str, slots: tuple[str, ...], start: datetime, hours: float) -> Lease:
        return Lease(
            *(self._id(), user, "", "gpu", LeaseState.ACTIVE, slots, start, start + hours * HOUR, start),
            groups=frozenset({group.name}),
            started_at=start + MINUTE,
            seen_at=self._now,
            busy_at=self._now,
            container=f"{self._chance.getrandbits(256):064x}",
        )

    def _class(self) -> Iterator[Lease]:
        """Let a large class meet, with a seat for each on a slot of its own; some are stuck, some ask for help."""
        now, course = self._now, Course(COURSE, "Machine learning", "gpu", "ines", self._now - DAY, gpus=1)
        starts_at, count = now - HOUR, min(self._size.seats, len(self._slots) // 2)
        others = [name for names in self._people.values() for name in names if name not in {ANN, *OTHERS}]
        students = [ANN, *others[: count - 1]]
        session = Session(_SESSION, COURSE, starts_at, now + HOUR, count, "ines", now - DAY, warmed_at=starts_at)
        roles = {**dict.fromkeys(students, Role.STUDENT), "ines": Role.INSTRUCTOR, "tara": Role.ASSISTANT}
        link = JoinLink(_TOKEN, COURSE, Role.STUDENT, "ines", now - DAY, now + DAY)
        self._put(tables.courses, [course])
        self._put(tables.members, [Member(COURSE, name, role, now - DAY, "ines") for name, role in roles.items()])
        self._put(tables.sessions, [replace(session, gpus=1, reservation=_RESERVATION)])
        self._put(tables.links, [link])
        self._put(tables.seats, [self._seat(name, number, starts_at) for number, name in enumerate(students)])
        slots = [slot.id for slot in self._slots[:count]]
        self._put(tables.reservations, [Reservation(_RESERVATION, COURSE, tuple(slots), starts_at, now + HOUR)])
        for name, slot in zip(students, slots, strict=True):
            made = self._lease(self._groups["students"], name, (slot,), starts_at, 2)
            yield replace(made, server=COURSE, course=COURSE)

    def _seat(self, user: str, number: int, starts_at: datetime) -> Seat:
        problem = "The server did not answer within a minute." if number % 40 == 7 else ""
        return Seat(
            _SESSION,
            user,
            asked_at=starts_at - 3 * MINUTE,
            attempts=1,
            ready_at=starts_at - MINUTE,
            entered_at=starts_at + number % 9 * MINUTE,
            active_at=self._now - number % 13 * MINUTE,
            hand_at=self._now - number % 11 * MINUTE if number % 20 == 3 else None,
            problem=problem,
        )

    def _running(self) -> Iterator[Lease]:
        """Lend nearly all slots that are left, each to somebody else."""
        research = self._groups["research"]
        free = list(self._slots[min(self._size.seats, len(self._slots) // 2) :])
        self._chance.shuffle(free)
        yield self._lease(research, ANN, (free.pop().id,), self._now - HOUR, 8)
        yield self._lease(research, OTHERS[0], (free.pop().id,), self._now - HOUR, 8)
        taken = {ANN, OTHERS[0]}
        while len(free) > len(self._slots) // 50:
            group, user = self._somebody()
            if user in taken:
                continue
            taken.add(user)
            lease = self._lease(
                group, user, (free.pop().id,), self._now - self._chance.random() * 6 * HOUR, self._chance.uniform(7, 24)
            )
            idle = self._chance.random() < 0.1
            yield replace(lease, idle_since=self._now - 40 * MINUTE, busy_at=None) if idle else lease

    def _history(self) -> tuple[list[Lease], list[UsageRow]]:
        """Give each slot one lease after the other, back in time."""
        leases, usage = [], []
        until = {slot.id: self._now - 7 * HOUR for slot in self._slots}
        models = {slot.id: slot.model for slot in self._slots}
        order = [slot.id for slot in self._slots]
        for number in range(self._size.closed):
            if number % len(order) == 0:
                self._chance.shuffle(order)
            group, user = self._somebody()
            job, _ = self._chance.choices(group.jobs, [odds for _, odds in group.jobs])[0]
            worked = min(job.median * self._chance.lognormvariate(0, job.spread), 47.0)
            slots = tuple(
                {order[number % len(order)], *self._chance.sample(order, self._chance.choice(job.counts) - 1)}
            )
            end = min(until[slot] for slot in slots) - self._chance.random() * HOUR
            start = end - max(worked, 0.1) * HOUR
            idle_ms = int((end - start) / timedelta(milliseconds=1) * self._chance.choice([0, 0, 0.1, 0.4]))
            lease = self._lease(group, user, slots, start - MINUTE, worked + 1)
            lease = replace(lease, state=LeaseState.CLOSED, closed_at=end, changed_at=end, ending="stopped")
            leases.append(replace(lease, idle_ms=idle_ms))
            for slot in slots:
                until[slot] = start
                length = (end - start) // timedelta(milliseconds=1)
                usage.append(
                    UsageRow(
                        *(lease.id, user, lease.groups, "", slot, models[slot], start, end, length),
                        idle_ms=idle_ms,
                    )
                )
        return leases, usage

    def _queue(self) -> Iterator[Ticket]:
        models = frozenset({"H100-SXM5-80GB"})
        waiting = [ANN, OTHERS[0]]
        while len(waiting) < self._size.queued:
            _, user = self._somebody()
            if user not in waiting:
                waiting.append(user)
        for number, user in enumerate(waiting):
            count = self._chance.choice([1, 1, 2, 4])
            request = GpuRequest(user, "lab", "gpu", count, 4.0, models, groups=frozenset({"research"}))
            yield Ticket(self._id(), request, TicketState.WAITING, self._now - number * MINUTE)

    def _quotas(self) -> Iterator[QuotaGrant]:
        told: dict[str, Any] = {"by": "olga", "why": "A deadline", "at": self._now - DAY}
        for group in GROUPS:
            for dimension in ("gpus", "gpu_hours", "lease_hours"):
                yield QuotaGrant(Subject.GROUP, group.name, dimension, getattr(group.quota, dimension), **told)
        for number in range(0, self._size.users, 20):
            name = self._people["students"][number % len(self._people["students"])]
            until = self._now + self._chance.choice([-1, 2, 7]) * DAY if number % 3 else None
            yield QuotaGrant(Subject.USER, f"{name}-{number}", "gpus", 3, until, **told)

    def _audit(self) -> Iterator[AuditEntry]:
        for number in range(_AUDIT):
            _, user = self._somebody()
            at = self._now - (_AUDIT - number) * 10 * MINUTE
            action, subject, before, after, why = self._chance.choice(
                [
                    ("quota.set", f"user {user} gpus", {"value": 1}, {"value": 2}, "As agreed"),
                    ("lease.end", f"lease {number:016x}", {"state": "active"}, {"state": "active"}, "Others wait"),
                    ("gpu.state", f"gpu {self._chance.choice(self._slots).gpu}", *_MENDED, "New fans"),
                    ("ticket.move_up", f"ticket {number:016x}", {"moved_up": 0}, {"moved_up": 1}, "A deadline"),
                ]
            )
            yield AuditEntry(at, self._chance.choice(["olga", "otto"]), action, subject, before, after, why)

    def _homes(self) -> Iterator[Home]:
        everybody = [name for names in self._people.values() for name in names]
        for number, user in enumerate(everybody):
            yield Home(
                "berth-home-ann" if user == ANN else f"berth-home-{number}" if user != OTHERS[0] else "berth-home-1x",
                user,
                HomeState.ARCHIVED if number % 9 == 0 else HomeState.PRESENT,
                self._now - 30 * DAY,
                size=int(self._chance.expovariate(1 / (5 << 30))),
                measured_at=self._now - HOUR,
                last_used_at=self._now - self._chance.random() * 200 * DAY,
                archive=f"home-{number}.tar.zst" if number % 9 == 0 else "",
                archive_size=1 << 30 if number % 9 == 0 else None,
                archived_at=self._now - DAY if number % 9 == 0 else None,
                sha256="0" * 64 if number % 9 == 0 else "",
            )


def _row(value: Any, table: Table) -> dict[str, Any]:
    row = {_COLUMNS.get(field.name, field.name): getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Ticket):
        asked = row.pop("request")
        row |= {_COLUMNS.get(field.name, field.name): getattr(asked, field.name) for field in fields(asked)}
    row.pop("usable", None)
    if not row.get("id", True):
        del row["id"]  # the ledger numbers the audit
    return {name: value for name, value in row.items() if name in table.c}
