"""Prometheus beside the hub: started, left alone, reloaded, restarted, stopped, forgotten. The real one."""

import os
import shutil
import signal
import socket
import stat
from pathlib import Path

import pytest
import requests
import yaml

from spawner.cli.deployment import Deployment
from spawner.cli.monitoring import Files, Running, configuration, ensure_monitoring, require_monitoring
from spawner.cli.output import Output
from spawner.errors import SettingsInvalid
from spawner.settings import Settings

from ..support.ports import free_ports
from ..support.waiting import eventually
from .conftest import Command

ROOT = Path(__file__).parents[2]


def deployment_of(tmp_path: Path, **metrics: object) -> Deployment:
    return Deployment(ROOT, Settings.model_validate({"state_dir": tmp_path, "port": 8123, "metrics": metrics}))


def test_what_is_scraped_and_how(tmp_path: Path) -> None:
    plain = configuration(deployment_of(tmp_path))
    assert [(job["job_name"], job["static_configs"][0]["targets"]) for job in plain["scrape_configs"]] == [
        ("berth-exporter", ["127.0.0.1:9410"]),
        ("berth-janitor", ["127.0.0.1:9411"]),
        ("berth-hub", ["127.0.0.1:8123"]),
        ("prometheus", ["127.0.0.1:9090"]),
    ]
    assert plain["scrape_configs"][2]["metrics_path"] == "/hub/metrics"
    assert plain["scrape_configs"][2]["authorization"] == {"credentials_file": str(tmp_path / "prometheus-token")}
    assert plain["alerting"] == {"alertmanagers": []}
    assert all(Path(path).exists() for path in plain["rule_files"])

    with_all = configuration(
        deployment_of(
            tmp_path,
            bind_address="::",
            token="t" * 16,
            certificate="c.pem",
            key="k.pem",
            alertmanager="127.0.0.1:9093",
        )
    )
    for job in with_all["scrape_configs"][:2]:
        assert job["static_configs"][0]["targets"][0].startswith("[::1]:94")
        assert job["scheme"] == "https"
        assert job["authorization"] == {"credentials_file": str(tmp_path / "prometheus/metrics-token")}
    assert with_all["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]
    assert "t" * 16 not in yaml.safe_dump(with_all)


@pytest.fixture
def monitored(deployment: Command) -> Command:
    deployment.environment["BERTH_METRICS__PROMETHEUS_PORT"] = str(free_ports(1)[0])
    return deployment


def url_of(berth: Command) -> str:
    return f"http://127.0.0.1:{berth.environment['BERTH_METRICS__PROMETHEUS_PORT']}"


@pytest.mark.docker
@pytest.mark.hub
@pytest.mark.prometheus
def test_the_life_of_a_prometheus(monitored: Command) -> None:
    state, url = monitored.state, url_of(monitored)
    files = Files(state)
    assert monitored.data("status")["monitoring"]["wanted"] is False

    # The port is another's: said before anything starts.
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", int(url.rpartition(":")[2])))
        squatter.listen()
        sentence = monitored.refused("up", "--monitoring", code="port_taken")
        assert f"pid {os.getpid()}" in sentence
        assert "metrics.prometheus_port (BERTH_METRICS__PROMETHEUS_PORT)" in sentence
        assert not state.hub_pid_file.exists()

    up = monitored.data("up", "--monitoring")
    pid = up["monitoring"]["pid"]
    assert up["monitoring"] == {"url": url, "pid": pid}
    assert requests.get(f"{url}/-/ready", timeout=5).ok
    rules = requests.get(f"{url}/api/v1/rules", timeout=5).json()["data"]["groups"]
    assert {"berth-thresholds", "berth-gpu-hours", "berth-people"} <= {group["name"] for group in rules}
    flags = requests.get(f"{url}/api/v1/status/flags", timeout=5).json()["data"]
    assert flags["storage.tsdb.retention.time"] == "90d"
    assert flags["web.listen-address"].startswith("127.0.0.1:")
    assert flags["web.enable-lifecycle"] == "false"
    for secret in (files.configuration, files.metrics_token, state.prometheus_token_file, files.log):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    status = monitored.data("status")["monitoring"]
    assert status == {"wanted": True, "running": True, "answering": True, "pid": pid, "url": url}
    assert url in monitored.ok("status")

    # What runs as it should is left alone, by an `up` that says nothing of it too.
    assert monitored.data("up")["monitoring"]["pid"] == pid

    # Other things to scrape are read anew; another port or retention takes another process.
    monitored.environment["BERTH_METRICS__ALERTMANAGER"] = "127.0.0.1:9093"
    assert "reads its configuration" in monitored.ok("up")
    eventually(
        lambda: "127.0.0.1:9093" in requests.get(f"{url}/api/v1/status/config", timeout=5).json()["data"]["yaml"]
    )
    monitored.environment["BERTH_METRICS__RETENTION_DAYS"] = "14"
    second = monitored.data("up")["monitoring"]["pid"]
    assert second != pid
    flags = requests.get(f"{url}/api/v1/status/flags", timeout=5).json()["data"]
    assert flags["storage.tsdb.retention.time"] == "2w"

    # One that died is started again, over what it left behind.
    os.kill(second, signal.SIGKILL)
    eventually(lambda: Running.of(state) is None)
    third = monitored.data("up")["monitoring"]["pid"]
    assert third != second

    # It goes down with the hub and comes back with it.
    assert f"Prometheus (pid {third})" in str(monitored.data("down")["removed"])
    assert Running.of(state) is None
    back = monitored.data("up")["monitoring"]["pid"]
    process = Running.of(state)
    assert process
    assert process.process.pid == back

    # Until it is not wanted any more.
    assert "Stopped Prometheus" in monitored.ok("up", "--no-monitoring")
    assert not process.process.alive
    assert "monitoring" not in monitored.data("up")
    assert files.data.is_dir()
    monitored.ok("down", "--purge")
    assert not state.path.exists()


@pytest.mark.prometheus
def test_rules_that_cannot_be(tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(ROOT / "deploy/prometheus", root / "deploy/prometheus")
    thresholds = root / "deploy/prometheus/thresholds.yml"
    thresholds.write_text(thresholds.read_text().replace("vector(0.02)", "vector(0.02"))
    deployment = Deployment(root, Settings(state_dir=tmp_path / "state"))
    deployment.state.create()
    with pytest.raises(SettingsInvalid, match=r"refuses its configuration: .*thresholds\.yml.*parse error"):
        ensure_monitoring(deployment, Output(as_json=False))
    assert Running.of(deployment.state) is None


def test_a_machine_without_prometheus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    deployment = deployment_of(tmp_path / "state")
    with pytest.raises(SettingsInvalid, match="make up MONITORING=1"):
        require_monitoring(deployment)
