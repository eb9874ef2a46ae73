"""How much memory a running container may have."""

import docker
from docker.errors import APIError

from ..errors import LimitRefused
from .containers import inspect


def set_memory(client: docker.APIClient, container: str, size: int) -> bool:
    """Let a running container have so many bytes, without swap; False if it has them, or does not run.

    Raises
    ------
    LimitRefused
        If the kernel refuses: it uses more than that already.
    """
    found = inspect(client, container)
    if found is None or not found["State"]["Running"] or found["HostConfig"].get("Memory") == size:
        return False
    try:
        client.update_container(container, mem_limit=size, memswap_limit=size)
    except APIError as error:
        raise LimitRefused(
            f"The server could not get {size / (1 << 30):g} GiB of memory: {error.explanation or error}"
        ) from error
    return True
