"""What the GPUs did in the last quarter of an hour, for pages that show it without asking Prometheus.

`exporters.Exporters` puts in what the nodes' exporters say, every ten seconds. Everything here is safe between threads.
"""

import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isnan, nan
from typing import Generic, Literal, TypeVar

INTERVAL = timedelta(seconds=10)
KEPT = timedelta(minutes=15)
_STALE = 4 * INTERVAL
_POINTS = KEPT // INTERVAL + 6  # polls are a little early or late
_MOST_GPUS, _MOST_HOLDINGS = 10_000, 40_000  # whoever answers in an exporter's place cannot fill the memory

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a GPU was found to do; None for what could not be read.

    Attributes
    ----------
    sm
        Share of the last moments in which a kernel ran, 0 to 1.
    memory_used, memory_total
        Bytes.
    temperature
        Of the chip, degrees Celsius.
    power
        Watts.
    strangers
        Processes on it that hold no lease of it.
    """

    at: datetime
    sm: float | None = None
    memory_used: float | None = None
    memory_total: float | None = None
    temperature: float | None = None
    power: float | None = None
    strangers: float | None = None

    @property
    def memory(self) -> float | None:
        """Share of the memory that programs hold, 0 to 1."""
        if self.memory_used is None or not self.memory_total:
            return None
        return min(1.0, self.memory_used / self.memory_total)


@dataclass(frozen=True, slots=True, order=True)
class Holding:
    """A slot that a lease holds, as the exporter of its node says; users' names may be hashed there, ids are not."""

    lease: str
    gpu: str
    slot: str


@dataclass(frozen=True, slots=True)
class HeldReading:
    """What a lease's container did with a slot: `sm` from 0 to 1, `memory` in bytes; None for what is not known."""

    at: datetime
    sm: float | None = None
    memory: float | None = None


