"""Use and idleness, booked and running in one; the hours of a week; leases and audit in pages; who hoards."""

import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.errors import LeaseLost, UnknownName
from spawner.ledger import AuditEntry, AuditFilter, LeaseFilter, Only
from spawner.operations import ends, leases, listing, offers, places, reports
from spawner.operations.usage import By
from spawner.policy.accounting import overlap_ms
from spawner.policy.leases import Lease, LeaseState, TicketState

from ..support.office import HOUR, MINUTE, MS, NOW, Office
from ..support.slots import gpus
from .conftest import OpenOffice

DAY = timedelta(days=1)
EVER = NOW - 30 * DAY, NOW + 30 * DAY
H = 3_600_000
BERLIN = ZoneInfo("Europe/Berlin")
HARMLESS = settings(max_examples=25, deadline=None)


def idle_from_now(office: Office, lease: Lease) -> None:
    assert ends.note_idle(office.desk, office.lease(lease.id), office.clock.now)


def busy_from_now(office: Office, lease: Lease) -> None:
    assert ends.note_idle(office.desk, office.lease(lease.id), None)


def test_what_is_idle_of_what_is_leased(office: Office) -> None:
    office.fit(gpus(2, model="T4"), gpus(1, model="A100", first=2))
    first = office.running("ann", 2, 24, groups=frozenset({"lab", "staff"}), course="nlp", models=frozenset({"T4"}))
    other = office.running("bob", 1, 24, models=frozenset({"A100"}))
    idle_from_now(office, first)
    office.wait(6 * HOUR)
    busy_from_now(office, first)
    idle_from_now(office, other)
    office.wait(2 * HOUR)
    expected: dict[By, list[tuple[str, int, int]]] = {
        "user": [("ann", 16, 12), ("bob", 8, 2)],
        "group": [("lab", 16, 12), ("staff", 16, 12), ("", 8, 2)],
        "course": [("nlp", 16, 12), ("", 8, 2)],
        "model": [("T4", 16, 12), ("A100", 8, 2)],
        "day": [("2027-03-01", 24, 14)],
    }
    for closed in (False, True):
        for by, rows in expected.items():
            found = reports.report(office.desk, by, *EVER)
            assert [(row.key, row.leased_ms, row.idle_ms) for row in found.rows] == [
                (key, leased * H, idle * H) for key, leased, idle in rows
            ]
            assert (found.total.leased_ms, found.total.idle_ms) == (24 * H, 14 * H)
            assert found.total.booked_ms == (24 * H if closed else 0)
        if not closed:
            office.stop(first)
            office.stop(other)
    assert reports.report(office.desk, "user", NOW).rows[0].idle_ratio == 0.75


def test_reports_of_some(office: Office) -> None:
    office.fit(gpus(1, model="T4"), gpus(2, model="A100", first=1))
    closed = office.running("ann", 1, 24, groups=frozenset({"lab"}), models=frozenset({"T4"}))
    office.running("ann", 1, 24, server="b", course="nlp", models=frozenset({"A100"}))
    office.running("bob", 1, 24, groups=frozenset({"lab"}), models=frozenset({"A100"}))
    office.wait(HOUR)
    office.stop(closed)

    def total(**only: str) -> int:
        return reports.report(office.desk, "day", *EVER, only=Only(**only)).total.leased_ms // H

    assert total() == 3
    assert total(user="ann") == 2
    assert total(group="lab") == 2
    assert total(group="") == 1
    assert total(model="A100") == 2
    assert total(model="A100", user="ann") == 1
    assert total(course="nlp") == 1
    assert total(user="eve") == 0


def test_days_of_a_zone(office: Office) -> None:
    office.fit(gpus(1))
    office.clock.now = datetime(2027, 3, 1, 22, tzinfo=UTC)  # 23:00 in Berlin
    office.running("ann", 1, 24)
    office.wait(3 * HOUR)
    found = reports.report(office.desk, "day", *EVER, zone=BERLIN)
    assert [(row.key, row.leased_ms) for row in found.rows] == [("2027-03-01", H), ("2027-03-02", 2 * H)]
    assert set(reports.reports(office.desk, ["day", "user"], *EVER)) == {"day", "user"}


LIVES = st.lists(
    st.tuples(st.integers(1, 2), st.integers(1, 100_000_000), st.integers(0, 100_000_000), st.booleans()),
    min_size=1,
    max_size=4,
)


