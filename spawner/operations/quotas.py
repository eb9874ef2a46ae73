"""Quotas that admins set, beside those of the settings; read, written and explained."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..errors import QuotaInvalid
from ..ledger import AuditEntry, Books
from ..policy.limits import Origin
from ..policy.limits import why as explain
from ..policy.model import Person
from ..policy.quota import QUOTA_DIMENSIONS, QuotaGrant, Subject
from .desk import Desk
from .offers import make_offers
from .pools import load_pool, spent_by
from .quota_values import parse_value, show_value


def all_grants(desk: Desk) -> list[QuotaGrant]:
    """List what admins have set, default first, then groups, then users."""
    order = list(Subject)
    with desk.ledger.reading() as books:
        grants = books.quotas.all()
    return sorted(grants, key=lambda grant: (order.index(grant.subject), grant.name, grant.dimension))


def make_grant(
    subject: str, name: str, dimension: str, value: object, until: datetime | None, by: str, why: str, now: datetime
) -> QuotaGrant:
    """Check and build a grant.

    Raises
    ------
    QuotaInvalid
        Names what is wrong: the subject, the dimension, the value or the time.
    """
    if subject not in list(Subject):
        raise QuotaInvalid(f"A quota is set for {', '.join(Subject)}, not for {subject!r}.")
    if (subject == Subject.DEFAULT) != (name == ""):
        raise QuotaInvalid("The default has no name." if name else f"Which {subject}? Name it.")
    if not (name.isprintable() and why.isprintable()):
        raise QuotaInvalid("Names and reasons are one line of text, without control characters.")
    if dimension not in QUOTA_DIMENSIONS:
        raise QuotaInvalid(f"There is no dimension {dimension!r}; there are: {', '.join(QUOTA_DIMENSIONS)}.")
    if until is not None and until <= now:
        raise QuotaInvalid(f"It would end at {until:%Y-%m-%d %H:%M} UTC, which has passed.")
    return QuotaGrant(Subject(subject), name, dimension, parse_value(dimension, value), until, by, why, now)


def set_quota(desk: Desk, grant: QuotaGrant) -> QuotaGrant | None:
    """Set one value; gives what it replaced. Who waits may be served by it at once."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        before = books.quotas.set(grant)
        _audit(books, now, grant.by, "quota.set", before, grant, grant.why)
        make_offers(desk, books, now)
        return before


def unset_quota(desk: Desk, subject: Subject, name: str, dimension: str, by: str, why: str) -> QuotaGrant | None:
    """Take one value back, so that the settings' holds; None if none was set."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        before = books.quotas.unset(subject, name, dimension)
        if before is not None:
            _audit(books, now, by, "quota.unset", before, None, why)
            make_offers(desk, books, now)
        return before


@dataclass(frozen=True, slots=True)
class Change:
    """What an import changes: None before for what is new, None after for what goes."""

    before: QuotaGrant | None
    after: QuotaGrant | None


def changes(desk: Desk, grants: Sequence[QuotaGrant]) -> list[Change]:
    """Tell what `replace_all` would change, without changing anything."""
    with desk.ledger.reading() as books:
        return _changes(books.quotas.all(), grants)


def replace_all(desk: Desk, grants: Sequence[QuotaGrant], by: str, why: str) -> list[Change]:
    """Replace all that is set, all or nothing; gives what it changed.

    Parameters
    ----------
    grants
        No two of the same subject, name and dimension. One that is set already with the same value and end stays as
        it is, with its author.
    why
        Of those grants that give no reason of their own, and of what is removed.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        signed = [replace(grant, by=by, why=grant.why or why, at=now) for grant in grants]
        before = {_key(grant): grant for grant in books.quotas.all()}
        changed = _changes(before.values(), grants)
        if not changed:
            return changed
        concerned = {_key(change.after) for change in changed if change.after}
        kept = [grant if (key := _key(grant)) in concerned else before[key] for grant in signed]
        books.quotas.replace_all(kept)
        after = {_key(grant): grant for grant in kept}
        changed = [Change(change.before, after[_key(change.after)] if change.after else None) for change in changed]
        for change in changed:
            reason = change.after.why if change.after else why
            _audit(books, now, by, "quota.import", change.before, change.after, reason)
        make_offers(desk, books, now)
        return changed


