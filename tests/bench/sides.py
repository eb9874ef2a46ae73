"""The two sides: each a whole JupyterHub with its proxy, driven through the hub's own REST API."""

import contextlib
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import requests
import yaml
from docker.errors import NotFound

from spawner.policy.names import container_name

from ..support.berth import deployment
from ..support.npm import configurable_http_proxy
from ..support.ports import free_ports
from ..support.processes import process, wait_for_http

CPU_LIMIT, MEMORY_LIMIT = 1.0, "2G"
_PATIENCE_SECONDS = 300

# What JupyterLab's page asks the server for before it shows a launcher.
_OPENING = (
    "lab",
    "api/kernelspecs",
    "api/contents?content=1",
    "api/sessions",
    "api/terminals",
    "lab/api/settings",
    "lab/api/translations",
    "lab/api/workspaces/default",
)

# As dockerspawner's documentation has it: the image's JupyterHub server, a volume per home, a network of its own.
_STOCK = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_ip = "{gateway}"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.command = ["{proxy}"]
c.JupyterHub.services = [dict(name="bench", api_token="{token}")]
c.JupyterHub.load_roles = [
    dict(name="bench", services=["bench"], scopes=["admin:users", "admin:servers", "access:servers"])
]
c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.image = "{image}"
c.DockerSpawner.cmd = "{command}"
c.DockerSpawner.name_template = "{prefix}-{{username}}"
c.DockerSpawner.network_name = "{prefix}"
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.volumes = {{"{prefix}-home-{{username}}": "/home/jovyan"}}
c.DockerSpawner.cpu_limit = {cpu}
c.DockerSpawner.mem_limit = "{memory}"
c.DockerSpawner.remove = True
# Stock gives a server 30 s to answer; on a busy machine that ends the comparison.
c.DockerSpawner.start_timeout = c.DockerSpawner.http_timeout = {patience}
"""


class SpawnFailed(RuntimeError):
    """A server that was asked for did not come up; says what the hub said of it."""


@dataclass(frozen=True)
class Side:
    """A hub that runs, and how its containers are called."""

    name: str
    url: str
    hub_pid: int
    container: Callable[[str], str]
    options: dict[str, str]
    token: str = field(repr=False)

    def _ask(self, method: str, path: str, *, stream: bool = False, body: object = None) -> requests.Response:
        return requests.request(
            method,
            f"{self.url}/hub/api/{path}",
            json=body,
            headers={"Authorization": f"token {self.token}"},
            timeout=_PATIENCE_SECONDS,
            stream=stream,
        )

    def add_user(self, user: str) -> None:
        self._ask("POST", f"users/{user}").raise_for_status()

    def spawn(self, user: str) -> float:
        """Start a user's server and give the seconds from the request until the hub says that it is ready.

        The hub answers the request when the server is ready, or after ten seconds that it is not yet; then its
        event stream tells. Waiting costs no CPU time on either side.

        Raises
        ------
        SpawnFailed
        """
        begun = time.perf_counter()
        answer = self._ask("POST", f"users/{user}/server", body=self.options)
        if answer.status_code == 202:
            self._follow(user)
        elif answer.status_code != 201:
            raise SpawnFailed(f"{self.name}: {user}: HTTP {answer.status_code}: {answer.text[:1000]}")
        return time.perf_counter() - begun

    def _follow(self, user: str) -> None:
        with self._ask("GET", f"users/{user}/server/progress", stream=True) as stream:
            for line in stream.iter_lines():
                if line.startswith(b"data:"):
                    event = json.loads(line[len(b"data:") :])
                    if event.get("failed"):
                        raise SpawnFailed(f"{self.name}: {user}: {event['message']}")
                    if event.get("ready"):
                        return
        raise SpawnFailed(f"{self.name}: {user}: the hub said neither that it is ready nor that it failed")

    def require_answer(self, user: str) -> None:
        """Reach a user's server through the proxy: ready must mean that it can be used.

        Raises
        ------
        SpawnFailed
        """
        answer = requests.get(f"{self.url}/user/{user}/api", timeout=30, allow_redirects=False)
        if answer.status_code != 200:
            raise SpawnFailed(f"{self.name}: {user}: ready, but its address answers HTTP {answer.status_code}")

    def open_lab(self, user: str) -> float:
        """Ask for JupyterLab's page and for what that asks first; give the seconds it took.

        What a server leaves for later than its first answer is done here: this is when a person can work.

        Raises
        ------
        SpawnFailed
        """
        begun = time.perf_counter()
        for path in _OPENING:
            answer = requests.get(
                f"{self.url}/user/{user}/{path}", headers={"Authorization": f"token {self.token}"}, timeout=60
            )
            if answer.status_code != 200:
                raise SpawnFailed(f"{self.name}: {user}: {path}: HTTP {answer.status_code}: {answer.text[:300]}")
        return time.perf_counter() - begun

    def stop(self, user: str) -> None:
        """Stop a user's server and wait until the hub has forgotten it."""
        self._ask("DELETE", f"users/{user}/server").raise_for_status()
        while self._ask("GET", f"users/{user}").json()["servers"]:
            time.sleep(0.1)


