"""The volumes with users' homes, also of those whose servers are off; and those that hide them in exams."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import docker
from docker.errors import APIError, NotFound

from ..policy.names import home_volume_name
from .client import engine_errors
from .containers import SESSION_LABEL, USER_LABEL
from .observe import parse_time
from .view import HUB_LABEL

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_RUNNING = {"running", "paused", "restarting"}


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
    name: str = ""
    created_at: datetime = _LONG_AGO
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def session(self) -> str:
        """Id of the session in whose exam it takes the place of a home; empty for homes."""
        return self.labels.get(SESSION_LABEL, "")


def exam_volumes(client: docker.APIClient, hub_id: str) -> list[HomeVolume]:
    """List what takes the place of homes in exams, by session and user.

    Raises
    ------
    EngineUnavailable
    """
    with engine_errors():
        answer = client.volumes(filters={"label": [f"{HUB_LABEL}={hub_id}", SESSION_LABEL]})
    return sorted(map(_home, answer["Volumes"] or []), key=lambda volume: (volume.session, volume.user))


def home_volumes(client: docker.APIClient, hub_id: str) -> list[HomeVolume]:
    """List the homes of a hub's users, by user.

    Raises
    ------
    EngineUnavailable
    """
    with engine_errors():
        answer = client.volumes(filters={"label": [f"{HUB_LABEL}={hub_id}", USER_LABEL]})
    volumes = answer["Volumes"] or []
    found = [
        _home(volume) for volume in volumes if volume["Name"] == home_volume_name(hub_id, volume["Labels"][USER_LABEL])
    ]
    return sorted(found, key=lambda home: home.user)


def home_volume(client: docker.APIClient, name: str) -> HomeVolume | None:
    """Give one volume; None where there is none of the name.

    Raises
    ------
    EngineUnavailable
    """
    with engine_errors():
        try:
            return _home(client.inspect_volume(name))
        except NotFound:
            return None


def _home(volume: dict[str, Any]) -> HomeVolume:
    labels = volume.get("Labels") or {}
    return HomeVolume(
        labels.get(USER_LABEL, "").encode("utf-8", "replace").decode(),
        volume["Mountpoint"],
        bool(volume.get("Options")) or volume["Driver"] != "local",
        volume["Name"],
        parse_time(volume.get("CreatedAt", "")) or _LONG_AGO,
        labels,
    )


def volumes_in_use(client: docker.APIClient) -> frozenset[str]:
    """List the volumes that running containers have, whoever made these.

    Raises
    ------
    EngineUnavailable
    """
    with engine_errors():
        listed = client.containers()
    return frozenset(
        mount["Name"]
        for container in listed
        if container["State"] in _RUNNING
        for mount in container["Mounts"]
        if mount.get("Type") == "volume" and mount.get("Name")
    )


def holders(client: docker.APIClient, name: str) -> list[str]:
    """List the containers that have a volume, running or not, by name.

    Raises
    ------
    EngineUnavailable
    """
    with engine_errors():
        listed = client.containers(all=True, filters={"volume": [name]})
    # The filter takes parts of names, too.
    having = (one for one in listed if any(mount.get("Name") == name for mount in one["Mounts"]))
    return sorted((one["Names"] or [one["Id"][:12]])[0].lstrip("/") for one in having)


def make_volume(client: docker.APIClient, name: str, labels: Mapping[str, str]) -> HomeVolume:
    """Make an empty volume for a home.

    Raises
    ------
    EngineUnavailable
    """
    with engine_errors():
        return _home(client.create_volume(name, labels=dict(labels)))


def remove_volume(client: docker.APIClient, name: str) -> str:
    """Remove a volume with all that is in it.

    Returns
    -------
    str
        Why it is still there, in a sentence; empty where it is gone.

    Raises
    ------
    EngineUnavailable
        Then nobody knows what is left of it.
    """
    with engine_errors(), contextlib.suppress(NotFound):
        try:
            client.remove_volume(name)
        except NotFound:
            raise
        except APIError as error:
            if error.response is None or error.response.status_code != 409:
                raise
            having = ", ".join(holders(client, name)) or "somebody"
            return f"The volume {name} is in use by {having}."
    return ""
