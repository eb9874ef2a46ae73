import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from spawner.processes import Process, listener, read_pid


def sleeper(code: str = "import time; print(flush=True); time.sleep(60)") -> subprocess.Popen[str]:
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert started.stdout
    started.stdout.readline()
    return started


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    me = Process.living(os.getpid())
    assert me
    assert me.alive
    assert not Process(me.pid, me.started - 1).alive


def test_a_process_that_only_has_the_number_is_never_signalled() -> None:
    with sleeper() as other:
        known = Process.living(other.pid)
        assert known
        assert Process(known.pid, known.started - 1).stop(1)
        assert other.poll() is None
        other.kill()


def test_stop_asks_first() -> None:
    with sleeper() as asked:
        process = Process.living(asked.pid)
        assert process
        assert process.stop(10)
        assert asked.wait() == -signal.SIGTERM


def test_stop_kills_what_does_not_listen() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with sleeper(code) as deaf:
        process = Process.living(deaf.pid)
        assert process
        assert not process.stop(0.2)
        assert deaf.wait() == -signal.SIGKILL


def test_the_dead_and_the_zombies_are_not_living() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert Process.living(child.pid) is None
    assert Process.living(child.pid) is None


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_listener_on_a_port_is_found(family: socket.AddressFamily) -> None:
    with socket.socket(family) as server:
        server.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        port = server.getsockname()[1]
        assert listener(port) is None
        server.listen()
        found = listener(port)
        assert found
        assert found.pid == os.getpid()
        assert "pytest" in found.command


@pytest.mark.parametrize("text", ["", "x", "-"])
def test_a_spoilt_pid_file_tells_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert read_pid(tmp_path / "pid") is None
    assert read_pid(tmp_path / "none") is None
