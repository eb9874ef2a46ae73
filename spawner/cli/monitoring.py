"""The Prometheus beside the hub: configured, started, reloaded, found again, stopped.

Once asked for it comes up with each `berth up`, until ``--no-monitoring``; its configuration in the state directory
says that it was.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from ..errors import HubNotReady, SettingsInvalid
from ..processes import Process
from ..state import StateDirectory
from .checks import require_port
from .deployment import Deployment, local_host
from .output import Output

SCRAPE_SECONDS = 15
_LOG_LIMIT = 20 << 20
_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0  # it writes what is not on disk yet


@dataclass(frozen=True)
class Files:
    """Where it keeps what, in a state directory."""

    state: StateDirectory

    @property
    def folder(self) -> Path:
        return self.state.path / "prometheus"

    @property
    def configuration(self) -> Path:
        return self.folder / "prometheus.yml"

    @property
    def metrics_token(self) -> Path:
        return self.folder / "metrics-token"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "prometheus.log"

    @property
    def pid(self) -> Path:
        return self.folder / "pid"


@dataclass(frozen=True)
class Running:
    """A Prometheus that runs.

    Attributes
    ----------
    flags, content
        Hashes of its command line, and of its configuration and rules when it last read them.
    """

    process: Process
    flags: str
    content: str

    @classmethod
    def of(cls, state: StateDirectory) -> Self | None:
        """Find the one that was started on a state directory; whatever else got its number is let alone."""
        try:
            pid, started, flags, content = Files(state).pid.read_text(encoding="ascii").split()
            process = Process(int(pid), int(started))
        except (OSError, ValueError):
            return None
        return cls(process, flags, content) if process.alive else None

    def note(self, path: Path) -> None:
        record = path.with_suffix(".new")
        line = f"{self.process.pid} {self.process.started} {self.flags} {self.content}\n"
        record.write_text(line, encoding="ascii")
        record.replace(path)


def wanted(state: StateDirectory) -> bool:
    """Tell whether somebody asked for it."""
    return Files(state).configuration.exists()


def address(deployment: Deployment) -> str:
    return f"http://127.0.0.1:{deployment.settings.metrics.prometheus_port}"


def require_monitoring(deployment: Deployment) -> None:
    """Find out before anything is started what would end it.

    Raises
    ------
    SettingsInvalid
        If Prometheus is not installed.
    PortTaken
        Says by whom.
    """
    _program("prometheus")
    running = Running.of(deployment.state)
    if running is None or running.flags != _hash(_flags(deployment)):
        _require_port(deployment, running)


def configuration(deployment: Deployment) -> dict[str, Any]:
    """Say what to scrape and which rules to follow, as Prometheus' configuration file has it."""
    metrics, files = deployment.settings.metrics, Files(deployment.state)
    host = local_host(metrics.bind_address)
    access: dict[str, Any] = {}
    if metrics.token is not None:
        access["authorization"] = {"credentials_file": str(files.metrics_token)}
    if metrics.certificate is not None:
        # On this machine; the name in the certificate is that under which others ask.
        access |= {"scheme": "https", "tls_config": {"insecure_skip_verify": True}}
    hub = deployment.local_url.removeprefix("http://")
    alertmanagers = [{"static_configs": [{"targets": [metrics.alertmanager]}]}] if metrics.alertmanager else []
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
        "rule_files": [str(path) for path in rule_files(deployment.root)],
        "alerting": {"alertmanagers": alertmanagers},
        "scrape_configs": [
            _job("berth-exporter", f"{host}:{metrics.exporter_port}", access),
            _job("berth-janitor", f"{host}:{metrics.janitor_port}", access),
            _job(
                "berth-hub",
                hub,
                {
                    "metrics_path": "/hub/metrics",
                    "authorization": {"credentials_file": str(deployment.state.prometheus_token_file)},
                },
            ),
            _job("prometheus", f"127.0.0.1:{metrics.prometheus_port}", {}),
        ],
    }


def rule_files(root: Path) -> list[Path]:
    return [root / "deploy" / "prometheus" / f"{name}.yml" for name in ("thresholds", "rules", "alerts")]


def ensure_monitoring(deployment: Deployment, output: Output) -> Process:
    """See to it that Prometheus runs with the settings and rules of now; one that does is left alone.

    Raises
    ------
    SettingsInvalid
        If it is not installed, or refuses its configuration or the rules.
    PortTaken
        If its port is not free; says who has it.
    HubNotReady
        If it ends, or does not answer in time.
    """
    state = deployment.state
    files = Files(state)
    text = _write(deployment, files)
    flags, content = _hash(_flags(deployment)), _hash([text, *(_read(path) for path in rule_files(deployment.root))])
    running = Running.of(state)
    if running and running.flags == flags and running.content == content:
        return running.process
    _check(files.configuration)
    if running and running.flags == flags:
        os.kill(running.process.pid, signal.SIGHUP)
        Running(running.process, flags, content).note(files.pid)
        output.step(f"Prometheus (pid {running.process.pid}) reads its configuration and rules anew")
        return running.process
    _require_port(deployment, running)
    if running:
        running.process.stop(_STOP_SECONDS)
    process = _start(deployment, files)
    Running(process, flags, content).note(files.pid)
    _await(deployment, process, files)
    output.step(f"Prometheus runs at {address(deployment)} (pid {process.pid})")
    return process


