"""Work collected from seats: asked for, noted, listed, and handed to staff."""

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..course_directory import CourseDirectory, Places
from ..errors import UnknownName
from ..ledger import AuditEntry, Books
from ..policy.classes import Course, Phase, Role, Session
from ..policy.handouts import Collected
from ..policy.leasing import describe
from ..policy.model import Deny
from .courses import find_in
from .desk import Desk
from .sessions import find_session

_LATE = timedelta(hours=6)
"""After which a collection that should have been is not made up for: homes hold other work by then."""
_CHUNK = 1 << 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
INDEX = "index.csv"


@dataclass(frozen=True, slots=True)
class ToCollect:
    """Somebody's work that is to be collected now.

    Attributes
    ----------
    folder
        Of the home; empty for all of it.
    runs
        Whether the seat's server runs, as far as is known.
    agreed
        Whether they let staff have it; in an exam there is nothing of theirs but what they hand in.
    asked
        Whether staff have asked for it: it is not due by the end of the session.
    """

    course: Course
    session: Session
    user: str
    folder: str
    runs: bool = False
    agreed: bool = True
    asked: bool = False


# --- what staff do ----------------------------------------------------------------------------------------------------


def request(desk: Desk, session: str, actor: str, why: str = "") -> Session | Deny:
    """Ask that all seats' work be collected now; the janitor does it within seconds.

    Returns
    -------
    Session or Deny
        ``nothing_to_collect`` where the course names no folder, ``no_session`` where the session has not begun, or was
        called off; of an exam, before its first seat was asked for; ``session_over`` where it has been over for hours.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.transaction() as books:
        was, now = find_session(books, session), desk.clock()
        course = find_in(books, was.course)
        if not course.collect and not was.exam:
            return Deny("nothing_to_collect", f"{course.title} names no folder to collect; set one in its settings.")
        if was.phase(now) is Phase.PLANNED or not _has_work(was):
            return Deny("no_session", "There is nothing to collect: this session has not begun, or was called off.")
        # `due` does not look at it any more.
        if now >= _end(was) + _LATE and was.phase(now) in {Phase.OVER, Phase.CANCELLED}:
            return Deny(
                "session_over",
                f"This session has been over for {describe(_LATE)} or more. Homes hold other work by now; what was "
                "collected is kept.",
            )
        asked = replace(was, collect_at=now, version=was.version + 1)
        books.sessions.update(asked)
        shown = {"folder": course.collect}
        books.audit.append(AuditEntry(now, actor, "session.collect", f"session {session}", None, shown, why))
        return asked


def listing(desk: Desk, session: str) -> tuple[Collected, ...]:
    """List all that was collected in a session, by user and time.

    Raises
    ------
    UnknownName
        If there is no such session.
    """
    with desk.ledger.reading() as books:
        find_session(books, session)
        return tuple(books.handouts.collected(session))


def latest(collected: Sequence[Collected]) -> tuple[Collected, ...]:
    """Choose for each user the last archive, or the last word where there is none; by user."""
    best: dict[str, Collected] = {}
    for one in collected:
        known = best.get(one.user)
        if known is None or (bool(one.archive), one.taken_at) >= (bool(known.archive), known.taken_at):
            best[one.user] = one
    return tuple(best[user] for user in sorted(best))


def find(desk: Desk, session: str, collected: str) -> tuple[Course, Collected]:
    """Give one collection of a session by its id, and the course.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        course = find_in(books, find_session(books, session).course)
        for one in books.handouts.collected(session):
            if one.id == collected:
                return course, one
    raise UnknownName(f"Nothing was collected under the id {collected!r} in this session.")


# --- what the janitor does --------------------------------------------------------------------------------------------


def due(desk: Desk, *, ask: bool = True) -> list[ToCollect]:
    """List whose work is to be collected now: that of sessions that are over, and what staff have asked for.

    No course waits for another's: the first of each, then the second of each, and so on.

    Parameters
    ----------
    ask
        Whether it takes `Member.agreed_at` to take something out of somebody's home.
    """
    with desk.ledger.reading() as books:
        now = desk.clock()
        recent, live = books.sessions.within(now - _LATE, now), books.sessions.live(now)
        found = []
        for session in {one.id: one for one in (*recent, *live, *books.sessions.called_off(now - _LATE))}.values():
            course = books.courses.get(session.course)
            if course is not None and (course.collect or session.exam):
                agreed = {one.user for one in books.courses.members(course.id) if one.agreed_at is not None}
                found += [
                    replace(one, agreed=not ask or session.exam or one.user in agreed)
                    for one in _due(books, course, session, now)
                ]
        return _in_turn(found)


