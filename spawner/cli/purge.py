"""Removing all that belongs to one hub, by its label, and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

from docker.errors import APIError, NotFound

from ..engine.client import engine_errors
from ..engine.network import remove_network
from ..engine.view import HUB_LABEL
from ..errors import EngineUnavailable, SettingsInvalid
from ..policy.names import home_volume_prefix, network_name
from ..state import StateDirectory
from .deployment import connect


def purge_engine(hub_id: str, note: Callable[[str], None]) -> None:
    """Remove the hub's containers, volumes and network from the engine, and its firewall rules.

    Parameters
    ----------
    note
        Called with each thing that was removed.

    Raises
    ------
    EngineUnavailable
        If the engine does not answer, or did not remove something.
    """
    client = connect()
    label = {"label": f"{HUB_LABEL}={hub_id}"}
    failures = []
    try:
        with engine_errors():
            for container in client.containers(all=True, filters=label):
                name = container["Names"][0].lstrip("/")
                try:
                    client.remove_container(container["Id"], force=True, v=True)
                    note(f"container {name}")
                except NotFound:
                    continue
                except APIError as error:
                    failures.append(f"container {name}: {error.explanation or error}")
            for volume in client.volumes(filters=label)["Volumes"] or []:
                try:
                    client.remove_volume(volume["Name"])
                    note(f"volume {volume['Name']}")
                except NotFound:
                    continue
                except APIError as error:
                    failures.append(f"volume {volume['Name']}: {error.explanation or error}")
            try:
                if remove_network(client, hub_id):
                    note(f"network {network_name(hub_id)}")
            except APIError as error:
                failures.append(f"network {network_name(hub_id)}: {error.explanation or error}")
    finally:
        client.close()
    if failures:
        raise EngineUnavailable("The Docker Engine did not remove " + "; ".join(failures))


def purge_archives(directory: Path, hub_id: str, note: Callable[[str], None]) -> None:
    """Remove a hub's archived homes, where they lie outside its state; other files stay.

    Raises
    ------
    SettingsInvalid
        If one cannot be removed.
    """
    prefix = home_volume_prefix(hub_id)
    try:
        found = sorted(directory.iterdir()) if directory.is_dir() else []
        for path in found:
            if path.name.removeprefix(".").startswith(prefix):
                path.unlink()
                note(f"archive {path.name}")
    except OSError as error:
        raise SettingsInvalid(f"{error.filename} cannot be removed: {error.strerror}.") from None


def purge_state(state: StateDirectory, note: Callable[[str], None]) -> None:
    """Remove the state directory, hub id last: a purge that is interrupted can be repeated.

    Raises
    ------
    SettingsInvalid
        If something in it cannot be removed.
    """
    try:
        for entry in state.path.iterdir():
            if entry == state.hub_id_file or entry.name == "lost+found":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        state.hub_id_file.unlink()
    except OSError as error:
        raise SettingsInvalid(f"{error.filename} cannot be removed: {error.strerror}.") from None
    try:
        state.path.rmdir()
    except OSError:  # a mount point stays
        note(f"what was in {state.path}")
    else:
        note(f"state {state.path}")
