"""The volumes with users' homes, also of those whose servers are off."""

from dataclasses import dataclass

import docker

from ..policy.names import home_volume_name
from .client import engine_errors
from .containers import USER_LABEL
from .view import HUB_LABEL


@dataclass(frozen=True, slots=True)
class HomeVolume:
    """Where a user's home lies.

    Attributes
    ----------
    path
        On the engine's host.
    mounted
        Whether something must be mounted there for it to hold the home (a volume with a driver's options, such as
        NFS), which is only so while a container uses it.
    """

    user: str
    path: str
    mounted: bool = False


def home_volumes(client: docker.APIClient, hub_id: str) -> list[HomeVolume]:
    """List the homes of a hub's users, by user.

    Raises
    ------
    EngineUnavailable
    """
    with engine_errors():
        answer = client.volumes(filters={"label": [f"{HUB_LABEL}={hub_id}", USER_LABEL]})
    found = []
    for volume in answer["Volumes"] or []:
        user = volume["Labels"][USER_LABEL]
        if volume["Name"] == home_volume_name(hub_id, user):
            mounted = bool(volume.get("Options")) or volume["Driver"] != "local"
            found.append(HomeVolume(user.encode("utf-8", "replace").decode(), volume["Mountpoint"], mounted))
    return sorted(found, key=lambda home: home.user)
