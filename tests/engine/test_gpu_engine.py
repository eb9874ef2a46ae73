"""The second Docker Engine itself: what other tests rely on, and what a killed test run leaves."""

import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import docker
import pytest

from spawner.engine import containers

from ..support.nvidia.engine import GpuEngine
from ..support.tiny_image import PORT
from ..support.waiting import eventually

_ROOT = Path(__file__).parents[2]
_RUN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
from tests.support.nvidia.engine import second_engine
with second_engine(pathlib.Path("/dev/null")) as engine:
    made = engine.client.create_container_from_config({"Image": engine.image, "HostConfig": {}}, "left")["Id"]
    engine.client.start(made)
    print(engine.directory, flush=True)
    time.sleep(1000)
"""


@pytest.mark.docker
def test_within_its_network_its_containers_are_reached_and_the_machine_is_not(
    gpu_engine: GpuEngine, client: docker.APIClient
) -> None:
    made = gpu_engine.client.create_container_from_config({"Image": gpu_engine.image, "HostConfig": {}}, None)["Id"]
    containers.start(gpu_engine.client, made)
    try:
        address = containers.address(gpu_engine.client.inspect_container(made), "bridge")
        outside = Path("/proc/self/net/dev").read_text()
        with gpu_engine.entered():

            def answers() -> bool:
                try:
                    with urllib.request.urlopen(f"http://{address}:{PORT}/", timeout=5) as answer:
                        return bool(answer.status == 200)
                except urllib.error.HTTPError as error:
                    return error.code == 404  # nothing to serve, but a server
                except OSError:
                    return False

            eventually(answers)
            rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
            assert "DOCKER-USER" in rules
            assert client.ping()  # the first engine's socket is reached from here too
            assert Path("/proc/thread-self/net/dev").read_text() != outside
        assert Path("/proc/thread-self/net/dev").read_text().count(":") == outside.count(":")
    finally:
        containers.remove(gpu_engine.client, made)


@pytest.mark.docker
def test_what_a_killed_run_leaves_is_cleared_by_the_next(gpu_engine: GpuEngine) -> None:
    # The fixture is asked for because it says whether such an engine can be had here.
    command = [sys.executable, "-c", _RUN]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        directory = Path(run.stdout.readline().strip())
        os.kill(run.pid, signal.SIGKILL)
    assert directory.is_relative_to(tempfile.gettempdir())
    assert (directory / "pid").exists()
    daemon = int((directory / "pid").read_text())
    assert Path("/proc", str(daemon)).exists()

    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as again:
        assert again.stdout is not None
        another = Path(again.stdout.readline().strip())
        try:
            assert another != directory
            assert not directory.exists()
            assert not Path("/proc", str(daemon)).exists()
            assert not Path("/run/netns", directory.name).exists()
            mounts = Path("/proc/self/mountinfo").read_text()
            assert f"{directory}/" not in mounts
            assert gpu_engine.client.ping()
        finally:
            again.terminate()  # not SIGINT: what is started in the background ignores it
    assert not another.exists()
