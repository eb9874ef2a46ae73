"""From the ledger's rows to the pool that the policy looks at."""

from collections.abc import Iterable
from datetime import datetime

from ..ledger import Books
from ..policy.accounting import decayed_ms, running_interval, spent
from ..policy.leases import LeaseRules, Spent, Ticket
from ..policy.leasing import terms_by
from ..policy.limits import quota_of
from ..policy.model import Person
from ..policy.pool import Pool
from ..policy.queue import TermsOf
from ..policy.quota import Quota
from .desk import Desk


def load_pool(books: Books, rules: LeaseRules, now: datetime, users: Iterable[str] = ()) -> Pool:
    """Read the pool; fair shares are those of who waits, and of `users`."""
    leases, queue = books.leases.open(), books.tickets.waiting()
    concerned = {ticket.user for ticket in queue} | set(users)
    pool = Pool(books.gpus.slots(), leases, queue, books.reservations.upcoming(now))
    if queue:
        booked = books.usage.shares(sorted(concerned), now, rules.half_life)
        pool.shares = {
            user: booked.get(user, 0.0)
            + decayed_ms((running_interval(lease, now) for lease in pool.leases_of(user)), now, rules.half_life)
            for user in concerned
        }
    return pool


def spent_by(books: Books, pool: Pool, user: str, rules: LeaseRules, now: datetime) -> Spent:
    """Sum up what a user has spent."""
    return spent(books.usage.intervals(user, now - rules.window), pool.leases_of(user), now, rules.window)


def queue_terms(desk: Desk, books: Books, pool: Pool, now: datetime, *, everybody: bool = False) -> TermsOf:
    """Give the terms of those who wait.

    Parameters
    ----------
    everybody
        Whether those of all are wanted, as a forecast does: then all are read together.
    """
    limits = desk.quotas.rules(books, now)
    waiting = {ticket.user for ticket in pool.queue.values()} if everybody else set()
    used = books.usage.intervals_of(waiting, now - desk.rules.window)

    def quota(ticket: Ticket) -> Quota:
        found: Quota = quota_of(limits, Person(ticket.user, ticket.request.groups))
        return found

    def spending(user: str) -> Spent:
        if user in used:
            return spent(used[user], pool.leases_of(user), now, desk.rules.window)
        return spent_by(books, pool, user, desk.rules, now)

    return terms_by(pool, quota, spending, desk.rules, now)
