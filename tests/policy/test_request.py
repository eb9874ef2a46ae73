import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spawner.policy.model import Deny, IfBusy, SpawnRequest
from spawner.policy.request import OPTIONS, parse_request

# All that a client's JSON can hold; Python's reader takes NaN, Infinity and integers of 4300 digits.
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
OPTION_VALUES = JSON | st.sampled_from(["queue", "cpu", "gpu", "refuse", 0, 1, 2, 0.5])


@given(st.dictionaries(st.sampled_from(OPTIONS) | st.text(), OPTION_VALUES))
@example({"hours": 10**400})
@example({"gpus": 10**400})
@example({"hours": float("nan")})
@example({"if_busy": ["queue"]})
@example({"profile": {"image": "evil"}})
def test_any_json_gives_a_request_or_a_refusal(options: dict[str, Any]) -> None:
    parsed = parse_request(options, "cpu")
    if isinstance(parsed, Deny):
        assert parsed.code == "invalid_option"
        assert len(parsed.reason) < 1000
        return
    assert set(options) <= set(OPTIONS)
    assert isinstance(parsed.profile, str)
    assert parsed.profile
    assert parsed.gpus is None or (type(parsed.gpus) is int and parsed.gpus >= 0)
    assert parsed.hours is None or (type(parsed.hours) is float and math.isfinite(parsed.hours) and parsed.hours > 0)
    assert isinstance(parsed.if_busy, IfBusy)


@given(st.text(min_size=1), st.none() | st.integers(0, 64), st.none() | st.integers(1, 1000), st.sampled_from(IfBusy))
def test_what_is_understood_comes_through(profile: str, gpus: int | None, hours: int | None, if_busy: IfBusy) -> None:
    options = {"profile": profile, "gpus": gpus, "hours": hours, "if_busy": str(if_busy)}
    assert parse_request(json.loads(json.dumps(options)), "cpu") == SpawnRequest(profile, gpus, hours, if_busy)


@pytest.mark.parametrize("options", [{}, {"profile": ""}, {"profile": None}])
def test_without_a_profile_the_default_is_taken(options: dict[str, Any]) -> None:
    assert parse_request(options, "cpu") == SpawnRequest("cpu", None, None, IfBusy.QUEUE)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("profile", 7, "profile must be a profile's name, not 7."),
        ("gpus", -1, "gpus must be a whole number, 0 or more, not -1."),
        ("gpus", True, "gpus must be a whole number, 0 or more, not True."),
        ("gpus", 1.0, "gpus must be a whole number, 0 or more, not 1.0."),
        ("gpus", "2", "gpus must be a whole number, 0 or more, not '2'."),
        ("hours", 0, "hours must be a number of hours above 0, not 0."),
        ("hours", math.inf, "hours must be a number of hours above 0, not inf."),
        ("hours", "all day", "hours must be a number of hours above 0, not 'all day'."),
        ("clean", "yes", "clean must be true or false, not 'yes'."),
        ("clean", 1, "clean must be true or false, not 1."),
        ("if_busy", "wait", "if_busy must be queue or cpu or refuse, not 'wait'."),
        ("if_busy", None, "if_busy must be queue or cpu or refuse, not None."),
    ],
)
def test_a_refusal_names_the_option_what_came_and_what_is_understood(option: str, value: object, expected: str) -> None:
    assert parse_request({option: value}, "cpu") == Deny("invalid_option", expected)


@pytest.mark.parametrize("option", ["image", "mem_limit", "environment", "mounts", "Profile", "privileged"])
def test_nothing_else_can_be_chosen(option: str) -> None:
    refusal = parse_request({"profile": "cpu", option: "x"}, "cpu")
    assert isinstance(refusal, Deny)
    assert repr(option) in refusal.reason
    assert "Image and size come with the profile." in refusal.reason


def test_long_values_are_cut_in_the_reason() -> None:
    refusal = parse_request({"gpus": "x" * 10_000}, "cpu")
    assert isinstance(refusal, Deny)
    assert len(refusal.reason) < 150
