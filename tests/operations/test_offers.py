"""The queue: who is offered what, when, and in the same step that frees it."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from spawner.errors import UnknownName
from spawner.operations import holdings, inventory, leases, offers, places
from spawner.operations.offers import Place
from spawner.policy.gpus import GpuState
from spawner.policy.leases import LeaseState, Ticket, TicketState
from spawner.policy.model import Person

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus, shared


def test_what_is_closed_is_offered_in_the_same_step(office: Office) -> None:
    office.fit(gpus(2))
    lease = office.running("ann", 2)
    bob = office.queued("bob")
    office.wait(MINUTE)
    eve = office.queued("eve")
    leases.release(office.desk, lease.id, "stopped")
    assert office.ticket(bob.id).state is TicketState.WAITING  # nothing is free before the container is gone
    number = office.tables()["pool"]
    leases.close(office.desk, lease.id, None)
    assert {office.offer_to(bob).slots, office.offer_to(eve).slots} == {(slot,) for slot in lease.slots}
    [(_, before, *_)], [(_, after, *_)] = number, office.tables()["pool"]
    assert after == before + 1
    assert office.offer_to(bob).ticket == bob.id


@pytest.mark.parametrize("what", ["a new GPU", "in service", "quota", "cancelled", "withdrawn", "moved up", "dropped"])
def test_all_that_makes_room_serves_at_once(office: Office, what: str) -> None:
    office.fit(gpus(2))
    eve = _before(office, what)
    assert office.ticket(eve.id).state is TicketState.WAITING
    bob = leases.of_server(office.desk, "bob", "")
    match what:
        case "a new GPU":
            office.fit(gpus(3))
        case "in service":
            inventory.set_state(office.desk, "gpu1", GpuState.IN_SERVICE, "olga", "they turn")
        case "quota":
            office.give("user", "eve", "gpus", 1)
        case "cancelled":
            assert offers.cancel(office.desk, "bob", "")
        case "withdrawn":
            assert bob is not None
            office.wait(office.desk.rules.offer)
            assert offers.withdraw(office.desk, bob.id)
        case "moved up":
            offers.move_up(office.desk, eve.id, "olga", "a deadline")
        case "dropped":
            assert [ticket.user for ticket in places.drop(office.desk, "bob", None, "olga", "gone")] == ["bob"]
    assert len(office.offer_to(eve).slots) == 1


def _before(office: Office, what: str) -> Ticket:
    """Let eve wait for one GPU, and something be in her way."""
    match what:
        case "a new GPU":
            office.running("ann", 2)
            return office.queued("eve")
        case "in service":
            inventory.set_state(office.desk, "gpu1", GpuState.OUT_OF_SERVICE, "olga", "new fans")
            office.running("ann")
            return office.queued("eve")
        case "quota":
            lease = office.running("ann", 2)
            eve = office.queued("eve")
            office.give("user", "eve", "gpus", 0)
            office.stop(lease)
            return eve
        case "withdrawn":
            lease = office.running("ann", 2)
            office.queued("bob", 2)
            office.wait(MINUTE)
            eve = office.queued("eve")
            office.stop(lease)
            return eve
    # Of two GPUs one is free, and bob waits for both; eve would have hers for longer than ann has the other one.
    office.running("ann")
    office.queued("bob", 2)
    office.wait(MINUTE)
    return office.queued("eve", 1, 20)


def test_an_offer_lapses_and_its_ticket_is_over(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    ticket = office.queued("bob")
    office.stop(lease)
    offered = office.offer_to(ticket)
    assert not offers.withdraw(office.desk, offered.id)
    office.wait(office.desk.rules.offer - timedelta(milliseconds=1))
    assert not offers.withdraw(office.desk, offered.id)
    office.wait(timedelta(milliseconds=1))
    assert offers.withdraw(office.desk, offered.id)
    assert not offers.withdraw(office.desk, offered.id)
    assert not offers.withdraw(office.desk, "gone")
    assert (office.lease(offered.id).state, office.lease(offered.id).ending) == (LeaseState.CLOSED, "offer_lapsed")
    assert office.ticket(ticket.id).state is TicketState.EXPIRED
    assert office.lease(offered.id).started_at is None
    assert len(office.booked()) == 1


def test_what_was_taken_is_not_withdrawn(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    office.queued("bob")
    office.stop(lease)
    taken = office.granted("bob")
    office.wait(HOUR)
    assert not offers.withdraw(office.desk, taken.id)
    assert office.lease(taken.id) == taken


def test_an_offer_ends_with_the_time_it_is_for(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    ticket = office.queued("bob", 1, 1 / 30)  # two minutes; an offer is held for five
    office.stop(lease)
    offered = office.offer_to(ticket)
    assert offered.offered_until == offered.ends_at == NOW + 2 * MINUTE


def test_leave_the_queue_or_decline(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    bob, eve = office.queued("bob"), office.queued("eve")
    assert offers.cancel(office.desk, "bob", "")
    assert office.ticket(bob.id).state is TicketState.CANCELLED
    assert not offers.cancel(office.desk, "bob", "")
    office.stop(lease)
    offered = office.offer_to(eve)
    assert offers.cancel(office.desk, "eve", "")
    assert office.lease(offered.id).ending == "declined"
    assert office.ticket(eve.id).state is TicketState.CANCELLED
    assert office.granted("joe").slots == ("SIM-local-0",)


def test_moved_up_before_all_others_and_audited(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    tickets = []
    for user in ("bob", "eve", "joe"):
        tickets.append(office.queued(user))
        office.wait(MINUTE)
    offers.move_up(office.desk, tickets[2].id, "olga", "a deadline")
    moved = offers.move_up(office.desk, tickets[1].id, "olga", "a nearer one")
    assert moved.moved_up == 2
    assert [serving.ticket.user for serving in offers.whole_queue(office.desk)] == ["eve", "joe", "bob"]
    entries = [entry for entry in office.audit() if entry.action == "ticket.move_up"]
    assert [(entry.actor, entry.subject, entry.before, entry.after, entry.why) for entry in entries] == [
        ("olga", f"ticket {tickets[2].id}", {"moved_up": 0}, {"moved_up": 1}, "a deadline"),
        ("olga", f"ticket {tickets[1].id}", {"moved_up": 0}, {"moved_up": 2}, "a nearer one"),
    ]
    office.stop(lease)
    assert office.offer_to(tickets[1])
    with pytest.raises(UnknownName):
        offers.move_up(office.desk, tickets[1].id, "olga", "it is offered already")


def test_positions_and_times_that_are_told(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann", 1, 4)
    first, second = office.queued("bob", 1, 2), office.queued("eve", 1, 1)
    free = lease.ends_at + office.desk.rules.turnover
    assert offers.look_up(office.desk, "bob", "") == Place(first, 1, free, 2)
    later = free + 2 * HOUR + office.desk.rules.turnover
    assert offers.look_up(office.desk, "eve", "") == Place(second, 2, later, 2)
    assert offers.look_up(office.desk, "joe", "") is None
    office.stop(lease)
    offered = office.offer_to(first)
    assert offers.look_up(office.desk, "bob", "") == Place(office.ticket(first.id), 0, office.clock.now, 1, offered)
    assert offers.ticket_of(office.desk, offered) == office.ticket(first.id)
    assert places.offered(office.desk) == [(office.ticket(first.id), offered)]
    inventory.set_state(office.desk, "gpu0", GpuState.OUT_OF_SERVICE, "olga", "smoke")
    nobody_knows = offers.look_up(office.desk, "eve", "")
    assert nobody_knows is not None
    assert nobody_knows.eta is None


def test_priority_then_use_then_arrival(office: Office) -> None:
    office.fit(gpus(2))
    office.running("bob", 1, 24)
    office.wait(HOUR)
    held = office.running("ann")
    office.give("user", "kim", "priority", 5)
    for user in ("bob", "eve", "joe", "kim"):
        office.queued(user, server="more")
        office.wait(MINUTE)
    assert [serving.ticket.user for serving in offers.whole_queue(office.desk)] == ["kim", "eve", "joe", "bob"]
    office.stop(held)
    office.wait(office.desk.rules.patience)
    # Who has waited so long goes before all younger ones: kim has been offered the GPU.
    order = [serving.ticket.user for serving in offers.whole_queue(office.desk)]
    assert order == ["bob", "eve", "joe"]


def test_what_becomes_free_by_time_alone_is_for_the_janitor(office: Office) -> None:
    office.fit(gpus(1))
    reserved = office.reserve("nlp", NOW, NOW + HOUR, "SIM-local-0")
    ticket = office.queued("bob", 1, 2)
    assert offers.servable(office.desk) == []
    office.wait(reserved.ends_at - NOW)
    before = office.tables()
    assert [serving.ticket.id for serving in offers.servable(office.desk)] == [ticket.id]
    assert office.tables() == before
    [made] = offers.offer_now(office.desk)
    assert office.offer_to(ticket) == made
    assert offers.offer_now(office.desk) == []


def test_a_course_gets_its_seats(office: Office) -> None:
    office.fit(gpus(2))
    office.reserve("nlp", NOW, NOW + HOUR, "SIM-local-1")
    assert office.granted("ann", course="nlp").slots == ("SIM-local-1",)
    assert office.granted("bob").slots == ("SIM-local-0",)


def test_what_somebody_holds_and_waits_for(office: Office) -> None:
    office.fit(gpus(1), shared(2, index=1))
    office.give("user", "ann", "gpu_hours", 20)
    running = office.running("ann", 1, 4, models=frozenset(), memory=16 << 30)
    other = office.running("bob")
    office.running("bob", server="two")
    waiting = office.queued("ann", 1, 1, server="lab")
    office.wait(HOUR)
    found = holdings.holdings(office.desk, Person("ann"))
    assert [(one.lease, [slot.id for slot in one.slots]) for one in found.leases] == [(running, ["SIM-local-0"])]
    assert [(place.ticket, place.position) for place in found.places] == [(waiting, 1)]
    assert (found.at_once, found.held, found.budget_hours, found.left_hours) == (4, 1, 20, 16)
    office.stop(other)
    offered = holdings.holdings(office.desk, Person("ann"))
    assert [(place.position, place.offered) for place in offered.places] == [(0, office.offer_to(waiting))]
    assert [one.lease for one in offered.leases] == [running]
    held = holdings.holding(office.desk, "ann", "")
    assert held is not None
    assert held.lease == running
    assert holdings.holding(office.desk, "ann", "lab") is None
    nobody = holdings.holdings(office.desk, Person("zoe"))
    assert (nobody.leases, nobody.places, nobody.held, nobody.left_hours) == ((), (), 0, None)


def test_dropping_whom_there_is_not(office: Office) -> None:
    with pytest.raises(UnknownName, match="Nobody waits for bob"):
        places.drop(office.desk, "bob", None, "olga", "gone")
    with pytest.raises(UnknownName, match="server 'lab' of bob"):
        places.drop(office.desk, "bob", "lab", "olga", "gone")


def test_a_ticket_that_was_offered_twice_is_served_once(office: Office) -> None:
    """An offer that lapses is nobody's second chance, and frees the slot for exactly one."""
    office.fit(gpus(1))
    lease = office.running("ann")
    tickets = [office.queued(user) for user in ("bob", "eve", "joe")]
    office.stop(lease)
    seen: list[datetime] = []
    for ticket in tickets:
        offered = office.offer_to(ticket)
        assert replace(offered, slots=()).user == ticket.user
        seen.append(office.clock.now)
        office.wait(office.desk.rules.offer)
        assert offers.withdraw(office.desk, offered.id)
    assert [office.ticket(ticket.id).state for ticket in tickets] == [TicketState.EXPIRED] * 3
    assert len(set(seen)) == 3
    assert offers.whole_queue(office.desk) == []