@contextlib.contextmanager
def berth_side(directory: Path, image: str) -> Iterator[Side]:
    """Run Berth as ``make up`` would, with one profile of the benchmark's size; leaves nothing behind."""
    directory.mkdir()
    settings = directory / "berth.yaml"
    profile = {"slug": "bench", "name": "Bench", "cpu": CPU_LIMIT, "memory": MEMORY_LIMIT}
    settings.write_text(yaml.safe_dump({"image": image, "pull": "never", "profiles": [profile]}), encoding="utf-8")
    with deployment(directory, BERTH_CONFIG=str(settings)) as berth, berth.hub() as pid:
        hub_id = berth.state.hub_id
        yield Side(
            "Berth",
            berth.url,
            pid,
            lambda user: container_name(hub_id, user, ""),
            {"profile": "bench"},
            berth.token,
        )


@contextlib.contextmanager
def stock_side(directory: Path, image: str, stock_command: str, client: docker.DockerClient) -> Iterator[Side]:
    """Run a plain JupyterHub with DockerSpawner; leaves nothing behind."""
    directory.mkdir()
    prefix, token = f"berth-bench-{secrets.token_hex(4)}", secrets.token_hex(16)
    port, hub_port, proxy_port = free_ports(3)
    network = client.networks.create(prefix, driver="bridge")
    try:
        network.reload()
        config = directory / "jupyterhub_config.py"
        config.write_text(
            _STOCK.format(
                port=port,
                hub_port=hub_port,
                proxy_port=proxy_port,
                gateway=network.attrs["IPAM"]["Config"][0]["Gateway"],
                proxy=configurable_http_proxy(),
                token=token,
                image=image,
                command=stock_command,
                prefix=prefix,
                patience=_PATIENCE_SECONDS,
                cpu=CPU_LIMIT,
                memory=MEMORY_LIMIT,
            ),
            encoding="utf-8",
        )
        log = directory / "hub.log"
        command: list[str | Path] = [Path(sys.executable).parent / "jupyterhub", "-f", config]
        with process(command, log, cwd=directory) as started:
            url = f"http://127.0.0.1:{port}"
            wait_for_http(f"{url}/hub/health", started, log)
            yield Side("stock DockerSpawner", url, started.pid, lambda user: f"{prefix}-{user}", {}, token)
    finally:
        _remove(client, prefix)


def _remove(client: docker.DockerClient, prefix: str) -> None:
    for container in client.containers.list(all=True, filters={"name": f"^/{prefix}-"}, ignore_removed=True):
        with contextlib.suppress(NotFound):
            container.remove(force=True, v=True)
    for volume in client.volumes.list(filters={"name": prefix}):
        volume.remove(force=True)
    client.networks.get(prefix).remove()