def stop_monitoring(state: StateDirectory, *, forget: bool = False) -> Process | None:
    """Stop it and give its process; none if it did not run.

    Parameters
    ----------
    forget
        Whether it was asked for no longer; what it recorded stays.
    """
    files = Files(state)
    running = Running.of(state)
    if running:
        running.process.stop(_STOP_SECONDS)
    files.pid.unlink(missing_ok=True)
    if forget:
        files.configuration.unlink(missing_ok=True)
    return running.process if running else None


def answers(deployment: Deployment) -> bool:
    """Tell whether it is ready to be asked."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this is about this machine
    try:
        with opener.open(f"{address(deployment)}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _job(name: str, target: str, more: dict[str, Any]) -> dict[str, Any]:
    return {"job_name": name, "static_configs": [{"targets": [target]}], **more}


def _flags(deployment: Deployment) -> list[str]:
    metrics, files = deployment.settings.metrics, Files(deployment.state)
    return [
        f"--config.file={files.configuration}",
        f"--storage.tsdb.path={files.data}",
        f"--storage.tsdb.retention.time={metrics.retention_days}d",
        f"--web.listen-address=127.0.0.1:{metrics.prometheus_port}",
    ]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SettingsInvalid(
            f"Prometheus is not installed here ({name} is not to be found): `make up MONITORING=1` as root "
            "installs Debian's, or put one on the PATH."
        )
    return found


def _require_port(deployment: Deployment, running: Running | None) -> None:
    port = deployment.settings.metrics.prometheus_port
    if running and f"--web.listen-address=127.0.0.1:{port}" in running.process.command:
        return  # its own
    require_port("127.0.0.1", port, setting="metrics.prometheus_port", variable="BERTH_METRICS__PROMETHEUS_PORT")


def _write(deployment: Deployment, files: Files) -> str:
    """Write its configuration; gives all that must have it read anew."""
    token = deployment.settings.metrics.token
    secret = token.get_secret_value() if token else ""
    text = yaml.safe_dump(configuration(deployment), sort_keys=False)
    try:
        files.folder.mkdir(mode=0o700, exist_ok=True)
        _replace(files.metrics_token, secret)
        _replace(files.configuration, f"# Written by `berth up` from the settings (metrics).\n{text}")
    except OSError as error:
        raise SettingsInvalid(f"{error.filename} cannot be written: {error.strerror}.") from None
    _ = deployment.state.prometheus_token  # there before it is read
    return text + secret


def _replace(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}.") from None


def _check(path: Path) -> None:
    done = subprocess.run(
        [_program("promtool"), "check", "config", str(path)], capture_output=True, check=False, text=True
    )
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "SUCCESS" not in line]
        raise SettingsInvalid(f"Prometheus refuses its configuration: {' '.join(filter(None, said))[-600:]}")


def _start(deployment: Deployment, files: Files) -> Process:
    if files.log.exists() and files.log.stat().st_size > _LOG_LIMIT:
        files.log.replace(files.log.with_suffix(".log.1"))
    with os.fdopen(os.open(files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        child = subprocess.Popen(
            [_program("prometheus"), *_flags(deployment)],
            cwd=files.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("BERTH_")},
        )
    process = Process.living(child.pid)
    if process is None:
        raise HubNotReady(f"Prometheus ended at once. {_last_words(files.log)}")
    return process


def _await(deployment: Deployment, process: Process, files: Files) -> None:
    """Wait until it answers; after a crash it first reads what it had not written to its blocks."""
    deadline = time.monotonic() + _READY_SECONDS
    while not answers(deployment):
        if not process.alive:
            files.pid.unlink(missing_ok=True)
            raise HubNotReady(f"Prometheus ended. {_last_words(files.log)}")
        if time.monotonic() > deadline:
            raise HubNotReady(
                f"Prometheus (pid {process.pid}) does not answer at {address(deployment)} after "
                f"{_READY_SECONDS:.0f} s; it still runs. Its log: {files.log}"
            )
        time.sleep(0.1)


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    telling = [line for line in lines if "level=error" in line] or lines or ["nothing"]
    return f"Its log, {log}, says: {telling[-1][:400]}"


def _hash(values: list[str]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
