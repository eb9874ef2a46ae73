"""Folders taken out of real homes whose owners are at work, or mean no good."""

import csv
import hashlib
import io
import itertools
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from spawner.engine import collecting
from spawner.engine.collecting import MANIFEST, NothingThere, Taken, take
from spawner.errors import CourseFilesFailed

from .test_archives import root_only, small_disk

MOST = 1 << 30
SECRET = b"of somebody else"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    (made / "work" / "week 2").mkdir(parents=True)
    (made / "work" / "a.ipynb").write_bytes(b"{}")
    (made / "work" / "week 2" / "data.csv").write_bytes(b"1,2")
    (made / "private").write_bytes(b"not of the folder")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_bytes(SECRET)
    return made


def taken(home: Path, folder: str = "work", most: int = MOST) -> tuple[Taken, dict[str, bytes], dict[str, str]]:
    """Take a folder; gives the archive's files, and the manifest's notes."""
    target = home.parent / "archive.tar.gz"
    with target.open("w+b") as file:
        found = take(home, folder, file, "ann", most, spare=0)
    assert found.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    with tarfile.open(target) as tar:
        assert all(member.isreg() and member.uid == member.gid == 0 for member in tar)
        content = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    rows = list(csv.DictReader(io.StringIO(content.pop(f"ann-{MANIFEST}").decode())))
    for row in rows:
        if row["sha256"]:
            held = content[f"ann/{row['path'].removeprefix(chr(39))}"]
            assert (hashlib.sha256(held).hexdigest(), str(len(held))) == (row["sha256"], row["size"])
    assert len(content) == found.files == sum(bool(row["sha256"]) for row in rows)
    assert sum(map(len, content.values())) == found.size
    return found, content, {row["path"]: row["note"] for row in rows}


def test_all_files_of_the_folder(home: Path) -> None:
    os.utime(home / "work" / "a.ipynb", ns=(5, 1_000_000_000_123_456_789))
    found, content, notes = taken(home)
    assert content == {"ann/work/a.ipynb": b"{}", "ann/work/week 2/data.csv": b"1,2"}
    assert notes == {"work/a.ipynb": "", "work/week 2/data.csv": ""}
    assert found.problem == ""
    with tarfile.open(home.parent / "archive.tar.gz") as tar:
        assert tar.getmember("ann/work/a.ipynb").mtime == pytest.approx(1_000_000_000.1234567)


def test_a_folder_in_a_folder_and_the_whole_home(home: Path) -> None:
    assert list(taken(home, "work/week 2")[1]) == ["ann/work/week 2/data.csv"]
    assert len(taken(home, "")[1]) == 3
    (home / "empty").mkdir()
    assert taken(home, "empty")[0].files == 0


@pytest.mark.parametrize("folder", ["none", "private", "link", "work/none", "..", "work/../../other", "/etc"])
def test_no_such_folder(home: Path, folder: str) -> None:
    (home / "link").symlink_to(home.parent / "other")
    with pytest.raises(NothingThere, match="in the home"):
        taken(home, folder)


def test_no_home(tmp_path: Path) -> None:
    with pytest.raises(NothingThere, match=r"^There is no home\.$"):
        taken(tmp_path / "nowhere")


def test_nothing_is_followed_out_of_the_home(home: Path) -> None:
    work = home / "work"
    (work / "link").symlink_to(home.parent / "other" / "secret")
    (work / "links").symlink_to(home.parent / "other")
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(work / "socket"))
    if os.geteuid() == 0:
        os.mknod(work / "device", 0o666 | 0o020000, os.makedev(1, 5))
    _, content, notes = taken(home)
    assert len(content) == 2
    assert SECRET not in content.values()
    assert notes["work/links"].startswith("a link to ")
    assert notes["work/pipe"] == notes["work/socket"] == "a pipe, socket or device"


def test_names_of_any_bytes(home: Path) -> None:
    work = home / "work"
    for name in (b"caf\xe9", b"a\nb", b"=cmd()", b"-rf", b"n" * 255, "übung".encode()):
        Path(os.fsdecode(bytes(work) + b"/" + name)).write_bytes(b"x")
    deep = work / "/".join(["d" * 60] * 20)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"far away")
    found = take_raw(home)
    assert found.files == 9
    with tarfile.open(home.parent / "archive.tar.gz", errors="surrogateescape") as tar:
        names = {os.fsencode(member.name) for member in tar}
        manifest = tar.extractfile(f"ann-{MANIFEST}")
        assert manifest is not None
        said = manifest.read().decode()
    assert {b"ann/work/caf\xe9", b"ann/work/a\nb", "ann/work/übung".encode()} <= names
    assert "work/caf\\udce9," in said


