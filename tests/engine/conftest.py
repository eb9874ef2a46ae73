from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from spawner.engine.client import Engine
from spawner.engine.containers import ContainerSpec
from spawner.engine.network import ensure_network
from spawner.engine.view import EngineView
from spawner.policy.model import Limits

from ..support.flaky_engine import FlakyEngine, flaky_engine
from ..support.tiny_image import PORT

Specify = Callable[..., ContainerSpec]
LIMITS = Limits(cpu=0.5, memory=64 << 20, processes=50, shm=2 << 20, open_files=256, gpus=0)


@pytest.fixture(scope="module")
def specify(client: docker.APIClient, tiny: str, hub_id: str) -> Specify:
    """Make specs of containers in the hub's network."""
    network = ensure_network(client, hub_id)

    def specify(name: str, *, behave: str = "", **changes: Any) -> ContainerSpec:
        values: dict[str, Any] = {
            "name": f"berth-{hub_id}-{name}",
            "hub_id": hub_id,
            "user": name,
            "server": "",
            "image": tiny,
            "port": PORT,
            "network": network.name,
            "home_volume": f"berth-{hub_id}-home-{name}",
            "limits": LIMITS,
            "environment": {"BEHAVE": behave},
        }
        return ContainerSpec(**{**values, **changes})

    return specify


@pytest.fixture
def flaky() -> Iterator[FlakyEngine]:
    with flaky_engine() as engine:
        yield engine


@pytest.fixture
def flaky_client(flaky: FlakyEngine) -> Iterator[docker.APIClient]:
    connected = docker.APIClient(base_url=flaky.url, version="auto", timeout=20)
    yield connected
    connected.close()


@pytest.fixture
def view(flaky: FlakyEngine, hub_id: str) -> Iterator[EngineView]:
    """A view of the hub's containers, through an engine that can be made to fail."""
    engine = Engine({"base_url": flaky.url})
    followed = EngineView(engine, hub_id)
    followed.start()
    assert followed.wait_fresh(20)
    yield followed
    followed.close()
    engine.close()
