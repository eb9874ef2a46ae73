"""Join links into courses."""

from sqlalchemy import insert, select, update

from ..policy.joining import JoinLink
from . import tables
from .memory import Work
from .records import Record

_links = tables.links
_LINK = Record(JoinLink, _links)
_READ = select(*_LINK.columns).order_by(_links.c.created_at, _links.c.token)


class LinkStore:
    def __init__(self, work: Work) -> None:
        self._work = work

    def get(self, token: str) -> JoinLink | None:
        row = self._work.connection.execute(_READ.where(_links.c.token == token)).first()
        return None if row is None else _LINK.value(row)

    def of_course(self, course: str) -> list[JoinLink]:
        """List all links into a course, ended ones too, by when they were made."""
        rows = self._work.connection.execute(_READ.where(_links.c.course == course))
        return [_LINK.value(row) for row in rows]

    def insert(self, link: JoinLink) -> None:
        self._work.touch(_links)
        self._work.connection.execute(insert(_links), _LINK.row(link))

    def update(self, link: JoinLink) -> None:
        self._work.touch(_links)
        self._work.connection.execute(update(_links).where(_links.c.token == link.token).values(**_LINK.row(link)))
