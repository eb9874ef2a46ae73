"""Join links into courses, and the addresses of people's calendars."""

from sqlalchemy import ColumnElement, delete, insert, select, update

from ..policy.joining import Feed, JoinLink
from . import tables
from .memory import Work
from .records import Record

_links = tables.links
_LINK = Record(JoinLink, _links)
_feeds = tables.feeds
_FEED = Record(Feed, _feeds, renamed={"user": "username"})
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

    # --- calendars ----------------------------------------------------------------------------------------------------

    def feed(self, feed: str) -> Feed | None:
        """Give a calendar by its id."""
        return self._feed(_feeds.c.id == feed)

    def feed_of(self, user: str) -> Feed | None:
        return self._feed(_feeds.c.username == user)

    def put_feed(self, feed: Feed) -> None:
        """Write somebody's calendar, in place of the one they had."""
        self._work.touch(_feeds)
        self._work.connection.execute(delete(_feeds).where(_feeds.c.username == feed.user))
        self._work.connection.execute(insert(_feeds), _FEED.row(feed))

    def remove_feed(self, user: str) -> bool:
        """Delete somebody's calendar; false if they have none."""
        self._work.touch(_feeds)
        return self._work.connection.execute(delete(_feeds).where(_feeds.c.username == user)).rowcount > 0

    def _feed(self, condition: ColumnElement[bool]) -> Feed | None:
        row = self._work.connection.execute(select(*_FEED.columns).where(condition)).first()
        return None if row is None else _FEED.value(row)
