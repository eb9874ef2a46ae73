"""``berth doctor`` on this machine, and its checks where this machine does not show them."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker
import pytest

from spawner.cli import preflight
from spawner.cli.deployment import ROOT, Deployment
from spawner.cli.doctor import examine
from spawner.cli.ledger_health import ledger as ledger_check
from spawner.cli.preflight import Scene, engine_clock, space, synchronised
from spawner.engine.versions import Finding, Level
from spawner.errors import LedgerOutdated, LedgerUnavailable
from spawner.janitor.schedule import loops
from spawner.ledger import Ledger
from spawner.operations import inventory
from spawner.operations.desk import Desk
from spawner.policy.gpus import LOCAL_NODE
from spawner.processes import Process
from spawner.settings import LimitSettings, Settings

from ..support.nvidia.engine import GpuEngine
from ..support.slots import gpus
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


# --- the ledger and the janitor -----------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A deployment's ledger, made and empty."""
    state = _deployment(tmp_path).state.create()
    made = Ledger(state.ledger_url(None))
    made.upgrade()
    yield Desk(made, LimitSettings().rules())
    made.close()


def _found(tmp_path: Path, **settings: object) -> list[tuple[str, Level, str]]:
    return [(one.check, one.level, one.found) for one in ledger_check(Scene(_deployment(tmp_path, **settings)))]


def _running_hub(tmp_path: Path) -> None:
    """Let the deployment's hub seem to run: as this very process."""
    itself = Process.living(os.getpid())
    assert itself is not None
    _deployment(tmp_path).state.hub_pid_file.write_text(f"{itself.pid} {itself.started} settings", encoding="ascii")


def _beat(desk: Desk, name: str, at: datetime, *, ok: bool = True, said: str = "") -> None:
    with desk.ledger.transaction() as books:
        assert books.loops.take(name, "here", at, timedelta(seconds=15))
        assert books.loops.beat(name, "here", at, result=said, ok=ok)


def test_no_ledger_before_the_first_start(tmp_path: Path) -> None:
    assert _found(tmp_path) == [("ledger", Level.OK, "none yet; make up makes it")]
    assert not (tmp_path / "state").exists()


def test_a_ledger_that_is_gone(tmp_path: Path, desk: Desk) -> None:
    desk.ledger.close()
    _deployment(tmp_path).state.ledger_file.unlink()
    with pytest.raises(LedgerOutdated, match="There is no ledger"):
        _found(tmp_path)
    [finding] = [one for one in examine(_deployment(tmp_path), [ledger_check]) if one.check == "ledger"]
    assert finding.level is Level.ERROR
    assert "berth db upgrade" in finding.cure


def test_a_ledger_that_is_none(tmp_path: Path, desk: Desk) -> None:
    desk.ledger.close()
    _deployment(tmp_path).state.ledger_file.write_text("what?" * 1000)
    with pytest.raises(LedgerUnavailable, match="is no SQLite database"):
        _found(tmp_path)


def test_a_ledger_that_is_well(tmp_path: Path, desk: Desk) -> None:
    path = _deployment(tmp_path).state.ledger_file
    assert _found(tmp_path) == [("ledger", Level.OK, f"<Ledger {path}> answers, its schema is this version's")]


def test_gpus_that_cannot_be_leased(tmp_path: Path, desk: Desk) -> None:
    inventory.sync(desk, LOCAL_NODE, *gpus(2))
    inventory.doubt(desk, ["SIM-local-1"], "the driver refuses it")
    inventory.sync(desk, LOCAL_NODE, *gpus(1, first=1))
    _, (_, sick_level, sick), (_, doubt_level, doubt) = _found(tmp_path)
    assert (sick_level, doubt_level) == (Level.ERROR, Level.WARNING)
    assert sick.startswith("GPUs that cannot be leased: gpu0: Not found any more since ")
    assert doubt == "slots in quarantine: SIM-local-1 (the driver refuses it)"


def test_the_janitors_loops(tmp_path: Path, desk: Desk) -> None:
    now = datetime.now(UTC)
    _beat(desk, "offers", now - timedelta(hours=1))
    assert len(_found(tmp_path)) == 1  # no hub runs, so nor does its janitor
    _running_hub(tmp_path)
    names = [loop.name for loop in loops(Settings())]
    for name in names[1:]:
        _beat(desk, name, now)
    assert _found(tmp_path)[1:] == [("janitor", Level.ERROR, "its loops inventory have never run")]
    _beat(desk, "inventory", now - timedelta(minutes=2))
    assert _found(tmp_path)[1:] == [("janitor", Level.OK, f"all {len(names)} loops succeed")]
    # A loop that is no more is nobody's.
    _beat(desk, "dusting", now - timedelta(days=9))
    assert _found(tmp_path)[1:] == [("janitor", Level.OK, f"all {len(names)} loops succeed")]


def test_a_janitor_that_has_never_run(tmp_path: Path, desk: Desk) -> None:
    _running_hub(tmp_path)
    assert _found(tmp_path)[1:] == [("janitor", Level.ERROR, "it has never run")]


def test_a_loop_that_fails(tmp_path: Path, desk: Desk) -> None:
    _running_hub(tmp_path)
    now = datetime.now(UTC).replace(microsecond=0)
    names = [loop.name for loop in loops(Settings())]
    for name in names:
        _beat(desk, name, now - timedelta(minutes=4) if name == "reconcile" else now)
    _beat(desk, "reconcile", now, ok=False, said="The Docker Engine does not answer.")
    last = f"{now - timedelta(minutes=4):%Y-%m-%d %H:%M:%S} UTC"
    assert _found(tmp_path)[1:] == [
        ("janitor", Level.ERROR, f"its loop reconcile last succeeded {last}: The Docker Engine does not answer.")
    ]
    # Where it is to run every ten minutes, four are no delay.
    assert _found(tmp_path, leases={"reconcile_seconds": 600})[1:] == [
        ("janitor", Level.OK, f"all {len(names)} loops succeed")
    ]
