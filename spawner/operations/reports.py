"""Who used how much, and what of it was idle: booked and running, in one figure. And when: the hours of a week."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from math import gcd

from ..ledger import Books, Only, Used
from ..policy.accounting import days, idle_ms, idle_part_ms, spread, to_ms
from ..policy.leases import Lease
from .desk import Desk
from .usage import By

_NOTHING = Used()
_QUARTER = 900  # seconds: clocks of all zones differ from UTC by a whole number of these


@dataclass(frozen=True, slots=True)
class Row:
    """GPU-milliseconds of one user, group, model, course or day.

    Attributes
    ----------
    booked_ms, running_ms
        Of closed leases, and so far of open ones.
    booked_idle_ms, running_idle_ms
        Of these, what was leased but idle.
    """

    key: str
    booked_ms: int = 0
    running_ms: int = 0
    booked_idle_ms: int = 0
    running_idle_ms: int = 0

    @property
    def leased_ms(self) -> int:
        return self.booked_ms + self.running_ms

    @property
    def idle_ms(self) -> int:
        return self.booked_idle_ms + self.running_idle_ms

    @property
    def busy_ms(self) -> int:
        return self.leased_ms - self.idle_ms

    @property
    def idle_ratio(self) -> float:
        return self.idle_ms / self.leased_ms if self.leased_ms else 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """Use within ``[since, until)``.

    Attributes
    ----------
    rows
        Days in their order, without those that had no use; all else by what was leased, the most first.
    total
        Not the sum of groups' rows: who is in two counts once.
    """

    by: By
    since: datetime
    until: datetime
    rows: tuple[Row, ...]
    total: Row


def report(
    desk: Desk, by: By, since: datetime, until: datetime | None = None, *, zone: tzinfo = UTC, only: Only | None = None
) -> Report:
    """Sum up what was leased within ``[since, until)``, split exactly at its edges, and what of it was idle.

    Parameters
    ----------
    until
        Now, if None; what lies ahead of now has no use.
    zone
        Whose midnights part the days.
    only
        Of which leases.
    """
    with desk.ledger.reading() as books:
        return report_in(books, by, since, until, zone, only or Only(), desk.clock())


def reports(
    desk: Desk, by: Iterable[By], since: datetime, until: datetime, *, zone: tzinfo = UTC, only: Only | None = None
) -> dict[By, Report]:
    """Give several reports as of one moment."""
    with desk.ledger.reading() as books:
        now = desk.clock()
        return {one: report_in(books, one, since, until, zone, only or Only(), now) for one in by}


def report_in(
    books: Books, by: By, since: datetime, until: datetime | None, zone: tzinfo, only: Only, now: datetime
) -> Report:
    """Give a report beside other reads, as of `now`."""
    end = now if until is None else until
    booked = books.usage.sums(by, since, end, zone=zone, only=only)
    running: dict[str, Used] = {}
    models = {slot.id: slot.model for slot in books.gpus.slots()}
    for lease in books.leases.open():
        for key, used in _running(lease, by, since, min(end, now), zone, only, models, now):
            running[key] = running.get(key, _NOTHING) + used
    if by == "group":
        # Who is in two groups counts once in all.
        in_all = _sum(books.usage.sums("user", since, end, only=only).values())
        so_far = _sum(
            used
            for lease in books.leases.open()
            for _, used in _running(lease, "user", since, min(end, now), zone, only, models, now)
        )
    else:
        in_all, so_far = _sum(booked.values()), _sum(running.values())
    rows = [_row(key, booked.get(key, _NOTHING), running.get(key, _NOTHING)) for key in {**booked, **running}]
    rows.sort(key=lambda row: (0, row.key) if by == "day" else (-row.leased_ms, row.key))
    return Report(by, since, end, tuple(rows), _row("", in_all, so_far))


def _sum(parts: Iterable[Used]) -> Used:
    gpu_ms = idle = 0
    for used in parts:
        gpu_ms += used.gpu_ms
        idle += used.idle_ms
    return Used(gpu_ms, idle)


def _row(key: str, booked: Used, running: Used) -> Row:
    return Row(key, booked.gpu_ms, running.gpu_ms, booked.idle_ms, running.idle_ms)


def _running(
    lease: Lease,
    by: By,
    since: datetime,
    until: datetime,
    zone: tzinfo,
    only: Only,
    models: Mapping[str, str],
    now: datetime,
) -> Iterator[tuple[str, Used]]:
    """Give what an open lease has used so far: what would be booked if it ended now."""
    if lease.started_at is None or not _chosen(lease, only):
        return
    start, end = max(lease.started_at, since), until
    slots = [slot for slot in lease.slots if only.model is None or models.get(slot, "") == only.model]
    if start >= end or not slots:
        return
    life = idle_ms(lease, now), to_ms(lease.started_at), to_ms(now)

    def part(begin: int, finish: int, count: int) -> Used:
        return Used(max(0, finish - begin) * count, idle_part_ms(*life, begin, finish) * count)

    first, last = to_ms(start), to_ms(end)
    if by == "day":
        for day, morning, midnight in days(start, end, zone):
            yield day, part(max(first, morning), min(last, midnight), len(slots))
    elif by == "model":
        for slot in slots:
            yield models.get(slot, ""), part(first, last, 1)
    else:
        keys = {"user": [lease.user], "course": [lease.course], "group": sorted(lease.groups) or [""]}[by]
        for key in keys:
            yield key, part(first, last, len(slots))


def _chosen(lease: Lease, only: Only) -> bool:
    return (
        only.user in {None, lease.user}
        and only.course in {None, lease.course}
        and (only.group is None or only.group in (lease.groups or {""}))
    )


# --- the week -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Week:
    """What was leased in each hour of a week.

    Attributes
    ----------
    begin, end
        Its Monday's midnight, and the next one's.
    hours
        GPU-milliseconds, of seven days from Monday on with 24 hours each, as the zone's clocks show them: an hour
        that they show twice has both, one that they leave out has nothing.
    """

    begin: datetime
    end: datetime
    hours: tuple[tuple[int, ...], ...]

    @property
    def total_ms(self) -> int:
        return sum(map(sum, self.hours))


def monday(moment: datetime, zone: tzinfo) -> date:
    """Give the first day of the week in which a moment lies."""
    return monday_of(moment.astimezone(zone).date())


def monday_of(day: date) -> date:
    """Give the first day of a day's week."""
    return day - timedelta(days=day.weekday())


def week(desk: Desk, first: date, zone: tzinfo) -> Week:
    """Tell what was leased in each hour of the week that begins with the Monday of `first`'s week; exactly."""
    first = monday_of(first)
    begin, end = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (first, first + timedelta(days=7)))
    step = timedelta(seconds=gcd(_QUARTER, *(_ahead(begin + timedelta(days=day), zone) for day in range(8))))
    step = timedelta(seconds=gcd(step // timedelta(seconds=1), (end - begin) // timedelta(seconds=1)))
    with desk.ledger.reading() as books:
        used = books.usage.steps(begin, end, step)
        now = desk.clock()
        runs = [
            (lease.started_at, now, len(lease.slots)) for lease in books.leases.open() if lease.started_at is not None
        ]
    hours = [[0] * 24 for _ in range(7)]
    for number, (booked, running) in enumerate(zip(used, spread(runs, begin, end, step), strict=True)):
        if booked or running:
            local = (begin + number * step).astimezone(zone)
            hours[local.weekday()][local.hour] += booked + running
    return Week(begin, end, tuple(map(tuple, hours)))


def _ahead(moment: datetime, zone: tzinfo) -> int:
    return (moment.astimezone(zone).utcoffset() or timedelta(0)) // timedelta(seconds=1)
