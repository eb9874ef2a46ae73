"""Loops that survive: each turn may fail, none twice at once, each tells how it went."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from ..errors import BerthError
from .hub import HubUnavailable
from .post import Post
from .steps import Step, carry_out_all

_LOG = logging.getLogger("berth.janitor")

# How long a loop is a janitor's without a word: after its death another waits that long.
_HELD = timedelta(seconds=15)

Look = Callable[[Post], list[Step]]


@dataclass(frozen=True, slots=True)
class Loop:
    """What is looked after, and at what pace.

    Attributes
    ----------
    look
        Finds what is to be done; changes nothing itself.
    every
        Seconds from the end of one turn to the begin of the next.
    long
        Whether a turn may take hours, and still goes well.
    """

    name: str
    look: Look
    every: float
    long: bool = False


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
        self.changed = 0  # steps that changed something, since this process runs

    def turn(self) -> bool:
        """Take one turn; False if another janitor has the loop, or the ledger cannot be asked who has it.

        Never raises: an error is logged and reported, and the next turn tries afresh.
        """
        name, clock, ledger = self._loop.name, self._post.desk.clock, self._post.desk.ledger
        try:
            if not self._take():
                return False
        except Exception as error:  # noqa: BLE001  whatever it is, the next turn tries afresh
            self._complain(str(error))
            return False
        over = threading.Event()
        keeping = threading.Thread(target=self._keep, args=(over,), name=f"{name}-keep", daemon=True)
        keeping.start()
        try:
            result, ok = self._run()
        finally:
            over.set()
            keeping.join()  # or it would take back what is given back
        try:
            with ledger.transaction() as books:
                books.loops.beat(name, self._owner, clock(), result=result, ok=ok)
        except Exception as error:  # noqa: BLE001  likewise
            self._complain(str(error))
        return True

    def _take(self) -> bool:
        with self._post.desk.ledger.transaction() as books:
            return books.loops.take(self._loop.name, self._owner, self._post.desk.clock(), _HELD)

    def _keep(self, over: threading.Event) -> None:
        """Keep the loop while a turn takes long, as when a hundred servers end at once."""
        while not over.wait(_HELD.total_seconds() / 3):
            with contextlib.suppress(Exception):
                self._take()
                if self._loop.long:
                    self._say_at_work()

    def _say_at_work(self) -> None:
        with self._post.desk.ledger.transaction() as books:
            books.loops.beat(self._loop.name, self._owner, self._post.desk.clock(), result="at work", ok=True)

    def give_back(self) -> None:
        """Let another janitor have the loop at once."""
        with contextlib.suppress(BerthError), self._post.desk.ledger.transaction() as books:
            books.loops.give_back(self._loop.name, self._owner)

    def _run(self) -> tuple[str, bool]:
        try:
            result = self._turn()
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

    def _turn(self) -> str:
        steps = self._loop.look(self._post)
        changed = carry_out_all(steps)
        self.changed += changed
        return f"{changed} of {len(steps)} steps changed something"

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
