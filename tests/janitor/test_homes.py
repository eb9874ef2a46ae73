"""Homes on a real engine: archived, restored, deleted, and never lost, whenever the janitor is killed."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import docker
import pytest

from spawner.engine.containers import USER_LABEL
from spawner.engine.view import HUB_LABEL
from spawner.engine.volumes import home_volume, make_volume, remove_volume
from spawner.errors import EngineUnavailable
from spawner.janitor.homes import archive_steps, home_steps, owner_steps, size_steps, volume_steps
from spawner.janitor.hub import HubUnavailable
from spawner.janitor.moving import carry_out
from spawner.operations import home_work as work
from spawner.operations import homes
from spawner.policy.homes import Home, HomeState
from spawner.policy.model import Deny
from spawner.policy.names import home_volume_name

from ..support.api_hub import ApiHub
from ..support.office import HOUR, MINUTE, NOW
from .conftest import Watch

DAY = timedelta(days=1)
S = HomeState


@pytest.fixture
def there(watch: Watch, client: docker.APIClient, hub_id: str) -> Iterator[Watch]:
    """A janitor of this module's hub, on the real engine."""
    watch.post = replace(watch.post, engine=client, hub_id=hub_id)
    yield watch
    for volume in client.volumes(filters={"label": f"{HUB_LABEL}={hub_id}"})["Volumes"] or []:
        client.remove_volume(volume["Name"], force=True)


def make_home(watch: Watch, user: str = "ann", **labels: str) -> str:
    """Make a home with something in it; gives its volume's name."""
    name = home_volume_name(watch.post.hub_id, user)
    volume = make_volume(watch.post.engine, name, {HUB_LABEL: watch.post.hub_id, USER_LABEL: user, **labels})
    fill(Path(volume.path))
    return name


def fill(path: Path) -> None:
    (path / "work").mkdir()
    (path / "work" / "data").write_bytes(bytes(range(256)) * 4096)
    (path / "link").symlink_to("work/data")
    (path / "second").hardlink_to(path / "work" / "data")
    os.chown(path, 1000, 100)
    os.chown(path / "work", 1000, 100)
    (path / "work").chmod(0o2750)


def content(watch: Watch, volume: str) -> dict[str, object] | None:
    """Tell what is in a home's volume; None where there is none."""
    found = home_volume(watch.post.engine, volume)
    if found is None:
        return None
    root = Path(found.path)
    return {
        str(path.relative_to(root)): (
            stat.filemode(path.lstat().st_mode),
            path.lstat().st_uid,
            path.lstat().st_nlink if path.is_file() else 0,
            path.read_bytes() if path.is_file() else None,
        )
        for path in [root, *root.rglob("*")]
    }


def known(watch: Watch, volume: str) -> Home:
    return homes.find(watch.office.desk, volume)


def seen_home(watch: Watch, user: str = "ann", **labels: str) -> str:
    volume = make_home(watch, user, **labels)
    watch.turn(volume_steps)
    return volume


def wish(answer: Home | Deny) -> Home:
    assert isinstance(answer, Home), answer
    return answer


def archive(watch: Watch, volume: str) -> Home:
    wish(homes.archive(watch.office.desk, volume, "olga", "space"))
    assert watch.turn(archive_steps) == [True]
    found = known(watch, volume)
    assert found.state is S.ARCHIVED, found
    return found


# --- what there is ------------------------------------------------------------------------------------------------


@pytest.mark.docker
def test_homes_are_found_and_measured_once(there: Watch) -> None:
    volume = make_home(there)
    assert [step.text for step in there.look(volume_steps)] == ["note the home of ann, which is new"]
    there.turn(volume_steps)
    assert there.look(volume_steps) == []
    assert [step.text for step in there.look(size_steps)] == ["measure the home of ann"]
    there.turn(size_steps)
    home = known(there, volume)
    assert home.size is not None
    assert 256 * 4096 <= home.size < 300 * 4096
    there.office.wait(DAY)
    assert there.look(size_steps) == []  # nobody has used it since


