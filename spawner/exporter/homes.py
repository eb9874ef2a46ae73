"""How large users' homes are, measured in the background: never during a scrape, one at a time, at low priority.

GNU du measures: it counts blocks and not lengths, a file with several names once, and goes on when files vanish. It
runs in a process of its own, since a thread at low priority would hold up the others while it has the interpreter.
"""

import contextlib
import logging
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..engine.volumes import HomeVolume
from .looking import HARMLESS, ErrorCounts, reason_of

_LOG = logging.getLogger("berth.exporter")

_COMMAND = ("nice", "-n", "19", "ionice", "-t", "-c", "3", "du")
_OPTIONS = ("--summarize", "--one-file-system", "--block-size=1", "--")
_LONGEST = 6 * 3600.0  # seconds for one home
_MOST_COMPLAINTS = 1 << 16  # bytes


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


class CannotMeasure(Exception):
    """A home could not be measured; `reason` says why in a word, the message in a sentence."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


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
        if home.mounted and not os.path.ismount(home.path):
            raise CannotMeasure("not_supported", f"{home.path} is mounted only while a server of its user runs")
        with tempfile.TemporaryFile() as complaints:
            self._child = subprocess.Popen(
                [*_COMMAND, *_OPTIONS, home.path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env={**os.environ, "LC_ALL": "C"},
            )
            try:
                said, _ = self._child.communicate(timeout=_LONGEST)
            except subprocess.TimeoutExpired:
                self._child.kill()
                raise CannotMeasure("timeout", f"{home.path} took more than {_LONGEST / 3600:g} hours") from None
            finally:
                self._child = None
            complaints.seek(0)
            complained = complaints.read(_MOST_COMPLAINTS).splitlines()
        if any(line.endswith(b": Permission denied") for line in complained):
            raise CannotMeasure("denied", f"not all of {home.path} may be read by this user")
        size = said.partition(b"\t")[0]
        if not size.isdigit():
            gone = not Path(home.path).exists()
            why = complained[0].decode("utf-8", "replace") if complained else "du said nothing"
            raise CannotMeasure("gone" if gone else "failed", f"{home.path}: {why}")
        return int(size)
