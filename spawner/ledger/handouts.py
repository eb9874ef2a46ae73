"""What was sent to seats, and what was taken from them."""

from collections.abc import Collection, Sequence

from sqlalchemy import delete, insert, select

from ..policy.handouts import Announcement, Collected, Delivery, Push
from . import tables
from .memory import Work
from .records import Record

_announcements, _pushes = tables.announcements, tables.pushes
_deliveries, _collections = tables.deliveries, tables.collections
_ANNOUNCEMENT = Record(Announcement, _announcements, renamed={"user": "username"})
_PUSH = Record(Push, _pushes)
_DELIVERY = Record(Delivery, _deliveries, renamed={"user": "username"})
_COLLECTED = Record(Collected, _collections, renamed={"user": "username"})


class HandoutStore:
    def __init__(self, work: Work) -> None:
        self._work = work

    # --- messages -----------------------------------------------------------------------------------------------------

    def announce(self, announcement: Announcement) -> None:
        self._work.touch(_announcements)
        self._work.connection.execute(insert(_announcements), _ANNOUNCEMENT.row(announcement))

    def announcements(self, session: str, user: str | None = None) -> list[Announcement]:
        """List a session's messages as they were sent; only those for somebody's seat if a user is given."""
        query = select(*_ANNOUNCEMENT.columns).where(_announcements.c.session == session)
        if user is not None:
            query = query.where(_announcements.c.username.in_(["", user]))
        rows = self._work.connection.execute(query.order_by(_announcements.c.sent_at, _announcements.c.id))
        return [_ANNOUNCEMENT.value(row) for row in rows]

    # --- files --------------------------------------------------------------------------------------------------------

    def push(self, push: Push) -> None:
        self._work.touch(_pushes)
        self._work.connection.execute(insert(_pushes), _PUSH.row(push))

    def get_push(self, push: str) -> Push | None:
        row = self._work.connection.execute(select(*_PUSH.columns).where(_pushes.c.id == push)).first()
        return None if row is None else _PUSH.value(row)

    def pushes(self, course: str) -> list[Push]:
        """List a course's pushed files as they were sent."""
        query = select(*_PUSH.columns).where(_pushes.c.course == course)
        rows = self._work.connection.execute(query.order_by(_pushes.c.pushed_at, _pushes.c.id))
        return [_PUSH.value(row) for row in rows]

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Write what became of files in homes; a later word on the same file and home goes before an earlier one."""
        if not deliveries:
            return
        self._work.touch(_deliveries)
        for one in deliveries:
            mine = (_deliveries.c.push == one.push) & (_deliveries.c.username == one.user)
            self._work.connection.execute(delete(_deliveries).where(mine))
        self._work.connection.execute(insert(_deliveries), [_DELIVERY.row(one) for one in deliveries])

    def deliveries(self, pushes: Collection[str], user: str | None = None) -> list[Delivery]:
        query = select(*_DELIVERY.columns).where(_deliveries.c.push.in_(pushes))
        if user is not None:
            query = query.where(_deliveries.c.username == user)
        rows = self._work.connection.execute(query.order_by(_deliveries.c.push, _deliveries.c.username))
        return [_DELIVERY.value(row) for row in rows]

    # --- collections --------------------------------------------------------------------------------------------------

    def collect(self, collected: Collected) -> None:
        self._work.touch(_collections)
        self._work.connection.execute(insert(_collections), _COLLECTED.row(collected))

    def collected(self, session: str) -> list[Collected]:
        """List what was taken from a session's seats, by user and time."""
        query = select(*_COLLECTED.columns).where(_collections.c.session == session)
        rows = self._work.connection.execute(query.order_by(_collections.c.username, _collections.c.taken_at))
        return [_COLLECTED.value(row) for row in rows]
