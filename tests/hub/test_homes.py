"""A home's way into the archive and back, in a whole hub: its own janitor, its own starts."""

from dataclasses import replace

import docker
import pytest

from spawner.engine.containers import run_inside
from spawner.ledger import HomeFilter
from spawner.operations import homes
from spawner.policy.homes import HomeState
from spawner.policy.names import home_volume_name

from ..support.berth import Berth, containers_of, eventually
from ..support.ledger_of import ledger_of

pytestmark = [pytest.mark.hub, pytest.mark.docker, pytest.mark.image]


def state(berth: Berth, user: str) -> tuple[HomeState, bool] | None:
    with ledger_of(berth) as desk:
        found = homes.page(desk, HomeFilter(owner=user)).homes
    return (found[0].state, found[0].in_use) if found else None


def test_archived_while_away_and_back_at_the_next_start(berth: Berth, engine: docker.DockerClient) -> None:
    user = "home-of-hetty"
    berth.add_user(user)
    berth.start_server(user).raise_for_status()
    eventually(lambda: berth.ready(user))
    [container] = containers_of(engine, berth, user)
    said = run_inside(engine.api, container.id, ["sh", "-c", "echo precious > ~/work.txt"])
    assert said[0] == 0
    berth.command("janitor", "volumes")
    assert state(berth, user) == (HomeState.PRESENT, True)
    berth.api("DELETE", f"users/{user}/server").raise_for_status()
    berth.command("janitor", "volumes")
    assert state(berth, user) == (HomeState.PRESENT, False)
    with ledger_of(berth) as desk, desk.ledger.transaction() as books:
        # As if the start were some minutes past.
        books.homes.update(replace(homes.find_in(books, user), start_until=None))
    berth.command("homes", "archive", user, "--why", "a test")
    eventually(lambda: state(berth, user) == (HomeState.ARCHIVED, False))
    volume = home_volume_name(berth.state.hub_id, user)
    with pytest.raises(docker.errors.NotFound):
        engine.volumes.get(volume)
    berth.start_server(user).raise_for_status()
    eventually(lambda: berth.ready(user))
    [container] = containers_of(engine, berth, user)
    assert run_inside(engine.api, container.id, ["sh", "-c", "cat ~/work.txt"]) == (0, "precious\n")
    berth.api("DELETE", f"users/{user}/server").raise_for_status()