@pytest.mark.docker
def test_use_is_seen(there: Watch, client: docker.APIClient, tiny: str) -> None:
    volume = seen_home(there)
    container = hold_volume(client, tiny, volume, there.post.hub_id)
    client.start(container)
    assert [step.text for step in there.look(volume_steps)] == ["note that the home of ann is in use"]
    there.turn(volume_steps)
    assert known(there, volume).in_use
    refused = homes.archive(there.office.desk, volume, "olga", "space")
    assert isinstance(refused, Deny)
    assert refused.reason == "A server of ann runs. Stop it first: a home in use is not archived."
    client.remove_container(container, force=True)
    there.office.wait(HOUR)
    there.turn(volume_steps)
    home = known(there, volume)
    assert (home.in_use, home.last_used_at) == (False, NOW + HOUR)
    assert [step.text for step in there.look(size_steps)] == ["measure the home of ann"]


def hold_volume(client: docker.APIClient, image: str, volume: str, hub_id: str) -> str:
    mounts = [{"Type": "volume", "Source": volume, "Target": "/home/jovyan"}]
    body = {"Image": image, "Labels": {HUB_LABEL: hub_id}, "HostConfig": {"Mounts": mounts, "NetworkMode": "none"}}
    return str(client.create_container_from_config(body)["Id"])


@pytest.mark.docker
def test_a_volume_that_somebody_else_removes(there: Watch, client: docker.APIClient) -> None:
    volume = seen_home(there)
    there.office.wait(HOUR)
    client.remove_volume(volume)
    assert [step.text for step in there.look(volume_steps)] == ["note that the home of ann is deleted"]
    there.turn(volume_steps)
    home = known(there, volume)
    assert (home.state, home.error) == (S.DELETED, "Its volume was removed, and not by Berth.")
    assert there.office.audit()[-1].action == "home.gone"
    there.office.wait(HOUR)
    make_home(there)
    there.turn(volume_steps)
    assert known(there, volume).state is S.PRESENT


def test_an_engine_that_is_away_says_nothing_about_homes(watch: Watch) -> None:
    with pytest.raises(EngineUnavailable):
        volume_steps(watch.post)


# --- archive, restore, delete -------------------------------------------------------------------------------------


@pytest.mark.docker
def test_away_and_back(there: Watch) -> None:
    volume = seen_home(there, course="nlp")
    before = content(there, volume)
    there.turn(size_steps)
    home = archive(there, volume)
    assert home_volume(there.post.engine, volume) is None
    [file] = there.post.archive_dir.iterdir()
    assert (file.name, file.stat().st_size) == (home.archive, home.archive_size)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert home.archive.startswith(f"{volume}-20270301T12")
    assert there.look(archive_steps) == there.look(home_steps) == there.look(volume_steps) == []
    wish(homes.restore(there.office.desk, "ann", "olga", "ann is back"))
    [step] = there.look(home_steps)
    assert step.text == f"restore the home of ann ({volume}), as olga wished"
    assert step.carry_out()
    assert content(there, volume) == before
    back = home_volume(there.post.engine, volume)
    assert back is not None
    assert back.labels == {HUB_LABEL: there.post.hub_id, USER_LABEL: "ann", "course": "nlp"}
    assert known(there, volume).state is S.PRESENT
    assert [step.text for step in there.look(home_steps)] == [f"remove the archive {home.archive} that is left over"]
    there.turn(home_steps)
    assert list(there.post.archive_dir.iterdir()) == []
    assert there.look(home_steps) == []
    assert [(entry.actor, entry.action, entry.subject) for entry in there.office.audit()] == [
        ("olga", "home.archive", "home ann"),
        ("janitor", "home.archived", "home ann"),
        ("olga", "home.restore", "home ann"),
        ("janitor", "home.restored", "home ann"),
    ]


@pytest.mark.docker
@pytest.mark.parametrize("from_archive", [False, True])
def test_deleted_after_the_grace_period(there: Watch, from_archive: bool) -> None:
    volume = seen_home(there)
    if from_archive:
        archive(there, volume)
    wish(homes.delete(there.office.desk, volume, "olga", "left", 30 * DAY))
    there.office.wait(30 * DAY - MINUTE)
    assert there.look(home_steps) == []
    there.office.wait(MINUTE)
    assert [step.text for step in there.look(home_steps)] == [f"delete the home of ann ({volume}), as olga wished"]
    assert there.turn(home_steps) == [True]
    assert home_volume(there.post.engine, volume) is None
    assert not there.post.archive_dir.exists() or list(there.post.archive_dir.iterdir()) == []
    home = known(there, volume)
    assert (home.state, home.size, home.archive) == (S.DELETED, None, "")
    last = there.office.audit()[-1]
    assert (last.actor, last.action, last.why) == ("janitor", "home.deleted", "olga: left")


