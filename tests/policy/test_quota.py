import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.limits import Origin, quota_of, why
from spawner.policy.model import LimitRule, LimitRules, Person
from spawner.policy.quota import ALL, QUOTA_DIMENSIONS, Quota, QuotaGrant, QuotaRule, Subject, allows, overlay

from .pools import at, quota

ANN = Person("ann", frozenset({"lab", "students"}))
DEFAULT = quota(1)

GRANTS = st.lists(
    st.builds(
        QuotaGrant,
        subject=st.sampled_from(Subject),
        name=st.sampled_from(["ann", "bob", "lab", "students"]),
        dimension=st.just("gpus"),
        value=st.integers(0, 8),
        until=st.none() | st.integers(-5, 5).map(at),
    ),
    max_size=6,
    unique_by=lambda grant: (grant.subject, "" if grant.subject is Subject.DEFAULT else grant.name),
)


@given(GRANTS, st.integers(-6, 6))
def test_grants_that_hold_go_before_the_settings(grants: list[QuotaGrant], minute: int) -> None:
    settings = LimitRules(DEFAULT, {"lab": LimitRule(gpus=3)}, {"bob": QuotaRule(gpus=2)})
    rules = overlay(settings, grants, at(minute))
    said = {(grant.subject, grant.name): grant.value for grant in grants if not grant.until or grant.until > at(minute)}

    def of_user(name: str) -> object:
        return said.get((Subject.USER, name), 2 if name == "bob" else None)

    groups = [said.get((Subject.GROUP, "lab"), 3), said.get((Subject.GROUP, "students"))]
    default = next((value for (subject, _), value in said.items() if subject is Subject.DEFAULT), 1)
    own = of_user("ann")
    expected = own if own is not None else max(value for value in groups if value is not None)
    assert quota_of(rules, ANN).gpus == expected
    bobs = of_user("bob")
    assert quota_of(rules, Person("bob")).gpus == (default if bobs is None else bobs)
    assert settings.groups == {"lab": LimitRule(gpus=3)}, "the settings themselves stay"


def test_a_grant_of_one_dimension_leaves_the_others() -> None:
    settings = LimitRules(DEFAULT, {"lab": LimitRule(gpus=3, memory=5)})
    grant = QuotaGrant(Subject.GROUP, "lab", "gpu_hours", 50.0)
    assert overlay(settings, [grant], at(0)).groups == {"lab": QuotaRule(gpus=3, memory=5, gpu_hours=50.0)}


def test_why_explains_every_dimension() -> None:
    rules = LimitRules(
        DEFAULT,
        {
            "lab": QuotaRule(gpu_hours=10, models=frozenset({"A100"}), priority=5),
            "students": QuotaRule(gpu_hours=math.inf, models=frozenset({"T4"}), priority=-5, lease_hours=2),
        },
        {"ann": QuotaRule(profiles=frozenset())},
    )
    explained = why(rules, ANN)
    assert set(explained) == set(QUOTA_DIMENSIONS)
    assert explained["gpu_hours"] == Origin(math.inf, "group students")
    assert explained["models"] == Origin(frozenset({"A100", "T4"}), "groups lab, students")
    assert explained["priority"] == Origin(5, "group lab")
    assert explained["lease_hours"] == Origin(2, "group students"), "a group may give less than the default"
    assert explained["profiles"] == Origin(frozenset(), "user ann"), "none is a value too"
    assert explained["gpus"] == Origin(1, "default")
    found = quota_of(rules, ANN)
    assert isinstance(found, Quota)
    assert (found.models, found.gpus, found.home) == (frozenset({"A100", "T4"}), 1, math.inf)


@pytest.mark.parametrize(
    ("allowed", "name", "expected"),
    [
        (ALL, "T4", True),
        (frozenset({"*", "A100"}), "T4", True),
        (frozenset({"A100"}), "T4", False),
        (frozenset({"A100"}), "A100", True),
        (frozenset[str](), "T4", False),
    ],
)
def test_sets_of_names(allowed: frozenset[str], name: str, *, expected: bool) -> None:
    assert allows(allowed, name) == expected
