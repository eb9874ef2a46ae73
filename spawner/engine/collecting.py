"""A folder taken out of a home, as it is at this moment: also of one whose user works in it and means no good.

The home is walked by descriptors, no link is ever followed, and nothing but plain files of the home's own disk is
read: whatever its owner swaps meanwhile, what is read lies in the home. Each file is in the archive with its content
as of one moment where that can be had; the manifest says where it cannot, and what was left out. Whatever is in the
home, what is held of it in memory is bounded; what is too much for that is counted.
"""

import contextlib
import csv
import errno
import gzip
import hashlib
import io
import itertools
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import CourseFilesFailed

MANIFEST = "MANIFEST.csv"
_COLUMNS = ("path", "sha256", "size", "mtime", "note")
_CHUNK = 1 << 20
_SMALL = 8 << 20  # bytes of a file that is read at once, and again if it changes meanwhile
_TRIES = 3
_MOST_FILES = 100_000
_MOST_NAMES = 200_000  # of files, folders, links and all else that is looked at
_LISTED = 32 << 20  # bytes of the manifest about files that are in the archive
_NOTED = 8 << 20  # and about what is not, which shall not crowd those out
_DEEPEST = 40  # folders in folders, of which each is open while those in it are read
_SPARE = 256 << 20  # bytes of the archives' disk that are left to others, the ledger first
_PACKING = 1  # quickly: others wait, and their homes change meanwhile
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TREE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Pulse = Callable[[], None]
"""Called between files; what it raises ends the work."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An archive that was written.

    Attributes
    ----------
    files, size
        How many files are in it, and their bytes before packing.
    sha256
        Of the archive.
    problem
        Why it is not all, in a sentence; empty if it is.
    """

    files: int
    size: int
    sha256: str
    problem: str = ""


class NothingThere(Exception):
    """There is no such folder; the message says so in a sentence."""


@dataclass(slots=True)
class _Entry:
    path: str
    sha256: str = ""
    size: int = 0
    mtime: datetime | None = None
    note: str = ""


class _Manifest:
    """The table of what is in an archive and what is not: a line of it is kept as it will be written.

    Attributes
    ----------
    unsaid
        How many lines there is no room for.
    """

    def __init__(self) -> None:
        self._text, self.unsaid = io.BytesIO(), 0
        self._listed, self._noted = _LISTED, _NOTED
        self._write(_row(_COLUMNS))

    def add(self, entry: _Entry) -> None:
        path = f"'{entry.path}" if entry.path.startswith(_FORMULA) else entry.path
        when = "" if entry.mtime is None else entry.mtime.isoformat()
        row = _row((path, entry.sha256, entry.size if entry.sha256 else "", when, entry.note))
        left = self._listed if entry.sha256 else self._noted
        if len(row) > left:
            self.unsaid += 1
        elif entry.sha256:
            self._listed -= self._write(row)
        else:
            self._noted -= self._write(row)

    def _write(self, row: bytes) -> int:
        return self._text.write(row)

    def finish(self) -> tuple[int, IO[bytes]]:
        """Give the size and the content."""
        if self.unsaid:
            self._write(_row(("", "", "", "", f"and {self.unsaid} more, for which there is no room here")))
        size = self._text.tell()
        self._text.seek(0)
        return size, self._text


