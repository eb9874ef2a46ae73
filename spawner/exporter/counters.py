"""Counters that never go backwards while the exporter runs."""

from collections.abc import Collection, Hashable


class Counters:
    """Makes one counter of readings that begin anew, as when a container is restarted or a driver loaded again.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._seen: dict[Hashable, dict[Hashable, tuple[float, float]]] = {}

    def value(self, thing: Hashable, what: Hashable, reading: float) -> float:
        """Give a counter of some thing, of which this is the reading now."""
        of_thing = self._seen.setdefault(thing, {})
        base, last = of_thing.get(what, (0.0, reading))
        if reading < last:
            base += last
        of_thing[what] = base, reading
        return base + reading if base else reading

    def keep(self, things: Collection[Hashable]) -> None:
        """Forget all other things."""
        for thing in self._seen.keys() - set(things):
            del self._seen[thing]
