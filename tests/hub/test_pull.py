"""An image that is not on the engine is pulled, and the user sees how far it is."""

import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator

import docker
import pytest
import requests

from ..support.berth import Berth, containers_of, deployment
from ..support.ports import free_ports
from ..support.processes import process, wait_for_http

pytestmark = [pytest.mark.docker, pytest.mark.image, pytest.mark.hub]

_REGISTRY = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {directory}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry of this machine's own; engines take those on 127.0.0.1 without TLS."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no docker-registry: apt-get install docker-registry")
    directory = tmp_path_factory.mktemp("registry")
    (port,) = free_ports(1)
    config = directory / "config.yml"
    config.write_text(_REGISTRY.format(directory=directory / "images", port=port))
    with process([program, "serve", config], directory / "log") as started:
        wait_for_http(f"http://127.0.0.1:{port}/v2/", started, directory / "log")
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient, registry: str) -> str:
    """An image that is in the registry only; it holds noise, so it cannot be compressed, and nothing to run."""
    name = f"{registry}/noise"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        noise = os.urandom(48 << 20)
        member = tarfile.TarInfo("noise")
        member.size = len(noise)
        tar.addfile(member, io.BytesIO(noise))
    engine.api.import_image_from_data(archive.getvalue(), repository=name, tag="1")
    assert "error" not in engine.images.push(name, tag="1")
    engine.images.remove(f"{name}:1", force=True)
    return f"{name}:1"


@pytest.fixture(scope="module")
def berth(engine: docker.DockerClient, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    directory = tmp_path_factory.mktemp("pull")
    settings = directory / "berth.yaml"
    settings.write_text(f"profiles: [{{slug: noise, name: Noise, cpu: 1, memory: 1 GiB, image: '{image}'}}]\n")
    with deployment(directory, BERTH_CONFIG=str(settings)) as berth, berth.hub():
        berth.add_user("ann")
        yield berth
    engine.images.remove(image, force=True)


def _messages(berth: Berth) -> Iterator[str]:
    headers = {"Authorization": f"token {berth.token}"}
    url = f"{berth.url}/hub/api/users/ann/server/progress"
    with requests.get(url, headers=headers, stream=True, timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith(b"data:"):
                yield json.loads(line[5:])["message"]


def test_pull_shows_bytes_and_a_start_that_comes_to_nothing_leaves_nothing(
    berth: Berth, engine: docker.DockerClient, image: str
) -> None:
    answers: list[requests.Response] = []
    request = threading.Thread(target=lambda: answers.append(berth.start_server("ann", {"profile": "noise"})))
    request.start()
    while not berth.servers("ann"):
        assert request.is_alive(), answers
    messages = list(_messages(berth))
    request.join()
    assert any("Pulling the image: " in message and " of 48 MiB" in message for message in messages), messages
    assert engine.images.list(image)
    assert answers[0].status_code == 500
    assert "No command specified" in answers[0].json()["message"]
    assert containers_of(engine, berth) == []
