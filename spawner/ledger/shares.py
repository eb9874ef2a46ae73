"""Decayed use per user, kept up with each booking, so that fair share need not read years of rows."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, select

from ..policy.accounting import Interval, decayed_ms
from ..policy.leases import UsageRow
from . import tables
from .writing import upsert

_MS = timedelta(milliseconds=1)
_shares, _usage = tables.shares, tables.usage
_KEPT = select(_shares.c.username, _shares.c.decayed_ms, _shares.c.as_of, _shares.c.half_life_ms).where(
    _shares.c.username.in_(bindparam("users", expanding=True))
)
_BOOKED = (
    select(_usage.c.username, _usage.c.started_at, _usage.c.ended_at)
    .where(_usage.c.username.in_(bindparam("users", expanding=True)))
    .order_by(_usage.c.ended_at)
)


class ShareKeeper:
    """The table `shares`.

    Decayed use at `as_of` becomes that at a later time by one factor, since it decays exponentially.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, rows: Sequence[UsageRow], half_life: timedelta) -> None:
        """Add rows just booked."""
        users = {row.user for row in rows}
        kept = self._kept(users)
        anew = {user for user in users if user in kept and kept[user][2] != half_life}
        booked = self._booked(anew)
        changed = []
        for user in sorted(users):
            if user in anew:
                intervals = booked[user]
                before, as_of = 0.0, intervals[-1][1]
            else:
                intervals = [(row.started_at, row.ended_at, 1) for row in rows if row.user == user]
                before, as_of, _ = kept.get(user, (0.0, intervals[0][1], half_life))
            latest = max(as_of, *(end for _, end, _ in intervals))
            value = before * _factor(as_of, latest, half_life) + decayed_ms(intervals, latest, half_life)
            changed.append({"username": user, "decayed_ms": value, "as_of": latest, "half_life_ms": half_life // _MS})
        upsert(self._connection, _shares, changed, ["decayed_ms", "as_of", "half_life_ms"])

    def at(self, users: Collection[str], now: datetime, half_life: timedelta) -> dict[str, float]:
        """Give the decayed use at `now`; where another half-life is kept, from all rows of the user."""
        kept = self._kept(users)
        found = {
            user: value * _factor(as_of, now, half_life)
            for user, (value, as_of, life) in kept.items()
            if life == half_life
        }
        booked = self._booked(kept.keys() - found.keys())
        return (
            dict.fromkeys(users, 0.0)
            | found
            | {user: decayed_ms(intervals, now, half_life) for user, intervals in booked.items()}
        )

    def _kept(self, users: Collection[str]) -> dict[str, tuple[float, datetime, timedelta]]:
        if not users:
            return {}
        rows = self._connection.execute(_KEPT, {"users": list(users)})
        return {user: (value, as_of, life * _MS) for user, value, as_of, life in rows}

    def _booked(self, users: Iterable[str]) -> dict[str, list[Interval]]:
        found: dict[str, list[Interval]] = {user: [] for user in users}
        if found:
            for user, start, end in self._connection.execute(_BOOKED, {"users": list(found)}):
                found[user].append((start, end, 1))
        return found


def _factor(then: datetime, now: datetime, half_life: timedelta) -> float:
    """Give what is left of decayed use after a time; all of it where the clock went back."""
    return float(2 ** (-max(timedelta(0), now - then) / half_life))
