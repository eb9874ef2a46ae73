"""What somebody holds and waits for now, for the pages that show it."""

from dataclasses import dataclass
from datetime import datetime

from ..ledger import Books
from ..policy.accounting import hours_to_ms
from ..policy.gpus import Slot
from ..policy.leases import Lease, LeaseState
from ..policy.model import Person
from ..policy.pool import Pool
from .desk import Desk
from .offers import Place, line_of
from .pools import load_pool, spent_by


@dataclass(frozen=True, slots=True)
class Holding:
    """A lease with its slots, as far as the inventory still knows them."""

    lease: Lease
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that a person holds and waits for.

    Attributes
    ----------
    leases
        Open ones, offers left out.
    places
        In the queue; with an offer, `Place.offered` is it.
    at_once
        GPUs that the quota allows at once; `held` of them are in use.
    budget_hours, left_hours
        GPU-hours per `window_days`, and what is left; None for no bound.
    """

    leases: tuple[Holding, ...]
    places: tuple[Place, ...]
    at_once: int
    held: int
    budget_hours: float | None
    left_hours: float | None
    window_days: int


def holding(desk: Desk, user: str, server: str) -> Holding | None:
    """Give the open lease of a server; an offer is none yet."""
    with desk.ledger.reading() as books:
        lease = books.leases.of_server(user, server)
        if lease is None or lease.state is LeaseState.OFFERED:
            return None
        known = {slot.id: slot for slot in books.gpus.slots()}
        return Holding(lease, _slots(lease, known))


def holdings(desk: Desk, person: Person) -> Holdings:
    """Give all open leases of a person, their places in the queue and what their quota leaves."""
    now = desk.clock()
    with desk.ledger.reading() as books:
        return held(desk, books, load_pool(books, desk.rules, now, [person.name]), person, now)


def held(desk: Desk, books: Books, pool: Pool, person: Person, now: datetime) -> Holdings:
    """Do what `holdings` does, in a transaction of the caller's."""
    quota = desk.quota(books, person, now)
    spent = spent_by(books, pool, person.name, desk.rules, now)
    budget = hours_to_ms(quota.gpu_hours)
    left = None if budget is None else max(0, budget - spent.used_ms - spent.committed_ms) / 3_600_000
    mine = books.leases.of_user(person.name)
    offered = {lease.id: lease for lease in mine if lease.state is LeaseState.OFFERED}
    places = [
        Place(ticket, 0, now, len(pool.queue), offered[ticket.lease])
        for ticket in books.tickets.live()
        if ticket.user == person.name and ticket.lease in offered
    ]
    if any(ticket.user == person.name for ticket in pool.queue.values()):
        line = line_of(desk, books, pool, {one.id for one in pool.queue.values() if one.user == person.name}, now)
        for serving in line:
            if serving.ticket.user == person.name:
                eta: datetime | None = serving.placement.start if serving.placement else None
                places.append(Place(serving.ticket, serving.position, eta, len(line), blocked=serving.blocked))
    return Holdings(
        tuple(Holding(lease, _slots(lease, pool.slots)) for lease in mine if lease.id not in offered),
        tuple(places),
        quota.gpus,
        spent.gpus_held,
        None if budget is None else quota.gpu_hours,
        left,
        desk.rules.window.days,
    )


def _slots(lease: Lease, known: dict[str, Slot]) -> tuple[Slot, ...]:
    return tuple(known[slot_id] for slot_id in lease.slots if slot_id in known)
