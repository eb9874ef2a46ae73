"""GPUs in containers: the requests as literals, the choice of a way, and what containers see on a simulated driver."""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.errors import APIError

from spawner.engine import containers, devices
from spawner.engine.containers import ContainerSpec
from spawner.engine.devices import (
    NO_GPUS,
    EngineFacts,
    GpuAccess,
    GpuWay,
    access_for,
    choose_way,
    facts_from_info,
    find_way,
    gpu_access,
    has_nvidia_driver,
    read_cdi_specs,
    refusal_of_gpus,
    with_gpus,
)
from spawner.engine.network import ensure_network
from spawner.errors import EngineUnavailable, GpuRefused, GpuRuntimeMissing
from spawner.policy.gpus import Isolation, Slot, SlotKind

from ..support.flaky_engine import FlakyEngine
from ..support.nvidia.engine import GPUS, MIGS, GpuEngine
from ..support.tiny_image import PORT, run_inside
from .conftest import LIMITS

A, B = "GPU-aaaaaaaa-0000-4000-8000-000000000001", "GPU-bbbbbbbb-0000-4000-8000-000000000002"
MIG = "MIG-cccccccc-0000-4000-8000-000000000003"
TOOLKIT = "install the package nvidia-container-toolkit, then as root: nvidia-ctk runtime configure"


# --- the parts of a request ---------------------------------------------------------------------------------------


def test_without_a_lease() -> None:
    nothing = GpuAccess({"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": "-1"}, {})
    assert nothing == NO_GPUS
    assert all(gpu_access((), way) == nothing for way in GpuWay)


def test_by_cdi() -> None:
    assert gpu_access((A, MIG), GpuWay.CDI) == GpuAccess(
        {
            "NVIDIA_VISIBLE_DEVICES": "void",
            "CUDA_VISIBLE_DEVICES": "GPU-aaaaaaaa-0000-4000-8000-000000000001,MIG-cccccccc-0000-4000-8000-000000000003",
        },
        {
            "DeviceRequests": [
                {
                    "Driver": "cdi",
                    "DeviceIDs": [
                        "nvidia.com/gpu=GPU-aaaaaaaa-0000-4000-8000-000000000001",
                        "nvidia.com/gpu=MIG-cccccccc-0000-4000-8000-000000000003",
                    ],
                }
            ]
        },
    )


def test_by_the_engines_driver() -> None:
    assert gpu_access((B, A), GpuWay.NVIDIA) == GpuAccess(
        {
            "NVIDIA_VISIBLE_DEVICES": "GPU-bbbbbbbb-0000-4000-8000-000000000002,"
            "GPU-aaaaaaaa-0000-4000-8000-000000000001",
            "CUDA_VISIBLE_DEVICES": "GPU-bbbbbbbb-0000-4000-8000-000000000002,GPU-aaaaaaaa-0000-4000-8000-000000000001",
        },
        {
            "DeviceRequests": [
                {
                    "Driver": "nvidia",
                    "DeviceIDs": [
                        "GPU-bbbbbbbb-0000-4000-8000-000000000002",
                        "GPU-aaaaaaaa-0000-4000-8000-000000000001",
                    ],
                    "Capabilities": [["gpu"]],
                }
            ]
        },
    )


def test_by_the_runtime() -> None:
    assert gpu_access((A, A), GpuWay.RUNTIME) == GpuAccess(
        {
            "NVIDIA_VISIBLE_DEVICES": "GPU-aaaaaaaa-0000-4000-8000-000000000001",
            "CUDA_VISIBLE_DEVICES": "GPU-aaaaaaaa-0000-4000-8000-000000000001",
        },
        {"Runtime": "nvidia"},
    )


def test_simulated() -> None:
    assert gpu_access(("SIM-1", "SIM-2"), GpuWay.SIMULATED) == GpuAccess(
        {
            "NVIDIA_VISIBLE_DEVICES": "void",
            "CUDA_VISIBLE_DEVICES": "-1",
            "BERTH_SIMULATED_GPUS": "SIM-1,SIM-2",
        },
        {},
    )


