import json
import threading

import docker
import pytest
from docker.errors import APIError, ImageNotFound

from spawner.engine import containers
from spawner.engine.containers import ContainerSpec, Mount, create_request
from spawner.errors import LimitRefused
from spawner.policy.model import Limits

from ..support.flaky_engine import FlakyEngine
from ..support.tiny_image import run_inside
from ..support.waiting import eventually
from .conftest import LIMITS, Specify

SPEC = ContainerSpec(
    name="berth-0a1b2c3d-ann-lab-1234",
    hub_id="0a1b2c3d",
    user="ann",
    server="lab",
    image="berth/tensorflow:2.9.3-cpu",
    port=8888,
    network="berth-0a1b2c3d",
    home_volume="berth-0a1b2c3d-home-ann-5678",
    limits=Limits(cpu=1.5, memory=2 << 30, processes=4096, shm=1 << 30, open_files=16384, gpus=0),
    environment={"JUPYTERHUB_USER": "ann", "NVIDIA_VISIBLE_DEVICES": "void"},
    command=("start", "--debug"),
    mounts=(Mount("/srv/data", "/srv/shared"), Mount("scratch", "/scratch", read_only=False)),
)


def test_the_request_to_the_engine() -> None:
    assert create_request(SPEC) == {
        "Image": "berth/tensorflow:2.9.3-cpu",
        "Cmd": ["start", "--debug"],
        "Env": ["JUPYTERHUB_USER=ann", "NVIDIA_VISIBLE_DEVICES=void", "CUDA_VISIBLE_DEVICES=-1"],
        "Labels": {"berth.hub": "0a1b2c3d", "berth.user": "ann", "berth.server": "lab"},
        "ExposedPorts": {"8888/tcp": {}},
        "HostConfig": {
            "NetworkMode": "berth-0a1b2c3d",
            "CpuPeriod": 100_000,
            "CpuQuota": 150_000,
            "Memory": 2147483648,
            "MemorySwap": 2147483648,
            "PidsLimit": 4096,
            "ShmSize": 1073741824,
            "Ulimits": [{"Name": "nofile", "Soft": 16384, "Hard": 16384}],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "berth-0a1b2c3d-home-ann-5678",
                    "Target": "/home/jovyan",
                    "VolumeOptions": {"Labels": {"berth.hub": "0a1b2c3d", "berth.user": "ann"}},
                },
                {"Type": "bind", "Source": "/srv/data", "Target": "/srv/shared", "ReadOnly": True},
                {"Type": "volume", "Source": "scratch", "Target": "/scratch", "ReadOnly": False},
            ],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
        },
    }


def test_the_request_is_json_and_leaves_the_images_command() -> None:
    plain = ContainerSpec(
        **{name: getattr(SPEC, name) for name in SPEC.__dataclass_fields__ if name not in {"command", "mounts"}}
    )
    body = create_request(plain)
    assert "Cmd" not in body
    assert json.loads(json.dumps(body)) == body


def test_an_address_is_that_of_the_network() -> None:
    answer = {"NetworkSettings": {"Networks": {"a": {"IPAddress": "10.0.0.2"}, "b": {"IPAddress": "10.1.0.2"}}}}
    assert containers.address(answer, "b") == "10.1.0.2"
    assert containers.address(answer, "c") == ""


@pytest.mark.docker
def test_create_start_stop_remove_and_each_again(client: docker.APIClient, specify: Specify) -> None:
    created = containers.create(client, specify("life"))
    state = containers.state(client, created)
    assert state is not None
    assert (state.status, state.running, state.name) == ("created", False, specify("life").name)

    containers.start(client, created)
    containers.start(client, created)
    running = containers.state(client, created)
    assert running is not None
    assert (running.running, running.exit_code, running.finished_at) == (True, None, "")

    eventually(lambda: run_inside(client, created, "wget", "-q", "-O-", "http://127.0.0.1:8888/")[1])
    containers.stop(client, created, 10)
    containers.stop(client, created, 10)
    stopped = containers.state(client, created)
    assert stopped is not None
    assert (stopped.status, stopped.exit_code, stopped.out_of_memory) == ("exited", 0, False)
    assert stopped.finished_at.startswith("20")
    assert containers.last_lines(client, created) == "told to end"

    containers.remove(client, created)
    containers.remove(client, created)
    assert containers.state(client, created) is None
    assert containers.inspect(client, created) is None
    assert containers.last_lines(client, created) == ""
    containers.stop(client, created, 0)


