"""Leases, and which slots they hold."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    bindparam,
    insert,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)

from ..policy.accounting import to_ms
from ..policy.leases import Lease, LeaseState
from . import tables
from .memory import Mirror, Work
from .pipelines import Sentence
from .records import Record
from .types import Words, exact_ms

_LEASE = Record(Lease, tables.leases, renamed={"user": "username"})
_leases = tables.leases

_READ = select(*_LEASE.columns)
_OPEN = _READ.where(tables.OPEN_LEASE)
# The upper end, which all rows are below, tells PostgreSQL that they are few.
CHANGED = _READ.where(_leases.c.version > bindparam("since"), _leases.c.version <= bindparam("number"))
_BY_ID = _READ.where(_leases.c.id == bindparam("id"))
_OF_SERVER = _READ.where(
    tables.OPEN_LEASE, _leases.c.username == bindparam("user"), _leases.c.server == bindparam("server")
)
_OF_USER = _READ.where(tables.OPEN_LEASE, _leases.c.username == bindparam("user")).order_by(
    _leases.c.granted_at, _leases.c.id
)

_ID, _STATE = (_LEASE.columns.index(_leases.c[name]) for name in ("id", "state"))
_INSERT = Sentence(insert(_leases), _leases.c.keys())
_CHANGEABLE = [column for column in _LEASE.columns if column.name != "id"]
_UPDATE = Sentence(
    update(_leases)
    .where(
        _leases.c.id == bindparam("b_id"),
        _leases.c.state == bindparam("was_state"),
        _leases.c.changed_at == bindparam("was_changed_at"),
    )
    .values(
        {column: bindparam(f"b_{column.name}") for column in _CHANGEABLE} | {_leases.c.version: bindparam("number")}
    )
)


@dataclass(frozen=True, slots=True)
class LeaseFilter:
    """Which leases are listed; None for all.

    Attributes
    ----------
    model
        Of a GPU that it has, or had.
    open
        Whether it holds its slots.
    since, until
        Those that were open at some time within ``[since, until)``.
    """

    user: str | None = None
    state: LeaseState | None = None
    model: str | None = None
    open: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


class LeaseStore:
    def __init__(self, work: Work, mirror: Mirror[Lease]) -> None:
        self._work = work
        self._mirror = mirror

    def open(self) -> list[Lease]:
        """List the leases that are not closed, in no order."""
        return list(
            self._mirror.read(
                self._work.base, self._read_open, self._read_changed, committed=self._work.untouched(_leases)
            ).values()
        )

    def get(self, lease_id: str) -> Lease | None:
        return self._known().get(lease_id) or next(self._read(_BY_ID, id=lease_id), None)

    def of_server(self, user: str, server: str) -> Lease | None:
        """Give a server's open lease."""
        if known := self._known():
            return next((lease for lease in known.values() if lease.server == server and lease.user == user), None)
        return next(self._read(_OF_SERVER, user=user, server=server), None)

    def of_user(self, user: str) -> list[Lease]:
        """List a user's open leases, the oldest first."""
        return list(self._read(_OF_USER, user=user))

    def history(self, *, user: str | None = None, since: datetime | None = None, limit: int = 100) -> list[Lease]:
        """List leases, closed ones too, the latest granted first.

        Parameters
        ----------
        since
            Leave out those closed before.
        """
        query = _READ.order_by(_leases.c.granted_at.desc(), _leases.c.id.desc()).limit(limit)
        if user is not None:
            query = query.where(_leases.c.username == user)
        if since is not None:
            query = query.where(or_(_leases.c.closed_at.is_(None), _leases.c.closed_at >= since))
        return list(self._read(query))

    def page(self, wanted: LeaseFilter, *, after: tuple[datetime, str] | None = None, limit: int = 100) -> list[Lease]:
        """List leases, closed ones too, the latest granted first.

        Parameters
        ----------
        after
            Where the page before ended: `Lease.granted_at` and `Lease.id` of its last one.
        """
        granted: ColumnElement[int] = type_coerce(_leases.c.granted_at, BigInteger)
        is_open = wanted.open or wanted.state not in {None, LeaseState.CLOSED}
        if is_open:
            granted += (
                0  # few are open: their own index finds them, where that of times would lead through all there are
            )
        query = _READ.order_by(granted.desc(), _leases.c.id.desc()).limit(limit)
        if after is not None:
            last = tuple_(literal(exact_ms(after[0]), BigInteger), literal(after[1], Words()))
            query = query.where(granted <= exact_ms(after[0]), tuple_(granted, _leases.c.id) < last)
        if wanted.user is not None:
            query = query.where(_leases.c.username == wanted.user)
        if wanted.state is not None:
            query = query.where(_leases.c.state == wanted.state)
        if is_open:
            query = query.where(tables.OPEN_LEASE)
        if wanted.open is False:
            query = query.where(_leases.c.state == LeaseState.CLOSED)
        if wanted.since is not None:
            query = query.where(or_(_leases.c.closed_at.is_(None), _leases.c.closed_at > wanted.since))
        if wanted.until is not None:
            query = query.where(_leases.c.granted_at < wanted.until)
        if wanted.model is not None:
            held = select(tables.lease_slots.c.slot).join_from(
                tables.lease_slots, tables.slots, tables.slots.c.id == tables.lease_slots.c.slot
            )
            of_model = tables.lease_slots.c.lease == _leases.c.id, tables.slots.c.model == wanted.model
            query = query.where(held.where(*of_model).exists())
        return list(self._read(query))

    def insert(self, lease: Lease) -> None:
        """Write a new lease.

        Raises
        ------
        LeaseLost
            If an open lease holds one of its slots, or its server has one.
        """
        number = self._work.touch(_leases)
        self._work.write(_INSERT, {**_LEASE.row(lease), "version": number})

    def update(self, lease: Lease, was: Lease) -> bool:
        """Write a lease anew, if state and time of change are still those of `was`.

        Returns
        -------
        bool
            Whether they were; if not, nothing is written.
        """
        unchanged = _same(self._known().get(was.id), was)
        number = self._work.touch(_leases)
        values = {f"b_{name}": value for name, value in _LEASE.row(lease).items()}
        values |= {"was_state": was.state, "was_changed_at": was.changed_at, "number": number}
        if unchanged:  # nobody else writes now, so that there is no need to wait for the answer
            self._work.write(_UPDATE, values)
            return True
        return self._work.connection.execute(_UPDATE.statement, values).rowcount > 0

    def _known(self) -> Mapping[str, Lease]:
        """Give the open leases where they are known as this transaction sees them; else none."""
        return self._mirror.known(self._work.base) or {} if self._work.untouched(_leases) else {}

    def _read(self, query: Select[Any], **parameters: object) -> Iterator[Lease]:
        return map(_LEASE.value, self._work.connection.execute(query, parameters))

    def _read_open(self) -> Iterator[tuple[str, Lease]]:
        return ((lease.id, lease) for lease in self._read(_OPEN))

    def _read_changed(self, since: int) -> Iterator[tuple[str, Lease | None]]:
        for lease in self._read(CHANGED, since=since, number=self._work.number):
            yield lease.id, lease if lease.state is not LeaseState.CLOSED else None


def changes_of(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[str, Lease | None]]:
    """Read what the driver gives for `CHANGED`; None for a lease that is closed."""
    for row in rows:
        yield row[_ID], _LEASE.read(row) if row[_STATE] != LeaseState.CLOSED else None


def _same(one: Lease | None, other: Lease) -> bool:
    return one is not None and one.state is other.state and to_ms(one.changed_at) == to_ms(other.changed_at)
