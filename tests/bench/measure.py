"""What is measured, and in which order."""

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import docker

from .clocks import Reading, Work, container_seconds, engine_pids, machine_seconds, shim_seconds, work
from .sides import Side

T = TypeVar("T")
Say = Callable[[str], None]

_SETTLE_SECONDS = 2.0  # after a stop, for what the engine and the kernel do behind it
_IDLE_SECONDS = 5.0


def alternating(sides: Sequence[Side], rounds: int) -> Iterator[tuple[int, Side]]:
    """Give each side once per round, first and last in turns (A B, B A, ...), so that a drift cancels."""
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            yield number, side


@dataclass
class Single:
    """Servers started one after the other.

    Attributes
    ----------
    ready
        Seconds from request to ready.
    container
        CPU seconds spent in the container by then.
    lab
        Seconds from request until JupyterLab's page and what it asks first are answered.
    container_lab
        CPU seconds spent in the container by then.
    """

    ready: list[float] = field(default_factory=list)
    container: list[float] = field(default_factory=list)
    lab: list[float] = field(default_factory=list)
    container_lab: list[float] = field(default_factory=list)


@dataclass
class Burst:
    """Servers started at once; an entry per round.

    Attributes
    ----------
    wall
        Seconds until the last one was ready.
    ready
        Seconds until each one was ready.
    work
        CPU seconds of all of them together.
    """

    servers: int
    wall: list[float] = field(default_factory=list)
    ready: list[list[float]] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)


def warm_up(sides: Sequence[Side]) -> None:
    """Start one server on each side: files are read for the first time, connections made, networks verified."""
    for side in sides:
        side.add_user("warm")
        side.spawn("warm")
        side.open_lab("warm")
        side.stop("warm")


def one_by_one(client: docker.APIClient, sides: Sequence[Side], rounds: int, say: Say) -> dict[str, Single]:
    """Start servers of new users one after the other, the sides in turns."""
    results = {side.name: Single() for side in sides}
    for number, side in alternating(sides, rounds):
        user = f"single{number}"
        side.add_user(user)
        time.sleep(_SETTLE_SECONDS)
        seconds = side.spawn(user)
        inside = container_seconds(client, side.container(user))
        opening = side.open_lab(user)
        inside_lab = container_seconds(client, side.container(user))
        side.stop(user)
        result = results[side.name]
        result.ready.append(seconds)
        result.container.append(inside)
        result.lab.append(seconds + opening)
        result.container_lab.append(inside_lab)
        say(f"one by one, round {number + 1} of {rounds}: {side.name}: {seconds:.2f} s, lab {opening:.2f} s later")
    return results


def at_once(client: docker.APIClient, sides: Sequence[Side], servers: int, rounds: int, say: Say) -> dict[str, Burst]:
    """Start servers of new users all at the same time, the sides in turns."""
    results = {side.name: Burst(servers) for side in sides}
    engine = engine_pids()
    for number, side in alternating(sides, rounds):
        users = [f"burst{number}x{index}" for index in range(servers)]
        for user in users:
            side.add_user(user)
        time.sleep(_SETTLE_SECONDS)
        idle = _idle_rate()
        before, begun = Reading.take(side.hub_pid, engine), time.perf_counter()
        ready = _together([functools.partial(side.spawn, user) for user in users])
        wall, after = time.perf_counter() - begun, Reading.take(side.hub_pid, engine)
        ids = frozenset(str(client.inspect_container(side.container(user))["Id"]) for user in users)
        shims = shim_seconds(ids)
        inside = sum(container_seconds(client, container) for container in ids)
        spent = work(before, after, wall, idle, inside, shims)
        for user in users:
            side.require_answer(user)
        _together([functools.partial(side.stop, user) for user in users])
        result = results[side.name]
        result.wall.append(wall)
        result.ready.append(ready)
        result.work.append(spent)
        say(
            f"{servers} at once, round {number + 1} of {rounds}: {side.name}: {wall:.1f} s, "
            f"{spent.machine / servers:.2f} CPU s per spawn"
        )
    return results


def _idle_rate() -> float:
    """Give the CPU seconds per second of a machine of which nothing is asked, both hubs included."""
    before, begun = machine_seconds(), time.perf_counter()
    time.sleep(_IDLE_SECONDS)
    return (machine_seconds() - before) / (time.perf_counter() - begun)


def _together(functions: Sequence[Callable[[], T]]) -> list[T]:
    """Call all at once; an interruption does not wait for those under way.

    Raises
    ------
    Exception
        The first that one of them raised.
    """
    results: dict[int, T] = {}
    errors: list[Exception] = []

    def run(index: int) -> None:
        try:
            results[index] = functions[index]()
        except Exception as error:  # noqa: BLE001  raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(functions))]
