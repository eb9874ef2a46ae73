"""Decayed use per user, kept up with each booking, so that fair share need not read years of rows."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ColumnElement, Double, bindparam, case, cast, func, select, type_coerce, update
from sqlalchemy.dialects import postgresql, sqlite

from ..policy.accounting import Interval, decayed_ms
from ..policy.leases import UsageRow
from . import tables
from .memory import Work
from .pipelines import Sentence

_MS = timedelta(milliseconds=1)
_NO_LIFE = 0  # half-life of what was added up with several
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
    """Bring what is kept and what is new to the later of their times, and add them, in one step.

    Two half-lives do not add up: what is kept is then none's.
    """
    new = insert.excluded
    latest = case((new.as_of > _shares.c.as_of, new.as_of), else_=_shares.c.as_of)

    def decayed(value: ColumnElement[float], as_of: ColumnElement[datetime]) -> ColumnElement[float]:
        passed = type_coerce(latest, BigInteger) - type_coerce(as_of, BigInteger)
        lives = cast(passed, Double) / cast(new.half_life_ms, Double)
        # PostgreSQL takes a power that is too small for its type as an error.
        return value * func.power(0.5, case((lives > _FORGOTTEN, _FORGOTTEN), else_=lives), type_=Double)

    return insert.on_conflict_do_update(
        index_elements=[_shares.c.username],
        set_={
            "decayed_ms": decayed(_shares.c.decayed_ms, _shares.c.as_of) + decayed(new.decayed_ms, new.as_of),
            "as_of": latest,
            "half_life_ms": case((_shares.c.half_life_ms == new.half_life_ms, new.half_life_ms), else_=_NO_LIFE),
        },
    )


_COLUMNS = _shares.c.keys()
_ADD_POSTGRES = Sentence(_adding(postgresql.insert(_shares)), _COLUMNS)
_ADD_SQLITE = Sentence(_adding(sqlite.insert(_shares)), _COLUMNS)
_RENEW = Sentence(
    update(_shares)
    .where(_shares.c.username == bindparam("user"))
    .values({name: bindparam(f"b_{name}") for name in ("decayed_ms", "as_of", "half_life_ms")})
)


class ShareKeeper:
    """The table `shares`.

    Decayed use at `as_of` becomes that at a later time by one factor, since it decays exponentially.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    def add(self, rows: Sequence[UsageRow], half_life: timedelta) -> None:
        """Add rows just booked."""
        add = _ADD_POSTGRES if self._work.postgresql else _ADD_SQLITE
        for user in sorted({row.user for row in rows}):
            intervals = [(row.started_at, row.ended_at, 1) for row in rows if row.user == user]
            latest = max(end for _, end, _ in intervals)
            values = {
                "username": user,
                "decayed_ms": decayed_ms(intervals, latest, half_life),
                "as_of": latest,
                "half_life_ms": half_life // _MS,
            }
            self._work.write(add, values)

    def at(self, users: Collection[str], now: datetime, half_life: timedelta) -> dict[str, float]:
        """Give the decayed use at `now`; where another half-life is kept, from all rows of the user.

        What is so summed up is kept from then on, if the transaction is one that writes.
        """
        kept = self._kept(users)
        found = {
            user: value * _factor(as_of, now, half_life)
            for user, (value, as_of, life) in kept.items()
            if life == half_life
        }
        booked = self._booked(kept.keys() - found.keys())
        if self._work.writes:
            for user, intervals in booked.items():
                self._renew(user, intervals, now, half_life)
        return (
            dict.fromkeys(users, 0.0)
            | found
            | {user: decayed_ms(intervals, now, half_life) for user, intervals in booked.items()}
        )

    def _renew(self, user: str, intervals: Sequence[Interval], now: datetime, half_life: timedelta) -> None:
        latest = max([now, *(end for _, end, _ in intervals)])
        values = {
            "b_decayed_ms": decayed_ms(intervals, latest, half_life),
            "b_as_of": latest,
            "b_half_life_ms": half_life // _MS,
        }
        self._work.write(_RENEW, {"user": user, **values})

    def _kept(self, users: Collection[str]) -> dict[str, tuple[float, datetime, timedelta]]:
        if not users:
            return {}
        rows = self._work.connection.execute(_KEPT, {"users": list(users)})
        return {user: (value, as_of, life * _MS) for user, value, as_of, life in rows}

    def _booked(self, users: Iterable[str]) -> dict[str, list[Interval]]:
        found: dict[str, list[Interval]] = {user: [] for user in users}
        if found:
            for user, start, end in self._work.connection.execute(_BOOKED, {"users": list(found)}):
                found[user].append((start, end, 1))
        return found


def _factor(then: datetime, now: datetime, half_life: timedelta) -> float:
    """Give what is left of decayed use after a time; all of it where the clock went back."""
    return float(2 ** (-max(timedelta(0), now - then) / half_life))