@pytest.mark.docker
@pytest.mark.parametrize("runs", [False, True])
def test_a_container_that_has_the_home_keeps_it(there: Watch, client: docker.APIClient, tiny: str, runs: bool) -> None:
    volume = seen_home(there)
    before = content(there, volume)
    wish(homes.archive(there.office.desk, volume, "olga", "space"))
    container = hold_volume(client, tiny, volume, there.post.hub_id)
    if runs:
        client.start(container)
    assert there.turn(archive_steps) == [True]
    home = known(there, volume)
    assert home.state is S.PRESENT
    assert "is in use by" in home.error
    assert content(there, volume) == before
    wish(homes.delete(there.office.desk, volume, "olga", "left", timedelta(0)))
    assert there.turn(home_steps)
    assert known(there, volume).state is S.PRESENT
    assert home_volume(client, volume) is not None
    client.remove_container(container, force=True)


@pytest.mark.docker
def test_a_volume_with_a_driver_of_its_own(there: Watch, client: docker.APIClient) -> None:
    name = home_volume_name(there.post.hub_id, "nina")
    labels = {HUB_LABEL: there.post.hub_id, USER_LABEL: "nina"}
    client.create_volume(name, driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, labels=labels)
    there.turn(volume_steps)
    wish(homes.archive(there.office.desk, "nina", "olga", "space"))
    there.turn(archive_steps)
    assert "driver or options of its own" in known(there, name).error
    there.turn(size_steps)
    assert known(there, name).size is None
    assert there.look(size_steps) == []


@pytest.mark.docker
def test_a_home_that_is_there_again_is_not_overwritten(there: Watch) -> None:
    volume = seen_home(there)
    archive(there, volume)
    make_home(there)
    wish(homes.restore(there.office.desk, volume, "olga", "back"))
    there.turn(home_steps)
    home = known(there, volume)
    assert home.state is S.ARCHIVED
    assert "has a new home by now" in home.error
    assert remove_volume(there.post.engine, volume) == ""
    wish(homes.restore(there.office.desk, volume, "olga", "back"))
    there.turn(home_steps)
    assert known(there, volume).state is S.PRESENT


@pytest.mark.docker
def test_an_archive_that_is_damaged_stays_and_is_told(there: Watch) -> None:
    volume = seen_home(there)
    home = archive(there, volume)
    file = there.post.archive_dir / home.archive
    good = file.read_bytes()
    file.write_bytes(good[:200] + bytes([good[200] ^ 1]) + good[201:])
    wish(homes.restore(there.office.desk, volume, "olga", "back"))
    there.turn(home_steps)
    found = known(there, volume)
    assert found.state is S.ARCHIVED
    assert found.error
    assert home_volume(there.post.engine, volume) is None
    assert there.office.audit()[-1].action == "home.failed"
    file.write_bytes(good)
    wish(homes.restore(there.office.desk, volume, "olga", "from the backup"))
    there.turn(home_steps)
    assert known(there, volume).state is S.PRESENT


@pytest.mark.docker
def test_a_disk_without_room(there: Watch, tmp_path: Path) -> None:
    volume = seen_home(there)
    before = content(there, volume)
    home = home_volume(there.post.engine, volume)
    assert home is not None
    (Path(home.path) / "noise").write_bytes(os.urandom(300_000))
    (tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(tmp_path / "small")], check=True)
    try:
        there.settings(homes={"archive_dir": tmp_path / "small"})
        wish(homes.archive(there.office.desk, volume, "olga", "space"))
        there.turn(archive_steps)
        failed = known(there, volume)
        assert failed.state is S.PRESENT
        assert "No space left on device. Is the disk full?" in failed.error
        there.turn(home_steps)  # what is left over
        assert list((tmp_path / "small").iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)
    (Path(home.path) / "noise").unlink()
    assert content(there, volume) == before


# --- whoever comes in between -------------------------------------------------------------------------------------


