"""Quotas that admins set, beside those of the settings; read, written and explained."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..errors import QuotaChanged, QuotaInvalid
from ..ledger import AuditEntry, Books
from ..policy.limits import Origin
from ..policy.limits import why as explain
from ..policy.model import Person
from ..policy.pool import Pool
from ..policy.quota import QUOTA_DIMENSIONS, QuotaGrant, Subject
from .desk import Desk
from .offers import make_offers
from .pools import load_pool, spent_by
from .quota_values import parse_value, show_value

GrantKey = tuple[Subject, str, str]
"""Subject, name and dimension: of what at most one value is set."""

Edits = Mapping[GrantKey, QuotaGrant | None]
"""Values to set; None takes one back."""

_ORDER = list(Subject)
_LOOK_BACK = 1000  # entries of the audit


def key_of(grant: QuotaGrant) -> GrantKey:
    return grant.subject, grant.name, grant.dimension


def all_grants(desk: Desk) -> list[QuotaGrant]:
    """List what admins have set, default first, then groups, then users."""
    return list(all_set(desk).grants)


@dataclass(frozen=True, slots=True)
class AllSet:
    """All that admins have set.

    Attributes
    ----------
    version
        Another one after each change.
    """

    grants: tuple[QuotaGrant, ...]
    version: int


def all_set(desk: Desk) -> AllSet:
    """Read all that admins have set, in the order of `all_grants`, and its version."""
    with desk.ledger.reading() as books:
        grants, version = books.quotas.all(), books.quotas.version()
    grants.sort(key=lambda grant: (_ORDER.index(grant.subject), grant.name, grant.dimension))
    return AllSet(tuple(grants), version)


def get_grant(desk: Desk, subject: Subject, name: str, dimension: str) -> QuotaGrant | None:
    """Give what is set, lapsed or not; None if nothing is."""
    key = subject, name, dimension
    with desk.ledger.reading() as books:
        return next((grant for grant in books.quotas.all() if key_of(grant) == key), None)


def grant_version(grant: QuotaGrant | None) -> str:
    """Give the version of what is set for one subject and dimension, or of nothing; another one after each change."""
    if grant is None:
        return "none"
    at = grant.at.isoformat() if grant.at else ""
    said = "\n".join([*map(str, _shown(grant).values()), grant.by, grant.why, at])
    return hashlib.sha256(said.encode()).hexdigest()[:32]


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


def set_quota(desk: Desk, grant: QuotaGrant, expected: str | None = None) -> QuotaGrant | None:
    """Set one value; gives what it replaced. Who waits may be served by it at once.

    Parameters
    ----------
    expected
        `grant_version` of what the caller has seen in its place; None writes whatever is there.

    Raises
    ------
    QuotaChanged
        If something else is there; says who set it, when and why.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        before = books.quotas.set(grant)
        _require(books, key_of(grant), before, expected)
        _audit(books, now, grant.by, "quota.set", before, grant, grant.why)
        make_offers(desk, books, now)
        return before


