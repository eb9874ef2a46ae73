"""A cache of compiled CUDA kernels per GPU model: a volume, filled by the image's own ``berth-warm-cache``."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import docker
from docker.errors import APIError, NotFound

from ..errors import CacheNotWarmed
from .client import engine_errors
from .containers import state
from .devices import GpuAccess
from .view import HUB_LABEL

# Where the volume is mounted in a user's container, read-only, with the volume's name behind it: berth-start makes a
# copy in the home, in a directory of the same name, and points CUDA_CACHE_PATH to that.
CACHE_MOUNT = "/srv/cuda-cache"
CACHE_BYTES = 4 << 30  # CUDA_CACHE_MAXSIZE; the driver takes no more
_PROGRAM = ["/usr/bin/tini", "-g", "--", "/opt/berth/bin/berth-warm-cache"]


def cache_target(volume: str) -> str:
    """Say where a user's container has its model's volume; also what CUDA_CACHE_PATH is set to there."""
    return f"{CACHE_MOUNT}/{volume}"


def is_under_way(client: docker.APIClient, volume: str) -> bool:
    """Tell whether somebody fills a volume now; that may be what a process left that was killed.

    Raises
    ------
    EngineUnavailable
    """
    with engine_errors():
        found = state(client, _container(volume))
    return found is not None and found.running


def _container(volume: str) -> str:
    return f"{volume}-warming"


def warm_cache(
    client: docker.APIClient,
    image: str,
    volume: str,
    hub_id: str,
    access: GpuAccess,
    report: Callable[[str], None],
    *,
    simulated: bool = False,
) -> dict[str, Any]:
    """Compile TensorFlow's common kernels on a GPU into a volume, which is made if there is none. Takes minutes.

    Parameters
    ----------
    client
        With a time-out longer than one step may be silent.
    access
        What gives a container the GPU, from `spawner.engine.devices`; nobody else should work on it.
    report
        Called with each line of progress.
    simulated
        Compiles nothing, but runs all the steps on the CPU.

    Returns
    -------
    dict
        The program's findings: ``model``, ``files``, ``bytes``, ``new_files``, ``seconds`` and more.

    Raises
    ------
    CacheNotWarmed
        If a step failed; what the others have compiled stays, but servers are not given it.
    EngineUnavailable
        If the engine does not answer.
    """
    name = _container(volume)
    with engine_errors():
        client.create_volume(volume, labels={HUB_LABEL: hub_id})
        _remove(client, name)
        try:
            client.create_container_from_config(_request(image, volume, access, simulated), name)
            client.start(name)
            for line in client.logs(name, stream=True, follow=True, stdout=False):
                report(line.decode(errors="replace").rstrip())
            client.wait(name)
            said = client.logs(name, stderr=False).decode(errors="replace")
        except APIError as error:
            raise CacheNotWarmed(f"The engine refused: {error.explanation or error}") from error
        finally:
            _remove(client, name)
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError:
        raise CacheNotWarmed(f"The image {image} does not warm caches, or was ended on the way.") from None
    if not found["ok"]:
        raise CacheNotWarmed(f"The cache was not warmed: {found['problem']}")
    return found


def _request(image: str, volume: str, access: GpuAccess, simulated: bool) -> dict[str, Any]:
    # As root, without capabilities: the volume stays root's, so that no user's container can write to it.
    environment = {
        "HOME": "/tmp",  # noqa: S108  the container's
        "CUDA_CACHE_PATH": cache_target(volume),
        "CUDA_CACHE_MAXSIZE": str(CACHE_BYTES),
        "BERTH_GPU_COUNT": "1",
        **({"BERTH_GPU_SIMULATED": "1"} if simulated else {}),
        **access.environment,
    }
    return {
        "Image": image,
        "User": "0:0",
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Entrypoint": _PROGRAM,
        "Cmd": ["--json"],
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": 1024,
            "Mounts": [{"Type": "volume", "Source": volume, "Target": cache_target(volume)}],
            **access.host_config,
        },
    }


def _remove(client: docker.APIClient, name: str) -> None:
    with contextlib.suppress(NotFound):
        client.remove_container(name, force=True, v=True)