@pytest.mark.docker
def test_a_leftover_of_the_same_name_is_replaced(client: docker.APIClient, specify: Specify) -> None:
    first = containers.create(client, specify("again"))
    containers.start(client, first)
    second = containers.create(client, specify("again"))
    assert first != second
    assert containers.state(client, first) is None
    state = containers.state(client, second)
    assert state is not None
    assert state.status == "created"


@pytest.mark.docker
def test_home_and_its_labels_survive_the_container(client: docker.APIClient, specify: Specify, hub_id: str) -> None:
    spec = specify("homely")
    first = containers.create(client, spec)
    containers.start(client, first)
    assert run_inside(client, first, "cat", "/home/jovyan/from-the-image") == (0, "kept\n")
    assert run_inside(client, first, "touch", "/home/jovyan/mine")[0] == 0
    containers.remove(client, first)

    volume = client.inspect_volume(spec.home_volume)
    assert volume["Labels"] == {"berth.hub": hub_id, "berth.user": "homely"}

    second = containers.create(client, specify("homely-two", home_volume=spec.home_volume))
    containers.start(client, second)
    assert run_inside(client, second, "ls", "/home/jovyan") == (0, "from-the-image\nmine\n")


@pytest.mark.docker
def test_the_exit_code_and_the_last_words_are_seen(client: docker.APIClient, specify: Specify) -> None:
    container = containers.create(client, specify("leaver", behave="exit"))
    containers.start(client, container)
    client.wait(container)
    state = containers.state(client, container)
    assert state is not None
    assert (state.status, state.exit_code, state.out_of_memory) == ("exited", 3, False)
    assert containers.last_lines(client, container) == "first words\n<b>ImportError</b>: no module named numpy"
    assert containers.last_lines(client, container, 1) == "<b>ImportError</b>: no module named numpy"


@pytest.mark.docker
def test_running_out_of_memory_is_seen(client: docker.APIClient, specify: Specify) -> None:
    container = containers.create(client, specify("glutton", behave="oom"))
    containers.start(client, container)
    client.wait(container)
    state = containers.state(client, container)
    assert state is not None
    assert (state.exit_code, state.out_of_memory) == (137, True)


@pytest.mark.docker
def test_a_missing_image(client: docker.APIClient, specify: Specify) -> None:
    with pytest.raises(ImageNotFound):
        containers.create(client, specify("nothing", image="berth-test/none:1"))


@pytest.mark.docker
def test_more_open_files_than_the_kernel_allows(client: docker.APIClient, specify: Specify) -> None:
    limits = Limits(LIMITS.cpu, LIMITS.memory, LIMITS.processes, LIMITS.shm, 2**40, 0)
    container = containers.create(client, specify("hoarder", limits=limits))
    with pytest.raises(LimitRefused, match="open_files"):
        containers.start(client, container)


@pytest.mark.docker
def test_removal_by_two_at_once(
    client: docker.APIClient, flaky: FlakyEngine, flaky_client: docker.APIClient, specify: Specify
) -> None:
    container = containers.create(client, specify("wanted"))
    # The engine says "removal is already in progress", and is done with it before we come to wait.
    flaky.answer("DELETE /", 409, times=1)
    client.remove_container(container, force=True)
    containers.remove(flaky_client, container)
    assert containers.state(client, container) is None


@pytest.mark.docker
def test_removal_in_progress_is_waited_for(
    client: docker.APIClient, flaky: FlakyEngine, flaky_client: docker.APIClient, specify: Specify
) -> None:
    container = containers.create(client, specify("waited"))
    flaky.answer("DELETE /", 409, times=1)
    remover = threading.Thread(target=containers.remove, args=(flaky_client, container))
    remover.start()
    flaky.wait_for("POST .*/wait")
    assert remover.is_alive()
    client.remove_container(container, force=True)
    remover.join(20)
    assert not remover.is_alive()


@pytest.mark.docker
def test_an_error_of_the_engine_is_not_taken_for_gone(
    client: docker.APIClient, flaky: FlakyEngine, flaky_client: docker.APIClient, specify: Specify
) -> None:
    container = containers.create(client, specify("doubtful"))
    flaky.answer(".*", 500)
    with pytest.raises(APIError):
        containers.state(flaky_client, container)
    with pytest.raises(APIError):
        containers.remove(flaky_client, container)
    with pytest.raises(APIError):
        containers.stop(flaky_client, container, 0)
    assert containers.state(client, container) is not None
