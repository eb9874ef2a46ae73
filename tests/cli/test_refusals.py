"""What ``berth up`` refuses, each tried for real."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from .conftest import Command

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 20 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_port_taken_by_whom(berth: Command) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", berth.port))
        other.listen()
        sentence = berth.refused("up", code="port_taken")
    assert f"Port {berth.port} is taken by pid {os.getpid()} (" in sentence
    assert "pytest" in sentence


def test_port_taken_on_all_addresses(berth: Command) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", berth.port))
        other.listen()
        assert f"pid {os.getpid()}" in berth.refused("up", code="port_taken")


def test_an_address_that_is_not_here(berth: Command) -> None:
    sentence = berth.refused("up", code="settings_invalid", BERTH_BIND_ADDRESS="127.0.0.1", BERTH_PORT="70000")
    assert "port" in sentence


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9"])
def test_engine_that_docker_host_names_is_silent(berth: Command, host: str) -> None:
    sentence = berth.refused("up", code="engine_unavailable", DOCKER_HOST=host)
    assert host in sentence
    assert "DOCKER_HOST" in sentence


@ROOT_ONLY
def test_disk_nearly_full_where_the_state_is(berth: Command, small_disk: Path) -> None:
    sentence = berth.refused("up", code="disk_nearly_full", BERTH_STATE_DIR=str(small_disk / "state"))
    assert f"20 MiB free at {small_disk}/state, 100 MiB needed" in sentence
    assert not (small_disk / "state").exists()


def test_a_state_directory_with_other_things_in_it(berth: Command) -> None:
    (berth.directory / "thesis.tex").write_text("work")
    sentence = berth.refused("up", code="settings_invalid", BERTH_STATE_DIR=str(berth.directory))
    assert "thesis.tex" in sentence


def test_purge_leaves_a_directory_alone_that_is_no_state(berth: Command) -> None:
    thesis = berth.directory / "thesis.tex"
    thesis.write_text("work")
    assert "nothing to purge" in berth.ok("down", "--purge", BERTH_STATE_DIR=str(berth.directory))
    assert thesis.read_text() == "work"


@pytest.mark.docker
def test_image_that_must_not_be_pulled(deployment: Command) -> None:
    sentence = deployment.refused("up", code="image_unavailable", BERTH_IMAGE="berth-test/none:here")
    assert "berth-test/none:here" in sentence


@pytest.mark.docker
def test_image_that_no_registry_gives(deployment: Command) -> None:
    image = "127.0.0.1:9/nobody/nothing:1"
    sentence = deployment.refused("up", code="image_unavailable", BERTH_IMAGE=image, BERTH_PULL="missing")
    assert image in sentence


@pytest.mark.docker
def test_what_the_hub_itself_refuses_is_told_as_its_own_reason(
    deployment: Command, engine: docker.DockerClient
) -> None:
    taken = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"]
    sentence = deployment.refused("up", code="engine_unavailable", BERTH_NETWORK__SUBNET=taken)
    assert taken in sentence
    assert not deployment.data("status")["hub"]["running"]


@pytest.mark.docker
def test_a_hub_that_dies_shows_its_last_words(deployment: Command) -> None:
    deployment.state.create()
    deployment.state.cookie_secret_file.write_text("nothing that anybody foresaw")
    deployment.state.cookie_secret_file.chmod(0o600)
    sentence = deployment.refused("up", code="hub_not_ready")
    assert "cookie_secret" in sentence
    assert str(deployment.state.hub_log) in sentence
