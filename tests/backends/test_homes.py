"""Servers whose home is in the archive, on its way, or about to be put away."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
from jupyterhub.spawner import SpawnException

from spawner.backends import desks
from spawner.engine.containers import USER_LABEL
from spawner.engine.view import HUB_LABEL
from spawner.engine.volumes import home_volume, make_volume
from spawner.janitor.homes import archive_steps, home_steps, volume_steps
from spawner.janitor.post import Post
from spawner.ledger import Ledger
from spawner.operations import homes
from spawner.operations.desk import Desk
from spawner.policy.homes import Home, HomeState, Phase
from spawner.policy.names import home_volume_name
from spawner.settings import LeaseSettings, LimitSettings, Settings

from ..support.waiting import soon
from .conftest import MakeSpawner

pytestmark = pytest.mark.docker


@pytest.fixture
def post(tmp_path: Path, hub_id: str, client: docker.APIClient) -> Iterator[Post]:
    """A janitor of this module's hub."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = Ledger(url)
    ledger.upgrade()
    desk = Desk(ledger, LimitSettings().rules(), LeaseSettings().rules())
    yield Post(desk, client, hub_id, Settings(state_dir=tmp_path))
    ledger.close()
    for key in [key for key in desks._DESKS if key[0] == url]:
        desks._DESKS.pop(key).ledger.close()


@pytest.fixture
def home(post: Post) -> str:
    """Ann's home, with a file in it; gives its volume's name."""
    name = home_volume_name(post.hub_id, "ann")
    volume = make_volume(post.engine, name, {HUB_LABEL: post.hub_id, USER_LABEL: "ann"})
    (Path(volume.path) / "precious").write_text("work of years")
    turn(post, volume_steps)
    return name


def turn(post: Post, look: Any) -> None:
    for step in look(post):
        step.carry_out()


def make(make_spawner: MakeSpawner, tmp_path: Path, wait: int = 20) -> Any:
    return make_spawner(ledger_url=f"sqlite:///{tmp_path / 'ledger.sqlite'}", leases={"wait_seconds": wait})


def archive(post: Post) -> None:
    homes.archive(post.desk, "ann", "olga", "space")
    turn(post, archive_steps)
    assert homes.find(post.desk, "ann").state is HomeState.ARCHIVED


def precious(post: Post) -> str:
    volume = home_volume(post.engine, home_volume_name(post.hub_id, "ann"))
    assert volume is not None
    return (Path(volume.path) / "precious").read_text()


async def test_a_start_brings_an_archived_home_back(
    make_spawner: MakeSpawner, post: Post, home: str, tmp_path: Path
) -> None:
    archive(post)
    spawner = make(make_spawner, tmp_path)
    starting = asyncio.ensure_future(spawner.start())
    await soon(lambda: homes.find(post.desk, "ann").state is HomeState.RESTORING)
    await asyncio.to_thread(turn, post, home_steps)
    await starting
    assert precious(post) == "work of years"
    said = [step["message"] for step in spawner._steps._steps]
    assert any(str(one).startswith("Your home is being brought back from the archive, where it has") for one in said)
    found = homes.find(post.desk, "ann")
    assert (found.state, found.asked_by) == (HomeState.PRESENT, "ann")
    await spawner.stop()


async def test_a_start_does_not_wait_for_ever(make_spawner: MakeSpawner, post: Post, home: str, tmp_path: Path) -> None:
    archive(post)
    spawner = make(make_spawner, tmp_path, wait=0)
    with pytest.raises(SpawnException, match=r"brought back.* Start the server again in a few minutes\.") as refused:
        await spawner.start()
    assert refused.value.reason == "home_restoring"
    assert home_volume(post.engine, home) is None  # no empty one in its place
    turn(post, home_steps)
    await spawner.start()
    assert precious(post) == "work of years"
    await spawner.stop()


@pytest.mark.parametrize("wish", ["archive", "delete"])
async def test_who_comes_back_keeps_the_home(
    make_spawner: MakeSpawner, post: Post, home: str, tmp_path: Path, wish: str
) -> None:
    if wish == "archive":
        homes.archive(post.desk, "ann", "olga", "space")
    else:
        homes.delete(post.desk, "ann", "olga", "left", timedelta(0))
    spawner = make(make_spawner, tmp_path)
    await spawner.start()
    assert homes.find(post.desk, "ann").state is HomeState.PRESENT
    for look in (archive_steps, home_steps, volume_steps):
        turn(post, look)
    assert homes.find(post.desk, "ann").in_use
    assert precious(post) == "work of years"
    await spawner.stop()


async def test_a_home_that_is_being_removed_is_not_started_with(
    make_spawner: MakeSpawner, post: Post, home: str, tmp_path: Path
) -> None:
    with post.desk.ledger.transaction() as books:
        found = homes.find_in(books, "ann")
        books.homes.update(replace(found, state=HomeState.DELETING, phase=Phase.REMOVING, delete_at=datetime.now(UTC)))
    spawner = make(make_spawner, tmp_path)
    with pytest.raises(SpawnException, match="Your home is being deleted") as refused:
        await spawner.start()
    assert refused.value.reason == "home_busy"


async def test_a_home_that_is_put_away_just_before_the_container_is_made(
    make_spawner: MakeSpawner, post: Post, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner = make(make_spawner, tmp_path)
    obtained = spawner._gpu_access

    async def slow(image: str) -> Any:
        archive(post)
        return await obtained(image)

    monkeypatch.setattr(spawner, "_gpu_access", slow)
    with pytest.raises(SpawnException, match=r"Your home is archived\. Start the server again\."):
        await spawner.start()
    assert home_volume(post.engine, home) is None


async def test_a_first_start_is_held(make_spawner: MakeSpawner, post: Post, tmp_path: Path) -> None:
    spawner = make_spawner("eve", ledger_url=f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    await spawner.start()
    found: Home = homes.find(post.desk, "eve")
    assert found.starting(datetime.now(UTC))
    turn(post, volume_steps)
    assert homes.find(post.desk, "eve").in_use
    await spawner.stop()
