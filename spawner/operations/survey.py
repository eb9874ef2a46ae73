"""What somebody could have now, for the spawn form: per request the answer, and what there is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ..policy.accounting import hours_to_ms
from ..policy.leases import Allot, GpuRequest, LeaseState, Ticket, TicketState, Wait
from ..policy.leasing import decide, terms
from ..policy.model import Deny, Person
from ..policy.pool import Pool, SlotClass
from ..policy.queue import Terms, TermsOf, forecast
from .desk import Desk
from .pools import load_pool, queue_terms, spent_by


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of slot that would do.

    Attributes
    ----------
    free, total
        Slots of it that nobody holds, and all usable ones.
    widest
        The most that one server can have: on as many different GPUs of one host.
    """

    model: str
    kind: str
    memory: int
    isolation: str
    simulated: bool
    free: int
    total: int
    widest: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What a request would meet.

    Attributes
    ----------
    waiting
        How many wait for such slots.
    eta_seconds
        Until a newcomer is likely served; None if at once, or if nobody can tell.
    at_once
        GPUs that the quota allows at once; `held` of them are in use.
    longest_hours
        Longest lease.
    budget_hours, left_hours
        GPU-hours per window and what is left; None for no bound.
    """

    answer: Allot | Wait | Deny
    kinds: tuple[Kind, ...]
    waiting: int
    eta_seconds: int | None
    at_once: int
    held: int
    longest_hours: float
    budget_hours: float | None
    left_hours: float | None
    window_days: int


def survey(desk: Desk, person: Person, requests: Mapping[str, GpuRequest]) -> dict[str, Survey]:
    """Answer several requests of one person without granting any."""
    now = desk.clock()
    found = {}
    with desk.ledger.reading() as books:
        pool = load_pool(books, desk.rules, now, [person.name])
        # Who asks anew takes the offer, or gives it back.
        servers = {request.server for request in requests.values()}
        for lease in pool.leases_of(person.name):
            if lease.state is LeaseState.OFFERED and lease.server in servers:
                pool.drop_lease(lease.id)
        quota = desk.quota(books, person, now)
        spent = spent_by(books, pool, person.name, desk.rules, now)
        terms_of = queue_terms(desk, books, pool, now)
        budget = hours_to_ms(quota.gpu_hours)
        left = None if budget is None else max(0, budget - spent.used_ms - spent.committed_ms) / 3_600_000
        for key, request in requests.items():
            own = books.tickets.of_server(request.user, request.server)
            waits = own is not None and own.state is TicketState.WAITING
            place = own if own and waits else Ticket("", request, TicketState.WAITING, now, quota.priority)
            answer = decide(pool, request, quota, spent, desk.rules, now, terms_of, place)
            classes = pool.classes(request, quota.models)
            waiting = [
                ticket
                for ticket in pool.queue.values()
                if (their := terms_of(ticket)) is None or not set(classes).isdisjoint(their.classes)
            ]
            eta = _eta(pool, place, terms(pool, request, quota, spent, desk.rules, now), terms_of, desk, now)
            found[key] = Survey(
                answer,
                tuple(_kind(pool, slot_class) for slot_class in classes),
                len(waiting),
                eta if isinstance(answer, Wait) else None,
                quota.gpus,
                spent.gpus_held,
                quota.lease_hours,
                None if budget is None else quota.gpu_hours,
                left,
                desk.rules.window.days,
            )
    return found


def _kind(pool: Pool, slot_class: SlotClass) -> Kind:
    members = [pool.slots[slot] for ids in pool.members(slot_class).values() for slot in ids]
    usable = [slot for slot in members if slot.usable]
    free = sum(len(ids) for ids in pool.free(slot_class).values())
    first = members[0]
    return Kind(
        slot_class.model,
        slot_class.kind,
        slot_class.memory,
        first.isolation,
        first.simulated,
        free,
        len(usable),
        pool.widest(slot_class, usable=True),
    )


def _eta(
    pool: Pool, place: Ticket, conditions: Terms | Deny, terms_of: TermsOf, desk: Desk, now: datetime
) -> int | None:
    """Estimate in how many seconds a request would be served behind those who wait already."""
    if isinstance(conditions, Deny):
        return None
    known = place.id in pool.queue
    pool.put_ticket(place)
    try:
        line = forecast(pool, lambda one: conditions if one.id == place.id else terms_of(one), desk.rules, now)
    finally:
        if not known:
            pool.drop_ticket(place.id)
    mine = next(serving for serving in line if serving.ticket.id == place.id)
    return int((mine.placement.start - now).total_seconds()) if mine.placement else None