@pytest.mark.parametrize("device", ["all", "0", "", "none", f"{A},{B}", f"{A}=1", "GPU-1 GPU-2"])
def test_what_is_no_uuid_is_not_passed_on(device: str) -> None:
    for way in GpuWay:
        with pytest.raises(ValueError, match="not the UUID"):
            gpu_access((A, device), way)


SPEC = ContainerSpec(
    name="berth-1-ann",
    hub_id="0a1b2c3d",
    user="ann",
    server="",
    image="image",
    port=8888,
    network="net",
    home_volume="home",
    limits=LIMITS,
    environment={"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VISIBLE_DEVICES": "7", "USER": "ann"},
    host_config={
        "DeviceRequests": [
            {"Driver": "", "Count": -1, "Capabilities": [["gpu"]]},
            {"Driver": "nvidia", "DeviceIDs": ["0"], "Capabilities": [["gpu"]]},
            {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]},
            {"Driver": "cdi", "DeviceIDs": ["vendor.com/nic=3"]},
        ],
        "Runtime": "runsc",
        "ReadonlyRootfs": True,
    },
)


def _body(**changes: Any) -> dict[str, Any]:
    values = {name: getattr(SPEC, name) for name in ContainerSpec.__dataclass_fields__}
    return containers.create_request(ContainerSpec(**{**values, **changes}))


def test_nobody_gets_gpus_past_the_leases() -> None:
    body = _body()
    assert body["Env"] == ["NVIDIA_VISIBLE_DEVICES=void", "CUDA_VISIBLE_DEVICES=-1", "USER=ann"]
    assert body["HostConfig"]["DeviceRequests"] == [{"Driver": "cdi", "DeviceIDs": ["vendor.com/nic=3"]}]
    assert body["HostConfig"]["Runtime"] == "runsc"
    assert body["HostConfig"]["ReadonlyRootfs"] is True
    assert with_gpus({"DeviceRequests": None, "Init": True}, NO_GPUS) == {"Init": True}


def test_a_lease_is_stronger_than_anything_else() -> None:
    body = _body(lease="4711", slots=(A, f"{B}:2"), gpu_access=gpu_access((A, B), GpuWay.RUNTIME))
    assert body["Env"] == [f"NVIDIA_VISIBLE_DEVICES={A},{B}", f"CUDA_VISIBLE_DEVICES={A},{B}", "USER=ann"]
    assert body["HostConfig"]["Runtime"] == "nvidia"
    assert body["Labels"] == {
        "berth.hub": "0a1b2c3d",
        "berth.user": "ann",
        "berth.server": "",
        "berth.lease": "4711",
        "berth.slots": "GPU-aaaaaaaa-0000-4000-8000-000000000001,GPU-bbbbbbbb-0000-4000-8000-000000000002:2",
    }