@dataclass(frozen=True, slots=True)
class HeldSeries:
    """What a lease's container did with a slot lately, the oldest first."""

    holding: Holding
    points: tuple[HeldReading, ...]

    @property
    def latest(self) -> HeldReading:
        return self.points[-1]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there are no readings.

    Attributes
    ----------
    kind
        ``starting``: nobody has answered yet; ``away``: nobody answers; ``refused``: the token is wrong; ``untrusted``:
        its certificate is not trusted; ``unreadable``: what answers is no exporter.
    where
        Host and port of the exporter; empty while starting.
    said
        What was found, for an admin.
    """

    kind: Literal["starting", "away", "refused", "untrusted", "unreadable"]
    where: str = ""
    said: str = ""

    def __str__(self) -> str:
        if self.kind == "starting":
            return "The exporter has not been asked yet."
        told = {
            "away": "does not answer",
            "refused": "refuses the token",
            "untrusted": "shows a certificate that is not trusted",
            "unreadable": "answers, but with no metrics of Berth",
        }[self.kind]
        return f"The exporter at {self.where} {told}{f': {self.said}' if self.said else ''}."


class _Ring(Generic[K]):
    """The last values of many things, eight bytes each; None is kept as NaN."""

    def __init__(self, width: int, most: int) -> None:
        self._width, self._most = 1 + width, most
        self._rows: dict[K, tuple[array[float], int]] = {}

    def put(self, key: K, at: float, values: Sequence[float | None]) -> bool:
        """Take in values; false if there are too many things already."""
        row, place = self._rows.get(key) or (array("d"), 0)
        if not row and len(self._rows) >= self._most:
            return False
        new = array("d", [at, *(nan if value is None else value for value in values)])
        if len(row) < _POINTS * self._width:
            row += new
        else:
            row[place : place + self._width] = new
        self._rows[key] = row, (place + self._width) % (_POINTS * self._width)
        return True

    def read(self, key: K, since: float) -> Iterator[tuple[float, list[float | None]]]:
        """Give times and values after a time, the oldest first."""
        row, place = self._rows.get(key, (array("d"), 0))
        begin = place if len(row) == _POINTS * self._width else 0
        for step in range(0, len(row), self._width):
            at = (begin + step) % len(row)
            if row[at] > since:
                found = row[at + 1 : at + self._width]
                yield row[at], [None if isnan(value) else value for value in found]

    def forget_before(self, since: float) -> list[K]:
        """Drop whatever has no value since; gives what was dropped."""
        width, gone = self._width, []
        for key, (row, place) in self._rows.items():
            if row[(place or len(row)) - width] <= since:
                gone.append(key)
        for key in gone:
            del self._rows[key]
        return gone


class Readings:
    """The ring of the last quarter of an hour.

    Parameters
    ----------
    clock
        Gives the time, aware of its zone.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._gpus: _Ring[str] = _Ring(6, _MOST_GPUS)
        self._holdings: _Ring[Holding] = _Ring(2, _MOST_HOLDINGS)
        self._of_lease: dict[str, set[Holding]] = {}
        self._latest: dict[str, Reading] = {}
        self._troubles: dict[str, Trouble] = {}
        self._at: datetime | None = None
        self._tidied_at = clock()
        self._version = 0

    # --- what pages ask -----------------------------------------------------------------------------------------------

    def latest(self, gpu: str) -> Reading | None:
        """Give what a GPU does now; None if nobody has said so in the last moments."""
        found = self._latest.get(gpu)
        return found if found is not None and self._clock() - found.at <= _STALE else None

    def all_latest(self) -> Mapping[str, Reading]:
        """Give what all GPUs do now, by UUID."""
        oldest = self._clock() - _STALE
        with self._lock:
            return {gpu: found for gpu, found in self._latest.items() if found.at >= oldest}

    def series(self, gpu: str) -> tuple[Reading, ...]:
        """Give what a GPU did lately, the oldest first."""
        with self._lock:
            found = list(self._gpus.read(gpu, self._since()))
        return tuple(Reading(_time(at), *values) for at, values in found)

    def of_lease(self, lease: str, lately: timedelta = KEPT) -> tuple[HeldSeries, ...]:
        """Give what a lease's container did with each of its slots; of a lease that has ended, too, for a while.

        Parameters
        ----------
        lately
            How far back; no further than a quarter of an hour.
        """
        with self._lock:
            since = (self._clock() - min(lately, KEPT)).timestamp()
            found = [(one, list(self._holdings.read(one, since))) for one in sorted(self._of_lease.get(lease, ()))]
        return tuple(
            HeldSeries(holding, tuple(HeldReading(_time(at), *values) for at, values in points))
            for holding, points in found
            if points
        )

    @property
    def age(self) -> timedelta | None:
        """How long ago an exporter has answered; None if none ever has."""
        return None if self._at is None else max(timedelta(0), self._clock() - self._at)

    @property
    def problem(self) -> Trouble | None:
        """What stands in the way of readings, at one node at least; None if nothing does."""
        with self._lock:
            troubles = [self._troubles[source] for source in sorted(self._troubles)]
        if troubles:
            return troubles[0]
        return Trouble("starting") if self._at is None else None

    @property
    def problems(self) -> tuple[Trouble, ...]:
        """All of what stands in the way, one per node."""
        with self._lock:
            return tuple(self._troubles[source] for source in sorted(self._troubles))

    @property
    def version(self) -> int:
        """A number that is another one after each change."""
        return self._version

    # --- what exporters say -------------------------------------------------------------------------------------------

    def put(
        self, gpus: Mapping[str, Reading], holdings: Mapping[Holding, HeldReading] | None = None, source: str = ""
    ) -> None:
        """Take in what the exporter of a node has said; ends the trouble with it."""
        with self._lock:
            for gpu, one in gpus.items():
                values = one.sm, one.memory_used, one.memory_total, one.temperature, one.power, one.strangers
                if self._gpus.put(gpu, one.at.timestamp(), values):
                    self._latest[gpu] = one
            for holding, held in (holdings or {}).items():
                if self._holdings.put(holding, held.at.timestamp(), (held.sm, held.memory)):
                    self._of_lease.setdefault(holding.lease, set()).add(holding)
            self._troubles.pop(source, None)
            self._at = self._clock()
            if self._at - self._tidied_at >= INTERVAL:
                self._tidied_at = self._at
                self._forget()
            self._version += 1

    def fail(self, source: str, trouble: Trouble) -> None:
        """Note that an exporter did not say anything."""
        with self._lock:
            self._troubles[source] = trouble
            self._version += 1

    def _since(self) -> float:
        return (self._clock() - KEPT).timestamp()

    def _forget(self) -> None:
        since = self._since()
        for gpu in self._gpus.forget_before(since):
            self._latest.pop(gpu, None)
        for holding in self._holdings.forget_before(since):
            others = self._of_lease[holding.lease] - {holding}
            if others:
                self._of_lease[holding.lease] = others
            else:
                del self._of_lease[holding.lease]


def _time(stamp: float) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)
