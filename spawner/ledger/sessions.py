"""Courses' sessions, and the seats in them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, insert, or_, select, tuple_, update

from ..policy.classes import Seat, Session
from . import tables
from .memory import Work
from .records import Record

_sessions, _seats = tables.sessions, tables.seats
_SESSION = Record(Session, _sessions, renamed={"lead": "lead_ms", "grace": "grace_ms"})
_SEAT = Record(Seat, _seats, renamed={"user": "username"})
_READ = select(*_SESSION.columns).order_by(_sessions.c.starts_at, _sessions.c.id)


class SessionStore:
    def __init__(self, work: Work) -> None:
        self._work = work

    def get(self, session: str) -> Session | None:
        row = self._work.connection.execute(_READ.where(_sessions.c.id == session)).first()
        return None if row is None else _SESSION.value(row)

    def of_course(self, course: str) -> list[Session]:
        """List all sessions of a course by start, over and cancelled ones too."""
        return self._read(_sessions.c.course == course)

    def of_series(self, series: str) -> list[Session]:
        return self._read(_sessions.c.series == series)

    def within(self, since: datetime, until: datetime) -> list[Session]:
        """List what is not cancelled and lies, in part at least, within ``[since, until)``; by start."""
        return self._read(
            _sessions.c.cancelled_at.is_(None), _sessions.c.ends_at > since, _sessions.c.starts_at < until
        )

    def live(self, now: datetime) -> list[Session]:
        """List what is to come, runs, or is over and not cleared yet; cancelled ones whose seats still run, too."""
        uncleared = and_(_sessions.c.warmed_at.is_not(None), _sessions.c.cleared_at.is_(None))
        return self._read(or_(and_(_sessions.c.cancelled_at.is_(None), _sessions.c.ends_at > now), uncleared))

    def called_off(self, since: datetime) -> list[Session]:
        """List what was called off since then, after its first seat had been asked for; by start."""
        return self._read(_sessions.c.cancelled_at > since, _sessions.c.warmed_at.is_not(None))

    def insert(self, sessions: Sequence[Session]) -> None:
        self._work.touch(_sessions)
        self._work.connection.execute(insert(_sessions), [_SESSION.row(session) for session in sessions])

    def update(self, session: Session) -> None:
        self._work.touch(_sessions)
        query = update(_sessions).where(_sessions.c.id == session.id)
        self._work.connection.execute(query.values(**_SESSION.row(session)))

    # --- seats --------------------------------------------------------------------------------------------------------

    def seats(self, session: str) -> list[Seat]:
        """List the seats of a session that something is known of, by name."""
        query = select(*_SEAT.columns).where(_seats.c.session == session).order_by(_seats.c.username)
        return [_SEAT.value(row) for row in self._work.connection.execute(query)]

    def seat(self, session: str, user: str) -> Seat | None:
        query = select(*_SEAT.columns).where(_seats.c.session == session, _seats.c.username == user)
        row = self._work.connection.execute(query).first()
        return None if row is None else _SEAT.value(row)

    def prolonged(self, course: str) -> list[Seat]:
        """List the seats of all sessions of a course that were given more time."""
        query = select(*_SEAT.columns).join(_sessions, _sessions.c.id == _seats.c.session)
        query = query.where(_sessions.c.course == course, _seats.c.until.is_not(None))
        return [_SEAT.value(row) for row in self._work.connection.execute(query)]

    def last_starts(self, count: int) -> list[timedelta]:
        """Tell how long the last seats took from their request until they were ready, the last first."""
        query = select(_seats.c.asked_at, _seats.c.ready_at).where(_seats.c.ready_at > _seats.c.asked_at)
        rows = self._work.connection.execute(query.order_by(_seats.c.ready_at.desc()).limit(count))
        return [ready - asked for asked, ready in rows]

    def put_seats(self, seats: Sequence[Seat]) -> None:
        """Write seats, new or known."""
        if not seats:
            return
        self._work.touch(_seats)
        keys = [(seat.session, seat.user) for seat in seats]
        self._work.connection.execute(delete(_seats).where(tuple_(_seats.c.session, _seats.c.username).in_(keys)))
        self._work.connection.execute(insert(_seats), [_SEAT.row(seat) for seat in seats])

    def _read(self, *conditions: object) -> list[Session]:
        rows = self._work.connection.execute(_READ.where(*conditions))  # type: ignore[arg-type]
        return [_SESSION.value(row) for row in rows]
