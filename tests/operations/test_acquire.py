"""What somebody is told who asks for GPUs."""

from dataclasses import replace

import pytest

from spawner.errors import LeaseLost
from spawner.operations import inventory, leases, offers
from spawner.operations.leases import Granted, OnCpu, Queued
from spawner.policy.gpus import GpuState, SlotKind
from spawner.policy.leases import GpuRequest, LeaseState, TicketState
from spawner.policy.model import AtEnd, Deny, IfBusy

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import MEMORY, gpus, mig, shared


def test_busy_in_three_ways(office: Office) -> None:
    office.fit(gpus(1))
    office.running("ann")
    before = office.tables()
    refused = office.ask("bob", if_busy=IfBusy.REFUSE)
    assert isinstance(refused, Deny)
    assert (refused.code, refused.reason) == ("busy", "No GPU is free now.")
    assert office.ask("bob", if_busy=IfBusy.CPU) == OnCpu("No GPU is free now.")
    assert {name for name, rows in office.tables().items() if rows != before[name]} == {"pool"}
    queued = office.ask("bob", if_busy=IfBusy.QUEUE)
    assert isinstance(queued, Queued)
    assert (queued.position, queued.ticket.state, queued.ticket.arrived_at) == (1, TicketState.WAITING, NOW)
    assert office.ticket(queued.ticket.id) == queued.ticket


@pytest.mark.parametrize("if_busy", list(IfBusy))
def test_where_there_are_none(office: Office, if_busy: IfBusy) -> None:
    answer = office.ask("ann", if_busy=if_busy)
    if if_busy is IfBusy.CPU:
        assert isinstance(answer, OnCpu)
        return
    assert isinstance(answer, Deny)
    assert answer.code == "no_gpus"


def test_what_the_quota_refuses(office: Office) -> None:
    office.fit(gpus(6), shared(2, model="Small", index=6))
    office.give("user", "ann", "gpu_hours", 10)
    office.give("user", "ann", "models", ["Small"])
    refusals = {
        "over_limit": office.ask("bob", 5),
        "no_gpus": office.ask("bob", 2, models=frozenset({"Small"})),
        "model_not_allowed": office.ask("ann", 1, models=frozenset({"Simulated GPU"})),
        "over_budget": office.ask("ann", 1, 11, if_busy=IfBusy.CPU),
    }
    for code, answer in refusals.items():
        assert isinstance(answer, Deny), answer
        assert answer.code == code
        assert answer.reason.endswith(".")
    too_long = office.ask("bob", 1, 25)
    assert isinstance(too_long, Deny)
    assert too_long.code == "over_limit"
    assert office.tables()["tickets"] == []


def test_a_lease_may_be_shorter_than_the_longest(office: Office) -> None:
    office.fit(gpus(2))
    office.give("user", "ann", "gpu_hours", 3)
    answer = office.ask("ann", 2, None)
    assert isinstance(answer, Granted)
    assert answer.lease.ends_at == NOW + 1.5 * HOUR
    assert answer.note == "Shortened to 1 h 30 min: that is what your GPU budget leaves."


def test_before_a_reservation_a_lease_is_cut_short(office: Office) -> None:
    office.fit(gpus(1))
    office.reserve("nlp", NOW + 2 * HOUR, NOW + 4 * HOUR, "SIM-local-0")
    answer = office.ask("ann", 1, 4)
    assert isinstance(answer, Granted)
    assert answer.lease.ends_at == NOW + 2 * HOUR - office.desk.rules.turnover
    assert "reserved" in answer.note