def test_other_vendors_devices_stay_beside_a_lease() -> None:
    requested = _body(lease="4711", slots=(A,), gpu_access=gpu_access((A,), GpuWay.CDI))["HostConfig"]["DeviceRequests"]
    assert requested == [
        {"Driver": "cdi", "DeviceIDs": ["vendor.com/nic=3"]},
        {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={A}"]},
    ]


# --- the choice of a way ------------------------------------------------------------------------------------------

OLD = {
    "ID": "x",
    "DockerRootDir": "/var/lib/docker",
    "ServerVersion": "20.10.24",
    "Runtimes": {"runc": {"path": "runc"}},
}
NEW = {
    "ID": "x",
    "DockerRootDir": "/srv/docker",
    "ServerVersion": "28.5.2",
    "Runtimes": {"io.containerd.runc.v2": {}, "nvidia": {}, "runc": {}},
    "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
    "DiscoveredDevices": [
        {"Source": "cdi", "ID": f"nvidia.com/gpu={A}"},
        {"Source": "cdi", "ID": "nvidia.com/gpu=0"},
        {"Source": "other", "ID": f"nvidia.com/gpu={B}"},
    ],
}


def _never() -> bool:
    raise AssertionError("asked for what need not be known")


def test_what_an_engine_says() -> None:
    assert facts_from_info(OLD) == EngineFacts("x /var/lib/docker", "20.10.24", frozenset({"runc"}), (), None)
    assert facts_from_info(NEW) == EngineFacts(
        "x /srv/docker",
        "28.5.2",
        frozenset({"io.containerd.runc.v2", "nvidia", "runc"}),
        ("/etc/cdi", "/var/run/cdi"),
        frozenset({f"nvidia.com/gpu={A}", "nvidia.com/gpu=0"}),
    )


def test_cdi_comes_first_and_nothing_else_is_asked() -> None:
    assert choose_way(facts_from_info(NEW), [A], _never) is GpuWay.CDI
    assert choose_way(facts_from_info(NEW), [A], _never, "cdi") is GpuWay.CDI


def test_cdi_does_not_do_where_a_device_is_not_described() -> None:
    assert choose_way(facts_from_info(NEW), [A, B], lambda: True) is GpuWay.NVIDIA
    assert choose_way(facts_from_info(NEW), [A, B], lambda: False) is GpuWay.RUNTIME
    with pytest.raises(GpuRuntimeMissing, match=rf"/etc/cdi, /var/run/cdi do not name {B}\. .*nvidia-ctk cdi generate"):
        choose_way(facts_from_info(NEW), [A, B], _never, "cdi")


def test_an_engine_that_supports_cdi_but_does_not_tell_its_devices() -> None:
    quiet = facts_from_info({key: value for key, value in NEW.items() if key != "DiscoveredDevices"})
    named = frozenset({f"nvidia.com/gpu={A}"})
    assert choose_way(quiet, [A], _never, local_cdi_devices=named) is GpuWay.CDI
    assert choose_way(quiet, [A], lambda: True, local_cdi_devices=frozenset()) is GpuWay.NVIDIA
    assert choose_way(quiet, [A], lambda: True) is GpuWay.NVIDIA
    with pytest.raises(GpuRuntimeMissing, match=r"does not tell which GPUs it can give by CDI"):
        choose_way(quiet, [A], _never, "cdi")


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("auto", "has no way to give GPUs to containers"),
        ("nvidia", "has no device driver `nvidia`"),
        ("runtime", "has no runtime `nvidia`"),
    ],
)
def test_an_engine_without_any_way_says_what_to_install(wish: devices.Wish, words: str) -> None:
    with pytest.raises(GpuRuntimeMissing) as raised:
        choose_way(facts_from_info(OLD), [A], lambda: False, wish)
    assert f"The Docker Engine 20.10.24 {words}" in str(raised.value)
    assert TOOLKIT in str(raised.value)


def test_specifications_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "nvidia.yaml").write_text(
        f"cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: {A}\n- name: '0'\n"
    )
    (tmp_path / "nic.json").write_text(json.dumps({"kind": "vendor.com/nic", "devices": [{"name": "3"}]}))
    (tmp_path / "torn.yaml").write_text("kind: [")
    (tmp_path / "other.json").write_text("[]")
    (tmp_path / "notes.txt").write_text("kind: nvidia.com/gpu")
    assert read_cdi_specs([str(tmp_path), str(tmp_path / "none")]) == {
        f"nvidia.com/gpu={A}",
        "nvidia.com/gpu=0",
        "vendor.com/nic=3",
    }


def _said(text: str) -> APIError:
    response = requests.Response()
    response.status_code = 500
    return APIError("message", response=response, explanation=text)


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ('could not select device driver "nvidia" with capabilities: [[gpu]]', GpuRuntimeMissing, TOOLKIT),
        ("Unknown runtime specified nvidia", GpuRuntimeMissing, TOOLKIT),
        ("unknown or invalid runtime name: nvidia", GpuRuntimeMissing, TOOLKIT),
        (
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-1",
            GpuRuntimeMissing,
            "nvidia-ctk cdi generate",
        ),
        (
            "error running hook #0, stderr: nvidia-container-cli: device error: GPU-1: unknown device\\n: unknown",
            GpuRefused,
            "did not give the container its GPU: device error: GPU-1: unknown device.",
        ),
        (
            "/usr/bin/nvidia-container-runtime did not terminate successfully: exit status 1: unknown",
            GpuRefused,
            "nvidia-container-runtime did not terminate successfully",
        ),
        (
            'CDI device injection failed: failed to stat "/dev/nvidia0": no such file or directory',
            GpuRefused,
            "/dev/nvidia0",
        ),
    ],
)
def test_what_an_engine_says_when_it_cannot(said: str, kind: type[Exception], told: str) -> None:
    refusal = refusal_of_gpus(_said(said))
    assert type(refusal) is kind
    assert told in str(refusal)


