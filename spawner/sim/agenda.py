"""What happens when: events by time, those of one moment in the order in which they were planned."""

from collections.abc import Callable
from datetime import datetime
from heapq import heappop, heappush
from itertools import count

Event = Callable[[datetime], None]


class Agenda:
    """Events to come."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, Event]] = []
        self._number = count()

    def at(self, when: datetime, event: Event) -> None:
        heappush(self._heap, (when, next(self._number), event))

    def run(self, until: datetime) -> int:
        """Let everything happen that is planned before `until`; give the number of events."""
        done = 0
        while self._heap and self._heap[0][0] < until:
            when, _, event = heappop(self._heap)
            event(when)
            done += 1
        return done
