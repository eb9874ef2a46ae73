"""GPU containers through the real spawner, on an engine whose NVIDIA driver is simulated."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound
from jupyterhub.spawner import SpawnException

from spawner.backends import desks
from spawner.engine.network import remove_network
from spawner.ledger import Ledger
from spawner.operations import inventory, repairs, usage
from spawner.operations.desk import Desk
from spawner.policy.gpus import LOCAL_NODE, Gpu, GpuState, Isolation, Slot, SlotKind
from spawner.settings import LeaseSettings, LimitSettings

from ..support.nvidia.engine import GPUS, MIGS, GpuEngine
from ..support.tiny_image import run_inside
from ..support.waiting import soon
from .conftest import MakeSpawner

pytestmark = [pytest.mark.docker, pytest.mark.nvml]

MODEL = "NVIDIA A100-SXM4-40GB"
MEMORY = 40 << 30
_SIZE = {"cpu": 0.5, "memory": "64 MiB", "processes": 50, "shm": "2 MiB", "open_files": 256}
PROFILES = [
    {"slug": "gpu", "name": "GPU", "gpus": 1, **_SIZE},
    {"slug": "pair", "name": "Two GPUs", "gpus": 2, **_SIZE},
    {"slug": "cpu", "name": "CPU", "gpus": 0, **_SIZE},
]
LIMITS = {"default": {"gpus": 4}}
MakeGpuSpawner = Callable[..., Any]


def whole(uuids: Sequence[str] = GPUS) -> tuple[list[Gpu], list[Slot]]:
    """Lay out GPUs that look real, each leased as a whole."""
    gpus = [Gpu(uuid, LOCAL_NODE, GPUS.index(uuid), MODEL, MEMORY, driver="550.54.15") for uuid in uuids]
    slots = [
        Slot(gpu.uuid, gpu.uuid, LOCAL_NODE, SlotKind.EXCLUSIVE, MODEL, MEMORY, Isolation.HARDWARE, gpu.uuid)
        for gpu in gpus
    ]
    return gpus, slots


def in_instances() -> tuple[list[Gpu], list[Slot]]:
    """Lay out one GPU in MIG mode."""
    [gpu], _ = whole(GPUS[:1])
    slots = [
        Slot(uuid, gpu.uuid, LOCAL_NODE, SlotKind.MIG, MODEL, MEMORY // 2, Isolation.HARDWARE, uuid) for uuid in MIGS
    ]
    return [gpu], slots


def shared(isolation: Isolation, count: int = 2) -> tuple[list[Gpu], list[Slot]]:
    """Lay out one GPU that is shared."""
    [gpu], _ = whole(GPUS[1:2])
    slots = [
        Slot(f"{gpu.uuid}:{n}", gpu.uuid, LOCAL_NODE, SlotKind.SHARED, MODEL, MEMORY // count, isolation, gpu.uuid)
        for n in range(count)
    ]
    return [gpu], slots


@pytest.fixture(autouse=True)
def in_the_engines_network(gpu_engine: GpuEngine) -> Iterator[None]:
    with gpu_engine.entered():
        yield


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = Ledger(url)
    ledger.upgrade()
    yield Desk(ledger, LimitSettings().rules(), LeaseSettings().rules())
    ledger.close()
    for key in [key for key in desks._DESKS if key[0] == url]:
        desks._DESKS.pop(key).ledger.close()


@pytest.fixture
async def make(
    gpu_engine: GpuEngine, make_spawner: MakeSpawner, desk: Desk, tmp_path: Path, hub_id: str
) -> AsyncIterator[MakeGpuSpawner]:
    """Make spawners on that engine whose users ask for GPUs."""
    made: list[Any] = []

    def make(user: str = "ann", profile: str = "gpu", **traits: Any) -> Any:
        values: dict[str, Any] = {
            "profiles": PROFILES,
            "limits": LIMITS,
            "ledger_url": f"sqlite:///{tmp_path / 'ledger.sqlite'}",
            "leases": {"wait_seconds": 0},
            "image": gpu_engine.image_that_counts(),
            "pull": "never",
            "client_kwargs": {"base_url": gpu_engine.url},
            **traits,
        }
        made.append(make_spawner(user, **values))
        made[-1].user_options = {"profile": profile}
        return made[-1]

    yield make
    for spawner in made:
        if spawner._removal is not None:
            await spawner._removal
        with contextlib.suppress(NotFound):
            gpu_engine.client.remove_container(spawner.container_name, force=True, v=True)
    for volume in gpu_engine.client.volumes(filters={"label": f"berth.hub={hub_id}"})["Volumes"] or []:
        gpu_engine.client.remove_volume(volume["Name"], force=True)
    remove_network(gpu_engine.client, hub_id)


def nodes(engine: GpuEngine, spawner: Any) -> list[str]:
    """List the device nodes of GPUs in a server's container."""
    listed = run_inside(engine.client, spawner.object_id, "ls", "/dev")[1].split()
    return sorted(name for name in listed if name.startswith("nvidia"))


