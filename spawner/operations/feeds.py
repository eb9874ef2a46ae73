"""Calendars of classes: whose an address is, and what stands in them."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..ledger import AuditEntry, Books
from ..policy.classes import Course, Role, Session
from ..policy.joining import Feed
from .courses import find_in
from .desk import Desk

KEPT = timedelta(days=60)
"""How long what is over stays in a calendar, for programs that look seldom."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A session as it stands in a calendar.

    Attributes
    ----------
    role
        What the reader is in its course; None where it is nobody's calendar.
    """

    course: Course
    session: Session
    role: Role | None = None


def feed_of(desk: Desk, user: str) -> Feed | None:
    """Give somebody's calendar, if they have one."""
    with desk.ledger.reading() as books:
        return books.links.feed_of(user)


def renew(desk: Desk, user: str, actor: str) -> Feed:
    """Give somebody a calendar with a new address; the one they had is gone."""
    with desk.ledger.transaction() as books:
        feed = Feed(user, secrets.token_hex(12), desk.clock())
        was = books.links.feed_of(user)
        books.links.put_feed(feed)
        books.audit.append(
            AuditEntry(feed.made_at, actor, "calendar.renew" if was else "calendar.make", f"calendar {user}")
        )
        return feed


def withdraw(desk: Desk, user: str, actor: str) -> bool:
    """Let somebody's calendar have no address any more; false if it had none."""
    with desk.ledger.transaction() as books:
        if not books.links.remove_feed(user):
            return False
        books.audit.append(AuditEntry(desk.clock(), actor, "calendar.withdraw", f"calendar {user}"))
        return True


def read(desk: Desk, feed: str) -> tuple[Feed, list[Entry]] | None:
    """Give what stands in the calendar with an id; None if there is none such."""
    with desk.ledger.reading() as books:
        found = books.links.feed(feed)
        return None if found is None else (found, _of_user(books, found.user, desk.clock()))


def of_course(desk: Desk, course: str) -> list[Entry]:
    """List all sessions of a course.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        found = find_in(books, course)
        return [Entry(found, one) for one in books.sessions.of_course(course)]


def _of_user(books: Books, user: str, now: datetime) -> list[Entry]:
    found = []
    for member in books.courses.of_user(user):
        course = books.courses.get(member.course)
        if course is not None and course.archived_at is None:
            sessions = books.sessions.of_course(course.id)
            found += [Entry(course, one, member.role) for one in sessions if one.ends_at > now - KEPT]
    return sorted(found, key=lambda one: (one.session.starts_at, one.session.id))
