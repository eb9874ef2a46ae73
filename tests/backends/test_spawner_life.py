"""What becomes of a server after its start: polls, ends, a hub that was restarted, an engine that fails."""

import asyncio
from typing import Any

import docker
import pytest
from docker.errors import NotFound

from spawner.backends.spec import build_spec
from spawner.engine import containers
from spawner.policy.model import Grant, SpawnRequest

from ..support.flaky_engine import FlakyEngine
from ..support.waiting import soon
from .conftest import MakeSpawner
from .test_spawner_start import there

pytestmark = pytest.mark.docker


async def _blind(spawner: Any, flaky: FlakyEngine) -> None:
    """Take the event stream away, so that polls must ask the engine."""
    flaky.answer("/events", 500)
    flaky.cut()
    await soon(lambda: not spawner.view.fresh)


async def test_a_server_that_died_alone(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    spawner = make_spawner()
    await spawner.start()
    client.kill(spawner.object_id)
    client.wait(spawner.object_id)
    await soon(lambda: not spawner.view.current(spawner.object_id).running)
    assert await spawner.poll() == 137
    # The hub calls no stop then.
    await spawner.run_post_stop_hook()
    assert not there(client, spawner)


async def test_its_end_is_heard_at_once(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    spawner = make_spawner()
    await spawner.start()
    heard: asyncio.Queue[bool] = asyncio.Queue()
    spawner.add_poll_callback(heard.put_nowait, True)
    spawner.start_polling()
    client.kill(spawner.object_id)
    # The next poll would be half a minute away.
    async with asyncio.timeout(10):
        assert await heard.get()


async def test_whoever_hears_of_an_end_waits_until_the_hub_has_dealt_with_it(
    client: docker.APIClient, make_spawner: MakeSpawner
) -> None:
    """Else a start that finds the server dead begins while the hub still ends it, and that ends the new one."""
    spawner = make_spawner()
    await spawner.start()
    began, over = asyncio.Event(), asyncio.Event()

    async def end() -> None:
        began.set()
        await over.wait()

    spawner.add_poll_callback(end)
    client.kill(spawner.object_id)
    client.wait(spawner.object_id)
    first = asyncio.ensure_future(spawner.poll_and_notify())
    await began.wait()
    second, third = (asyncio.ensure_future(spawner.poll_and_notify()) for _ in range(2))
    await asyncio.sleep(0.5)
    third.cancel()
    assert not first.done()
    assert not second.done()
    over.set()
    assert (await first, await second) == (137, 137)
    assert await spawner.poll_and_notify() == 137


async def test_a_server_that_somebody_removed(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    spawner = make_spawner()
    await spawner.start()
    container = spawner.object_id
    client.remove_container(container, force=True)
    await soon(lambda: spawner.view.current(container) is None)
    assert await spawner.poll() == 0
    assert spawner.object_id == ""
    await spawner.stop()


async def test_polls_cost_the_engine_nothing(make_spawner: MakeSpawner, flaky: FlakyEngine) -> None:
    spawner = make_spawner()
    await spawner.start()
    await soon(lambda: getattr(spawner.view.current(spawner.object_id), "running", False))
    before = flaky.seen(".*")
    for _ in range(20):
        assert await spawner.poll() is None
    assert flaky.seen(".*") == before


@pytest.mark.parametrize("failure", ["answer", "drop"])
async def test_an_engine_that_fails_says_nothing_about_a_server(
    client: docker.APIClient, make_spawner: MakeSpawner, flaky: FlakyEngine, failure: str
) -> None:
    spawner = make_spawner()
    await spawner.start()
    await _blind(spawner, flaky)
    getattr(flaky, failure)("GET .*/containers/")
    assert await spawner.poll() is None
    # Even if it is gone meanwhile: nobody can know.
    client.remove_container(spawner.object_id, force=True)
    assert await spawner.poll() is None
    flaky.heal()
    assert await spawner.poll() == 0


async def test_an_engine_that_hangs_says_nothing_either(make_spawner: MakeSpawner, flaky: FlakyEngine) -> None:
    spawner = make_spawner()
    await spawner.start()
    impatient = make_spawner(engine={"timeout": 0.5})
    impatient.load_state(spawner.get_state())
    await _blind(impatient, flaky)
    flaky.hold("GET .*/containers/")
    assert await impatient.poll() is None


async def test_while_the_stream_is_down_polls_ask_the_engine(
    client: docker.APIClient, make_spawner: MakeSpawner, flaky: FlakyEngine
) -> None:
    spawner = make_spawner()
    await spawner.start()
    await _blind(spawner, flaky)
    assert await spawner.poll() is None
    client.kill(spawner.object_id)
    client.wait(spawner.object_id)
    assert await spawner.poll() == 137


@pytest.mark.parametrize("failure", ["answer", "drop", "lose"])
async def test_stop_goes_on_until_the_engine_has_answered(
    client: docker.APIClient, make_spawner: MakeSpawner, flaky: FlakyEngine, failure: str
) -> None:
    spawner = make_spawner()
    await spawner.start()
    getattr(flaky, failure)("POST .*/stop", times=2)
    getattr(flaky, failure)("DELETE ", times=2)
    await spawner.stop()
    assert flaky.seen("POST .*/stop") == 3
    assert flaky.seen("DELETE ") >= 3
    assert not there(client, spawner)
    assert spawner.object_id == ""


async def test_stop_waits_for_an_engine_that_hangs(
    client: docker.APIClient, make_spawner: MakeSpawner, flaky: FlakyEngine
) -> None:
    spawner = make_spawner()
    await spawner.start()
    flaky.hold("DELETE ")
    stopping = asyncio.ensure_future(spawner.stop())
    await soon(lambda: flaky.seen("DELETE "))
    assert not stopping.done()
    assert spawner.object_id
    flaky.heal()
    await stopping
    assert not there(client, spawner)


async def test_stop_now_does_not_wait_for_the_server(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    spawner = make_spawner(stop_grace=60)
    await spawner.start()
    async with asyncio.timeout(20):
        await spawner.stop(now=True)
    assert not there(client, spawner)


async def test_one_users_slow_stop_does_not_delay_anothers_start(make_spawner: MakeSpawner, flaky: FlakyEngine) -> None:
    slow = make_spawner("bob")
    await slow.start()
    flaky.hold("POST .*/stop")
    stopping = asyncio.ensure_future(slow.stop())
    await soon(lambda: flaky.seen("POST .*/stop"))
    quick = make_spawner("ann")
    async with asyncio.timeout(20):
        await quick.start()
    assert not stopping.done()
    flaky.heal()
    await stopping


# --- a hub that was restarted -------------------------------------------------------------------------------------


async def test_a_server_is_found_again_by_its_state(make_spawner: MakeSpawner) -> None:
    before = make_spawner()
    ip, port = await before.start()
    after = make_spawner(api_token="")
    after.load_state(before.get_state())
    assert await after.poll() is None
    assert await after.get_url() == f"http://{ip}:{port}/user/ann/"


async def test_a_server_that_the_hub_did_not_live_to_note_down(make_spawner: MakeSpawner) -> None:
    before = make_spawner()
    await before.start()
    after = make_spawner(api_token="")
    assert await after.poll() is None
    assert after.object_id == before.object_id
    assert after.api_token == "token-of-ann"
    assert after.orm_spawner.state["object_id"] == before.object_id


async def test_a_container_that_never_ran_is_removed(
    client: docker.APIClient, make_spawner: MakeSpawner, tiny: str
) -> None:
    before = make_spawner()
    grant = before.decide(SpawnRequest("tiny"), before.limits.rules())
    assert isinstance(grant, Grant)
    spec = build_spec(before, grant, tiny, await before._network())
    containers.create(client, spec)
    after = make_spawner()
    assert await after.poll() == 0
    assert not there(client, after)
    assert after.object_id == ""


async def test_a_start_that_came_to_nothing_is_removed(
    client: docker.APIClient, make_spawner: MakeSpawner, tiny: str
) -> None:
    before = make_spawner(behave="mute")
    grant = before.decide(SpawnRequest("tiny"), before.limits.rules())
    assert isinstance(grant, Grant)
    spec = build_spec(before, grant, tiny, await before._network())
    containers.start(client, containers.create(client, spec))
    after = make_spawner(ready_timeout=1)
    assert await after.poll() == 0
    assert not there(client, after)


async def test_somebody_elses_container_of_the_same_name_is_left_alone(
    client: docker.APIClient, make_spawner: MakeSpawner, tiny: str
) -> None:
    spawner = make_spawner()
    theirs = client.create_container_from_config({"Image": tiny}, spawner.container_name)["Id"]
    assert await spawner.poll() == 0
    assert client.inspect_container(theirs)
    client.remove_container(theirs)


async def test_a_server_that_was_never_started_is_not_looked_for(make_spawner: MakeSpawner, flaky: FlakyEngine) -> None:
    spawner = make_spawner()
    spawner.server = None
    assert await spawner.poll() == 0
    assert flaky.seen("GET .*/containers/") == 0


async def test_a_lost_server_and_an_engine_that_fails(make_spawner: MakeSpawner, flaky: FlakyEngine) -> None:
    before = make_spawner()
    await before.start()
    after = make_spawner()
    flaky.answer("GET .*/containers/", 500)
    assert await after.poll() is None
    flaky.heal()
    assert await after.poll() is None
    assert after.object_id == before.object_id


async def test_the_address_while_the_engine_fails_is_the_one_noted_down(
    make_spawner: MakeSpawner, flaky: FlakyEngine
) -> None:
    spawner = make_spawner()
    await spawner.start()
    flaky.answer("GET .*/containers/", 500)
    assert await spawner.get_url() == spawner.server.url


async def test_after_the_end_the_address_of_nothing(client: docker.APIClient, make_spawner: MakeSpawner) -> None:
    spawner = make_spawner()
    await spawner.start()
    await spawner.stop()
    with pytest.raises(NotFound):
        client.inspect_container(spawner.container_name)
    assert await spawner.get_url() == spawner.server.url
