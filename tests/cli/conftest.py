"""``berth`` as a user runs it: a process of its own, settings from the environment."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest

from spawner.cli.hub import running_hub
from spawner.state import StateDirectory

from ..support.ports import free_ports, metrics_ports
from .admin import Admin
from .admin import admin as admin_of

EMPTY = b"\0" * 10240  # a tar archive of nothing


@dataclass
class Command:
    """The command ``berth`` with one deployment's settings."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> StateDirectory:
        return StateDirectory(Path(self.environment["BERTH_STATE_DIR"]))

    @property
    def port(self) -> int:
        return int(self.environment["BERTH_PORT"])

    @property
    def pid(self) -> int:
        hub = running_hub(self.state)
        assert hub
        return hub.process.pid

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BERTH_")}
        return subprocess.run(
            [str(Path(sys.executable).with_name("berth")), *arguments],
            env={**inherited, **self.environment, **environment},
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def ok(self, *arguments: str, **environment: str) -> str:
        """Run it; it must succeed. Gives what it printed."""
        done = self(*arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: str, code: str, **environment: str) -> str:
        """Run it; it must refuse with this code, and without a traceback. Gives the sentence."""
        done = self(*arguments, **environment)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        last = done.stderr.rstrip().removeprefix("berth: ")
        assert last.endswith(f"[{code}]"), done.stderr
        return last

    def data(self, *arguments: str, **environment: str) -> Any:
        return json.loads(self.ok(*arguments, "--json", **environment))


def command(directory: Path) -> Command:
    settings = {"BERTH_STATE_DIR": str(directory / "state"), "BERTH_PORT": str(free_ports(1)[0]), **metrics_ports()}
    return Command(directory, settings)


@pytest.fixture
def berth(tmp_path: Path) -> Command:
    """``berth`` on a deployment that does not exist yet."""
    return command(tmp_path)


@contextlib.contextmanager
def purged(berth: Command) -> Iterator[Command]:
    """See to it that nothing of a deployment is left."""
    try:
        yield berth
    finally:
        if berth.state.known_hub_id():
            left = berth("down", "--purge")
            assert left.returncode == 0, left.stderr


@pytest.fixture
def deployment(tmp_path: Path, engine: docker.DockerClient) -> Iterator[Command]:
    """``berth`` on a deployment of this test's own, gone afterwards; its image is any."""
    settings = command(tmp_path)
    # No server is started, so that the image may be empty; the user image's recipe may just be in the making.
    engine.api.import_image_from_data(EMPTY, repository="berth-test/empty", tag="latest")
    settings.environment |= {"BERTH_IMAGE": "berth-test/empty:latest", "BERTH_PULL": "never"}
    with purged(settings):
        yield settings


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=60)
    yield client
    client.close()


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    """An admin of a deployment whose ledger is empty."""
    yield from admin_of(tmp_path)
