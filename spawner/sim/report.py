"""Figures of a run, made of its log."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from ..policy.leases import LeaseRules
from .checks import Checks, check
from .disciplines import Discipline
from .fleet import weights
from .log import Asked, Hold, Log, Outcome
from .people import COURSES
from .scenario import Workload

_HOUR = timedelta(hours=1)
IN_TIME = timedelta(minutes=5)  # within which somebody in class should have their GPU
ALL = "all"
_WAITED = (Outcome.SERVED, Outcome.GAVE_UP, Outcome.WAITING)


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a row's demands waited, in seconds.

    Who gave up, or waits still, counts with the time until then: leaving them out would make a long queue look short.

    Attributes
    ----------
    asked
        All demands, those for the rest of a work that was cut off included.
    left
        Did not queue but went on without GPUs.
    """

    asked: int
    served: int
    gave_up: int
    left: int
    denied: int
    p50: int
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class Utilisation:
    """Parts of the GPU time that was in service, 0 to 1.

    Attributes
    ----------
    leased
        Held by a lease.
    busy
        At work.
    leased_by_hour, busy_by_hour
        Parts of all GPUs, for each hour.
    """

    leased: float
    busy: float
    leased_by_hour: tuple[float, ...]
    busy_by_hour: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Seats:
    """Seats of courses.

    Attributes
    ----------
    kept
        Of the booked, those which were there at their start: in service, and held by nobody else.
    students, in_time
        Who asked for a GPU in class, and how many of them had one within five minutes.
    """

    booked: int
    refused: int
    kept: int
    students: int
    in_time: int


@dataclass(frozen=True, slots=True)
class Starvation:
    """The longest wait of somebody whose quota allowed what they asked for, against the bound.

    Attributes
    ----------
    longest
        Seconds.
    bound
        Seconds that this one may have to wait at most, by `spawner.policy.queue.order`; None where everybody before
        goes first from the start, which bounds nothing worth telling.
    beyond
        How many waited longer than their bound. It holds without reservations and drains, so some may.
    """

    longest: int
    bound: int | None
    beyond: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a discipline made of a workload.

    Attributes
    ----------
    waits
        By row; ``all`` for everybody.
    fairness
        Jain's index, 1 at best; see `fairness`.
    work_done
        Part of the GPU time asked for that was worked.
    denials
        By code.
    extensions
        Answers to requests for more time, by code.
    ended
        Leases by why they ended.
    """

    discipline: str
    title: str
    description: str
    waits: Mapping[str, Waits]
    utilisation: Utilisation
    fairness: float
    work_done: float
    seats: Seats
    starvation: Starvation
    checks: Checks
    denials: Mapping[str, int]
    extensions: Mapping[str, int]
    ended: Mapping[str, int]
    lapsed_offers: int
    shortened_leases: int
    events: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def result_of(workload: Workload, discipline: Discipline, log: Log) -> Result:
    """Make the figures of a run."""
    asked, used = _asked_of(workload), _used_of(log, workload.scenario.ends_at)
    return Result(
        discipline=discipline.name,
        title=discipline.title,
        description=discipline.description,
        waits=_waits(log.asked),
        utilisation=_utilisation(workload, log),
        fairness=fairness(asked, used),
        work_done=sum(used.values()) / max(1, sum(asked.values())),
        seats=seats_of(log),
        starvation=_starvation(workload, log, discipline.rules),
        checks=check(workload, log, discipline.rules.window),
        denials=_sorted(Counter(each.code for each in log.asked if each.code)),
        extensions=_sorted(log.extensions),
        ended=_sorted(Counter(hold.why for hold in log.holds if hold.why)),
        lapsed_offers=log.lapsed_offers,
        shortened_leases=log.shortened,
        events=log.events,
    )


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _waits(asked: Sequence[Asked]) -> dict[str, Waits]:
    rows: dict[str, list[Asked]] = {ALL: list(asked)}
    for each in asked:
        rows.setdefault(each.demand.row, []).append(each)
    return {row: waits_of(rows[row]) for row in sorted(rows)}


def waits_of(asked: Sequence[Asked]) -> Waits:
    """Make the figures of some demands' waits."""
    outcomes = Counter(each.outcome for each in asked)
    waits = sorted(_seconds(each.until - each.at) for each in asked if each.outcome in _WAITED)
    return Waits(
        asked=len(asked),
        served=outcomes[Outcome.SERVED],
        gave_up=outcomes[Outcome.GAVE_UP],
        left=outcomes[Outcome.LEFT],
        denied=outcomes[Outcome.DENIED],
        p50=percentile(waits, 50),
        p95=percentile(waits, 95),
        max=percentile(waits, 100),
    )