@pytest.mark.docker
@pytest.mark.parametrize("step", ["opened", "written", "checked", "packed", "before seal"])
def test_an_owner_who_starts_a_server_stops_the_archive(there: Watch, step: str) -> None:
    volume = seen_home(there)
    before = content(there, volume)
    wished = wish(homes.archive(there.office.desk, volume, "olga", "space"))

    def come_back(now: str) -> None:
        if now == step:
            assert homes.arriving(there.office.desk, volume) == homes.Ready()
            assert homes.hold(there.office.desk, volume, "ann") is None

    assert carry_out(there.post, wished, come_back) is False
    assert known(there, volume).state is S.PRESENT
    assert content(there, volume) == before
    there.turn(home_steps)
    assert list(there.post.archive_dir.iterdir()) == []
    last = there.office.audit()[-1]
    assert (last.actor, last.action) == ("ann", "home.cancel")


@pytest.mark.docker
def test_an_owner_who_comes_too_late_gets_it_back(there: Watch) -> None:
    volume = seen_home(there)
    wished = wish(homes.archive(there.office.desk, volume, "olga", "space"))
    answers = []

    def come_back(now: str) -> None:
        if now in {"sealed", "volume removed"}:
            answers.append(homes.arriving(there.office.desk, volume))

    assert carry_out(there.post, wished, come_back)
    assert [type(answer) for answer in answers] == [Deny, Deny]
    answer = homes.arriving(there.office.desk, volume)
    assert isinstance(answer, homes.BeingRestored)
    assert answer.since == NOW
    assert there.turn(home_steps) == [True]
    assert homes.arriving(there.office.desk, volume) == homes.Ready()


@pytest.mark.docker
def test_a_janitor_that_is_to_end_goes_on_later(there: Watch) -> None:
    volume = seen_home(there)
    wished = wish(homes.archive(there.office.desk, volume, "olga", "space"))

    def end(now: str) -> None:
        if now == "written":
            there.post.stopping.set()

    assert carry_out(there.post, wished, end) is False
    there.post.stopping.clear()
    assert known(there, volume).state is S.ARCHIVING
    assert list(there.post.archive_dir.iterdir()) == []
    assert there.turn(archive_steps) == [True]
    assert known(there, volume).state is S.ARCHIVED


# --- kill -9 ------------------------------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
import docker
from spawner.janitor.moving import carry_out
from spawner.janitor.post import Post
from spawner.ledger import Ledger
from spawner.operations import homes
from spawner.operations.desk import Desk
from spawner.policy.leases import LeaseRules
from spawner.settings import LimitSettings, Settings

url, state, hub_id, volume, now, step = sys.argv[1:]
moment = datetime.fromisoformat(now)
desk = Desk(Ledger(url), LimitSettings().rules(), LeaseRules(), lambda: moment)
post = Post(desk, docker.APIClient(version="auto"), hub_id, Settings(state_dir=Path(state)))

def checkpoint(reached):
    if reached == step:
        os.kill(os.getpid(), signal.SIGKILL)

