"""What people do on their own account: when they come, what they ask for, how it ends."""

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import accumulate

from ..policy.accounting import Interval, hours_to_ms, length_ms
from ..policy.quota import Quota
from .people import Group, Job
from .scenario import Demand, Scenario

_HOUR = timedelta(hours=1)
# Arrivals by hour of a working day: the morning, lunch, the afternoon, those who stay; a weekend's day has a part.
_DAY = (2, 1, 1, 1, 1, 2, 4, 8, 13, 17, 18, 16, 12, 15, 18, 17, 15, 12, 8, 6, 6, 5, 4, 3)
_WEEKEND = 0.3
_MOST_ACTIVE = 12.0  # times what the least active do; activity is Pareto-distributed
_HOARDERS = 0.03  # of all people: hold their GPUs long after the work is done
_DODGERS = 0.25  # of the hoarders: keep them looking busy
_CRASHES, _FAILED_STARTS = 0.03, 0.01
_LEAVE = 0.08  # go on without a GPU where none is free
_FETCHED = 0.25  # of the offers: taken by hand


def draw(
    scenario: Scenario,
    group: Group,
    members: list[str],
    quota: Quota,
    gpu_hours: float,
    part: float,
    chance: random.Random,
) -> list[Demand]:
    """Draw a group's demands until they add up to `gpu_hours`.

    Parameters
    ----------
    part
        Of a GPU, which the smallest jobs take.
    """
    active = list(accumulate(min(_MOST_ACTIVE, chance.paretovariate(1.1)) for _ in members))
    hoarders = {member for member in members if chance.random() < _HOARDERS}
    hours = list(accumulate(_rate(hour) for hour in range(scenario.days * 24)))
    jobs, odds = zip(*group.jobs, strict=True)
    demands: list[Demand] = []
    while gpu_hours > 0:
        (user,) = chance.choices(members, cum_weights=active)
        (job,) = chance.choices(jobs, odds)
        (hour,) = chance.choices(range(len(hours)), cum_weights=hours)
        at = scenario.starts_at + hour * _HOUR + _seconds(chance, 0, 3600)
        demand = _demand(Demand(0, at, user, group.name, group.name, 1, 0, _HOUR), job, group, quota, chance)
        demands.append(_hoarded(demand, chance) if user in hoarders else demand)
        gpu_hours -= demand.count * (demand.work / _HOUR) * (part if not job.kinds else 1.0)
    return demands


def _rate(hour: int) -> float:
    """Tell how many come in an hour of the week, which begins on a Monday."""
    return _DAY[hour % 24] * (_WEEKEND if hour // 24 % 7 >= 5 else 1.0)


def _seconds(chance: random.Random, least: int, most: int) -> timedelta:
    return timedelta(seconds=chance.randrange(least, most))


def _demand(blank: Demand, job: Job, group: Group, quota: Quota, chance: random.Random) -> Demand:
    # Nobody plans work of more than three leases.
    hours = min(chance.lognormvariate(0, job.spread) * job.median, 3 * quota.lease_hours)
    work = timedelta(seconds=max(300, round(hours * 3600)))
    return replace(
        habits(blank, work, chance),
        count=chance.choice(job.counts),
        memory=job.memory,
        kinds=job.kinds,
        work=work,
        hours=_asked(hours, quota, chance),
        tail=timedelta(seconds=round(480 * chance.lognormvariate(0, 1.0))),
        waits=timedelta(seconds=600 + round(chance.expovariate(1 / (group.patience * 3600)))),
        leaves=chance.random() < _LEAVE,
    )


def _asked(hours: float, quota: Quota, chance: random.Random) -> float | None:
    """Tell how long a lease is asked for: people guess badly, and upwards."""
    if chance.random() < 0.3:
        return None
    guess = round(hours * chance.uniform(1.1, 2.5) * 4 + 0.5) / 4
    return guess if chance.random() < 0.01 else min(guess, quota.lease_hours)


def habits(demand: Demand, work: timedelta, chance: random.Random) -> Demand:
    """Draw what does not depend on what is asked for."""
    crashes = chance.random() < _CRASHES
    fetched = chance.random() < _FETCHED
    return replace(
        demand,
        takes_after=_seconds(chance, 5, 400) if fetched else timedelta(0),
        startup=_seconds(chance, 10, 90),
        stop_takes=_seconds(chance, 2, 40),
        start_fails=chance.random() < _FAILED_STARTS,
        crashes_after=timedelta(seconds=round(work.total_seconds() * chance.random())) if crashes else None,
        back_after=_seconds(chance, 60, 1800),
    )


def _hoarded(demand: Demand, chance: random.Random) -> Demand:
    return replace(
        demand,
        hours=None,
        tail=_seconds(chance, 12 * 3600, 72 * 3600),
        dodges=chance.random() < _DODGERS,
    )


def past(
    scenario: Scenario, demands: Iterable[Demand], quota: Quota, chance: random.Random
) -> dict[str, list[Interval]]:
    """Draw what a group used in the week before: the like of this week, within 70 % of the budget."""
    budget = hours_to_ms(quota.gpu_hours)
    used: dict[str, int] = {}
    intervals: dict[str, list[Interval]] = {}
    week = 7 * 24 * 3600
    for demand in demands:
        end = scenario.starts_at - _seconds(chance, 0, week)
        start = max(end - min(demand.work, timedelta(hours=quota.lease_hours)), scenario.starts_at - timedelta(days=7))
        total = used.get(demand.user, 0) + length_ms(start, end) * demand.count
        if demand.count > quota.gpus or (budget is not None and total > 0.7 * budget):
            continue
        used[demand.user] = total
        intervals.setdefault(demand.user, []).append((start, end, demand.count))
    return intervals
