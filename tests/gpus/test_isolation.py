import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spawner.gpus.isolation import Enforcement, HostPlaces, Mount, Needs, enforced, mps_defaults, needs_of, survey
from spawner.gpus.readings import GpuReading, Inventory
from spawner.gpus.slots import Share, lay_out
from spawner.policy.gpus import Isolation, Slot

GIB = 1 << 30
NEW = GpuReading("GPU-new", 0, "A100", 40 * GIB, "8.0", pci="0000:3b:00.0")
OLD = GpuReading("GPU-old", 1, "P100", 16 * GIB, "6.0", pci="0000:5e:00.0")
HOST = Inventory((NEW, OLD), "615.10", "13.0")
REGION = "drm/0000:3b:00.0/vram0"


@pytest.fixture
def places(tmp_path: Path) -> Iterator[HostPlaces]:
    """A host where everything is offered: the kernel for the first GPU, and a daemon of MPS."""
    cgroups, pipes = tmp_path / "cgroup", tmp_path / "mps"
    cgroups.mkdir()
    pipes.mkdir()
    (cgroups / "cgroup.controllers").write_text("cpuset cpu io memory pids dmem\n")
    (cgroups / "dmem.capacity").write_text(f"{REGION} {40 * GIB}\n")
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(pipes / "control"))
        daemon.listen()
        yield HostPlaces(cgroups, pipes)


def reasons(enforcement: Enforcement) -> list[str]:
    """Give why the kernel and MPS are not offered; empty where they are."""
    assert [finding.isolation for finding in enforcement.findings] == list(Isolation)[1:]
    assert all(finding.offered == (not finding.reason) for finding in enforcement.findings)
    assert enforcement.isolation is next(finding.isolation for finding in enforcement.findings if finding.offered)
    return [finding.reason for finding in enforcement.findings[:2]]


def test_the_strongest_that_is_offered(places: HostPlaces) -> None:
    found = survey(HOST, places)
    assert enforced(found) == {"GPU-new": Isolation.KERNEL, "GPU-old": Isolation.COOPERATIVE}
    assert reasons(found["GPU-new"]) == ["", ""]
    assert found["GPU-new"].regions == (REGION,)
    assert found["GPU-old"].regions == ()
    assert reasons(found["GPU-old"]) == [
        "The driver registered no memory of this GPU with dmem.",
        "MPS bounds memory from compute capability 7.0 (Volta) on; this GPU has 6.0.",
    ]


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        ("550.54.15", "Driver 550.54.15 does not charge memory to cgroups; 615 and newer do."),
        ("", "Driver unknown does not charge memory to cgroups; 615 and newer do."),
        ("614.99", "Driver 614.99 does not charge memory to cgroups; 615 and newer do."),
    ],
)
def test_a_driver_that_is_too_old_for_the_kernel(places: HostPlaces, driver: str, reason: str) -> None:
    found = survey(replace(HOST, driver=driver), places)["GPU-new"]
    assert found.isolation is Isolation.MPS
    assert reasons(found) == [reason, ""]
    assert found.regions == ()


def test_hosts_without_dmem(places: HostPlaces) -> None:
    (places.cgroups / "cgroup.controllers").write_text("cpu memory\n")
    assert reasons(survey(HOST, places)["GPU-new"])[0].startswith("The kernel has no dmem controller")
    (places.cgroups / "cgroup.controllers").unlink()
    assert reasons(survey(HOST, places)["GPU-new"])[0].startswith("This host has cgroup v1")


def test_cuda_too_old_for_mps(places: HostPlaces) -> None:
    for cuda in ("11.4", "9.2", ""):
        assert "need 11.5 or newer" in reasons(survey(replace(HOST, cuda=cuda), places)["GPU-new"])[1]
    assert reasons(survey(replace(HOST, cuda="11.5"), places)["GPU-new"])[1] == ""


def test_daemons_of_mps_that_do_not_answer(places: HostPlaces, tmp_path: Path) -> None:
    def reason(pipes: Path) -> str:
        return reasons(survey(HOST, replace(places, pipes=pipes))["GPU-new"])[1]

    assert reason(tmp_path / "none").startswith("No MPS control daemon runs: ")
    dead = tmp_path / "dead"
    dead.mkdir()
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(dead / "control"))
    assert reason(dead).startswith("No MPS control daemon runs any more")