@pytest.mark.parametrize("said", ["no space left on device", "error setting rlimit", "Unknown runtime specified kata"])
def test_what_has_nothing_to_do_with_gpus(said: str) -> None:
    assert refusal_of_gpus(_said(said)) is None


# --- on an engine without ----------------------------------------------------------------------------------------

WITHOUT = pytest.mark.skipif(
    any(map(shutil.which, ("nvidia-container-runtime-hook", "nvidia-cdi-hook"))),
    reason="this machine has the NVIDIA toolkit, so that its engine has a way",
)


@pytest.mark.docker
@WITHOUT
def test_an_engine_without_nvidia(client: docker.APIClient, tiny: str) -> None:
    before = {entry["Id"] for entry in client.containers(all=True)}
    assert has_nvidia_driver(client, tiny) is False
    left = [entry for entry in client.containers(all=True) if entry["Id"] not in before]
    assert not [entry for entry in left if "berth-gpu-probe" in entry["Names"][0]]
    with pytest.raises(GpuRuntimeMissing, match="nvidia-container-toolkit"):
        find_way(client, [A], tiny)


@pytest.mark.docker
@WITHOUT
def test_two_engines_of_one_machine_are_told_apart(client: docker.APIClient, tiny: str, gpu_engine: GpuEngine) -> None:
    assert find_way(gpu_engine.client, [A], gpu_engine.image) is GpuWay.NVIDIA
    with pytest.raises(GpuRuntimeMissing, match="nvidia-container-toolkit"):
        find_way(client, [A], tiny)


@pytest.mark.docker
@WITHOUT
def test_what_comes_to_an_engine_without_nvidia_is_told_clearly(
    client: docker.APIClient, specify: Callable[..., ContainerSpec]
) -> None:
    spec = specify("hopeful", gpu_access=gpu_access((A,), GpuWay.NVIDIA), lease="1", slots=(A,))
    container = containers.create(client, spec)
    with pytest.raises(GpuRuntimeMissing, match="nvidia-container-toolkit"):
        containers.start(client, container)
    spec = specify("hopeful", gpu_access=gpu_access((A,), GpuWay.RUNTIME), lease="1", slots=(A,))
    with pytest.raises(GpuRuntimeMissing, match="nvidia-container-toolkit"):
        containers.start(client, containers.create(client, spec))


@pytest.mark.docker
def test_a_failing_engine_is_not_taken_for_one_without(
    flaky: FlakyEngine, flaky_client: docker.APIClient, tiny: str
) -> None:
    flaky.answer("POST .*/start", 500)
    with pytest.raises(EngineUnavailable):
        has_nvidia_driver(flaky_client, tiny)
    flaky.answer(".*/info", 500)
    with pytest.raises(EngineUnavailable):
        find_way(flaky_client, [A], tiny)


# --- on an engine with simulated GPUs -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpu_hub(gpu_engine: GpuEngine) -> str:
    made = secrets.token_hex(4)
    ensure_network(gpu_engine.client, made)
    return made


@pytest.fixture
def run_with(gpu_engine: GpuEngine, gpu_hub: str) -> Iterator[Callable[..., str]]:
    """Start a container with a GPU access; it is removed at the end."""
    made: list[str] = []

    def run_with(access: GpuAccess, **changes: Any) -> str:
        values: dict[str, Any] = {
            "name": f"berth-{gpu_hub}-{secrets.token_hex(4)}",
            "hub_id": gpu_hub,
            "user": "ann",
            "server": "",
            "image": gpu_engine.image,
            "port": PORT,
            "network": f"berth-{gpu_hub}",
            "home_volume": f"berth-{gpu_hub}-home-ann",
            "limits": LIMITS,
            "environment": {},
            "gpu_access": access,
        }
        made.append(containers.create(gpu_engine.client, ContainerSpec(**{**values, **changes})))
        containers.start(gpu_engine.client, made[-1])
        return made[-1]

    yield run_with
    for container in made:
        containers.remove(gpu_engine.client, container)


