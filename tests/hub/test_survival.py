"""What users keep when the hub, a container or the engine's answers fail them."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from ..support.berth import Berth, containers_of, deployment, eventually

pytestmark = [pytest.mark.docker, pytest.mark.image, pytest.mark.hub]


def _answers(berth: Berth, user: str) -> bool:
    """Tell whether a user's server is reached through the proxy: it asks whoever has no token to sign in."""
    response = requests.get(f"{berth.url}/user/{user}/api", timeout=10, allow_redirects=False)
    return response.status_code == 200 and "version" in response.json()


def test_hub_killed_while_ten_servers_start(engine: docker.DockerClient, tmp_path: Path) -> None:
    users = [f"user{number}" for number in range(10)]
    with deployment(tmp_path) as berth:
        with berth.hub() as pid:
            for user in users:
                berth.add_user(user)
            # One is up before, so that the kill meets servers in every state.
            assert berth.start_server(users[0]).status_code == 201
            requesters = [
                threading.Thread(target=_start_unheard, args=(berth, user), daemon=True) for user in users[1:]
            ]
            for requester in requesters:
                requester.start()
            eventually(lambda: len(containers_of(engine, berth)) >= 4)
            berth.kill_hub(pid)
            for requester in requesters:
                requester.join()
        volumes = {volume.name for volume in _homes(engine, berth)}
        with berth.hub():
            for user in users:
                eventually(lambda user=user: berth.settled(user), 120)  # type: ignore[misc]
            for user in users:
                running = [each for each in containers_of(engine, berth, user) if each.status == "running"]
                left = containers_of(engine, berth, user)
                if berth.ready(user):
                    assert len(running) == 1
                    assert _answers(berth, user)
                else:
                    assert left == [], f"{user}: {[each.status for each in left]}"
            assert berth.ready(users[0])
            assert volumes <= {volume.name for volume in _homes(engine, berth)}
            # Whoever has none gets one now; whoever has one can stop it.
            without = next((user for user in users if not berth.ready(user)), None)
            if without is not None:
                assert berth.start_server(without).status_code == 201
            assert berth.api("DELETE", f"users/{users[0]}/server").status_code in {202, 204}
            eventually(lambda: containers_of(engine, berth, users[0]) == [])


def _start_unheard(berth: Berth, user: str, options: object = None) -> None:
    with contextlib.suppress(requests.RequestException):  # the hub is killed under it
        berth.start_server(user, options)


def _homes(engine: docker.DockerClient, berth: Berth) -> list[Any]:
    return list(engine.volumes.list(filters={"label": f"berth.hub={berth.state.hub_id}"}))


def test_server_survives_a_restart_of_the_hub(engine: docker.DockerClient, tmp_path: Path) -> None:
    with deployment(tmp_path) as berth:
        with berth.hub():
            berth.add_user("ann")
            assert berth.start_server("ann").status_code == 201
            before = containers_of(engine, berth, "ann")[0].id
        assert containers_of(engine, berth, "ann")[0].status == "running"
        with berth.hub():
            eventually(lambda: berth.ready("ann"))
            assert containers_of(engine, berth, "ann")[0].id == before
            assert _answers(berth, "ann")


def test_a_start_that_took_long_to_stop_leaves_nothing_in_the_way(engine: docker.DockerClient, tmp_path: Path) -> None:
    profiles = [{"slug": "slow", "name": "Slow", "cpu": 0.1, "memory": "1 GiB", "gpus": 0}]
    with deployment(tmp_path, BERTH_PROFILES=json.dumps(profiles)) as berth, berth.hub() as pid:
        berth.add_user("ann")
        starting = threading.Thread(target=_start_unheard, args=(berth, "ann", {"profile": "slow"}), daemon=True)
        starting.start()
        eventually(lambda: any(one.status == "running" for one in containers_of(engine, berth, "ann")))
        told: list[int] = []
        stopping = threading.Thread(target=lambda: told.append(berth.api("DELETE", "users/ann/server").status_code))
        # A hub that is busy for longer than the second it gives a start to end, from just after it has begun to.
        os.kill(pid, signal.SIGSTOP)
        stopping.start()
        time.sleep(0.3)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.06)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(2)
        os.kill(pid, signal.SIGCONT)
        stopping.join()
        starting.join()
        assert told[0] in {202, 204, 500}
        eventually(lambda: containers_of(engine, berth, "ann") == [])
        eventually(lambda: not berth.ready("ann") and berth.settled("ann"), 20)
        assert berth.api("DELETE", "users/ann").status_code == 204


@pytest.fixture
def ann(berth: Berth, engine: docker.DockerClient) -> str:
    if not berth.api("GET", "users/ann").ok:
        berth.add_user("ann")
    if not berth.ready("ann"):
        assert berth.start_server("ann").status_code == 201
    return "ann"


def test_death_of_a_container_is_noticed_at_once_and_cleaned_up(
    berth: Berth, engine: docker.DockerClient, ann: str
) -> None:
    containers_of(engine, berth, ann)[0].kill()
    killed = time.monotonic()
    eventually(lambda: berth.servers(ann) == {}, 20)
    assert time.monotonic() - killed < 20, "that is the poll's, not the event's doing"
    eventually(lambda: containers_of(engine, berth, ann) == [])


def test_home_is_shared_by_named_servers_and_survives_them(berth: Berth, engine: docker.DockerClient, ann: str) -> None:
    assert berth.start_server(ann, server="second").status_code == 201
    first, second = sorted(containers_of(engine, berth, ann), key=lambda each: each.labels["berth.server"])
    assert first.exec_run(["sh", "-c", "echo kept > ~/note"]).exit_code == 0
    assert second.exec_run(["cat", "/home/jovyan/note"]).output == b"kept\n"
    for path in ("server", "servers/second"):
        assert berth.api("DELETE", f"users/{ann}/{path}").status_code in {202, 204}
    eventually(lambda: containers_of(engine, berth, ann) == [])
    assert berth.start_server(ann).status_code == 201
    assert containers_of(engine, berth, ann)[0].exec_run(["cat", "/home/jovyan/note"]).output == b"kept\n"
