"""Looks that hang, fail, and come back."""

import logging
import threading
import time

import pytest
import requests

from spawner.errors import EngineUnavailable, GpuProbeFailed
from spawner.exporter.looking import REASONS, ErrorCounts, Looker, reason_of

from ..support.waiting import eventually


def soon() -> float:
    return time.monotonic() + 0.2


def test_what_was_found_comes_with_the_time_it_took() -> None:
    def look() -> int:
        time.sleep(0.05)
        return 7

    looker = Looker("moon", look)
    begun = looker.begin()
    time.sleep(0.1)  # somebody else was waited for first
    found = looker.finish(begun, time.monotonic() + 20)
    assert (found.value, found.reason) == (7, "")
    assert 0.05 <= found.seconds < 0.1
    looker.close()


def test_a_look_that_hangs_is_not_waited_for_again_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    wakes, looks = threading.Event(), []

    def look() -> int:
        looks.append(1)
        wakes.wait()
        return len(looks)

    looker = Looker("moon", look)
    assert looker.finish(looker.begin(), soon()).reason == "timeout"
    for _ in range(3):
        begun = looker.begin()
        assert begun is None
        found = looker.finish(begun, time.monotonic() + 20)  # is not used up
        assert (found.value, found.reason) == (None, "timeout")
        assert found.seconds >= 0.2  # since it began
    wakes.set()
    eventually(lambda: looker.finish(looker.begin(), soon()).value)
    assert len(looks) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "No metrics of the moon: nothing answers [timeout]",
        "There are metrics of the moon again.",
    ]
    looker.close()


def test_a_look_that_fails_says_why_and_the_next_one_is_made() -> None:
    answers: list[object] = [PermissionError(13, "Permission denied"), ValueError("what"), 3]

    def look() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    looker = Looker("moon", look)
    reasons = [looker.finish(looker.begin(), time.monotonic() + 20).reason for _ in range(3)]
    assert reasons == ["denied", "failed", ""]
    looker.close()


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (GpuProbeFailed("gone", "unavailable"), "unavailable"),
        (GpuProbeFailed("hangs", "timeout"), "timeout"),
        (EngineUnavailable("away"), "unavailable"),
        (EngineUnavailable("Permission denied"), "denied"),
        (caused(EngineUnavailable("slow"), requests.exceptions.ReadTimeout()), "timeout"),
        (PermissionError(), "denied"),
        (KeyError("x"), "failed"),
    ],
)
def test_reasons(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
    assert reason in REASONS


def test_errors_are_counted_for_every_probe_and_reason() -> None:
    errors = ErrorCounts(("gpus", "homes"))
    errors.add("gpus", "lost")
    errors.add("gpus", "lost", 3)
    counted = errors.now()
    assert counted["gpus", "lost"] == 4
    assert len(counted) == 2 * len(REASONS)
    assert sum(counted.values()) == 4
