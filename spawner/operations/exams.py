"""What is left of exams: the volumes that stood for homes, once nobody needs them."""

from collections.abc import Iterable
from datetime import timedelta

from .desk import Desk

_LAST = timedelta(minutes=2)  # before the end, from which on a collection is the last one


def done_with(desk: Desk, volumes: Iterable[tuple[str, str]], keep: timedelta) -> frozenset[tuple[str, str]]:
    """Tell which volumes of exams can go: over for so long, and what the course collects was taken.

    Parameters
    ----------
    volumes
        Session and user of each. Of a session that the ledger does not know, all are kept.
    """
    found: set[tuple[str, str]] = set()
    with desk.ledger.reading() as books:
        now = desk.clock()
        by_session: dict[str, set[str]] = {}
        for name, user in volumes:
            by_session.setdefault(name, set()).add(user)
        for session_id, users in by_session.items():
            session = books.sessions.get(session_id)
            if session is None:
                continue
            ends = {seat.user: seat.until for seat in books.sessions.seats(session_id) if seat.until is not None}
            taken = [one for one in books.handouts.collected(session_id) if one.archive and not one.problem]
            for user in users:
                end = session.cancelled_at or max(session.ends_at, ends.get(user, session.ends_at))
                # What was taken while they still wrote is not all.
                whole = any(one.user == user and one.taken_at >= end - _LAST for one in taken)
                if whole and now >= end + keep:
                    found.add((session_id, user))
    return frozenset(found)
