"""Users' homes."""

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, type_coerce, update
from sqlalchemy.types import BigInteger

from ..policy.homes import Home, HomeState
from . import tables
from .memory import Work
from .records import Record
from .types import exact_ms

_homes = tables.homes
_HOME = Record(Home, _homes, renamed={"size": "bytes", "done": "done_bytes", "archive_size": "archive_bytes"})
_READ = select(*_HOME.columns)

Position = tuple[str | int, str]
"""Where a page of a list ended: what it is sorted by, and the volume."""


class HomeSort(enum.StrEnum):
    """What a list of homes is sorted by."""

    OWNER = "owner"
    SIZE = "size"
    LAST_USED = "last_used"


@dataclass(frozen=True, slots=True)
class HomeFilter:
    """Which homes are wanted; all that is said has to hold.

    Attributes
    ----------
    states
        Empty for all but deleted ones.
    search
        Part of the owner's name, in any case.
    gone
        Whether the hub does not know the owner any more; None for either.
    failed
        Whether the last wish came to nothing; None for either.
    unused_since
        Not used after that.
    """

    states: frozenset[HomeState] = frozenset()
    search: str = ""
    owner: str = ""
    gone: bool | None = None
    failed: bool | None = None
    unused_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class HomeSum:
    """How many homes are in a state, and what they take: in volumes, and in archives; bytes."""

    state: HomeState
    count: int
    size: int
    archive_size: int


Homes = list[Home]

# What is not known goes first where the smallest does, in both databases.
_KEYS: dict[HomeSort, ColumnElement[str] | ColumnElement[int]] = {
    HomeSort.OWNER: _homes.c.owner,
    HomeSort.SIZE: func.coalesce(_homes.c.bytes, -1),
    HomeSort.LAST_USED: func.coalesce(type_coerce(_homes.c.last_used_at, BigInteger), -1),
}


class HomeStore:
    def __init__(self, work: Work) -> None:
        self._work = work

    def get(self, volume: str) -> Home | None:
        row = self._work.connection.execute(_READ.where(_homes.c.volume == volume)).first()
        return None if row is None else _HOME.value(row)

    def of_owner(self, owner: str) -> Homes:
        return self._read(_READ.where(_homes.c.owner == owner).order_by(_homes.c.volume))

    def all(self, states: Collection[HomeState] = ()) -> Homes:
        """List all homes, or those in some states, by volume."""
        query = _READ.order_by(_homes.c.volume)
        return self._read(query.where(_homes.c.state.in_(states)) if states else query)

    def to_do(self, resting: Collection[HomeState]) -> Homes:
        """List those that something is to be done with, the oldest wish first."""
        left_over = and_(_homes.c.archive != "", _homes.c.sha256 == "")
        query = _READ.where(or_(_homes.c.state.not_in(resting), left_over))
        return self._read(query.order_by(_homes.c.asked_at, _homes.c.volume))

    def page(
        self,
        wanted: HomeFilter,
        sort: HomeSort,
        limit: int,
        after: Position | None = None,
        *,
        descending: bool = False,
    ) -> Homes:
        """List homes, so many behind the position at which the last page ended."""
        key = _KEYS[sort]
        query = _READ.where(*_conditions(wanted))
        if after is not None:
            value, volume = after
            beyond = key < value if descending else key > value
            behind = _homes.c.volume < volume if descending else _homes.c.volume > volume
            query = query.where(or_(beyond, and_(key == value, behind)))
        order = (key.desc(), _homes.c.volume.desc()) if descending else (key, _homes.c.volume)
        return self._read(query.order_by(*order).limit(limit))

    def sums(self) -> list[HomeSum]:
        columns = func.count(), func.sum(_homes.c.bytes), func.sum(_homes.c.archive_bytes)
        query = select(_homes.c.state, *columns).group_by(_homes.c.state)
        found = self._work.connection.execute(query)
        return [HomeSum(state, count, int(size or 0), int(archives or 0)) for state, count, size, archives in found]

    def largest(self) -> int:
        """Give the size of the largest home in a volume, for those who draw them to scale."""
        query = select(func.max(_homes.c.bytes)).where(_homes.c.state != HomeState.DELETED)
        return int(self._work.connection.execute(query).scalar_one_or_none() or 0)

    def insert(self, home: Home) -> None:
        self._work.touch(_homes)
        self._work.connection.execute(insert(_homes), _HOME.row(home))

    def update(self, home: Home) -> None:
        self._work.touch(_homes)
        query = update(_homes).where(_homes.c.volume == home.volume)
        self._work.connection.execute(query.values(**_HOME.row(home)))

    def put(self, homes: Sequence[Home], known: Collection[str]) -> None:
        """Write homes, of which those in volumes `known` are there already."""
        for home in homes:
            if home.volume in known:
                self.update(home)
            else:
                self.insert(home)

    def remove(self, volume: str) -> None:
        self._work.touch(_homes)
        self._work.connection.execute(delete(_homes).where(_homes.c.volume == volume))

    def _read(self, query: object) -> Homes:
        return [_HOME.value(row) for row in self._work.connection.execute(query)]  # type: ignore[call-overload]


def position_of(home: Home, sort: HomeSort) -> Position:
    """Say where a list that ends with a home goes on."""
    if sort is HomeSort.OWNER:
        return home.owner, home.volume
    if sort is HomeSort.SIZE:
        return (-1 if home.size is None else home.size), home.volume
    return (-1 if home.last_used_at is None else exact_ms(home.last_used_at)), home.volume


def _conditions(wanted: HomeFilter) -> list[ColumnElement[bool]]:
    columns = _homes.c
    found = [columns.state.in_(wanted.states) if wanted.states else columns.state != HomeState.DELETED]
    if wanted.search:
        found.append(func.lower(columns.owner).contains(wanted.search.lower(), autoescape=True))
    if wanted.owner:
        found.append(columns.owner == wanted.owner)
    if wanted.gone is not None:
        found.append(columns.owner_gone_at.is_not(None) if wanted.gone else columns.owner_gone_at.is_(None))
    if wanted.failed is not None:
        found.append(columns.error != "" if wanted.failed else columns.error == "")
    if wanted.unused_since is not None:
        found.append(or_(columns.last_used_at.is_(None), columns.last_used_at <= wanted.unused_since))
    return found
