"""``berth doctor`` on this machine, and its checks where this machine does not show them."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from spawner.cli import preflight
from spawner.cli.deployment import ROOT, Deployment
from spawner.cli.doctor import examine
from spawner.cli.preflight import Scene, engine_clock, space, synchronised
from spawner.engine.versions import Finding, Level
from spawner.errors import LedgerOutdated
from spawner.settings import Settings

from ..support.nvidia.engine import GpuEngine
from .conftest import Command

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def _deployment(tmp_path: Path, **settings: object) -> Deployment:
    return Deployment(ROOT, Settings(state_dir=tmp_path / "state", **settings))  # type: ignore[arg-type]


def _told(done: "subprocess.CompletedProcess[str]") -> dict[str, dict[str, str]]:
    """Give the findings that were printed as JSON, by check."""
    return {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}


@pytest.mark.docker
def test_this_machine(berth: Command, engine: docker.DockerClient) -> None:
    done = berth("doctor", "--json")
    told = json.loads(done.stdout)
    levels = {finding["level"] for finding in told["findings"]}
    assert levels <= {"ok", "warning", "error"}
    assert told["worst"] == next(level for level in ("error", "warning", "ok") if level in levels)
    assert done.returncode == (1 if told["worst"] == "error" else 0)
    assert all(finding["cure"] for finding in told["findings"] if finding["level"] != "ok"), told
    by_check = {finding["check"]: finding for finding in told["findings"]}
    assert {
        "engine",
        "runc",
        "containerd",
        "control groups",
        "nvidia driver",
        "nvidia toolkit",
        "dmem",
        "state directory",
        "engine's directory",
        "port",
        "bridge filter",
        "iptables",
        "clock",
        "engine's clock",
    } <= set(by_check)
    assert engine.version()["Version"] in by_check["engine"]["found"]
    assert by_check["port"] == {
        "check": "port",
        "level": "ok",
        "found": f"127.0.0.1:{berth.port} is free",
        "cure": "",
    }


@pytest.mark.docker
def test_people_read_every_finding_with_its_cure(berth: Command) -> None:
    findings = json.loads(berth("doctor", "--json").stdout)["findings"]
    shown = " ".join(berth("doctor", COLUMNS="400").stdout.split())
    for finding in findings:
        if finding["check"] not in {"state directory", "engine's directory", "clock"}:  # these move
            assert " ".join(finding["found"].split()) in shown
            assert finding["cure"] in shown


def test_a_silent_engine_keeps_no_other_check_from_its_findings(berth: Command) -> None:
    done = berth("doctor", "--json", DOCKER_HOST="unix:///nowhere/docker.sock")
    assert done.returncode == 1
    by_check = _told(done)
    assert by_check["engine"]["level"] == "error"
    assert "does not answer" in by_check["engine"]["found"]
    assert "make up" in by_check["engine"]["cure"]
    assert {"nvidia driver", "state directory", "port", "clock"} <= set(by_check)
    assert not berth.state.path.exists()


def test_a_port_that_is_taken(berth: Command) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", berth.port))
        other.listen()
        done = berth("doctor", "--json")
    assert done.returncode == 1
    finding = _told(done)["port"]
    assert f"taken by pid {os.getpid()}" in finding["found"]
    assert "BERTH_PORT" in finding["cure"]


@pytest.mark.docker
def test_a_port_of_its_own_hub_is_no_finding(deployment: Command) -> None:
    deployment.ok("up")
    by_check = _told(deployment("doctor", "--json"))
    assert by_check["port"]["level"] == "ok"
    assert "this hub's" in by_check["port"]["found"]
    deployment.ok("down")
    by_check = _told(deployment("doctor", "--json"))
    assert by_check["port"]["found"].endswith("is free")
    assert by_check["hub's port"]["level"] == "ok"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@ROOT_ONLY
def test_a_small_disk(small_disk: Path) -> None:
    there = small_disk / "not" / "yet"
    assert space("disk", there, 1 << 20, 1 << 20) == Finding("disk", Level.OK, f"20 MiB of 20 MiB free at {there}")
    assert space("disk", there, 1 << 20, 1 << 30).level is Level.WARNING
    full = space("disk", there, 100 << 20, 100 << 20)
    assert (full.level, full.found) == (Level.ERROR, f"20 MiB of 20 MiB free at {there}; 100 MiB are needed")
    assert not (small_disk / "not").exists()


def test_the_clock() -> None:
    assert synchronised(0x2001, 12_300) == Finding("clock", Level.OK, "synchronised, to within 12 ms")
    assert synchronised(0x40, 16_000_000).level is Level.WARNING
    assert engine_clock(0.4).level is Level.OK
    assert engine_clock(-5.04) == Finding(
        "engine's clock",
        Level.WARNING,
        "5.0 s behind this machine's; GPU time is booked by it",
        "Synchronise both by the same time service",
    )
    assert engine_clock(61).level is Level.ERROR


def test_the_kernel_tells_of_the_clock(tmp_path: Path) -> None:
    (finding,) = preflight.clock(Scene(_deployment(tmp_path)))
    assert finding.check == "clock"
    assert finding.level in {Level.OK, Level.WARNING}
    assert "synchronised" in finding.found


def test_a_firewall_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(_deployment(tmp_path), here=True)
    monkeypatch.setattr(preflight, "_BRIDGE_FILTER", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    bridge, iptables = preflight.firewall(scene)
    assert (bridge.level, bridge.found) == (Level.ERROR, "br_netfilter is not loaded: containers reach each other")
    assert "modprobe br_netfilter" in bridge.cure
    assert (iptables.level, iptables.found) == (Level.ERROR, "without iptables, iptables-restore, iptables-save")
    (tmp_path / "none").write_text("0\n")
    assert next(iter(preflight.firewall(scene))).found.startswith("br_netfilter is switched off")


@ROOT_ONLY
def test_a_firewall_that_the_kernel_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("iptables", "iptables-restore", "iptables-save"):
        (tmp_path / program).write_text("#!/bin/sh\necho 'iptables: Failed to initialize nft' >&2; exit 1\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    *_, iptables = preflight.firewall(Scene(_deployment(tmp_path), here=True))
    assert (iptables.level, iptables.found) == (Level.ERROR, "iptables: Failed to initialize nft")


def test_a_firewall_that_others_set(tmp_path: Path) -> None:
    deployment = _deployment(tmp_path, network={"firewall": "external"})
    (finding,) = preflight.firewall(Scene(deployment, here=True))
    assert finding.level is Level.OK


def test_a_check_that_fails_is_a_finding(tmp_path: Path) -> None:
    def ledger(_: Scene) -> list[Finding]:
        raise LedgerOutdated("The ledger has another schema. Run: berth db upgrade")

    def last(_: Scene) -> list[Finding]:
        return [Finding("last", Level.OK, "reached")]

    findings = examine(_deployment(tmp_path), [ledger, last])
    assert Finding("ledger", Level.ERROR, "The ledger has another schema", "Run: berth db upgrade") in findings
    assert findings[-1].check == "last"


@pytest.mark.docker
def test_gpus_of_a_machine_that_has_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu_engine: GpuEngine
) -> None:
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue\n")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nvidia-ctk").write_text("#!/bin/sh\necho 'NVIDIA Container Toolkit CLI version 1.17.4'\n")
    (tools / "nvidia-ctk").chmod(0o755)
    monkeypatch.setattr(preflight, "_DRIVER", driver)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    deployment = _deployment(tmp_path, image=gpu_engine.image)
    found = list(preflight.gpus(Scene.of(deployment, gpu_engine.client)))
    by_check = {finding.check: finding for finding in found}
    assert by_check["nvidia driver"] == Finding("nvidia driver", Level.OK, "550.54.15")
    assert by_check["nvidia toolkit"].level is Level.ERROR
    assert by_check["gpus in containers"] == Finding("gpus in containers", Level.OK, "by way of: nvidia")

    elsewhere = _deployment(tmp_path, image="berth-test/none:1")
    *_, way = preflight.gpus(Scene.of(elsewhere, docker.APIClient(version="auto")))
    assert way.check == "gpus in containers"
    assert (way.level, "berth-test/none:1" in way.found) == (Level.WARNING, True)


@pytest.mark.docker
def test_gpus_that_no_container_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: docker.DockerClient
) -> None:
    if preflight._output("nvidia-container-runtime-hook", "-version") is not None:
        pytest.skip("this machine has the NVIDIA toolkit")
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue\n")
    monkeypatch.setattr(preflight, "_DRIVER", driver)
    engine.api.import_image_from_data(b"\0" * 10240, repository="berth-test/empty", tag="latest")
    deployment = _deployment(tmp_path, image="berth-test/empty:latest")
    findings = {finding.check: finding for finding in preflight.gpus(Scene.of(deployment, engine.api))}
    assert findings["nvidia toolkit"].level is Level.ERROR
    assert findings["gpus in containers"].level is Level.ERROR
    assert "nvidia-container-toolkit" in findings["gpus in containers"].cure
