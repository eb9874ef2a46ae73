"""Starting a Docker Engine, tried on a second one: its own directories, its own network namespace.

In this machine's namespace it would take the first one's bridge and rules for its own.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from spawner.engine.daemon import EnginePlaces, ensure_engine
from spawner.errors import EngineUnavailable
from spawner.processes import Process

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("dockerd") is None, reason="needs dockerd"),
    pytest.mark.docker,
]


def processes_of(root: Path) -> list[Process]:
    """Everything that was started with a path below `root` on its command line."""
    numbers = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    found = [process for process in map(Process.living, numbers) if process]
    return [process for process in found if f"{root}/" in process.command]


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[EnginePlaces]:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    # Not below pytest's directory: a socket's path has room for 107 characters.
    root = Path("/var/tmp") / f"berth-engine-{os.getpid()}"
    root.mkdir()
    with subprocess.Popen(["unshare", "--net", "sleep", "600"]) as namespace:
        time.sleep(0.2)
        command = ("nsenter", f"--net=/proc/{namespace.pid}/ns/net", "dockerd")
        options = {"data-root": "data", "exec-root": "exec", "pidfile": "docker.pid", "config-file": "daemon.json"}
        (root / "daemon.json").write_text("{}")
        yield EnginePlaces(
            socket=root / "docker.sock",
            pid_file=root / "docker.pid",
            exec_root=root / "exec",
            data_root=root / "data",
            configuration=root / "daemon.json",
            log=root / "log" / "dockerd.log",
            command=(
                *command,
                f"--host=unix://{root}/docker.sock",
                *(f"--{option}={root}/{name}" for option, name in options.items()),
            ),
        )
        for process in processes_of(root):
            process.stop(20)
        namespace.kill()
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{root}/")]):
        subprocess.run(["umount", "--lazy", mount], check=False)
    shutil.rmtree(root)


def version(places: EnginePlaces) -> str:
    with contextlib.closing(docker.APIClient(f"unix://{places.socket}", version="auto")) as client:
        return str(client.info()["LiveRestoreEnabled"])


def kill_all(places: EnginePlaces) -> None:
    found = processes_of(places.socket.parent)
    assert {"dockerd", "containerd"} <= {Path(process.command.split()[0]).name for process in found}
    for process in found:
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(process.alive for process in found):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_that_runs_is_used(places: EnginePlaces) -> None:
    told: list[str] = []
    ensure_engine(told.append, places)
    assert len(told) == 1
    assert str(places.log) in told[0]
    assert "API listen on" in places.log.read_text()
    assert version(places) == "True"
    before = processes_of(places.socket.parent)
    ensure_engine(told.append, places)
    assert len(told) == 1
    assert processes_of(places.socket.parent) == before


def test_one_of_which_everything_was_killed_starts_again(places: EnginePlaces) -> None:
    ensure_engine(lambda _: None, places)
    kill_all(places)
    assert places.pid_file.exists()
    # Their numbers belong to other processes by now.
    with subprocess.Popen(["sleep", "300"]) as bystander:
        places.pid_file.write_text(str(bystander.pid))
        places.containerd_pid_file.write_text(str(bystander.pid))
        ensure_engine(lambda _: None, places)
        assert version(places) == "True"
        assert bystander.poll() is None
        bystander.kill()


def test_what_the_owner_decided_stays(places: EnginePlaces) -> None:
    places.configuration.write_text('{"live-restore": false}')
    ensure_engine(lambda _: None, places)
    assert version(places) == "False"
    assert places.configuration.read_text() == '{"live-restore": false}'


def test_one_that_cannot_start_says_why(places: EnginePlaces) -> None:
    places.configuration.write_text('{"no-such-key": 1}')
    with pytest.raises(EngineUnavailable, match="no-such-key"):
        ensure_engine(lambda _: None, places)


def test_one_that_is_not_installed(places: EnginePlaces) -> None:
    missing = EnginePlaces(socket=places.socket, pid_file=places.pid_file, command=("no-such-dockerd",))
    with pytest.raises(EngineUnavailable, match="not installed"):
        ensure_engine(lambda _: None, missing)