def unset_quota(
    desk: Desk, subject: Subject, name: str, dimension: str, by: str, why: str, expected: str | None = None
) -> QuotaGrant | None:
    """Take one value back, so that the settings' holds; None if none was set.

    Parameters
    ----------
    expected
        As for `set_quota`.

    Raises
    ------
    QuotaChanged
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        before = books.quotas.unset(subject, name, dimension)
        _require(books, (subject, name, dimension), before, expected)
        if before is not None:
            _audit(books, now, by, "quota.unset", before, None, why)
            make_offers(desk, books, now)
        return before


def _require(books: Books, key: GrantKey, found: QuotaGrant | None, expected: str | None) -> None:
    if expected is not None and grant_version(found) != expected:
        last = books.audit.list(limit=1, subject=_named(key))
        raise QuotaChanged(_meanwhile(last[0] if last else None))


def _require_all(books: Books, expected: int | None) -> None:
    if expected is None or books.quotas.version() == expected:
        return
    before, found = None, None
    for _ in range(0, _LOOK_BACK, 100):
        entries = books.audit.list(limit=100, before=before)
        found = next((entry for entry in entries if entry.action.startswith("quota.")), None)
        if found is not None or not entries:
            break
        before = entries[-1].id
    raise QuotaChanged(_meanwhile(found))


def _meanwhile(entry: AuditEntry | None) -> str:
    """Say who has changed what."""
    if entry is None:
        return "Quotas were changed meanwhile, so nothing was written. Look again, then repeat."
    who, what, after = entry.actor, entry.subject, entry.after
    done = f"has taken back {what}" if after is None else f"has set {what} to {_said(after)}"
    reason = f" ({entry.why})" if entry.why else ""
    when = f"{entry.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"Meanwhile {who} {done}, at {when}{reason}; nothing was written. Look again, then repeat."


def _said(shown: Mapping[str, Any]) -> str:
    until = shown.get("until")
    return f"{shown.get('value')}{f' until {until}' if until else ''}"


@dataclass(frozen=True, slots=True)
class Change:
    """What an import changes: None before for what is new, None after for what goes."""

    before: QuotaGrant | None
    after: QuotaGrant | None


def changes(desk: Desk, grants: Sequence[QuotaGrant], *, keep_others: bool = False) -> list[Change]:
    """Tell what `replace_all` would change, without changing anything."""
    with desk.ledger.reading() as books:
        return imported(books.quotas.all(), grants, keep_others=keep_others)


def replace_all(
    desk: Desk,
    grants: Sequence[QuotaGrant],
    by: str,
    why: str,
    expected: int | None = None,
    *,
    keep_others: bool = False,
) -> list[Change]:
    """Replace all that is set, all or nothing; gives what it changed.

    Parameters
    ----------
    grants
        No two of the same subject, name and dimension. One that is set already with the same value and end stays as
        it is, with its author.
    why
        Of those grants that give no reason of their own, and of what is removed.
    expected
        `AllSet.version` of what the caller has seen; None writes whatever is there.
    keep_others
        Whether what is set and not among `grants` stays.

    Raises
    ------
    QuotaChanged
        If something was set meanwhile; says who did last, what and when.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        _require_all(books, expected)
        before = {key_of(grant): grant for grant in books.quotas.all()}
        changed = imported(before.values(), grants, keep_others=keep_others)
        if not changed:
            return changed
        signed = {
            key_of(grant): replace(grant, by=by, why=grant.why or why, at=now)
            for grant in (change.after for change in changed)
            if grant
        }
        asked = [signed.get(key_of(grant)) or before[key_of(grant)] for grant in grants]
        named = {key_of(grant) for grant in grants}
        others = [grant for key, grant in before.items() if keep_others and key not in named]
        books.quotas.replace_all([*asked, *others])
        changed = [Change(change.before, signed[key_of(change.after)] if change.after else None) for change in changed]
        for change in changed:
            reason = change.after.why if change.after else why
            _audit(books, now, by, "quota.import", change.before, change.after, reason)
        make_offers(desk, books, now)
        return changed


def imported(before: Iterable[QuotaGrant], grants: Iterable[QuotaGrant], *, keep_others: bool = False) -> list[Change]:
    """Tell what an import changes of what was set before."""
    old, new = {key_of(grant): grant for grant in before}, {key_of(grant): grant for grant in grants}
    found = [Change(old.get(key), grant) for key, grant in new.items() if not _alike(old.get(key), grant)]
    return found + [Change(grant, None) for key, grant in old.items() if key not in new and not keep_others]


def _alike(one: QuotaGrant | None, other: QuotaGrant) -> bool:
    if one is None or (one.value, one.until) != (other.value, other.until):
        return False
    return other.why in {"", one.why}


def _audit(
    books: Books, now: datetime, by: str, action: str, before: QuotaGrant | None, after: QuotaGrant | None, why: str
) -> None:
    subject = next(_named(key_of(grant)) for grant in (before, after) if grant is not None)
    entry = AuditEntry(
        at=now,
        actor=by,
        action=action,
        subject=subject,
        before=before and _shown(before),
        after=after and _shown(after),
        why=why,
    )
    books.audit.append(entry)


def _named(key: GrantKey) -> str:
    return " ".join(filter(None, key))


def _shown(grant: QuotaGrant) -> dict[str, Any]:
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
        return account_of(desk, books, load_pool(books, desk.rules, now, [person.name]), person, now)


def account_of(desk: Desk, books: Books, pool: Pool, person: Person, now: datetime) -> Account:
    """Do what `account` does, in a transaction of the caller's."""
    explained = explain(desk.quotas.rules(books, now), person)
    grants = {key_of(grant): grant for grant in books.quotas.all() if grant.until is None or grant.until > now}
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
