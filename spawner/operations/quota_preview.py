"""What a change of quotas would do, before it is made: to whom, to leases that run, to those who wait."""

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ..ledger import Books
from ..policy.accounting import Interval
from ..policy.accounting import spent as sum_up
from ..policy.ends import trimmed_ends
from ..policy.leases import Lease, LeaseState, Spent, Ticket
from ..policy.leasing import lease_length, terms, terms_by
from ..policy.limits import Origin, origins, quota_of
from ..policy.model import Deny, LimitRules, Person
from ..policy.pool import Pool
from ..policy.queue import TermsOf, offers
from ..policy.quota import QUOTA_DIMENSIONS, Quota, QuotaGrant, Subject, allows, overlay
from .desk import Desk
from .offers import offered_lease
from .pools import load_pool
from .quotas import Change, Edits, imported, key_of


@dataclass(frozen=True, slots=True)
class Shift:
    """A value of somebody's quota before and after, each with its origin."""

    dimension: str
    before: Origin
    after: Origin


@dataclass(frozen=True, slots=True)
class PersonChanged:
    """Somebody whose quota would be another one."""

    person: Person
    shifts: tuple[Shift, ...]


class LeaseEffect(enum.StrEnum):
    """What a change means for a lease that is open, and did not before.

    ``shortened``: it ends earlier, for the new budget does not have so many GPU-hours. ``too_many``, ``too_long`` and
    ``model`` let it run to its end, but it is not extended any more: its user holds too many GPUs, it lasts longer than
    a lease may, or has GPUs of another model than allowed. ``profile``: its server cannot be started again as it is.
    """

    SHORTENED = "shortened"
    TOO_MANY = "too_many"
    TOO_LONG = "too_long"
    MODEL = "model"
    PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class LeaseTouched:
    """An open lease, and what a change means for it.

    Attributes
    ----------
    ends_at
        Its end after the change; another one only if it is shortened.
    """

    lease: Lease
    effects: tuple[LeaseEffect, ...]
    ends_at: datetime


