"""Messages to the seats of a session: sent, kept for latecomers, and who has opened whose seat."""

from ..errors import UnknownName
from ..ledger import AuditEntry, Books
from ..policy.classes import Phase, Session
from ..policy.handouts import Announcement, Kind
from ..policy.model import Deny
from .desk import Desk
from .sessions import find_session

LONGEST_TEXT = 1000
"""Characters of a message; a notification shows the first 140 of them, and the class's panel all."""
BY_ITS_WORD = "as the seat's server says"
"""Why something is in the audit that a container has said, which belongs to its student."""
_OF_PEOPLE = frozenset({Kind.BROADCAST, Kind.PERSONAL})


def announce(
    desk: Desk, session: str, text: str, actor: str, user: str = "", kind: Kind = Kind.BROADCAST
) -> Announcement | Deny:
    """Send a message to a session's seats; what people send is in the audit.

    Parameters
    ----------
    text
        In several lines if need be.
    user
        Whose seat it is for; empty for all. A broadcast to one becomes a personal message.

    Returns
    -------
    Announcement or Deny
        ``invalid_option`` where there is no text, too much of it, or no plain one; ``session_over`` for what people
        send to a session that is over or called off.

    Raises
    ------
    UnknownName
        If there is no such session, or the user has no seat in it.
    """
    if kind is Kind.BROADCAST and user:
        kind = Kind.PERSONAL
    lines = [line.rstrip() for line in text.replace("\t", " ").splitlines()]
    said = "\n".join(lines).strip()
    if not said or not all(line.isprintable() for line in lines):
        return Deny("invalid_option", "A message has some text, and nothing in it that cannot be shown.")
    if len(said) > LONGEST_TEXT:
        return Deny("invalid_option", f"A message has {LONGEST_TEXT} characters at most; this one has {len(said)}.")
    with desk.ledger.transaction() as books:
        found = find_session(books, session)
        if user:
            _check_seat(books, found, user)
        if kind in _OF_PEOPLE and found.phase(desk.clock()) in {Phase.OVER, Phase.CANCELLED}:
            return Deny("session_over", "This session is over, or called off; nobody would see the message.")
        made = _send(desk, books, session, said, actor, user, kind)
        if kind in _OF_PEOPLE:
            what = {"user": user, "text": said} if user else {"text": said}
            entry = AuditEntry(made.sent_at, actor, "session.announce", f"session {session}", None, what)
            books.audit.append(entry)
        return made


def visited(desk: Desk, session: str, user: str, visitor: str, why: str = "") -> Announcement | None:
    """Tell somebody who has opened their server, and note it in the audit: once per visitor and session.

    Returns
    -------
    Announcement or None
        None where that was done before, or nobody but its owner came.

    Raises
    ------
    UnknownName
        If there is no such session, or the user has no seat in it.
    """
    if visitor == user:
        return None
    with desk.ledger.reading() as books:
        if _was_here(books, session, user, visitor):
            return None
    with desk.ledger.transaction() as books:
        _check_seat(books, find_session(books, session), user)
        if _was_here(books, session, user, visitor):
            return None
        made = _send(desk, books, session, f"{visitor} has opened your server.", visitor, user, Kind.VISIT)
        entry = AuditEntry(made.sent_at, visitor, "seat.visit", f"session {session}", None, {"user": user}, why)
        books.audit.append(entry)
        return made


def of_session(desk: Desk, session: str) -> list[Announcement]:
    """List all of a session's messages as they were sent: for its staff."""
    with desk.ledger.reading() as books:
        return books.handouts.announcements(session)


def for_seat(desk: Desk, session: str, user: str) -> list[Announcement]:
    """List a session's messages that are for somebody's seat, as they were sent."""
    with desk.ledger.reading() as books:
        return books.handouts.announcements(session, user)


def _send(desk: Desk, books: Books, session: str, text: str, by: str, user: str, kind: Kind) -> Announcement:
    made = Announcement(desk.new_id(), session, kind, text, by, desk.clock(), user)
    books.handouts.announce(made)
    return made


def _was_here(books: Books, session: str, user: str, visitor: str) -> bool:
    sent = books.handouts.announcements(session, user)
    return any(one.kind is Kind.VISIT and one.sent_by == visitor for one in sent)


def _check_seat(books: Books, session: Session, user: str) -> None:
    if books.sessions.seat(session.id, user) is None and books.courses.member(session.course, user) is None:
        raise UnknownName(f"{user} has no seat in this session.")