def _changes(before: Iterable[QuotaGrant], after: Iterable[QuotaGrant]) -> list[Change]:
    old, new = {_key(grant): grant for grant in before}, {_key(grant): grant for grant in after}
    found = [Change(old.get(key), grant) for key, grant in new.items() if not _alike(old.get(key), grant)]
    return found + [Change(grant, None) for key, grant in old.items() if key not in new]


def _key(grant: QuotaGrant) -> tuple[Subject, str, str]:
    return grant.subject, grant.name, grant.dimension


def _alike(one: QuotaGrant | None, other: QuotaGrant) -> bool:
    if one is None or (one.value, one.until) != (other.value, other.until):
        return False
    return other.why in {"", one.why}


def _audit(
    books: Books, now: datetime, by: str, action: str, before: QuotaGrant | None, after: QuotaGrant | None, why: str
) -> None:
    subject = next(" ".join(filter(None, _key(grant))) for grant in (before, after) if grant is not None)
    entry = AuditEntry(
        at=now, actor=by, action=action, subject=subject, before=_shown(before), after=_shown(after), why=why
    )
    books.audit.append(entry)


def _shown(grant: QuotaGrant | None) -> dict[str, Any] | None:
    if grant is None:
        return None
    until = grant.until.isoformat() if grant.until else None
    return {"value": show_value(grant.dimension, grant.value), "until": until}


@dataclass(frozen=True, slots=True)
class Explained:
    """One value of a person's quota.

    Attributes
    ----------
    grant
        The admin's grant it comes from; None where it is the settings'.
    """

    dimension: str
    origin: Origin
    grant: QuotaGrant | None


@dataclass(frozen=True, slots=True)
class Account:
    """A person's quota and what is left of it.

    Attributes
    ----------
    used_ms, committed_ms
        GPU time in the window, and what running leases may still use.
    """

    person: Person
    quota: tuple[Explained, ...]
    used_ms: int
    committed_ms: int
    gpus_held: int


def account(desk: Desk, person: Person) -> Account:
    """Explain a person's quota, each value with its origin, and what they have used of it."""
    now = desk.clock()
    with desk.ledger.reading() as books:
        explained = explain(desk.quotas.rules(books, now), person)
        grants = {_key(grant): grant for grant in books.quotas.all() if grant.until is None or grant.until > now}
        pool = load_pool(books, desk.rules, now, [person.name])
        spent = spent_by(books, pool, person.name, desk.rules, now)
    quota = tuple(
        Explained(dimension, origin, _grant_of(grants, dimension, origin)) for dimension, origin in explained.items()
    )
    return Account(person, quota, spent.used_ms, spent.committed_ms, spent.gpus_held)


def _grant_of(grants: dict[tuple[Subject, str, str], QuotaGrant], dimension: str, origin: Origin) -> QuotaGrant | None:
    kind, _, name = origin.source.partition(" ")
    subject = Subject.GROUP if kind in {"group", "groups"} else Subject(kind)
    # Of joined groups the first that an admin has spoken of.
    names = name.split(", ") if kind == "groups" else [name]
    return next((grants[key] for one in names if (key := (subject, one, dimension)) in grants), None)


def over(desk: Desk) -> list[QuotaGrant]:
    """List the grants whose time has passed."""
    now = desk.clock()
    with desk.ledger.reading() as books:
        return [grant for grant in books.quotas.all() if grant.until is not None and grant.until <= now]


def grants_ended(desk: Desk) -> list[QuotaGrant]:
    """Take out grants whose time has passed; the audit keeps them."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        ended = [grant for grant in books.quotas.all() if grant.until is not None and grant.until <= now]
        for grant in ended:
            books.quotas.unset(grant.subject, grant.name, grant.dimension)
            _audit(books, now, "janitor", "quota.end", grant, None, f"set until {grant.until:%Y-%m-%d %H:%M} UTC")
        return ended
