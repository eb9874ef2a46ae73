"""The janitor as the hub starts it: a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spawner.ledger import LoopRecord
from spawner.operations import inventory

from ..support.api_hub import TOKEN, ApiHub
from ..support.office import Office
from ..support.ports import metrics_ports
from ..support.processes import process
from ..support.waiting import eventually

ROOT = Path(__file__).parents[2]
NAMES = {
    *("inventory", "reconcile", "offers", "expiry", "idle", "watchdog"),
    *("rosters", "prepare", "warmup", "seats", "endings"),
    *("collections", "materials", "course-homes", "leftovers"),
    *("homes", "archives", "volumes", "sizes", "owners"),
}
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def command(hub: ApiHub, office: Office, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    began = datetime.now(UTC).isoformat()
    arguments = ["--root", str(tmp_path), "--proxy", hub.url, "--hub-pid", str(os.getpid()), "--hub-began", began]
    environment = {
        "BERTH_STATE_DIR": str(tmp_path),
        "BERTH_GPUS": "sim:2",
        **metrics_ports(),
        "BERTH_DATABASE_URL": office.place.url,
        "JUPYTERHUB_API_URL": hub.api_url,
        "JUPYTERHUB_API_TOKEN": TOKEN,
        "PYTHONPATH": str(ROOT),
    }
    return [sys.executable, "-m", "spawner.janitor", *arguments], environment


def metrics_url(command: tuple[list[str], dict[str, str]]) -> str:
    return f"http://127.0.0.1:{command[1]['BERTH_METRICS__JANITOR_PORT']}/metrics"


def records(office: Office) -> dict[str, LoopRecord]:
    with office.ledger.reading() as books:
        return {loop.name: loop for loop in books.loops.all()}


@pytest.fixture
def running(
    command: tuple[list[str], dict[str, str]], log: Path, office: Office
) -> Iterator["subprocess.Popen[bytes]"]:
    arguments, environment = command
    with process(arguments, log, env=environment) as started:
        eventually(lambda: {name for name, one in records(office).items() if one.succeeded_at} == NAMES, 60)
        yield started


@pytest.mark.docker
def test_all_loops_run_until_it_is_told_to_end(
    running: "subprocess.Popen[bytes]",
    command: tuple[list[str], dict[str, str]],
    office: Office,
    log: Path,
    hub: ApiHub,
) -> None:
    assert len(inventory.board(office.desk).gpus) == 2
    found = records(office)
    assert len({one.owner for one in found.values()}) == 1
    assert str(running.pid) in found["offers"].owner
    with urllib.request.urlopen(metrics_url(command), timeout=10) as answer:
        said = answer.read().decode()
    assert "\nberth_ledger_up 1.0\n" in said
    assert 'berth_janitor_loop_last_success_timestamp_seconds{loop="watchdog"}' in said
    before = found["offers"].succeeded_at
    eventually(lambda: records(office)["offers"].succeeded_at != before)
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=30) == 0
    assert {one.owner for one in records(office).values()} == {""}  # the next one need not wait
    assert {one.error for one in records(office).values()} == {""}, log.read_text()
    assert TOKEN not in log.read_text()
    assert hub.asked == []


@pytest.mark.docker
def test_it_ends_with_its_hub(command: tuple[list[str], dict[str, str]], log: Path, office: Office) -> None:
    arguments, environment = command
    arguments[arguments.index("--hub-pid") + 1] = "1"  # somebody else's child by now
    with process(arguments, log, env=environment) as started:
        assert started.wait(timeout=60) == 0
    assert "The hub is gone" in log.read_text()
    assert {one.owner for one in records(office).values()} == {""}


@pytest.mark.docker
def test_a_taken_port_keeps_it_from_nothing_but_metrics(
    command: tuple[list[str], dict[str, str]], log: Path, office: Office
) -> None:
    arguments, environment = command
    address = "127.0.0.1", int(environment["BERTH_METRICS__JANITOR_PORT"])
    with socket.create_server(address), process(arguments, log, env=environment) as started:
        eventually(lambda: {name for name, one in records(office).items() if one.succeeded_at} == NAMES, 60)
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=30) == 0
    assert f"is taken by pid {os.getpid()} (" in log.read_text()


def test_without_a_ledger_it_says_what_to_do(
    command: tuple[list[str], dict[str, str]], log: Path, tmp_path: Path
) -> None:
    arguments, environment = command
    missing = {**environment, "BERTH_DATABASE_URL": f"sqlite:///{tmp_path}/none.sqlite"}
    with process(arguments, log, env=missing) as started:
        assert started.wait(timeout=60) == 1
    said = log.read_text()
    assert "Traceback" not in said
    assert "berth db upgrade" in said
