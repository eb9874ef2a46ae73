"""One look at a host: its GPUs, laid out as a deployment leases them."""

from collections.abc import Mapping

from ..policy.gpus import LOCAL_NODE
from .isolation import Enforcement, HostPlaces, enforced, survey
from .readings import Probe
from .slots import Layout, Share, lay_out


def look(
    probe: Probe | None, shares: Mapping[str, int], places: HostPlaces, *, node: str = LOCAL_NODE
) -> tuple[Layout, dict[str, Enforcement]]:
    """Read the GPUs and lay out their slots; nothing without a probe.

    Parameters
    ----------
    shares
        Into how many parts GPUs are divided, as the setting `gpu_shares`.

    Raises
    ------
    GpuProbeFailed, UnknownName, SettingsInvalid
        If they cannot be read, or are shared in a way that cannot be.
    """
    if probe is None:
        return Layout((), ()), {}
    found = probe.inventory()
    surveyed = survey(found, places)
    sharing = {name: Share(count) for name, count in shares.items()}
    return lay_out(found, sharing, node=node, enforced=enforced(surveyed)), surveyed