def nodes(engine: GpuEngine, container: str) -> list[str]:
    """List the device nodes of GPUs that a container has."""
    listed = run_inside(engine.client, container, "ls", "/dev")[1].split()
    return sorted(name for name in listed if name.startswith("nvidia"))


def environment(engine: GpuEngine, container: str) -> dict[str, str]:
    lines = run_inside(engine.client, container, "env")[1].splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


REAL_WAYS = [GpuWay.NVIDIA, GpuWay.RUNTIME]


@pytest.mark.docker
def test_the_way_is_found(gpu_engine: GpuEngine) -> None:
    assert find_way(gpu_engine.client, GPUS, gpu_engine.image) is GpuWay.NVIDIA
    assert find_way(gpu_engine.client, GPUS, gpu_engine.image, "runtime") is GpuWay.RUNTIME


@pytest.mark.docker
def test_a_wish_for_cdi_is_refused_before_the_engine_does(gpu_engine: GpuEngine) -> None:
    if gpu_engine.client.info().get("CDISpecDirs"):
        pytest.skip("this engine supports CDI")
    with pytest.raises(GpuRuntimeMissing, match=r"does not give GPUs to containers by CDI.*Engine 28"):
        find_way(gpu_engine.client, GPUS, gpu_engine.image, "cdi")


@pytest.mark.docker
@pytest.mark.parametrize("way", REAL_WAYS)
@pytest.mark.parametrize("leased", [(0,), (2,), (3, 1), (0, 1, 2, 3)])
def test_a_container_sees_exactly_the_leased_gpus(
    gpu_engine: GpuEngine, run_with: Callable[..., str], way: GpuWay, leased: tuple[int, ...]
) -> None:
    uuids = [GPUS[index] for index in leased]
    container = run_with(gpu_access(uuids, way))
    assert nodes(gpu_engine, container) == [f"nvidia{index}" for index in sorted(leased)]
    assert gpu_engine.asked(container) == [
        {"way": "hook" if way is GpuWay.NVIDIA else "runtime", "visible": ",".join(uuids)}
    ]
    # As the user of the container, not as root.
    assert run_inside(gpu_engine.client, container, "cat", f"/dev/nvidia{leased[0]}") == (0, "")
    assert environment(gpu_engine, container)["CUDA_VISIBLE_DEVICES"] == ",".join(uuids)


@pytest.mark.docker
@pytest.mark.parametrize("way", REAL_WAYS)
@pytest.mark.parametrize("count", [1, 3, 4])
def test_nvml_counts_the_leased_gpus(
    gpu_engine: GpuEngine, run_with: Callable[..., str], way: GpuWay, count: int
) -> None:
    container = run_with(gpu_access(GPUS[:count], way), image=gpu_engine.image_that_counts())
    assert run_inside(gpu_engine.client, container, "nvml-count") == (0, f"{count}\n")


@pytest.mark.docker
def test_without_a_lease_there_is_no_nvml_either(gpu_engine: GpuEngine, run_with: Callable[..., str]) -> None:
    container = run_with(NO_GPUS, image=gpu_engine.image_that_counts())
    status, said = run_inside(gpu_engine.client, container, "nvml-count")
    assert status == 1
    assert "libnvidia-ml.so.1: cannot open shared object file" in said


@pytest.mark.docker
@pytest.mark.parametrize("way", REAL_WAYS)
def test_mig_instances_pass_through(gpu_engine: GpuEngine, run_with: Callable[..., str], way: GpuWay) -> None:
    container = run_with(gpu_access((MIGS[1],), way))
    assert [asked["visible"] for asked in gpu_engine.asked(container)] == [MIGS[1]]
    assert nodes(gpu_engine, container) == ["nvidia5"]


@pytest.fixture(scope="module")
def greedy_image(gpu_engine: GpuEngine) -> str:
    """An image that asks for all GPUs, as CUDA images do."""
    changes = [
        "ENV NVIDIA_VISIBLE_DEVICES=all",
        "ENV CUDA_VISIBLE_DEVICES=0,1,2,3",
        "ENV NVIDIA_DRIVER_CAPABILITIES=all",
    ]
    container = gpu_engine.client.create_container(gpu_engine.image)["Id"]
    gpu_engine.client.commit(container, "berth-test/greedy", "1", changes=changes)
    gpu_engine.client.remove_container(container)
    return "berth-test/greedy:1"


