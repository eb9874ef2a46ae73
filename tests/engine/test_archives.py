"""Archives of real directories: nothing is lost, whatever a home holds.

What becomes of work that is killed, tests/janitor/test_homes.py tries.
"""

import contextlib
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from spawner.engine import archives
from spawner.engine.archives import Packed, pack, partial, unpack
from spawner.errors import ArchiveFailed

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="owners and mounts need root")


def nothing(_step: str, _done: int) -> None:
    pass


def fill(home: Path) -> None:
    """Make a home of all that may be in one."""
    home.mkdir(exist_ok=True)
    (home / "work").mkdir()
    (home / "work" / "notebook.ipynb").write_bytes(os.urandom(300_000))
    (home / "second name").hardlink_to(home / "work" / "notebook.ipynb")
    (home / "empty").mkdir(mode=0o700)
    (home / "a\nb").write_text("a name of two lines")
    Path(os.fsdecode(bytes(home) + b"/caf\xe9 \xff")).write_text("no UTF-8")
    (home / "-rf").write_text("looks like an option")
    (home / ("n" * 255)).write_text("long")
    deep = home / "/".join(["d" * 50] * 8)
    deep.mkdir(parents=True)
    (deep / "file").write_text("far away")
    (home / "away").symlink_to("/etc/passwd")
    (home / "broken").symlink_to("nowhere")
    os.mkfifo(home / "pipe")
    with (home / "holes").open("wb") as file:
        file.write(b"begin")
        file.seek(1 << 26)
        file.write(b"end")
    (home / "secret").write_text("key")
    (home / "secret").chmod(0o4600)
    with socket.socket(socket.AF_UNIX) as listener:
        short = os.open(home, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{short}/socket")
        os.close(short)
    os.setxattr(home / "secret", "user.note", b"of ann")
    if os.geteuid() == 0:
        os.chown(home / "secret", 1000, 100)
        os.lchown(home / "away", 1000, 100)
        os.chown(home, 1000, 100)
    home.chmod(0o2750)
    os.utime(home / "secret", ns=(5, 1_234_567_890_123_456_789))
    os.utime(home / "work", ns=(5, 987_654_321_000_000_007))


def told(home: Path) -> dict[bytes, object]:
    """Tell all about a tree, but for sockets and times of access."""
    found: dict[bytes, object] = {}
    first: dict[int, bytes] = {}
    for path in [home, *sorted(home.rglob("*"))]:
        status = path.lstat()
        if stat.S_ISSOCK(status.st_mode):
            continue
        name = bytes(path.relative_to(home))
        content: object = None
        attributes: dict[str, bytes] = {}
        if path.is_symlink():
            content = path.readlink()
        else:
            attributes = {one: os.getxattr(path, one) for one in os.listxattr(path)}
        if stat.S_ISREG(status.st_mode):
            first.setdefault(status.st_ino, name)
            with path.open("rb") as file:
                content = file.read(1 << 20), file.seek(-min(3, status.st_size), 2), file.read()
        found[name] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            content,
            first.get(status.st_ino),
            attributes,
        )
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    fill(made)
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "archives" / "home.tar.gz"


