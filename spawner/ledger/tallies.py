"""Sums over rows that stay as they are: of all of them, or of what has come since a transaction.

What a lease used is written in the transaction that closes it, and neither changes any more; the number of that
transaction is the lease's version, which is indexed. A ticket that is over does not change either.
"""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    select,
    type_coerce,
)

from ..policy.accounting import from_ms
from ..policy.leases import LeaseState, TicketState
from . import tables
from .memory import Work
from .types import exact_ms, names

_audit, _leases, _tickets, _usage = tables.audit, tables.leases, tables.tickets, tables.usage
_SINCE, _UPTO = bindparam("since", type_=BigInteger), bindparam("upto", type_=BigInteger)
_BEGIN, _FINISH = bindparam("begin", type_=BigInteger), bindparam("finish", type_=BigInteger)
_LATEST = bindparam("latest", type_=BigInteger)
_STARTED, _ENDED = (type_coerce(column, BigInteger) for column in (_usage.c.started_at, _usage.c.ended_at))
# As text: a set of groups is no key that SQL could group by.
_GROUPS = type_coerce(_usage.c.groups, Text)
_OF_NEW_LEASES = and_(_leases.c.version > _SINCE, _leases.c.version <= _UPTO)
_OF_NEW_TICKETS = and_(_tickets.c.version > _SINCE, _tickets.c.version <= _UPTO)

_OVER = [TicketState.SERVED, TicketState.CANCELLED, TicketState.EXPIRED]

_BOOKED = select(
    _usage.c.username, _GROUPS, _usage.c.course, func.sum(_usage.c.gpu_ms), func.max(_ENDED - _STARTED)
).group_by(_usage.c.username, _GROUPS, _usage.c.course)

_LATE = select(
    _usage.c.username,
    _GROUPS,
    func.max(_ENDED),
    func.sum(_ENDED - case((_STARTED > _BEGIN, _STARTED), else_=_BEGIN)),
).group_by(_usage.c.username, _GROUPS)

_LEFT = (
    select(
        _usage.c.username,
        func.sum(case((_ENDED < _FINISH, _ENDED), else_=_FINISH) - case((_STARTED > _BEGIN, _STARTED), else_=_BEGIN)),
    )
    .where(_ENDED > _BEGIN, _ENDED <= _LATEST, _STARTED < _FINISH, _usage.c.course == literal_column("''"))
    .group_by(_usage.c.username)
)

_OUTCOMES = (
    select(type_coerce(_tickets.c.state, Text), func.count())
    .where(_OF_NEW_TICKETS, _tickets.c.state.in_(_OVER))
    .group_by(type_coerce(_tickets.c.state, Text))
)
_ENDINGS = select(func.count()).where(
    _OF_NEW_LEASES, _leases.c.state == LeaseState.CLOSED, _leases.c.ending == bindparam("ending")
)
_WAITED = type_coerce(_leases.c.granted_at, BigInteger) - type_coerce(_tickets.c.arrived_at, BigInteger)
_LAST_ENTRY = select(func.coalesce(func.max(_audit.c.id), literal_column("0")))
_ACTIONS = (
    select(_audit.c.action, func.count())
    .where(
        _audit.c.id > _SINCE,
        _audit.c.id <= _UPTO,
        _audit.c.actor == bindparam("actor"),
        _audit.c.action.in_(bindparam("actions", expanding=True)),
    )
    .group_by(_audit.c.action)
)


@dataclass(frozen=True, slots=True)
class Booked:
    """What leases have used that had the same user, groups and course.

    Attributes
    ----------
    longest_ms
        Of the longest of them.
    """

    user: str
    groups: frozenset[str]
    course: str
    gpu_ms: int
    longest_ms: int


@dataclass(frozen=True, slots=True)
class Late:
    """What leases of a user, in the same groups, have used after a time; and when the last of them ended."""

    user: str
    groups: frozenset[str]
    ended_at: datetime
    gpu_ms: int


@dataclass(frozen=True, slots=True)
class Waits:
    """How long tickets waited that were served.

    Attributes
    ----------
    counts
        Per upper bound, and above the last one.
    total_ms
        Of all.
    """

    counts: tuple[int, ...]
    total_ms: int


