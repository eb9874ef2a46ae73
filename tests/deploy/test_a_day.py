"""A day of leases: the script, the ledger and Prometheus tell of the same hours."""

import json
import math
import operator
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from spawner.gpus.loads import Leased, Ramp, Sine
from spawner.gpus.scenario import GpuSpec, Scenario
from spawner.gpus.slots import Share
from spawner.ledger import Ledger

from ..support.backfill import History, Scrapes, ask, needed_for
from ..support.ledgers import Place
from ..support.office import Office
from ..support.prometheus import RULES, Prometheus
from ..support.scripted_day import EVERY, RECONCILE, SECOND, Stay, World

T = TypeVar("T", int, float)

pytestmark = pytest.mark.prometheus

BEGIN = datetime(2026, 3, 14, 18, tzinfo=UTC)
END = BEGIN + timedelta(days=1)
_BEFORE, _AFTER = timedelta(minutes=40), timedelta(minutes=10)  # scraped around the day, for leases over its edges
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
A100, T4, V100 = "Simulated A100", "Simulated T4", "Simulated V100"


def at(time: str, day: int = 0) -> datetime:
    """Give a time of the 14th, or so many days later."""
    return datetime.fromisoformat(f"2026-03-{14 + day}T{time}+00:00")


VISION, BOTH = frozenset({"vision"}), frozenset({"vision", "staff"})
SPEECH, CLASS = frozenset({"speech"}), frozenset({"students"})

SCRIPT = (
    # Over the day's begin.
    Stay("ann", A100, at("17:35:12.345"), 70 * MINUTE, groups=BOTH),
    # Slow to answer; its time counts from the container's start all the same.
    Stay("gil", A100, at("18:20:03.100"), 2 * HOUR, groups=VISION, ready_after=40 * SECOND),
    # A class on the halves of one GPU.
    Stay("stu1", T4, at("19:00:01"), 90 * MINUTE, groups=CLASS, course="dl101"),
    Stay("stu2", T4, at("19:00:02.200"), 88 * MINUTE, groups=CLASS, course="dl101", ready_after=21 * SECOND),
    # Two GPUs over midnight, stopped at leisure.
    Stay("ann", A100, at("20:45:30.250"), 3 * HOUR + 20 * MINUTE, 2, "exp", BOTH, stopping=9 * SECOND),
    # Extended, over midnight, on a GPU that does nothing.
    Stay("cat", V100, at("18:31:07.500"), 7 * HOUR, hours=4, extended_by=3.5),
    Stay("dan", T4, at("23:50:00"), 20 * MINUTE, groups=SPEECH),
    # It dies; the reconciliation finds out half a minute later.
    Stay("hal", A100, at("00:30:08.100", 1), 77 * MINUTE, groups=SPEECH, stopping=None),
    Stay("dan", A100, at("02:10:40.900", 1), 12 * MINUTE, groups=SPEECH),
    # Idle all the time.
    Stay("eve", V100, at("02:00:00", 1), 6 * HOUR, groups=SPEECH, ready_after=5 * SECOND),
    Stay("bob", A100, at("04:00:09.999", 1), 5 * HOUR, 2, groups=VISION),
    Stay("stu1", T4, at("09:00:03", 1), 45 * MINUTE, groups=CLASS, course="dl101"),
    # A start that comes to nothing, and a lease that no two scrapes see.
    Stay("fay", A100, at("09:30:00", 1), 9 * SECOND, ready_after=None),
    Stay("fay", A100, at("09:31:01.500", 1), 20 * SECOND),
    Stay("ann", A100, at("10:00:00.001", 1), 7 * HOUR, groups=BOTH),
    Stay("cat", T4, at("11:11:11.111", 1), 3 * HOUR),
    # Over the day's end.
    Stay("bob", V100, at("17:10:30", 1), 3 * HOUR, groups=VISION, hours=6),
)

_SINE = Sine(pattern="sine", low=0.1, high=0.8, period=7200)
_RAMP = Ramp(pattern="ramp", begin=0.1, end=0.9, over=72000)
SCENARIO = Scenario(
    starts_at=BEGIN,
    gpus=(
        GpuSpec(name="a", model="A100", load=Leased(pattern="leased", busy=0.9)),
        GpuSpec(name="b", model="A100", load=_SINE),
        GpuSpec(name="c", model="T4", load=_RAMP),
        GpuSpec(name="d", model="V100", load=Leased(pattern="leased", busy=0)),
    ),
)


# --- what the script says ---------------------------------------------------------------------------------------------


def _turn(moment: datetime) -> float:
    return (1 - math.cos(2 * math.pi * moment.timestamp() / 7200)) / 2


def _risen(moment: datetime) -> float:
    return min(1.0, max(0.0, (moment - BEGIN).total_seconds()) / 72000)