def take_raw(home: Path, folder: str = "work", most: int = MOST) -> Taken:
    with (home.parent / "archive.tar.gz").open("w+b") as file:
        return take(home, folder, file, "ann", most, spare=0)


def test_a_manifest_is_no_program(home: Path) -> None:
    (home / "=1+1").write_bytes(b"x")
    assert "'=1+1" in taken(home, "")[2]


def test_what_is_too_large_is_left_out(home: Path) -> None:
    (home / "work" / "b").write_bytes(b"x" * 1000)
    with (home / "work" / "holes").open("wb") as file:
        file.truncate(1 << 40)
    found, content, notes = taken(home, most=1000)
    assert found.problem == "2 files left out, too large; the manifest says which."
    assert notes["work/b"] == "left out: too large: 1000 bytes"
    assert notes["work/holes"] == f"left out: too large: {1 << 40} bytes"
    assert list(content) == ["ann/work/a.ipynb", "ann/work/week 2/data.csv"]


def test_too_many_and_too_deep(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_MOST_FILES", 1)
    monkeypatch.setattr(collecting, "_DEEPEST", 1)
    (home / "work" / "week 2" / "deep").mkdir()
    found, _, notes = taken(home)
    assert found.problem == "2 files left out; the manifest says which."
    assert notes["work/week 2/data.csv"] == "left out: too many files"
    assert notes["work/week 2/deep"] == "left out: too deep"


def test_more_than_a_manifest_holds(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the archive is named, however many links there are; and all that is not named is counted."""
    monkeypatch.setattr(collecting, "_NOTED", 1000)
    for number in range(500):
        (home / "work" / f"a-link-{number}").symlink_to("x" * 100)
    found, content, notes = taken(home)
    assert len(content) == 2
    assert notes.pop("").startswith("and 49")
    links = [path for path in notes if path.startswith("work/a-link-")]
    assert 0 < len(links) < 10
    assert {"work/a.ipynb", "work/week 2/data.csv"} <= notes.keys()
    assert found.problem == f"The manifest has no room for {500 - len(links)} lines more."
    # Nor is a table of files without bounds: of these, too, there is no end.
    monkeypatch.setattr(collecting, "_LISTED", 120)
    found = take_raw(home)
    assert found.files == 2
    assert found.problem == f"The manifest has no room for {501 - len(links)} lines more."


def test_more_names_than_are_looked_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_MOST_NAMES", 10)
    many = home / "work" / "b"
    many.mkdir()
    for number in range(30):
        (many / f"{number:02}").symlink_to("x")
    found, content, notes = taken(home)
    # Three names in the folder, seven in the one with many; and then none in "week 2".
    assert found.problem == "24 files left out; the manifest says which."
    assert list(content) == ["ann/work/a.ipynb"]
    assert notes["work/b"] == "left out: 23 of what is in it, too many names"
    assert notes["work/week 2"] == "left out: 1 of what is in it, too many names"
    assert sum(path.startswith("work/b/") for path in notes) == 7


_PEAK = """
import sys, tracemalloc
from pathlib import Path
from spawner.engine import collecting

collecting._NOTED, collecting._LISTED, collecting._MOST_NAMES = 100_000, 100_000, 6100
home, archive = map(Path, sys.argv[1:])
for _ in range(2):  # the first brings in what stays
    tracemalloc.start()
    with archive.open("w+b") as file:
        collecting.take(home, "work", file, "ann", 1 << 30, spare=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
print(peak)
"""


def test_memory_is_bounded(home: Path) -> None:
    """Of links with long names and targets, and of files, only so much is held as the manifest may be."""
    for number in range(3000):
        (home / "work" / f"link-{number}").symlink_to("x" * 2000)
    for number in range(3000):
        (home / "work" / "week 2" / f"{number}-{'x' * 200}").touch()
    # In a process of its own: here others' threads may be at work.
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, home, home.parent / "archive.tar.gz"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 5_000_000  # their names and targets take more than twice that


@root_only
def test_a_file_that_its_owner_holds(home: Path) -> None:
    """A write lease lets whoever else opens the file wait for 45 s, each time."""
    held = home / "work" / "held"
    held.write_bytes(b"1")
    os.chown(held, 1000, 1000)
    program = (
        "import fcntl, os, sys, time; os.setuid(1000); file = os.open(sys.argv[1], os.O_RDWR);"
        "fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK); print('held', flush=True); time.sleep(60)"
    )
    # The way to it is other people's.
    for above in [home, *home.parents][:-1]:
        above.chmod(above.stat().st_mode | 0o011)
    (home / "work").chmod(0o777)
    with subprocess.Popen([sys.executable, "-S", "-c", program, held], stdout=subprocess.PIPE) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"held\n"
            begun = time.monotonic()
            found, _, notes = taken(home)
            assert time.monotonic() - begun < 20
        finally:
            owner.kill()
    assert found.files == 2
    assert "holds it" in notes["work/held"]


def test_a_file_that_is_called_like_the_manifest(home: Path) -> None:
    (home / MANIFEST).write_bytes(b"of ann")
    _, content, notes = taken(home, "")
    assert content[f"ann/{MANIFEST}"] == b"of ann"
    assert notes[MANIFEST] == ""


@pytest.mark.parametrize("size", [1000, 9 << 20])
@pytest.mark.parametrize("then", [b"", b"longer than before"])
def test_a_file_that_changes_meanwhile(home: Path, monkeypatch: pytest.MonkeyPatch, size: int, then: bytes) -> None:
    changing = home / "work" / "log"
    changing.write_bytes(b"x" * size)
    rounds = itertools.count()

    class Changing(io.FileIO):
        def read(self, most: int | None = -1, /) -> bytes:
            if self.tell() == 0:
                number = next(rounds)
                changing.write_bytes(then * number if then else b"")
                os.utime(changing, ns=(5, number))
            return super().read(most) or b""

    real = os.fdopen

    def fdopen(descriptor: int, *arguments: object, **more: object) -> object:
        if Path(f"/proc/self/fd/{descriptor}").readlink() == changing:
            return Changing(descriptor)
        return real(descriptor, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "fdopen", fdopen)
    found, content, notes = taken(home)
    assert found.problem == "1 file changed while read; the manifest says which."
    assert notes["work/log"].startswith("it changed while it was read")
    if size > 1000:
        assert len(content["ann/work/log"]) == size


def test_an_owner_who_swaps_a_folder_for_a_link(home: Path) -> None:
    """Whatever is swapped while it is read: what comes into the archive was in the home."""
    folder, aside, over = home / "work" / "swapped", home / "aside", threading.Event()
    folder.mkdir()
    (folder / "secret").write_bytes(b"own")

    def swap() -> None:
        while not over.is_set():
            folder.rename(aside)
            folder.symlink_to(home.parent / "other")
            folder.unlink()
            aside.rename(folder)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(150):
            _, content, _ = taken(home)
            assert SECRET not in content.values()
    finally:
        over.set()
        swapper.join()


@root_only
def test_another_disk_in_the_home(home: Path) -> None:
    with small_disk(home / "work" / "disk") as disk:
        (disk / "file").write_bytes(b"x")
        _, content, notes = taken(home)
    assert len(content) == 2
    assert notes["work/disk"] == "left out: on another disk"


@root_only
def test_a_full_disk(home: Path, tmp_path: Path) -> None:
    (home / "work" / "noise").write_bytes(os.urandom(300_000))
    with small_disk(tmp_path / "small") as small:
        with (small / "a").open("w+b") as file, pytest.raises(CourseFilesFailed, match=r"No space left.*disk full"):
            take(home, "work", file, "ann", MOST, spare=0)
        for number in range(20):
            (home / "work" / f"noise{number}").write_bytes(os.urandom(30_000))
        (home / "work" / "noise").unlink()
        with (small / "a").open("w+b") as file, pytest.raises(CourseFilesFailed, match=r"No space left.*disk full"):
            take(home, "work", file, "ann", MOST, spare=0)


def test_room_is_left_to_others(home: Path) -> None:
    with (home.parent / "a").open("w+b") as file, pytest.raises(CourseFilesFailed, match="disk full"):
        take(home, "work", file, "ann", MOST, spare=1 << 60)


def test_work_that_is_ended(home: Path) -> None:
    def end() -> None:
        raise ZeroDivisionError

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  names are wanted
    with (home.parent / "a").open("w+b") as file, pytest.raises(ZeroDivisionError):
        take(home, "work", file, "ann", MOST, end, spare=0)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  likewise


def test_other_programs_read_it(home: Path) -> None:
    take_raw(home)
    listed = subprocess.run(
        ["tar", "-tzf", str(home.parent / "archive.tar.gz")], capture_output=True, text=True, check=True
    )
    assert listed.stdout.splitlines() == ["ann/work/a.ipynb", "ann/work/week 2/data.csv", f"ann-{MANIFEST}"]