class TicketEffect(enum.StrEnum):
    """What a change means for somebody who waits.

    ``offered``: GPUs at once. ``waits``: may have GPUs again and waits in turn. ``blocked``: may have none for now, as
    GPUs held or hours used stand in the way. ``never``: can have none as long as the quota holds. ``profile``: may
    not start the profile that is waited for.
    """

    OFFERED = "offered"
    WAITS = "waits"
    BLOCKED = "blocked"
    NEVER = "never"
    PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class TicketTouched:
    """Somebody who waits, and what a change means for them.

    Attributes
    ----------
    reason
        Why they may have none, as they would be told.
    """

    ticket: Ticket
    effect: TicketEffect
    reason: Deny | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would do.

    Attributes
    ----------
    changes
        Values that would be set or taken back; those that stay as they are are left out.
    version
        Of all that is set, as `spawner.operations.quotas.AllSet.version`.
    people
        Those known whose quota changes, by name.
    """

    changes: tuple[Change, ...]
    version: int
    people: tuple[PersonChanged, ...]
    leases: tuple[LeaseTouched, ...]
    tickets: tuple[TicketTouched, ...]


def preview(desk: Desk, edits: Edits, people: Iterable[Person]) -> Preview:
    """Tell what setting and taking back some values would do, without changing anything.

    Parameters
    ----------
    people
        Those known, with their groups. What becomes of leases and tickets is told by the groups written in these.
    """

    def plan(current: list[QuotaGrant]) -> list[Change]:
        old = {key_of(grant): grant for grant in current}
        return [Change(old.get(key), new) for key, new in edits.items() if old.get(key) != new]

    return _preview(desk, plan, people)


def preview_import(
    desk: Desk, grants: Sequence[QuotaGrant], people: Iterable[Person], *, keep_others: bool = False
) -> Preview:
    """Tell what `spawner.operations.quotas.replace_all` would do, without changing anything."""
    return _preview(desk, lambda current: imported(current, grants, keep_others=keep_others), people)


def _preview(desk: Desk, plan: Callable[[list[QuotaGrant]], list[Change]], people: Iterable[Person]) -> Preview:
    now = desk.clock()
    with desk.ledger.reading() as books:
        current, version = books.quotas.all(), books.quotas.version()
        changes = plan(current)
        before, after = desk.quotas.rules(books, now), overlay(desk.limits, _applied(current, changes), now)
        looked = _Look(desk, before, after, _Concern.of(changes), now)
        changed = [found for person in people if (found := looked.person(person)) is not None]
        leases, tickets = looked.at_pool(books) if changes else ((), ())
    changed.sort(key=lambda found: found.person.name)
    return Preview(tuple(changes), version, tuple(changed), tuple(leases), tuple(tickets))


def _applied(current: Iterable[QuotaGrant], changes: Iterable[Change]) -> list[QuotaGrant]:
    wanted = {key_of(grant): grant for grant in current}
    for change in changes:
        if change.after is not None:
            wanted[key_of(change.after)] = change.after
        elif change.before is not None:
            del wanted[key_of(change.before)]
    return list(wanted.values())


@dataclass(frozen=True)
class _Concern:
    """Which dimensions are spoken of, by subject, so that nobody else need be looked at."""

    default: frozenset[str]
    groups: Mapping[str, frozenset[str]]
    users: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, changes: Iterable[Change]) -> "_Concern":
        found: dict[Subject, dict[str, frozenset[str]]] = {subject: {} for subject in Subject}
        for change in changes:
            for grant in (change.before, change.after):
                if grant is not None:
                    subject, name, dimension = key_of(grant)
                    found[subject][name] = found[subject].get(name, frozenset()) | {dimension}
        return cls(found[Subject.DEFAULT].get("", frozenset()), found[Subject.GROUP], found[Subject.USER])

    def dimensions(self, person: Person) -> frozenset[str]:
        concerned = self.default
        if person.name in self.users:
            concerned |= self.users[person.name]
        if self.groups and not self.groups.keys().isdisjoint(person.groups):
            concerned = concerned.union(*(self.groups[group] for group in person.groups if group in self.groups))
        return concerned


@dataclass
class _Look:
    """The quotas before and after, and whom they concern."""

    desk: Desk
    before: LimitRules
    after: LimitRules
    concern: _Concern
    now: datetime
    _kept: dict[Person, tuple[Quota, Quota] | None] = field(default_factory=dict)
    _of_groups: dict[frozenset[str], tuple[Shift, ...]] = field(default_factory=dict)

    def person(self, person: Person) -> PersonChanged | None:
        shifts = self._shifts(person)
        return PersonChanged(person, shifts) if shifts else None

    def _shifts(self, person: Person) -> tuple[Shift, ...]:
        dimensions = self.concern.dimensions(person)
        if not dimensions:
            return ()
        if any(person.name in rules.users for rules in (self.before, self.after)):
            return self._compare(person, dimensions)
        # Of whom nothing is said by name, all with the same groups have the same.
        if person.groups not in self._of_groups:
            self._of_groups[person.groups] = self._compare(person, dimensions)
        return self._of_groups[person.groups]

    def _compare(self, person: Person, dimensions: frozenset[str]) -> tuple[Shift, ...]:
        before, after = origins(self.before, person, dimensions), origins(self.after, person, dimensions)
        return tuple(
            Shift(name, before[name], after[name])
            for name in QUOTA_DIMENSIONS
            if name in dimensions and before[name].value != after[name].value
        )

    def quotas(self, person: Person) -> tuple[Quota, Quota] | None:
        """Give somebody's quotas before and after; None if they are the same."""
        if person not in self._kept:
            changed = bool(self._shifts(person))
            self._kept[person] = (quota_of(self.before, person), quota_of(self.after, person)) if changed else None
        return self._kept[person]

    def at_pool(self, books: Books) -> tuple[list[LeaseTouched], list[TicketTouched]]:
        pool = load_pool(books, self.desk.rules, self.now)
        spending = self._spending(books, pool)
        was = self._terms(pool, self.before, spending)
        waiting = list(pool.queue.values())
        allowed_before = {ticket.id: was(ticket) is not None for ticket in waiting}
        trimmed_before = self._trimmed(pool, spending, 0)
        served = self._serve(pool, spending)
        # As what is offered at once leaves it, for that goes along with the change.
        then = self._terms(pool, self.after, spending)
        trimmed = self._trimmed(pool, spending, 1)
        leases = [
            touched
            for lease in sorted(pool.leases.values(), key=lambda lease: (lease.user, lease.server))
            if lease.id not in served
            and (touched := self._lease(pool, lease, trimmed_before.get(lease.id), trimmed.get(lease.id)))
        ]
        offered = {lease.ticket for lease in served.values()}
        tickets = []
        for ticket in waiting:
            if ticket.id in offered:
                tickets.append(TicketTouched(ticket, TicketEffect.OFFERED))
            elif allowed_before[ticket.id] != (then(ticket) is not None):
                tickets.append(self._turned(pool, ticket, allowed_before[ticket.id], spending))
            elif not ticket.request.is_seat and self._profile_gone(
                _holder(ticket.user, ticket.request.groups), ticket.request.profile
            ):
                tickets.append(TicketTouched(ticket, TicketEffect.PROFILE))
        return leases, tickets

    # --- what was used, and what may be ---------------------------------------------------------------------------

    def _spending(self, books: Books, pool: Pool) -> Callable[[str], Spent]:
        """Give the function that tells what a user of the pool has spent; reads it for all at once."""
        holders = [_holder(lease.user, lease.groups) for lease in pool.leases.values()]
        concerned = {person.name for person in holders if self.quotas(person)}
        waiting = {_holder(ticket.user, ticket.request.groups) for ticket in pool.queue.values()}
        # Where no budget is bounded, only what is held counts.
        concerned |= {person.name for person in waiting if self._bounded(person)}
        booked = books.usage.intervals_of(sorted(concerned), self.now - self.desk.rules.window)
        none: list[Interval] = []

        def spending(user: str) -> Spent:
            return sum_up(booked.get(user, none), pool.leases_of(user), self.now, self.desk.rules.window)

        return spending

    def _bounded(self, person: Person) -> bool:
        budgets = (origins(rules, person, ["gpu_hours"])["gpu_hours"].value for rules in (self.before, self.after))
        return not all(map(math.isinf, budgets))

    def _terms(self, pool: Pool, rules: LimitRules, spending: Callable[[str], Spent]) -> TermsOf:
        def quota(ticket: Ticket) -> Quota:
            found: Quota = quota_of(rules, _holder(ticket.user, ticket.request.groups))
            return found

        return terms_by(pool, quota, spending, self.desk.rules, self.now)

    # --- those who wait -------------------------------------------------------------------------------------------

    def _serve(self, pool: Pool, spending: Callable[[str], Spent]) -> dict[str, Lease]:
        """Offer in the pool what would be offered, as `spawner.operations.offers.make_offers` does in the ledger."""
        served: dict[str, Lease] = {}
        while pool.queue:
            servings = offers(pool, self._terms(pool, self.after, spending), self.desk.rules, self.now)
            for serving in servings:
                if serving.placement is not None:
                    ticket_id = serving.ticket.id
                    lease = offered_lease(
                        f"of {ticket_id}", serving.ticket, serving.placement, self.desk.rules, self.now
                    )
                    served[lease.id] = lease
                    pool.drop_ticket(ticket_id)
                    pool.put_lease(lease)
            if not servings:
                break
        return served

    def _turned(self, pool: Pool, ticket: Ticket, allowed: bool, spending: Callable[[str], Spent]) -> TicketTouched:
        """Tell of a ticket whose user's quota gives something for it before or after, and not both."""
        if not allowed:
            return TicketTouched(ticket, TicketEffect.WAITS)
        quota: Quota = quota_of(self.after, _holder(ticket.user, ticket.request.groups))

        def answer(spent: Spent) -> object:
            return terms(pool, ticket.request, quota, spent, self.desk.rules, self.now)

        reason, ever = answer(spending(ticket.user)), answer(Spent())
        effect = TicketEffect.NEVER if isinstance(ever, Deny) else TicketEffect.BLOCKED
        return TicketTouched(ticket, effect, reason if isinstance(reason, Deny) else None)

    def _profile_gone(self, person: Person, profile: str) -> bool:
        quotas = self.quotas(person)
        return quotas is not None and allows(quotas[0].profiles, profile) and not allows(quotas[1].profiles, profile)

    # --- leases ---------------------------------------------------------------------------------------------------

    def _trimmed(self, pool: Pool, spending: Callable[[str], Spent], which: int) -> dict[str, datetime]:
        """Give the new ends of leases that the janitor would shorten, before the change (0) or after it (1)."""
        found: dict[str, datetime] = {}
        for user in {lease.user for lease in pool.leases.values()}:
            own = [lease for lease in pool.leases_of(user) if not lease.course]
            active = [lease for lease in own if lease.state is LeaseState.ACTIVE]
            # It goes by the groups of the first.
            quotas = self.quotas(_holder(user, active[0].groups)) if active else None
            if quotas is not None:
                ends = trimmed_ends(active, quotas[which], spending(user), self.now)
                found |= {lease.id: end for lease, end in ends}
        return found

    def _lease(
        self, pool: Pool, lease: Lease, end_before: datetime | None, end: datetime | None
    ) -> LeaseTouched | None:
        holder = _holder(lease.user, lease.groups)
        quotas = self.quotas(holder)
        effects = []
        if end is not None and end != end_before:
            effects.append(LeaseEffect.SHORTENED)
        # No quota of its user's stands against a seat in a course.
        if quotas is not None and lease.state is not LeaseState.RELEASING and not lease.course:
            before, after = quotas
            held = sum(len(one.slots) for one in pool.leases_of(lease.user) if not one.course)
            models = {pool.slots[slot].model for slot in lease.slots if slot in pool.slots}
            left = (end or lease.ends_at) - self.now
            if after.gpus < held <= before.gpus:
                effects.append(LeaseEffect.TOO_MANY)
            if lease_length(after.lease_hours) < left <= lease_length(before.lease_hours):
                effects.append(LeaseEffect.TOO_LONG)
            if any(allows(before.models, model) and not allows(after.models, model) for model in models):
                effects.append(LeaseEffect.MODEL)
            if self._profile_gone(holder, lease.profile):
                effects.append(LeaseEffect.PROFILE)
        return LeaseTouched(lease, tuple(effects), end or lease.ends_at) if effects else None


def _holder(user: str, groups: frozenset[str]) -> Person:
    return Person(user, groups)
