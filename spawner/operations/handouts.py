"""Files pushed to the homes of a course: sent by staff, fetched by seats, which say what became of them."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import IO

from ..course_directory import Places
from ..errors import CourseFilesFailed, UnknownName
from ..ledger import AuditEntry, Books
from ..policy.admission import format_bytes
from ..policy.classes import Member, Role
from ..policy.handouts import Delivery, Outcome, Push, check_push_path, is_hidden
from ..policy.model import Deny
from .courses import find_in
from .desk import Desk

_CHUNK = 1 << 20
_AGAIN = timedelta(minutes=2)  # after a failure, such as of a full disk
_MOST_WORDS = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of a pushed file so far: in how many homes it was written, was there already, and so on.

    Attributes
    ----------
    waiting
        Homes of students that have not said anything yet: their seats do not run, or they have not agreed.
    not_agreed
        Those of them who are to be asked first, see `pushes_for`.
    failures
        With whose home and why, by user.
    """

    push: Push
    written: int
    same: int
    beside: int
    failed: int
    waiting: int
    not_agreed: int = 0
    failures: tuple[Delivery, ...] = ()

    @property
    def homes(self) -> int:
        return self.written + self.same + self.beside + self.failed + self.waiting


def push(
    desk: Desk,
    places: Places,
    course: str,
    session: str,
    path: str,
    content: IO[bytes],
    actor: str,
    why: str = "",
    *,
    hidden: bool = False,
) -> Push | Deny:
    """Send a file to all homes of a course; running seats fetch it within seconds, others when they start.

    Parameters
    ----------
    session
        In which it is sent; empty for none. What is sent in an exam stays in the exam.
    path
        Where it goes, relative to the home.
    content
        Read to its end.
    hidden
        Whether it is meant that the file, or a folder of its path, is hidden; such files can change what a home does.

    Returns
    -------
    Push or Deny
        ``invalid_option`` for the path, ``too_large``, ``course_archived``.

    Raises
    ------
    UnknownName
        If there is no such course, or no such session of it.
    CourseFilesFailed
        If the content cannot be kept, as when the disk is full.
    """
    if (wrong := check_push_path(path, hidden=hidden)) is not None:
        return wrong
    with desk.ledger.reading() as books:
        if (refused := _refused(books, course, session)) is not None:
            return refused
    directory = places.course(course)
    try:
        with directory.new_file() as (file, part):
            kept = _copy(content, file, places.push_bytes)
            if isinstance(kept, Deny):
                return kept
            sha256, size = kept
            with desk.ledger.transaction() as books:
                if (refused := _refused(books, course, session)) is not None:
                    return refused
                now = desk.clock()
                made = Push(desk.new_id(), course, session, path, sha256, size, actor, now)
                # Before the ledger says so; what nobody's push names is tidied up by the janitor.
                part.replace(directory.pushed(sha256))
                books.handouts.push(made)
                shown = {"session": session, "path": path, "sha256": sha256, "size": size}
                books.audit.append(AuditEntry(now, actor, "course.push", f"course {course}", None, shown, why))
    except OSError as error:
        raise CourseFilesFailed(
            f"The file could not be kept in {directory.path}: {error.strerror}. Nothing was sent."
        ) from error
    return made


def _refused(books: Books, course: str, session: str) -> Deny | None:
    found = find_in(books, course)
    if session and ((one := books.sessions.get(session)) is None or one.course != course):
        raise UnknownName(f"{found.title} has no session {session!r}.")
    if found.archived_at is not None:
        return Deny("course_archived", f"{found.title} is archived; bring it back first.")
    return None


def _copy(content: IO[bytes], file: IO[bytes], most: int) -> tuple[str, int] | Deny:
    digest, size = hashlib.sha256(), 0
    while chunk := content.read(_CHUNK):
        size += len(chunk)
        if size > most:
            return Deny(
                "too_large", f"A file that is sent to seats has {format_bytes(most)} at most; this one has more."
            )
        digest.update(chunk)
        file.write(chunk)
    file.flush()
    os.fchmod(file.fileno(), 0o644)  # of another uid are those who read it
    os.fsync(file.fileno())
    return digest.hexdigest(), size


# --- seats ------------------------------------------------------------------------------------------------------------


def pushes_for(desk: Desk, course: str, user: str, session: str = "", *, ask: bool = True) -> tuple[Push, ...]:
    """List the files that somebody's home still is to get, as they were sent.

    A file that could not be written comes again after two minutes. Nothing is put into the home of somebody who was
    only named by others: a file can change what a home does, and so act in its owner's name.

    Parameters
    ----------
    session
        That runs; in exam mode its seats have fresh homes, which get what is sent in this session and nothing else.
    ask
        Whether it takes `Member.agreed_at` to put something into somebody's home.
    """
    with desk.ledger.reading() as books:
        now = desk.clock()
        pushes = _meant(books, course, session)
        if ask:
            allowed = _allowed(books, course, user, session)
            pushes = [one for one in pushes if allowed(one)]
        said = {one.push: one for one in books.handouts.deliveries([one.id for one in pushes], user)}
        return tuple(
            one
            for one in pushes
            if one.id not in said or (said[one.id].outcome is Outcome.FAILED and now >= said[one.id].at + _AGAIN)
        )


