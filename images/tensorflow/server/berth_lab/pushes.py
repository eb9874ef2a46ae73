"""Files that staff send: copied into the home, over nothing that is there, and nowhere else.

The home is its user's, who may put links, folders and files of any name in the way, at any moment. So each folder is
opened by its parent, without following links, and a file comes to its name by a link, which replaces nothing.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

STORE = Path("/opt/berth/course/pushes")
_CHUNK = 1 << 20
_NAMES = 100  # tried beside a file that is there already
_LONGEST = 1024  # characters of a path
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FULL = {errno.ENOSPC: "The disk is full.", errno.EDQUOT: "The home is full."}


class _Failed(Exception):
    """Why a file cannot be put there, in words for its user and for staff."""


def put(push: dict[str, Any], home: Path, store: Path = STORE) -> dict[str, Any]:
    """Copy a sent file into a home.

    Parameters
    ----------
    push
        ``id``, ``path`` relative to the home, ``sha256`` and ``size`` of the content.

    Returns
    -------
    dict
        ``push``; ``outcome``: ``written``, ``same`` (it was there already), ``beside`` (another file was there and
        stays) or ``failed``; ``path`` where it is; ``problem``, empty unless it failed.
    """
    path = str(push.get("path", ""))
    try:
        outcome, path = _put(push, path, home, store)
        problem = ""
    except _Failed as failure:
        outcome, problem = "failed", str(failure)
    except OSError as error:
        outcome, problem = "failed", _FULL.get(error.errno or 0, f"{error.strerror or error}.")
    return {"push": str(push.get("id", "")), "outcome": outcome, "path": path, "problem": problem}


def _put(push: dict[str, Any], path: str, home: Path, store: Path) -> tuple[str, str]:
    parts = _parts(path)
    sha256 = str(push.get("sha256", ""))
    with _content(store, sha256) as source, _folder(home, parts[:-1]) as folder:
        beside = False
        for name in _names(parts[-1]):
            there = _digest(folder, name)
            if there == sha256:
                return "same", "/".join([*parts[:-1], name])
            if there is None and _write(source, folder, name, sha256):
                return "beside" if beside else "written", "/".join([*parts[:-1], name])
            beside = True
        raise _Failed(f"There are {_NAMES} other files of this name already.")


def _parts(path: str) -> list[str]:
    """Split a path that stays in the home."""
    parts = list(PurePosixPath(path).parts)
    if not parts or len(path) > _LONGEST or PurePosixPath(path).is_absolute() or ".." in parts or "\0" in path:
        raise _Failed("This path does not lie in the home.")
    return parts


def _names(name: str) -> Iterator[str]:
    """Give a name and others beside it: data.csv, data.1.csv, data.2.csv."""
    yield name
    stem, dot, suffix = name.rpartition(".")
    if not stem:  # no suffix, or a hidden file
        stem, dot, suffix = name, "", ""
    elif stem.endswith(".tar"):
        stem, suffix = stem[: -len(".tar")], f"tar.{suffix}"
    for number in range(1, _NAMES):
        yield f"{stem}.{number}{dot}{suffix}"


@contextmanager
def _content(store: Path, sha256: str) -> Iterator[int]:
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise _Failed("The file's checksum is none.")
    try:
        source = os.open(store / sha256, _READ)
    except FileNotFoundError:
        raise _Failed("The file is not there yet.") from None
    try:
        yield source
    finally:
        os.close(source)


@contextmanager
def _folder(home: Path, parts: list[str]) -> Iterator[int]:
    """Open a folder of the home, made where it is not there, without following a link."""
    folder = os.open(home, _DIRECTORY)
    try:
        for part in parts:
            with suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=folder)
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=folder)
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                    raise _Failed(f"{part!r} is a link or a file, and would have to be a folder.") from None
                raise
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _digest(folder: int, name: str) -> str | None:
    """Give the SHA-256 of a file that has this name, empty for what is no file; None if the name is free."""
    try:
        file = os.open(name, _READ, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError:
        return ""  # a link, or something that cannot be read
    try:
        return _sha256(file) if stat.S_ISREG(os.fstat(file).st_mode) else ""
    finally:
        os.close(file)


def _sha256(file: int, copy: int | None = None) -> str:
    digest, at = hashlib.sha256(), 0
    while chunk := os.pread(file, _CHUNK, at):
        digest.update(chunk)
        at += len(chunk)
        while copy is not None and chunk:
            chunk = chunk[os.write(copy, chunk) :]
    return digest.hexdigest()


def _write(source: int, folder: int, name: str, sha256: str) -> bool:
    """Write the content under a name; gives false if somebody has taken the name meanwhile."""
    part = f".berth-{os.urandom(8).hex()}.part"
    copy = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder)
    try:
        try:
            if _sha256(source, copy) != sha256:
                raise _Failed("The file has another checksum than it should.")
            os.fsync(copy)  # where disks are full over a network, this is what says so
        finally:
            os.close(copy)
        os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part, dir_fd=folder)
    return True
