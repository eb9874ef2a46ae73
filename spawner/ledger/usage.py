"""What closed leases have used. Rows are written once; the database refuses to change or remove them."""

import json
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Text,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    type_coerce,
)

from ..policy.accounting import Interval, Tally, days, from_ms, idle_part_ms, offsets, per_step
from ..policy.leases import LeaseRules, UsageRow
from . import tables
from .memory import Work
from .pipelines import Sentence
from .records import Record
from .shares import ShareKeeper
from .types import exact_ms, names

By = Literal["user", "group", "day", "model", "course"]

_DAY_MS = 86_400_000
_MANY_DAYS = 5000
_HALF_LIFE = LeaseRules().half_life
_usage = tables.usage
_USAGE = Record(UsageRow, _usage, renamed={"user": "username"})
_STARTED, _ENDED = (type_coerce(column, BigInteger) for column in (_usage.c.started_at, _usage.c.ended_at))
_SINCE, _UNTIL = bindparam("since", type_=BigInteger), bindparam("until", type_=BigInteger)

_WIDTH = bindparam("width", type_=BigInteger)
_MS = timedelta(milliseconds=1)

# The part of a row within the range.
_FROM = case((_STARTED > _SINCE, _STARTED), else_=_SINCE)
_TO = case((_ENDED < _UNTIL, _ENDED), else_=_UNTIL)
_WITHIN = and_(_ENDED > _SINCE, _STARTED < _UNTIL, _ENDED > _STARTED)
_UNCUT = and_(_STARTED >= _SINCE, _ENDED <= _UNTIL)

_INSERT = Sentence(insert(_usage), _usage.c.keys())
_INTERVALS = (
    select(_usage.c.username, _usage.c.started_at, _usage.c.ended_at, func.count())
    .where(
        _usage.c.username.in_(bindparam("users", expanding=True)),
        _usage.c.ended_at > bindparam("since"),
        _usage.c.course == "",
    )
    .group_by(_usage.c.username, _usage.c.lease, _usage.c.started_at, _usage.c.ended_at)
    .order_by(_usage.c.started_at)
)


@dataclass(frozen=True, slots=True)
class Used:
    """GPU-milliseconds.

    Attributes
    ----------
    idle_ms
        Of these, how many were idle.
    """

    gpu_ms: int = 0
    idle_ms: int = 0

    def __add__(self, other: "Used") -> "Used":
        return Used(self.gpu_ms + other.gpu_ms, self.idle_ms + other.idle_ms)


_NOTHING = Used()


