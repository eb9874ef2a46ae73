"""One lease, from its grant to its row in the books."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.errors import LeaseLost, UnknownName
from spawner.operations import leases
from spawner.operations.leases import Granted, Unfinished
from spawner.policy.leases import LeaseState
from spawner.policy.model import AtEnd

from ..support.office import HOUR, MINUTE, MS, NOW, Office
from ..support.slots import MODEL, gpus, mig, shared
from .conftest import OpenOffice


def test_from_the_grant_to_the_books(office: Office) -> None:
    office.fit(gpus(2))
    answer = office.ask("ann", 2, 4, groups=frozenset({"lab"}), course="nlp", at_end=AtEnd.STOP)
    assert isinstance(answer, Granted)
    lease = answer.lease
    assert (lease.state, lease.slots) == (LeaseState.PENDING, ("SIM-local-0", "SIM-local-1"))
    assert (lease.granted_at, lease.ends_at, answer.note) == (NOW, NOW + 4 * HOUR, "")
    assert (lease.groups, lease.course, lease.at_end) == (frozenset({"lab"}), "nlp", AtEnd.STOP)
    assert lease == office.lease(lease.id)

    leases.bind(office.desk, lease.id, "c0ffee")
    assert office.lease(lease.id) == replace(lease, container="c0ffee")

    office.wait(timedelta(seconds=5))
    begun = NOW + timedelta(seconds=2, microseconds=345_678)
    active = leases.activate(office.desk, lease.id, "c0ffee", begun)
    assert (active.state, active.started_at, active.changed_at) == (LeaseState.ACTIVE, begun, office.clock.now)
    assert active.ends_at == lease.ends_at

    office.wait(HOUR)
    assert leases.release(office.desk, lease.id, "stopped").state is LeaseState.RELEASING
    assert office.booked() == []
    office.wait(timedelta(seconds=3))
    ended = NOW + HOUR + timedelta(seconds=7, microseconds=900)
    closed = leases.close(office.desk, lease.id, ended)
    assert (closed.state, closed.closed_at, closed.ending) == (LeaseState.CLOSED, office.clock.now, "stopped")

    rows = office.booked()
    assert [row.slot for row in rows] == ["SIM-local-0", "SIM-local-1"]
    # From 2.345 s to an hour and 7.000 s after the grant.
    assert {row.gpu_ms for row in rows} == {3_600_000 + 7_000 - 2_345}
    assert {(row.lease, row.user, row.groups, row.course, row.model) for row in rows} == {
        (lease.id, "ann", frozenset({"lab"}), "nlp", MODEL)
    }
    assert office.granted("bob", 2).slots == lease.slots


@pytest.mark.parametrize(
    ("begun", "ended", "booked"),
    [
        (0, 60_000, 60_000),
        (-5_000, 60_000, 60_000),  # never before the grant, whatever the engine says
        (0, 9_000_000, 7_200_000),  # nor beyond the present
        (10_000, 5_000, 0),
        (0, None, 3_600_000),  # nobody knows: until it was last seen
    ],
)
def test_what_is_booked(office: Office, begun: int, ended: int | None, booked: int) -> None:
    office.fit(gpus(1))
    lease = office.granted("ann")
    office.wait(HOUR)
    leases.activate(office.desk, lease.id, "c0ffee", NOW + begun * MS, None if ended else office.clock.now)
    office.wait(HOUR)
    leases.close(office.desk, lease.id, None if ended is None else NOW + ended * MS)
    assert [row.gpu_ms for row in office.booked()] == [booked]


def test_every_step_twice_is_the_step_once(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.granted("ann")
    active = leases.activate(office.desk, lease.id, "c0ffee", NOW)
    office.wait(MINUTE)
    assert leases.activate(office.desk, lease.id, "another", NOW + MINUTE) == active
    releasing = leases.release(office.desk, lease.id, "stopped")
    office.wait(MINUTE)
    assert leases.release(office.desk, lease.id, "expired") == releasing
    closed = leases.close(office.desk, lease.id, NOW + 90_000 * MS)
    office.wait(MINUTE)
    assert leases.close(office.desk, lease.id, office.clock.now, "late") == closed
    assert leases.release(office.desk, lease.id, "late") == closed
    assert [row.gpu_ms for row in office.booked()] == [90_000]


def test_the_first_cause_of_an_end_stays(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    leases.release(office.desk, lease.id, "idle")
    assert leases.close(office.desk, lease.id, None, "container_gone").ending == "idle"


def test_a_start_that_failed_costs_nothing(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.granted("ann")
    office.wait(HOUR)
    assert leases.close(office.desk, lease.id, office.clock.now, "start_failed").ending == "start_failed"
    assert office.booked() == []


def test_a_lease_that_ended_while_its_server_started_is_lost(office: Office) -> None:
    office.fit(gpus(2))
    released, closed = office.granted("ann"), office.granted("bob")
    leases.release(office.desk, released.id, "superseded")
    leases.close(office.desk, closed.id, None, "start_failed")
    before = office.tables()
    for lease, why in ((released, "superseded"), (closed, "start_failed")):
        with pytest.raises(LeaseLost, match=why):
            leases.activate(office.desk, lease.id, "c0ffee", NOW)
        leases.bind(office.desk, lease.id, "c0ffee")
    assert office.tables()["leases"] == before["leases"]


def test_an_offer_is_no_lease_to_start_with(office: Office) -> None:
    office.fit(gpus(1))
    first = office.running("ann")
    ticket = office.queued("bob")
    office.stop(first)
    with pytest.raises(LeaseLost):
        leases.activate(office.desk, office.offer_to(ticket).id, "c0ffee", NOW)


def test_unknown_leases(office: Office) -> None:
    office.fit(gpus(1))
    for operate in (
        lambda: leases.activate(office.desk, "gone", "c0ffee", NOW),
        lambda: leases.bind(office.desk, "gone", "c0ffee"),
        lambda: leases.release(office.desk, "gone", "stopped"),
        lambda: leases.close(office.desk, "gone", None),
        lambda: leases.extend(office.desk, "gone", 1, "ann"),
        lambda: leases.can_extend(office.desk, "gone"),
        lambda: leases.end(office.desk, "gone", "olga", "why"),
        lambda: leases.choose_at_end(office.desk, "gone", AtEnd.STOP),
    ):
        with pytest.raises(UnknownName, match="no lease gone"):
            operate()
    leases.report(office.desk, "gone", busy=True, problem="")


def test_one_lease_per_server(office: Office) -> None:
    office.fit(gpus(4))
    first = office.granted("ann")
    assert office.ask("ann") == Unfinished(first)
    leases.activate(office.desk, first.id, "c0ffee", NOW)
    assert isinstance(office.ask("ann"), Unfinished)
    second = office.granted("ann", server="lab")
    leases.release(office.desk, first.id, "stopped")
    assert isinstance(office.ask("ann"), Unfinished)
    leases.close(office.desk, first.id, None)
    assert office.granted("ann").id not in {first.id, second.id}
    assert leases.of_server(office.desk, "ann", "lab") == second
    assert leases.of_server(office.desk, "bob", "") is None


def test_what_a_server_reports(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.granted("ann")
    leases.report(office.desk, lease.id, busy=True, problem="")
    assert office.lease(lease.id) == lease  # it runs only when it is active
    leases.activate(office.desk, lease.id, "c0ffee", NOW)
    office.wait(MINUTE)
    leases.report(office.desk, lease.id, busy=True, problem="NVML: Unknown Error")
    office.wait(MINUTE)
    leases.report(office.desk, lease.id, busy=False, problem="NVML: Unknown Error")
    told = office.lease(lease.id)
    assert (told.busy_at, told.problem) == (NOW + MINUTE, "NVML: Unknown Error")
    leases.report(office.desk, lease.id, busy=False, problem="")
    assert office.lease(lease.id).problem == ""


def test_parts_of_gpus_are_booked_one_by_one(office: Office) -> None:
    office.fit(gpus(1), shared(2, index=1), mig(5 << 30, 20 << 30, index=2))
    held = [office.running(user) for user in ("ann", "bob", "eve", "joe", "kim")]
    assert {slot for lease in held for slot in lease.slots} == {
        "SIM-local-0",
        "SIM-local-1:0",
        "SIM-local-1:1",
        "MIG-SIM-local-2-0",
        "MIG-SIM-local-2-1",
    }
    office.wait(HOUR)
    for lease in held:
        office.stop(lease)
    assert [row.gpu_ms for row in office.booked()] == [3_600_000] * 5


@settings(max_examples=25, deadline=None)
@given(
    lives=st.lists(
        st.tuples(st.integers(1, 3), st.integers(-2_000, 400_000_123), st.integers(-2_000, 400_000_123)),
        min_size=1,
        max_size=4,
    ),
    microseconds=st.integers(0, 999),
)
def test_booked_is_what_the_engine_says_to_the_millisecond(
    open_office: OpenOffice, lives: list[tuple[int, int, int]], microseconds: int
) -> None:
    office = open_office()
    office.fit(gpus(3))
    expected = 0
    for count, begin, length in lives:
        granted = office.clock.now
        lease = office.granted("ann", count, 4)
        begun = granted + begin * MS + timedelta(microseconds=microseconds)
        office.wait(timedelta(days=3))
        leases.activate(office.desk, lease.id, "c0ffee", begun)
        office.wait(timedelta(days=3))
        leases.close(office.desk, lease.id, begun + length * MS)
        late = office.clock.now
        start = min(max(begun, granted), granted + timedelta(days=3))
        end = min(max(begun + length * MS, start), late)
        first, last = ((moment - NOW) // MS for moment in (start, end))
        expected += (last - first) * count
    assert sum(row.gpu_ms for row in office.booked()) == expected
