"""What every operation starts from."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..ledger import Books, Ledger
from ..policy.leases import LeaseRules
from ..policy.limits import quota_of
from ..policy.model import LimitRules, Person
from ..policy.quota import Quota, QuotaGrant, overlay
from .forecasts import ForecastBook


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """Give an id that nobody guesses and no two processes give: 64 random bits in hexadecimal digits."""
    return secrets.token_hex(8)


@dataclass
class QuotaBook:
    """The quotas that hold now, read anew only when somebody has changed one or one has ended by itself."""

    limits: LimitRules
    # One value, for threads read it while others renew it: version, when a grant ends, rules.
    _kept: tuple[int, datetime | None, LimitRules] | None = None

    def rules(self, books: Books, now: datetime) -> LimitRules:
        kept, version = self._kept, books.quotas.version()
        if kept is not None and kept[0] == version and (kept[1] is None or now < kept[1]):
            return kept[2]
        grants: list[QuotaGrant] = books.quotas.all()
        until = min((grant.until for grant in grants if grant.until and grant.until > now), default=None)
        rules = overlay(self.limits, grants, now)
        # What is rolled back leaves its version to others.
        if books.quotas.settled:
            self._kept = version, until, rules
        return rules


@dataclass(frozen=True)
class Desk:
    """A process's one context.

    Attributes
    ----------
    limits
        The settings' quotas; the ledger's go before them.
    clock
        Gives the time, aware of its zone. What writes reads it under the ledger's lock, so that times tell the order.
    """

    ledger: Ledger
    limits: LimitRules
    rules: LeaseRules = field(default_factory=LeaseRules)
    clock: Callable[[], datetime] = utc_now
    new_id: Callable[[], str] = new_id
    quotas: QuotaBook = field(init=False, repr=False, compare=False)
    forecasts: ForecastBook = field(init=False, repr=False, compare=False, default_factory=ForecastBook)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quotas", QuotaBook(self.limits))

    def quota(self, books: Books, person: Person, now: datetime) -> Quota:
        """Give a person's quota as it holds now."""
        quota: Quota = quota_of(self.quotas.rules(books, now), person)
        return quota
