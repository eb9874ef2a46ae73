from datetime import UTC, datetime, timedelta

import pytest

from spawner.operations import quotas
from spawner.policy.quota import QUOTA_DIMENSIONS

from .admin import A100, Admin


def close_to(text: str, other: datetime) -> bool:
    return abs(datetime.fromisoformat(text) - other) < timedelta(minutes=1)


def test_set_show_unset(admin: Admin) -> None:
    assert "Nothing is set" in admin.ok("quota", "show")
    told = admin.ok("quota", "set", "group", "vision", "gpus", "2", "--why", "course")
    assert told == "gpus for group vision: 2 (was: not set).\n"
    assert "3 (was: 2)" in admin.ok("quota", "set", "group", "vision", "gpus", "3", "--why", "larger course")
    admin.ok("quota", "set", "user", "ann", "memory", "1.5 GiB", "--why", "small")
    admin.ok("quota", "set", "default", "gpu_hours", "unlimited", "--why", "why not")
    everything = admin.data("quota", "show")
    assert [(one["subject"], one["name"], one["dimension"], one["value"]) for one in everything] == [
        ("default", "", "gpu_hours", "unlimited"),
        ("group", "vision", "gpus", 3),
        ("user", "ann", "memory", 3 << 29),
    ]
    assert (everything[1]["by"], everything[1]["why"], everything[1]["until"]) == ("cli:olga", "larger course", None)
    assert close_to(everything[1]["at"], datetime.now(UTC))
    assert admin.data("quota", "show", "--group", "vision") == [everything[1]]
    assert admin.data("quota", "show", "--user", "ann") == [everything[2]]
    assert admin.data("quota", "show", "--user", "vision") == []
    table = admin.ok("quota", "show").splitlines()
    for words in ("group vision", "gpus", "3", "cli:olga", "larger course"):
        assert words in table[2]
    assert "1536 MiB" in table[3]
    assert "was: 3" in admin.ok("quota", "unset", "group", "vision", "gpus", "--why", "course is over")
    assert admin.data("quota", "show", "--group", "vision") == []
    changes = [(entry["action"], entry["subject"], entry["before"], entry["after"]) for entry in admin.audit()]
    assert changes[0] == ("quota.unset", "group vision gpus", {"until": None, "value": "3"}, None)
    assert changes[3] == (
        "quota.set",
        "group vision gpus",
        {"until": None, "value": "2"},
        {"until": None, "value": "3"},
    )
    assert {entry["actor"] for entry in admin.audit()} == {"cli:olga"}


def test_set_for_programs(admin: Admin) -> None:
    first = admin.data("quota", "set", "user", "ann", "gpus", "2", "--why", "x")
    second = admin.data("quota", "set", "user", "ann", "gpus", "4", "--for", "7d", "--why", "y")
    assert first["before"] is None
    assert (second["value"], second["before"]["value"]) == (4, 2)
    assert close_to(second["until"], datetime.now(UTC) + timedelta(days=7))


def test_for_a_time(admin: Admin) -> None:
    day = (datetime.now(UTC) + timedelta(days=40)).date()
    admin.ok("quota", "set", "user", "ann", "gpus", "4", "--until", str(day), "--why", "x")
    (one,) = admin.data("quota", "show")
    assert datetime.fromisoformat(one["until"]) == datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert f"until {day} 00:00 UTC" in admin.ok(
        "quota", "set", "user", "ann", "gpus", "5", "--until", f"{day}T02:00+02:00", "--why", "x"
    )
    assert f"{day} 00:00" in admin.ok("quota", "show")


def test_what_has_ended_is_shown_as_over_and_counts_no_more(admin: Admin) -> None:
    admin.clock_ahead = -timedelta(days=2)
    now = admin.desk.clock()
    grant = quotas.make_grant("user", "ann", "gpus", "4", now + timedelta(days=1), "cli:olga", "x", now)
    quotas.set_quota(admin.desk, grant)
    assert admin.data("quota", "show")[0]["over"] is True
    assert "(over)" in admin.ok("quota", "show")
    assert admin.data("quota", "why", "ann")["quota"]["gpus"]["value"] == 1
    assert "ann" not in admin.ok("quota", "export")


