"""TensorFlow's compiled kernels: warmed by an admin, copied to each user, checked at the start."""

import json
from collections.abc import Callable
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.models.volumes import Volume

from spawner.engine.devices import NO_GPUS
from spawner.engine.view import HUB_LABEL
from spawner.engine.warming import cache_target, warm_cache
from spawner.errors import CacheNotWarmed

from ..support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

Output = Callable[..., str]
OWN = "/home/jovyan/.cache/cuda"


@pytest.fixture
def shared(engine: docker.DockerClient, volumes: list[Volume]) -> str:
    """The name of a volume as an admin's warming leaves it: root's, with compiled kernels' stand-ins."""
    volumes.append(engine.volumes.create())
    return volumes[-1].name


def _mounted(shared: str) -> dict[str, Any]:
    return {
        "volumes": {shared: {"bind": cache_target(shared), "mode": "ro"}},
        "environment": {"CUDA_CACHE_PATH": cache_target(shared)},
    }


def _fill(output: Output, shared: str, script: str) -> None:
    volumes = {shared: {"bind": "/cache", "mode": "rw"}}
    output("sh", "-ec", f"cd /cache; {script}", user="0:0", volumes=volumes, environment={"HOME": "/tmp"})


WARMED = "mkdir -p a/b; echo kernel > a/b/1; echo index > index; chmod -R a+rX .; echo '{\"run\": 1}' > berth-warm.json"


def test_each_user_works_on_a_copy(output: Output, start: Callable[..., Container], shared: str, home: str) -> None:
    _fill(output, shared, WARMED)

    def copy(wait_for: str = "test -e $CUDA_CACHE_PATH/berth-warm.json", then: str = "true") -> str:
        script = f"until {wait_for}; do sleep 0.1; done; {then}; cd $CUDA_CACHE_PATH; pwd; find . -type f | sort"
        return output("sh", "-c", script, home=home, **_mounted(shared))

    own = f"{OWN}/{shared}"
    assert copy(then="echo mine > $CUDA_CACHE_PATH/a/mine").split() == [
        own,
        "./a/b/1",
        "./a/mine",
        "./berth-warm.json",
        "./index",
    ]
    # What a user has compiled stays, until there is another warming.
    assert "./a/mine" in copy()
    _fill(output, shared, "rm a/b/1; echo kernel > a/b/2; echo '{\"run\": 2}' > berth-warm.json")
    text = copy("grep -q 2 $CUDA_CACHE_PATH/berth-warm.json")
    assert text.split() == [own, "./a/b/2", "./berth-warm.json", "./index"]
    # An unfinished warming changes nothing.
    _fill(output, shared, "rm berth-warm.json index")
    container = start(["sleep", "60"], home=home, **_mounted(shared))
    eventually(lambda: b"berth-seed-cache" not in _processes(container))
    assert "./index" in copy()
    assert output("ls", OWN, home=home).split() == [shared, f"{shared}.lock"]


def _processes(container: Container) -> bytes:
    listed = container.exec_run(["ps", "ax"]).output
    assert isinstance(listed, bytes)
    return listed


def test_a_home_without_room_is_told_and_starts(output: Output, start: Callable[..., Container], shared: str) -> None:
    _fill(output, shared, WARMED)
    container = start(["sleep", "60"], tmpfs={"/home/jovyan": "size=8m,uid=1000"}, **_mounted(shared))
    eventually(lambda: b"the home has" in container.logs())
    assert container.exec_run(["ls", f"{OWN}/{shared}"]).exit_code != 0
    container.reload()
    assert container.status == "running"


def test_warming_runs_every_kernel_on_a_simulated_gpu(
    engine: docker.DockerClient, image: str, volumes: list[Volume], shared: str
) -> None:
    engine.volumes.get(shared).remove()
    lines: list[str] = []
    found = warm_cache(engine.api, image, shared, "testhub", NO_GPUS, lines.append, simulated=True)
    assert found["failed"] == {}
    assert (found["ok"], found["simulated"], found["written"]) == (True, True, False)
    assert found["tasks"] >= 15
    assert len([line for line in lines if " done in " in line]) == found["tasks"]
    volume = engine.volumes.get(shared)
    assert volume.attrs["Labels"] == {HUB_LABEL: "testhub"}
    assert not engine.containers.list(all=True, filters={"name": f"{shared}-warming"})


def test_warming_without_a_gpu_is_refused(engine: docker.DockerClient, image: str, shared: str) -> None:
    with pytest.raises(CacheNotWarmed, match="TensorFlow sees no GPU"):
        warm_cache(engine.api, image, shared, "testhub", NO_GPUS, print)
    with pytest.raises(CacheNotWarmed, match="engine refused"):
        warm_cache(engine.api, "berth-test/no-such-image", shared, "testhub", NO_GPUS, print)


def test_selfcheck_says_what_the_lease_promised(output: Output, shared: str) -> None:
    def check(status: int = 0, **environment: str) -> dict[str, Any]:
        environment = {"BERTH_GPU_COUNT": "2", **environment}
        return dict(json.loads(output("berth-selfcheck", "--json", status=status, environment=environment)))

    simulated = check(BERTH_GPU_SIMULATED="1")
    assert simulated["problems"] == []
    assert (simulated["gpu"]["expected"], simulated["gpu"]["simulated"]) == (2, True)
    assert "2 of 2 simulated GPUs" in output(
        "berth-selfcheck", environment={"BERTH_GPU_COUNT": "2", "BERTH_GPU_SIMULATED": "1"}
    )
    lost = check(1, CUDA_CACHE_PATH="/nowhere/cache")
    assert lost["gpu"]["lost"]
    told = "\n".join(lost["problems"])
    assert "libnvidia-ml.so.1 is not in this container" in told
    assert "its image is the cpu flavour" in told
    assert "/nowhere/cache cannot be written to" in told
    warmed = check(BERTH_GPU_SIMULATED="1", CUDA_CACHE_PATH=f"{OWN}/x")
    assert warmed["cuda_cache"] == {"path": f"{OWN}/x", "writable": True, "warm": False, "files": 0, "bytes": 0}
