"""The reference of quotas, compared with the policy and the settings."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from spawner.errors import QuotaInvalid
from spawner.operations.quota_values import parse_value, show_value
from spawner.policy.limits import quota_of
from spawner.policy.model import Person
from spawner.policy.quota import QUOTA_DIMENSIONS, QuotaGrant, Subject, overlay
from spawner.settings import LimitSettings

PAGE = (Path(__file__).parents[2] / "docs/reference/quotas.md").read_text(encoding="utf-8")


def rows() -> dict[str, list[str]]:
    table = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in table}


def test_every_dimension_has_its_line_in_order() -> None:
    assert tuple(rows()) == QUOTA_DIMENSIONS
    assert {len(cells) for cells in rows().values()} == {4}


def test_defaults_are_those_of_the_settings() -> None:
    default = LimitSettings().rules().default
    told = {dimension: cells[3] for dimension, cells in rows().items()}
    assert told == {dimension: show_value(dimension, getattr(default, dimension)) for dimension in QUOTA_DIMENSIONS}


def test_how_groups_combine_is_what_the_policy_does() -> None:
    for dimension, cells in rows().items():
        less, more = ("a", "b") if cells[2] == "all of them together" else ("100000000", "200000000")
        if dimension in {"cpu", "lease_hours", "gpus", "priority"}:
            less, more = "1", "2"
        values = [parse_value(dimension, less), parse_value(dimension, more)]
        grants = [QuotaGrant(Subject.GROUP, group, dimension, value) for group, value in zip("xy", values, strict=True)]
        rules = overlay(LimitSettings().rules(), grants, datetime.now(UTC))
        found = getattr(quota_of(rules, Person("ann", frozenset("xy"))), dimension)
        expected = frozenset("ab") if cells[2] == "all of them together" else values[1]
        assert found == expected, dimension


def test_unlimited_and_none_are_told_where_they_are_taken() -> None:
    for word in ("unlimited", "none"):
        taken = set()
        for dimension in QUOTA_DIMENSIONS:
            with suppress(QuotaInvalid):
                parse_value(dimension, word)
                taken.add(dimension)
        told = {dimension for dimension, cells in rows().items() if f"`{word}`" in cells[0]}
        # Any word is a name of a profile or a model.
        assert told == (taken - {"profiles", "models"} if word == "unlimited" else taken)