def environment(engine: GpuEngine, spawner: Any) -> dict[str, str]:
    entries = engine.client.inspect_container(spawner.object_id)["Config"]["Env"]
    return dict(entry.split("=", 1) for entry in entries)


def leased_nodes(desk: Desk, user: str) -> list[str]:
    [lease] = [lease for lease in repairs.open_leases(desk) if lease.user == user]
    order = [*GPUS, *MIGS]
    return sorted(f"nvidia{order.index(slot)}" for slot in lease.slots)


def doubted(desk: Desk) -> dict[str, str]:
    """Give the slots in quarantine, and why."""
    with desk.ledger.reading() as books:
        return {slot: quarantine.why for slot, quarantine in books.gpus.quarantined_slots().items()}


def booked_ms(desk: Desk) -> int:
    return sum(usage.totals(desk, "user", datetime.now(UTC) - timedelta(days=1)).values())


# --- exactly the leased GPUs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("profile", "count"), [("gpu", 1), ("pair", 2)])
async def test_a_server_sees_the_leased_gpus_and_no_others(
    gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner, profile: str, count: int
) -> None:
    inventory.sync(desk, LOCAL_NODE, *whole())
    spawner = make(profile=profile)
    await spawner.start()
    assert nodes(gpu_engine, spawner) == leased_nodes(desk, "ann")
    assert run_inside(gpu_engine.client, spawner.object_id, "nvml-count") == (0, f"{count}\n")
    inside = environment(gpu_engine, spawner)
    assert inside["BERTH_GPU_COUNT"] == str(count)
    assert not {"BERTH_GPU_SIMULATED", "TF_FORCE_GPU_ALLOW_GROWTH"} & set(inside)
    await spawner.stop()


async def test_a_server_without_a_lease_sees_none(gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner) -> None:
    inventory.sync(desk, LOCAL_NODE, *whole())
    spawner = make(profile="cpu")
    await spawner.start()
    assert nodes(gpu_engine, spawner) == []
    status, said = run_inside(gpu_engine.client, spawner.object_id, "nvml-count")
    assert status == 1
    assert "libnvidia-ml.so.1" in said
    await spawner.stop()


async def test_two_servers_at_once_see_disjoint_gpus(gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner) -> None:
    inventory.sync(desk, LOCAL_NODE, *whole())
    ann, bob = make("ann", "pair"), make("bob", "pair")
    await ann.start()
    await bob.start()
    seen = nodes(gpu_engine, ann), nodes(gpu_engine, bob)
    assert seen == (leased_nodes(desk, "ann"), leased_nodes(desk, "bob"))
    assert sorted(seen[0] + seen[1]) == ["nvidia0", "nvidia1", "nvidia2", "nvidia3"]
    await ann.stop()
    await bob.stop()


async def test_mig_instances_are_given_by_their_own_names(
    gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner
) -> None:
    inventory.sync(desk, LOCAL_NODE, *in_instances())
    ann, bob = make("ann"), make("bob")
    await ann.start()
    await bob.start()
    assert nodes(gpu_engine, ann) == leased_nodes(desk, "ann")
    assert sorted(nodes(gpu_engine, ann) + nodes(gpu_engine, bob)) == ["nvidia4", "nvidia5"]
    await ann.stop()
    await bob.stop()


