"""Directories packed into archives, checked, and unpacked again: GNU tar and gzip, at low priority.

Kept are contents, holes, names of any bytes, modes, owners, times, extended attributes, ACLs, symbolic and hard links.
Not kept are sockets, which are of no use without the program that made them.

All processes read from or write to this one: where it is killed, they end by themselves.
"""

import contextlib
import errno
import hashlib
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import ArchiveFailed
from .disk_use import LOW_PRIORITY

Pulse = Callable[[str, int], None]
"""Called with the step that is taken, and how many bytes are done; what it raises ends the work, and undoes it."""

_KEEP = ("--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner")
_CREATE = ("tar", "--create", "--format=posix", "--sparse", "--one-file-system", *_KEEP, "--file=-", "--directory")
_EXTRACT = ("tar", "--extract", "--preserve-permissions", "--same-owner", *_KEEP, "--file=-", "--directory")
_COMPARE = ("tar", "--diff", "--verbose", "--quoting-style=escape", "--numeric-owner", "--file=-", "--directory")
_COUNT = ("-xdev", "-not", "-type", "s", "-printf", ".")
_CHUNK = 1 << 18
_MOST_COMPLAINTS = 1 << 14
_DIFFERENCE = re.compile(rb"^(.*: (?:.* differs?|Not linked to .*|.*: Cannot .*))$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive that is on the disk and was compared with what is in it.

    Attributes
    ----------
    size
        Bytes.
    entries
        Files, directories and the like in it.
    """

    size: int
    sha256: str
    entries: int


def partial(target: Path) -> Path:
    """Give the name that an archive has until it is checked."""
    return target.with_name(f".{target.name}.part")


def pack(source: Path, target: Path, pulse: Pulse) -> Packed:
    """Pack a directory that nobody writes to, and check the archive; a file `target` is replaced.

    Raises
    ------
    ArchiveFailed
        Then there is no archive.
    """
    part = partial(target)
    try:
        part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _file(part, pulse) as file:
            sha256 = _write(source, file, pulse)
            file.flush()
            os.fsync(file.fileno())
            # What is compared is what the disk has, not what is still in memory.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            size = file.tell()
        pulse("written", 0)
        entries = _check(source, part, sha256, pulse)
        pulse("checked", 0)
        part.replace(target)
        _sync_directory(target.parent)
    except OSError as error:
        _drop(part)
        raise ArchiveFailed(_explain(error, target.parent)) from error
    except BaseException:
        _drop(part)
        raise
    pulse("packed", 0)
    return Packed(size, sha256, entries)


def _drop(part: Path) -> None:
    with contextlib.suppress(OSError):  # what went wrong before is told
        part.unlink()


@contextlib.contextmanager
def _file(part: Path, pulse: Pulse) -> Iterator[IO[bytes]]:
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w+b") as file:
        pulse("opened", 0)
        yield file


def _write(source: Path, file: IO[bytes], pulse: Pulse) -> str:
    digest, read = hashlib.sha256(), 0

    def carry(tar: IO[bytes], gzip: IO[bytes]) -> None:
        nonlocal read
        with gzip, contextlib.suppress(BrokenPipeError):
            while chunk := tar.read(_CHUNK):
                gzip.write(chunk)
                read += len(chunk)

    with _Processes() as running:
        tar = running.start([*_CREATE, str(source), "."], feed=False)
        gzip = running.start(["gzip", "--fast", "--no-name"])
        carrier = threading.Thread(target=carry, args=(tar.stdout, gzip.stdin), name="archive", daemon=True)
        carrier.start()
        while chunk := _out(gzip).read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
            pulse("writing", read)
        carrier.join()
        running.finish(f"{source} was not packed")
    return digest.hexdigest()


def _check(source: Path, archive: Path, sha256: str, pulse: Pulse) -> int:
    """Compare an archive with the directory it was made of: each content, and that nothing is missing."""
    seen = bytearray()
    entries = 0

    def listen(tar: IO[bytes]) -> None:
        nonlocal entries
        rest = b""
        while chunk := tar.read(_CHUNK):
            whole, _, rest = (rest + chunk).rpartition(b"\n")
            entries += whole.count(b"\n") + bool(whole)
            for found in _DIFFERENCE.finditer(whole):
                if len(seen) < _MOST_COMPLAINTS:
                    seen.extend(found[1] + b"\n")

    with _Processes() as running:
        gzip = running.start(["gzip", "--decompress"])
        tar = running.start([*_COMPARE, str(source)], stdin=gzip.stdout)
        listener = threading.Thread(target=listen, args=(tar.stdout,), name="archive-check", daemon=True)
        listener.start()
        found = _feed(archive, gzip, lambda done: pulse("checking", done))
        listener.join()
        running.finish(f"The archive of {source} is not like it", bytes(seen))
    if found != sha256:
        raise ArchiveFailed(f"The archive {archive} is not on the disk as it was written; is the disk broken?")
    with _Processes() as running:
        counting = running.start(["find", str(source), *_COUNT], feed=False)
        there = 0
        while chunk := _out(counting).read(_CHUNK):
            there += len(chunk)
        running.finish(f"{source} could not be read")
    if there != entries:
        raise ArchiveFailed(f"The archive of {source} has {entries} entries, and there are {there} files.")
    return entries


def unpack(archive: Path, into: Path, sha256: str, pulse: Pulse) -> None:
    """Unpack an archive into an empty directory, and see to it that all of it is on the disk.

    Raises
    ------
    ArchiveFailed
        Then what is in the directory is of no use.
    """
    try:
        with _Processes() as running:
            gzip = running.start(["gzip", "--decompress"])
            running.start([*_EXTRACT, str(into)], stdin=gzip.stdout)
            found = _feed(archive, gzip, lambda done: pulse("unpacking", done))
            running.finish(f"{archive} could not be unpacked")
        if found != sha256:
            raise ArchiveFailed(f"The archive {archive} is damaged: its digest is another than when it was made.")
        with _Processes() as running:
            running.start(["sync", "--file-system", str(into)], feed=False)
            running.finish(f"{into} could not be written")
    except OSError as error:
        raise ArchiveFailed(_explain(error, archive)) from error
    pulse("unpacked", 0)


def check_there(archive: Path, size: int) -> None:
    """See whether an archive is there and has its size.

    Raises
    ------
    ArchiveFailed
    """
    try:
        there = archive.stat().st_size
    except OSError as error:
        raise ArchiveFailed(_explain(error, archive)) from error
    if there != size:
        raise ArchiveFailed(f"The archive {archive} has {there} bytes, and had {size} when it was made.")


def discard(archive: Path) -> None:
    """Remove an archive, and what there is of one that was not finished.

    Raises
    ------
    ArchiveFailed
    """
    try:
        for path in (partial(archive), archive):
            path.unlink(missing_ok=True)
        if archive.parent.is_dir():
            _sync_directory(archive.parent)
    except OSError as error:
        raise ArchiveFailed(_explain(error, archive)) from error


def _feed(archive: Path, gzip: "subprocess.Popen[bytes]", pulse: Callable[[int], None]) -> str:
    """Give a process an archive's bytes; returns their digest."""
    digest, done = hashlib.sha256(), 0
    with archive.open("rb") as file, contextlib.suppress(BrokenPipeError), _in(gzip) as pipe:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            pipe.write(chunk)
            done += len(chunk)
            pulse(done)
    return digest.hexdigest()


class _Processes:
    """Some processes at low priority; none is left at the end."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  closed with the processes

    def __enter__(self) -> "_Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
        for process in self._running:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            process.wait()
        self._complaints.close()

    def start(
        self, command: Sequence[str], *, feed: bool = True, stdin: IO[bytes] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start one; it reads what it is fed, or from `stdin`, whose own end here is closed then."""
        source: int | IO[bytes] = stdin or (subprocess.PIPE if feed else subprocess.DEVNULL)
        process = subprocess.Popen(
            [*LOW_PRIORITY, *command],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, "LC_ALL": "C"},
        )
        self._running.append(process)
        if stdin is not None:
            stdin.close()
        return process

    def finish(self, what: str, differences: bytes = b"") -> None:
        """Wait for all.

        Raises
        ------
        ArchiveFailed
            If one failed, with its last words.
        """
        codes = [process.wait() for process in self._running]
        if not any(codes):
            return
        self._complaints.seek(0)
        lines = [line for line in self._complaints.read(_MOST_COMPLAINTS).splitlines() if b"socket ignored" not in line]
        # What the first has said is the cause; the others then miss the rest.
        said = (differences.splitlines() or lines or [f"exit status {max(codes)}".encode()])[0]
        words = re.sub(rb"^tar: (\./)?", b"", said).decode("utf-8", "replace")
        raise ArchiveFailed(f"{what}: {words}{_cure(words)}")


def _cure(words: str) -> str:
    full = os.strerror(errno.ENOSPC) in words or "Wrote only" in words  # as tar puts it
    return ". Is the disk full? Free some space, then try again." if full else ""


def _out(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    if process.stdout is None:  # cannot be: it was asked for
        raise AssertionError
    return process.stdout


def _in(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    if process.stdin is None:  # likewise
        raise AssertionError
    return process.stdin


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(error: OSError, path: Path) -> str:
    words = error.strerror or str(error)
    return f"{error.filename or path}: {words}{_cure(words) or '.'}"
