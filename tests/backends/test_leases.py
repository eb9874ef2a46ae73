"""Leases around real containers: every way a server can end or be cut off, and the ledger tells the truth after it."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound
from jupyterhub.spawner import SpawnException

from spawner.backends import desks
from spawner.engine import containers
from spawner.engine.containers import USER_LABEL
from spawner.engine.observe import observe
from spawner.engine.view import HUB_LABEL
from spawner.engine.volumes import home_volume, make_volume
from spawner.ledger import Ledger
from spawner.operations import inventory, leases, offers, repairs, usage
from spawner.operations.desk import Desk
from spawner.policy.gpus import LOCAL_NODE
from spawner.policy.leases import Lease, LeaseState
from spawner.policy.names import home_volume_name
from spawner.policy.reconcile import Grace, Seen, reconcile
from spawner.settings import LeaseSettings, LimitSettings

from ..support.berth import environment_of
from ..support.flaky_engine import FlakyEngine
from ..support.slots import gpus
from ..support.waiting import soon
from .conftest import Counted, MakeSpawner

pytestmark = pytest.mark.docker

GPU = {"slug": "gpu", "name": "GPU", "cpu": 0.5, "memory": "64 MiB", "shm": "2 MiB", "gpus": 1}
MakeGpuSpawner = Callable[..., Any]


@pytest.fixture
def ledger_url(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = Ledger(url)
    ledger.upgrade()
    desk = Desk(ledger, LimitSettings().rules(), LeaseSettings().rules())
    inventory.sync(desk, LOCAL_NODE, *gpus(2))
    yield url
    ledger.close()
    for key in [key for key in desks._DESKS if key[0] == url]:
        desks._DESKS.pop(key).ledger.close()


@pytest.fixture
def make(make_spawner: MakeSpawner, ledger_url: str) -> MakeGpuSpawner:
    """Make spawners whose users ask for a GPU."""

    def made(user: str = "ann", **traits: Any) -> Any:
        options = {"profile": "gpu", **traits.pop("options", {})}
        values: dict[str, Any] = {
            "profiles": [GPU],
            "ledger_url": ledger_url,
            "leases": {"wait_seconds": traits.pop("wait", 3)},
            **traits,
        }
        spawner = make_spawner(user, **values)
        spawner.user_options = options
        return spawner

    return made


def open_leases(spawner: Any) -> list[Lease]:
    return repairs.open_leases(spawner.desk)


def _move(source: str, target: str) -> None:
    Path(source).rename(target)


def booked_ms(spawner: Any) -> int:
    desk = spawner.desk
    return sum(usage.totals(desk, "user", datetime.now(UTC) - timedelta(days=1)).values())


def repair(spawner: Any, client: docker.APIClient, hub_began: datetime | None = None) -> list[Any]:
    """Reconcile as the janitor does; give what was repaired, and check that a second look finds nothing to do."""
    desk, done = spawner.desk, []
    for turn in range(2):
        looked_at = datetime.now(UTC)
        seen = observe(client, spawner.hub_id)
        grace = Grace(timedelta(seconds=3600), timedelta(0), hub_began)
        plan = reconcile(repairs.open_leases(desk), seen, grace, looked_at, datetime.now(UTC))
        real = [one for one in plan if not isinstance(one, Seen)]
        if turn:
            assert real == []
        for one in plan:
            if hasattr(one, "container") and type(one).__name__ == "Remove":
                containers.remove(client, one.container.id)
            else:
                repairs.apply(desk, one)
        done += real
    return done


async def test_a_server_with_a_gpu_from_start_to_stop(
    client: docker.APIClient, make: MakeGpuSpawner, counted: Counted
) -> None:
    spawner = make()
    await spawner.start()
    phases = {f"phase {name}": 1 for name in ("claim", "pull", "create", "ready", "total")}
    assert counted() == {"request granted": 1, "start ready": 1, **phases}
    [lease] = open_leases(spawner)
    answer = client.inspect_container(spawner.object_id)
    assert (lease.state, lease.user, lease.container) == (LeaseState.ACTIVE, "ann", spawner.object_id)
    assert answer["Config"]["Labels"]["berth.lease"] == lease.id
    assert answer["Config"]["Labels"]["berth.slots"] == ",".join(lease.slots)
    environment = environment_of(answer)
    assert environment["BERTH_GPU_COUNT"] == "1"
    assert environment["BERTH_GPU_SIMULATED"] == "1"
    assert environment["BERTH_SIMULATED_GPUS"] == lease.slots[0]
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert spawner.get_state()["lease"] == lease.id
    await spawner.stop()
    assert open_leases(spawner) == []
    assert "lease" not in spawner.get_state()
    # To the millisecond what the engine says of the container's life.
    closed = leases.of_server(spawner.desk, "ann", "")
    assert closed is None
    assert lease.started_at is not None
    assert 0 < booked_ms(spawner) < 60_000


async def test_what_is_booked_is_the_engines_own_time(client: docker.APIClient, make: MakeGpuSpawner) -> None:
    spawner = make()
    await spawner.start()
    container = spawner.object_id
    [lease] = open_leases(spawner)
    client.kill(container)
    client.wait(container)
    await soon(lambda: not spawner.view.current(container).running)
    state = client.inspect_container(container)["State"]
    finished = datetime.fromisoformat(state["FinishedAt"][:26] + "+00:00")
    assert await spawner.poll() == 137
    await spawner.run_post_stop_hook()
    assert lease.started_at is not None
    assert abs(booked_ms(spawner) - (finished - lease.started_at) / timedelta(milliseconds=1)) <= 1


async def test_without_gpus_no_lease_and_no_devices(client: docker.APIClient, make: MakeGpuSpawner) -> None:
    spawner = make(options={"gpus": 0})
    await spawner.start()
    assert open_leases(spawner) == []
    answer = client.inspect_container(spawner.object_id)
    assert not {"berth.lease", "berth.slots"} & set(answer["Config"]["Labels"])
    assert "NVIDIA_VISIBLE_DEVICES=void" in answer["Config"]["Env"]
    await spawner.stop()


async def test_a_failed_start_leaves_no_lease_and_costs_nothing(make: MakeGpuSpawner) -> None:
    spawner = make(environment={"BEHAVE": "exit"})
    with pytest.raises(SpawnException, match="exit code 3"):
        await spawner.start()
    await soon(lambda: not open_leases(spawner))
    assert booked_ms(spawner) == 0


async def test_a_start_that_is_cancelled_gives_its_gpu_back(client: docker.APIClient, make: MakeGpuSpawner) -> None:
    spawner = make(environment={"BEHAVE": "mute"})
    starting = asyncio.ensure_future(spawner.start())
    await soon(lambda: bool(spawner.object_id))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await soon(lambda: not open_leases(spawner))
    with pytest.raises(NotFound):
        client.inspect_container(spawner.container_name)


@pytest.mark.parametrize("held", [0, 2])
async def test_a_start_that_is_cancelled_while_the_ledger_decides(
    make: MakeGpuSpawner, held: int, counted: Counted
) -> None:
    """The ledger grants the lease, or draws the ticket, after nobody wants it any more."""
    for name in ("ann", "bob")[:held]:
        await make(name).start()
    spawner = make("eve")
    with spawner.desk.ledger.transaction():
        starting = asyncio.ensure_future(spawner.start())
        await asyncio.sleep(0.5)
        starting.cancel()
        # The hub waits for one second, and not longer.
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(starting, 1)
    assert counted()["request cancelled"] == counted()["start cancelled"] == 1
    await asyncio.sleep(1)  # a decision that nobody waits for would come now
    assert len(open_leases(spawner)) == held
    assert offers.whole_queue(spawner.desk) == []


async def test_a_dead_container_that_never_reaches_stop(client: docker.APIClient, make: MakeGpuSpawner) -> None:
    """The hub polls first and then skips `stop`; only the post-stop hook is called."""
    spawner = make()
    await spawner.start()
    client.kill(spawner.object_id)
    client.wait(spawner.object_id)
    await soon(lambda: not spawner.view.current(spawner.object_id).running)
    assert await spawner.poll() == 137
    await spawner.run_post_stop_hook()
    spawner.clear_state()
    assert open_leases(spawner) == []


async def test_a_container_that_somebody_removed(client: docker.APIClient, make: MakeGpuSpawner) -> None:
    spawner = make()
    await spawner.start()
    client.remove_container(spawner.object_id, force=True)
    await soon(lambda: spawner.view.current(spawner.object_id) is None)
    assert await spawner.poll() == 0
    await spawner.run_post_stop_hook()
    assert open_leases(spawner) == []


async def test_an_engine_that_answers_500_frees_no_gpu(
    client: docker.APIClient, make: MakeGpuSpawner, flaky: FlakyEngine
) -> None:
    spawner = make()
    await spawner.start()
    [lease] = open_leases(spawner)
    flaky.answer("/containers/", 500)
    assert await spawner.poll() is None
    stopping = asyncio.ensure_future(spawner.stop())
    await asyncio.sleep(1.5)
    [still] = open_leases(spawner)
    assert (still.id, still.state) == (lease.id, LeaseState.RELEASING)
    assert client.inspect_container(spawner.container_name)["State"]["Running"]
    flaky.heal()
    await stopping
    assert open_leases(spawner) == []


async def test_two_users_for_one_gpu_the_second_waits_and_is_served(make: MakeGpuSpawner) -> None:
    first, second, third = make("ann"), make("bob"), make("eve", wait=20)
    await first.start()
    await second.start()
    starting = asyncio.ensure_future(third.start())
    steps: list[dict[str, Any]] = []

    async def follow() -> None:
        steps.extend([step async for step in third.progress()])

    await asyncio.sleep(0)
    following = asyncio.ensure_future(follow())
    await asyncio.sleep(2)
    assert not starting.done()
    [freed] = [lease.slots for lease in open_leases(first) if lease.user == "ann"]
    await first.stop()
    await starting
    await following
    assert any(str(step["message"]).startswith("Number 1 of 1 in the queue; likely at ") for step in steps)
    assert [lease.slots for lease in open_leases(first) if lease.user == "eve"] == [freed]
    held = [slot for lease in open_leases(first) for slot in lease.slots]
    assert len(held) == len(set(held)) == 2
    await second.stop()
    await third.stop()


async def test_a_start_that_waited_long_enough_hands_over_and_keeps_its_place(
    make: MakeGpuSpawner, counted: Counted
) -> None:
    spawners = [make(name, wait=1) for name in ("ann", "bob", "eve")]
    await spawners[0].start()
    await spawners[1].start()
    with pytest.raises(SpawnException, match="number 1 in the queue") as refused:
        await spawners[2].start()
    assert refused.value.reason == "queued"
    found = counted()
    assert (found["request granted"], found["request queued busy"]) == (2, 1)
    assert (found["start ready"], found["start queued queued"], found["phase claim"]) == (2, 1, 2)
    await spawners[0].stop()
    [offered] = [lease for lease in open_leases(spawners[0]) if lease.user == "eve"]
    assert offered.state is LeaseState.OFFERED
    await spawners[2].start()
    [taken] = [lease for lease in open_leases(spawners[0]) if lease.user == "eve"]
    assert (taken.id, taken.state) == (offered.id, LeaseState.ACTIVE)
    for spawner in spawners[1:]:
        await spawner.stop()


@pytest.mark.parametrize(("if_busy", "code"), [("refuse", "busy"), ("cpu", "")])
async def test_those_who_do_not_want_to_wait(make: MakeGpuSpawner, if_busy: str, code: str, counted: Counted) -> None:
    holders = [make(name) for name in ("ann", "bob")]
    for holder in holders:
        await holder.start()
    other = make("eve", options={"if_busy": if_busy})
    if code:
        with pytest.raises(SpawnException) as refused:
            await other.start()
        assert refused.value.reason == code
        assert counted()["request denied busy"] == counted()["start refused busy"] == 1
    else:
        await other.start()
        assert (counted()["request on_cpu busy"], counted()["start ready"]) == (1, 3)
        assert len(open_leases(other)) == 2
        messages = [step["message"] async for step in other.progress()]
        assert any(str(message).startswith("Started without GPUs: ") for message in messages)
        await other.stop()
    for holder in holders:
        await holder.stop()


async def test_more_than_the_quota_is_refused(make: MakeGpuSpawner) -> None:
    spawner = make(options={"gpus": 2})
    with pytest.raises(SpawnException) as refused:
        await spawner.start()
    assert (refused.value.reason, refused.value.status_code) == ("over_limit", 403)
    assert open_leases(spawner) == []


# --- a hub that dies at any instruction --------------------------------------------------------------------------


async def test_killed_between_claim_and_container(client: docker.APIClient, make: MakeGpuSpawner) -> None:
    before = make()
    request, grant = await before._admitted()
    await before.lease_gpus(grant, request)
    [lease] = open_leases(before)
    assert lease.state is LeaseState.PENDING
    assert repair(before, client) == []  # it may be starting
    [released] = repair(before, client, hub_began=datetime.now(UTC))
    assert type(released).__name__ == "Release"
    assert open_leases(before) == []
    assert booked_ms(before) == 0


async def test_killed_between_container_and_active(client: docker.APIClient, make: MakeGpuSpawner) -> None:
    before = make()
    await before.start()
    [lease] = open_leases(before)
    # As if the last step had not come to pass.
    with before.desk.ledger.transaction() as books:
        found = books.leases.get(lease.id)
        books.leases.update(replace(found, state=LeaseState.PENDING, started_at=None), found)
    after = make()
    after.clear_state()
    assert await after.poll() is None
    assert after.object_id == before.object_id
    [taken_back] = open_leases(after)
    assert (taken_back.state, taken_back.started_at) == (LeaseState.ACTIVE, lease.started_at)
    assert after.get_state()["lease"] == lease.id
    await after.stop()
    assert open_leases(after) == []


async def test_killed_during_a_stop(client: docker.APIClient, make: MakeGpuSpawner) -> None:
    before = make()
    await before.start()
    await before.lease_ending(before.lease_id, "stopped")
    # The hub is gone; nobody stops the container.
    kinds = [type(one).__name__ for one in repair(before, client)]
    assert kinds == ["Remove", "Release"]
    assert open_leases(before) == []
    assert booked_ms(before) > 0


async def test_the_next_start_ends_what_a_lost_one_left(client: docker.APIClient, make: MakeGpuSpawner) -> None:
    before = make()
    await before.start()
    old = before.object_id
    [lost] = open_leases(before)
    after = make()
    after.clear_state()
    await after.start()
    [lease] = open_leases(after)
    assert lease.id != lost.id
    with pytest.raises(NotFound):
        client.inspect_container(old)
    assert client.inspect_container(after.object_id)["Config"]["Labels"]["berth.lease"] == lease.id
    await after.stop()


# --- a ledger that is away ---------------------------------------------------------------------------------------


async def test_no_ledger_no_gpu_and_a_clear_reason(make: MakeGpuSpawner, tmp_path: Path, counted: Counted) -> None:
    spawner = make(ledger_url=f"sqlite:///{tmp_path / 'gone' / 'ledger.sqlite'}")
    with pytest.raises(SpawnException) as refused:
        await spawner.start()
    assert refused.value.reason in {"ledger_unavailable", "ledger_outdated"}
    assert counted() == {f"request failed {refused.value.reason}": 1, f"start failed {refused.value.reason}": 1}
    assert not spawner.object_id


async def test_a_ledger_that_is_locked_refuses_and_is_well_again(make: MakeGpuSpawner, ledger_url: str) -> None:
    spawner = make()
    holder = sqlite3.connect(ledger_url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(SpawnException) as refused:
            await spawner.start()
        assert refused.value.reason == "ledger_unavailable"
        assert not spawner.object_id
        holder.execute("ROLLBACK")
        await spawner.start()
        assert len(open_leases(spawner)) == 1
        await spawner.stop()
    finally:
        holder.close()


async def test_servers_without_gpus_start_while_the_ledger_is_away(
    make: MakeGpuSpawner, tmp_path: Path, client: docker.APIClient
) -> None:
    spawner = make("newcomer", ledger_url=f"sqlite:///{tmp_path / 'gone' / 'ledger.sqlite'}", options={"gpus": 0})
    home = home_volume_name(spawner.hub_id, spawner.user.name)
    # Its owner's files may be in the archive: an empty home is not to take their place.
    with pytest.raises(SpawnException, match="Whether you have a home in the archive cannot be told") as refused:
        await spawner.start()
    assert refused.value.reason in {"ledger_unavailable", "ledger_outdated"}
    assert home_volume(client, home) is None
    make_volume(client, home, {HUB_LABEL: spawner.hub_id, USER_LABEL: spawner.user.name})
    await spawner.start()
    assert await spawner.poll() is None
    await spawner.stop()


async def test_a_ledger_that_goes_while_a_server_runs_disturbs_nobody(
    make: MakeGpuSpawner, ledger_url: str, client: docker.APIClient
) -> None:
    spawner = make()
    await spawner.start()
    path = ledger_url.removeprefix("sqlite:///")
    spawner.desk.ledger.close()
    _move(path, f"{path}.hidden")
    assert await spawner.poll() is None
    stopping = asyncio.ensure_future(spawner.stop())
    await stopping
    with pytest.raises(NotFound):
        client.inspect_container(spawner.container_name)
    _move(f"{path}.hidden", path)
    await soon(lambda: not open_leases(spawner), 30)
    assert booked_ms(spawner) > 0
