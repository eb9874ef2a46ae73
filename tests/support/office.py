"""A desk of a test's own, on a real ledger, with a clock that the test sets; and what users do at it."""

import itertools
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from spawner.ledger import AuditEntry, Ledger
from spawner.ledger.tables import metadata
from spawner.operations import inventory, leases, quotas
from spawner.operations.desk import Desk
from spawner.operations.leases import Answer, Granted, Queued
from spawner.policy.gpus import LOCAL_NODE, Gpu, Slot
from spawner.policy.leases import GpuRequest, Lease, LeaseRules, Reservation, Ticket, UsageRow
from spawner.policy.model import IfBusy, LimitRules
from spawner.policy.quota import Quota

from .lease_book import Clock
from .ledgers import Place

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
MS = timedelta(milliseconds=1)
RULES = LeaseRules()
LIMITS = LimitRules(Quota(cpu=2, memory=6 << 30, processes=512, shm=1 << 30, open_files=1024, gpus=4, lease_hours=24))

Tables = dict[str, list[tuple[Any, ...]]]


@dataclass
class Office:
    """A desk, and the people before it."""

    ledger: Ledger
    place: Place
    clock: Clock = field(default_factory=lambda: Clock(NOW))
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.desk = Desk(self.ledger, LIMITS, RULES, self.clock, lambda: f"id{next(numbers):04}")

    def wait(self, length: timedelta) -> None:
        self.clock.now += length

    def fit(self, *fitted: tuple[Sequence[Gpu], Sequence[Slot]], node: str = LOCAL_NODE) -> bool:
        """Let the probe of a node find these and no others."""
        return inventory.sync(
            self.desk,
            node,
            [gpu for gpus, _ in fitted for gpu in gpus],
            [slot for _, slots in fitted for slot in slots],
        )

    # --- what users do ------------------------------------------------------------------------------------------------

    def ask(
        self,
        user: str,
        count: int = 1,
        hours: float | None = 4,
        *,
        server: str = "",
        if_busy: IfBusy = IfBusy.QUEUE,
        **more: Any,
    ) -> Answer:
        return leases.acquire(self.desk, GpuRequest(user, server, "gpu", count, hours, **more), if_busy)

    def granted(self, user: str, count: int = 1, hours: float | None = 4, **more: Any) -> Lease:
        """Ask for GPUs that are free, or offered."""
        answer = self.ask(user, count, hours, **more)
        assert isinstance(answer, Granted), answer
        return answer.lease

    def running(self, user: str, count: int = 1, hours: float | None = 4, **more: Any) -> Lease:
        """Start a server, which runs from now on."""
        lease = self.granted(user, count, hours, **more)
        return leases.activate(self.desk, lease.id, f"container-{lease.id}", self.clock.now)

    def queued(self, user: str, count: int = 1, hours: float | None = 4, **more: Any) -> Ticket:
        """Ask for GPUs that are not free."""
        answer = self.ask(user, count, hours, **more)
        assert isinstance(answer, Queued), answer
        return answer.ticket

    def stop(self, lease: Lease) -> Lease:
        """Stop a server; its container ends now."""
        leases.release(self.desk, lease.id, "stopped")
        return leases.close(self.desk, lease.id, self.clock.now)

    def give(self, subject: str, name: str, dimension: str, value: object, until: datetime | None = None) -> None:
        """Let an admin set a quota."""
        grant = quotas.make_grant(subject, name, dimension, value, until, "olga", "a test", self.clock.now)
        quotas.set_quota(self.desk, grant)

    def reserve(self, course: str, starts_at: datetime, ends_at: datetime, *slots: str) -> Reservation:
        made = Reservation(self.desk.new_id(), course, slots, starts_at, ends_at)
        with self.ledger.transaction() as books:
            books.reservations.insert(made)
        return made

    # --- what is written ----------------------------------------------------------------------------------------------

    def lease(self, lease_id: str) -> Lease:
        with self.ledger.reading() as books:
            found = books.leases.get(lease_id)
        assert found is not None
        return found

    def ticket(self, ticket_id: str) -> Ticket:
        with self.ledger.reading() as books:
            found = books.tickets.get(ticket_id)
        assert found is not None
        return found

    def offer_to(self, ticket: Ticket) -> Lease:
        """Give the lease that a ticket is offered."""
        found = self.ticket(ticket.id)
        assert found.state == "offered", found
        return self.lease(found.lease)

    def booked(self) -> list[UsageRow]:
        with self.ledger.reading() as books:
            return books.usage.rows()

    def audit(self) -> list[AuditEntry]:
        """List what was audited, the oldest first."""
        with self.ledger.reading() as books:
            return list(reversed(books.audit.list(limit=1000)))

    def tables(self) -> Tables:
        return tables_of(self.place.url)


def tables_of(url: str) -> Tables:
    """Read all rows of all tables, past the ledger."""
    names = [table.name for table in metadata.sorted_tables]
    if url.startswith("sqlite"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"))
    else:
        connection = psycopg.connect(url)
    try:
        return {name: sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr) for name in names}
    finally:
        connection.close()
