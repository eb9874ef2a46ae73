"""Loops that survive whatever a turn does, one janitor at a time."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spawner.errors import EngineUnavailable, LeaseLost
from spawner.janitor import loops
from spawner.janitor.hub import HubUnavailable
from spawner.janitor.loops import Loop, Runner
from spawner.janitor.post import Post
from spawner.janitor.schedule import loops as all_loops
from spawner.janitor.steps import Step
from spawner.ledger import LoopRecord

from ..support.office import HOUR, MINUTE, NOW
from ..support.slots import gpus
from ..support.waiting import eventually
from .conftest import Watch

ROOT = Path(__file__).parents[2]
SECOND = timedelta(seconds=1)


def record(watch: Watch, name: str) -> LoopRecord:
    with watch.office.ledger.reading() as books:
        return next(loop for loop in books.loops.all() if loop.name == name)


def test_a_turn_is_reported_with_its_times(watch: Watch) -> None:
    did = iter([True, False])

    def look(_: Post) -> list[Step]:
        watch.office.wait(2 * SECOND)
        return [Step("one", lambda: next(did)), Step("two", lambda: next(did))]

    assert Runner(watch.post, Loop("tidy", look, 30.0), "here").turn()
    found = record(watch, "tidy")
    assert (found.owner, found.started_at, found.succeeded_at) == ("here", NOW, NOW + 2 * SECOND)
    assert (found.result, found.failed_at, found.error) == ("1 of 2 steps changed something", None, "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EngineUnavailable("The Docker Engine does not answer."), "The Docker Engine does not answer."),
        (LeaseLost("It has changed."), "It has changed."),
        (HubUnavailable("the hub answered 500"), "the hub answered 500"),
        (KeyError("SIM-0"), "KeyError: 'SIM-0'"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
)
@pytest.mark.parametrize("when", ["looking", "carrying out"])
def test_errors_are_reported_and_the_next_turn_is_a_new_one(
    watch: Watch, error: Exception, said: str, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [True]

    def fail() -> bool:
        if broken[0]:
            raise error
        return True

    def look(_: Post) -> list[Step]:
        if when == "looking":
            fail()
        return [Step("one", fail)]

    runner = Runner(watch.post, Loop("tidy", look, 30.0), "here")
    assert runner.turn()
    assert said.removeprefix("KeyError: ").removeprefix("RecursionError: ") in caplog.text
    found = record(watch, "tidy")
    assert (found.failed_at, found.error, found.succeeded_at) == (NOW, said, None)
    broken[0] = False
    watch.office.wait(MINUTE)
    assert runner.turn()
    found = record(watch, "tidy")
    assert (found.succeeded_at, found.failed_at, found.error) == (NOW + MINUTE, NOW, said)


def test_the_same_complaint_does_not_bury_the_log(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    def look(_: Post) -> list[Step]:
        raise HubUnavailable("the hub answered 500")

    runner = Runner(watch.post, Loop("tidy", look, 30.0), "here")
    for _ in range(30):
        runner.turn()
    assert caplog.text.count("the hub answered 500") == 2


def test_a_ledger_that_is_away(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is done without it, and everything goes on with it."""
    watch.office.fit(gpus(1))
    lease = watch.office.granted("ann")
    runners = [Runner(watch.post, loop, "here") for loop in all_loops(watch.post.settings)]
    file = Path(watch.office.place.url.removeprefix("sqlite:///"))
    hidden = file.with_name("hidden")
    watch.office.ledger.close()
    file.rename(hidden)
    assert [runner.turn() for runner in runners] == [False] * len(runners)
    assert caplog.text.count("cannot be opened") == len(runners)
    hidden.rename(file)
    assert [runner.turn() for runner in runners] == [True] * len(runners)
    assert record(watch, "offers").succeeded_at == NOW
    assert watch.office.lease(lease.id) == lease


