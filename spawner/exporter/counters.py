"""Counters that never go backwards while the exporter runs."""

from collections.abc import Collection, Hashable, Mapping
from typing import TypeVar

What = TypeVar("What", bound=Hashable)


class Counters:
    """Makes one counter of readings that begin anew, as when a container is restarted or a driver loaded again.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._seen: dict[Hashable, dict[Hashable, tuple[float, float]]] = {}

    def value(self, thing: Hashable, what: Hashable, reading: float) -> float:
        """Give a counter of some thing, of which this is the reading now."""
        return self.values(thing, {what: reading})[what]

    def values(self, thing: Hashable, readings: Mapping[What, float]) -> dict[What, float]:
        """Give several counters of some thing."""
        of_thing = self._seen.setdefault(thing, {})
        counters = {}
        for what, reading in readings.items():
            base, last = of_thing.get(what, (0.0, reading))
            if reading < last:
                base += last
            of_thing[what] = base, reading
            counters[what] = base + reading if base else reading
        return counters

    def keep(self, things: Collection[Hashable]) -> None:
        """Forget all other things."""
        for thing in self._seen.keys() - set(things):
            del self._seen[thing]