class TallyStore:
    """Reads sums; in a transaction that only reads.

    Everywhere `since` is the number of a transaction, as `number` gave it: only what later ones wrote is summed up.
    None is for all that there is.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    @property
    def number(self) -> int:
        """Of the last transaction that is seen here."""
        return self._work.base

    def booked(self, since: int | None) -> list[Booked]:
        return [
            Booked(user, names(groups), course, int(total), int(longest))
            for user, groups, course, total, longest in self._of_usage(_BOOKED, since)
        ]

    def late(self, since: int | None, begin: datetime) -> list[Late]:
        """Sum up what was used after `begin`, seats in courses left out: they cost nobody a budget."""
        query = _LATE.where(_ENDED > _BEGIN, _ENDED > _STARTED, _usage.c.course == literal_column("''"))
        return [
            Late(user, names(groups), from_ms(int(ended)), int(total))
            for user, groups, ended, total in self._of_usage(query, since, begin=exact_ms(begin))
        ]

    def left(self, begin: datetime, finish: datetime, longest_ms: int) -> dict[str, int]:
        """Sum up per user what was used within ``[begin, finish)``, seats in courses left out.

        Parameters
        ----------
        longest_ms
            Of any lease: tells how late one may end that is concerned, so that few rows are read.
        """
        edges = {"begin": exact_ms(begin), "finish": exact_ms(finish)}
        rows = self._work.connection.execute(_LEFT, {**edges, "latest": edges["finish"] + longest_ms})
        return {user: int(total) for user, total in rows}

    def tickets(self, since: int | None) -> dict[TicketState, int]:
        """Count the tickets that are over, by how they ended."""
        rows = self._work.connection.execute(_OUTCOMES, self._versions(since))
        return {TicketState(state): count for state, count in rows}

    def ended(self, since: int | None, ending: str) -> int:
        """Count the leases that ended for a reason."""
        found: int = self._work.connection.execute(_ENDINGS, {**self._versions(since), "ending": ending}).scalar_one()
        return found

    def waits(self, since: int | None, bounds_ms: Sequence[int]) -> Waits:
        """Count served tickets by the time from their arrival to the grant of their leases."""
        row = self._work.connection.execute(_waits(tuple(bounds_ms)), self._versions(since)).one()
        *upto, every, total = (int(value or 0) for value in row)
        counts = [count - less for less, count in zip([0, *upto], [*upto, every], strict=True)]
        return Waits(tuple(counts), total)

    def last_entry(self) -> int:
        """Give the id of the last entry of the audit."""
        found: int = self._work.connection.execute(_LAST_ENTRY).scalar_one()
        return found

    def actions(self, since: int, upto: int, actor: str, actions: Collection[str]) -> Mapping[str, int]:
        """Count what an actor did, as audited in the entries after `since`."""
        values = {"since": since, "upto": upto, "actor": actor, "actions": sorted(actions)}
        rows = self._work.connection.execute(_ACTIONS, values)
        return {str(action): int(count) for action, count in rows}

    def _versions(self, since: int | None) -> dict[str, int]:
        return {"since": -1 if since is None else since, "upto": self.number}

    def _of_usage(self, query: Select[Any], since: int | None, **values: int) -> Any:
        if since is None:
            return self._work.connection.execute(query, values)
        new = query.join_from(_leases, _usage, _usage.c.lease == _leases.c.id).where(_OF_NEW_LEASES)
        return self._work.connection.execute(new, {**self._versions(since), **values})


@functools.cache
def _waits(bounds_ms: tuple[int, ...]) -> Select[Any]:
    """Select the counts up to each bound, the count of all, and the sum."""
    # A clock that was set back between arrival and grant must not make a sum fall.
    waited: ColumnElement[int] = case((_WAITED > 0, _WAITED), else_=0)
    upto = [func.sum(case((waited <= bound, 1), else_=0)) for bound in bounds_ms]
    return (
        select(*upto, func.count(), func.sum(waited))
        .join_from(_tickets, _leases, _leases.c.id == _tickets.c.lease)
        .where(_OF_NEW_TICKETS, _tickets.c.state == TicketState.SERVED)
    )
