"""Courses' directories: seats can read them, others cannot, and no name leads out of them."""

import os
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.course_directory import SEAT_UID, CourseDirectory, Places, file_part
from spawner.errors import CourseFilesFailed, UnknownName
from spawner.state import StateDirectory

AT = datetime(2027, 3, 1, 14, 0, 5, tzinfo=UTC)
NAMES = st.text(min_size=1, max_size=300) | st.sampled_from(["..", ".", "-rf", "a/../../b", "~", "a=b", "ann.lee"])


@pytest.fixture
def course(tmp_path: Path) -> CourseDirectory:
    return StateDirectory(tmp_path / "state").create().course("ml").create()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_mounted_is_there_for_all(course: CourseDirectory, tmp_path: Path) -> None:
    assert course.path == tmp_path / "state" / "courses" / "ml"
    assert mode(course.path) == 0o700
    mounted = [course.materials, course.pushes, course.collected]
    # What is sent opens for who knows its digest, and nobody lists what is meant for another hour.
    assert [mode(path) for path in mounted] == [0o755, 0o711, 0o755]
    before = [path.stat().st_ino for path in mounted]
    assert course.create() == course
    assert [path.stat().st_ino for path in mounted] == before  # containers that run still see them


def test_whatever_the_umask_says(tmp_path: Path) -> None:
    was = os.umask(0o077)
    try:
        course = Places(tmp_path).course("ml").create()
    finally:
        os.umask(was)
    assert [mode(path) for path in (course.materials, course.pushes)] == [0o755, 0o711]


@pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")
def test_git_lets_seats_clone(course: CourseDirectory) -> None:
    assert course.materials.stat().st_uid == SEAT_UID
    assert course.pushes.stat().st_uid == course.collected.stat().st_uid == 0
    # Others on the host do not come in.
    denied = subprocess.run(["ls", str(course.pushes)], user=SEAT_UID, capture_output=True, text=True, check=False)
    assert "Permission denied" in denied.stderr


def test_something_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "ml").write_text("")
    with pytest.raises(CourseFilesFailed, match="ml cannot be made: File exists"):
        Places(tmp_path).course("ml").create()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "ML", "ä", "-a", "a" * 33, "a\n", "a\0"])
def test_only_courses_have_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownName):
        StateDirectory(tmp_path).course(name)


@given(NAMES, NAMES)
def test_names_of_users_in_files(one: str, other: str) -> None:
    first, second = file_part(one), file_part(other)
    assert (first == second) == (one == other)
    assert first.isascii()
    assert first.isprintable()
    assert "/" not in first
    assert first[0] not in ".-"
    assert len(first) <= 180


def test_plain_names_stay(course: CourseDirectory) -> None:
    path = course.archive("0a1b", "ann.lee@example.org", AT)
    assert path == course.collected / "0a1b" / "ann.lee@example.org-20270301T140005Z.tar.gz"
    with pytest.raises(UnknownName):
        course.archive("0a1b", "", AT)


@given(st.text(max_size=40) | st.sampled_from(["..", "../../pushes", "s/../..", "s1/x", "s1/..", "/etc/passwd"]))
def test_nothing_leads_out(name: str) -> None:
    course = CourseDirectory(Path("/srv/courses/ml"))
    for find in (course.pushed, course.collection, course.collected_file):
        try:
            found = find(name)
        except UnknownName:
            continue
        assert found.parent in {course.pushes, course.collected}
        assert found.name == name


def test_archives_are_found_by_their_name(course: CourseDirectory) -> None:
    path = course.archive("0a1b", "ann", AT)
    path.parent.mkdir()
    path.write_bytes(b"work")
    assert course.collected_file(str(path.relative_to(course.collected))) == path
    (path.parent / "link").symlink_to("/etc/passwd")
    for name in ("0a1b/link", "0a1b/none", "0a1b/", "0a1b", "0a1b/..", f"0a1b/../0a1b/{path.name}", "0a1b/a\0b"):
        with pytest.raises(UnknownName, match="There is no archive"):
            course.collected_file(name)


def test_a_new_file_is_moved_or_gone(course: CourseDirectory) -> None:
    with course.new_file() as (file, part):
        file.write(b"content")
        file.flush()
        assert part.parent == course.path
        part.replace(course.pushes / "kept")
    assert (course.pushes / "kept").read_bytes() == b"content"
    with pytest.raises(ZeroDivisionError), course.new_file():
        raise ZeroDivisionError
    assert sorted(path.name for path in course.path.iterdir()) == ["collected", "materials.git", "pushes"]
