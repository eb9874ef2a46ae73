from collections.abc import Iterator

import docker
import pytest
from playwright.sync_api import Browser

from ..hub.conftest import engine
from ..support.berth import Berth, deployment
from ..support.browser import chromium, chromium_path

__all__ = ["engine"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium_path() is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def berth(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A deployment as `make up` starts it."""
    with deployment(tmp_path_factory.mktemp("berth")) as berth:
        assert f"Berth is ready: {berth.url}" in berth.command("up")
        try:
            yield berth
        finally:
            berth.command("down")