def test_all_comes_back_as_it_was(home: Path, target: Path, tmp_path: Path) -> None:
    before = told(home)
    packed = pack(home, target, nothing)
    assert packed.size == target.stat().st_size < 1 << 20  # holes take nothing
    assert packed.entries == len(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700
    assert told(home) == before
    back = tmp_path / "back"
    back.mkdir()
    unpack(target, back, packed.sha256, nothing)
    assert told(back) == before
    assert (back / "holes").stat().st_blocks * 512 < 1 << 20


def test_an_empty_home(tmp_path: Path, target: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "back").mkdir()
    packed = pack(tmp_path / "home", target, nothing)
    assert packed.entries == 1
    unpack(target, tmp_path / "back", packed.sha256, nothing)
    assert list((tmp_path / "back").iterdir()) == []


def test_progress_is_told(home: Path, target: Path, tmp_path: Path) -> None:
    (home / "large").write_bytes(os.urandom(3 << 20))
    told_of: dict[str, int] = {}
    packed = pack(home, target, lambda step, done: told_of.update({step: done}))
    assert list(told_of) == ["opened", "writing", "written", "checking", "checked", "packed"]
    assert told_of["writing"] > 3 << 20
    (tmp_path / "back").mkdir()
    unpack(target, tmp_path / "back", packed.sha256, lambda step, done: told_of.update({step: done}))
    assert told_of["unpacking"] == packed.size


# --- what goes wrong ----------------------------------------------------------------------------------------------


class _Over(Exception):
    pass


@pytest.mark.parametrize("step", ["opened", "writing", "written", "checking", "checked", "packed"])
def test_work_that_is_ended_leaves_no_half_archive(home: Path, target: Path, step: str) -> None:
    before = told(home)

    def end(now: str, _done: int) -> None:
        if now == step:
            raise _Over

    with pytest.raises(_Over):
        pack(home, target, end)
    assert not partial(target).exists()
    # Once it is checked and has its name, it stays.
    assert target.exists() == (step == "packed")
    assert told(home) == before


def test_a_file_that_is_written_to_meanwhile(home: Path, target: Path) -> None:
    def write(step: str, _done: int) -> None:
        if step == "written":
            (home / "work" / "notebook.ipynb").write_bytes(b"other")

    with pytest.raises(ArchiveFailed, match=r"is not like it: .*(notebook\.ipynb|second name): .* differs"):
        pack(home, target, write)
    assert list(target.parent.iterdir()) == []


def test_a_file_that_is_new_meanwhile(home: Path, target: Path) -> None:
    def write(step: str, _done: int) -> None:
        if step == "written":
            kept = home.stat()
            (home / "new").write_bytes(b"other")
            os.utime(home, ns=(kept.st_atime_ns, kept.st_mtime_ns))

    with pytest.raises(ArchiveFailed, match=r"entries, and there are \d+ files"):
        pack(home, target, write)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("where", [100, -100])
def test_an_archive_that_rots_before_it_is_checked(home: Path, target: Path, where: int) -> None:
    def rot(step: str, _done: int) -> None:
        if step == "written":
            damage(partial(target), where)

    with pytest.raises(ArchiveFailed):
        pack(home, target, rot)
    assert list(target.parent.iterdir()) == []


def damage(path: Path, where: int) -> None:
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)


def test_a_damaged_archive_is_not_taken_for_good(home: Path, target: Path, tmp_path: Path) -> None:
    packed = pack(home, target, nothing)
    good = target.read_bytes()
    # A gzip file may end in zeros that nobody misses.
    for bad in (good[:-1000], good + b"\0" * 8, good[:5000] + bytes([good[5000] ^ 1]) + good[5001:], b""):
        target.write_bytes(bad)
        back = tmp_path / f"back{len(bad)}"
        back.mkdir(exist_ok=True)
        with pytest.raises(ArchiveFailed):
            unpack(target, back, packed.sha256, nothing)
    target.unlink()
    with pytest.raises(ArchiveFailed, match=r"home\.tar\.gz: No such file or directory"):
        unpack(target, tmp_path / "back0", packed.sha256, nothing)
    with pytest.raises(ArchiveFailed, match="No such file"):
        archives.check_there(target, packed.size)
    target.write_bytes(good[:-1])
    with pytest.raises(ArchiveFailed, match=f"has {packed.size - 1} bytes, and had {packed.size}"):
        archives.check_there(target, packed.size)
    archives.discard(target)
    archives.discard(target)  # nothing is there: well
    assert not target.exists()


@contextlib.contextmanager
def small_disk(at: Path) -> Iterator[Path]:
    """Mount a disk of 200 KB."""
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


@root_only
def test_a_full_disk(home: Path, target: Path, tmp_path: Path) -> None:
    before = told(home)
    with small_disk(tmp_path / "small") as small:
        with pytest.raises(ArchiveFailed, match=r"(No space left|Wrote only).*Free some space"):
            pack(home, small / "home.tar.gz", nothing)
        assert list(small.iterdir()) == []
        packed: Packed = pack(home, target, nothing)
        with pytest.raises(ArchiveFailed, match=r"(No space left|Wrote only).*Free some space"):
            unpack(target, small, packed.sha256, nothing)
    assert told(home) == before


def test_what_is_not_there(tmp_path: Path, target: Path) -> None:
    with pytest.raises(ArchiveFailed, match="No such file or directory"):
        pack(tmp_path / "nowhere", target, nothing)
    (tmp_path / "home").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveFailed, match="file"):
        pack(tmp_path / "home", tmp_path / "file" / "archive", nothing)