def live(office: Office, lives: list[tuple[int, int, int, bool]]) -> None:
    """Let leases run one after the other, some of them to their ends, each idle from some time on."""
    office.fit(gpus(8))
    office.give("default", "", "gpus", 8)
    for number, (count, length, busy, closes) in enumerate(lives):
        lease = office.granted("ann", count, 24, server=str(number))
        leases.activate(office.desk, lease.id, "c0ffee", NOW)
        office.wait(min(busy, length) * MS)
        idle_from_now(office, lease)
        office.wait((length - min(busy, length)) * MS)
        if closes:
            office.stop(lease)


@HARMLESS
@given(lives=LIVES, cuts=st.lists(st.integers(-100_000_000, 400_000_000), max_size=3))
def test_a_cut_loses_no_idle_time(
    open_office: OpenOffice, lives: list[tuple[int, int, int, bool]], cuts: list[int]
) -> None:
    office = open_office()
    live(office, lives)
    edges = [EVER[0], *sorted(NOW + cut * MS for cut in cuts), EVER[1]]
    whole = reports.report(office.desk, "user", *EVER).total
    by: By
    for by in ("user", "day", "model"):
        parts = [reports.report(office.desk, by, *pair) for pair in itertools.pairwise(edges)]
        assert sum(one.total.leased_ms for one in parts) == whole.leased_ms
        assert sum(one.total.idle_ms for one in parts) == whole.idle_ms
        assert all(0 <= row.idle_ms <= row.leased_ms for one in parts for row in one.rows)


# --- the week -----------------------------------------------------------------------------------------------------


@HARMLESS
@given(
    lives=LIVES,
    day=st.sampled_from(["2027-03-01", "2027-03-07", "2027-03-28", "2027-10-31", "2027-04-04"]),
    shift=st.integers(0, 7 * 86_400_000),
    zone=st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns", "UTC"]),
)
def test_each_hour_of_a_week_has_what_was_leased_in_it(
    open_office: OpenOffice, lives: list[tuple[int, int, int, bool]], day: str, shift: int, zone: str
) -> None:
    """Against a plain look at each quarter of an hour and each lease."""
    office, its = open_office(), ZoneInfo(zone)
    first = date.fromisoformat(day)
    office.clock.now = datetime.combine(first, time(), its).astimezone(UTC) + shift * MS
    live_from(office, lives)
    found = reports.week(office.desk, first, its)
    expected = [[0] * 24 for _ in range(7)]
    runs = [(row.started_at, row.ended_at, 1) for row in office.booked()]
    with office.ledger.reading() as books:
        runs += [(one.started_at or NOW, office.clock.now, len(one.slots)) for one in books.leases.open()]
    monday = first - timedelta(days=first.weekday())
    at = datetime.combine(monday, time(), its).astimezone(UTC)
    while (local := at.astimezone(its)).date() < monday + timedelta(days=7):
        for start, end, count in runs:
            expected[local.weekday()][local.hour] += overlap_ms(start, end, at, at + 15 * MINUTE) * count
        at += 15 * MINUTE
    assert [list(hours) for hours in found.hours] == expected
    assert (found.begin, found.end) == (datetime.combine(monday, time(), its), at)
    assert found.total_ms == reports.report(office.desk, "user", found.begin, found.end).total.leased_ms


def live_from(office: Office, lives: list[tuple[int, int, int, bool]]) -> None:
    office.fit(gpus(8))
    office.give("default", "", "gpus", 8)
    for number, (count, length, _, closes) in enumerate(lives):
        lease = office.running("ann", count, 24, server=str(number))
        office.wait(length * MS)
        if closes:
            office.stop(lease)


