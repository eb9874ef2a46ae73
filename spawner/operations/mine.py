"""All that a page about somebody's own GPUs shows, each part read at one moment."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from ..ledger import LeaseFilter, Only
from ..policy.accounting import days, hours_to_ms
from ..policy.gpus import Slot
from ..policy.leases import Lease, LeaseState
from ..policy.model import AtEnd, Deny, Person
from .desk import Desk
from .holdings import Holdings, held
from .leases import choose_at_end, end, longest
from .offers import Place
from .pools import load_pool
from .quotas import Account, account_of
from .reports import Row, report

_OVER = Deny("lease_over", "This lease is being ended.")


@dataclass(frozen=True, slots=True)
class OwnLease:
    """An open lease.

    Attributes
    ----------
    longest
        How long it could last, or why no longer.
    """

    lease: Lease
    slots: tuple[Slot, ...]
    longest: datetime | Deny


@dataclass(frozen=True, slots=True)
class Mine:
    """What somebody holds, waits for and may have.

    Attributes
    ----------
    at
        When.
    leases
        Open ones, offers left out; those are in `places`.
    budget_ms
        GPU time per window of `window_days`; None for no bound.
    """

    at: datetime
    leases: tuple[OwnLease, ...]
    places: tuple[Place, ...]
    account: Account
    budget_ms: int | None
    window_days: int

    @property
    def left_ms(self) -> int | None:
        """What of the budget is neither used nor promised to running leases; None for no bound."""
        if self.budget_ms is None:
            return None
        return max(0, self.budget_ms - self.account.used_ms - self.account.committed_ms)


def mine(desk: Desk, person: Person) -> Mine:
    """Read all of a person's."""
    now = desk.clock()
    with desk.ledger.reading() as books:
        pool = load_pool(books, desk.rules, now, [person.name])
        holds: Holdings = held(desk, books, pool, person, now)
        account = account_of(desk, books, pool, person, now)
        own = []
        for one in holds.leases:
            over = one.lease.state not in {LeaseState.PENDING, LeaseState.ACTIVE}
            own.append(OwnLease(one.lease, one.slots, _OVER if over else longest(desk, books, pool, one.lease, now)))
    budget = hours_to_ms(_budget(account))
    return Mine(now, tuple(own), holds.places, account, budget, desk.rules.window.days)


def _budget(account: Account) -> float:
    return next(float(one.origin.value) for one in account.quota if one.dimension == "gpu_hours")


@dataclass(frozen=True, slots=True)
class PastLease:
    """A lease, open or closed, with the model of each of its slots; empty for one that nobody knows any more."""

    lease: Lease
    models: tuple[str, ...]


def history(
    desk: Desk,
    user: str,
    *,
    holding: bool | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int = 50,
) -> list[PastLease]:
    """List a user's leases, the latest granted first.

    Parameters
    ----------
    holding
        Only those that hold slots, or only those that do not.
    after
        Where the page before ended: `Lease.granted_at` and `Lease.id` of its last one.
    """
    with desk.ledger.reading() as books:
        found = books.leases.page(LeaseFilter(user=user, open=holding), after=after, limit=limit)
        models = books.gpus.models({slot for lease in found for slot in lease.slots})
    return [PastLease(lease, tuple(models.get(slot, "") for slot in lease.slots)) for lease in found]


def with_models(desk: Desk, lease: Lease) -> PastLease:
    """Look up the models of a lease's slots."""
    with desk.ledger.reading() as books:
        models = books.gpus.models(lease.slots)
    return PastLease(lease, tuple(models.get(slot, "") for slot in lease.slots))


def own_lease(desk: Desk, user: str, lease_id: str) -> Lease | None:
    """Give a user's lease; None if it is not theirs, or there is none."""
    with desk.ledger.reading() as books:
        lease = books.leases.get(lease_id)
    return lease if lease is not None and lease.user == user else None


def own_place(desk: Desk, user: str, ticket_id: str) -> str | None:
    """Tell which of a user's servers waits with a ticket, or has an offer by it; None if none does."""
    with desk.ledger.reading() as books:
        found = [one for one in books.tickets.live() if one.id == ticket_id and one.user == user]
    return found[0].request.server if found else None


def give_back(desk: Desk, lease_id: str, at_end: AtEnd, actor: str) -> Lease:
    """Give the GPUs of a lease back before its end.

    Raises
    ------
    LeaseLost
        If it has ended, or is being ended.
    """
    choose_at_end(desk, lease_id, at_end)
    return end(desk, lease_id, actor, "", code="released")


@dataclass(frozen=True, slots=True)
class DayOfUse:
    """What was used on a day of a zone, open leases included.

    Attributes
    ----------
    day
        Such as ``2027-03-01``.
    idle_ms
        Of `gpu_ms`, how many nothing was done with the GPUs.
    """

    day: str
    gpu_ms: int
    idle_ms: int

    @property
    def busy_ms(self) -> int:
        return self.gpu_ms - self.idle_ms


def use_by_day(desk: Desk, user: str, since: datetime, until: datetime, zone: tzinfo = UTC) -> list[DayOfUse]:
    """Give what a user has used on each day from `since` to `until`, days without use too."""
    until = min(until, desk.clock())
    if until <= since:
        return []
    found = {row.key: row for row in report(desk, "day", since, until, zone=zone, only=Only(user=user)).rows}
    return [
        DayOfUse(day, row.leased_ms, row.idle_ms)
        for day, _, _ in days(since, until, zone)
        for row in [found.get(day, Row(day))]
    ]
