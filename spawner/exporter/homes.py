"""How large users' homes are, measured in the background: never during a scrape, one at a time, at low priority."""

import contextlib
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..engine.disk_use import CannotMeasure, measure
from ..engine.volumes import HomeVolume
from .looking import HARMLESS, ErrorCounts, reason_of

_LOG = logging.getLogger("berth.exporter")


@dataclass(frozen=True, slots=True)
class Home:
    """A home's size.

    Attributes
    ----------
    used
        Bytes on disk.
    measured_at
        Seconds since 1970.
    """

    user: str
    used: int
    measured_at: float


@dataclass(frozen=True, slots=True)
class Round:
    """The homes as they were measured last.

    Attributes
    ----------
    whole
        Whether the last round brought all there is; None before the first is over.
    seconds
        How long it took.
    """

    homes: tuple[Home, ...] = ()
    whole: bool | None = None
    seconds: float = 0.0


class HomeWalker:
    """Measures all homes again and again.

    Parameters
    ----------
    list_homes
        Gives the homes there are.
    minutes
        From the begin of one round to that of the next; 0 for never.
    """

    def __init__(
        self,
        list_homes: Callable[[], Sequence[HomeVolume]],
        minutes: float,
        errors: ErrorCounts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._list = list_homes
        self._interval = minutes * 60
        self._errors = errors
        self._clock = clock
        self._closed = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._round = Round()
        self._known: dict[str, Home] = {}
        self._thread = threading.Thread(target=self._run, name="homes", daemon=True)

    def start(self) -> None:
        if self._interval:
            self._thread.start()

    def close(self) -> None:
        self._closed.set()
        child = self._child
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()

    @property
    def current(self) -> Round:
        return self._round

    def _run(self) -> None:
        while not self._closed.is_set():
            began = time.monotonic()
            whole = self._walk()
            took = time.monotonic() - began
            self._round = Round(tuple(self._known.values()), whole, took)
            self._closed.wait(max(self._interval - took, min(self._interval, 1.0)))

    def _walk(self) -> bool:
        try:
            homes = self._list()
        except Exception as error:  # noqa: BLE001  the next round may fare better
            reason = reason_of(error)
            _LOG.warning("The homes cannot be listed: %s [%s]", error, reason)
            self._errors.add("homes", reason)
            return False
        there = {home.user for home in homes}
        self._known = {user: home for user, home in self._known.items() if user in there}
        whole = True
        for home in homes:
            if self._closed.is_set():
                return False
            try:
                used = self._measure(home)
            except CannotMeasure as error:
                self._known.pop(home.user, None)
                self._errors.add("homes", error.reason)
                whole = whole and error.reason in HARMLESS
                _LOG.info("A home was not measured: %s [%s]", error, error.reason)
            else:
                self._known[home.user] = Home(home.user, used, self._clock())
            self._round = Round(tuple(self._known.values()), self._round.whole, self._round.seconds)
        return whole

    def _measure(self, home: HomeVolume) -> int:
        try:
            return measure(home, started=self._started).used
        finally:
            self._child = None

    def _started(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
