import json
import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from spawner.errors import SettingsInvalid, StateDirectoryBusy
from spawner.state import StateDirectory

URL = "http://127.0.0.1:8000"
HOLD = """
import sys, time
from pathlib import Path
from spawner.state import StateDirectory
lock = StateDirectory(Path(sys.argv[1])).lock()
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "state").create()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def hub_id(path: Path) -> str:
    return StateDirectory(path).create().hub_id


def test_it_is_its_owner_s_alone(state: StateDirectory) -> None:
    assert mode(state.path) == 0o700
    assert state.credentials(URL)
    assert state.crypt_key
    assert state.prometheus_token
    assert state.metrics_key
    assert {mode(path) for path in state.path.iterdir()} == {0o600}


def test_the_hub_id_is_made_once(state: StateDirectory) -> None:
    assert len(state.hub_id) == 8
    assert int(state.hub_id, 16) >= 0
    assert state.hub_id == StateDirectory(state.path).hub_id == state.known_hub_id()


def test_the_keys_of_metrics_are_made_once(state: StateDirectory) -> None:
    again = StateDirectory(state.path)
    assert len(state.metrics_key) == 32
    assert state.metrics_key == again.metrics_key
    assert state.prometheus_token == again.prometheus_token == state.prometheus_token_file.read_text().strip()


def test_all_who_race_for_the_hub_id_get_the_same(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(hub_id, [tmp_path / "state"] * 16))) == 1


def test_no_hub_id_is_made_by_looking(tmp_path: Path) -> None:
    assert StateDirectory(tmp_path / "nowhere").known_hub_id() is None
    assert not (tmp_path / "nowhere").exists()


def test_a_directory_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("work")
    tmp_path.chmod(0o755)
    with pytest.raises(SettingsInvalid, match=r"thesis\.tex"):
        StateDirectory(tmp_path).create()
    assert mode(tmp_path) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsInvalid, match="cannot be used"):
        StateDirectory(tmp_path / "file" / "state").create()


def test_half_a_first_start_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".hub-id-x1y2").write_text("")
    assert StateDirectory(tmp_path).create().known_hub_id()


def test_credentials_have_the_documented_keys(state: StateDirectory) -> None:
    credentials = state.credentials(URL)
    values = json.loads((state.path / "credentials.json").read_text())
    assert values == {
        "url": URL,
        "user_password": credentials.user_password,
        "admin_users": ["admin"],
        "admin_password": credentials.admin_password,
    }
    assert len(credentials.user_password) >= 16
    assert len(credentials.admin_password) >= 32
    assert credentials.user_password not in repr(credentials)
    assert credentials.admin_password not in repr(credentials)


def test_passwords_outlive_another_address_and_differ_between_deployments(tmp_path: Path) -> None:
    one, two = (StateDirectory(tmp_path / name).create() for name in "ab")
    first = one.credentials(URL)
    moved = one.credentials("http://127.0.0.1:9000")
    assert moved.user_password == first.user_password
    assert json.loads(one.credentials_file.read_text())["url"] == "http://127.0.0.1:9000"
    assert two.credentials(URL).user_password != first.user_password


@pytest.mark.parametrize("text", ["", "[]", '{"url": 1}', '{"url": "u", "user_password": "x", "admin_users": [], '])
def test_spoilt_credentials_are_made_anew(state: StateDirectory, text: str) -> None:
    state.credentials_file.write_text(text)
    assert len(state.credentials(URL).admin_password) >= 32


def test_a_second_hub_is_refused_with_the_first_one_s_pid(state: StateDirectory) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, state.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(StateDirectoryBusy, match=rf"pid {holder.pid}\b"):
            state.lock()
        assert holder.stdin
        holder.stdin.close()
    state.lock().release()


def test_a_child_holds_the_lock_on_and_can_take_it_over(state: StateDirectory) -> None:
    lock = state.lock()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, state.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[lock.fd],
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == "locked\n"
        lock.release()
        with pytest.raises(StateDirectoryBusy, match=rf"pid {child.pid}\b"):
            state.lock()
        assert child.stdin
        child.stdin.close()
    lock = state.lock()
    assert state.lock_file.read_text() == f"{os.getpid()}\n"
    lock.release()