_LOADS: tuple[Callable[[datetime], float], ...] = (
    lambda _: 0.9,
    lambda moment: 0.1 + 0.7 * _turn(moment),
    lambda moment: 0.1 + 0.8 * _risen(moment),
    lambda _: 0.0,
)
_STEP = 5 * SECOND


@dataclass(frozen=True)
class Hours:
    """What a stay comes to within the day.

    Attributes
    ----------
    booked_ms
        GPU-milliseconds that the ledger is to have.
    used, idle
        GPU-seconds.
    """

    stay: Stay
    booked_ms: int
    used: float

    @property
    def booked(self) -> float:
        return self.booked_ms / 1000

    @property
    def idle(self) -> float:
        return self.booked - self.used

    @property
    def tolerance(self) -> float:
        """Seconds by which Prometheus may be wrong: a scrape, and another one for the day's edge."""
        return (1 + self.edges) * EVERY.total_seconds() * self.stay.gpus

    @property
    def edges(self) -> int:
        """How many of the day's ends it runs over."""
        return sum(self.stay.starts < edge < self.stay.ends for edge in (BEGIN, END))


def hours(stay: Stay, gpus: Mapping[Stay, Sequence[int]]) -> Hours:
    """Sum up a stay, within the day.

    Parameters
    ----------
    gpus
        Numbers of the GPUs that each stay was granted.
    """
    return Hours(stay, booked_ms(stay, BEGIN, END), _used(stay, gpus) if stay.ready_after is not None else 0.0)


def booked_ms(stay: Stay, since: datetime, until: datetime) -> int:
    """Give the GPU-milliseconds of a stay within a time; a server that never answered costs nothing."""
    length = max(timedelta(0), min(stay.ends, until) - max(stay.starts, since))
    return length // timedelta(milliseconds=1) * stay.gpus if stay.ready_after is not None else 0


def _works(stay: Stay, moment: datetime) -> bool:
    return stay.ready_after is not None and stay.starts + stay.ready_after <= moment < stay.ends


def _used(stay: Stay, gpus: Mapping[Stay, Sequence[int]]) -> float:
    """Integrate the loads of its GPUs, in seconds; those who share one have equal parts of it."""
    moment, until, total = max(stay.starts, BEGIN), min(stay.ends, END), 0.0
    while moment < until:
        step = min(_STEP, until - moment)
        middle = moment + step / 2
        if _works(stay, middle):
            for gpu in gpus[stay]:
                sharing = sum(gpu in gpus[one] and _works(one, middle) for one in SCRIPT)
                total += _LOADS[gpu](middle) / sharing * step.total_seconds()
        moment += step
    return total


def keys(stay: Stay, by: str) -> Sequence[str]:
    return {"user": [stay.user], "group": sorted(stay.groups) or [""], "course": [stay.course]}[by]


# --- what the ledger and Prometheus say -------------------------------------------------------------------------------

COUNTERS = {
    "user": "berth_gpu_seconds_total",
    "group": "berth_group_gpu_seconds_total",
    "course": "berth_course_gpu_seconds_total",
}


