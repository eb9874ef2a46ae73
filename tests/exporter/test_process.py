"""The exporter as a process, as the hub starts it and as a person does."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from spawner.cli.main import main
from spawner.exporter.opening import _utc_now
from spawner.gpus.probes import open_probe
from spawner.state import StateDirectory

from ..support.ports import free_ports
from ..support.processes import process, wait_for_http
from ..support.waiting import eventually
from .scenes import Scrape
from .test_node import Run, run  # noqa: F401  a fixture

ROOT = Path(__file__).parents[2]
TOKEN = "a token of some length"


@contextmanager
def exporter(
    tmp_path: Path, *more: str, hub_pid: int = 0, **settings: str
) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """Start one; gives its address, its process and its log."""
    port, log = free_ports(1)[0], tmp_path / "log"
    environment = {
        "BERTH_GPUS": "sim:1",
        "BERTH_STATE_DIR": str(tmp_path / "state"),
        "BERTH_METRICS__EXPORTER_PORT": str(port),
        **{f"BERTH_METRICS__{name.upper()}": value for name, value in settings.items()},
    }
    ours = (sys.executable, "-m", "spawner.exporter", "--root", str(ROOT), "--hub-pid", str(hub_pid or os.getpid()))
    with process(more or ours, log, cwd=ROOT, env=environment) as started:
        yield f"http://127.0.0.1:{port}/metrics", started, log


def state_of(tmp_path: Path, hub_id: str) -> StateDirectory:
    state = StateDirectory(tmp_path / "state")
    state.path.mkdir(mode=0o700)
    state.hub_id_file.write_text(f"{hub_id}\n")
    return state


def scrape(url: str, token: str = "") -> Scrape:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return Scrape(answer.read().decode())


@pytest.mark.docker
def test_as_the_hub_starts_it(tmp_path: Path, hub_id: str, run: Run) -> None:  # noqa: F811
    state = state_of(tmp_path, hub_id)
    probe = open_probe("sim:1", demo=True, clock=_utc_now)
    assert probe is not None
    run("ann", lease="L", slots=(probe.inventory().gpus[0].uuid,))
    jobs = tmp_path / "jobs"
    with exporter(tmp_path, job_mapping_dir=str(jobs), token=TOKEN, hash_users="true") as (url, started, log):
        eventually(lambda: b"Metrics are served" in log.read_bytes())
        with pytest.raises(urllib.error.HTTPError) as refused:
            scrape(url)
        refused.value.close()
        said = scrape(url, TOKEN)
        assert said.one("berth_exporter_info", hub=hub_id, node="local") == 1
        pseudonym = said.labels("berth_lease_info", lease="L")[0]["user"]
        assert pseudonym.startswith("u-")
        assert said.one("process_resident_memory_bytes") > 1 << 20
        assert said.one("process_cpu_seconds_total") > 0
        assert said.values("python_info") == [1]
        eventually(lambda: (jobs / "0").exists())
        assert (jobs / "0").read_text() == f"L/{pseudonym}/\n"
        started.send_signal(signal.SIGTERM)
        assert started.wait(20) == 0
        assert not list(jobs.iterdir())
        assert b"Traceback" not in log.read_bytes()
    assert state.metrics_key_file.exists()


def test_it_ends_with_its_hub(tmp_path: Path) -> None:
    state_of(tmp_path, "0123abcd")
    with exporter(tmp_path, hub_pid=1) as (_, started, log):
        assert started.wait(20) == 0
        assert b"The hub is gone; so is its exporter." in log.read_bytes()


def test_it_brings_neither_the_hub_nor_a_database_with_it() -> None:
    code = "import spawner.exporter.process, sys; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"jupyterhub", "sqlalchemy", "psycopg", "tornado", "traitlets"} & set(told.stdout.split())


def test_by_hand_on_a_machine_without_a_hub(tmp_path: Path) -> None:
    command = (str(Path(sys.executable).with_name("berth")), "exporter", "--hub-id", "0123abcd", "--node", "gpu7")
    with exporter(tmp_path, *command) as (url, started, log):
        wait_for_http(url, started, log)
        said = scrape(url)
        assert said.one("berth_exporter_info", hub="0123abcd", node="gpu7") == 1
        assert said.one("berth_gpu_info", node="gpu7", simulated="true") == 1
        started.send_signal(signal.SIGINT)
        assert started.wait(20) == 0
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("arguments", "hashed", "words"),
    [
        ([], False, "say with --hub-id"),
        (["--hub-id", "0123abcd"], True, "name it with --key-file"),
        (["--hub-id", "0123abcd", "--key-file", "KEY"], True, "cannot be read as a key"),
        (["--hub-id", "0123abcd", "--key-file", "SHORT"], True, "holds 2 bytes"),
    ],
)
def test_what_is_missing_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
    *,
    hashed: bool,
) -> None:
    (tmp_path / "SHORT").write_text("abcd\n")
    monkeypatch.setenv("BERTH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("BERTH_METRICS__HASH_USERS", str(hashed))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["exporter", *arguments])
    assert done.exit_code == 1
    assert words in done.output
    assert not (tmp_path / "state").exists()
