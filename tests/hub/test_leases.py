"""Leases in a whole hub: the queue's own starts, the end of a lease, a janitor that dies."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from spawner.operations import leases, offers, usage
from spawner.operations.desk import utc_now
from spawner.policy.leases import LeaseState
from spawner.policy.model import AtEnd

from ..exporter.scenes import Scrape
from ..support.berth import Berth, containers_of, deployment, eventually
from ..support.ledger_of import lease_of, ledger_of, loops, open_leases
from ..support.processes import processes_of

pytestmark = [pytest.mark.hub, pytest.mark.docker, pytest.mark.image]

RULES = {"wait_seconds": 2, "offer_minutes": 1}
PROFILES = [
    {"slug": "cpu", "name": "CPU", "cpu": 1, "memory": "1 GiB", "gpus": 0},
    {"slug": "gpu", "name": "GPU", "cpu": 1, "memory": "1 GiB", "gpus": 1},
]


@pytest.fixture
def gpus(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Berth]:
    """A hub with one simulated GPU."""
    variables = {
        "BERTH_GPUS": "sim:1",
        "BERTH_LEASES": json.dumps(RULES),
        "BERTH_PROFILES": json.dumps(PROFILES),
    }
    with deployment(tmp_path, **variables) as berth, berth.hub():
        eventually(lambda: {"inventory", "reconcile"} <= set(loops(berth)))
        yield berth


def start(berth: Berth, user: str) -> None:
    berth.add_user(user)
    berth.start_server(user, {"profile": "gpu"}).raise_for_status()
    eventually(lambda: berth.ready(user))


def test_the_queue_starts_servers_by_itself(gpus: Berth, engine: docker.DockerClient) -> None:
    start(gpus, "ann")
    # The start gives up holding a place among the starting servers; its ticket stays.
    gpus.add_user("bob")
    refused = gpus.start_server("bob", {"profile": "gpu"})
    assert (refused.status_code, refused.reason) == (409, "queued")
    assert "number 1 in the queue" in refused.json()["message"]
    gpus.api("DELETE", "users/ann/server").raise_for_status()
    eventually(lambda: gpus.ready("bob"))
    [lease] = open_leases(gpus)
    [container] = containers_of(engine, gpus)
    assert (lease.user, lease.state) == ("bob", LeaseState.ACTIVE)
    assert container.labels["berth.lease"] == lease.id
    # The exporter, which the hub has started, knows it from the container.
    told = Scrape(gpus.scrape(gpus.exporter_metrics))
    assert told.one("berth_lease_info", lease=lease.id, user="bob", gpu=lease.slots[0]) == 1
    assert told.one("berth_lease_gpu_processes", lease=lease.id) == 1


def test_at_the_end_of_a_lease_the_work_goes_on_without_the_gpu(gpus: Berth, engine: docker.DockerClient) -> None:
    start(gpus, "ann")
    [before] = containers_of(engine, gpus)
    lease = lease_of(gpus, "ann")
    assert lease is not None
    with ledger_of(gpus) as desk:
        leases.end(desk, lease.id, "an admin", "a test")
    eventually(lambda: lease_of(gpus, "ann") is None and gpus.ready("ann") and gpus.settled("ann"))
    [after] = containers_of(engine, gpus)
    assert after.id != before.id
    assert "berth.lease" not in after.labels
    with ledger_of(gpus) as desk:
        assert [entry.action for entry in usage.audit(desk)] == ["lease.end"]
        [closed] = usage.leases(desk, everything=True, user="ann")
    assert closed.ending == "ended_by_admin"


def test_at_the_end_of_a_lease_the_server_stops_if_so_chosen(gpus: Berth, engine: docker.DockerClient) -> None:
    start(gpus, "ann")
    lease = lease_of(gpus, "ann")
    assert lease is not None
    with ledger_of(gpus) as desk:
        leases.choose_at_end(desk, lease.id, AtEnd.STOP)
        leases.end(desk, lease.id, "an admin", "a test")
    eventually(lambda: not open_leases(gpus) and gpus.settled("ann") and not gpus.servers("ann"))
    assert containers_of(engine, gpus) == []


def test_an_offer_that_nobody_takes_goes_to_the_next(gpus: Berth) -> None:
    start(gpus, "ann")
    with ledger_of(gpus) as desk:
        for user in ("bob", "eve"):
            gpus.add_user(user)
            assert gpus.start_server(user, {"profile": "gpu"}).status_code == 409
        offers.cancel(desk, "bob", "")
    gpus.api("DELETE", "users/ann/server").raise_for_status()
    eventually(lambda: gpus.ready("eve"))
    assert [lease.user for lease in open_leases(gpus)] == ["eve"]


def test_a_janitor_that_is_killed_comes_back(gpus: Berth) -> None:
    [janitor] = processes_of("spawner.janitor", gpus.state.path)
    os.kill(janitor, signal.SIGKILL)
    killed_at = utc_now()

    def again() -> bool:
        succeeded = loops(gpus)["offers"].succeeded_at
        return succeeded is not None and succeeded > killed_at

    eventually(again, 90)
    assert processes_of("spawner.janitor", gpus.state.path) != [janitor]


def test_the_janitor_ends_with_its_hub(engine: docker.DockerClient, tmp_path: Path) -> None:
    with deployment(tmp_path, BERTH_GPUS="sim:1") as berth, berth.hub() as pid:
        eventually(lambda: processes_of("spawner.janitor", berth.state.path))
        berth.kill_hub(pid)
        eventually(lambda: processes_of("spawner.janitor", berth.state.path) == [], 30)


def test_hub_killed_while_a_server_with_a_gpu_starts(engine: docker.DockerClient, tmp_path: Path) -> None:
    variables = {"BERTH_GPUS": "sim:2", "BERTH_PROFILES": json.dumps(PROFILES)}
    with deployment(tmp_path, **variables) as berth:
        with berth.hub() as pid:
            eventually(lambda: "inventory" in loops(berth))
            for user in ("ann", "bob"):
                berth.add_user(user)
            with contextlib.suppress(Exception):
                berth.api("POST", "users/ann/server", {"profile": "gpu"}, timeout=0.7)
            eventually(lambda: open_leases(berth))
            berth.kill_hub(pid)
            time.sleep(0.5)
        with berth.hub():

            def settled() -> bool:
                held = {lease.id for lease in open_leases(berth) if lease.state is LeaseState.ACTIVE}
                running = {one.labels.get("berth.lease") for one in containers_of(engine, berth)}
                return held == running and len(held) == len(open_leases(berth))

            eventually(settled, 60)
            berth.start_server("bob", {"profile": "gpu"}).raise_for_status()
            held = [slot for lease in open_leases(berth) for slot in lease.slots]
            assert len(held) == len(set(held))
