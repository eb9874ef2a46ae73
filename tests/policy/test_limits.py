from dataclasses import replace

from hypothesis import given

from spawner.policy.limits import Origin, limits_of, why
from spawner.policy.model import DIMENSIONS, LimitRule, LimitRules, Limits, Person

from .strategies import PEOPLE, RULES

DEFAULT = Limits(cpu=4, memory=16 << 30, processes=4096, shm=4 << 30, open_files=16384, gpus=1)


@given(RULES, PEOPLE)
def test_user_before_most_generous_group_before_default(rules: LimitRules, person: Person) -> None:
    for dimension, origin in why(rules, person).items():
        own = getattr(rules.users.get(person.name, LimitRule()), dimension)
        groups = {
            group: value
            for group in person.groups
            if group in rules.groups and (value := getattr(rules.groups[group], dimension)) is not None
        }
        if own is not None:
            assert origin == Origin(own, f"user {person.name}")
        elif groups:
            assert origin.value == max(groups.values())
            assert origin.source.startswith("group ")
            assert groups[origin.source.removeprefix("group ")] == origin.value
        else:
            assert origin == Origin(getattr(rules.default, dimension), "default")


@given(RULES, PEOPLE)
def test_limits_are_what_why_explains(rules: LimitRules, person: Person) -> None:
    limits, explained = limits_of(rules, person), why(rules, person)
    assert set(explained) == set(DIMENSIONS)
    assert all(getattr(limits, dimension) == explained[dimension].value for dimension in DIMENSIONS)


@given(RULES, PEOPLE)
def test_another_group_never_takes_from_what_groups_gave(rules: LimitRules, person: Person) -> None:
    before = why(rules, person)
    after = why(rules, replace(person, groups=person.groups | {"lab"}))
    for dimension in DIMENSIONS:
        if before[dimension].source != "default":
            assert after[dimension].value >= before[dimension].value


def test_other_peoples_rules_do_not_count() -> None:
    rules = LimitRules(DEFAULT, {"staff": LimitRule(gpus=4)}, {"bob": LimitRule(gpus=8)})
    assert limits_of(rules, Person("ann", frozenset({"students"}))) == DEFAULT
    assert limits_of(rules, Person("ann", admin=True)) == DEFAULT


def test_a_group_may_lie_below_the_default() -> None:
    rules = LimitRules(DEFAULT, {"students": LimitRule(memory=1 << 30), "lab": LimitRule(memory=2 << 30)})
    assert why(rules, Person("ann", frozenset({"students"})))["memory"] == Origin(1 << 30, "group students")
    assert why(rules, Person("ann", frozenset({"students", "lab"})))["memory"] == Origin(2 << 30, "group lab")


def test_zero_is_a_limit_too() -> None:
    rules = LimitRules(DEFAULT, {"lab": LimitRule(gpus=8)}, {"ann": LimitRule(gpus=0)})
    assert why(rules, Person("ann", frozenset({"lab"})))["gpus"] == Origin(0, "user ann")


def test_equal_groups_are_named_in_a_fixed_order() -> None:
    rules = LimitRules(DEFAULT, {"b": LimitRule(cpu=2), "a": LimitRule(cpu=2)})
    assert why(rules, Person("ann", frozenset({"a", "b"})))["cpu"] == Origin(2, "group a")
