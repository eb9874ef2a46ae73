"""Shares that only agreement keeps: real processes in real containers, simulated GPU memory."""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import docker
import pytest

from spawner.errors import LedgerUnavailable
from spawner.gpus.attribution import End, Excess
from spawner.gpus.scenario import Event, GpuSpec, ProcessSpec
from spawner.janitor import watchdog
from spawner.janitor.loops import Loop, Runner
from spawner.janitor.watchdog import watchdog_steps
from spawner.operations import leases
from spawner.policy.ends import notices
from spawner.policy.leases import Lease, LeaseState

from ..support.office import NOW
from ..support.tiny_image import ensure_tiny_image
from ..support.waiting import eventually
from .conftest import Watch

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may end others' processes"),
]
GIB = 1 << 30
GRACE = timedelta(seconds=60)
Start = Callable[[str], str]


@pytest.fixture(scope="module")
def client() -> Iterator[docker.APIClient]:
    connected = docker.APIClient(version="auto")
    yield connected
    connected.close()


@pytest.fixture
def start(client: docker.APIClient) -> Iterator[Start]:
    """Start containers in each of which some processes sleep."""
    image, started = ensure_tiny_image(client), []

    def start(user: str) -> str:
        sleepers = "for n in 1 2 3; do sleep 1000 & done; wait"
        made = client.create_container(image, ["sh", "-c", sleepers], name=f"berth-test-{user}-{secrets.token_hex(4)}")
        started.append(made["Id"])
        client.start(made["Id"])
        eventually(lambda: len(pids(client, made["Id"])) == 3)
        return str(made["Id"])

    yield start
    for container in started:
        client.remove_container(container, force=True)


