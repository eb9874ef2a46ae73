from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spawner.cli.purge import purge_archives
from spawner.operations import home_work as work
from spawner.policy.homes import HomeState, Phase

from .admin import Admin

DAY = timedelta(days=1)


@pytest.fixture
def three(admin: Admin) -> Admin:
    """An admin of three homes."""
    now = datetime.now(UTC)
    seen = [
        work.SeenVolume("v-ann", "ann", now - 100 * DAY, in_use=False),
        work.SeenVolume("v-bob", "bob", now - 2 * DAY, in_use=True),
        work.SeenVolume("v-eve", "eve", now - DAY, in_use=False),
    ]
    work.take_over(admin.desk, seen, "v-", now)
    for name, size in (("ann", 5 << 30), ("bob", 1 << 20), ("eve", 3 << 30)):
        work.note_size(admin.desk, f"v-{name}", size, None)
    return admin


def one(admin: Admin, user: str) -> dict[str, Any]:
    [found] = admin.data("homes", "--user", user)
    return dict(found)


def test_the_list(three: Admin) -> None:
    lines = three.ok("homes").splitlines()
    assert lines[0].split() == ["owner", "state", "size", "last", "use", "(UTC)", "note"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["ann", "present", "5", "GiB"],
        ["bob", "present", "1", "MiB"],
        ["eve", "present", "3", "GiB"],
    ]
    assert "now" in lines[2]
    names = ["--sort", "size"], ["--sort", "use"], ["--unused", "90d"], ["--user", "E"], ["--gone"], ["--limit", "1"]
    assert [[home["owner"] for home in three.data("homes", *asked)] for asked in names] == [
        ["ann", "eve", "bob"],
        ["ann", "eve", "bob"],
        ["ann"],
        ["eve"],
        [],
        ["ann"],
    ]
    assert "--limit shows more than 1" in three.ok("homes", "--limit", "1")
    assert three.ok("homes", "--gone") == "There are no such homes.\n"


def test_no_homes(admin: Admin) -> None:
    assert admin.ok("homes") == "There are no homes yet.\n"
    assert admin.data("homes") == []
    refused = admin.refused("homes", "archive", "zoe", "--why", "x", code="unknown_name")
    assert refused == "There is no home of 'zoe'; `berth homes` lists those there are."


def test_archive_cancel_and_restore(three: Admin) -> None:
    said = three.ok("homes", "archive", "ann", "--why", "not used since summer")
    assert said == "The home of ann is archived as soon as the janitor comes to it.\n"
    assert "as cli:olga wished: not used since summer" in three.ok("homes", "--state", "archiving")
    three.refused("homes", "archive", "ann", "--why", "again", code="home_state")
    assert three.data("homes", "cancel", "v-ann", "--why", "she needs it")["state"] == "present"
    three.refused("homes", "cancel", "ann", "--why", "again", code="home_at_rest")
    three.refused("homes", "restore", "ann", "--why", "x", code="home_state")
    refused = three.refused("homes", "archive", "bob", "--why", "space", code="home_in_use")
    assert refused == "A server of bob runs. Stop it first: a home in use is not archived."
    actions = [(entry["action"], entry["actor"], entry["why"]) for entry in three.audit()]
    assert actions == [
        ("home.cancel", "cli:olga", "she needs it"),
        ("home.archive", "cli:olga", "not used since summer"),
    ]


def test_an_archived_home_is_told_and_restored(three: Admin) -> None:
    three.ok("homes", "archive", "ann", "--why", "space")
    assert work.claim(three.desk, "v-ann", "w")
    assert work.beat(three.desk, "v-ann", "w", 1 << 30)
    assert "20 %, as cli:olga wished: space" in three.ok("homes", "--user", "ann")
    assert work.seal(three.desk, "v-ann", "w", 2 << 30, "5a", {})
    three.refused("homes", "cancel", "ann", "--why", "x", code="too_late")
    assert work.finish(three.desk, "v-ann", "w")
    home = one(three, "ann")
    assert (home["state"], home["archive_bytes"], home["sha256"]) == ("archived", 2 << 30, "5a")
    assert "2 GiB" in three.ok("homes", "--user", "ann")
    assert "archived on" in three.ok("homes", "--user", "ann")
    assert three.data("homes", "restore", "ann", "--why", "back")["state"] == "restoring"


def test_delete_after_a_grace_period(three: Admin) -> None:
    said = three.ok("homes", "delete", "ann", "--why", "left")
    day = f"{datetime.now(UTC) + 30 * DAY:%Y-%m-%d}"
    assert said.startswith(f"The home of ann is deleted at {day}")
    assert f"on {day}" in three.ok("homes", "--user", "ann")
    soon = three.data("homes", "delete", "eve", "--why", "left", "--days", "2")
    assert soon["delete_at"].startswith(f"{datetime.now(UTC) + 2 * DAY:%Y-%m-%d}")
    changed = three.data("homes", "cancel", "eve", "--why", "no")
    assert changed["delete_at"] is None
    with_setting = three.data("homes", "delete", "eve", "--why", "left", BERTH_HOMES__GRACE_DAYS="1")
    assert with_setting["delete_at"].startswith(f"{datetime.now(UTC) + DAY:%Y-%m-%d}")


def test_deleting_at_once_is_asked_for(three: Admin) -> None:
    done = three.run("homes", "delete", "ann", "--why", "left", "--days", "0", input="n\n")
    assert done.exit_code == 1
    assert "Delete the home of ann (5 GiB) for good, now?" in done.output
    assert one(three, "ann")["state"] == "present"
    three.ok("homes", "delete", "ann", "--why", "left", "--days", "0", "--yes")
    assert one(three, "ann")["state"] == "deleting"
    three.refused("homes", "delete", "bob", "--why", "x", "--days", "0", "--yes", code="home_in_use")


def test_what_went_wrong_is_told(three: Admin) -> None:
    three.ok("homes", "archive", "ann", "--why", "space")
    work.claim(three.desk, "v-ann", "w")
    work.fail(three.desk, "v-ann", "w", "The disk is full.")
    home = one(three, "ann")
    assert (home["state"], home["error"]) == ("present", "The disk is full.")
    assert "The disk is full." in three.ok("homes")
    assert three.audit()[0]["action"] == "home.failed"
    three.ok("homes", "delete", "ann", "--why", "x", "--days", "0", "--yes")
    work.claim(three.desk, "v-ann", "w")
    assert work.pass_point(three.desk, "v-ann", "w", Phase.REMOVING)
    three.refused("homes", "cancel", "ann", "--why", "x", code="too_late")
    assert work.finish(three.desk, "v-ann", "w")
    assert three.data("homes", "--user", "ann") == []
    assert three.data("homes", "--state", "deleted")[0]["state"] == HomeState.DELETED


def test_a_purge_takes_this_hubs_archives_along(tmp_path: Path) -> None:
    ours = ["berth-0a1b2c3d-home-ann-5.tar.gz", ".berth-0a1b2c3d-home-ann-5.tar.gz.part"]
    others = ["berth-00000000-home-ann-5.tar.gz", "notes.txt"]
    for name in ours + others:
        (tmp_path / name).write_text("x")
    removed: list[str] = []
    purge_archives(tmp_path, "0a1b2c3d", removed.append)
    assert sorted(removed) == sorted(f"archive {name}" for name in ours)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    purge_archives(tmp_path / "nowhere", "0a1b2c3d", removed.append)
