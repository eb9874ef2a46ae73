import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

from spawner.cli.usage import hours
from spawner.operations import ends, repairs

from .admin import A100, T4, Admin

HOUR = 3_600_000


@pytest.fixture
def used(admin: Admin) -> Admin:
    """Ann had an A100 for an hour and a millisecond, and Ben a T4 for 20 minutes, both three days ago."""
    admin.inventory((A100, 1), (T4, 1))
    admin.clock_ahead = -timedelta(days=3)
    ann = admin.lease("ann", models=frozenset({A100}), groups=frozenset({"vision", "staff"}), course="ml")
    ben = admin.lease("ben", models=frozenset({T4}))
    admin.clock_ahead = timedelta(0)
    admin.stop(ann, timedelta(hours=1, milliseconds=1))
    admin.stop(ben, timedelta(minutes=20))
    return admin


def rows(admin: Admin, by: str, *options: str) -> dict[str, int]:
    return {row[by]: row["gpu_ms"] for row in admin.data("usage", "--by", by, *options)["rows"]}


def test_by_each(used: Admin) -> None:
    assert rows(used, "user") == {"ann": HOUR + 1, "ben": HOUR // 3}
    assert rows(used, "group") == {"vision": HOUR + 1, "staff": HOUR + 1, "": HOUR // 3}
    assert rows(used, "model") == {A100: HOUR + 1, T4: HOUR // 3}
    assert rows(used, "course") == {"ml": HOUR + 1, "": HOUR // 3}
    days = rows(used, "day")
    assert sum(days.values()) == HOUR + 1 + HOUR // 3
    assert list(days) == sorted(days)
    # Whom two groups count, the sum counts once.
    assert used.data("usage", "--by", "group")["total"]["gpu_ms"] == HOUR + 1 + HOUR // 3


def test_the_table(used: Admin) -> None:
    lines = [line.split() for line in used.ok("usage").splitlines()]
    assert lines[:4] == [["user", "GPU-hours"], ["ann", "1.000"], ["ben", "0.333"], ["all", "1.333"]]
    assert lines[4][0] == "From"
    assert "(no group)" in used.ok("usage", "--by", "group")
    assert "(no course)" in used.ok("usage", "--by", "course")


def test_csv_is_exact(used: Admin) -> None:
    read = list(csv.DictReader(io.StringIO(used.ok("usage", "--format", "csv"))))
    assert read == [
        {"user": "ann", "gpu_ms": str(HOUR + 1), "gpu_hours": "1.000"},
        {"user": "ben", "gpu_ms": str(HOUR // 3), "gpu_hours": "0.333"},
    ]
    assert used.ok("usage", "--format", "csv", "--running").splitlines()[0] == "user,gpu_ms,gpu_hours,running_ms"


def test_json_either_way(used: Admin) -> None:
    assert used.ok("usage", "--format", "json", "--until", "1h").startswith("{")
    said = used.data("usage")
    assert said["by"] == "user"
    assert said["rows"][0] == {"user": "ann", "gpu_ms": HOUR + 1, "gpu_hours": 1.0}
    assert datetime.fromisoformat(said["until"]) - datetime.fromisoformat(said["since"]) == timedelta(days=7)


def test_a_range_is_split_exactly_at_its_edges(used: Admin) -> None:
    (lease,) = used.data("leases", "--all", "--user", "ann")
    start = datetime.fromisoformat(lease["started_at"])
    middle = (start + timedelta(minutes=10)).isoformat()
    before, after = (rows(used, "user", *edge)["ann"] for edge in (("--until", middle), ("--since", middle)))
    assert (before, after) == (600_000, HOUR + 1 - 600_000)
    assert rows(used, "user", "--since", "1d") == {}
    assert "No GPU was used" in used.ok("usage", "--since", "1d")
    assert rows(used, "user", "--since", str((start - timedelta(days=1)).date()))["ann"] == HOUR + 1


@pytest.mark.parametrize("by", ["user", "group", "model", "course", "day"])
def test_running_leases_are_split_likewise(admin: Admin, by: str) -> None:
    admin.inventory((A100, 1), (A100, 1))
    admin.ok("quota", "set", "default", "gpus", "2", "--why", "x")
    admin.ok("quota", "set", "default", "lease_hours", "100", "--why", "x")
    admin.clock_ahead = -timedelta(hours=30)
    lease = admin.lease("ann", hours=90, count=2, groups=frozenset({"a", "b"}), course="ml")
    admin.clock_ahead = timedelta(0)
    assert rows(admin, by) == {}
    said = {row[by]: row["running_ms"] for row in admin.data("usage", "--by", by, "--running")["rows"]}
    total = admin.data("usage", "--by", by, "--running")["total"]["running_ms"]
    assert abs(total - 60 * HOUR) < 60_000
    expected = {"user": {"ann"}, "group": {"a", "b"}, "model": {A100}, "course": {"ml"}}
    if by == "day":
        assert 2 <= len(said) <= 3
        assert abs(sum(said.values()) - total) < 60_000
        assert max(said.values()) <= 2 * 24 * HOUR
    else:
        assert set(said) == expected[by]
        assert all(abs(used - total) < 60_000 for used in said.values())
    assert "running so far" in admin.ok("usage", "--by", by, "--running")
    # What lies ahead was not used yet.
    ahead = admin.data("usage", "--running", "--until", "2999-01-01")["total"]["running_ms"]
    assert abs(ahead - total) < 60_000
    early = (lease.granted_at + timedelta(hours=1)).isoformat()
    assert admin.data("usage", "--running", "--until", early)["total"]["running_ms"] == 2 * HOUR


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--since", "yesterday"], "not 'yesterday'"),
        (["--since", "0d"], "90m, 12h, 7d or 2w"),
        (["--since", "2999-01-01"], "must lie before"),
        (["--since", "1d", "--until", "2d"], "must lie before"),
        (["--since", "2027-13-01"], "2027-03-01"),
        (["--by", "colour"], "colour"),
        (["--format", "xml"], "xml"),
    ],
)
def test_wrong_usage(admin: Admin, options: list[str], told: str) -> None:
    assert told in admin.misused("usage", *options)


def test_hours_are_rounded_from_whole_milliseconds() -> None:
    assert [hours(ms) for ms in (0, 1, 1800, 1801, HOUR - 1, 10**15 * 36)] == [
        "0.000",
        "0.000",
        "0.000",
        "0.001",
        "1.000",
        "10000000000.000",
    ]


def test_days_are_those_of_utc(admin: Admin) -> None:
    admin.inventory((A100, 1))
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    admin.clock_ahead = midnight - timedelta(hours=1) - datetime.now(UTC)
    lease = admin.lease("ann", hours=3)
    assert lease.started_at is not None
    before = midnight - lease.started_at
    admin.clock_ahead = timedelta(0)
    admin.stop(lease, before + timedelta(hours=1))
    days = rows(admin, "day")
    assert list(days) == [f"{midnight - timedelta(days=1):%Y-%m-%d}", f"{midnight:%Y-%m-%d}"]
    assert abs(days[f"{midnight:%Y-%m-%d}"] - HOUR) <= 1


def test_what_was_idle_stands_beside(admin: Admin) -> None:
    admin.inventory((A100, 1))
    admin.clock_ahead = -timedelta(hours=3)
    lease = admin.lease("ann", hours=20)
    [found] = repairs.open_leases(admin.desk)
    assert ends.note_idle(admin.desk, found, admin.desk.clock())
    admin.clock_ahead = timedelta(0)
    assert admin.data("usage", "--idle")["rows"] == []
    running = admin.data("usage", "--idle", "--running")["rows"][0]
    assert abs(running["idle_ms"] - 3 * HOUR) < 60_000
    admin.stop(lease, timedelta(hours=2))
    booked = admin.data("usage", "--idle")["rows"][0]
    assert booked["gpu_ms"] == 2 * HOUR
    assert abs(booked["idle_ms"] - 2 * HOUR) < 60_000
    assert used_head(admin) == ["user", "gpu_ms", "gpu_hours", "idle_ms"]
    assert admin.ok("usage", "--idle").split()[:3] == ["user", "GPU-hours", "idle"]


def used_head(admin: Admin) -> list[str]:
    return admin.ok("usage", "--idle", "--format", "csv").splitlines()[0].split(",")
