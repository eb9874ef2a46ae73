"""Grafana beside Prometheus, through ``docker compose``, where there is that and the image can be had."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from docker.errors import APIError

from ..engine.client import engine_errors
from ..errors import EngineUnavailable
from ..state import StateDirectory
from .deployment import Deployment, connect
from .monitoring import Files, address
from .output import Output

_PULL_SECONDS = 600
_PROJECT_LABEL = "com.docker.compose.project"


def ensure_grafana(deployment: Deployment, output: Output, *, asked: bool) -> None:
    """See to it that Grafana runs, if it can; says in one sentence why not where it was asked for."""
    command = _compose()
    if command is None:
        if asked:
            output.step(
                "Grafana is not started, for there is no `docker compose` here: docs/how-to/connect-your-prometheus.md"
            )
        return
    password = _password(_password_file(deployment.state))
    port = os.environ.get("GRAFANA_PORT", "3000")
    if asked:
        output.step("Starting Grafana (docker compose)")
    arguments = ["-p", _project(deployment.state), "-f", str(deployment.root / "deploy/compose/monitoring.yml")]
    try:
        done = subprocess.run(
            [*command, *arguments, "up", "-d"],
            env={**os.environ, "GRAFANA_PASSWORD": password.read_text().strip(), "PROMETHEUS_URL": address(deployment)},
            capture_output=True,
            check=False,
            text=True,
            timeout=_PULL_SECONDS,
        )
        why = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1] if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if why:
        output.step(f"Grafana is not started: {why[:300]}")
    else:
        output.say(f"Dashboards: http://127.0.0.1:{port} (admin, the password is in {password})")


def stop_grafana(state: StateDirectory, note: Callable[[str], None], *, purge: bool) -> None:
    """Remove Grafana's container, and with `purge` what it kept; nothing where there is none, or no engine answers."""
    if not _password_file(state).exists():
        return
    label = {"label": f"{_PROJECT_LABEL}={_project(state)}"}
    try:
        client = connect(timeout=20)
    except EngineUnavailable:
        return
    try:
        with engine_errors():
            for container in client.containers(all=True, filters=label):
                client.remove_container(container["Id"], force=True)
                note("Grafana")
            for volume in client.volumes(filters=label)["Volumes"] or [] if purge else []:
                client.remove_volume(volume["Name"])
                note(f"volume {volume['Name']}")
    except (APIError, EngineUnavailable):
        return  # `down --purge` says what is wrong with the engine
    finally:
        client.close()


def _compose() -> list[str] | None:
    """Give the command: Docker's plug-in, else the program that came before it."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version"], capture_output=True, check=False)
            if done.returncode == 0:
                return command
    return None


def _project(state: StateDirectory) -> str:
    return f"berth-{state.hub_id}-monitoring"


def _password_file(state: StateDirectory) -> Path:
    return Files(state).folder / "grafana-password"


def _password(path: Path) -> Path:
    """Make a password at first use; gives the file in which it is."""
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(18) + "\n")
    return path