def test_a_week_on_each_database(office: Office) -> None:
    office.fit(gpus(3))
    office.running("ann", 2, 24)  # Monday, noon
    office.wait(90 * MINUTE)
    lease = office.running("bob", 1, 24)
    office.wait(45 * MINUTE)
    office.stop(lease)
    office.wait(DAY)
    found = reports.week(office.desk, date(2027, 3, 3), UTC)
    monday, tuesday, *others = found.hours
    assert monday == (0,) * 12 + (2 * H, 5 * H // 2, 9 * H // 4) + (2 * H,) * 9
    assert tuesday == (2 * H,) * 14 + (H // 2,) + (0,) * 9
    assert all(hours == (0,) * 24 for hours in others)
    assert reports.monday(found.begin, UTC) == date(2027, 3, 1)
    assert reports.week(office.desk, date(2027, 2, 28), UTC).total_ms == 0


# --- leases in pages ----------------------------------------------------------------------------------------------


def test_leases_with_what_they_used(office: Office) -> None:
    office.fit(gpus(2, model="T4"))
    first = office.running("ann", 2)
    idle_from_now(office, first)
    office.wait(HOUR)
    open_then = listing.get(office.desk, first.id)
    assert (open_then.models, open_then.gpu_ms, open_then.idle_ms) == (("T4", "T4"), 2 * H, 2 * H)
    closed = office.stop(first)
    office.wait(HOUR)
    waits = office.granted("bob")
    found = listing.listing(office.desk, LeaseFilter(), limit=1)
    assert [one.lease for one in found.leases] == [waits]
    assert (found.leases[0].gpu_ms, found.leases[0].idle_ratio) == (0, None)
    assert found.next == (waits.granted_at, waits.id)
    second = listing.listing(office.desk, LeaseFilter(), after=found.next, limit=1)
    assert second.leases == (replace(open_then, lease=closed),)
    assert second.next is None
    assert second.leases[0].idle_ratio == 1
    with pytest.raises(UnknownName, match="There is no lease nope"):
        listing.get(office.desk, "nope")


def test_who_hoards(office: Office) -> None:
    office.fit(gpus(4, model="T4"))
    small, busy, large = office.running("ann"), office.running("bob"), office.running("eve", 2)
    for lease in (small, busy, large):
        idle_from_now(office, lease)
    office.wait(HOUR)
    busy_from_now(office, busy)
    assert [(one.lease.id, one.idle_ms) for one in listing.hoarders(office.desk)] == [(large.id, 2 * H), (small.id, H)]
    found = listing.floor(office.desk, LeaseFilter(open=True), limit=2)
    assert found.hoarders == listing.hoarders(office.desk)
    assert len(found.page.leases) == 2
    assert found.models == ("T4",)
    office.stop(large)
    assert [one.lease.id for one in listing.hoarders(office.desk)] == [small.id]


def test_a_check_is_made_while_nobody_else_writes(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    seen: list[Lease] = []

    def refuse(found: Lease) -> None:
        seen.append(found)
        raise LeaseLost("changed")

    with pytest.raises(LeaseLost, match="changed"):
        leases.end(office.desk, lease.id, "olga", "why", check=refuse)
    with pytest.raises(LeaseLost, match="changed"):
        leases.extend(office.desk, lease.id, 2, "olga", check=refuse)
    assert seen == [lease, lease]
    assert office.lease(lease.id) == lease
    assert office.audit() == []
    ended = leases.end(office.desk, lease.id, "olga", "why", check=seen.append)
    assert ended.ending == "ended_by_admin"


def test_one_ticket_is_dropped(office: Office) -> None:
    office.fit(gpus(1))
    office.running("ann")
    first, second = office.queued("bob"), office.queued("bob", server="b")
    places.drop_ticket(office.desk, first.id, "olga", "a test")
    assert office.ticket(first.id).state is TicketState.CANCELLED
    assert [one.ticket.id for one in offers.whole_queue(office.desk)] == [second.id]
    assert [(entry.action, entry.subject, entry.why) for entry in office.audit()] == [
        ("ticket.drop", f"ticket {first.id}", "a test")
    ]
    with pytest.raises(UnknownName, match="No ticket"):
        places.drop_ticket(office.desk, first.id, "olga", "a test")


# --- audit --------------------------------------------------------------------------------------------------------


def test_the_audit_in_pages_and_whole(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    with office.ledger.transaction() as books:
        for number in range(5):
            entry = AuditEntry(NOW, "olga" if number else "ben", "quota.set", f"user:{number}", why="x")
            books.audit.append(entry)
    first = listing.audit(office.desk, AuditFilter(actor="olga"), limit=3)
    assert [entry.subject for entry in first.entries] == ["user:4", "user:3", "user:2"]
    assert first.actions == ("quota.set",)
    second = listing.audit(office.desk, AuditFilter(actor="olga"), before=first.next, limit=3)
    assert [entry.subject for entry in second.entries] == ["user:1"]
    assert second.next is None
    monkeypatch.setattr(listing, "_BATCH", 2)
    whole = list(listing.whole_audit(office.desk, AuditFilter()))
    assert [entry.subject for entry in whole] == [f"user:{number}" for number in (4, 3, 2, 1, 0)]
    assert list(listing.whole_audit(office.desk, AuditFilter(actor="eve"))) == []


def test_a_closed_lease_without_use_has_none(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.granted("ann")
    leases.release(office.desk, lease.id, "start_failed")
    leases.close(office.desk, lease.id, None)
    found = listing.get(office.desk, lease.id)
    assert (found.lease.state, found.gpu_ms, found.idle_ms) == (LeaseState.CLOSED, 0, 0)
