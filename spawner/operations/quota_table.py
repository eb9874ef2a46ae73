"""Quotas as one table: the default, groups and users down, dimensions across; what the settings say and what is set."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ..policy.limits import Origin, why
from ..policy.model import Person
from ..policy.quota import QUOTA_DIMENSIONS, QuotaGrant, Subject
from .desk import Desk
from .quotas import key_of

Value = float | int | frozenset[str]

_ORDER = {subject: number for number, subject in enumerate(Subject)}


class Place(NamedTuple):
    """Whose row it is, and where it stands."""

    subject: Subject
    name: str

    @property
    def position(self) -> tuple[int, str, str]:
        return _ORDER[self.subject], self.name.casefold(), self.name


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of one row.

    Attributes
    ----------
    setting
        What the settings say; None for nothing.
    grant
        What is set; None for nothing.
    over
        Whether the grant's time has passed, so that it does not count.
    effective
        What a user has, with its origin; None in the rows of others.
    """

    dimension: str
    setting: Value | None
    grant: QuotaGrant | None
    over: bool = False
    effective: Origin | None = None

    @property
    def own(self) -> Value | None:
        """What holds of what is said here."""
        return self.grant.value if self.grant is not None and not self.over else self.setting


@dataclass(frozen=True, slots=True)
class Row:
    """What is said of the default, a group or a user.

    Attributes
    ----------
    groups
        Of a user.
    known
        Whether there is such a group or user; a quota may be set before they come.
    """

    place: Place
    groups: tuple[str, ...]
    known: bool
    cells: tuple[Cell, ...]

    def cell(self, dimension: str) -> Cell:
        return self.cells[QUOTA_DIMENSIONS.index(dimension)]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are wanted.

    Attributes
    ----------
    search
        Words that must all occur in the name, or in a grant's author or reason.
    subjects
        Empty for all.
    everyone
        Whether those of whom nothing is said are wanted, too.
    temporary
        Only those with a value that ends by itself.
    """

    search: str = ""
    subjects: Collection[Subject] = ()
    everyone: bool = False
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A part of the table.

    Attributes
    ----------
    total
        How many rows there are in all parts.
    version
        Of all that is set, as `spawner.operations.quotas.AllSet.version`.
    more
        Whether rows follow.
    """

    rows: tuple[Row, ...]
    total: int
    version: int
    more: bool


_Grants = Mapping[Place, Mapping[str, QuotaGrant]]


def table(
    desk: Desk, people: Iterable[Person], wanted: Filter, after: tuple[Subject, str] | None = None, limit: int = 50
) -> Table:
    """Read a part of the table.

    Parameters
    ----------
    people
        Those known, with their groups.
    after
        The row after which the part begins; None for the first.
    """
    now = desk.clock()
    with desk.ledger.reading() as books:
        grants, version = books.quotas.all(), books.quotas.version()
        rules = desk.quotas.rules(books, now)
    known = {person.name: person for person in people}
    groups = frozenset().union(*{person.groups for person in known.values()})
    is_set: dict[Place, dict[str, QuotaGrant]] = {}
    for grant in grants:
        subject, name, dimension = key_of(grant)
        is_set.setdefault(Place(subject, name), {})[dimension] = grant
    places = _places(desk, is_set, known, groups, wanted)
    found = sorted((place for place in places if _matches(place, is_set, wanted)), key=lambda place: place.position)
    start = Place(*after).position if after else None
    following = found if start is None else [place for place in found if place.position > start]
    rows = []
    for place in following[:limit]:
        is_user = place.subject is Subject.USER
        person = known.get(place.name, Person(place.name)) if is_user else None
        effective = why(rules, person) if person else {}
        there = not place.name or place.name in (known if is_user else groups)
        rows.append(_row(desk, place, person, there, is_set.get(place, {}), effective, now))
    return Table(tuple(rows), len(found), version, len(following) > limit)


def row(desk: Desk, place: Place, person: Person | None = None, *, known: bool = True) -> Row:
    """Read one row.

    Parameters
    ----------
    person
        The user of the row, where they are known.
    """
    now = desk.clock()
    with desk.ledger.reading() as books:
        grants = {grant.dimension: grant for grant in books.quotas.all() if key_of(grant)[:2] == place}
        rules = desk.quotas.rules(books, now)
    effective = why(rules, person or Person(place.name)) if place.subject is Subject.USER else {}
    return _row(desk, place, person, known, grants, effective, now)


def _places(desk: Desk, is_set: _Grants, known: Collection[str], groups: Collection[str], wanted: Filter) -> set[Place]:
    found = {Place(Subject.DEFAULT, ""), *is_set}
    found |= {Place(Subject.GROUP, name) for name in desk.limits.groups}
    found |= {Place(Subject.USER, name) for name in desk.limits.users}
    if wanted.everyone:
        found |= {Place(Subject.GROUP, name) for name in groups}
        found |= {Place(Subject.USER, name) for name in known}
    return found


def _matches(place: Place, is_set: _Grants, wanted: Filter) -> bool:
    if wanted.subjects and place.subject not in wanted.subjects:
        return False
    grants = is_set.get(place, {}).values()
    if wanted.temporary and not any(grant.until for grant in grants):
        return False
    words = wanted.search.casefold().split()
    if not words:
        return True
    said = [place.name or place.subject.value, *(part for grant in grants for part in (grant.by, grant.why))]
    text = "\n".join(said).casefold()
    return all(word in text for word in words)


def _row(
    desk: Desk,
    place: Place,
    person: Person | None,
    known: bool,
    grants: Mapping[str, QuotaGrant],
    effective: Mapping[str, Origin],
    now: datetime,
) -> Row:
    limits = desk.limits
    by_name = limits.groups if place.subject is Subject.GROUP else limits.users
    rule = limits.default if place.subject is Subject.DEFAULT else by_name.get(place.name)
    cells = []
    for dimension in QUOTA_DIMENSIONS:
        grant = grants.get(dimension)
        over = grant is not None and grant.until is not None and grant.until <= now
        # A rule of the settings may not know the dimension.
        cells.append(Cell(dimension, getattr(rule, dimension, None), grant, over, effective.get(dimension)))
    return Row(place, tuple(sorted(person.groups)) if person else (), known, tuple(cells))