def test_a_negative_priority_is_no_option(admin: Admin) -> None:
    assert admin.data("quota", "set", "user", "ann", "priority", "-5", "--why", "x")["value"] == -5


def test_names_of_models_and_profiles(admin: Admin) -> None:
    admin.inventory((A100, 1))
    said = admin.data("quota", "set", "group", "vision", "models", f"{A100}, V100", "--why", "x")
    assert said["value"] == [A100, "V100"]
    assert said["notes"] == [f"There is no GPU of model 'V100' now; there are: {A100}."]
    assert "Note: There is no profile 'gpuu' now; there are: cpu, gpu." in admin.ok(
        "quota", "set", "group", "vision", "profiles", "cpu,gpuu", "--why", "x"
    )
    assert admin.data("quota", "set", "group", "vision", "models", "*", "--why", "x")["notes"] == []
    assert admin.data("quota", "set", "group", "vision", "models", "none", "--why", "x")["value"] == []
    assert "none" in admin.ok("quota", "show")


@pytest.mark.parametrize(
    ("dimension", "value", "expected"),
    [
        ("gpu", "2", "There is no dimension 'gpu'; there are: cpu, memory"),
        ("gpus", "two", "whole number, not 'two'"),
        ("gpus", "-1", "from 0 to"),
        ("gpus", "1.5", "whole number"),
        ("processes", "0", "from 1 to"),
        ("cpu", "0", "above 0"),
        ("cpu", "nan", "above 0"),
        ("cpu", "unlimited", "above 0"),
        ("lease_hours", "1e9", "up to 8760"),
        ("lease_hours", "inf", "up to 8760"),
        ("gpu_hours", "-1", "or unlimited"),
        ("memory", "1 MiB", "from 64 MiB on"),
        ("memory", "lots", "2 GiB"),
        ("memory", "99999999 TiB", "2 GiB"),
        ("home", "lots", "or unlimited"),
        ("models", "", "* for all, or none"),
        ("priority", "10000000000", "from -1000000 to 1000000"),
    ],
)
def test_values_that_cannot_be(admin: Admin, dimension: str, value: str, expected: str) -> None:
    sentence = admin.refused("quota", "set", "user", "ann", dimension, value, "--why", "x", code="quota_invalid")
    assert expected in sentence
    assert admin.data("quota", "show") == []
    assert admin.audit() == []


def test_an_end_that_has_passed(admin: Admin) -> None:
    words = ["quota", "set", "user", "ann", "gpus", "2", "--until", "2020-01-01", "--why", "x"]
    assert "2020-01-01 00:00 UTC, which has passed" in admin.refused(*words, code="quota_invalid")
    assert admin.data("quota", "show") == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["user", "ann", "gpus", "2"], "--why"),
        (["user", "ann", "gpus", "2", "--why", " "], "empty"),
        (["team", "vision", "gpus", "2", "--why", "x"], "team"),
        (["user", "ann", "gpus", "--why", "x"], "Expected user USER DIMENSION VALUE, found user ann gpus."),
        (["default", "ann", "gpus", "2", "--why", "x"], "Expected default DIMENSION VALUE"),
        (["user", " ", "gpus", "2", "--why", "x"], "empty"),
        (["user", "ann", "gpus", "2", "--unti", "7d", "--why", "x"], "No such option: --unti"),
        (["user", "ann", "gpus", "2", "--for", "7", "--why", "x"], "90m, 12h, 7d or 2w"),
        (["user", "ann", "gpus", "2", "--for", "9999999w", "--why", "x"], "up to 100 years"),
        (["user", "ann", "gpus", "2", "--until", "soon", "--why", "x"], "2027-03-01"),
        (["user", "ann", "gpus", "2", "--until", "2999-01-01", "--for", "1d", "--why", "x"], "not both"),
    ],
)
def test_wrong_usage_of_set(admin: Admin, words: list[str], told: str) -> None:
    assert told in admin.misused("quota", "set", *words)
    assert admin.data("quota", "show") == []


