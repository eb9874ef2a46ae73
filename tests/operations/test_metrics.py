"""What the ledger says of itself for metrics: the same to a process that runs, and to one that starts."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from spawner.errors import LedgerUnavailable
from spawner.operations import inventory, leases, offers, repairs, reservations
from spawner.operations.metrics import Allowance, LedgerSnapshot, Surveyor
from spawner.policy.gpus import GpuState
from spawner.policy.leases import Lease, LeaseState, Reservation, TicketState, UsageRow
from spawner.policy.observed import ObservedContainer
from spawner.policy.reconcile import Activate, Adopt, Quarantine, Release, Seen

from ..support.office import HOUR, MINUTE, MS, NOW, Office
from ..support.slots import gpus
from .conftest import OpenOffice

BOUNDS_MS = (60_000, 3_600_000)
SOON = st.integers(-90, 90).map(lambda seconds: NOW + timedelta(seconds=seconds))


@pytest.fixture
def surveyor(office: Office) -> Surveyor:
    """Of a janitor that runs all the time."""
    made = Surveyor(office.desk, BOUNDS_MS)
    made.snapshot()
    return made


def look(office: Office, surveyor: Surveyor) -> LedgerSnapshot:
    """Take a snapshot, which a janitor that has just started takes likewise."""
    found = surveyor.snapshot()
    assert found == Surveyor(office.desk, BOUNDS_MS).snapshot()
    return found


def container(lease: Lease, **more: Any) -> ObservedContainer:
    return ObservedContainer(
        "c0ffee", "name", lease.user, lease.server, more.pop("lease", lease.id), lease.slots, running=True, **more
    )


def test_an_empty_ledger_has_nothing_but_zeros(office: Office, surveyor: Surveyor) -> None:
    found = look(office, surveyor)
    assert (found.leases, found.users, found.allowances, found.offers_lapsed) == ((), {}, {}, 0)
    assert (found.waits, found.waited_ms) == ((0, 0, 0), 0)
    assert found.repairs == {"activate": 0, "adopt": 0, "release": 0, "remove": 0, "quarantine": 0}


def test_gpu_time_grows_while_a_server_is_seen_to_run(office: Office, surveyor: Surveyor) -> None:
    office.fit(gpus(3))
    lease = office.granted("ann", 2, groups=frozenset({"lab", "staff"}), course="nlp")
    other = office.granted("bob")
    found = look(office, surveyor)
    assert (found.users, found.groups) == ({"ann": 0, "bob": 0}, {"lab": 0, "staff": 0, "": 0}), "from the grant on"
    assert found.courses == {"nlp": 0}
    leases.activate(office.desk, lease.id, "c0ffee", NOW)
    leases.activate(office.desk, other.id, "beef", NOW)
    office.wait(HOUR)
    assert look(office, surveyor).users == {"ann": 0, "bob": 0}, "nobody has looked since"
    repairs.apply(office.desk, Seen(lease, container(lease), NOW + MINUTE))
    found = look(office, surveyor)
    assert (found.users, found.groups) == (
        {"ann": 120_000, "bob": 0},
        {"lab": 120_000, "staff": 120_000, "": 0},
    )
    leases.release(office.desk, lease.id, "stopped")
    assert look(office, surveyor).users["ann"] == 120_000
    leases.close(office.desk, lease.id, NOW + 90_000 * MS)
    found = look(office, surveyor)
    assert (found.users, found.courses) == ({"ann": 180_000, "bob": 0}, {"nlp": 180_000})


@settings(max_examples=30)
@given(st.lists(SOON, max_size=5), SOON, st.lists(SOON, min_size=7, max_size=7))
def test_clocks_may_do_what_they_like(
    open_office: OpenOffice, looks: list[datetime], ended_at: datetime, clocks: list[datetime]
) -> None:
    office = open_office()
    office.fit(gpus(1))
    lease = office.granted("ann")
    surveyor = Surveyor(office.desk, BOUNDS_MS)
    counted = 0
    times = iter(clocks)
    office.clock.now = next(times)
    lease = leases.activate(office.desk, lease.id, "c0ffee", NOW, office.clock.now)
    for looked_at in looks:
        office.clock.now = next(times)
        repairs.apply(office.desk, Seen(lease, container(lease), looked_at))
        now = look(office, surveyor).users["ann"]
        assert now >= counted
        counted = now
    office.clock.now = next(times)
    leases.close(office.desk, lease.id, ended_at)
    assert look(office, surveyor).users["ann"] == sum(row.gpu_ms for row in office.booked()) >= counted


def test_the_queue_s_tickets_are_counted_when_they_are_over(office: Office, surveyor: Surveyor) -> None:
    office.fit(gpus(1))
    first = office.running("ann")
    office.queued("bob")
    office.queued("cleo")
    office.queued("dora")
    found = look(office, surveyor)
    assert [ticket.state for ticket in found.tickets] == [TicketState.WAITING] * 3
    assert (sum(found.tickets_over.values()), sum(found.waits)) == (0, 0)
    office.wait(MINUTE)
    offers.cancel(office.desk, "dora", "")
    office.stop(first)  # offered to bob, who does not come
    office.wait(office.desk.rules.offer)
    [offered] = [lease for lease in look(office, surveyor).leases if lease.state is LeaseState.OFFERED]
    assert offers.withdraw(office.desk, offered.id)  # and to cleo, who does
    taken = office.granted("cleo")
    found = look(office, surveyor)
    assert found.tickets_over == {TicketState.CANCELLED: 1, TicketState.EXPIRED: 1, TicketState.SERVED: 1}
    assert (found.offers_lapsed, found.waits, found.waited_ms) == (1, (0, 1, 0), 360_000)
    assert taken.granted_at - NOW == 6 * MINUTE


def test_who_is_served_without_an_offer_has_waited_too(office: Office, surveyor: Surveyor) -> None:
    office.fit(gpus(1))
    first = office.running("ann", hours=4)
    ticket = office.queued("bob")
    office.give("user", "bob", "gpus", 0)  # so that nothing is offered when it could be
    office.wait(30 * MINUTE)
    office.stop(first)
    with office.ledger.transaction() as books:  # which offers nothing
        [grant] = books.quotas.all()
        books.quotas.unset(grant.subject, grant.name, grant.dimension)
    lease = office.granted("bob")
    assert (lease.ticket, office.ticket(ticket.id).lease) == (ticket.id, lease.id)
    found = look(office, surveyor)
    assert (found.waits, found.waited_ms) == ((0, 1, 0), 1_800_000)


def test_what_users_may_have(office: Office, surveyor: Surveyor) -> None:
    office.fit(gpus(2))
    office.give("group", "lab", "gpu_hours", 10)
    office.give("group", "lab", "home", 1 << 30)
    office.give("user", "ann", "gpus", 3)
    assert look(office, surveyor).allowances == {}
    lease = office.running("ann", groups=frozenset({"lab"}), hours=8)
    office.running("bob", hours=8)
    office.queued("cleo")
    office.wait(2 * HOUR)
    ann = Allowance(3, 36_000_000, 7_200_000, 1 << 30)
    everybody = {"ann": ann, "bob": Allowance(4, None, 7_200_000, None), "cleo": Allowance(4, None, 0, None)}
    assert look(office, surveyor).allowances == everybody
    office.stop(lease)  # and cleo is offered it
    offers.cancel(office.desk, "cleo", "")
    found = look(office, surveyor).allowances
    assert found == {"ann": ann, "bob": everybody["bob"]}
    office.give("user", "ann", "gpus", 1)
    assert look(office, surveyor).allowances["ann"].gpus == 1
    window = office.desk.rules.window
    office.clock.now = NOW + window + HOUR
    assert look(office, surveyor).allowances["ann"].used_ms == 3_600_000, "half of it has left the window"
    office.clock.now = NOW + window + 2 * HOUR
    assert "ann" not in look(office, surveyor).allowances


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.sampled_from(["ann", "bob"]), st.integers(1, 20), st.integers(0, 6), st.integers(0, 30)),
        max_size=6,
    )
)
def test_the_window_moves_exactly(open_office: OpenOffice, lives: list[tuple[str, int, int, int]]) -> None:
    """Leases of so many hours, so many hours one after the other; and looks meanwhile."""
    office = open_office()
    office.fit(gpus(8))
    surveyor = Surveyor(office.desk, BOUNDS_MS)
    for user, hours, minutes, pause in lives:
        lease = office.running(user, hours=24)
        office.wait(hours * HOUR + minutes * MINUTE)
        office.stop(lease)
        look(office, surveyor)
        office.wait(pause * HOUR)
        look(office, surveyor)
    for _ in range(6):
        office.wait(40 * HOUR)
        look(office, surveyor)
    assert look(office, surveyor).allowances == {}


def test_repairs_are_counted_by_kind(office: Office, surveyor: Surveyor) -> None:
    office.fit(gpus(4))
    pending, running = office.granted("ann"), office.running("bob")
    repairs.apply(office.desk, Activate(pending, container(pending, started_at=NOW), NOW))
    repairs.apply(office.desk, Release(running, NOW, "container_gone"))
    found = look(office, surveyor).repairs
    assert found == {"activate": 1, "release": 1, "adopt": 0, "remove": 0, "quarantine": 0}
    stray = container(running, started_at=NOW)
    repairs.apply(office.desk, Adopt(stray))
    repairs.apply(office.desk, Quarantine(running.slots, stray, "a test"))
    repairs.apply(office.desk, Quarantine(running.slots, stray, "a test"))
    repairs.note_removed(office.desk, stray, "a test")
    inventory.doubt(office.desk, pending.slots, "a start was refused", "spawner")  # which is no repair
    assert look(office, surveyor).repairs == {"activate": 1, "release": 1, "adopt": 1, "remove": 1, "quarantine": 1}


def begin(office: Office, *slots: str) -> Reservation:
    return office.reserve("nlp", NOW + HOUR, NOW + 3 * HOUR, *slots)


def test_a_reservation_is_kept_where_all_its_slots_are_there(office: Office, surveyor: Surveyor) -> None:
    office.fit(gpus(4))
    kept = begin(office, "SIM-local-0", "SIM-local-1")
    assert reservations.begun(office.desk) == []
    assert not reservations.note_begun(office.desk, kept.id)
    assert look(office, surveyor).seats == {}
    office.wait(HOUR)
    seat = office.granted("ann", course="nlp", hours=1)
    assert seat.slots[0] in kept.slots
    found = look(office, surveyor)
    [seats] = found.seats.values()
    assert (seats.held, len(seats.free), seats.taken, seats.unusable) == (seat.slots, 1, (), ())
    assert reservations.begun(office.desk) == [kept]
    assert reservations.note_begun(office.desk, kept.id)
    assert not reservations.note_begun(office.desk, kept.id), "once"
    assert reservations.begun(office.desk) == []
    found = look(office, surveyor)
    assert (found.reservations_kept, found.reservations_broken) == (1, 0)


def test_a_reservation_is_broken_by_others_and_by_lost_gpus(office: Office, surveyor: Surveyor) -> None:
    office.fit(gpus(3))
    lease = office.running("ann", hours=4)
    missing = next(f"SIM-local-{number}" for number in range(3) if f"SIM-local-{number}" not in lease.slots)
    broken = begin(office, *lease.slots, missing, "SIM-local-of-old")
    office.wait(HOUR)
    with office.ledger.transaction() as books:
        books.gpus.set_state(missing, GpuState.DRAINING, "olga", "a test", office.clock.now)
    assert reservations.note_begun(office.desk, broken.id)
    assert office.audit()[-1].after == {
        "course": "nlp",
        "taken": list(lease.slots),
        "unusable": [missing, "SIM-local-of-old"],
    }
    found = look(office, surveyor)
    assert (found.reservations_kept, found.reservations_broken) == (0, 1)
    [seats] = found.seats.values()
    assert (seats.taken, seats.unusable) == (lease.slots, (missing, "SIM-local-of-old"))


def test_a_look_that_fails_takes_nothing_along(office: Office, surveyor: Surveyor) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    office.wait(HOUR)
    office.stop(lease)
    for step in range(100):
        steps = iter(range(step))

        def fail(*_: object, steps: Iterator[int] = steps) -> None:
            if next(steps, None) is None:
                raise LedgerUnavailable("a test")

        event.listen(office.ledger._engine, "before_cursor_execute", fail)
        try:
            found = surveyor.snapshot()
            break
        except LedgerUnavailable:
            pass
        finally:
            event.remove(office.ledger._engine, "before_cursor_execute", fail)
    assert step > 5
    assert found == look(office, surveyor)
    assert found.users == {"ann": 3_600_000}


def test_another_database_in_its_place_is_summed_up_anew(open_office: OpenOffice) -> None:
    office = open_office()
    office.fit(gpus(1))
    surveyor = Surveyor(office.desk, BOUNDS_MS)
    for _ in range(3):
        lease = office.running("ann")
        office.wait(HOUR)
        office.stop(lease)
    assert surveyor.snapshot().users == {"ann": 3 * 3_600_000}
    path = office.place.url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:  # as a backup would
        connection.execute("DROP TRIGGER usage_no_delete")
        connection.execute("DELETE FROM usage WHERE lease = ?", (lease.id,))
        connection.execute("UPDATE pool SET changes = changes - 4")
    connection.close()
    assert look(office, surveyor).users == {"ann": 2 * 3_600_000}


def test_what_is_known_already_is_not_read_again(open_office: OpenOffice) -> None:
    office = open_office()
    office.fit(gpus(1))
    rows = [
        UsageRow(f"old{number}", "ann", frozenset(), "", "s", "T4", NOW - HOUR, NOW, 3_600_000)
        for number in range(2000)
    ]
    with office.ledger.transaction() as books:
        books.usage.insert(rows)
    surveyor = Surveyor(office.desk, BOUNDS_MS)
    assert surveyor.snapshot().users == {"ann": 2000 * 3_600_000}
    office.stop(office.running("ann"))
    office.wait(MINUTE)
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(office.ledger._engine, "before_cursor_execute", note)
    surveyor.snapshot()
    connection = sqlite3.connect(office.place.url.removeprefix("sqlite:///"))
    connection.create_function("power", 2, pow)
    plans = {
        statement: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        for statement, parameters in asked
        if statement.startswith("SELECT")
    }
    connection.close()
    assert any("usage" in statement for statement in plans)
    grows = ("usage", "audit", "leases", "tickets")
    scans = {
        statement: step
        for statement, steps in plans.items()
        for step in steps
        if step.startswith("SCAN") and step.split()[1] in grows
    }
    assert not scans, json.dumps(scans, indent=1)
