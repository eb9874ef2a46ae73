"""The life of a deployment: up, up again, killed, down, purged. Without users' servers; tests/hub has those."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound

from spawner.cli.hub import orphaned_proxy
from spawner.processes import Process, listener

from .conftest import EMPTY, Command

pytestmark = [pytest.mark.docker, pytest.mark.hub]


def version(berth: Command) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{berth.port}/hub/api/", timeout=10) as answer:
        return bytes(answer.read())


def kill(pid: int) -> None:
    process = Process.living(pid)
    os.kill(pid, signal.SIGKILL)
    while process and process.alive:
        time.sleep(0.02)


def test_up_and_down(deployment: Command) -> None:
    printed = deployment.ok("up")
    url = f"http://127.0.0.1:{deployment.port}"
    assert f"Berth is ready: {url}\n" in printed
    assert str(deployment.state.credentials_file) in printed
    assert stat.S_IMODE(deployment.state.credentials_file.stat().st_mode) == 0o600
    credentials = deployment.state.known_credentials()
    assert credentials
    assert credentials.url == url
    # A log keeps no password.
    assert credentials.user_password not in printed + deployment.state.hub_log.read_text()
    assert b'"version"' in version(deployment)
    # Nor does the process list.
    assert credentials.admin_password not in subprocess.run(["ps", "axww"], capture_output=True, text=True).stdout

    pid = deployment.pid
    assert f"runs already (pid {pid})" in deployment.ok("up")
    assert deployment.pid == pid
    assert deployment.data("up") == {"url": url, "pid": pid, "started": False, "stale": False}

    other = deployment.ok("up", BERTH_START_TIMEOUT="200")
    assert "make down && make up" in other
    assert deployment.pid == pid
    assert deployment.data("status", BERTH_START_TIMEOUT="200")["hub"]["settings_changed"] is True

    status = deployment.data("status")
    assert status["hub"]["answering"] is True
    assert status["hub"]["pid"] == pid
    assert status["engine"]["answering"] is True

    assert f"(pid {pid})" in deployment.ok("down")
    assert listener(deployment.port) is None
    assert "does not run" in deployment.ok("down")
    assert deployment.state.known_credentials() == credentials


def test_the_session_that_started_it_may_end(deployment: Command) -> None:
    deployment.ok("up")
    assert os.getsid(deployment.pid) == deployment.pid


def test_a_killed_hub_is_replaced_and_so_is_its_proxy(deployment: Command) -> None:
    deployment.ok("up")
    kill(deployment.pid)
    orphan = orphaned_proxy(deployment.state)
    assert orphan
    assert listener(deployment.port) == orphan
    deployment.ok("up")
    assert b'"version"' in version(deployment)
    assert not orphan.alive


def test_down_takes_the_proxy_of_a_killed_hub(deployment: Command) -> None:
    deployment.ok("up")
    kill(deployment.pid)
    orphan = orphaned_proxy(deployment.state)
    assert orphan
    assert f"(pid {orphan.pid})" in deployment.ok("down")
    assert listener(deployment.port) is None


def test_pid_files_that_name_another_process(deployment: Command) -> None:
    deployment.state.create()
    with subprocess.Popen(["sleep", "300"]) as bystander:
        deployment.state.proxy_pid_file.write_text(str(bystander.pid))
        deployment.state.hub_pid_file.write_text(f"{bystander.pid} 1 x\n")
        deployment.ok("up")
        deployment.ok("down")
        deployment.state.proxy_pid_file.write_text(str(bystander.pid))
        deployment.state.hub_pid_file.write_text(f"{bystander.pid} 1 x\n")
        deployment.ok("down")
        assert bystander.poll() is None
        bystander.kill()


def test_a_second_hub_on_the_same_state_is_refused_by_pid(deployment: Command) -> None:
    deployment.ok("up")
    pid = deployment.pid
    # As after a crash of whoever wrote it; the lock is what counts.
    deployment.state.hub_pid_file.unlink()
    assert f"pid {pid}" in deployment.refused("up", code="state_directory_busy")
    assert f"(pid {pid})" in deployment.ok("down")


def test_two_starts_at_once(deployment: Command) -> None:
    command = [str(Path(sys.executable).with_name("berth")), "up"]
    environment = {**os.environ, **deployment.environment}
    starts = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(start.communicate(timeout=200), start.returncode) for start in starts]
    assert 0 in [status for _, status in ended]
    for (_, complaint), status in ended:
        assert status == 0 or "[state_directory_busy]" in complaint
    assert b'"version"' in version(deployment)


@contextlib.contextmanager
def things(engine: docker.DockerClient, hub_id: str, name: str) -> Iterator[Sequence[Callable[[], Any]]]:
    """A container, a volume and a network with a hub's label; gives what looks each of them up."""
    engine.api.import_image_from_data(EMPTY, repository="berth-test/empty", tag="latest")
    label = {"berth.hub": hub_id}
    engine.api.create_container("berth-test/empty", ["/none"], name=name, labels=label)
    engine.volumes.create(name, labels=label)
    engine.networks.create(name, labels=label, internal=True)
    lookups = [partial(kind.get, name) for kind in (engine.containers, engine.volumes, engine.networks)]
    try:
        yield lookups
    finally:
        for lookup in lookups:
            with contextlib.suppress(NotFound):
                lookup().remove()


def exist(lookups: Sequence[Callable[[], Any]]) -> list[bool]:
    answers = []
    for lookup in lookups:
        try:
            lookup()
        except NotFound:
            answers.append(False)
        else:
            answers.append(True)
    return answers


def test_purge_removes_its_own_and_nothing_else(deployment: Command, engine: docker.DockerClient) -> None:
    deployment.ok("up")
    hub_id = deployment.state.hub_id
    own = f"berth-test-{hub_id}"
    with (
        things(engine, "0" * 8, f"{own}-other") as others,
        things(engine, hub_id, own) as ours,
    ):
        removed = deployment.data("down", "--purge")["removed"]
        assert exist(ours)[:2] == [False, False]
        assert exist(others) == [True, True, True]
        assert f"network berth-{hub_id}" in removed
        assert not deployment.state.path.exists()
        rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
        assert hub_id not in rules
        assert "nothing to purge" in deployment.ok("down", "--purge")


def test_a_purge_without_the_engine_can_be_repeated(deployment: Command, engine: docker.DockerClient) -> None:
    hub_id = deployment.state.create().hub_id
    with things(engine, hub_id, f"berth-test-{hub_id}") as ours:
        sentence = deployment.refused(
            "down", "--purge", code="engine_unavailable", DOCKER_HOST="unix:///nowhere/docker.sock"
        )
        assert f"berth.hub={hub_id}" in sentence
        assert deployment.state.known_hub_id() == hub_id
        deployment.ok("down", "--purge")
        assert exist(ours)[:2] == [False, False]
