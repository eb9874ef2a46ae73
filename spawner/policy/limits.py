"""Which limits a user has, and where each value comes from."""

from dataclasses import dataclass

from .model import DIMENSIONS, LimitRule, LimitRules, Limits, Person


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value of a user's limits comes from."""

    value: float | int
    source: str


def why(rules: LimitRules, person: Person) -> dict[str, Origin]:
    """Explain a person's limits, one origin per dimension of `Limits`.

    A user's own rule decides where it speaks; else the most generous of the person's groups; else the default.
    A group's rule may lie below the default: being in a group with a smaller limit gives the smaller one, unless
    another group is more generous.
    """
    explained = {}
    for dimension in DIMENSIONS:
        own = getattr(rules.users.get(person.name, LimitRule()), dimension)
        if own is not None:
            explained[dimension] = Origin(own, f"user {person.name}")
            continue
        said = [
            Origin(value, f"group {group}")
            for group in sorted(person.groups)
            if (value := getattr(rules.groups.get(group, LimitRule()), dimension)) is not None
        ]
        default = Origin(getattr(rules.default, dimension), "default")
        explained[dimension] = max(said, key=lambda origin: origin.value, default=default)
    return explained


def limits_of(rules: LimitRules, person: Person) -> Limits:
    """Give a person's limits, the most that one server of theirs may have."""
    return Limits(**{dimension: origin.value for dimension, origin in why(rules, person).items()})  # type: ignore[arg-type]