@pytest.mark.parametrize("left", ["running", "dead"])
async def test_a_restart_gets_the_new_gpus_and_not_the_old_containers(
    gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner, left: str
) -> None:
    """DockerSpawner starts a container that is left again, with the devices that it was made with."""
    inventory.sync(desk, LOCAL_NODE, *whole(GPUS[:2]))
    ann = make("ann")
    await ann.start()
    old, [first] = ann.object_id, nodes(gpu_engine, ann)
    # The hub forgets it, and meanwhile somebody else gets the very GPU.
    if left == "dead":
        gpu_engine.client.kill(old)
    [lease] = repairs.open_leases(desk)
    gpu_of_ann = lease.slots[0]
    inventory.set_state(desk, gpu_of_ann, GpuState.DRAINING, "an admin", "it is needed elsewhere")
    again = make("ann")
    again.clear_state()
    await again.start()
    assert again.object_id != old
    assert nodes(gpu_engine, again) == leased_nodes(desk, "ann") != [first]
    with pytest.raises(NotFound):
        gpu_engine.client.inspect_container(old)
    inventory.set_state(desk, gpu_of_ann, GpuState.IN_SERVICE, "an admin", "")
    bob = make("bob")
    await bob.start()
    assert nodes(gpu_engine, bob) == [first]
    await again.stop()
    await bob.stop()


# --- a driver that refuses -----------------------------------------------------------------------------------------


async def test_a_refused_gpu_fails_the_start_at_no_cost_and_the_next_gets_another(
    gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner
) -> None:
    inventory.sync(desk, LOCAL_NODE, *whole(GPUS[:2]))
    ann = make("ann")
    with gpu_engine.broken_driver(), pytest.raises(SpawnException) as refused:
        await ann.start()
    assert (refused.value.reason, refused.value.status_code) == ("gpu_refused", 500)
    await soon(lambda: not repairs.open_leases(desk))
    assert booked_ms(desk) == 0
    with pytest.raises(NotFound):
        gpu_engine.client.inspect_container(ann.container_name)
    [(bad, why)] = doubted(desk).items()
    assert "driver not loaded" in why
    [entry] = [entry for entry in usage.audit(desk) if entry.action == "slot.quarantine"]
    assert (entry.subject, entry.actor) == (f"slot {bad}", "spawner")
    bob = make("bob")
    await bob.start()
    [lease] = repairs.open_leases(desk)
    assert lease.slots != (bad,)
    assert nodes(gpu_engine, bob) == leased_nodes(desk, "bob")
    await bob.stop()


async def test_a_gpu_that_vanished_is_doubted(gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner) -> None:
    [gpu], [slot] = whole(GPUS[:1])
    gone = "GPU-5e000000-0000-4000-8000-0000000000ff"
    changed = [replace(gpu, uuid=gone)], [replace(slot, id=gone, gpu=gone, device=gone)]
    inventory.sync(desk, LOCAL_NODE, *changed)
    ann = make("ann")
    with pytest.raises(SpawnException) as refused:
        await ann.start()
    assert refused.value.reason == "gpu_refused"
    await soon(lambda: not repairs.open_leases(desk))
    assert list(doubted(desk)) == [gone]


async def test_of_several_gpus_only_the_one_that_the_driver_names_is_doubted(
    gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner
) -> None:
    gpus, slots = whole(GPUS[:2])
    gone = "GPU-5e000000-0000-4000-8000-0000000000ff"
    gpus[1], slots[1] = replace(gpus[1], uuid=gone), replace(slots[1], id=gone, gpu=gone, device=gone)
    inventory.sync(desk, LOCAL_NODE, gpus, slots)
    ann = make("ann", "pair")
    with pytest.raises(SpawnException):
        await ann.start()
    await soon(lambda: not repairs.open_leases(desk))
    assert list(doubted(desk)) == [gone]


