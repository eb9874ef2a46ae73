"""Materials from a directory of this machine: each change of it is a commit, so that homes merge it like any other.

The directory is walked by descriptors and no link is followed, for others than admins may write to it.
"""

import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO

from ..errors import CourseFilesFailed
from .git import Git
from .materials_fetch import Fetched

BRANCH = "main"
_NEW = "refs/berth/new"
_LARGEST = 100 << 20  # bytes of a file: each home gets a copy
_ALL = 1 << 30
_MOST_FILES = 20_000
_CHUNK = 1 << 20
_SAID = 20  # that are named one by one
_SILENT = {"__pycache__", ".ipynb_checkpoints"}
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _File:
    path: bytes
    mode: bytes
    size: int
    target: bytes = b""  # of a link


@dataclass
class _Found:
    files: list[_File] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    size: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def leave_out(self, path: bytes, why: str) -> None:
        self.left_out.append(f"{path.decode('utf-8', 'backslashreplace')}: {why}")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a directory was like.

    Attributes
    ----------
    fetched
        None where nothing was changed since the last one.
    left_out
        What was not taken, and why.
    """

    fetched: Fetched | None
    left_out: tuple[str, ...]
    fingerprint: str


def snapshot(git: Git, source: Path, known: str, now: datetime) -> Snapshot:
    """Put a directory into the repository, where it is not as it was.

    Parameters
    ----------
    known
        The fingerprint of the snapshot that is in the repository; empty if another thing is.

    Raises
    ------
    CourseFilesFailed
        Then seats get what there was.
    """
    what = f"The materials in {source} cannot be read"
    try:
        found = _look(source)
        fingerprint = found.digest.hexdigest()
        git.initialise()
        # Whatever lay there before: homes that have it can go on from it.
        before = git.commit_of(f"refs/heads/{BRANCH}")
        if before and fingerprint == known:
            return Snapshot(None, _told(found), fingerprint)
        with git.running("fast-import", "--quiet", "--force", what=what, feed=True) as process:
            if process.stdin is None:  # cannot be: it was asked for
                raise AssertionError
            _feed(process.stdin, source, found, before, now)
            process.stdin.close()
    except OSError as error:
        raise CourseFilesFailed(f"{what}: {error.strerror}.") from error
    head = f"refs/heads/{BRANCH}"
    if not before or git.tree_of(_NEW) != git.tree_of(head):
        git.run("update-ref", head, git.commit_of(_NEW), what=what)
    git.show_only(BRANCH)
    git.tidy()
    return Snapshot(Fetched(BRANCH, git.commit_of(head)), _told(found), fingerprint)


def _told(found: _Found) -> tuple[str, ...]:
    more = len(found.left_out) - _SAID
    return (*found.left_out[:_SAID], *([f"and {more} more"] if more > 0 else []))


def _look(source: Path) -> _Found:
    """List what is in a directory.

    Raises
    ------
    CourseFilesFailed
        If it is more than homes can each have a copy of.
    """
    found = _Found()

    def fail(error: OSError) -> None:
        raise error

    top = os.fsencode(source)
    for at, folders, names, descriptor in os.fwalk(top, onerror=fail):
        folders.sort()
        for name in list(folders):
            path = _path(top, at, name)
            if _is_git(name):
                found.leave_out(path, "part of a git repository")
            if _is_git(name) or os.fsdecode(name) in _SILENT:
                folders.remove(name)
            elif stat.S_ISLNK(os.lstat(name, dir_fd=descriptor).st_mode):
                _note(found, name, path, descriptor)  # it is not walked into
        for name in sorted(names):
            _note(found, name, _path(top, at, name), descriptor)
    if found.size > _ALL or len(found.files) > _MOST_FILES:
        raise CourseFilesFailed(
            f"The materials in {source} are {len(found.files)} files of {found.size >> 20} MiB; homes get at most "
            f"{_MOST_FILES} of {_ALL >> 20} MiB. Give large files to seats as a data set."
        )
    return found


def _path(top: bytes, at: bytes, name: bytes) -> bytes:
    return os.path.relpath(os.path.join(at, name), top)  # noqa: PTH118  of bytes


def _is_git(name: bytes) -> bool:
    # As some file systems write it, too; git refuses these.
    return name.lower().rstrip(b". ") in {b".git", b"git~1"}


def _note(found: _Found, name: bytes, path: bytes, descriptor: int) -> None:
    status = os.lstat(name, dir_fd=descriptor)
    if _is_git(name):
        found.leave_out(path, "part of a git repository")
    elif stat.S_ISLNK(status.st_mode):
        target = os.readlink(name, dir_fd=descriptor)
        led = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if target.startswith(b"/") or led == b".." or led.startswith(b"../") or name.startswith(b".git"):
            found.leave_out(path, "a link that leads elsewhere")
            return
        _take(found, _File(path, b"120000", len(target), target), status)
    elif not stat.S_ISREG(status.st_mode):
        found.leave_out(path, "neither a file nor a folder")
    elif status.st_size > _LARGEST:
        found.leave_out(path, f"larger than {_LARGEST >> 20} MiB; give it to seats as a data set")
    else:
        mode = b"100755" if status.st_mode & stat.S_IXUSR else b"100644"
        _take(found, _File(path, mode, status.st_size), status)


def _take(found: _Found, file: _File, status: os.stat_result) -> None:
    found.files.append(file)
    found.size += file.size
    times = f"{file.size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}".encode()
    found.digest.update(b"\0".join([file.path, file.mode, file.target, times]) + b"\n")


def _feed(pipe: IO[bytes], source: Path, found: _Found, before: str, now: datetime) -> None:
    """Say a commit the way ``git fast-import`` reads it."""
    message = f"Materials as of {now:%Y-%m-%d %H:%M} UTC".encode()
    pipe.write(b"feature done\ncommit %s\n" % _NEW.encode())
    pipe.write(b"committer Berth <berth@localhost> %d +0000\n" % int(now.timestamp()))
    pipe.write(b"data %d\n%s\n" % (len(message), message))
    if before:
        pipe.write(b"from %s\n" % before.encode())
    pipe.write(b"deleteall\n")
    top = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for file in found.files:
            pipe.write(b"M %s inline %s\ndata %d\n" % (file.mode, _quoted(file.path), file.size))
            for piece in [file.target] if file.target else _pieces(top, file):
                pipe.write(piece)
            pipe.write(b"\n")
    finally:
        os.close(top)
    pipe.write(b"done\n")


def _pieces(top: int, file: _File) -> Iterator[bytes]:
    """Read a file as it was listed.

    Raises
    ------
    CourseFilesFailed
        If it is another by now.
    """
    changing = CourseFilesFailed(
        f"{file.path.decode('utf-8', 'backslashreplace')} is being changed; the materials are read again soon."
    )
    *folders, name = file.path.split(b"/")
    at = os.dup(top)
    try:
        for folder in folders:
            inside = os.open(folder, _OPEN | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = inside
        descriptor = os.open(name, _OPEN, dir_fd=at)
    except OSError as error:
        raise changing from error
    finally:
        os.close(at)
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size != file.size:
            raise changing
        left = file.size
        while left:
            piece = opened.read(min(_CHUNK, left))
            if not piece:
                raise changing
            left -= len(piece)
            yield piece


def _quoted(path: bytes) -> bytes:
    """Quote a path, of any bytes, the way of C."""
    plain = b"".join(
        b"\\%03o" % byte if byte < 0x20 or byte >= 0x7F or byte in b'"\\' else bytes([byte]) for byte in path
    )
    return b'"%s"' % plain
