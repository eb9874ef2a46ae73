"""What the stores tell: sums, shares, the inventory, loops, lists."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from spawner.ledger import AuditEntry, Ledger, tables
from spawner.ledger.usage import By
from spawner.policy.accounting import decayed_ms, overlap_ms
from spawner.policy.gpus import GpuState, SlotKind
from spawner.policy.leases import LeaseState, UsageRow

from .examples import HOUR, NOW, gpu, lease, usage, whole
from .test_round_trip import _Undo

many = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
MS = timedelta(milliseconds=1)

# Some days around midnight, to the millisecond.
_MOMENTS = st.builds(
    lambda days, ms: NOW.replace(hour=0) + timedelta(days=days, milliseconds=ms),
    st.integers(-3, 3),
    st.sampled_from([-1, 0, 1]) | st.integers(-90_000_000, 90_000_000),
)
_ROWS = st.lists(
    st.builds(
        lambda start, end, user, groups, course, model: usage(
            "x", user, start, max(start, end), groups=groups, course=course, model=model
        ),
        _MOMENTS,
        _MOMENTS,
        st.sampled_from(["ann", "bob"]),
        st.frozensets(st.sampled_from(["lab", "staff"])),
        st.sampled_from(["", "nlp"]),
        st.sampled_from(["T4", "A100"]),
    ),
    max_size=6,
).map(lambda rows: [replace(row, lease=f"lease{number}") for number, row in enumerate(rows)])


# --- usage --------------------------------------------------------------------------------------------------------


def _keys(row: UsageRow, by: By) -> list[str]:
    if by == "group":
        return sorted(row.groups) or [""]
    return [{"user": row.user, "model": row.model, "course": row.course}[by]]


@many
@given(rows=_ROWS, since=_MOMENTS, until=_MOMENTS, by=st.sampled_from(["user", "group", "model", "course"]))
def test_totals_are_the_sums_of_the_parts_within(
    ledger: Ledger, rows: list[UsageRow], since: datetime, until: datetime, by: By
) -> None:
    expected: dict[str, int] = {}
    for row in rows:
        part = overlap_ms(row.started_at, row.ended_at, since, until)
        for key in _keys(row, by) if part else ():
            expected[key] = expected.get(key, 0) + part
    with _Undo(ledger) as books:
        books.usage.insert(rows)
        assert books.usage.totals(by, since, until) == expected


@many
@given(rows=_ROWS, since=_MOMENTS, until=_MOMENTS)
def test_days_are_split_at_midnight(ledger: Ledger, rows: list[UsageRow], since: datetime, until: datetime) -> None:
    expected = {}
    for number in range(-8, 9):
        start = NOW.replace(hour=0) + number * DAY
        total = sum(
            overlap_ms(row.started_at, row.ended_at, max(start, since), min(start + DAY, until)) for row in rows
        )
        if total:
            expected[f"{start:%Y-%m-%d}"] = total
    with _Undo(ledger) as books:
        books.usage.insert(rows)
        assert books.usage.totals("day", since, until) == expected


@many
@given(rows=_ROWS, since=_MOMENTS)
def test_intervals_are_those_that_ended_later(ledger: Ledger, rows: list[UsageRow], since: datetime) -> None:
    with _Undo(ledger) as books:
        books.usage.insert(rows)
        for user in ("ann", "bob"):
            own = [row for row in rows if row.user == user and not row.course]  # seats of classes are nobody's budget
            expected = [(row.started_at, row.ended_at, 1) for row in own if row.ended_at > since]
            assert sorted(books.usage.intervals(user, since)) == sorted(expected)
        assert set(books.usage.intervals_of(["ann", "eve"], since)) == {"ann", "eve"}


def test_the_slots_of_a_lease_are_one_interval(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        books.usage.insert([usage("1", "ann", NOW - HOUR, NOW, slot) for slot in ("a", "b")])
        assert books.usage.intervals("ann", NOW - WEEK) == [(NOW - HOUR, NOW, 2)]
        assert books.usage.totals("user", NOW - WEEK, NOW) == {"ann": 2 * 3_600_000}


@many
@given(
    parts=st.lists(_ROWS, max_size=3),
    later=st.timedeltas(timedelta(0), timedelta(days=60)),
    lives=st.lists(st.sampled_from([timedelta(days=1), WEEK]), min_size=4, max_size=4),
)
def test_shares_are_what_all_rows_give(
    ledger: Ledger, parts: list[list[UsageRow]], later: timedelta, lives: list[timedelta]
) -> None:
    rows: list[UsageRow] = []
    with _Undo(ledger) as books:
        for number, (part, life) in enumerate(zip(parts, lives[:3], strict=False)):
            fresh = [replace(row, lease=f"{number}-{row.lease}") for row in part]
            books.usage.insert(fresh, life)
            rows += fresh
        now = max([NOW, *(row.ended_at for row in rows)]) + later
        shares = books.usage.shares(["ann", "bob", "eve"], now, lives[3])
    assert set(shares) == {"ann", "bob", "eve"}
    for user, share in shares.items():
        intervals = [(row.started_at, row.ended_at, 1) for row in rows if row.user == user]
        assert share == pytest.approx(decayed_ms(intervals, now, lives[3]), rel=1e-9, abs=1e-6)


def test_a_booking_adds_to_the_kept_share(ledger: Ledger) -> None:
    """And does not sum up all rows of the user again: in a year those are many."""
    with _Undo(ledger) as books:
        books.usage.insert([usage("1", "ann", NOW - HOUR, NOW)], WEEK)
        # What no sum over the rows would give.
        books.usage._work.connection.execute(update(tables.shares).values(decayed_ms=1e9))
        books.usage.insert([usage("2", "ann", NOW - HOUR, NOW)], WEEK)
        assert books.usage.shares(["ann"], NOW, WEEK)["ann"] == pytest.approx(1e9 + 3_600_000, abs=100_000)


def test_another_half_life_is_kept_from_when_it_is_asked_for(ledger: Ledger) -> None:
    with _Undo(ledger) as books:
        books.usage.insert([usage("1", "ann", NOW - HOUR, NOW)], DAY)
        expected = decayed_ms([(NOW - HOUR, NOW, 1)], NOW, WEEK)
        for _ in range(2):  # summed up, then kept
            assert books.usage.shares(["ann"], NOW, WEEK)["ann"] == pytest.approx(expected)
        books.usage._work.connection.execute(update(tables.shares).values(decayed_ms=1e9))
        books.usage.insert([usage("2", "ann", NOW - HOUR, NOW)], WEEK)
        assert books.usage.shares(["ann"], NOW, WEEK)["ann"] == pytest.approx(1e9 + expected)


# --- leases, audit ------------------------------------------------------------------------------------------------


def test_history_goes_back_from_the_latest(ledger: Ledger) -> None:
    closed = LeaseState.CLOSED
    made = [
        lease(
            number,
            f"s{number}",
            user="ann" if number % 2 else "bob",
            granted_at=NOW + number * HOUR,
            state=closed,
            closed_at=NOW + number * HOUR,
        )
        for number in range(6)
    ]
    running = lease("x", "s9", granted_at=NOW - 9 * DAY)
    with ledger.transaction() as books:
        for each in (*made, running):
            books.leases.insert(each)
        assert books.leases.history() == [*reversed(made), running]
        assert books.leases.history(limit=2) == [made[5], made[4]]
        assert books.leases.history(user="bob") == [made[4], made[2], made[0]]
        # What runs has not ended before.
        assert books.leases.history(since=NOW + 4 * HOUR) == [made[5], made[4], running]


def test_leases_of_a_user_and_a_server(ledger: Ledger) -> None:
    first, second = lease(1, "a", user="ann"), lease(2, "b", user="ann", server="big", granted_at=NOW + HOUR)
    with ledger.transaction() as books:
        for each in (second, first, lease(3, "c"), lease(4, "d", user="ann", server="old", state=LeaseState.CLOSED)):
            books.leases.insert(each)
        assert books.leases.of_user("ann") == [first, second]
        assert books.leases.of_server("ann", "big") == second
        assert books.leases.of_server("ann", "old") is None


def test_audit_is_read_in_pages(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        for number in range(5):  # all in one millisecond
            books.audit.append(AuditEntry(NOW, "ann", "quota.set", f"user:{number % 2}", after={"gpus": number}))
        page = books.audit.list(limit=2)
        assert [entry.after["gpus"] for entry in page] == [4, 3]
        page = books.audit.list(limit=2, before=page[-1].id)
        assert [entry.after["gpus"] for entry in page] == [2, 1]
        assert [entry.after["gpus"] for entry in books.audit.list(subject="user:0")] == [4, 2, 0]


# --- the inventory ------------------------------------------------------------------------------------------------


def test_what_admins_decreed_survives_probes(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        books.gpus.sync("local", [gpu(0)], [whole(gpu(0))], NOW)
        assert books.gpus.set_state("GPU-0", GpuState.DRAINING, "ann", "too hot", NOW)
        assert not books.gpus.set_state("GPU-9", GpuState.DRAINING, "ann", "", NOW)
    with ledger.transaction() as books:
        change = books.gpus.sync("local", [gpu(0, driver="580")], [whole(gpu(0))], NOW)
        assert change.changed == ("GPU-0",)
        (kept,) = books.gpus.all()
        assert (kept.state, kept.state_by, kept.state_why, kept.state_since) == (
            GpuState.DRAINING, "ann", "too hot", NOW,
        )  # fmt: skip
        assert kept.driver == "580"
        assert [slot.usable for slot in books.gpus.slots()] == [False]


def test_a_gpu_that_falls_off_the_bus_and_comes_back(ledger: Ledger) -> None:
    both, one = [gpu(0), gpu(1)], [gpu(0)]
    with ledger.transaction() as books:
        change = books.gpus.sync("local", both, map(whole, both), NOW)
        assert (change.appeared, change.slots) == (("GPU-0", "GPU-1"), ("GPU-0", "GPU-1"))
        first = books.gpus.inventory_version()
    with ledger.transaction() as books:
        assert not books.gpus.sync("local", both, map(whole, both), NOW)
        assert books.gpus.inventory_version() == first
    with ledger.transaction() as books:
        change = books.gpus.sync("local", one, map(whole, one), NOW)
        assert (change.vanished, change.slots) == (("GPU-1",), ("GPU-1",))
        assert books.gpus.inventory_version() != first
        gone = books.gpus.all()[1]
        assert not gone.healthy
        assert "2027-03-01 12:00" in gone.problem
        assert {slot.id: slot.usable for slot in books.gpus.slots()} == {"GPU-0": True, "GPU-1": False}
    with ledger.transaction() as books:
        assert not books.gpus.sync("local", one, map(whole, one), NOW + DAY)  # said once
        change = books.gpus.sync("local", both, map(whole, both), NOW)
        assert (change.returned, change.changed, change.slots) == (("GPU-1",), (), ("GPU-1",))
        assert all(slot.usable for slot in books.gpus.slots())


def test_nodes_do_not_disturb_each_other(ledger: Ledger) -> None:
    here, there = gpu(0), gpu(1, node="b", index=0)
    with ledger.transaction() as books:
        books.gpus.sync("local", [here], [whole(here)], NOW)
        books.gpus.sync("b", [there], [whole(there)], NOW)
        assert not books.gpus.sync("local", [here], [whole(here)], NOW)
        assert all(slot.usable for slot in books.gpus.slots())
        # A card put into another host is the same card.
        moved = replace(here, node="b", index=1)
        books.gpus.sync("b", [there, moved], [whole(there), whole(moved)], NOW)
        assert not books.gpus.sync("local", [], [], NOW)
        assert [(found.node, found.index) for found in books.gpus.all()] == [("b", 0), ("b", 1)]
        with pytest.raises(ValueError, match="GPU-1"):
            books.gpus.sync("local", [there], [], NOW)
        with pytest.raises(ValueError, match="not found"):
            books.gpus.sync("local", [], [whole(here)], NOW)


def test_a_gpu_cut_up_anew_has_its_new_slots_only(ledger: Ledger) -> None:
    card = gpu(0)
    instances = [whole(card, id=f"MIG-{number}", kind=SlotKind.MIG) for number in range(3)]
    with ledger.transaction() as books:
        books.gpus.sync("local", [card], [whole(card)], NOW)
        change = books.gpus.sync("local", [card], instances, NOW)
        assert set(change.slots) == {"GPU-0", "MIG-0", "MIG-1", "MIG-2"}
        assert books.gpus.slots() == instances
        assert books.gpus.models(["GPU-0", "MIG-1", "none"]) == {"GPU-0": "T4", "MIG-1": "T4"}


def test_shares_keep_their_order(ledger: Ledger) -> None:
    card = gpu(0)
    parts = [whole(card, id=f"GPU-0:{number}", kind=SlotKind.SHARED) for number in range(12)]
    with ledger.transaction() as books:
        books.gpus.sync("local", [card], parts, NOW)
        assert books.gpus.slots() == parts


def test_an_unhealthy_gpu_is_not_leased(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        books.gpus.sync("local", [gpu(0, healthy=False, problem="ECC")], [whole(gpu(0))], NOW)
        assert [slot.usable for slot in books.gpus.slots()] == [False]


def test_quarantine_of_a_slot_survives_probes(ledger: Ledger) -> None:
    card = gpu(0)
    with ledger.transaction() as books:
        books.gpus.sync("local", [card], [whole(card)], NOW)
        first = books.gpus.inventory_version()
    with ledger.transaction() as books:
        assert books.gpus.quarantine_slot("GPU-0", "still in use", NOW)
        assert not books.gpus.quarantine_slot("GPU-9", "", NOW)
        assert books.gpus.inventory_version() != first
        books.gpus.sync("local", [replace(card, driver="580")], [whole(card)], NOW)
        assert [slot.usable for slot in books.gpus.slots()] == [False]
        found = books.gpus.quarantined_slots()
        assert [(slot, doubt.at, doubt.why) for slot, doubt in found.items()] == [("GPU-0", NOW, "still in use")]
        assert books.gpus.release_slot("GPU-0")
        assert [slot.usable for slot in books.gpus.slots()] == [True]
        assert books.gpus.quarantined_slots() == {}


def test_only_what_is_gone_and_free_is_forgotten(ledger: Ledger) -> None:
    card, held = gpu(0), lease(1, "GPU-0")
    with ledger.transaction() as books:
        books.gpus.sync("local", [card], [whole(card)], NOW)
        books.leases.insert(held)
        assert not books.gpus.forget("GPU-0")  # it is there
        books.gpus.sync("local", [], [], NOW)
        assert not books.gpus.forget("GPU-0")  # it is held
        books.leases.update(replace(held, state=LeaseState.CLOSED), held)
        assert books.gpus.forget("GPU-0")
        assert not books.gpus.forget("GPU-0")
        assert (books.gpus.all(), books.gpus.slots()) == ([], [])


# --- loops --------------------------------------------------------------------------------------------------------


def test_a_loop_is_one_owners_at_a_time(ledger: Ledger) -> None:
    ttl = timedelta(minutes=1)
    with ledger.transaction() as books:
        assert books.loops.take("reconcile", "a", NOW, ttl)
        assert books.loops.take("reconcile", "a", NOW, ttl)
        assert not books.loops.take("reconcile", "b", NOW + ttl - MS, ttl)
        assert books.loops.take("expiry", "b", NOW, ttl)
        assert books.loops.beat("reconcile", "a", NOW + ttl / 2, result="nothing to do", ok=True)
        assert not books.loops.take("reconcile", "b", NOW + ttl, ttl)
        assert books.loops.take("reconcile", "b", NOW + 1.5 * ttl, ttl)
        assert not books.loops.beat("reconcile", "a", NOW + 1.5 * ttl, result="late", ok=True)
        assert books.loops.beat("reconcile", "b", NOW + 1.6 * ttl, result="no engine", ok=False)
        assert books.loops.give_back("reconcile", "b")
        assert not books.loops.give_back("reconcile", "a")
        assert books.loops.take("reconcile", "a", NOW + 1.7 * ttl, ttl)
        expiry, reconcile = books.loops.all()
    assert expiry.succeeded_at is None
    assert (reconcile.owner, reconcile.started_at) == ("a", NOW + 1.7 * ttl)
    assert (reconcile.succeeded_at, reconcile.result) == (NOW + ttl / 2, "nothing to do")
    assert (reconcile.failed_at, reconcile.error) == (NOW + 1.6 * ttl, "no engine")
