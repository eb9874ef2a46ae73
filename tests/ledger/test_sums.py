"""Use summed up and spread over time, leases and audit in pages: as a plain reckoning over all rows gives it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawner.ledger import AuditEntry, AuditFilter, LeaseFilter, Ledger, Only, Used
from spawner.ledger.usage import By
from spawner.policy.accounting import idle_part_ms, overlap_ms, to_ms
from spawner.policy.gpus import Slot
from spawner.policy.leases import Lease, LeaseState, UsageRow

from .examples import HOUR, NOW, gpu, lease, usage, whole
from .test_round_trip import _Undo

many = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
MS = timedelta(milliseconds=1)
DAY = timedelta(days=1)
# Clocks change there on 2027-03-28 at 01:00 UTC, on 2027-04-04 (by half an hour), never, never.
ZONES = [ZoneInfo(name) for name in ("Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")]
CHANGE = datetime(2027, 3, 28, tzinfo=UTC)

MOMENTS = st.builds(
    lambda days, ms: CHANGE + timedelta(days=days, milliseconds=ms),
    st.integers(-3, 10),
    st.sampled_from([-1, 0, 1, 3_600_000]) | st.integers(-90_000_000, 90_000_000),
)


@st.composite
def _row(draw: st.DrawFn) -> UsageRow:
    start, end = sorted([draw(MOMENTS), draw(MOMENTS)])
    row = usage(
        "x",
        draw(st.sampled_from(["ann", "bob"])),
        start,
        end,
        groups=draw(st.frozensets(st.sampled_from(["lab", 'la"b', '"lab', "Lab", "x, lab", "\\"]), max_size=2)),
        course=draw(st.sampled_from(["", "nlp"])),
        model=draw(st.sampled_from(["T4", "A100"])),
    )
    return replace(row, idle_ms=draw(st.integers(0, row.gpu_ms)))


ROWS = st.lists(_row(), max_size=6).map(
    lambda rows: [replace(row, lease=f"lease{number}") for number, row in enumerate(rows)]
)


def part(row: UsageRow, begin: datetime, finish: datetime) -> Used:
    edges = [to_ms(moment) for moment in (row.started_at, row.ended_at, begin, finish)]
    return Used(overlap_ms(row.started_at, row.ended_at, begin, finish), idle_part_ms(row.idle_ms, *edges))


def add_up(parts: Iterator[tuple[str, Used]]) -> dict[str, Used]:
    totals: dict[str, Used] = {}
    for key, used in parts:
        if used.gpu_ms:
            totals[key] = totals.get(key, Used()) + used
    return totals


def keys(row: UsageRow, by: By) -> list[str]:
    if by == "group":
        return sorted(row.groups) or [""]
    return [{"user": row.user, "model": row.model, "course": row.course}[by]]


@many
@given(rows=ROWS, since=MOMENTS, until=MOMENTS, by=st.sampled_from(["user", "group", "model", "course"]))
def test_idle_time_is_summed_up_beside(
    ledger: Ledger, rows: list[UsageRow], since: datetime, until: datetime, by: By
) -> None:
    with _Undo(ledger) as books:
        books.usage.insert(rows)
        found = books.usage.sums(by, since, until)
        assert found == add_up((key, part(row, since, until)) for row in rows for key in keys(row, by))
        assert all(0 <= used.idle_ms <= used.gpu_ms for used in found.values())


def midnights(since: datetime, until: datetime, zone: ZoneInfo) -> Iterator[tuple[str, datetime, datetime]]:
    day = since.astimezone(zone).date()
    while datetime.combine(day, time(), zone) < until:
        edges = [datetime.combine(day + timedelta(days=number), time(), zone).astimezone(UTC) for number in (0, 1)]
        yield f"{day}", max(since, edges[0]), min(until, edges[1])
        day += timedelta(days=1)


@many
@given(rows=ROWS, since=MOMENTS, until=MOMENTS, zone=st.sampled_from(ZONES))
def test_days_are_split_at_midnight_of_a_zone(
    ledger: Ledger, rows: list[UsageRow], since: datetime, until: datetime, zone: ZoneInfo
) -> None:
    with _Undo(ledger) as books:
        books.usage.insert(rows)
        found = books.usage.sums("day", since, until, zone=zone)
        expected = add_up(
            (day, part(row, begin, finish)) for row in rows for day, begin, finish in midnights(since, until, zone)
        )
        assert found == expected


@many
@given(
    rows=ROWS,
    only=st.builds(
        Only,
        user=st.none() | st.just("ann"),
        group=st.none() | st.sampled_from(["", "lab", "LAB", '"lab', "x", "\\"]),
        model=st.none() | st.just("T4"),
        course=st.none() | st.sampled_from(["", "nlp"]),
    ),
    by=st.sampled_from(["user", "day"]),
)
def test_some_rows_only(ledger: Ledger, rows: list[UsageRow], only: Only, by: By) -> None:
    def fits(row: UsageRow) -> bool:
        group = only.group is None or only.group in (row.groups or {""})
        wanted = [(only.user, row.user), (only.model, row.model), (only.course, row.course)]
        return group and all(value is None or value == its for value, its in wanted)

    ever = CHANGE - 30 * DAY, CHANGE + 30 * DAY
    with _Undo(ledger) as books:
        books.usage.insert(rows)
        chosen = books.usage.sums(by, *ever, only=only)
    with _Undo(ledger) as books:
        books.usage.insert([row for row in rows if fits(row)])
        assert chosen == books.usage.sums(by, *ever)


@many
@given(
    rows=ROWS, since=MOMENTS, count=st.integers(1, 30), width=st.sampled_from([1, 7, 900_000, 3_600_000, 86_400_000])
)
def test_each_step_has_what_lies_in_it(
    ledger: Ledger, rows: list[UsageRow], since: datetime, count: int, width: int
) -> None:
    step = width * MS
    with _Undo(ledger) as books:
        books.usage.insert(rows)
        found = books.usage.steps(since, since + count * step, step)
        assert found == [
            sum(part(row, since + at * step, since + (at + 1) * step).gpu_ms for row in rows) for at in range(count)
        ]


def test_steps_are_whole(ledger: Ledger) -> None:
    with ledger.reading() as books:
        with pytest.raises(ValueError, match="no whole number of steps"):
            books.usage.steps(NOW, NOW + HOUR, 7 * MS)
        with pytest.raises(ValueError, match="no whole number of steps"):
            books.usage.steps(NOW, NOW + HOUR, timedelta(microseconds=1500))


# --- leases in pages ----------------------------------------------------------------------------------------------


def _slots(ledger: Ledger) -> list[Slot]:
    gpus = [gpu(0, model="T4"), gpu(1, model="A100")]
    slots = [whole(one) for one in gpus]
    with ledger.transaction() as books:
        books.gpus.sync("local", gpus, slots, NOW)
    return slots


@many
@given(data=st.data())
def test_pages_of_leases_are_the_list(ledger: Ledger, data: st.DataObject) -> None:
    moments = st.integers(0, 4).map(lambda hours: NOW + hours * HOUR)  # many at the same time
    slots = _slots(ledger)
    made: list[Lease] = []
    for number in range(data.draw(st.integers(0, 7))):
        granted, closed = data.draw(moments), data.draw(st.none() | moments)
        its = () if closed is None else (data.draw(st.sampled_from(slots)).id,)
        state = LeaseState.ACTIVE if closed is None else LeaseState.CLOSED
        user = data.draw(st.sampled_from(["ann", "bob"]))
        changes = {"state": state, "granted_at": granted, "closed_at": closed, "user": user, "server": str(number)}
        made.append(lease(number, *its, **changes))
    wanted = data.draw(
        st.builds(
            LeaseFilter,
            user=st.none() | st.just("ann"),
            state=st.none() | st.just(LeaseState.CLOSED),
            model=st.none() | st.sampled_from(["T4", "K80"]),
            open=st.none() | st.booleans(),
            since=st.none() | moments,
            until=st.none() | moments,
        )
    )
    models = {slot.id: slot.model for slot in slots}

    def fits(one: Lease) -> bool:
        return (
            wanted.user in {None, one.user}
            and wanted.state in {None, one.state}
            and (wanted.model is None or wanted.model in [models[slot] for slot in one.slots])
            and wanted.open in {None, one.state is not LeaseState.CLOSED}
            and (wanted.since is None or one.closed_at is None or one.closed_at > wanted.since)
            and (wanted.until is None or one.granted_at < wanted.until)
        )

    expected = sorted(filter(fits, made), key=lambda one: (one.granted_at, one.id), reverse=True)
    size = data.draw(st.integers(1, 4))
    with _Undo(ledger) as books:
        for one in made:
            books.leases.insert(one)
        found: list[Lease] = []
        while page := books.leases.page(
            wanted, after=(found[-1].granted_at, found[-1].id) if found else None, limit=size
        ):
            found += page
            assert len(found) <= len(expected)
        assert found == expected


# --- audit --------------------------------------------------------------------------------------------------------


def _entry(number: int, actor: str = "olga", action: str = "quota.set", why: str = "", **more: object) -> AuditEntry:
    return AuditEntry(NOW + number * HOUR, actor, action, f"user:u{number}", why=why, **more)  # type: ignore[arg-type]


ENTRIES = [
    _entry(0, why="100 % of Élise's share"),
    _entry(1, "cli:root", "quota", after={"value": "Straße_7"}),
    _entry(2, "janitor", "quotas.import", before={"Name": "x"}),
    _entry(3, action="lease.end", why='"quoted" \\ and <b>'),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (AuditFilter(), [3, 2, 1, 0]),
        (AuditFilter(actor="olga"), [3, 0]),
        (AuditFilter(action="quota"), [1, 0]),
        (AuditFilter(action="quota.set"), [0]),
        (AuditFilter(action="quota_"), []),
        (AuditFilter(subject="user:u2"), [2]),
        (AuditFilter(since=NOW + HOUR, until=NOW + 3 * HOUR), [2, 1]),
        (AuditFilter(text="100 %"), [0]),
        (AuditFilter(text="Élise"), [0]),
        (AuditFilter(text="traße_"), [1]),
        (AuditFilter(text="_8"), []),
        (AuditFilter(text="NAME"), [2]),
        (AuditFilter(text='"quoted" \\'), [3]),
        (AuditFilter(text="U3"), [3]),
        (AuditFilter(text="u1", actor="olga"), []),
    ],
)
def test_audit_is_filtered(ledger: Ledger, wanted: AuditFilter, found: list[int]) -> None:
    with ledger.transaction() as books:
        for entry in ENTRIES:
            books.audit.append(entry)
    with ledger.reading() as books:
        listed = books.audit.page(wanted)
        assert [replace(entry, id=0) for entry in listed] == [ENTRIES[number] for number in found]
        before, pages = None, []
        while page := books.audit.page(wanted, before=before, limit=1):
            pages += page
            before = page[-1].id
        assert pages == listed
        assert books.audit.actions() == ["lease.end", "quota", "quota.set", "quotas.import"]
