"""A server that is a seat in a class: fetches what staff have sent, says who is there."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import pushes
from .lease_hub import HubAway, LeaseHub, NoLeases, Refused
from .pages import Pages
from .visitors import Visitors

_AGAIN = 60  # seconds until a file that could not be put into the home is tried again


class Seat:
    """What this server does for its class.

    Parameters
    ----------
    moved
        Called when somebody comes.
    home
        Where files go.

    Attributes
    ----------
    came
        Who else than its owner uses it.
    """

    def __init__(
        self, pages: Pages, log: logging.Logger, moved: Callable[[], None] = lambda: None, home: Path | None = None
    ) -> None:
        self._pages, self._log = pages, log
        self._home = home or Path.home()
        self.owner = os.environ.get("JUPYTERHUB_USER", "")
        self.came = Visitors(self.owner, moved)
        self._put: dict[str, tuple[float, dict[str, Any]]] = {}
        self._said: dict[str, dict[str, Any]] = {}

    def presence(self) -> dict[str, Any]:
        """Say who is there, for the hub."""
        active = self._pages.active_at(self.owner)
        return {
            "present": self._pages.used_by(self.owner),
            "visitors": self.visitors(),
            "active_seconds": None if active is None else int(time.monotonic() - active),
        }

    def visitors(self) -> list[str]:
        return sorted((self._pages.people() | self.came.names()) - {self.owner})

    async def fetch(self, hub: LeaseHub, wanted: list[dict[str, Any]]) -> bool:
        """Put sent files into the home, and tell the hub what became of them; says whether there was anything new.

        What the hub asks for once more has been put there, and only the word of it was lost.
        """
        now = time.monotonic()
        for push in wanted:
            name = str(push.get("id", ""))
            tried, item = self._put.get(name, (0.0, {}))
            if not item or (item["outcome"] == "failed" and now - tried >= _AGAIN):
                item = await asyncio.to_thread(pushes.put, push, self._home)
                self._put[name] = now, item
                if item["problem"]:
                    self._log.warning("berth: %s could not be put into the home: %s", item["path"], item["problem"])
        items = [self._put[str(push.get("id", ""))][1] for push in wanted]
        news = [item for item in items if item["outcome"] != "failed" or self._said.get(item["push"]) != item]
        if not news:
            return False
        try:
            await hub.deliveries(news)
        except (HubAway, NoLeases, Refused) as error:
            self._log.debug("berth: the word of files was not taken: %r", error)
            return False
        self._said.update({item["push"]: item for item in news})
        return True
