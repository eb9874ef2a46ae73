"""Sums over all past use, kept up event by event instead of added up anew for each decision."""

from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import log
from typing import Any

from ..policy.accounting import Interval, length_ms, spent
from ..policy.leases import Lease, Spent

_MS = timedelta(milliseconds=1)
_NOTHING = Spent()


class DecayedUse(Mapping[str, float]):
    """Everybody's decayed use, as `spawner.policy.accounting.decayed_ms` of their intervals, at the time set last.

    With the half-life H, an interval [s, e) counts ``(2 ** (-(t - e) / H) - 2 ** (-(t - s) / H)) * H / ln 2`` at the
    time t, and one that still runs counts ``(1 - 2 ** (-(t - s) / H)) * H / ln 2``. Both are
    ``a + b * 2 ** (-(t - t0) / H)``, where a counts what runs and b changes only when something starts or ends.
    """

    def __init__(self, half_life: timedelta, since: datetime) -> None:
        self._since = since
        self._life = half_life / _MS
        self._unit = self._life / log(2)
        self._running: dict[str, int] = {}
        self._scaled: dict[str, float] = {}
        self.set_time(since)

    def set_time(self, now: datetime) -> None:
        """Say at which time the values are wanted."""
        self._shrink = 1 / self._grown(now)

    def started(self, user: str, slots: int, when: datetime) -> None:
        self._add(user, slots, when)

    def ended(self, user: str, slots: int, when: datetime) -> None:
        self._add(user, -slots, when)

    def _add(self, user: str, slots: int, when: datetime) -> None:
        self._running[user] = self._running.get(user, 0) + slots
        self._scaled[user] = self._scaled.get(user, 0.0) - slots * self._grown(when)

    def _grown(self, when: datetime) -> float:
        return float(2 ** ((when - self._since) / _MS / self._life))

    def __getitem__(self, user: str) -> float:
        return (self._running[user] + self._scaled[user] * self._shrink) * self._unit

    def get(self, user: str, default: Any = None, /) -> Any:
        """As a mapping's, only faster: the queue's order asks for every ticket at every look."""
        scaled = self._scaled.get(user)
        return default if scaled is None else (self._running[user] + scaled * self._shrink) * self._unit

    def __iter__(self) -> Iterator[str]:
        return iter(self._scaled)

    def __len__(self) -> int:
        return len(self._scaled)


@dataclass(slots=True)
class _Window:
    """One user's booked intervals within the window: by their start, and their sum."""

    kept: list[Interval] = field(default_factory=list)
    total: int = 0


class Budgets:
    """Everybody's budget; equals `spawner.policy.accounting.spent` of their intervals and leases."""

    def __init__(self, window: timedelta, past: Mapping[str, Iterable[Interval]] | None = None) -> None:
        self._window = window
        self._of: dict[str, _Window] = {}
        for user, intervals in (past or {}).items():
            for interval in intervals:
                self.book(user, interval)

    def book(self, user: str, interval: Interval) -> None:
        """Add what a closed lease used."""
        booked = self._of.setdefault(user, _Window())
        insort(booked.kept, interval)
        booked.total += length_ms(interval[0], interval[1]) * interval[2]

    def spent(self, user: str, leases: Sequence[Lease], now: datetime) -> Spent:
        """Sum up a user's budget; `now` never goes back.

        Parameters
        ----------
        leases
            The user's leases that hold slots.
        """
        running = spent((), leases, now, self._window) if leases else _NOTHING
        booked = self._of.get(user)
        if booked is None:
            return running
        edge = now - self._window
        while booked.kept and booked.kept[0][1] <= edge:
            self._forget(booked)
        outside = across = 0
        for start, end, slots in booked.kept:
            if start >= edge:
                break
            outside += length_ms(start, min(end, edge)) * slots
            across += 1
        past = [interval for interval in booked.kept[:across] if interval[1] > edge]
        past += booked.kept[across:]
        past += running.past
        used = running.used_ms + booked.total - outside
        return Spent(used, running.committed_ms, running.gpus_held, tuple(past))

    def _forget(self, booked: _Window) -> None:
        start, end, slots = booked.kept.pop(0)
        booked.total -= length_ms(start, end) * slots
