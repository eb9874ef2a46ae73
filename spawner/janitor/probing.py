"""What the probe finds, laid out as this deployment leases it."""

from ..gpus import host
from ..gpus.isolation import Enforcement, HostPlaces
from ..gpus.slots import Layout
from .post import Post


def look(post: Post) -> tuple[Layout, dict[str, Enforcement]]:
    """See `spawner.gpus.host.look`."""
    places = HostPlaces(pipes=post.settings.mps_pipes, shm=post.settings.mps_shm)
    return host.look(post.probe, post.settings.gpu_shares, places, node=post.node)
