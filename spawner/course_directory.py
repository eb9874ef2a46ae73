"""Where a course keeps its files: materials, what is pushed to seats, what is collected from them.

::

    <state_dir>/courses/<course>/       mode 0700: nobody on the host but its owner comes in
        materials.git/                  bare repository; seats clone from it, read-only mounted
        materials.json                  how the last look at the materials went
        pushes/<sha256>                 contents; seats read them, read-only mounted
        collected/<session>/            archives of work; staff's own seats read them, read-only mounted

What is mounted into seats is a directory that stays where it is, so that new files show up in containers that run.
Their users have another uid than its owner, so all may read it; the directory above keeps others on the host out.
"""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import quote

from .errors import CourseFilesFailed, UnknownName

SEAT_UID = 1000  # of users in their containers
_COURSE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")  # at least what `spawner.policy.classes.check_course` lets pass
_SESSION = re.compile(r"[0-9a-z]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_READABLE = 0o755
_BY_NAME = 0o711  # what is in it opens for who knows its name, a digest: nobody reads what is meant for another hour
_LONGEST_NAME = 180  # bytes of a user's name in a file's; 255 is what Linux takes


@dataclass(frozen=True)
class CourseDirectory:
    """Names and makes what lies in the directory of one course."""

    path: Path

    def create(self) -> "CourseDirectory":
        """Make what is mounted into seats, where it is missing, and return `self`.

        Raises
        ------
        CourseFilesFailed
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            modes = {self.materials: _READABLE, self.pushes: _BY_NAME, self.collected: _READABLE}
            for mounted, mode in modes.items():
                if not mounted.is_dir():
                    mounted.mkdir(mode=mode, exist_ok=True)
                    mounted.chmod(mode)  # whatever the umask says
            # Git takes a repository for its owner's alone; seats see it read-only all the same.
            if os.geteuid() == 0 and self.materials.stat().st_uid != SEAT_UID:
                os.chown(self.materials, SEAT_UID, SEAT_UID)
        except OSError as error:
            raise CourseFilesFailed(f"{error.filename or self.path} cannot be made: {error.strerror}.") from error
        return self

    @property
    def materials(self) -> Path:
        """A bare repository; an empty directory until there are materials."""
        return self.path / "materials.git"

    @property
    def materials_note(self) -> Path:
        return self.path / "materials.json"

    @property
    def pushes(self) -> Path:
        return self.path / "pushes"

    @property
    def collected(self) -> Path:
        return self.path / "collected"

    def pushed(self, sha256: str) -> Path:
        """Name the content of a pushed file.

        Raises
        ------
        UnknownName
            If that is no digest.
        """
        if not _SHA256.fullmatch(sha256):
            raise UnknownName(f"No file was pushed with the digest {sha256!r}.")
        return self.pushes / sha256

    def collection(self, session: str) -> Path:
        """Name the directory of what is collected from a session.

        Raises
        ------
        UnknownName
            If no session can be called so.
        """
        if not _SESSION.fullmatch(session):
            raise UnknownName(f"There is no session {session!r}.")
        return self.collected / session

    def archive(self, session: str, user: str, taken_at: datetime) -> Path:
        """Name the archive of somebody's work.

        Raises
        ------
        UnknownName
            If no session, or no user, can be called so.
        """
        return self.collection(session) / f"{file_part(user)}-{taken_at.astimezone(UTC):%Y%m%dT%H%M%SZ}.tar.gz"

    def collected_file(self, archive: str) -> Path:
        """Find an archive by its name in the ledger, relative to `collected`.

        Raises
        ------
        UnknownName
            If there is none, or what is there is none.
        """
        session, slash, name = archive.partition("/")
        if (
            slash
            and _SESSION.fullmatch(session)
            and name not in {"", ".", ".."}
            and "/" not in name
            and "\0" not in name
        ):
            path = self.collected / session / name
            if path.is_file() and not path.is_symlink():
                return path
        raise UnknownName(f"There is no archive {archive!r}.")

    @contextlib.contextmanager
    def new_file(self) -> Iterator[tuple[IO[bytes], Path]]:
        """Open a file on the same disk, outside of what seats see; gone in the end unless it was moved."""
        self.create()
        part = self.path / f".part-{secrets.token_hex(8)}"
        try:
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w+b") as file:
                yield file, part
        finally:
            part.unlink(missing_ok=True)


@dataclass(frozen=True)
class Places:
    """Where courses keep their files.

    Attributes
    ----------
    root
        `spawner.state.StateDirectory.courses`.
    push_bytes
        The most that a pushed file may have.
    """

    root: Path
    push_bytes: int = 100 << 20

    def course(self, course: str) -> CourseDirectory:
        """Give a course's directory, which may not be there yet.

        Raises
        ------
        UnknownName
            If no course can be called so.
        """
        if not _COURSE.fullmatch(course):
            raise UnknownName(f"There is no course {course!r}.")
        return CourseDirectory(self.root / course)


def file_part(user: str) -> str:
    """Give a user's name as a part of a file's: the same for no two, without slashes, never hidden or an option.

    Raises
    ------
    UnknownName
        If nobody can be called so.
    """
    if not user:
        raise UnknownName("There is no user without a name.")
    safe = quote(user, safe="@+", errors="surrogatepass")
    if safe[0] in ".-":
        safe = f"%{ord(safe[0]):02X}{safe[1:]}"
    if len(safe) > _LONGEST_NAME:
        digest = hashlib.sha256(safe.encode()).hexdigest()[:20]
        safe = f"{safe[: _LONGEST_NAME - 21]}={digest}"  # no other name has this sign
    return safe
