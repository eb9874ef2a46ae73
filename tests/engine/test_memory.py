import docker
import pytest

from spawner.engine import containers
from spawner.engine.memory import set_memory
from spawner.errors import LimitRefused

from ..support.tiny_image import run_inside
from .conftest import LIMITS, Specify

pytestmark = pytest.mark.docker


def test_a_running_container_gets_more_memory(client: docker.APIClient, specify: Specify) -> None:
    container = containers.create(client, specify("memory"))
    assert not set_memory(client, container, 96 << 20)  # it does not run
    containers.start(client, container)
    assert set_memory(client, container, 96 << 20)
    assert not set_memory(client, container, 96 << 20)
    host = client.inspect_container(container)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (96 << 20, 96 << 20)
    assert run_inside(client, container, "test", "-d", "/home/jovyan")[0] == 0  # it runs on
    assert set_memory(client, container, LIMITS.memory)
    with pytest.raises(LimitRefused, match=r"could not get 0\.0"):
        set_memory(client, container, 1 << 20)
    containers.remove(client, container)
    assert not set_memory(client, container, 96 << 20)
