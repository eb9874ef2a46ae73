"""Looking with an end: each kind of looking has a thread of its own, and nobody waits for it longer than they want."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

import requests

from ..errors import EngineUnavailable, GpuProbeFailed

T = TypeVar("T")

_LOG = logging.getLogger("berth.exporter")

Look = Future[tuple[T, float]]  # what was found, and how many seconds that took

REASONS = ("not_supported", "lost", "timeout", "unavailable", "gone", "denied", "failed")
# What is simply not there is no fault of the looking.
HARMLESS = frozenset({"not_supported", "lost", "gone"})


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What came of a look.

    Attributes
    ----------
    value
        None if nothing did.
    reason
        Why not, one of `REASONS`; empty if something did.
    seconds
        How long it took, or has been waited for.
    """

    value: T | None
    reason: str
    seconds: float


class Looker(Generic[T]):
    """Looks when it is asked to, in its own thread.

    As long as a look has not returned, another one fails at once: there is no way to break off a call that hangs.

    Parameters
    ----------
    name
        For the log.
    """

    def __init__(self, name: str, look: Callable[[], T]) -> None:
        self._name = name
        self._look = look
        self._asked: SimpleQueue[Look[T] | None] = SimpleQueue()
        self._last: Look[T] | None = None
        self._began = 0.0
        self._said = ""
        self._thread = threading.Thread(target=self._work, name=f"look-{name}", daemon=True)
        self._thread.start()

    def begin(self) -> "Look[T] | None":
        """Begin a look; None while an earlier one has not returned."""
        if self._last is not None and not self._last.done():
            return None
        self._began = time.monotonic()
        self._last = Future()
        self._asked.put(self._last)
        return self._last

    def finish(self, begun: "Look[T] | None", until: float) -> Found[T]:
        """Wait for what came of a look, not longer than to a time of the monotonic clock."""
        value, reason, text, seconds = None, "timeout", "nothing answers", None
        try:
            if begun is not None:
                value, seconds = begun.result(max(0.0, until - time.monotonic()))
                reason = ""
        except TookTooLong:
            pass
        except Exception as error:  # noqa: BLE001  whatever it is, a scrape is answered
            reason, text = reason_of(error), str(error)
            if reason == "failed":
                _LOG.error("Looking at the %s failed", self._name, exc_info=error)
        self._say(reason, text)
        return Found(value, reason, time.monotonic() - self._began if seconds is None else seconds)

    def close(self) -> None:
        """Let the thread end after what it does."""
        self._asked.put(None)

    def _say(self, reason: str, text: str) -> None:
        """Tell the log when it begins and when it is over."""
        if reason != self._said:
            if reason:
                _LOG.warning("No metrics of the %s: %s [%s]", self._name, text, reason)
            else:
                _LOG.info("There are metrics of the %s again.", self._name)
            self._said = reason

    def _work(self) -> None:
        while (future := self._asked.get()) is not None:
            began = time.monotonic()
            try:
                future.set_result((self._look(), time.monotonic() - began))
            except Exception as error:  # noqa: BLE001  goes to who asked
                future.set_exception(error)


def reason_of(error: Exception) -> str:
    """Say in one of `REASONS` why something could not be read."""
    reason = getattr(error, "reason", None)
    if reason in REASONS:
        return str(reason)
    cause = error.__cause__
    match error:
        case EngineUnavailable() if isinstance(cause, requests.exceptions.Timeout):
            return "timeout"
        case EngineUnavailable() | GpuProbeFailed():
            return "denied" if "Permission denied" in str(error) else "unavailable"
        case PermissionError():
            return "denied"
    return "failed"


class ErrorCounts:
    """How many readings were absent, by probe and reason; thread-safe."""

    def __init__(self, probes: tuple[str, ...]) -> None:
        self._lock = threading.Lock()
        self._counts = {(probe, reason): 0 for probe in probes for reason in REASONS}

    def add(self, probe: str, reason: str, count: int = 1) -> None:
        with self._lock:
            self._counts[probe, reason] += count

    def now(self) -> dict[tuple[str, str], int]:
        with self._lock:
            return dict(self._counts)
