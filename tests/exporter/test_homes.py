"""How large homes are."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from spawner.engine.volumes import HomeVolume
from spawner.errors import EngineUnavailable
from spawner.exporter.homes import HomeWalker, Round
from spawner.exporter.looking import ErrorCounts

from ..support.waiting import eventually

NOW = 1_772_625_600.0
Walk = Callable[..., HomeWalker]


@pytest.fixture
def errors() -> ErrorCounts:
    return ErrorCounts(("homes",))


@pytest.fixture
def walk(errors: ErrorCounts) -> Iterator[Walk]:
    """Start a walker, which ends with the test."""
    started: list[HomeWalker] = []

    def walk(
        homes: Callable[[], Sequence[HomeVolume]], minutes: float = 60, clock: Callable[[], float] = lambda: NOW
    ) -> HomeWalker:
        started.append(HomeWalker(homes, minutes, errors, clock))
        started[-1].start()
        return started[-1]

    yield walk
    for one in started:
        one.close()


def told(walker: HomeWalker) -> dict[str, int]:
    return {home.user: home.used for home in walker.current.homes}


def finished(walker: HomeWalker) -> Round:
    eventually(lambda: walker.current.whole is not None)
    return walker.current


def blocks(*paths: Path) -> int:
    """Add up what files and directories take on disk, as POSIX counts it."""
    return sum(path.lstat().st_blocks * 512 for path in paths)


def test_blocks_count_and_a_file_with_two_names_once(tmp_path: Path, walk: Walk) -> None:
    (tmp_path / "ann").mkdir()
    data, second, holes = (tmp_path / "ann" / name for name in ("data", "second name\n", "holes"))
    data.write_bytes(os.urandom(300_000))
    second.hardlink_to(data)
    with holes.open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "ann" / "loop").symlink_to("..")
    walker = walk(lambda: [HomeVolume("ann", str(tmp_path / "ann"))])
    done = finished(walker)
    assert done.whole
    assert told(walker)["ann"] == blocks(tmp_path / "ann", data, holes, tmp_path / "ann" / "loop")
    assert 300_000 <= told(walker)["ann"] < 1 << 20
    assert done.homes[0].measured_at == NOW


def test_a_home_that_is_gone_harms_no_other(tmp_path: Path, walk: Walk, errors: ErrorCounts) -> None:
    (tmp_path / "bob").mkdir()
    walker = walk(lambda: [HomeVolume("ann", str(tmp_path / "ann")), HomeVolume("bob", str(tmp_path / "bob"))])
    assert finished(walker).whole  # nothing is left out that is there
    assert told(walker).keys() == {"bob"}
    assert errors.now()["homes", "gone"] == 1


def test_a_home_that_vanishes_file_by_file_is_measured(tmp_path: Path, walk: Walk, errors: ErrorCounts) -> None:
    home = tmp_path / "ann"
    home.mkdir()
    walker = walk(lambda: [HomeVolume("ann", str(home))], minutes=1e-4)
    for number in range(300):
        (home / f"d{number}").mkdir()
        (home / f"d{number}" / "file").write_bytes(b"x")
        if number >= 5:
            (home / f"d{number - 5}" / "file").unlink()
            (home / f"d{number - 5}").rmdir()
    assert finished(walker).whole
    assert told(walker).keys() == {"ann"}
    assert sum(errors.now().values()) == 0


def test_a_home_that_is_mounted_when_needed_is_not_called_empty(
    tmp_path: Path, walk: Walk, errors: ErrorCounts
) -> None:
    walker = walk(lambda: [HomeVolume("ann", str(tmp_path), mounted=True)])
    assert finished(walker).homes == ()
    assert errors.now()["homes", "not_supported"] == 1


def test_a_home_that_may_not_be_read_has_no_size(tmp_path: Path, walk: Walk, errors: ErrorCounts) -> None:
    # There is nothing on a disk that root may not read; so this du says so of what it may.
    (tmp_path / "du").write_text(
        '#!/bin/sh\necho "4096\t$5"\necho "du: cannot read directory \'x\': Permission denied" >&2\nexit 1\n'
    )
    (tmp_path / "du").chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{tmp_path}:{before}"
    try:
        walker = walk(lambda: [HomeVolume("ann", str(tmp_path))])
        assert finished(walker).whole is False
    finally:
        os.environ["PATH"] = before
    assert told(walker) == {}
    assert errors.now()["homes", "denied"] == 1


def test_homes_that_cannot_be_listed_keep_what_was_measured(tmp_path: Path, walk: Walk, errors: ErrorCounts) -> None:
    answers = [[HomeVolume("ann", str(tmp_path))]]

    def homes() -> Sequence[HomeVolume]:
        if answers:
            return answers.pop()
        raise EngineUnavailable("away")

    walker = walk(homes, minutes=1e-4)
    eventually(lambda: walker.current.whole is False)
    assert told(walker).keys() == {"ann"}
    assert errors.now()["homes", "unavailable"] >= 1


def test_a_user_who_is_gone_is_forgotten(tmp_path: Path, walk: Walk) -> None:
    homes = [HomeVolume("ann", str(tmp_path)), HomeVolume("bob", str(tmp_path))]
    walker = walk(lambda: list(homes), minutes=1e-4)
    eventually(lambda: told(walker).keys() == {"ann", "bob"})
    del homes[0]
    eventually(lambda: told(walker).keys() == {"bob"})


def test_never_is_never(walk: Walk) -> None:
    asked: list[int] = []

    def homes() -> list[HomeVolume]:
        asked.append(1)
        return []

    walker = walk(homes, minutes=0)
    assert walker.current == Round()
    assert not asked


def test_a_clock_that_jumps_back_does_not_stop_the_rounds(tmp_path: Path, walk: Walk) -> None:
    now = [NOW]

    def clock() -> float:
        now[0] -= 3600
        return now[0]

    walker = walk(lambda: [HomeVolume("ann", str(tmp_path))], minutes=1e-4, clock=clock)
    eventually(lambda: now[0] <= NOW - 3 * 3600)
    assert walker.current.seconds >= 0