def _allowed(books: Books, course: str, user: str, session: str) -> Callable[[Push], bool]:
    """Tell which files somebody lets into their home.

    Students say so, or come by themselves. Staff and guests are never asked: they get what is sent once they sit there,
    but nothing that is hidden.
    """
    found = books.sessions.get(session) if session else None
    if found is not None and found.exam:
        return lambda _: True  # a fresh home, with nothing of theirs
    member = books.courses.member(course, user)
    if member is not None and member.role is Role.STUDENT:
        return lambda _: member.agreed_at is not None
    seat = books.sessions.seat(session, user) if session else None
    came = member is not None or (seat is not None and seat.entered_at is not None)
    return lambda one: came and not is_hidden(one.path)


def _meant(books: Books, course: str, session: str) -> list[Push]:
    exams = {one.id for one in books.sessions.of_course(course) if one.exam}
    pushes = books.handouts.pushes(course)
    if session in exams:
        return [one for one in pushes if one.session == session]
    return [one for one in pushes if one.session not in exams]


def delivered(desk: Desk, user: str, deliveries: Sequence[Delivery]) -> tuple[Delivery, ...]:
    """Note what became of files in somebody's home; gives what was noted.

    Whose home and when is known here, whatever is said. Left out is what was not sent to them, and what takes back
    that a file is there.
    """
    if not deliveries:
        return ()
    with desk.ledger.transaction() as books:
        now = desk.clock()
        before = {one.push: one for one in books.handouts.deliveries([one.push for one in deliveries], user)}
        noted: dict[str, Delivery] = {}
        for one in deliveries:
            known = noted.get(one.push) or before.get(one.push)
            if (known is None or known.outcome is Outcome.FAILED) and _sent_to(books, one.push, user):
                words = one.problem[:_MOST_WORDS]
                noted[one.push] = replace(one, user=user, at=now, path=one.path[:1024], problem=words)
        books.handouts.deliver(list(noted.values()))
        return tuple(noted.values())


def _sent_to(books: Books, push: str, user: str) -> bool:
    sent = books.handouts.get_push(push)
    if sent is None:
        return False
    if books.courses.member(sent.course, user) is not None:
        return True
    return any(books.sessions.seat(one.id, user) is not None for one in books.sessions.of_course(sent.course))


# --- staff ------------------------------------------------------------------------------------------------------------


def _find(books: Books, push: str) -> Push:
    found = books.handouts.get_push(push)
    if found is None:
        raise UnknownName(f"No file was sent under the id {push!r}.")
    return found


def progress(desk: Desk, push: str, *, ask: bool = True) -> Progress:
    """Tell in how many homes a pushed file is; `ask` as in `pushes_for`.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        return _progress(books, [_find(books, push)], ask)[0]


def progress_of_course(
    desk: Desk, course: str, session: str | None = None, *, ask: bool = True
) -> tuple[Progress, ...]:
    """Tell that of all files of a course, or of one session of it; as they were sent."""
    with desk.ledger.reading() as books:
        pushes = [one for one in books.handouts.pushes(course) if session is None or one.session == session]
        return _progress(books, pushes, ask)


def _progress(books: Books, pushes: Sequence[Push], ask: bool) -> tuple[Progress, ...]:
    students: dict[str, dict[str, Member]] = {}
    said: dict[str, list[Delivery]] = {one.id: [] for one in pushes}
    for delivery in books.handouts.deliveries(said):
        said[delivery.push].append(delivery)
    exams = {
        session.id
        for course in {one.course for one in pushes}
        for session in books.sessions.of_course(course)
        if session.exam
    }
    found = []
    for one in pushes:
        if one.course not in students:
            students[one.course] = {member.user: member for member in books.courses.members(one.course, [Role.STUDENT])}
        guests = {seat.user for seat in books.sessions.seats(one.session) if seat.guest} if one.session else set()
        there = said[one.id]
        waiting = (students[one.course].keys() | guests) - {delivery.user for delivery in there}
        asked = waiting & students[one.course].keys() if ask and one.session not in exams else set()

        def count(outcome: Outcome, there: list[Delivery] = there) -> int:
            return sum(delivery.outcome is outcome for delivery in there)

        found.append(
            Progress(
                one,
                count(Outcome.WRITTEN),
                count(Outcome.SAME),
                count(Outcome.BESIDE),
                count(Outcome.FAILED),
                len(waiting),
                sum(students[one.course][user].agreed_at is None for user in asked),
                tuple(delivery for delivery in there if delivery.outcome is Outcome.FAILED),
            )
        )
    return tuple(found)


def unnamed(desk: Desk, course: str) -> frozenset[str]:
    """Give the digests of all files that were sent in a course; what else lies among them is of no use."""
    with desk.ledger.reading() as books:
        return frozenset(one.sha256 for one in books.handouts.pushes(course))