carry_out(post, homes.find(desk, volume), checkpoint)
"""

_STEPS = {
    "archive": [
        *("opened", "writing", "written", "checking", "checked", "packed", "before seal"),
        *("sealed", "volume removed", "done"),
    ],
    "restore": ["before volume", "volume made", "unpacking", "unpacked", "before finish", "done"],
    "delete": ["before removal", "removing", "volume removed", "before finish", "done"],
    "delete the archive": ["before removal", "removing", "volume removed", "before finish", "done"],
}


@pytest.mark.docker
@pytest.mark.parametrize(("deed", "step"), [(deed, step) for deed, steps in _STEPS.items() for step in steps])
def test_killed_at_each_step(there: Watch, deed: str, step: str) -> None:
    desk, volume = there.office.desk, seen_home(there)
    before = content(there, volume)
    if deed in {"restore", "delete the archive"}:
        archive(there, volume)
    if deed == "archive":
        wish(homes.archive(desk, volume, "olga", "space"))
    elif deed == "restore":
        wish(homes.restore(desk, volume, "olga", "back"))
    else:
        wish(homes.delete(desk, volume, "olga", "left", timedelta(0)))
    arguments = [there.office.place.url, str(there.post.settings.state_dir), there.post.hub_id, volume]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, *arguments, there.office.clock.now.isoformat(), step],
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    home = known(there, volume)
    if not deed.startswith("delete") and home.state not in {S.ARCHIVED, S.PRESENT}:
        # Nobody else takes it until it is clear that the other is dead.
        assert there.turn(archive_steps) == there.turn(home_steps) == []
    if not deed.startswith("delete") and not home.archived:
        assert content(there, volume) == before
    there.office.wait(3 * MINUTE)
    # The next janitor goes on.
    for _ in range(2):
        there.turn(archive_steps)
        there.turn(home_steps)
        there.turn(volume_steps)
    home = known(there, volume)
    files = list(there.post.archive_dir.iterdir()) if there.post.archive_dir.exists() else []
    if deed == "archive":
        assert home.state is S.ARCHIVED
        assert content(there, volume) is None
        assert [file.name for file in files] == [home.archive]
        wish(homes.restore(desk, volume, "olga", "to compare"))
        there.turn(home_steps)
        assert content(there, volume) == before
    elif deed == "restore":
        assert home.state is S.PRESENT
        assert content(there, volume) == before
        assert files == []
    else:
        assert home.state is S.DELETED
        assert content(there, volume) is None
        assert files == []


# --- owners -------------------------------------------------------------------------------------------------------


def hub_knows(hub: ApiHub, *names: str, total: int | None = None) -> None:
    items = [{"name": name} for name in names]
    half = len(items) // 2 if len(items) > 1 else len(items)
    of = len(items) if total is None else total
    second = {"offset": half, "limit": 200, "url": ""} if half < len(items) else None
    hub.says(r"users\?offset=0&", 200, {"items": items[:half], "_pagination": {"total": of, "next": second}})
    hub.says(rf"users\?offset={half}&", 200, {"items": items[half:], "_pagination": {"total": of, "next": None}})
    if not half:
        hub.says(r"users\?offset=0&", 200, {"items": [], "_pagination": {"total": of, "next": None}})


def put_home(watch: Watch, user: str) -> str:
    volume = home_volume_name(watch.post.hub_id, user)
    seen = work.SeenVolume(volume, user, NOW - DAY, in_use=False)
    work.take_over(watch.office.desk, [seen], volume, NOW)
    return volume


def test_a_deleted_users_home_goes_by_the_rule(watch: Watch, hub: ApiHub) -> None:
    ann, bob = put_home(watch, "ann"), put_home(watch, "bob")
    hub_knows(hub, "bob", "eve", "olga")
    watch.settings(homes={"deleted_users": "delete", "grace_days": 10})
    assert [step.text for step in watch.look(owner_steps)] == ["note that the hub does not know ann"]
    watch.turn(owner_steps)
    assert watch.look(owner_steps) == []
    watch.office.wait(HOUR)
    assert [step.text for step in watch.look(owner_steps)] == ["note that the home of ann is deleting"]
    watch.turn(owner_steps)
    home = known(watch, ann)
    assert (home.state, home.asked_by, home.delete_at) == (S.DELETING, "janitor", NOW + HOUR + 10 * DAY)
    assert known(watch, bob).state is S.PRESENT
    hub_knows(hub, "ann", "bob")
    watch.turn(owner_steps)
    home = known(watch, ann)
    assert (home.state, home.owner_gone_at) == (S.PRESENT, None)
    assert [(entry.action, entry.why) for entry in watch.office.audit()] == [
        ("home.delete", "its owner was deleted"),
        ("home.cancel", "its owner is back"),
    ]


def test_by_itself_nothing_is_deleted(watch: Watch, hub: ApiHub) -> None:
    ann = put_home(watch, "ann")
    hub_knows(hub, "bob")
    for _ in range(3):
        watch.turn(owner_steps)
        watch.office.wait(30 * DAY)
    home = known(watch, ann)
    assert (home.state, home.owner_gone_at) == (S.PRESENT, NOW)


def test_a_hub_that_does_not_tell_all_tells_nothing(watch: Watch, hub: ApiHub) -> None:
    put_home(watch, "ann")
    hub_knows(hub, "bob", total=2)
    with pytest.raises(HubUnavailable, match="named 1 of 2 users"):
        owner_steps(watch.post)
    hub.says("users", 200, [{"name": "bob"}])
    with pytest.raises(HubUnavailable, match="something else than expected"):
        owner_steps(watch.post)
    hub.says("users", 503)
    with pytest.raises(HubUnavailable):
        owner_steps(watch.post)