async def test_another_failure_puts_no_gpu_in_doubt(desk: Desk, make: MakeGpuSpawner) -> None:
    inventory.sync(desk, LOCAL_NODE, *whole(GPUS[:1]))
    ann = make("ann", environment={"BEHAVE": "exit"})
    with pytest.raises(SpawnException):
        await ann.start()
    await soon(lambda: not repairs.open_leases(desk))
    assert doubted(desk) == {}


async def test_an_admin_ends_the_doubt(gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner) -> None:
    inventory.sync(desk, LOCAL_NODE, *whole(GPUS[:1]))
    with gpu_engine.broken_driver(), pytest.raises(SpawnException):
        await make("ann").start()
    await soon(lambda: not repairs.open_leases(desk))
    inventory.set_state(desk, "gpu0", GpuState.IN_SERVICE, "an admin", "the driver is loaded again")
    assert doubted(desk) == {}
    bob = make("bob")
    await bob.start()
    assert nodes(gpu_engine, bob) == ["nvidia0"]
    await bob.stop()


# --- shares --------------------------------------------------------------------------------------------------------


async def test_shares_by_agreement(gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner) -> None:
    inventory.sync(desk, LOCAL_NODE, *shared(Isolation.COOPERATIVE))
    ann, bob = make("ann"), make("bob")
    await ann.start()
    await bob.start()
    for spawner in (ann, bob):
        inside = environment(gpu_engine, spawner)
        assert inside["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
        assert inside["NVIDIA_VISIBLE_DEVICES"] == GPUS[1]
        assert not any(name.startswith("CUDA_MPS") for name in inside)
        assert nodes(gpu_engine, spawner) == ["nvidia1"]
    await ann.stop()
    await bob.stop()


@pytest.fixture
def mps(tmp_path: Path) -> Iterator[Path]:
    """What an MPS control daemon shows of itself: a socket in its directory of pipes."""
    pipes = tmp_path / "nvidia-mps"
    pipes.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(pipes / "control"))
        listener.listen()
        yield pipes


async def test_shares_by_mps(gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner, mps: Path) -> None:
    inventory.sync(desk, LOCAL_NODE, *shared(Isolation.MPS, 4))
    ann = make("ann", mps_pipes=str(mps))
    await ann.start()
    inside = environment(gpu_engine, ann)
    assert inside["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert inside["CUDA_MPS_PIPE_DIRECTORY"] == "/run/nvidia-mps"
    assert inside["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "25"
    assert inside["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=10240M"
    assert run_inside(gpu_engine.client, ann.object_id, "ls", "/run/nvidia-mps") == (0, "control\n")
    host_config = gpu_engine.client.inspect_container(ann.object_id)["HostConfig"]
    assert host_config["IpcMode"] == "host"
    await ann.stop()


async def test_shares_by_mps_whose_daemon_has_shared_memory_of_its_own(
    gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner, mps: Path, tmp_path: Path
) -> None:
    inventory.sync(desk, LOCAL_NODE, *shared(Isolation.MPS))
    shm = tmp_path / "mps-shm"
    shm.mkdir()
    (shm / "of-the-daemon").touch()
    ann = make("ann", mps_pipes=str(mps), mps_shm=str(shm))
    await ann.start()
    assert run_inside(gpu_engine.client, ann.object_id, "ls", "/dev/shm") == (0, "of-the-daemon\n")
    host_config = gpu_engine.client.inspect_container(ann.object_id)["HostConfig"]
    assert host_config["IpcMode"] != "host"
    await ann.stop()


async def test_whole_gpus_share_no_memory_with_the_host(
    gpu_engine: GpuEngine, desk: Desk, make: MakeGpuSpawner, mps: Path
) -> None:
    inventory.sync(desk, LOCAL_NODE, *whole(GPUS[:1]))
    ann = make("ann", mps_pipes=str(mps))
    await ann.start()
    assert gpu_engine.client.inspect_container(ann.object_id)["HostConfig"]["IpcMode"] != "host"
    assert not any(name.startswith("CUDA_MPS") for name in environment(gpu_engine, ann))
    await ann.stop()
