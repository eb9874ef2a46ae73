"""Join links: made and withdrawn by a course's instructors, followed by whoever has one.

A link's token opens the course, so it stands in the ledger and on its instructors' pages only; whatever else names a
link, the audit among it, has its id.
"""

import hashlib
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..errors import UnknownName
from ..ledger import AuditEntry, Books
from ..policy.classes import Course, Member, Role
from ..policy.joining import JoinLink, check_link
from ..policy.leasing import describe
from ..policy.model import Deny
from .courses import find_in
from .desk import Desk

LONGEST = timedelta(days=366)
MOST = 5000
"""Largest cap; no roster is longer."""
_TOKEN_BYTES = 16
_LONGEST_TOKEN = 64


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of somebody who followed a link.

    Attributes
    ----------
    role
        What they are in the course now.
    already
        Whether they were in it before; then nothing has changed, and the link is not used up by it.
    """

    course: Course
    role: Role
    already: bool = False


def id_of(link: JoinLink) -> str:
    """Give what names a link without opening anything."""
    return hashlib.sha256(link.token.encode()).hexdigest()[:16]


def make(
    desk: Desk, course: str, role: Role, expires_at: datetime, actor: str, cap: int | None = None, why: str = ""
) -> JoinLink | Deny:
    """Make a link into a course.

    Parameters
    ----------
    cap
        How many may follow it; None for any number.

    Returns
    -------
    JoinLink or Deny
        ``invalid_option`` for a role of instructor, a cap or an end that cannot be; ``course_archived``.

    Raises
    ------
    UnknownName
        If there is no such course.
    """
    if role is Role.INSTRUCTOR:
        return Deny("invalid_option", "Nobody becomes an instructor by a link; put them on the roster.")
    if cap is not None and not 1 <= cap <= MOST:
        return Deny("invalid_option", f"A link is for one to {MOST} people, or for any number.")
    with desk.ledger.transaction() as books:
        found, now = find_in(books, course), desk.clock()
        if found.archived_at is not None:
            return Deny("course_archived", f"{found.title} is archived; bring it back first.")
        if not now < expires_at <= now + LONGEST:
            return Deny("invalid_option", f"A link ends within {describe(LONGEST)}, and not in the past.")
        link = JoinLink(secrets.token_urlsafe(_TOKEN_BYTES), course, role, actor, now, expires_at, cap)
        books.links.insert(link)
        told = {"link": id_of(link), "role": role, "expires_at": expires_at.isoformat(), "cap": cap}
        _note(books, now, actor, "course.link", course, None, told, why)
        return link


def revoke(desk: Desk, course: str, link: str, actor: str, why: str = "") -> JoinLink:
    """Withdraw a link, by its id; whoever came by it stays.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.transaction() as books:
        found = next((one for one in books.links.of_course(course) if id_of(one) == link), None)
        if found is None:
            raise UnknownName(f"This course has no link {link!r}.")
        if found.revoked_at is not None:
            return found
        now = desk.clock()
        gone = replace(found, revoked_at=now)
        books.links.update(gone)
        _note(books, now, actor, "course.unlink", course, {"link": link}, None, why)
        return gone


def of_course(desk: Desk, course: str) -> list[JoinLink]:
    """List all links into a course, the newest first."""
    with desk.ledger.reading() as books:
        return books.links.of_course(course)[::-1]


def look(desk: Desk, token: str) -> tuple[JoinLink, Course]:
    """Tell where a link leads, whether it still does or not; see `spawner.policy.joining.check_link`.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        return _find(books, token)


def join(desk: Desk, token: str, user: str) -> Joined | Deny:
    """Put somebody into a course by a link.

    Returns
    -------
    Joined or Deny
        ``link_ended``, ``link_full``, ``course_archived``.

    Raises
    ------
    UnknownName
        If there is no such link.
    """
    with desk.ledger.transaction() as books:
        link, course = _find(books, token)
        now, member = desk.clock(), books.courses.member(course.id, user)
        if member is not None:
            return Joined(course, member.role, already=True)
        if (ended := check_link(link, now)) is not None:
            return ended
        if course.archived_at is not None:
            return Deny("course_archived", f"{course.title} is over.")
        books.links.update(replace(link, used=link.used + 1))
        books.courses.put_members([Member(course.id, user, link.role, now, link.created_by, "link", now)])
        told = {"link": id_of(link), "role": link.role, "users": [user]}
        _note(books, now, user, "course.join", course.id, None, told, "")
        return Joined(course, link.role)


def _find(books: Books, token: str) -> tuple[JoinLink, Course]:
    # What is no token is not asked of a database, which may not take all of its characters.
    link = books.links.get(token) if token.isascii() and token.isprintable() and len(token) <= _LONGEST_TOKEN else None
    if link is None:
        raise UnknownName("There is no such link. Check that it was copied whole, or ask for another.")
    return link, find_in(books, link.course)


def _note(
    books: Books, now: datetime, actor: str, action: str, course: str, before: object, after: object, why: str
) -> None:
    books.audit.append(AuditEntry(now, actor, action, f"course {course}", before, after, why))