def test_slots_by_model_kind_memory_and_node(office: Office) -> None:
    office.fit(gpus(1), mig(5 << 30, 10 << 30, index=1), shared(2, index=2))
    office.fit(gpus(2, node="far", model="Big"), node="far")
    assert office.granted("a", models=frozenset({"Big"}), server="1").slots == ("SIM-far-0",)
    assert office.granted("b", kinds=frozenset({SlotKind.SHARED})).slots == ("SIM-local-2:0",)
    assert office.granted("c", kinds=frozenset({SlotKind.MIG}), memory=6 << 30).slots == ("MIG-SIM-local-1-1",)
    assert office.granted("d", memory=MEMORY, models=frozenset({"Simulated GPU"})).slots == ("SIM-local-0",)
    assert office.granted("e").slots == ("MIG-SIM-local-1-0",)  # the least valuable that will do
    # Not across hosts: one is left here and one there.
    assert isinstance(office.ask("f", 2), Queued)


def test_whose_slots_are_taken_out_of_service_waits(office: Office) -> None:
    office.fit(gpus(1))
    inventory.set_state(office.desk, "gpu0", GpuState.DRAINING, "olga", "new fans")
    assert isinstance(office.ask("ann"), Queued)


# --- one's place --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alike",
    [{}, {"groups": frozenset({"lab"})}, {"options": '{"profile": "gpu"}'}, {"at_end": AtEnd.STOP}],
    ids=["the same", "groups", "options", "at_end"],
)
def test_who_asks_for_the_same_again_keeps_the_place(office: Office, alike: dict[str, object]) -> None:
    office.fit(gpus(1))
    office.running("ann")
    first = office.queued("bob")
    office.wait(MINUTE)
    office.queued("eve")
    office.wait(MINUTE)
    again = office.ask("bob", **alike)  # type: ignore[arg-type]
    assert isinstance(again, Queued)
    assert (again.ticket, again.position) == (first, 1)
    assert office.ticket(first.id).state is TicketState.WAITING