@dataclass(frozen=True, slots=True)
class Only:
    """Which rows count; None for all, an empty group or course for those without one."""

    user: str | None = None
    group: str | None = None
    model: str | None = None
    course: str | None = None


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

    def of_leases(self, leases: Collection[str]) -> dict[str, Used]:
        """Give what leases have used of all their slots; none of those that nothing was booked for."""
        query = select(_usage.c.lease, func.sum(_usage.c.gpu_ms), func.sum(_usage.c.idle_ms))
        rows = self._work.connection.execute(query.where(_usage.c.lease.in_(leases)).group_by(_usage.c.lease))
        return {lease: Used(int(gpu_ms), int(idle)) for lease, gpu_ms, idle in rows}

    def intervals(self, user: str, since: datetime) -> list[Interval]:
        """List a user's use that ended after `since`, seats in courses left out: start, end and slots of each lease."""
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
        """Sum up GPU-milliseconds as `sums` does, in UTC."""
        return {key: used.gpu_ms for key, used in self.sums(by, since, until).items()}

    def sums(
        self, by: By, since: datetime, until: datetime, *, zone: tzinfo = UTC, only: Only | None = None
    ) -> dict[str, Used]:
        """Sum up what was used within ``[since, until)``, exactly, the part of each row that lies in it.

        Parameters
        ----------
        by
            ``day`` splits at midnight in `zone`, with keys such as ``2027-03-01``. ``group`` counts a row in each of
            its user's groups as they were, so that the sum may exceed the whole; without a group or course the key is
            empty.
        only
            Of which rows.

        Notes
        -----
        Of rows that are cut, idle time counts as `spawner.policy.accounting.idle_part_ms` spreads it.
        """
        begin, finish = exact_ms(since), exact_ms(until)
        if begin >= finish:
            return {}
        edges, chosen = {"since": begin, "until": finish}, _chosen(only or Only())
        if by == "day":
            return self._by_day(edges, chosen, zone)
        column = {
            "user": _usage.c.username,
            "group": _usage.c.groups,
            "model": _usage.c.model,
            "course": _usage.c.course,
        }[by]
        # As text: a set of groups is no key that SQL could group by.
        key = type_coerce(column, tables.usage.c.username.type)
        whole = select(key, func.sum(_ENDED - _STARTED), func.sum(_usage.c.idle_ms))
        cut = select(key, _STARTED, _ENDED, _usage.c.idle_ms).where(_WITHIN, ~_UNCUT, chosen)
        totals: dict[str, Used] = {}

        def add(key: str, used: Used) -> None:
            for name in (names(key) or {""}) if by == "group" else [key]:
                totals[name] = totals.get(name, _NOTHING) + used

        connection = self._work.connection
        for found, gpu_ms, idle in connection.execute(whole.where(_WITHIN, _UNCUT, chosen).group_by(key), edges):
            used = Used(int(gpu_ms), int(idle))
            if by == "group":
                add(found, used)
            else:
                totals[found] = used
        for found, start, end, idle in connection.execute(cut, edges):
            add(found, _part(start, end, idle, begin, finish))
        return dict(sorted(totals.items()))

    def steps(self, since: datetime, until: datetime, step: timedelta) -> list[int]:
        """Give the GPU-milliseconds within each step from `since` to `until`, exactly.

        The database only counts begins and ends per step: however long what was used took, it costs the same.

        Raises
        ------
        ValueError
            If the time is no whole number of steps, or a step no whole number of milliseconds.
        """
        begin, finish, width = exact_ms(since), exact_ms(until), step // _MS
        count, rest = divmod(finish - begin, width)
        if rest or step % _MS:
            raise ValueError(f"From {since} to {until} is no whole number of steps of {step}.")
        values = {"since": begin, "until": finish, "width": width}
        tallies: list[Tally] = []
        for place in (_FROM - _SINCE, _TO - _SINCE):
            at, tally = place // _WIDTH, [(0, 0)] * (count + 1)
            query = select(at, func.count(), func.sum(place % _WIDTH)).where(_WITHIN).group_by(at)
            for number, many, over in self._work.connection.execute(query, values):
                tally[number] = int(many), int(over)
            tallies.append(tally[:count])
        begun, ended = tallies
        return per_step(begun, ended, width)

    def shares(self, users: Collection[str], now: datetime, half_life: timedelta) -> Mapping[str, float]:
        """Give the decayed use of users (`spawner.policy.accounting.decayed_ms`); each has an entry."""
        return self._shares.at(users, now, half_life)

    def _by_day(self, edges: Mapping[str, int], chosen: ColumnElement[bool], zone: tzinfo) -> dict[str, Used]:
        connection, rows = self._work.connection, and_(_WITHIN, chosen)
        first, last = edges["since"], edges["until"]
        if last - first > _MANY_DAYS * _DAY_MS:  # more than there has been use on
            known = select(func.min(_FROM), func.max(_TO)).where(rows)
            first, last = connection.execute(known, edges).one()
            if first is None:
                return {}
        begins, ends = (_local(moment, zone, first, last) // _DAY_MS for moment in (_FROM, _TO - 1))
        totals: dict[str, Used] = {}
        in_one = and_(rows, _UNCUT, begins == ends)
        whole = select(begins, func.sum(_ENDED - _STARTED), func.sum(_usage.c.idle_ms)).where(in_one).group_by(begins)
        for day, gpu_ms, idle in connection.execute(whole, edges):
            totals[f"{from_ms(day * _DAY_MS):%Y-%m-%d}"] = Used(int(gpu_ms), int(idle))
        cut = select(_STARTED, _ENDED, _usage.c.idle_ms).where(rows, or_(~_UNCUT, begins != ends))
        borders = list(days(from_ms(first), from_ms(last), zone))
        mornings = [morning for _, morning, _ in borders]
        gpu_of, idle_of = [0] * len(borders), [0] * len(borders)
        for start, end, idle in connection.execute(cut, edges):
            begin, finish = max(start, edges["since"]), min(end, edges["until"])
            number = bisect_right(mornings, begin) - 1
            while number < len(borders) and mornings[number] < finish:
                low, high = max(begin, mornings[number]), min(finish, borders[number][2])
                gpu_of[number] += high - low
                idle_of[number] += idle_part_ms(idle, start, end, low, high)
                number += 1
        for (day, _, _), gpu_ms, idle in zip(borders, gpu_of, idle_of, strict=True):
            if gpu_ms:
                totals[day] = totals.get(day, _NOTHING) + Used(gpu_ms, idle)
        return dict(sorted(totals.items()))


def _part(start: int, end: int, idle: int, begin: int, finish: int) -> Used:
    return Used(max(0, min(end, finish) - max(start, begin)), idle_part_ms(idle, start, end, begin, finish))


def _local(moment: ColumnElement[int], zone: tzinfo, first: int, last: int) -> ColumnElement[int]:
    """Add to a time what a zone's clocks are ahead of UTC by then."""
    *later, (_, offset) = reversed(list(offsets(from_ms(first), from_ms(last), zone)))
    if not later:
        return moment + offset
    return moment + case(*((moment >= begin, literal(ahead)) for begin, ahead in later), else_=offset)


def _chosen(only: Only) -> ColumnElement[bool]:
    wanted: list[ColumnElement[bool]] = []
    for column, value in ((_usage.c.username, only.user), (_usage.c.model, only.model), (_usage.c.course, only.course)):
        if value is not None:
            wanted.append(column == value)
    if only.group is not None:
        wanted.append(_has(type_coerce(_usage.c.groups, Text), only.group))
    return and_(true(), *wanted)


def _has(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Tell whether a list of names, as JSON, has one; an empty one is in no list.

    A quotation mark within a name comes with a backslash, so that one after a bracket or a comma begins a name.
    """
    if not name:
        return column == "[]"
    said = json.dumps(name)
    # Not LIKE, which takes large letters for small ones in one of the databases.
    return or_(func.replace(column, f"[{said}", "") != column, func.replace(column, f", {said}", "") != column)