@dataclass(frozen=True)
class Day:
    """What is left of it.

    Attributes
    ----------
    script
        What each lease comes to, by its id.
    state
        Directory with the ledger.
    """

    script: Mapping[str, Hours]
    state: Path
    server: Prometheus

    def summed(self, by: str, what: Callable[[Hours], T]) -> dict[str, T]:
        """Sum up the script by user, group or course."""
        found: dict[str, Any] = {}
        for one in self.script.values():
            for key in keys(one.stay, by):
                found[key] = found.get(key, 0) + what(one)
        return found

    def asked(self, label: str, expression: str) -> dict[str, float]:
        """Ask Prometheus at the day's end, by the values of a label."""
        return {one["metric"].get(label, ""): float(one["value"][1]) for one in ask(self.server, expression, END)}

    def usage(self, by: str) -> dict[str, int]:
        """Ask ``berth``, as a person does; gives GPU-milliseconds."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BERTH_")}
        command = ["usage", "--by", by, "--since", BEGIN.isoformat(), "--until", END.isoformat(), "--running", "--json"]
        done = subprocess.run(
            [Path(sys.executable).with_name("berth"), *command],
            env={**inherited, "BERTH_STATE_DIR": str(self.state)},
            cwd=self.state,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {row[by]: row["gpu_ms"] + row["running_ms"] for row in json.loads(done.stdout)["rows"]}


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """Play the script, and hand what was scraped meanwhile to Prometheus, and what its rules give."""
    folder = tmp_path_factory.mktemp("day")
    state = folder / "state"
    state.mkdir()
    groups = yaml.safe_load((RULES / "rules.yml").read_text(encoding="utf-8"))["groups"]
    group = next(one for one in groups if one["name"] == "berth-gpu-hours")
    recorded = [f"berth:{by}_gpu_hours:{what}" for by in COUNTERS for what in ("leased", "used", "idle")]
    rules, metrics = needed_for(recorded, group["rules"])
    scrapes = Scrapes(metrics | set(COUNTERS.values()))
    begin, end = BEGIN - _BEFORE, END + _AFTER
    world = _play(f"sqlite:///{state / 'ledger.sqlite'}", scrapes, begin, end)
    history = History(folder)
    history.take(scrapes)
    history.follow({**group, "rules": rules}, begin, end)
    numbers = {uuid: number for number, uuid in enumerate(world.gpus)}
    gpus = {stay: [numbers[slot.partition(":")[0]] for slot in lease.slots] for stay, lease in world.leases.items()}
    with history.served() as server:
        yield Day({lease.id: hours(stay, gpus) for stay, lease in world.leases.items()}, state, server)


def _play(url: str, scrapes: Scrapes, begin: datetime, end: datetime) -> World:
    ledger = Ledger(url)
    ledger.upgrade()
    try:
        world = World(Office(ledger, Place("sqlite", url)), SCENARIO, {T4: Share(2)}, scrapes.put)
        world.play(SCRIPT, begin, end)
        world.close()
    finally:
        ledger.close()
    return world


def differing(found: Mapping[str, float], expected: Mapping[str, float], tolerance: Mapping[str, float]) -> list[str]:
    """Say what differs by more than it may; what there is nothing of may be missing."""
    return [
        f"{key or '(none)'}: {found.get(key, 0):.2f}, not {expected.get(key, 0):.2f} within {tolerance.get(key, 0)}"
        for key in {**expected, **found}
        if abs(found.get(key, 0) - expected.get(key, 0)) > tolerance.get(key, 0)
    ]


# --- that it is the same ----------------------------------------------------------------------------------------------


def test_the_day_has_all_that_days_have(day: Day) -> None:
    stays = [one.stay for one in day.script.values()]
    assert len(stays) == len(SCRIPT)
    assert sum(one.edges for one in day.script.values()) == 2
    assert {one.stay.gpus for one in day.script.values()} == {1, 2}
    idle = next(one for one in day.script.values() if one.stay.user == "eve")
    assert idle.used == 0
    assert idle.booked == 6 * 3600


@pytest.mark.parametrize("by", COUNTERS)
def test_the_ledger_agrees_to_the_millisecond(day: Day, by: str) -> None:
    expected = day.summed(by, lambda one: one.booked_ms)
    assert day.usage(by) == {key: booked for key, booked in expected.items() if booked}


def test_midnight_splits_to_the_millisecond(day: Day) -> None:
    midnight = datetime(2026, 3, 15, tzinfo=UTC)
    assert day.usage("day") == {
        "2026-03-14": sum(booked_ms(stay, BEGIN, midnight) for stay in SCRIPT),
        "2026-03-15": sum(booked_ms(stay, midnight, END) for stay in SCRIPT),
    }


@pytest.mark.parametrize("by", COUNTERS)
@pytest.mark.parametrize("how", ["rule", "counter"])
def test_hours_leased(day: Day, by: str, how: str) -> None:
    asked = {
        "rule": f"sum_over_time(berth:{by}_gpu_hours:leased[1d]) * 3600",
        "counter": f"increase({COUNTERS[by]}[1d])",
    }[how]
    # Running leases count up to when the reconciliation last saw them.
    late = RECONCILE.total_seconds()
    tolerance = day.summed(by, lambda one: one.tolerance + one.edges * late * one.stay.gpus)
    assert not differing(day.asked(by, asked), _told(by, day.summed(by, lambda one: one.booked)), tolerance)


@pytest.mark.parametrize("by", COUNTERS)
@pytest.mark.parametrize("what", ["used", "idle"])
def test_hours_used_and_idle(day: Day, by: str, what: str) -> None:
    found = day.asked(by, f"sum_over_time(berth:{by}_gpu_hours:{what}[1d]) * 3600")
    expected = _told(by, day.summed(by, operator.attrgetter(what)))
    assert not differing(found, expected, day.summed(by, lambda one: one.tolerance))


def _told(by: str, values: Mapping[str, float]) -> dict[str, float]:
    """Leave out what Prometheus is not asked for: leases outside of courses."""
    return {key: value for key, value in values.items() if key or by != "course"}


@pytest.mark.parametrize(
    ("expression", "what"),
    [
        ("sum_over_time(berth:lease_slot:used[1d])", "used"),
        ("sum_over_time(berth:lease_slot:idle[1d])", "idle"),
        ("count_over_time(berth:lease_slot:used[1d])", "booked"),
    ],
)
def test_each_lease(day: Day, expression: str, what: str) -> None:
    found = day.asked("lease", f"sum by (lease) ({expression}) * {EVERY.total_seconds()}")
    expected = {lease: getattr(one, what) for lease, one in day.script.items()}
    assert not differing(found, expected, {lease: one.tolerance for lease, one in day.script.items()})
