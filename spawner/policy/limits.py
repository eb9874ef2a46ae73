"""Which limits a user has, and where each value comes from."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from .model import DIMENSIONS, LimitRule, LimitRules, Limits, Person


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value of a user's limits comes from."""

    value: Any
    source: str


def why(rules: LimitRules, person: Person) -> dict[str, Origin]:
    """Explain a person's limits, one origin per dimension of the default (`Limits`, or `Quota` which has more).

    A user's own rule decides where it speaks; else the most generous of the person's groups; else the default.
    A group's rule may lie below the default: being in a group with a smaller limit gives the smaller one, unless
    another group is more generous. Of numbers the largest is the most generous; sets of names are joined.
    """
    look = _Look(rules, person)
    return {field.name: look.origin(field.name) for field in fields(rules.default)}


def origins(rules: LimitRules, person: Person, dimensions: Iterable[str]) -> dict[str, Origin]:
    """Explain some of a person's limits, as `why` does."""
    look = _Look(rules, person)
    return {dimension: look.origin(dimension) for dimension in dimensions}


class _Look:
    """The rules that speak of a person."""

    __slots__ = ("_default", "_groups", "_name", "_own")

    def __init__(self, rules: LimitRules, person: Person) -> None:
        self._name, self._default = person.name, rules.default
        self._own = rules.users.get(person.name)
        self._groups = [(group, rules.groups[group]) for group in sorted(person.groups) if group in rules.groups]

    def origin(self, dimension: str) -> Origin:
        own = _said(self._own, dimension)
        if own is not None:
            return Origin(own, f"user {self._name}")
        said = [
            Origin(value, f"group {group}")
            for group, rule in self._groups
            if (value := _said(rule, dimension)) is not None
        ]
        return _most_generous(said) or Origin(getattr(self._default, dimension), "default")


def _said(rule: LimitRule | None, dimension: str) -> Any:
    return getattr(rule, dimension, None)


def _most_generous(said: list[Origin]) -> Origin | None:
    if not said:
        return None
    if isinstance(said[0].value, frozenset):
        names = ", ".join(origin.source.removeprefix("group ") for origin in said)
        joined = frozenset().union(*(origin.value for origin in said))
        return Origin(joined, f"group{'s' if len(said) > 1 else ''} {names}")
    return max(said, key=lambda origin: origin.value)


def limits_of(rules: LimitRules, person: Person) -> Limits:
    """Give a person's limits, the most that one server of theirs may have."""
    explained = why(rules, person)
    return Limits(**{dimension: explained[dimension].value for dimension in DIMENSIONS})


def quota_of(rules: LimitRules, person: Person) -> Any:
    """Give a person's quota, of the class of the rules' default."""
    return type(rules.default)(**{name: origin.value for name, origin in why(rules, person).items()})
