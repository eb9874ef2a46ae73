"""What every request of the console starts from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from ..operations.desk import Desk
from ..policy.model import Profile
from ..policy.warmup import Pace
from ..settings import Settings
from .board import Board, Snapshot
from .class_live import Classes
from .hub import Hub
from .keys import Keys
from .people import People
from .readings import Readings
from .rendering import Pages
from .watching import Watch


@dataclass(frozen=True)
class Console:
    """The process's one context.

    Attributes
    ----------
    prefix
        Path of the console, with a slash at both ends.
    """

    desk: Desk
    settings: Settings
    hub: Hub
    people: People
    pages: Pages
    keys: Keys
    readings: Readings
    prefix: str
    watch: Watch[Snapshot] = field(init=False, repr=False, compare=False)
    classes: Classes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "watch", Watch(Board(self.desk, self.readings)))
        pace = Pace(at_once=self.settings.classes.starts_at_once)
        object.__setattr__(self, "classes", Classes(self.desk, self.readings, pace))

    def dismiss(self) -> None:
        """Send all away who look on."""
        self.watch.close()
        self.classes.close()

    @property
    def catalogue(self) -> tuple[Profile, ...]:
        return tuple(profile.profile() for profile in self.settings.profiles)

    @property
    def clock(self) -> Callable[[], datetime]:
        return self.desk.clock


def console_of(request: Request) -> Console:
    """Give the context of the app that answers a request."""
    found: Console = request.app.state.console
    return found


Here = Annotated[Console, Depends(console_of)]
