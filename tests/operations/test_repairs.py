"""Repairs on the ledger: each carried out once, whoever plans it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from spawner.operations import leases, repairs
from spawner.policy.leases import Lease, LeaseState
from spawner.policy.model import AtEnd
from spawner.policy.observed import ObservedContainer
from spawner.policy.reconcile import (
    Activate,
    Adopt,
    Grace,
    Quarantine,
    Release,
    Remove,
    Repair,
    Seen,
    Withdraw,
    reconcile,
)

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus


def container(
    lease: Lease, *, running: bool = True, started_at: datetime | None = NOW, **more: Any
) -> ObservedContainer:
    values: dict[str, Any] = {
        "id": lease.container or "c0ffee",
        "name": "berth-ann",
        "user": lease.user,
        "server": lease.server,
        "lease": lease.id,
        "slots": lease.slots,
        "created_at": NOW,
    }
    return ObservedContainer(**{**values, "running": running, "started_at": started_at, **more})


def _pending(office: Office) -> tuple[Repair, Callable[[], bool]]:
    lease = office.granted("ann")
    office.wait(HOUR)
    return (
        Activate(lease, container(lease, started_at=NOW + MINUTE), NOW + HOUR / 2),
        lambda: (
            office.lease(lease.id)
            == replace(
                lease,
                state=LeaseState.ACTIVE,
                container="c0ffee",
                started_at=NOW + MINUTE,
                seen_at=NOW + HOUR / 2,
                changed_at=NOW + HOUR,
            )
        ),
    )


def _dead(office: Office) -> tuple[Repair, Callable[[], bool]]:
    lease = office.running("ann")
    waiting = office.queued("bob")
    office.wait(HOUR)

    def well() -> bool:
        closed = office.lease(lease.id)
        assert (closed.state, closed.ending, closed.closed_at) == (LeaseState.CLOSED, "container_gone", NOW + HOUR)
        assert [row.gpu_ms for row in office.booked()] == [1_800_000]
        return office.offer_to(waiting).slots == lease.slots

    return Release(lease, NOW + HOUR / 2, "container_gone"), well


def _failed(office: Office) -> tuple[Repair, Callable[[], bool]]:
    lease = office.granted("ann")
    office.wait(HOUR)
    return Release(
        lease, None, "start_failed"
    ), lambda: office.lease(lease.id).ending == "start_failed" and office.booked() == []


def _lapsed(office: Office) -> tuple[Repair, Callable[[], bool]]:
    lease = office.running("ann")
    ticket = office.queued("bob")
    office.stop(lease)
    offered = office.offer_to(ticket)
    office.wait(HOUR)
    return Withdraw(
        offered
    ), lambda: (office.lease(offered.id).state, office.ticket(ticket.id).state) == (LeaseState.CLOSED, "expired")


def _stray(office: Office) -> tuple[Repair, Callable[[], bool]]:
    old = office.running("ann", 1, 1, groups=frozenset({"lab"}), course="ml", at_end=AtEnd.STOP)
    office.wait(HOUR / 2)
    leases.close(office.desk, old.id, office.clock.now, "container_gone")
    office.wait(HOUR)

    def well() -> bool:
        lease = leases.of_server(office.desk, "ann", "")
        assert lease is not None
        assert (lease.state, lease.slots, lease.container) == (LeaseState.ACTIVE, old.slots, old.container)
        assert (lease.profile, lease.groups, lease.seen_at) == ("gpu", frozenset({"lab"}), NOW + HOUR / 2)
        assert (lease.course, lease.at_end) == ("ml", AtEnd.STOP)
        # What was booked already is not booked again.
        assert lease.started_at == NOW + HOUR / 2
        assert lease.ends_at == office.clock.now + office.desk.rules.shortest
        [entry] = office.audit()
        return (entry.actor, entry.action, entry.subject) == ("janitor", "lease.adopt", f"lease {lease.id}")

    return Adopt(container(old)), well


def _doubtful(office: Office) -> tuple[Repair, Callable[[], bool]]:
    lease = office.running("ann")
    other = container(replace(lease, user="bob", container="beef"), slots=("SIM-local-0", "SIM-local-1", "gone"))

    def well() -> bool:
        assert repairs.quarantined_slots(office.desk) == {"SIM-local-0", "SIM-local-1"}
        assert [entry.subject for entry in office.audit()] == ["slot SIM-local-0", "slot SIM-local-1"]
        return office.lease(lease.id) == lease

    return Quarantine(other.slots, other, "two running containers say they have it"), well


KINDS = {
    "activate": _pending,
    "release": _dead,
    "failed": _failed,
    "withdraw": _lapsed,
    "adopt": _stray,
    "quarantine": _doubtful,
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_janitors_carry_it_out_once(office: Office, kind: str) -> None:
    office.fit(gpus(1 if kind in {"release", "withdraw"} else 2))
    repair, well = KINDS[kind](office)
    assert repairs.apply(office.desk, repair)
    assert well()
    before = office.tables()
    office.wait(MINUTE)
    assert not repairs.apply(office.desk, repair)
    after = office.tables()
    assert {name for name, rows in after.items() if rows != before[name]} <= {"pool"}


def test_seen_is_noted_and_nothing_else(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    office.wait(MINUTE)
    leases.extend(office.desk, lease.id, 1, "ann")
    longer = office.lease(lease.id)
    looked_at = office.clock.now
    office.wait(MINUTE)
    assert repairs.apply(office.desk, Seen(lease, container(lease), looked_at))
    assert office.lease(lease.id) == replace(longer, seen_at=looked_at), "it may have ended since"
    assert repairs.apply(office.desk, Seen(lease, container(lease), NOW))
    assert office.lease(lease.id).seen_at == looked_at, "what was seen stays seen"
    leases.release(office.desk, lease.id, "stopped")
    assert not repairs.apply(office.desk, Seen(lease, container(lease), office.clock.now))


def test_removals_are_not_the_ledgers(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    before = office.tables()
    assert not repairs.apply(office.desk, Remove(container(lease), "why"))
    assert office.tables() == before


@pytest.mark.parametrize("meanwhile", ["activated", "released", "closed"])
@pytest.mark.parametrize("kind", ["activate", "failed"])
def test_a_plan_that_is_out_of_date_does_nothing(office: Office, kind: str, meanwhile: str) -> None:
    office.fit(gpus(1))
    repair, _ = KINDS[kind](office)
    assert isinstance(repair, Activate | Release)
    match meanwhile:
        case "activated":
            leases.activate(office.desk, repair.lease.id, "beef", NOW)
        case "released":
            leases.release(office.desk, repair.lease.id, "stopped")
        case "closed":
            leases.close(office.desk, repair.lease.id, None)
    before = office.tables()
    assert not repairs.apply(office.desk, repair)
    assert {name for name, rows in office.tables().items() if rows != before[name]} <= {"pool"}


def test_an_end_is_noted_before_anything_is_removed_and_only_once(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    office.wait(2 * MINUTE)
    over = Release(lease, office.clock.now - MINUTE, "container_gone")
    assert repairs.note_end(office.desk, over)
    assert office.lease(lease.id) == replace(lease, seen_at=over.ended_at)
    assert repairs.note_end(office.desk, replace(over, ended_at=None)), "a start that came to nothing has no end"
    leases.release(office.desk, lease.id, "stopped")
    assert not repairs.note_end(office.desk, over)
    leases.close(office.desk, lease.id, None)
    assert not repairs.note_end(office.desk, over)
    [row] = office.booked()
    assert row.ended_at == over.ended_at


@pytest.mark.parametrize("why_not", ["held", "unknown", "has a lease"])
def test_no_adoption_where_there_is_no_room(office: Office, why_not: str) -> None:
    office.fit(gpus(2))
    repair, _ = _stray(office)
    assert isinstance(repair, Adopt)
    match why_not:
        case "held":
            office.running("bob", 2)
        case "unknown":
            repair = Adopt(replace(repair.container, slots=("gone",)))
        case "has a lease":
            office.running("ann", 1, memory=1, models=frozenset())
            repair = Adopt(replace(repair.container, slots=("SIM-local-1",)))
    before = office.tables()
    assert not repairs.apply(office.desk, repair)
    assert {name for name, rows in office.tables().items() if rows != before[name]} <= {"pool"}


def test_a_container_that_nobody_ever_knew_gets_the_length_of_a_budget(office: Office) -> None:
    office.fit(gpus(1))
    unknown = ObservedContainer("c0ffee", "x", "ann", "lab", "gone", ("SIM-local-0",), running=True)
    assert repairs.apply(office.desk, Adopt(unknown))
    lease = leases.of_server(office.desk, "ann", "lab")
    assert lease is not None
    assert (lease.profile, lease.started_at, lease.ends_at) == ("", NOW, NOW + office.desk.rules.window)


def test_after_the_repairs_nothing_is_left_to_repair(office: Office) -> None:
    """A hub that was killed in the middle of everything."""
    office.fit(gpus(7))
    cut_off, up, lost, stopping = (
        office.granted("a"),
        office.granted("b"),
        office.running("c"),
        office.running("d"),
    )
    leases.release(office.desk, stopping.id, "stopped")
    well = office.running("e")
    office.wait(HOUR)
    observed = [
        container(up, id="up"),
        container(stopping, running=False, finished_at=NOW + MINUTE),
        container(well),
        ObservedContainer("stray", "x", "f", "", "gone", ("SIM-local-6",), running=True, started_at=NOW),
    ]

    def plan() -> list[Repair]:
        now = office.clock.now
        grace = Grace(MINUTE, MINUTE)
        doubtful = repairs.quarantined_slots(office.desk)
        return reconcile(repairs.open_leases(office.desk), observed, grace, now, now, doubtful)

    planned = plan()
    assert {type(repair).__name__ for repair in planned} == {"Activate", "Release", "Remove", "Seen", "Adopt"}
    for repair in planned:
        if isinstance(repair, Remove):
            observed.remove(repair.container)
        else:
            assert repairs.apply(office.desk, repair)
    office.wait(timedelta(seconds=1))
    assert {type(repair).__name__ for repair in plan()} == {"Seen"}
    assert {lease.user for lease in repairs.open_leases(office.desk)} == {"b", "e", "f"}
    assert (office.lease(cut_off.id).ending, office.lease(lost.id).ending) == ("start_failed", "container_gone")
    # c was last seen when it became ready; d ended when the engine says.
    assert {row.user: row.gpu_ms for row in office.booked()} == {"c": 0, "d": 60_000}


def test_an_adopted_lease_makes_room_for_a_class(office: Office) -> None:
    office.fit(gpus(1))
    office.reserve("ml", NOW + 2 * HOUR, NOW + 3 * HOUR, "SIM-local-0")
    unknown = ObservedContainer("c0ffee", "x", "ann", "lab", "gone", ("SIM-local-0",), running=True)
    assert repairs.apply(office.desk, Adopt(unknown))
    adopted = leases.of_server(office.desk, "ann", "lab")
    assert adopted is not None
    assert adopted.ends_at == NOW + 2 * HOUR - office.desk.rules.turnover


def test_an_adopted_lease_is_not_cut_off_at_once(office: Office) -> None:
    office.fit(gpus(1))
    office.reserve("ml", NOW - HOUR, NOW + 3 * HOUR, "SIM-local-0")
    unknown = ObservedContainer("c0ffee", "x", "ann", "lab", "gone", ("SIM-local-0",), running=True)
    assert repairs.apply(office.desk, Adopt(unknown))
    adopted = leases.of_server(office.desk, "ann", "lab")
    assert adopted is not None
    assert adopted.ends_at == NOW + office.desk.rules.shortest
