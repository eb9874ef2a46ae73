"""Decayed use per user, kept up with each booking, so that fair share need not read years of rows."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    bindparam,
    case,
    cast,
    delete,
    func,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite

from ..policy.accounting import Interval, decayed_ms
from ..policy.leases import UsageRow
from . import tables

_MS = timedelta(milliseconds=1)
_FORGOTTEN = 900.0  # half-lives, after which nothing is left of anything
_shares, _usage = tables.shares, tables.usage
_KEPT = select(_shares.c.username, _shares.c.decayed_ms, _shares.c.as_of, _shares.c.half_life_ms).where(
    _shares.c.username.in_(bindparam("users", expanding=True))
)
_BOOKED = (
    select(_usage.c.username, _usage.c.started_at, _usage.c.ended_at)
    .where(_usage.c.username.in_(bindparam("users", expanding=True)))
    .order_by(_usage.c.ended_at)
)


def _adding(insert: postgresql.Insert | sqlite.Insert) -> postgresql.Insert | sqlite.Insert:
    """Bring what is kept and what is new to the later of their times, and add them, in one step."""
    new = insert.excluded
    latest = case((new.as_of > _shares.c.as_of, new.as_of), else_=_shares.c.as_of)

    def decayed(value: ColumnElement[float], as_of: ColumnElement[datetime]) -> ColumnElement[float]:
        passed = type_coerce(latest, BigInteger) - type_coerce(as_of, BigInteger)
        lives = cast(passed, Double) / cast(_shares.c.half_life_ms, Double)
        # PostgreSQL takes a power that is too small for its type as an error.
        return value * func.power(0.5, case((lives > _FORGOTTEN, _FORGOTTEN), else_=lives), type_=Double)

    return insert.on_conflict_do_update(
        index_elements=[_shares.c.username],
        set_={
            "decayed_ms": decayed(_shares.c.decayed_ms, _shares.c.as_of) + decayed(new.decayed_ms, new.as_of),
            "as_of": latest,
        },
        where=_shares.c.half_life_ms == new.half_life_ms,
    )


# Of an insert, SQLAlchemy forgets how many rows it was, unless told so.
_ADD_POSTGRES, _ADD_SQLITE = (
    _adding(insert).execution_options(preserve_rowcount=True)
    for insert in (postgresql.insert(_shares), sqlite.insert(_shares))
)


class ShareKeeper:
    """The table `shares`.

    Decayed use at `as_of` becomes that at a later time by one factor, since it decays exponentially.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, rows: Sequence[UsageRow], half_life: timedelta) -> None:
        """Add rows just booked."""
        for user in sorted({row.user for row in rows}):
            intervals = [(row.started_at, row.ended_at, 1) for row in rows if row.user == user]
            if not self._add(user, intervals, half_life):
                # Another half-life was kept so far: begin anew.
                self._connection.execute(delete(_shares).where(_shares.c.username == user))
                self._add(user, self._booked([user])[user], half_life)

    def _add(self, user: str, intervals: Sequence[Interval], half_life: timedelta) -> bool:
        """Add to what is kept; false if that has another half-life."""
        latest = max(end for _, end, _ in intervals)
        values = {
            "username": user,
            "decayed_ms": decayed_ms(intervals, latest, half_life),
            "as_of": latest,
            "half_life_ms": half_life // _MS,
        }
        add = _ADD_POSTGRES if self._connection.dialect.name == "postgresql" else _ADD_SQLITE
        return self._connection.execute(add, values).rowcount > 0

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