def pids(client: docker.APIClient, container: str) -> list[int]:
    """The sleeping processes in a container, as the host numbers them."""
    found = client.top(container)
    column = found["Titles"].index("PID")
    return sorted(int(row[column]) for row in found["Processes"] if row[-1] == "sleep 1000")


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of somebody who has no container."""
    started = subprocess.Popen(["sleep", "1000"])
    yield started
    started.kill()
    started.wait()


def alive(pid: int) -> bool:
    status = Path("/proc", str(pid), "status")
    return status.exists() and "State:\tZ" not in status.read_text()


def hold(watch: Watch, user: str, container: str) -> Lease:
    lease = watch.office.granted(user, 1, 24)
    return leases.activate(watch.office.desk, lease.id, container, NOW)


def see(watch: Watch, *processes: tuple[int, float], **more: Any) -> None:
    """Let processes take so many GiB of one GPU of 16, which two people share."""
    specs = tuple(ProcessSpec(pid=pid, memory=int(size * GIB)) for pid, size in processes)
    watch.see(GpuSpec(processes=specs, **more), gpu_shares={"*": 2})


def test_warned_first_and_then_its_largest_process_is_ended(
    watch: Watch, client: docker.APIClient, start: Start, stranger: "subprocess.Popen[bytes]"
) -> None:
    mine, other = start("ann"), start("bob")
    (small, large, idle), others = pids(client, mine), pids(client, other)
    see(watch, (small, 3), (large, 6), (others[0], 7), (stranger.pid, 9))
    lease, well = hold(watch, "ann", mine), hold(watch, "bob", other)
    [warning] = watch.look(watchdog_steps)
    assert warning.text == "warn ann: 9 GiB of GPU memory, its share is 8 GiB"
    assert warning.carry_out()
    told = (
        "Your server takes 9 GiB of GPU memory, its share is 8 GiB. Its largest program is ended at 12:01:00 UTC "
        "unless it takes less."
    )
    assert watch.office.lease(lease.id).warning == told
    # What the server reports of itself does not take it back.
    leases.report(watch.office.desk, lease.id, busy=True, problem="")
    [notice] = notices(watch.office.lease(lease.id), (30,), timedelta(0), timedelta(0), NOW)
    assert (notice.level, notice.text) == ("warning", told)
    watch.office.wait(GRACE - timedelta(seconds=1))
    assert watch.look(watchdog_steps) == []  # said once
    watch.office.wait(timedelta(seconds=1))
    [end] = watch.look(watchdog_steps)
    assert end.text == f"end process {large} of ann: 9 GiB of GPU memory, its share is 8 GiB"
    assert alive(large)
    assert end.carry_out()
    eventually(lambda: not alive(large))
    # Nobody else's, and no other of theirs.
    assert all(map(alive, [small, idle, *others, stranger.pid]))
    assert client.inspect_container(mine)["State"]["Running"]
    assert watch.office.lease(well.id) == well
    # It is gone already where the look was before.
    assert not end.carry_out()


def test_who_takes_less_in_time_is_let_be(watch: Watch, client: docker.APIClient, start: Start) -> None:
    container = start("ann")
    pid = pids(client, container)[0]
    see(watch)
    lease = hold(watch, "ann", container)
    spec = ProcessSpec(pid=pid, memory=9 * GIB, end=30)
    again = ProcessSpec(pid=pid, memory=9 * GIB, begin=90)
    watch.see(GpuSpec(processes=(spec, again)), gpu_shares={"*": 2})
    assert watch.turn(watchdog_steps) == [True]
    watch.office.wait(GRACE)
    [step] = watch.look(watchdog_steps)
    assert step.text == "take back the warning of ann"
    assert step.carry_out()
    assert watch.office.lease(lease.id).warning == ""
    assert watch.look(watchdog_steps) == []
    # Too much again: a warning again, and the whole grace.
    watch.office.wait(timedelta(seconds=30))
    [warning] = watch.look(watchdog_steps)
    assert warning.text.startswith("warn ")
    assert alive(pid)


def test_the_grace_is_the_settings(watch: Watch, client: docker.APIClient, start: Start) -> None:
    container = start("ann")
    watch.settings(leases={"watchdog_seconds": 5})
    see(watch, (pids(client, container)[0], 9))
    hold(watch, "ann", container)
    assert watch.turn(watchdog_steps) == [True]
    watch.office.wait(timedelta(seconds=5))
    [end] = watch.look(watchdog_steps)
    assert end.text.startswith("end process")


def test_a_warning_that_could_not_be_given_ends_nothing(
    watch: Watch, client: docker.APIClient, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = start("ann")
    see(watch, (pids(client, container)[0], 9))
    hold(watch, "ann", container)
    [warning] = watch.look(watchdog_steps)
    file = Path(watch.office.place.url.removeprefix("sqlite:///"))
    watch.office.ledger.close()
    file.rename(file.with_name("hidden"))
    with pytest.raises(LedgerUnavailable):
        warning.carry_out()
    file.with_name("hidden").rename(file)
    watch.office.wait(2 * GRACE)
    [warning] = watch.look(watchdog_steps)
    assert warning.text.startswith("warn ")
    # Nor does looking alone warn anybody.
    watch.office.wait(2 * GRACE)
    [warning] = watch.look(watchdog_steps)
    assert warning.text.startswith("warn ")


def test_a_janitor_that_was_started_anew_warns_again(watch: Watch, client: docker.APIClient, start: Start) -> None:
    container = start("ann")
    see(watch, (pids(client, container)[0], 9))
    hold(watch, "ann", container)
    assert watch.turn(watchdog_steps) == [True]
    watchdog._OVER.clear()
    watch.office.wait(2 * GRACE)
    [warning] = watch.look(watchdog_steps)
    assert warning.text.startswith("warn ")


def test_what_cannot_be_read_is_no_excess(watch: Watch, client: docker.APIClient, start: Start) -> None:
    container = start("ann")
    see(watch, (pids(client, container)[0], 9), events=(Event(at=30, what="lost"),))
    hold(watch, "ann", container)
    assert watch.turn(watchdog_steps) == [True]
    watch.office.wait(2 * GRACE)
    assert watch.look(watchdog_steps) == []


@pytest.mark.parametrize("how", ["in another container", "in none", "gone"])
def test_never_another_process(
    watch: Watch, client: docker.APIClient, start: Start, stranger: "subprocess.Popen[bytes]", how: str
) -> None:
    """A pid that was the container's at the look may be anybody's a moment later."""
    mine, other = start("ann"), start("bob")
    see(watch)
    lease = hold(watch, "ann", mine)
    match how:
        case "in another container":
            pid = pids(client, other)[0]
        case "in none":
            pid = stranger.pid
        case "gone":
            gone = subprocess.Popen(["true"])
            gone.wait()
            pid = gone.pid
    excess = Excess(lease.slots[0], mine, 9 * GIB, 8 * GIB, NOW)
    assert not watchdog._end(End(excess, pid))
    assert all(map(alive, [*pids(client, other), stranger.pid]))
    assert len(pids(client, other)) == 3


@pytest.mark.parametrize("state", [LeaseState.PENDING, LeaseState.RELEASING])
def test_servers_that_are_coming_or_going_are_let_be(
    watch: Watch, client: docker.APIClient, start: Start, state: LeaseState
) -> None:
    container = start("ann")
    see(watch, (pids(client, container)[0], 9))
    lease = watch.office.granted("ann", 1, 24)
    leases.bind(watch.office.desk, lease.id, container)
    if state is LeaseState.RELEASING:
        leases.activate(watch.office.desk, lease.id, container, NOW)
        leases.release(watch.office.desk, lease.id, "stopped")
    assert watch.look(watchdog_steps) == []


def test_whole_gpus_are_nobodys_business(watch: Watch, client: docker.APIClient, start: Start) -> None:
    container = start("ann")
    watch.see(GpuSpec(processes=(ProcessSpec(pid=pids(client, container)[0], memory=16 * GIB),)))
    hold(watch, "ann", container)
    assert watch.look(watchdog_steps) == []


def test_by_the_loop_from_the_warning_to_the_end(watch: Watch, client: docker.APIClient, start: Start) -> None:
    container = start("ann")
    pid = pids(client, container)[0]
    see(watch, (pid, 9))
    hold(watch, "ann", container)
    runner = Runner(watch.post, Loop("watchdog", watchdog_steps, 15.0), "here")
    for _ in range(4):
        assert runner.turn()
        watch.office.wait(timedelta(seconds=15))
        assert alive(pid)
    assert runner.turn()
    eventually(lambda: not alive(pid))
