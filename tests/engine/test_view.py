import queue
import threading
from typing import Any

import docker
import pytest

from spawner.engine import containers
from spawner.engine.client import Engine
from spawner.engine.view import ContainerState, EngineView, state_from_inspect

from ..support.flaky_engine import FlakyEngine
from ..support.waiting import eventually
from .conftest import Specify


def _inspected(**state: Any) -> dict[str, Any]:
    return {"Id": "c0ffee", "Name": "/berth-1-ann", "State": state}


@pytest.mark.parametrize("status", ["running", "paused", "restarting"])
def test_a_running_state(status: str) -> None:
    read = state_from_inspect(_inspected(Status=status, ExitCode=0, FinishedAt="0001-01-01T00:00:00Z", OOMKilled=False))
    assert read == ContainerState("c0ffee", "berth-1-ann", status)
    assert read.running


@pytest.mark.parametrize("status", ["exited", "dead", "removing"])
def test_a_state_after_the_end(status: str) -> None:
    read = state_from_inspect(
        _inspected(Status=status, ExitCode=137, FinishedAt="2026-11-21T05:00:00Z", OOMKilled=True)
    )
    assert read == ContainerState("c0ffee", "berth-1-ann", status, 137, True, "2026-11-21T05:00:00Z")
    assert not read.running


def test_a_container_that_never_ran() -> None:
    read = state_from_inspect(_inspected(Status="created", ExitCode=0, FinishedAt="0001-01-01T00:00:00Z"))
    assert (read.status, read.running, read.out_of_memory) == ("created", False, False)


@pytest.fixture
def ended(view: EngineView) -> "queue.Queue[str]":
    heard: queue.Queue[str] = queue.Queue()
    view.listeners.append(heard.put)
    return heard


def status(view: EngineView, container: str) -> str:
    state = view.current(container)
    return state.status if state else ""


@pytest.mark.docker
def test_start_end_and_removal_are_seen(
    client: docker.APIClient, view: EngineView, ended: "queue.Queue[str]", specify: Specify
) -> None:
    container = containers.create(client, specify("seen", behave="exit"))
    eventually(lambda: status(view, container) == "created")
    containers.start(client, container)
    assert ended.get(timeout=20) == container
    state = view.current(container)
    assert state is not None
    assert (state.status, state.exit_code) == ("exited", 3)
    containers.remove(client, container)
    eventually(lambda: view.current(container) is None)
    assert ended.empty()


@pytest.mark.docker
def test_a_kill_is_heard_once(
    client: docker.APIClient, view: EngineView, ended: "queue.Queue[str]", specify: Specify
) -> None:
    container = containers.create(client, specify("killed"))
    containers.start(client, container)
    eventually(lambda: status(view, container) == "running")
    containers.remove(client, container)
    assert ended.get(timeout=20) == container
    eventually(lambda: view.current(container) is None)
    assert ended.empty()


@pytest.mark.docker
def test_a_pause_is_no_end(
    client: docker.APIClient, view: EngineView, ended: "queue.Queue[str]", specify: Specify
) -> None:
    container = containers.create(client, specify("paused"))
    containers.start(client, container)
    client.pause(container)
    eventually(lambda: status(view, container) == "paused")
    state = view.current(container)
    assert state is not None
    assert state.running
    client.unpause(container)
    eventually(lambda: status(view, container) == "running")
    assert ended.empty()


@pytest.mark.docker
def test_other_hubs_are_not_seen(client: docker.APIClient, view: EngineView, specify: Specify, hub_id: str) -> None:
    other = containers.create(client, specify("stranger", hub_id=f"{hub_id[:4]}zzzz"))
    try:
        mine = containers.create(client, specify("native"))
        eventually(lambda: status(view, mine) == "created")
        assert view.current(other) is None
    finally:
        containers.remove(client, other)
        client.remove_volume(specify("stranger").home_volume)


@pytest.mark.docker
def test_what_was_there_before_is_known(
    client: docker.APIClient, flaky: FlakyEngine, specify: Specify, hub_id: str
) -> None:
    running = containers.create(client, specify("earlier"))
    containers.start(client, running)
    gone = containers.create(client, specify("earlier-gone", behave="exit"))
    containers.start(client, gone)
    client.wait(gone)
    engine = Engine({"base_url": flaky.url})
    late = EngineView(engine, hub_id)
    late.start()
    late.start()
    assert late.wait_fresh(20)
    assert status(late, running) == "running"
    state = late.current(gone)
    assert state is not None
    assert (state.status, state.exit_code) == ("exited", 3)
    late.close()
    engine.close()


@pytest.mark.docker
def test_while_the_stream_is_down_nothing_is_claimed(
    client: docker.APIClient, flaky: FlakyEngine, view: EngineView, ended: "queue.Queue[str]", specify: Specify
) -> None:
    killed = containers.create(client, specify("missed", behave="exit"))
    removed = containers.create(client, specify("missed-too"))
    alive = containers.create(client, specify("missed-not"))
    containers.start(client, removed)
    containers.start(client, alive)
    eventually(lambda: status(view, removed) == "running" and status(view, alive) == "running")
    flaky.answer("/events", 500)
    flaky.cut()
    eventually(lambda: not view.fresh)
    assert view.current(alive) is None
    containers.start(client, killed)
    client.wait(killed)
    containers.remove(client, removed)
    newcomer = containers.create(client, specify("newcomer"))
    assert view.current(removed) is None

    flaky.heal()
    assert view.wait_fresh(20)
    assert status(view, alive) == "running"
    assert status(view, newcomer) == "created"
    assert view.current(removed) is None
    state = view.current(killed)
    assert state is not None
    assert (state.status, state.exit_code) == ("exited", 3)
    names = {killed: "missed", removed: "missed-too", alive: "missed-not", newcomer: "newcomer"}
    assert names[ended.get(timeout=20)] == "missed-too"
    assert ended.empty()


@pytest.mark.docker
@pytest.mark.parametrize("how", ["events dropped", "list fails", "list dropped"])
def test_it_tries_again_until_the_engine_answers(flaky: FlakyEngine, view: EngineView, how: str) -> None:
    what = "/events" if how.startswith("events") else "/containers/json"
    if how.endswith("dropped"):
        flaky.drop(what, times=2)
    else:
        flaky.answer(what, 500, times=2)
    before = flaky.seen("/events")
    flaky.cut()
    flaky.wait_for("/events", before + 3)
    assert view.wait_fresh(20)


@pytest.mark.docker
def test_a_listeners_fault_does_not_blind_the_view(
    client: docker.APIClient, view: EngineView, specify: Specify
) -> None:
    heard = threading.Event()

    def faulty(_: str) -> None:
        raise ZeroDivisionError

    view.listeners.extend([faulty, lambda _: heard.set()])
    container = containers.create(client, specify("faulty", behave="exit"))
    containers.start(client, container)
    assert heard.wait(20)
    assert view.fresh


@pytest.mark.docker
def test_closing_ends_the_thread(view: EngineView) -> None:
    assert view._thread is not None
    view.close()
    view._thread.join(20)
    assert not view._thread.is_alive()
    assert not view.fresh