def test_unset_what_is_not_set(admin: Admin) -> None:
    assert "No gpus is set for user ann" in admin.refused(
        "quota", "unset", "user", "ann", "gpus", "--why", "x", code="unknown_name"
    )
    assert "'gpu'; there are: cpu" in admin.refused(
        "quota", "unset", "user", "ann", "gpu", "--why", "x", code="quota_invalid"
    )
    assert "--why" in admin.misused("quota", "unset", "default", "gpus")
    assert admin.audit() == []


def test_why_says_where_each_value_comes_from(admin: Admin) -> None:
    settings = admin.directory / "berth.yaml"
    settings.write_text(
        "limits:\n  default: {gpu_hours: 50}\n  groups:\n    vision: {lease_hours: 6}\n    staff: {gpus: 2}\n"
        "  users:\n    ann: {cpu: 2}\n"
    )
    config = {"BERTH_CONFIG": str(settings)}
    admin.ok("quota", "set", "group", "vision", "gpus", "3", "--for", "7d", "--why", "course", **config)
    admin.ok("quota", "set", "user", "ann", "priority", "5", "--why", "helps others", **config)
    said = admin.data("quota", "why", "ann", "--group", "vision", "--group", "staff", **config)
    assert (said["user"], said["groups"], said["groups_from"]) == ("ann", ["staff", "vision"], "option")
    assert tuple(said["quota"]) == QUOTA_DIMENSIONS
    found = {name: (one["value"], one["from"], one["set_in"]) for name, one in said["quota"].items()}
    assert found["gpus"] == (3, "group vision", "ledger")
    assert found["lease_hours"] == (6, "group vision", "settings")
    assert found["cpu"] == (2, "user ann", "settings")
    assert found["priority"] == (5, "user ann", "ledger")
    assert found["gpu_hours"] == (50, "default", "settings")
    assert found["models"] == (["*"], "default", "settings")
    gpus = said["quota"]["gpus"]
    assert (gpus["by"], gpus["why"]) == ("cli:olga", "course")
    assert close_to(gpus["until"], datetime.now(UTC) + timedelta(days=7))
    table = admin.ok("quota", "why", "ann", "--group", "vision", "--group", "staff", **config)
    assert table.startswith("Groups of ann: staff, vision (from --group).\n")
    row = next(line for line in table.splitlines() if line.startswith("gpus "))
    for words in ("3", "group vision (set here)", "cli:olga", "course", f"{datetime.now(UTC).year}"):
        assert words in row
    assert "group vision (settings)" in next(line for line in table.splitlines() if line.startswith("lease_hours"))


def test_why_says_what_is_left_of_the_budget(admin: Admin) -> None:
    admin.inventory((A100, 1), (A100, 1))
    admin.ok("quota", "set", "user", "ann", "gpu_hours", "10", "--why", "x")
    admin.clock_ahead = -timedelta(hours=5)
    old = admin.lease("ann", hours=2)
    admin.clock_ahead = timedelta(0)
    admin.stop(old, timedelta(hours=1, milliseconds=1))
    admin.lease("ann", hours=3)
    said = admin.data("quota", "why", "ann")
    budget = said["budget"]
    assert (said["gpus_held"], budget["days"], budget["limit_ms"]) == (1, 7, 36_000_000)
    # What runs has used and will use three hours together, whenever one looks.
    both = budget["used_ms"] + budget["committed_ms"]
    assert abs(both - 4 * 3_600_000 - 1) <= 1
    assert budget["left_ms"] == 36_000_000 - both
    told = admin.ok("quota", "why", "ann").splitlines()
    assert "6.000 of 10.000 left" in told[-2]
    assert told[-1] == "GPUs: 1 of 1 held."
    assert "no bound" in admin.ok("quota", "why", "ben")


def test_why_wants_one_user(admin: Admin) -> None:
    assert "USER" in admin.misused("quota", "why")
    assert "empty" in admin.misused("quota", "why", "")
    assert "Groups are not known" in admin.ok("quota", "why", "ann")
    assert admin.data("quota", "why", "ann")["groups_from"] == "unknown"