@pytest.mark.docker
@pytest.mark.parametrize("runtime", ["runc", "nvidia"])
def test_without_a_lease_there_is_none_whatever_the_image_says(
    gpu_engine: GpuEngine, run_with: Callable[..., str], greedy_image: str, runtime: str
) -> None:
    container = run_with(NO_GPUS, image=greedy_image, host_config={"Runtime": runtime})
    assert nodes(gpu_engine, container) == []
    inside = environment(gpu_engine, container)
    assert (inside["NVIDIA_VISIBLE_DEVICES"], inside["CUDA_VISIBLE_DEVICES"]) == ("void", "-1")


@pytest.mark.docker
@pytest.mark.parametrize("way", REAL_WAYS)
def test_a_lease_is_not_widened_by_the_image(
    gpu_engine: GpuEngine, run_with: Callable[..., str], greedy_image: str, way: GpuWay
) -> None:
    container = run_with(gpu_access((GPUS[2],), way), image=greedy_image)
    assert nodes(gpu_engine, container) == ["nvidia2"]
    assert environment(gpu_engine, container)["CUDA_VISIBLE_DEVICES"] == GPUS[2]


@pytest.mark.docker
def test_an_administrators_own_request_gives_no_gpus(gpu_engine: GpuEngine, run_with: Callable[..., str]) -> None:
    all_gpus = {"DeviceRequests": [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]}
    assert nodes(gpu_engine, run_with(NO_GPUS, host_config=all_gpus)) == []
    assert nodes(gpu_engine, run_with(gpu_access(GPUS[:1], GpuWay.NVIDIA), host_config=all_gpus)) == ["nvidia0"]


@pytest.mark.docker
@pytest.mark.parametrize("way", REAL_WAYS)
def test_a_gpu_that_is_gone(run_with: Callable[..., str], way: GpuWay) -> None:
    with pytest.raises(GpuRefused, match=f"device error: {A}: unknown device"):
        run_with(gpu_access((A,), way))


@pytest.mark.docker
@pytest.mark.parametrize("way", REAL_WAYS)
def test_a_driver_that_fails(gpu_engine: GpuEngine, run_with: Callable[..., str], way: GpuWay) -> None:
    with gpu_engine.broken_driver(), pytest.raises(GpuRefused, match="nvml error: driver not loaded"):
        run_with(gpu_access(GPUS[:1], way))
    assert nodes(gpu_engine, run_with(gpu_access(GPUS[:1], way))) == ["nvidia0"]


def _slot(device: str, *, simulated: bool = False) -> Slot:
    return Slot(
        device, device, "local", SlotKind.EXCLUSIVE, "T4", 1 << 34, Isolation.HARDWARE, device, simulated=simulated
    )


@pytest.mark.docker
def test_from_slots(gpu_engine: GpuEngine, run_with: Callable[..., str]) -> None:
    access = access_for(gpu_engine.client, [_slot(GPUS[1])], gpu_engine.image)
    assert nodes(gpu_engine, run_with(access)) == ["nvidia1"]
    assert access_for(gpu_engine.client, [], gpu_engine.image) == NO_GPUS
    with pytest.raises(ValueError, match="real and simulated"):
        access_for(gpu_engine.client, [_slot(GPUS[1]), _slot("SIM-1", simulated=True)], gpu_engine.image)


@pytest.mark.docker
def test_simulated_slots_need_no_way_and_give_no_device(
    client: docker.APIClient, gpu_engine: GpuEngine, run_with: Callable[..., str], tiny: str
) -> None:
    access = access_for(client, [_slot("SIM-1", simulated=True), _slot("SIM-2", simulated=True)], tiny)
    assert access == gpu_access(("SIM-1", "SIM-2"), GpuWay.SIMULATED)
    container = run_with(access)
    assert nodes(gpu_engine, container) == []
    assert environment(gpu_engine, container)["BERTH_SIMULATED_GPUS"] == "SIM-1,SIM-2"
