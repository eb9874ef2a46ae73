"""What the loops of classes share in one process: what they last saw of the hub, what is under way, how it went."""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..metrics.metric import Histogram
from ..metrics.of_classes import START_BUCKETS
from .hub import Hub, Server

Servers = Mapping[tuple[str, str], Server]
Key = tuple[str, str]  # a seat: session and user

FRESH_SECONDS = 1.5
ENDED_HERE = timedelta(seconds=60)
"""From a seat's end on, within which its class's loop ends its lease, and no other does."""


@dataclass
class ClassWork:
    """Held by the janitor's context; a new process begins with nothing, and learns all that matters anew.

    Attributes
    ----------
    asking
        Seats whose hub has not answered yet.
    saved
        Seats whose documents were saved at their session's end.
    settled
        What a course was like, by id, when its users, groups and shares were last found to be as they should be; and
        when, by `time.monotonic`.
    put_off
        Seats whose work could not be collected, though that may pass, and how often that was: others go first.
    memory
        What containers were last given, by name, and since when their seats were ready.
    """

    asking: set[Key] = field(default_factory=set)
    saved: set[Key] = field(default_factory=set)
    settled: dict[str, tuple[object, float]] = field(default_factory=dict)
    put_off: Counter[Key] = field(default_factory=Counter)
    memory: dict[str, tuple[int, datetime | None]] = field(default_factory=dict)
    _looking: threading.Lock = field(default_factory=threading.Lock)
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _seen: tuple[float, Servers] | None = None
    _counts: list[int] = field(default_factory=lambda: [0] * (len(START_BUCKETS) + 1))
    _seconds: float = 0.0
    _failures: Counter[str] = field(default_factory=Counter)

    def servers(self, hub: Hub, seconds: float = FRESH_SECONDS) -> Servers:
        """Give the hub's servers, as they were so long ago at most.

        Raises
        ------
        HubUnavailable
        """
        with self._looking:  # who comes while another asks waits for the same answer
            if self._seen is None or time.monotonic() - self._seen[0] > seconds:
                began = time.monotonic()
                self._seen = began, hub.servers()
            return self._seen[1]

    def forget(self) -> None:
        """Look at the hub anew, whenever somebody asks next."""
        self._seen = None

    @contextmanager
    def at_work(self, key: Key) -> Iterator[None]:
        self.asking.add(key)
        try:
            yield
        finally:
            self.asking.discard(key)

    # --- metrics ------------------------------------------------------------------------------------------------------

    def started(self, seconds: float) -> None:
        with self._counting:
            self._counts[bisect_left(START_BUCKETS, seconds)] += 1
            self._seconds += seconds

    def failed(self, why: str) -> None:
        with self._counting:
            self._failures[why] += 1

    def starts(self) -> Histogram:
        with self._counting:
            return Histogram(tuple(self._counts), self._seconds)

    def failures(self, why: str) -> int:
        return self._failures[why]
