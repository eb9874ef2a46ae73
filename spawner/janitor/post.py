"""What every loop starts from."""

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import docker

from ..gpus.readings import Probe
from ..operations.desk import Desk
from ..policy.ends import idle_limit
from ..policy.gpus import LOCAL_NODE
from ..policy.leases import Lease
from ..policy.reconcile import Grace
from ..settings import Settings
from ..state import StateDirectory
from .class_work import ClassWork
from .hub import Hub, HubUnavailable


@dataclass(frozen=True)
class Post:
    """The janitor's one context.

    Attributes
    ----------
    engine
        Connected when it is first used; its errors are the loop's.
    probe
        None where this hub hands out no GPUs.
    hub
        None where there is no hub to be asked, as on the command line.
    hub_began
        When the hub's process began; starts of an earlier one are over.
    stopping
        Set when this process is to end; what takes long looks at it.
    classes
        What the loops of classes share.
    """

    desk: Desk
    engine: docker.APIClient
    hub_id: str
    settings: Settings
    probe: Probe | None = None
    hub: Hub | None = None
    hub_began: datetime | None = None
    node: str = LOCAL_NODE
    stopping: threading.Event = field(default_factory=threading.Event, compare=False)
    classes: ClassWork = field(default_factory=ClassWork, compare=False)

    @property
    def archive_dir(self) -> Path:
        """Where archived homes lie."""
        return StateDirectory(self.settings.state_dir).home_archives(self.settings.homes.archive_dir)

    @property
    def grace(self) -> Grace:
        stop = timedelta(seconds=self.settings.stop_grace + 60)
        return Grace(timedelta(seconds=self.settings.start_timeout), stop, self.hub_began)

    def require_hub(self) -> Hub:
        """Give the hub.

        Raises
        ------
        HubUnavailable
            On the command line, which has no token of the hub's.
        """
        if self.hub is None:
            raise HubUnavailable("only the janitor that the hub started can start and stop servers")
        return self.hub

    def idle_limit(self, lease: Lease) -> timedelta:
        """Tell how long a lease's GPUs may be unused; zero for ever."""
        rules = self.settings.leases
        profile = next((one.profile() for one in self.settings.profiles if one.slug == lease.profile), None)
        by_group = {group: timedelta(minutes=minutes) for group, minutes in rules.idle_groups.items()}
        default = timedelta(minutes=rules.idle_minutes)
        return idle_limit(profile.idle if profile else None, lease.groups, by_group, default)