def test_a_ledger_that_goes_in_the_middle_of_a_turn(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    file = Path(watch.office.place.url.removeprefix("sqlite:///"))
    hidden = file.with_name("hidden")

    def look(_: Post) -> list[Step]:
        watch.office.ledger.close()
        file.rename(hidden)
        return []

    assert Runner(watch.post, Loop("tidy", look, 30.0), "here").turn()
    assert "cannot be opened" in caplog.text
    hidden.rename(file)
    assert (record(watch, "tidy").started_at, record(watch, "tidy").succeeded_at) == (NOW, None)


def test_an_engine_that_is_away_frees_nothing(watch: Watch) -> None:
    watch.office.fit(gpus(1))
    lease = watch.office.running("ann", 1, 24)
    watch.office.wait(HOUR)
    by_name = {loop.name: Runner(watch.post, loop, "here") for loop in all_loops(watch.post.settings)}
    assert by_name["reconcile"].turn()
    assert by_name["expiry"].turn()
    failed = record(watch, "reconcile")
    assert (failed.succeeded_at, failed.failed_at) == (None, NOW + HOUR)
    assert "The Docker Engine does not answer" in failed.error
    assert record(watch, "expiry").succeeded_at == NOW + HOUR
    assert watch.office.lease(lease.id) == lease


# --- one at a time ------------------------------------------------------------------------------------------------


@pytest.fixture
def turns() -> list[str]:
    return []


@pytest.fixture
def pair(watch: Watch, turns: list[str]) -> tuple[Runner, Runner]:
    """Two janitors for one loop."""

    def runner(owner: str) -> Runner:
        return Runner(watch.post, Loop("tidy", lambda _: turns.append(owner) or [], 30.0), owner)  # type: ignore[func-returns-value]

    return runner("first"), runner("second")


def test_a_loop_is_one_janitors(watch: Watch, pair: tuple[Runner, Runner], turns: list[str]) -> None:
    first, second = pair
    assert (first.turn(), second.turn(), first.turn()) == (True, False, True)
    watch.office.wait(14 * SECOND)
    assert not second.turn()
    watch.office.wait(SECOND)
    assert second.turn()
    assert not first.turn()
    assert turns == ["first", "first", "second"]


def test_what_is_given_back_is_free_at_once(pair: tuple[Runner, Runner]) -> None:
    first, second = pair
    assert first.turn()
    second.give_back()  # it is not the second's to give
    assert not second.turn()
    first.give_back()
    assert second.turn()


def test_a_long_turn_keeps_its_loop(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_HELD", timedelta(seconds=0.6))
    post = watch.post
    object.__setattr__(post.desk, "clock", lambda: datetime.now(UTC))
    begun, finish = threading.Event(), threading.Event()

    def look(_: Post) -> list[Step]:
        begun.set()
        assert finish.wait(30)
        return []

    first = Runner(post, Loop("tidy", look, 30.0), "first")
    second = Runner(post, Loop("tidy", lambda _: [], 30.0), "second")
    thread = threading.Thread(target=first.turn)
    thread.start()
    assert begun.wait(10)
    end = time.monotonic() + 1.8
    while time.monotonic() < end:
        assert not second.turn()
        time.sleep(0.05)
    finish.set()
    thread.join()
    first.give_back()
    time.sleep(0.3)  # nobody takes it back
    assert second.turn()


def test_a_runner_goes_on_until_it_is_told_to_stop(watch: Watch, turns: list[str]) -> None:
    stop = threading.Event()

    def look(_: Post) -> list[Step]:
        turns.append("one")
        if len(turns) == 2:
            raise ValueError("only once")
        return []

    thread = threading.Thread(target=Runner(watch.post, Loop("tidy", look, 0.01), "here").run, args=(stop,))
    thread.start()
    eventually(lambda: len(turns) > 4)
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()


_KILLED = """
import sys
from datetime import UTC, datetime
from spawner.janitor.loops import Loop, Runner
from spawner.janitor.post import Post
from spawner.ledger import Ledger
from spawner.operations.desk import Desk
from spawner.settings import LimitSettings, Settings
import threading
desk = Desk(Ledger(sys.argv[1]), LimitSettings().rules())
def look(post):
    print("turn", flush=True)
    return []
Runner(Post(desk, None, "x", Settings()), Loop("tidy", look, 0.1), "killed").run(threading.Event())
"""


@pytest.fixture
def other(watch: Watch) -> Iterator["subprocess.Popen[str]"]:
    """Another janitor, as a process that may be killed."""
    started = subprocess.Popen(
        [sys.executable, "-c", _KILLED, watch.office.place.url], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    yield started
    started.kill()
    started.communicate()


def test_after_a_kill_another_takes_over_within_20_seconds(watch: Watch, other: "subprocess.Popen[str]") -> None:
    assert other.stdout is not None
    for _ in range(3):
        assert other.stdout.readline() == "turn\n"
    ahead = [timedelta(0)]
    object.__setattr__(watch.post.desk, "clock", lambda: datetime.now(UTC) + ahead[0])
    runner = Runner(watch.post, Loop("tidy", lambda _: [], 0.1), "second")
    assert not runner.turn()
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert not runner.turn()
    ahead[0] = timedelta(seconds=20)
    assert runner.turn()
    assert record(watch, "tidy").owner == "second"


def test_all_loops_are_looked_after(watch: Watch) -> None:
    found = {loop.name: loop.every for loop in all_loops(watch.post.settings)}
    assert found == {
        "inventory": 30,
        "reconcile": 30,
        "offers": 2,
        "expiry": 5,
        "idle": 30,
        "watchdog": 15,
        "rosters": 5,
        "prepare": 30,
        "warmup": 2,
        "seats": 5,
        "endings": 3,
        "collections": 3,
        "materials": 10,
        "course-homes": 900,
        "leftovers": 3600,
        "homes": 5,
        "archives": 5,
        "volumes": 20,
        "sizes": 60,
        "owners": 900,
    }
    watch.settings(leases={"reconcile_seconds": 3})
    assert {loop.name: loop.every for loop in all_loops(watch.post.settings)}["reconcile"] == 3


def test_a_turn_that_takes_long_is_told_to_go_well(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_HELD", timedelta(seconds=0.3))
    seen: list[str] = []

    def work() -> bool:
        eventually(lambda: record(watch, "tidy").succeeded_at)
        seen.append(record(watch, "tidy").result)
        return True

    runner = Runner(watch.post, Loop("tidy", lambda _: [Step("work", work)], 5, long=True), "me")
    assert runner.turn()
    assert seen == ["at work"]
    assert record(watch, "tidy").result == "1 of 1 steps changed something"
