"""A book of leases that is a ledger: the operations, called as the hub, the janitor and admins call them."""

import itertools
from dataclasses import replace
from datetime import datetime

from spawner.errors import LeaseLost
from spawner.ledger import Ledger
from spawner.operations import ends, inventory, leases, offers, quotas, repairs
from spawner.operations.desk import Desk
from spawner.operations.pools import load_pool
from spawner.policy.gpus import GpuState, Slot
from spawner.policy.leases import GpuRequest, Lease, Reservation, Ticket, UsageRow
from spawner.policy.model import Deny, LimitRules, Person
from spawner.policy.quota import Quota
from spawner.policy.reconcile import Repair
from spawner.policy.reservations import Reserved, reserve

from .lease_book import Clock, Hub, LeaseBook


class LedgerBook(LeaseBook):
    """The operations on an empty ledger."""

    def __init__(self, ledger: Ledger, hub: Hub, clock: Clock) -> None:
        numbers = itertools.count()
        self.desk = Desk(ledger, LimitRules(hub.quota), hub.rules, clock, lambda: f"{next(numbers):04}")
        for node in sorted({gpu.node for gpu in hub.gpus}):
            found = [gpu for gpu in hub.gpus if gpu.node == node]
            inventory.sync(self.desk, node, found, [slot for slot in hub.slots if slot.node == node])

    def acquire(self, request: GpuRequest) -> Lease | Ticket | Deny:
        answer = leases.acquire(self.desk, request)
        if isinstance(answer, leases.Granted):
            return answer.lease
        if isinstance(answer, leases.Queued):
            return answer.ticket
        if isinstance(answer, leases.Unfinished):
            return Deny("unfinished", "The server's last lease is still open.")
        assert isinstance(answer, Deny)
        return answer

    def activate(self, lease: str, container: str, started_at: datetime, answered_at: datetime | None = None) -> bool:
        try:
            leases.activate(self.desk, lease, container, started_at, answered_at)
        except LeaseLost:
            return False
        return True

    def release(self, lease: str, why: str) -> None:
        leases.release(self.desk, lease, why)

    def close(self, lease: str, ended_at: datetime | None) -> None:
        leases.close(self.desk, lease, ended_at)

    def extend(self, lease: str, hours: float | None) -> Lease | Deny:
        # Who may ask is the operation's own to say; the policy's books know only whether it can be.
        return leases.extend(self.desk, lease, hours, "ann", by_admin=True)

    def offer(self) -> None:
        offers.offer_now(self.desk)

    def cancel(self, user: str, server: str) -> bool:
        return offers.cancel(self.desk, user, server)

    def reserve(self, wish: GpuRequest, seats: int, starts_at: datetime, ends_at: datetime) -> Reservation | Deny:
        now = self.desk.clock()
        with self.desk.ledger.transaction() as books:
            pool = load_pool(books, self.desk.rules, now)
            answer = reserve(pool, wish, seats, starts_at, ends_at, self.desk.rules, now)
            if not isinstance(answer, Reserved):
                return answer
            for held, end in answer.shorten:
                assert books.leases.update(replace(held, ends_at=end), held)
            made = Reservation(self.desk.new_id(), wish.course, answer.slots, starts_at, ends_at)
            books.reservations.insert(made)
            return made

    def set_gpu_state(self, uuid: str, state: GpuState) -> None:
        inventory.set_state(self.desk, uuid, state, "admin", "a test")

    def set_quota(self, user: str, dimension: str, value: float) -> None:
        now = self.desk.clock()
        quotas.set_quota(self.desk, quotas.make_grant("user", user, dimension, value, None, "admin", "a test", now))

    def apply(self, repair: Repair) -> None:
        repairs.apply(self.desk, repair)

    def note_idle(self, lease: str, since: datetime | None) -> None:
        [held] = [one for one in repairs.open_leases(self.desk) if one.id == lease]
        assert ends.note_idle(self.desk, held, since)

    def open_leases(self) -> list[Lease]:
        return repairs.open_leases(self.desk)

    def quarantined(self) -> frozenset[str]:
        return repairs.quarantined_slots(self.desk)

    def queue(self) -> list[Ticket]:
        with self.desk.ledger.reading() as books:
            return books.tickets.waiting()

    def booked(self) -> list[UsageRow]:
        with self.desk.ledger.reading() as books:
            return books.usage.rows()

    def reservations(self) -> list[Reservation]:
        with self.desk.ledger.reading() as books:
            return books.reservations.upcoming(self.desk.clock())

    def quota(self, user: str) -> Quota:
        with self.desk.ledger.reading() as books:
            return self.desk.quota(books, Person(user), self.desk.clock())

    def slots(self) -> list[Slot]:
        with self.desk.ledger.reading() as books:
            return books.gpus.slots()
