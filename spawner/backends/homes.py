"""A user's home at the start of a server: brought back from its archive, and held while the container is made."""

import asyncio
import itertools
from datetime import datetime
from typing import Any

from ..engine.volumes import home_volume
from ..errors import LedgerOutdated, LedgerUnavailable
from ..operations import homes
from ..policy.model import Deny
from ..policy.names import home_volume_name
from .requests import refusal

_LOOK_SECONDS = 0.5


async def home_back(spawner: Any) -> None:
    """Wait a while for a home that is in the archive; what is about to be put away stays.

    A ledger that does not answer takes nobody's server away, but no home is made meanwhile: it could be one's in the
    archive that an empty one took the place of.

    Raises
    ------
    SpawnException
        ``home_restoring`` where that takes longer, ``home_busy`` where the home is being put away or removed,
        ``ledger_unavailable`` or ``ledger_outdated`` where there is no telling whether there is one in the archive.
    """
    if spawner.desk is None:
        return
    volume = home_volume_name(spawner.hub_id, spawner.user.name)
    said = ""
    for look in itertools.count():
        try:
            found = await spawner.operate(homes.arriving, volume)
        except (LedgerUnavailable, LedgerOutdated) as error:
            if await spawner.engine.call("quick", lambda client: home_volume(client, volume)) is None:
                told = f"Whether you have a home in the archive cannot be told, so none is made now: {error}"
                raise refusal(Deny(error.code, told), 500) from error
            spawner.log.warning("Whether the home of %s is archived cannot be told: %s", spawner.user.name, error)
            return
        if isinstance(found, Deny):
            raise refusal(found, 409)
        if isinstance(found, homes.Ready):
            return
        if look * _LOOK_SECONDS >= spawner.leases.wait_seconds:
            raise refusal(Deny("home_restoring", f"{_told(found)} Start the server again in a few minutes."), 409)
        if said != (said := _told(found)):
            spawner._steps.add(2, said)  # noqa: SLF001  the steps of the start that this is part of
        await asyncio.sleep(_LOOK_SECONDS)


def _told(found: homes.BeingRestored) -> str:
    since = f", where it has been since {_day(found.since)}" if found.since else ""
    far = f": {min(99, 100 * found.done // found.to_do)} %" if found.done and found.to_do else ""
    return f"Your home is being brought back from the archive{since}{far}."


def _day(moment: datetime) -> str:
    return f"{moment:%d %B %Y}".lstrip("0")


async def hold_home(spawner: Any) -> None:
    """Keep the home where it is while the container is made; from then on the engine itself keeps it.

    Raises
    ------
    SpawnException
        If it has been put away since `home_back`.
    """
    if spawner.desk is None:
        return
    name = spawner.user.name
    try:
        denied = await spawner.operate(homes.hold, home_volume_name(spawner.hub_id, name), name)
    except (LedgerUnavailable, LedgerOutdated) as error:
        spawner.log.warning("The home of %s is not held: %s", name, error)
        return
    if denied is not None:
        raise refusal(denied, 409)
