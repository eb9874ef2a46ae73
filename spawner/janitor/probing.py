"""What the probe finds, laid out as this deployment leases it."""

from ..gpus.isolation import Enforcement, HostPlaces, enforced, survey
from ..gpus.slots import Layout, Share, lay_out
from .post import Post


def look(post: Post) -> tuple[Layout, dict[str, Enforcement]]:
    """Read the GPUs of this host and lay out their slots; nothing where this hub hands out no GPUs.

    Raises
    ------
    GpuProbeFailed, UnknownName, SettingsInvalid
        If they cannot be read, or the settings share them in a way that cannot be.
    """
    if post.probe is None:
        return Layout((), ()), {}
    found = post.probe.inventory()
    surveyed = survey(found, HostPlaces(pipes=post.settings.mps_pipes, shm=post.settings.mps_shm))
    sharing = {name: Share(count) for name, count in post.settings.gpu_shares.items()}
    return lay_out(found, sharing, node=post.node, enforced=enforced(surveyed)), surveyed
