"""Work collected from seats: asked for, noted, listed, and handed to staff."""

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..course_directory import CourseDirectory, Places
from ..errors import UnknownName
from ..ledger import AuditEntry, Books
from ..policy.classes import Course, Phase, Role, Session
from ..policy.handouts import Collected
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
    """

    course: Course
    session: Session
    user: str
    folder: str
    runs: bool = False
    agreed: bool = True


# --- what staff do ----------------------------------------------------------------------------------------------------


def request(desk: Desk, session: str, actor: str, why: str = "") -> Session | Deny:
    """Ask that all seats' work be collected now; the janitor does it within seconds.

    Returns
    -------
    Session or Deny
        ``nothing_to_collect`` where the course names no folder, ``no_session`` where the session has not begun, or was
        called off.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.transaction() as books:
        was, now = find_session(books, session), desk.clock()
        course = find_in(books, was.course)
        if not course.collect and not was.exam:
            return Deny("nothing_to_collect", f"{course.title} names no folder to collect; set one in its settings.")
        if was.phase(now) in {Phase.PLANNED, Phase.CANCELLED}:
            return Deny("no_session", "There is nothing to collect: this session has not begun, or was called off.")
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

    Parameters
    ----------
    ask
        Whether it takes `Member.agreed_at` to take something out of somebody's home.
    """
    with desk.ledger.reading() as books:
        now = desk.clock()
        recent = {one.id: one for one in [*books.sessions.within(now - _LATE, now), *books.sessions.live(now)]}
        found = []
        for session in recent.values():
            course = books.courses.get(session.course)
            if course is not None and (course.collect or session.exam):
                agreed = {one.user for one in books.courses.members(course.id) if one.agreed_at is not None}
                found += [
                    ToCollect(course, session, user, course.collect, runs, not ask or session.exam or user in agreed)
                    for user, runs in _due(books, session, now)
                ]
        return found


def _due(books: Books, session: Session, now: datetime) -> list[tuple[str, bool]]:
    if session.cancelled_at is not None or session.warmed_at is None:
        return []
    asked = session.collect_at if session.collect_at is not None and now < session.collect_at + _LATE else None
    if asked is None and now < session.ends_at:
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
        end = max(session.ends_at, (seat.until if seat else None) or session.ends_at)
        wanted = [moment for moment in (end, asked) if moment is not None and moment <= now < moment + _LATE]
        if wanted and (user not in last or last[user] < max(wanted)):
            found.append((user, seat is not None and seat.ready_at is not None and seat.ended_at is None))
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