@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_any_kind_of_socket_that_somebody_listens_at(places: HostPlaces, tmp_path: Path, kind: int) -> None:
    pipes = tmp_path / "other"
    pipes.mkdir()
    with socket.socket(socket.AF_UNIX, kind) as daemon:
        daemon.bind(str(pipes / "control"))
        if kind == socket.SOCK_SEQPACKET:
            daemon.listen()
        assert reasons(survey(HOST, replace(places, pipes=pipes))["GPU-new"])[1] == ""


def test_a_pipe_needs_a_reader(places: HostPlaces, tmp_path: Path) -> None:
    pipes = tmp_path / "fifo"
    pipes.mkdir()
    os.mkfifo(pipes / "control")
    where = replace(places, pipes=pipes)
    assert "nobody listens" in reasons(survey(HOST, where)["GPU-new"])[1]
    reader = os.open(pipes / "control", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert reasons(survey(HOST, where)["GPU-new"])[1] == ""
    finally:
        os.close(reader)


def test_simulated_gpus_have_nothing_that_enforces(places: HostPlaces) -> None:
    found = survey(replace(HOST, simulated=True), places)["GPU-new"]
    assert reasons(found) == ["The GPUs are simulated."] * 2


# --- what a container needs ---------------------------------------------------------------------------------------

GROWTH = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def shares(found: dict[str, Enforcement], inventory: Inventory = HOST, count: int = 4) -> dict[str, Slot]:
    layout = lay_out(inventory, {"*": Share(count)}, enforced=enforced(found))
    return {slot.id: slot for slot in layout.slots}


def test_whole_gpus_need_nothing(places: HostPlaces) -> None:
    slots = lay_out(HOST, {}).slots
    assert needs_of(slots, survey(HOST, places), places) == Needs()
    assert needs_of((), {}) == Needs()


def test_kernel(places: HostPlaces) -> None:
    found = survey(HOST, places)
    assert needs_of([shares(found)["GPU-new:2"]], found, places) == Needs(GROWTH, device_memory={REGION: 10 * GIB})


def test_cooperative(places: HostPlaces) -> None:
    found = survey(HOST, places)
    assert needs_of([shares(found)["GPU-old:0"]], found, places) == Needs(GROWTH)


def test_mps(places: HostPlaces) -> None:
    inventory = Inventory((NEW, replace(NEW, uuid="GPU-two", index=1, memory=16 * GIB)), "550", "12.4")
    found = survey(inventory, places)
    slots = shares(found, inventory)
    needs = needs_of([slots["GPU-two:0"], slots["GPU-new:3"]], found, places)
    assert needs == Needs(
        GROWTH
        | {
            "CUDA_MPS_PIPE_DIRECTORY": "/run/nvidia-mps",
            "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25",
            "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=10240M,1=4096M",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        },
        (Mount(str(places.pipes), "/run/nvidia-mps"),),
        "host",
    )
    alone = needs_of([slots["GPU-two:0"]], found, replace(places, shm=Path("/srv/mps-shm")))
    assert alone.environment["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=4096M"
    assert alone.mounts[1] == Mount("/srv/mps-shm", "/dev/shm")
    assert alone.ipc == ""
    assert mps_defaults(list(slots.values()), found) == (
        "set_default_device_pinned_mem_limit 0 10240M",
        "set_default_device_pinned_mem_limit 1 4096M",
    )


def test_a_whole_gpu_beside_a_share_counts_in_the_numbers(places: HostPlaces) -> None:
    inventory = Inventory((NEW, replace(NEW, uuid="GPU-two", index=1)), "550", "12.4")
    found = survey(inventory, places)
    slots = lay_out(inventory, {"gpu1": Share(2)}, enforced=enforced(found)).slots
    needs = needs_of(slots[:2], found, places)
    assert needs.environment["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "1=20480M"
    assert needs.environment["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "50"


def test_threads_have_at_least_one_percent(places: HostPlaces) -> None:
    inventory = Inventory((NEW,), "550", "12.4")
    found = survey(inventory, places)
    needs = needs_of([shares(found, inventory, 300)["GPU-new:0"]], found, places)
    assert needs.environment["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "1"
