"""What the janitor notes of leases that do nothing, and of those that their users' budgets no longer cover."""

from dataclasses import replace
from datetime import datetime

from ..ledger import Books
from ..policy.accounting import idle_noted
from ..policy.ends import trimmed_ends
from ..policy.leases import Lease, LeaseState
from ..policy.model import Person
from .desk import Desk
from .leases import rewrite
from .pools import load_pool, spent_by


def note_idle(desk: Desk, was: Lease, since: datetime | None, until: datetime | None = None) -> bool:
    """Note since when a lease does nothing; False if it has changed state, or something was noted, meanwhile.

    Parameters
    ----------
    until
        When a spell of idleness that was noted before was last seen to last, where that is not now.
    """
    with desk.ledger.transaction() as books:
        # Read anew: it may have been extended, or its server may have reported, without a change of state.
        lease = books.leases.get(was.id)
        if lease is None or (lease.changed_at, lease.idle_since) != (was.changed_at, was.idle_since):
            return False
        return books.leases.update(idle_noted(lease, since, until or desk.clock()), lease)


def note_warning(desk: Desk, lease_id: str, warning: str) -> bool:
    """Note what a lease's user is told who takes more than their share; empty if that is over."""
    with desk.ledger.transaction() as books:
        lease = books.leases.get(lease_id)
        if lease is None or lease.state is not LeaseState.ACTIVE or lease.warning == warning:
            return False
        return books.leases.update(replace(lease, warning=warning), lease)


def too_long(desk: Desk) -> list[tuple[Lease, datetime]]:
    """List leases that would outrun their user's budget, each with the end that it affords.

    At a grant the budget covers the whole lease; afterwards only a change of quota makes it short.
    """
    with desk.ledger.reading() as books:
        return _too_long(desk, books, desk.clock())


def _too_long(desk: Desk, books: Books, now: datetime) -> list[tuple[Lease, datetime]]:
    pool = load_pool(books, desk.rules, now)
    found = []
    for user in sorted({lease.user for lease in pool.leases.values()}):
        active = [lease for lease in pool.leases_of(user) if lease.state is LeaseState.ACTIVE and not lease.course]
        if active:
            quota = desk.quota(books, Person(user, active[0].groups), now)
            found += trimmed_ends(active, quota, spent_by(books, pool, user, desk.rules, now), now)
    return found


def trim_all(desk: Desk) -> list[Lease]:
    """Shorten leases that would outrun their user's budget; their users are warned as before any end."""
    trimmed = []
    with desk.ledger.transaction() as books:
        for lease, end in _too_long(desk, books, desk.clock()):
            shorter = replace(lease, ends_at=end, ending=lease.ending or "over_budget", warned=None)
            rewrite(books, shorter, lease)
            trimmed.append(shorter)
    return trimmed
