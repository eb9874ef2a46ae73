"""What closed leases have used. Rows are written once; the database refuses to change or remove them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import BigInteger, ColumnElement, Select, and_, bindparam, case, func, insert, select, type_coerce

from ..policy.accounting import Interval, from_ms
from ..policy.leases import LeaseRules, UsageRow
from . import tables
from .memory import Work
from .pipelines import Sentence
from .records import Record
from .shares import ShareKeeper
from .types import exact_ms, names

By = Literal["user", "group", "day", "model", "course"]

_DAY_MS = 86_400_000
_HALF_LIFE = LeaseRules().half_life
_usage = tables.usage
_USAGE = Record(UsageRow, _usage, renamed={"user": "username"})
_STARTED, _ENDED = (type_coerce(column, BigInteger) for column in (_usage.c.started_at, _usage.c.ended_at))
_SINCE, _UNTIL = bindparam("since", type_=BigInteger), bindparam("until", type_=BigInteger)

# The part of a row within the range.
_FROM = case((_STARTED > _SINCE, _STARTED), else_=_SINCE)
_TO = case((_ENDED < _UNTIL, _ENDED), else_=_UNTIL)
_WITHIN = and_(_ENDED > _SINCE, _STARTED < _UNTIL, _ENDED > _STARTED)

_INSERT = Sentence(insert(_usage), _usage.c.keys())
_INTERVALS = (
    select(_usage.c.username, _usage.c.started_at, _usage.c.ended_at, func.count())
    .where(_usage.c.username.in_(bindparam("users", expanding=True)), _usage.c.ended_at > bindparam("since"))
    .group_by(_usage.c.username, _usage.c.lease, _usage.c.started_at, _usage.c.ended_at)
    .order_by(_usage.c.started_at)
)


class UsageStore:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._shares = ShareKeeper(work)

    def insert(self, rows: Sequence[UsageRow], half_life: timedelta = _HALF_LIFE) -> None:
        """Book what a lease has used.

        Parameters
        ----------
        half_life
            At which a user's decayed use is kept from now on; another one asked for later costs `shares` a sum over
            all rows of the user.

        Raises
        ------
        LeaseLost
            If the use of a slot by this lease is booked already.
        """
        if not rows:
            return
        self._work.touch(_usage)
        self._work.write(_INSERT, *map(_USAGE.row, rows))
        self._shares.add(rows, half_life)

    def rows(self, *, user: str | None = None, since: datetime | None = None) -> list[UsageRow]:
        """List what is booked, by end; those that ended after `since`."""
        query = select(*_USAGE.columns).order_by(_usage.c.ended_at, _usage.c.lease, _usage.c.slot)
        if user is not None:
            query = query.where(_usage.c.username == user)
        if since is not None:
            query = query.where(_usage.c.ended_at > since)
        return [_USAGE.value(row) for row in self._work.connection.execute(query)]

    def intervals(self, user: str, since: datetime) -> list[Interval]:
        """List a user's use that ended after `since`: start, end and slots of each lease."""
        return self.intervals_of([user], since)[user]

    def intervals_of(self, users: Collection[str], since: datetime) -> dict[str, list[Interval]]:
        """Do likewise for several users; each has an entry."""
        found: dict[str, list[Interval]] = {user: [] for user in users}
        if found:
            query = self._work.connection.execute(_INTERVALS, {"users": list(found), "since": since})
            for user, start, end, slots in query:
                found[user].append((start, end, slots))
        return found

    def totals(self, by: By, since: datetime, until: datetime) -> dict[str, int]:
        """Sum up GPU-milliseconds within ``[since, until)``, exactly, the part of each row that lies in it.

        Parameters
        ----------
        by
            ``day`` splits at midnight UTC, with keys such as ``2027-03-01``. ``group`` counts a row in each of its
            user's groups as they were, so that the sum may exceed the whole; without a group or course the key is
            empty.
        """
        edges = {"since": exact_ms(since), "until": exact_ms(until)}
        if edges["since"] >= edges["until"]:
            return {}
        if by == "day":
            return self._by_day(edges)
        column = {
            "user": _usage.c.username,
            "group": _usage.c.groups,
            "model": _usage.c.model,
            "course": _usage.c.course,
        }[by]
        # As text: a set of groups is no key that SQL could group by.
        sums = self._sums(type_coerce(column, tables.usage.c.username.type), edges)
        if by != "group":
            return {str(key): total for key, total in sums}
        totals: dict[str, int] = {}
        for key, total in sums:
            for group in names(key) or {""}:
                totals[group] = totals.get(group, 0) + total
        return dict(sorted(totals.items()))

    def shares(self, users: Collection[str], now: datetime, half_life: timedelta) -> Mapping[str, float]:
        """Give the decayed use of users (`spawner.policy.accounting.decayed_ms`); each has an entry."""
        return self._shares.at(users, now, half_life)

    def _sums(self, key: ColumnElement[Any], edges: Mapping[str, int]) -> list[tuple[Any, int]]:
        query: Select[Any] = select(key, func.sum(_TO - _FROM)).where(_WITHIN).group_by(key).order_by(key)
        return [(found, int(total)) for found, total in self._work.connection.execute(query, edges)]

    def _by_day(self, edges: Mapping[str, int]) -> dict[str, int]:
        first, last = _FROM // _DAY_MS, (_TO - 1) // _DAY_MS
        connection = self._work.connection
        within = select(first, func.sum(_TO - _FROM)).where(_WITHIN, first == last).group_by(first)
        totals = {day: int(total) for day, total in connection.execute(within, edges)}
        for start, end in connection.execute(select(_FROM, _TO).where(_WITHIN, first != last), edges):
            for day in range(start // _DAY_MS, (end - 1) // _DAY_MS + 1):
                part = min(end, (day + 1) * _DAY_MS) - max(start, day * _DAY_MS)
                totals[day] = totals.get(day, 0) + part
        return {f"{from_ms(day * _DAY_MS):%Y-%m-%d}": totals[day] for day in sorted(totals)}