@pytest.mark.parametrize(
    "other",
    [
        {"count": 2},
        {"hours": 5},
        {"hours": None},
        {"models": frozenset({"Simulated GPU"})},
        {"memory": 1},
        {"kinds": frozenset({SlotKind.EXCLUSIVE})},
        {"course": "nlp"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_who_asks_for_something_else_goes_to_the_end(office: Office, other: dict[str, object]) -> None:
    office.fit(gpus(2))
    office.running("ann", 2)
    first = office.queued("bob")
    office.wait(MINUTE)
    office.queued("eve")
    office.wait(MINUTE)
    again = office.ask("bob", **other)  # type: ignore[arg-type]
    assert isinstance(again, Queued)
    assert again.position == 2
    assert again.ticket.id != first.id
    assert office.ticket(first.id).state is TicketState.CANCELLED


def test_who_does_not_want_to_wait_any_more_leaves_the_queue(office: Office) -> None:
    office.fit(gpus(1))
    office.running("ann")
    for if_busy in (IfBusy.CPU, IfBusy.REFUSE):
        ticket = office.queued("bob")
        office.ask("bob", if_busy=if_busy)
        assert office.ticket(ticket.id).state is TicketState.CANCELLED


def test_nobody_is_passed(office: Office) -> None:
    office.fit(gpus(2))
    held = [office.running("ann", server=name) for name in ("a", "b")]
    office.queued("bob", 2)
    office.stop(held[0])
    # One GPU is free, and promised to bob together with the other one, whose lease has four hours to go.
    assert isinstance(office.ask("eve", 1, 5), Queued)
    office.stop(held[1])
    assert leases.of_server(office.desk, "eve", "") is None
    bob = leases.of_server(office.desk, "bob", "")
    assert bob is not None
    assert bob.state is LeaseState.OFFERED


def test_who_leaves_lets_those_behind_have_the_slots_at_once(office: Office) -> None:
    office.fit(gpus(2))
    office.running("ann")
    first = office.queued("bob", 2)
    second = office.queued("eve", 1, 20)
    assert office.ticket(second.id).state is TicketState.WAITING
    # bob wants something else that is not there, and does not wait for it.
    office.ask("bob", 2, 8, if_busy=IfBusy.REFUSE)
    assert office.ticket(first.id).state is TicketState.CANCELLED
    assert office.offer_to(second).slots == ("SIM-local-1",)


def test_who_declines_an_offer_by_asking_for_something_else(office: Office) -> None:
    office.fit(gpus(1), gpus(1, model="Big", first=1))
    lease = office.running("ann", models=frozenset({"Simulated GPU"}))
    office.running("joe", models=frozenset({"Big"}))
    bob, eve = (
        office.queued("bob", models=frozenset({"Simulated GPU"})),
        office.queued("eve", models=frozenset({"Simulated GPU"})),
    )
    office.stop(lease)
    offered = office.offer_to(bob)
    assert isinstance(office.ask("bob", models=frozenset({"Big"})), Queued)
    assert office.lease(offered.id).ending == "declined"
    assert office.ticket(bob.id).state is TicketState.CANCELLED
    assert office.offer_to(eve).slots == offered.slots
    assert office.booked() == [row for row in office.booked() if row.lease == lease.id]


def test_an_offer_is_taken_by_asking_for_the_same(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    ticket = office.queued("bob", 1, 2)
    office.wait(HOUR)
    office.stop(lease)
    offered = office.offer_to(ticket)
    assert (offered.granted_at, offered.ends_at) == (office.clock.now, office.clock.now + 2 * HOUR)
    assert offered.offered_until == office.clock.now + office.desk.rules.offer
    office.wait(4 * MINUTE)
    taken = office.granted("bob", 1, 2, groups=frozenset({"lab"}))
    assert taken == replace(
        offered, state=LeaseState.PENDING, granted_at=office.clock.now, changed_at=office.clock.now, offered_until=None
    )
    # However late it is taken, it ends when it would have: the clock runs from the offer on.
    assert taken.ends_at == offered.ends_at
    assert office.ticket(ticket.id).state is TicketState.SERVED
    # What is booked begins with the server, not with the offer.
    office.wait(MINUTE)
    leases.activate(office.desk, taken.id, "c0ffee", offered.granted_at)
    office.wait(10 * MINUTE)
    office.stop(taken)
    assert [row.gpu_ms for row in office.booked() if row.lease == taken.id] == [11 * 60_000]


def test_an_offer_that_has_lapsed_is_none(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    bob, eve = office.queued("bob"), office.queued("eve")
    office.stop(lease)
    office.wait(office.desk.rules.offer)
    # bob comes a moment late: eve goes first, bob is a newcomer.
    answer = office.ask("bob")
    assert isinstance(answer, Queued)
    assert office.ticket(bob.id).state is TicketState.CANCELLED
    assert office.offer_to(eve).slots == lease.slots
    assert answer.ticket.arrived_at == office.clock.now


def test_two_servers_of_one_user_are_offered_one_after_the_other(office: Office) -> None:
    office.fit(gpus(2))
    office.give("user", "bob", "gpus", 1)
    held = [office.running("ann", server=name) for name in ("a", "b")]
    first = office.queued("bob", server="one")
    office.wait(MINUTE)
    second = office.queued("bob", server="two")
    office.wait(MINUTE)
    eve = office.queued("eve")
    for lease in held:
        office.stop(lease)
    assert office.offer_to(first)
    # The second is more than the quota allows; nobody is held up by it.
    assert office.ticket(second.id).state is TicketState.WAITING
    assert office.offer_to(eve)
    place = offers.look_up(office.desk, "bob", "two")
    assert place is not None
    assert place.blocked
    office.give("user", "bob", "gpus", 2)
    offers.cancel(office.desk, "eve", "")
    assert office.offer_to(second)


def test_a_slot_that_somebody_holds_is_never_given(office: Office) -> None:
    """The database itself refuses what the policy would never do."""
    office.fit(gpus(1))
    lease = office.running("ann")
    with pytest.raises(LeaseLost, match="held by an open lease"), office.ledger.transaction() as books:
        books.leases.insert(replace(lease, id="twin", user="bob"))
    assert leases.acquire(office.desk, GpuRequest("bob", "", "gpu", 1), IfBusy.REFUSE) == Deny(
        "busy", "No GPU is free now."
    )