def percentile(ordered: Sequence[int], percent: int) -> int:
    """Give the least value that so many percent do not exceed (nearest rank); 0 of nothing."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0


def _seconds(length: timedelta) -> int:
    return length // timedelta(seconds=1)


def _utilisation(workload: Workload, log: Log) -> Utilisation:
    scenario, part = workload.scenario, weights(workload.slots)
    spread = _Spread(scenario.starts_at, scenario.days * 24)
    leased, busy, down = spread.empty(), spread.empty(), spread.empty()
    for hold in log.holds:
        weight = sum(part[slot] for slot in hold.slots)
        spread.add(leased, hold.since, hold.until, weight)
        if hold.started_at is not None:
            spread.add(busy, hold.started_at, _worked_until(hold, scenario.ends_at), weight)
    for each in log.downs:
        spread.add(down, each.since, each.until, part[each.slot])
    gpus = sum(part.values())
    in_service = gpus * len(down) - sum(down)
    return Utilisation(
        round(sum(leased) / in_service, 6),
        round(sum(busy) / in_service, 6),
        tuple(round(hours / gpus, 4) for hours in leased),
        tuple(round(hours / gpus, 4) for hours in busy),
    )


@dataclass(frozen=True, slots=True)
class _Spread:
    """Spreads spans of time over hours."""

    begin: datetime
    hours: int

    def empty(self) -> list[float]:
        return [0.0] * self.hours

    def add(self, into: list[float], since: datetime, until: datetime, weight: float) -> None:
        hour = (since - self.begin) // _HOUR
        while since < until:
            following = min(until, self.begin + (hour + 1) * _HOUR)
            into[hour] += (following - since) / _HOUR * weight
            since, hour = following, hour + 1


def _asked_of(workload: Workload) -> dict[str, int]:
    """Sum up what each user wanted to work, in GPU-seconds."""
    asked: Counter[str] = Counter()
    for demand in workload.demands:
        asked[demand.user] += _seconds(demand.work) * demand.count
    return dict(asked)


def _used_of(log: Log, end: datetime) -> dict[str, int]:
    """Sum up what each user worked, in GPU-seconds."""
    used: Counter[str] = Counter()
    for hold in log.holds:
        if hold.started_at is not None:
            used[hold.demand.user] += _seconds(_worked_until(hold, end) - hold.started_at) * len(hold.slots)
    return dict(used)


def _worked_until(hold: Hold, end: datetime) -> datetime:
    if hold.started_at is None:
        return hold.since
    return hold.worked_until or min(hold.started_at + hold.demand.work, end)


def fairness(asked: Mapping[str, int], used: Mapping[str, int]) -> float:
    """Give Jain's index of the users' use, each weighted by what would be fair for them.

    Fair is max-min: what was given out in all, dealt out so that nobody gets more than they asked for, and nobody less
    than another unless they asked for less. With x each user's use as a part of that, the index is
    ``sum(x) ** 2 / (n * sum(x ** 2))`` (Jain, Chiu, Hawe 1984): 1 if all got the same part, 1 / n if one got all.
    """
    level = _water_level(list(asked.values()), sum(used.values()))
    parts = [used.get(user, 0) / min(wanted, level) for user, wanted in asked.items() if wanted]
    squares = sum(part * part for part in parts)
    return round(sum(parts) ** 2 / (len(parts) * squares), 6) if squares else 1.0


def _water_level(wanted: list[int], given: int) -> float:
    """Give the level at which wants, cut off there, add up to what was given."""
    rest = float(given)
    ordered = sorted(wanted)
    for index, want in enumerate(ordered):
        level = rest / (len(ordered) - index)
        if level < want:
            return max(level, 1.0)
        rest -= want
    return float(ordered[-1]) if ordered else 0.0


def seats_of(log: Log) -> Seats:
    """Count the seats that were reserved, and those that were there at their start."""
    down: dict[str, list[tuple[datetime, datetime]]] = {}
    for each in log.downs:
        down.setdefault(each.slot, []).append((each.since, each.until))
    held: dict[str, list[tuple[datetime, datetime, str]]] = {}
    for hold in log.holds:
        for slot in hold.slots:
            held.setdefault(slot, []).append((hold.since, hold.until, hold.demand.course))
    kept = sum(
        not any(since <= reservation.starts_at < until for since, until in down.get(slot, ()))
        and not any(
            since <= reservation.starts_at < until and course != reservation.course
            for since, until, course in held.get(slot, ())
        )
        for reservation in log.reservations
        for slot in reservation.slots
    )
    first = [each for each in log.asked if each.demand.row == COURSES and each.demand.attempt == 0 and not each.code]
    return Seats(
        booked=sum(len(reservation.slots) for reservation in log.reservations),
        refused=log.refused,
        kept=kept,
        students=len(first),
        in_time=sum(each.outcome is Outcome.SERVED and each.until - each.at <= IN_TIME for each in first),
    )


def _starvation(workload: Workload, log: Log, rules: LeaseRules) -> Starvation:
    waited = [each for each in log.asked if each.outcome in _WAITED and not each.blocked]
    if not waited:
        return Starvation(0, None, 0)
    longest_lease = timedelta(hours=max(quota.lease_hours for quota in workload.quotas.values()))
    turn = longest_lease + rules.turnover
    line = _Line(waited)

    def bound(each: Asked) -> timedelta:
        return rules.patience + (line.before(each, each.at + rules.patience) + 1) * turn

    longest = max(waited, key=lambda each: each.until - each.at)
    if not rules.patience:
        return Starvation(_seconds(longest.until - longest.at), None, 0)
    # Nobody's bound is below this, so that only who waited so long has to be looked at.
    least = rules.patience + turn
    return Starvation(
        longest=_seconds(longest.until - longest.at),
        bound=_seconds(bound(longest)),
        beyond=sum(each.until - each.at > bound(each) for each in waited if each.until - each.at > least),
    )


class _Line:
    """Who waited when."""

    def __init__(self, waited: Iterable[Asked]) -> None:
        self._by_arrival = sorted(waited, key=lambda each: each.at)
        self._arrivals = [each.at for each in self._by_arrival]

    def before(self, each: Asked, moment: datetime) -> int:
        """Count those who came before somebody and wait still at a moment."""
        ahead = self._by_arrival[: bisect_left(self._arrivals, each.at)]
        return sum(other.until > moment for other in ahead)