def _in_turn(found: Iterable[ToCollect]) -> list[ToCollect]:
    places, counts = [], Counter[str]()
    for one in sorted(found, key=lambda one: one.asked):  # of a course, what is due comes first
        places.append((counts[one.course.id], one))
        counts[one.course.id] += 1
    return [one for _, one in sorted(places, key=lambda place: place[0])]


def _has_work(session: Session) -> bool:
    """Tell whether there is something to collect of a session that was called off, if it was.

    Students have their homes again, but nobody else than staff can get at what was written in an exam.
    """
    return session.cancelled_at is None or (session.exam and session.warmed_at is not None)


def _end(session: Session, until: datetime | None = None) -> datetime:
    """Tell when a seat ends; `until` is how long staff have given it."""
    return session.cancelled_at or max(session.ends_at, until or session.ends_at)


def _due(books: Books, course: Course, session: Session, now: datetime) -> list[ToCollect]:
    if session.warmed_at is None or not _has_work(session):
        return []
    asked = session.collect_at if session.collect_at is not None and now < session.collect_at + _LATE else None
    if asked is None and now < _end(session):
        return []
    seats = {seat.user: seat for seat in books.sessions.seats(session.id)}
    roster = {one.user for one in books.courses.members(session.course, [Role.STUDENT])}
    last: dict[str, datetime] = {}
    for one in books.handouts.collected(session.id):
        last[one.user] = max(one.taken_at, last.get(one.user, one.taken_at))
    found = []
    for user in sorted(roster | seats.keys()):
        seat = seats.get(user)
        # One who was given more time works until then.
        end = _end(session, seat.until if seat else None)
        moments = [moment for moment in (end, asked) if moment is not None and moment <= now < moment + _LATE]
        wanted = [moment for moment in moments if user not in last or last[user] < moment]
        if wanted:
            runs = seat is not None and seat.ready_at is not None and seat.ended_at is None
            found.append(ToCollect(course, session, user, course.collect, runs, asked=end not in wanted))
    return found


def note(desk: Desk, collected: Collected, **found: Any) -> Collected:
    """Note what was collected, under an id of its own; `found` are further values of it."""
    with desk.ledger.transaction() as books:
        made = replace(collected, **found, id=desk.new_id())
        books.handouts.collect(made)
        return made


# --- downloads --------------------------------------------------------------------------------------------------------


def archive_of(places: Places, course: str, collected: Collected) -> Path:
    """Give the file of an archive; its name tells whose it is and when it was taken.

    Raises
    ------
    UnknownName
        If nothing was taken, or the file is not there any more.
    """
    if not collected.archive:
        raise UnknownName(f"There is no archive of {collected.user}'s work: {collected.problem}")
    return places.course(course).collected_file(collected.archive)


def index(collected: Sequence[Collected]) -> str:
    """Give a table of archives (CSV)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(("user", "taken_at", "archive", "files", "size", "sha256", "folder", "problem"))
    for one in collected:
        name = one.archive.rpartition("/")[2]
        row = (one.user, one.taken_at.isoformat(), name, one.files, one.size, one.sha256, one.folder, one.problem)
        writer.writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in row])
    return text.getvalue()


def zipped(places: Places, course: str, collected: Sequence[Collected]) -> Iterator[bytes]:
    """Give archives as one zip file, piece by piece, with a table of them; nothing of it is kept on the disk.

    The archives are in it as they are. One that is not there any more is left out, and the table says so.
    """
    directory, sink = places.course(course), _Sink()
    shown = []
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as packing:
        for one in collected:
            path = _file(directory, one)
            if path is not None:
                yield from _packed(packing, sink, path, one)
            elif one.archive:
                one = replace(one, archive="", problem=f"{one.problem} The archive is not there any more.".lstrip())
            shown.append(one)
        packing.writestr(INDEX, index(shown).encode("utf-8", "backslashreplace"))
        yield sink.take()
    yield sink.take()


def _file(directory: CourseDirectory, one: Collected) -> Path | None:
    try:
        return directory.collected_file(one.archive) if one.archive else None
    except UnknownName:
        return None


def _packed(packing: zipfile.ZipFile, sink: "_Sink", path: Path, one: Collected) -> Iterator[bytes]:
    # Zip has no years before 1980.
    info = zipfile.ZipInfo(path.name, max(one.taken_at.timetuple()[:6], (1980, 1, 1, 0, 0, 0)))
    info.external_attr = 0o644 << 16
    with path.open("rb") as source:
        info.file_size = path.stat().st_size  # so that more than 4 GiB are said to be so from the begin
        with packing.open(info, "w") as target:
            while chunk := source.read(_CHUNK):
                target.write(chunk)
                yield sink.take()


class _Sink(io.RawIOBase):
    """Holds what was written until it is taken; it goes forward only."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any, /) -> int:
        view = memoryview(content).cast("B")
        self._held += view
        return len(view)

    def take(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held
