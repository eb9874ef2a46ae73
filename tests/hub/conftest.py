from collections.abc import Iterator

import docker
import pytest
from docker.errors import DockerException

from spawner.settings import DEFAULT_IMAGE

from ..support.berth import Berth, deployment


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        pytest.skip(f"no Docker Engine: {error}")
    if not client.images.list(DEFAULT_IMAGE):
        pytest.skip(f"no image {DEFAULT_IMAGE}: make images")
    yield client
    client.close()


@pytest.fixture(scope="module")
def berth(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A deployment whose hub runs."""
    with deployment(tmp_path_factory.mktemp("berth")) as berth, berth.hub():
        yield berth
