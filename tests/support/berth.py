"""A whole Berth hub for tests: the real configuration, on free ports, with a state directory of its own."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import docker
import requests

from spawner.cli.hub import stop_proxy
from spawner.engine.network import remove_network
from spawner.engine.view import HUB_LABEL
from spawner.state import Credentials, StateDirectory

from .npm import ROOT, configurable_http_proxy
from .ports import free_ports, metrics_ports
from .processes import process, wait_for_http

T = TypeVar("T")


def eventually(question: Callable[[], T], seconds: float = 60) -> T:
    """Ask until the answer is true, and return it.

    Raises
    ------
    AssertionError
        With the last answer.
    """
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, f"still {answer!r} after {seconds} s"
        time.sleep(0.1)
    return answer


@dataclass
class Berth:
    """A deployment under test: its hub may be started, killed and started again."""

    directory: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    metrics: dict[str, str] = field(default_factory=metrics_ports)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def janitor_metrics(self) -> str:
        return f"http://127.0.0.1:{self.variables['BERTH_METRICS__JANITOR_PORT']}/metrics"

    @property
    def exporter_metrics(self) -> str:
        return f"http://127.0.0.1:{self.variables['BERTH_METRICS__EXPORTER_PORT']}/metrics"

    @property
    def state(self) -> StateDirectory:
        return StateDirectory(self.directory / "state")

    @property
    def credentials(self) -> Credentials:
        return self.state.credentials(self.url)

    @property
    def log(self) -> Path:
        return self.directory / "hub.log"

    @property
    def variables(self) -> dict[str, str]:
        return {
            "BERTH_STATE_DIR": str(self.state.path),
            "BERTH_PORT": str(self.port),
            "BERTH_API_TOKEN": self.token,
            **self.metrics,
            "PATH": f"{configurable_http_proxy().parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            **self.environment,
        }

    def command(self, *arguments: str) -> str:
        """Run ``berth``, which is what ``make up`` and ``make down`` do; gives what it says."""
        done = subprocess.run(
            [Path(sys.executable).parent / "berth", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextlib.contextmanager
    def hub(self) -> Iterator[int]:
        """Run the hub; gives its process id. At the end it and its proxy are ended, users' containers not."""
        command: list[str | Path] = [Path(sys.executable).parent / "jupyterhub", "-f", ROOT / "jupyterhub_config.py"]
        with process(command, self.log, cwd=ROOT, env=self.variables) as started:
            wait_for_http(f"{self.url}/hub/api/", started, self.log)
            yield started.pid

    def kill_hub(self, pid: int) -> None:
        """End the hub as a power cut would; the proxy lives on."""
        os.kill(pid, signal.SIGKILL)

    def api(self, method: str, path: str, body: object = None, timeout: float = 120) -> requests.Response:
        return requests.request(
            method,
            f"{self.url}/hub/api/{path}",
            json=body,
            headers={"Authorization": f"token {self.token}"},
            timeout=timeout,
        )

    def scrape(self, url: str) -> str:
        """Read metrics; nothing as long as they are not served."""
        try:
            return requests.get(url, timeout=30).text
        except requests.ConnectionError:
            return ""

    def add_user(self, name: str) -> None:
        self.api("POST", f"users/{name}").raise_for_status()

    def start_server(self, user: str, options: object = None, server: str = "") -> requests.Response:
        path = f"users/{user}/servers/{server}" if server else f"users/{user}/server"
        return self.api("POST", path, {"profile": "cpu"} if options is None else options)

    def servers(self, user: str) -> dict[str, Any]:
        answer = self.api("GET", f"users/{user}")
        return dict(answer.json()["servers"]) if answer.ok else {}

    def ready(self, user: str, server: str = "") -> bool:
        return bool(self.servers(user).get(server, {}).get("ready"))

    def settled(self, user: str) -> bool:
        """Tell whether nothing is under way for a user."""
        answer = self.api("GET", f"users/{user}")
        return answer.ok and all(server["pending"] is None for server in answer.json()["servers"].values())


def containers_of(client: docker.DockerClient, berth: Berth, user: str | None = None) -> list[Any]:
    labels = [f"{HUB_LABEL}={berth.state.hub_id}"] + ([f"berth.user={user}"] if user is not None else [])
    return list(client.containers.list(all=True, filters={"label": labels}, ignore_removed=True))


def environment_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """Read a container's environment from what the engine says of it."""
    return dict(entry.split("=", 1) for entry in answer["Config"]["Env"])


@contextlib.contextmanager
def deployment(directory: Path, **environment: str) -> Iterator[Berth]:
    """Make a deployment; at the end nothing of it is left on the engine."""
    berth = Berth(directory, free_ports(1)[0], environment)
    berth.state.create()
    client = docker.from_env()
    try:
        yield berth
    finally:
        stop_proxy(berth.state)  # of a hub that was killed
        for container in containers_of(client, berth):
            container.remove(force=True, v=True)
        for volume in client.volumes.list(filters={"label": f"{HUB_LABEL}={berth.state.hub_id}"}):
            volume.remove(force=True)
        remove_network(client.api, berth.state.hub_id)
        client.close()