def _row(cells: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")


@dataclass
class _Work:
    """What is known of a collection while it goes on."""

    tar: tarfile.TarFile
    prefix: str
    most: int
    device: int
    room: Callable[[], int]
    pulse: Pulse
    manifest: _Manifest = field(default_factory=_Manifest)
    names: int = 0
    files: int = 0
    size: int = 0
    left_out: int = 0
    changed: int = 0
    too_large: int = 0


def take(
    home: Path, folder: str, file: IO[bytes], prefix: str, most: int, pulse: Pulse = lambda: None, spare: int = _SPARE
) -> Taken:
    """Write a folder of a home into an archive (``.tar.gz``), with a manifest.

    Parameters
    ----------
    folder
        Relative to the home; empty for all of it.
    file
        Where the archive goes; on the disk when this returns.
    prefix
        Folder in the archive under which all lies.
    most
        Bytes of all files together; those beyond are left out.
    spare
        Bytes that are left free on the archive's disk.

    Raises
    ------
    NothingThere
        If there is no such folder, or it is a link.
    CourseFilesFailed
        If the disk is full, or does not take it.
    """
    try:
        top = _open_folder(home, folder)
    except OSError as error:
        raise NothingThere(_no_folder(home, folder, error)) from error
    try:
        digesting = _Digesting(file)
        with (
            gzip.GzipFile("", "wb", _PACKING, digesting, mtime=0) as packing,
            tarfile.open(fileobj=packing, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            work = _Work(tar, prefix, most, os.fstat(top).st_dev, lambda: _room(file) - spare, pulse)
            _walk(work, top, PurePosixPath(folder), 0)
            _add_manifest(work)
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        full = ". Is the disk full?" if error.errno == errno.ENOSPC else ""
        raise CourseFilesFailed(f"The archive could not be written: {error.strerror}{full}") from error
    finally:
        os.close(top)
    return Taken(work.files, work.size, digesting.hexdigest(), _problem(work))


def _no_folder(home: Path, folder: str, error: OSError) -> str:
    if error.errno in {errno.ELOOP, errno.ENOTDIR} and home.is_dir():
        return f"{folder} in the home is a link or a file, and not a folder."
    return f"There is no folder {folder} in the home." if folder and home.is_dir() else "There is no home."


def _open_folder(home: Path, folder: str) -> int:
    """Open a folder step by step, so that no link on the way is followed."""
    current = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in PurePosixPath(folder).parts:
        if part in {"/", ".."}:
            os.close(current)
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        try:
            following = os.open(part, _TREE, dir_fd=current)
        finally:
            os.close(current)
        current = following
    return current


def _room(file: IO[bytes]) -> int:
    there = os.fstatvfs(file.fileno())
    return there.f_bavail * there.f_frsize


class _Digesting:
    """A file that is written to, with the digest of what was."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


# --- the walk ---------------------------------------------------------------------------------------------------------


def _walk(work: _Work, directory: int, at: PurePosixPath, depth: int) -> None:
    try:
        names, more = _names(work, directory)
    except OSError as error:  # such as of a disk that is failing
        _leave_out(work, str(at), error.strerror)
        return
    if more:
        _leave_out(work, str(at), f"{more} of what is in it, too many names", more)
    for name in names:
        work.pulse()
        path = at / name
        try:
            # O_PATH: nothing is opened yet, so that a device or a pipe does nothing.
            handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError:
            continue  # gone meanwhile
        except OSError as error:
            _leave_out(work, str(path), error.strerror)
            continue
        try:
            _visit(work, handle, path, depth)
        finally:
            os.close(handle)


def _names(work: _Work, directory: int) -> tuple[list[str], int]:
    """List what is in a folder; gives how much more there is than may be looked at."""
    with os.scandir(directory) as found:
        names = sorted(entry.name for entry in itertools.islice(found, _MOST_NAMES - work.names))
        work.names += len(names)
        more = 0
        for more, _ in enumerate(found, 1):
            if not more % _MOST_NAMES:
                work.pulse()
    return names, more


def _visit(work: _Work, handle: int, path: PurePosixPath, depth: int) -> None:
    status = os.fstat(handle)
    if stat.S_ISLNK(status.st_mode):
        work.manifest.add(_Entry(str(path), note=f"a link to {os.readlink('', dir_fd=handle)}, which is not followed"))
    elif status.st_dev != work.device:
        _leave_out(work, str(path), "on another disk")
    elif stat.S_ISDIR(status.st_mode):
        if depth >= _DEEPEST:
            _leave_out(work, str(path), "too deep")
            return
        try:
            inside = os.open(".", _TREE, dir_fd=handle)
        except OSError as error:
            _leave_out(work, str(path), error.strerror)
            return
        try:
            _walk(work, inside, path, depth + 1)
        finally:
            os.close(inside)
    elif stat.S_ISREG(status.st_mode):
        _add(work, handle, path, status)
    else:
        work.manifest.add(_Entry(str(path), note="a pipe, socket or device"))


def _add(work: _Work, handle: int, path: PurePosixPath, status: os.stat_result) -> None:
    if work.files >= _MOST_FILES:
        _leave_out(work, str(path), "too many files")
        return
    if work.size + status.st_size > work.most:
        work.too_large += 1
        _leave_out(work, str(path), f"too large: {status.st_size} bytes")
        return
    if status.st_size > work.room():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        # The very file that was looked at, whatever its name leads to by now.
        # Nor waiting for an owner who holds a lease on it (fcntl): that would take 45 s for each file.
        descriptor = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except BlockingIOError:
        _leave_out(work, str(path), "a program of its owner's holds it")
        return
    except OSError as error:
        _leave_out(work, str(path), error.strerror)
        return
    with os.fdopen(descriptor, "rb", buffering=0) as source:
        if status.st_size <= _SMALL:
            _add_small(work, source, path)
        else:
            _add_large(work, source, path, status)


def _member(work: _Work, path: PurePosixPath, size: int, mtime: float, mode: int = 0o644) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"{work.prefix}/{path}")
    member.size, member.mtime, member.mode = size, mtime, mode & 0o755  # to whom it belonged says the archive's name
    return member


def _add_small(work: _Work, source: io.FileIO, path: PurePosixPath) -> None:
    """Add a file with what it held at one moment."""
    for _ in range(_TRIES):
        before = os.fstat(source.fileno())
        try:
            source.seek(0)
            # One that grows without end is not read to its end.
            content = b"".join(_pieces(source, _SMALL * 2))
        except OSError as error:
            _leave_out(work, str(path), error.strerror)
            return
        after = os.fstat(source.fileno())
        still = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if still and len(content) == after.st_size:
            break
    else:
        work.changed += 1
    entry = _Entry(str(path), hashlib.sha256(content).hexdigest(), len(content), _moment(after))
    if not still:
        entry.note = "it changed while it was read"
    work.tar.addfile(_member(work, path, len(content), after.st_mtime, after.st_mode), io.BytesIO(content))
    _count(work, entry)


def _add_large(work: _Work, source: io.FileIO, path: PurePosixPath, before: os.stat_result) -> None:
    """Add a file as long as it was when it was looked at."""
    reader = _Exactly(source, before.st_size, work.pulse)
    work.tar.addfile(_member(work, path, before.st_size, before.st_mtime, before.st_mode), reader)
    after = os.fstat(source.fileno())
    entry = _Entry(str(path), reader.digest.hexdigest(), before.st_size, _moment(before))
    if reader.padded or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        work.changed += 1
        entry.note = "it changed while it was read" + ("; the end is zeros" if reader.padded else "")
    _count(work, entry)


def _count(work: _Work, entry: _Entry) -> None:
    work.tar.getmembers().clear()  # it keeps all, and needs none
    work.manifest.add(entry)
    work.files += 1
    work.size += entry.size


def _pieces(source: io.FileIO, most: int) -> Iterator[bytes]:
    while most > 0 and (piece := source.read(min(_CHUNK, most))):
        most -= len(piece)
        yield piece


class _Exactly:
    """A file with so many bytes, whatever becomes of it: cut, or filled up with zeros."""

    def __init__(self, source: io.FileIO, size: int, pulse: Pulse) -> None:
        self._source, self._left, self._pulse = source, size, pulse
        self.digest, self.padded = hashlib.sha256(), False

    def read(self, size: int = -1, /) -> bytes:
        self._pulse()
        wanted = self._left if size < 0 else min(size, self._left)
        content = b""
        with contextlib.suppress(OSError):  # what cannot be read is like what is gone
            while len(content) < wanted and (piece := self._source.read(wanted - len(content))):
                content += piece
        self.padded = self.padded or len(content) < wanted
        content = content.ljust(wanted, b"\0")
        self._left -= wanted
        self.digest.update(content)
        return content


def _leave_out(work: _Work, path: str, why: str | None, count: int = 1) -> None:
    work.left_out += count
    work.manifest.add(_Entry(path, note=f"left out: {why}"))


def _moment(status: os.stat_result) -> datetime | None:
    try:
        return datetime.fromtimestamp(status.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):
        return None


# --- what is told of it -----------------------------------------------------------------------------------------------


def _add_manifest(work: _Work) -> None:
    # Beside the folder with all else, in which there may be a file of any name.
    member = tarfile.TarInfo(f"{work.prefix}-{MANIFEST}")
    member.size, content = work.manifest.finish()
    member.mode = 0o644
    work.tar.addfile(member, content)


def _problem(work: _Work) -> str:
    said = []
    if work.too_large:
        said.append(f"{_files(work.too_large)} left out, too large")
    if work.left_out > work.too_large:
        said.append(f"{_files(work.left_out - work.too_large)} left out")
    if work.changed:
        said.append(f"{_files(work.changed)} changed while read")
    which = [f"{', '.join(said)}; the manifest says which."] if said else []
    if work.manifest.unsaid:
        lines = f"{work.manifest.unsaid} line{'' if work.manifest.unsaid == 1 else 's'}"
        which.append(f"The manifest has no room for {lines} more.")
    return " ".join(which)


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
