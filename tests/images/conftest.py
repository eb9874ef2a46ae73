"""The user image, built once, and the surroundings a container of it expects: limits, a home volume, a hub."""

import contextlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound
from docker.models.containers import Container
from docker.models.volumes import Volume

from spawner.engine.build import BuildInputs, ensure_image, host_certificates

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "images" / "tensorflow"
TOKEN = "not-a-secret"

# As the spawner starts it: no capability, no new privileges, limits on all that has one.
HARDENED: dict[str, Any] = {
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "mem_limit": "2g",
    "memswap_limit": "2g",
    "nano_cpus": 1_500_000_000,
    "pids_limit": 512,
}


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=900)
    yield client
    client.close()


def _build(engine: docker.DockerClient, flavour: Any) -> str:
    lines: list[str] = []
    inputs = BuildInputs(certificates=host_certificates())
    return ensure_image(engine.api, flavour, RECIPE, inputs, lines.append)


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> str:
    return _build(engine, "cpu")


@pytest.fixture(scope="session")
def gpu_image(engine: docker.DockerClient) -> str:
    return _build(engine, "gpu")


@pytest.fixture
def volumes() -> Iterator[list[Volume]]:
    """Volumes that go once the containers have gone."""
    made: list[Volume] = []
    yield made
    for volume in made:
        volume.remove(force=True)


@pytest.fixture
def home(engine: docker.DockerClient, volumes: list[Volume]) -> str:
    """A fresh named volume, as a new user's."""
    volumes.append(engine.volumes.create(f"berth-test-{uuid.uuid4().hex[:12]}"))
    return volumes[-1].name


@pytest.fixture
def start(engine: docker.DockerClient, image: str, volumes: list[Volume]) -> Iterator[Callable[..., Container]]:
    """Start hardened containers of the image; they are removed when the test ends."""
    started: list[Container] = []

    def run(command: list[str] | None = None, home: str | None = None, **options: Any) -> Container:
        volumes = {home: {"bind": "/home/jovyan", "mode": "rw"}} if home else {}
        volumes.update(options.pop("volumes", {}))
        options = {"image": image, **HARDENED, **options}
        container = engine.containers.create(command=command, volumes=volumes, **options)
        started.append(container)
        container.start()
        return container

    yield run
    for container in started:
        with contextlib.suppress(NotFound):  # some tests remove theirs on the way
            container.remove(force=True, v=True)


@pytest.fixture
def output(start: Callable[..., Container]) -> Callable[..., str]:
    """Run a command in a fresh container to its end and give what it wrote; a failure fails the test."""

    def run(*command: str, status: int = 0, **options: Any) -> str:
        container = start(list(command), **options)
        code = container.wait(timeout=280)["StatusCode"]
        text: str = container.logs(stderr=status != 0).decode()
        assert code == status, container.logs().decode()[-3000:]
        return text

    return run


@dataclass
class Hub:
    """As much of JupyterHub's API as a single-user server asks for; remembers what it was asked."""

    address: str
    asked: list[str] = field(default_factory=list)

    def environment(self, user: str = "ada") -> dict[str, str]:
        prefix = f"/user/{user}/"
        scopes = json.dumps([f"access:servers!server={user}/", f"access:servers!user={user}"])
        return {
            "JUPYTERHUB_ACTIVITY_URL": f"{self.address}/hub/api/users/{user}/activity",
            "JUPYTERHUB_API_TOKEN": TOKEN,
            "JUPYTERHUB_API_URL": f"{self.address}/hub/api",
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{user}",
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": scopes,
            "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{prefix}oauth_callback",
            "JUPYTERHUB_OAUTH_SCOPES": scopes,
            "JUPYTERHUB_SERVICE_PREFIX": prefix,
            "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:8888{prefix}",
            "JUPYTERHUB_USER": user,
        }


@pytest.fixture(scope="session")
def hub(engine: docker.DockerClient) -> Iterator[Hub]:
    # Containers reach this process by the bridge's gateway, the first address unless configured otherwise.
    bridge = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]
    gateway = bridge.get("Gateway") or str(ip_network(bridge["Subnet"])[1])
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("X-JupyterHub-Version", "6.1.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            asked.append(f"GET {self.path}")
            known = self.headers.get("Authorization", "").split()[-1:] == [TOKEN]
            if self.path.startswith("/hub/api/user"):
                user = {"kind": "user", "name": "ada", "scopes": ["access:servers!server=ada/"], "groups": []}
                self.answer(200 if known else 403, user if known else {"message": "who?"})
            else:
                self.answer(200, {"version": "6.1.1"})

        def do_POST(self) -> None:
            asked.append(f"POST {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(200, {})

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((gateway, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Hub(f"http://{gateway}:{server.server_port}", asked)
    server.shutdown()
    server.server_close()
