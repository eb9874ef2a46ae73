"""Loops that survive: each turn may fail, none twice at once, each tells how it went."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from ..errors import BerthError
from .hub import HubUnavailable
from .post import Post

_LOG = logging.getLogger("berth.janitor")

Task = Callable[[Post], str]


@dataclass(frozen=True, slots=True)
class Loop:
    """A task and its pace.

    Attributes
    ----------
    every
        Seconds from the end of one turn to the begin of the next.
    """

    name: str
    task: Task
    every: float


class Runner:
    """Runs one loop, as long as no other janitor has it.

    Parameters
    ----------
    owner
        Tells this process from other janitors.
    """

    def __init__(self, post: Post, loop: Loop, owner: str) -> None:
        self._post, self._loop, self._owner = post, loop, owner
        self._failures = 0

    def turn(self) -> bool:
        """Take one turn; False if another janitor has the loop, or the ledger cannot be asked who has it.

        Never raises: an error is logged and reported, and the next turn tries afresh.
        """
        name, clock, ledger = self._loop.name, self._post.desk.clock, self._post.desk.ledger
        # A turn may take long (a hundred servers that end at once); nobody else must begin meanwhile.
        ttl = timedelta(seconds=max(300.0, 4 * self._loop.every))
        try:
            with ledger.transaction() as books:
                if not books.loops.take(name, self._owner, clock(), ttl):
                    return False
        except BerthError as error:
            self._complain(str(error))
            return False
        result, ok = self._run()
        try:
            with ledger.transaction() as books:
                books.loops.beat(name, self._owner, clock(), result=result, ok=ok)
        except BerthError as error:
            self._complain(str(error))
        return True

    def _run(self) -> tuple[str, bool]:
        try:
            result = self._loop.task(self._post)
        except (BerthError, HubUnavailable) as error:
            self._complain(str(error))
            return str(error), False
        except Exception as error:  # noqa: BLE001  one of ours: the loop goes on, and the log has all of it
            _LOG.exception("The loop %s failed", self._loop.name)
            return f"{type(error).__name__}: {error}", False
        if self._failures:
            _LOG.warning("The loop %s works again: %s", self._loop.name, result)
        self._failures = 0
        return result, True

    def _complain(self, what: str) -> None:
        # The same every few seconds would bury everything else.
        if self._failures in {0, 10, 100} or self._failures % 1000 == 0:
            _LOG.warning("The loop %s: %s", self._loop.name, what)
        self._failures += 1

    def run(self, stop: threading.Event) -> None:
        """Take turns until told to stop."""
        while not stop.is_set():
            began = time.monotonic()
            self.turn()
            stop.wait(max(0.05, self._loop.every - (time.monotonic() - began)))
