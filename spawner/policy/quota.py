"""Quotas: what a person may have in all, beside what one server of theirs may have.

They come from the settings and, before those, from what admins have granted in the ledger.
"""

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime

from .model import LimitRule, LimitRules, Limits

ALL = frozenset({"*"})  # every profile, every model
UNLIMITED = math.inf


@dataclass(frozen=True, slots=True)
class Quota(Limits):
    """A person's quota. `Limits` are the most that one server may have; `gpus` counts over all servers of a person.

    Attributes
    ----------
    gpu_hours
        GPU-hours within the rolling window of `spawner.policy.leases.LeaseRules`; inf for no bound.
    lease_hours
        Longest lease, hours.
    home
        Bytes of the home; inf for no bound.
    profiles, models
        Slugs and GPU models allowed; `ALL` for every one.
    priority
        In the queue; higher goes first.
    """

    gpu_hours: float = UNLIMITED
    lease_hours: float = 24.0
    home: float = UNLIMITED
    profiles: frozenset[str] = ALL
    models: frozenset[str] = ALL
    priority: int = 0


@dataclass(frozen=True, slots=True)
class QuotaRule(LimitRule):
    """A quota as far as a rule speaks of it; None says nothing."""

    gpu_hours: float | None = None
    lease_hours: float | None = None
    home: float | None = None
    profiles: frozenset[str] | None = None
    models: frozenset[str] | None = None
    priority: int | None = None


QUOTA_DIMENSIONS: tuple[str, ...] = tuple(dimension.name for dimension in fields(Quota))


class Subject(enum.StrEnum):
    """Whose quota a grant sets."""

    DEFAULT = "default"
    GROUP = "group"
    USER = "user"


@dataclass(frozen=True, slots=True)
class QuotaGrant:
    """One value that an admin has set; goes before the settings' value of the same subject and dimension.

    Attributes
    ----------
    name
        Of the group or user; empty for the default.
    until
        When it ends by itself; None for never.
    """

    subject: Subject
    name: str
    dimension: str
    value: float | int | frozenset[str]
    until: datetime | None = None
    by: str = ""
    why: str = ""
    at: datetime | None = None


def overlay(rules: LimitRules, grants: Iterable[QuotaGrant], now: datetime) -> LimitRules:
    """Put the grants that hold at `now` before the settings' rules."""
    default, groups, users = rules.default, dict(rules.groups), dict(rules.users)
    for grant in grants:
        if grant.until is not None and grant.until <= now:
            continue
        change = {grant.dimension: grant.value}
        if grant.subject is Subject.DEFAULT:
            default = replace(default, **change)  # type: ignore[arg-type]
            continue
        table = groups if grant.subject is Subject.GROUP else users
        # A rule of the settings may be a `LimitRule`, which does not know the dimension.
        known = table.get(grant.name, QuotaRule())
        said = {field.name: getattr(known, field.name) for field in fields(known)}
        table[grant.name] = QuotaRule(**{**said, **change})
    return LimitRules(default, groups, users)


def allows(allowed: frozenset[str], name: str) -> bool:
    """Tell whether a set of profiles or models holds `name`."""
    return name in allowed or allowed >= ALL
