"""The running containers of a hub, as the engine's events tell."""

from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from spawner.engine import containers
from spawner.engine.client import Engine
from spawner.engine.running import Running, RunningView, running_from_inspect
from spawner.engine.volumes import home_volumes
from spawner.policy.names import home_volume_name

from ..support.crowded_engine import CrowdedEngine, crowded_engine
from ..support.flaky_engine import FlakyEngine
from ..support.waiting import eventually
from .conftest import Specify

Follow = Callable[..., RunningView]


@pytest.fixture
def follow(hub_id: str) -> Iterator[Follow]:
    """Follow an engine; the views end with the test."""
    opened: list[tuple[RunningView, Engine]] = []

    def follow(url: str, **options: Any) -> RunningView:
        engine = Engine({"base_url": url, "timeout": 10})
        opened.append((RunningView(engine, hub_id, **options), engine))
        opened[-1][0].start()
        return opened[-1][0]

    yield follow
    for view, engine in opened:
        view.close()
        engine.close()


def names(running: Running) -> set[str]:
    return {container.user for container in running.containers.values()}


@pytest.mark.docker
class TestRealEngine:
    def test_containers_come_change_and_go(
        self, client: docker.APIClient, flaky: FlakyEngine, follow: Follow, specify: Specify
    ) -> None:
        before = containers.create(
            client, specify("ann", lease="L", slots=("GPU-0:1", "GPU-1"), environment={"BERTH_COURSE": "ml=1"})
        )
        containers.start(client, before)
        view = follow(flaky.url)
        assert view.wait_fresh(20)
        found = view.current.containers[before]
        about = client.inspect_container(before)
        assert found.pid == about["State"]["Pid"]
        assert (found.user, found.server, found.lease, found.slots) == ("ann", "", "L", ("GPU-0:1", "GPU-1"))
        assert (found.course, found.image, found.name) == ("ml=1", about["Config"]["Image"], about["Name"][1:])
        assert (found.cpu_limit, found.memory_limit, found.processes_limit) == (0.5, 64 << 20, 50)
        assert found.own_network

        changes = []
        view.listeners.append(lambda: changes.append(1))
        later = containers.create(client, specify("bob"))
        containers.start(client, later)
        eventually(lambda: names(view.current) == {"ann", "bob"})
        client.update_container(later, cpu_quota=150_000)
        eventually(lambda: view.current.containers[later].cpu_limit == 1.5)
        client.pause(later)
        client.unpause(later)
        client.kill(later)
        eventually(lambda: names(view.current) == {"ann"})
        assert len(changes) >= 3
        client.restart(before, timeout=0)
        eventually(lambda: view.current.containers.get(before, found).pid != found.pid)
        containers.remove(client, before)
        eventually(lambda: not view.current.containers)

    def test_what_was_known_stays_known_while_the_engine_is_away(
        self, client: docker.APIClient, flaky: FlakyEngine, follow: Follow, specify: Specify
    ) -> None:
        stays, ends = (containers.create(client, specify(name)) for name in ("cleo", "dan"))
        for one in (stays, ends):
            containers.start(client, one)
        view = follow(flaky.url)
        assert view.wait_fresh(20)
        flaky.drop("/events")
        flaky.cut()
        eventually(lambda: not view.current.fresh)
        containers.remove(client, ends)
        assert names(view.current) == {"cleo", "dan"}
        assert view.current.known
        flaky.heal()
        eventually(lambda: view.current.fresh)
        assert names(view.current) == {"cleo"}
        containers.remove(client, stays)

    def test_an_event_that_got_lost_is_made_up_for(
        self, client: docker.APIClient, flaky: FlakyEngine, follow: Follow, specify: Specify
    ) -> None:
        view = follow(flaky.url, relist=0.2)
        assert view.wait_fresh(20)
        flaky.answer("/containers/[0-9a-f]{64}/json", 404, times=1)
        made = containers.create(client, specify("fay"))
        containers.start(client, made)
        eventually(lambda: names(view.current) == {"fay"})
        containers.remove(client, made)

    def test_homes_are_found_with_their_owners(self, client: docker.APIClient, hub_id: str, specify: Specify) -> None:
        made = containers.create(client, specify("gil", home_volume=home_volume_name(hub_id, "gil")))
        containers.remove(client, made)
        client.create_volume(f"{hub_id}-cache", labels={"berth.hub": hub_id})
        homes = home_volumes(client, hub_id)
        assert [(home.user, home.mounted) for home in homes] == [("gil", False)]
        assert homes[0].path == client.inspect_volume(home_volume_name(hub_id, "gil"))["Mountpoint"]


@pytest.fixture
def crowded() -> Iterator[CrowdedEngine]:
    with crowded_engine() as engine:
        yield engine


def test_ten_thousand_ended_containers_are_never_asked_for(crowded: CrowdedEngine, follow: Follow) -> None:
    for number in range(10_000):
        crowded.add(f"{number:064x}", "exited")
    crowded.add("f" * 64, "running", 4711, **{"berth.user": "ann"})
    view = follow(crowded.url)
    assert view.wait_fresh(20)
    assert names(view.current) == {"ann"}
    assert [path for path in crowded.seen if path.endswith("/json")][1:] == [f"/v1.41/containers/{'f' * 64}/json"]


def test_without_an_engine_nothing_is_known(tmp_path: Any, follow: Follow) -> None:
    view = follow(f"unix://{tmp_path}/nothing.sock")
    assert not view.wait_fresh(0.5)
    assert view.current == Running()


def test_what_an_inspection_says() -> None:
    answer: dict[str, Any] = {
        "Id": "a" * 64,
        "Name": "/x",
        "State": {"Status": "running", "Pid": 5, "StartedAt": "2026-03-04T12:00:00.5Z"},
        "Config": {"Labels": {"berth.user": "h\ud800lf", "berth.slots": "A,A,B"}, "Env": None, "Image": None},
        "HostConfig": {"NanoCpus": 1_500_000_000, "NetworkMode": "host", "PidsLimit": -1, "Memory": 0},
    }
    found = running_from_inspect(answer)
    assert found is not None
    assert found.user == "h?lf"  # can be written as UTF-8
    assert found.slots == ("A", "B")
    assert (found.cpu_limit, found.memory_limit, found.processes_limit) == (1.5, None, None)
    assert found.started_at == 1772625600.5
    assert not found.own_network
    assert running_from_inspect({**answer, "State": {"Status": "exited", "Pid": 0}}) is None
