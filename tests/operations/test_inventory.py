"""GPUs come and go, are taken out of service, are in doubt."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from spawner.errors import UnknownName
from spawner.operations import inventory, leases
from spawner.operations.inventory import Board
from spawner.operations.leases import Queued
from spawner.policy.gpus import Gpu, GpuState
from spawner.policy.leases import Reservation

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus, mig, shared


def board(office: Office) -> dict[str, dict[str, str | None]]:
    """Who holds what: users by slot, by the GPU's name; doubtful slots with a question mark."""
    found: Board = inventory.board(office.desk)
    return {
        gpu.name: {use.slot.id: "?" if use.quarantine else use.lease.user if use.lease else None for use in uses}
        for gpu, uses in found.gpus
    }


def named(office: Office, name: str) -> Gpu:
    return next(gpu for gpu, _ in inventory.board(office.desk).gpus if gpu.name == name)


def test_a_look_that_finds_the_same_changes_nothing(office: Office) -> None:
    assert office.fit(gpus(2), shared(2, index=2))
    before = office.tables()
    office.wait(MINUTE)
    assert not office.fit(gpus(2), shared(2, index=2))
    assert {name for name, rows in office.tables().items() if rows != before[name]} <= {"pool"}


def test_what_vanishes_goes_on_for_who_has_it_and_for_nobody_else(office: Office) -> None:
    office.fit(gpus(2))
    lease = office.running("ann")
    office.wait(HOUR)
    assert office.fit(gpus(1, first=1))
    gone = named(office, "gpu0")
    assert (gone.healthy, gone.problem) == (False, "Not found any more since 2027-03-01 13:00 UTC.")
    assert office.lease(lease.id) == lease
    assert office.granted("bob").slots == ("SIM-local-1",)
    ticket = office.queued("eve")
    office.stop(lease)
    assert office.ticket(ticket.id).state == "waiting"  # what is free is not there
    assert office.fit(gpus(2))
    assert office.offer_to(ticket).slots == ("SIM-local-0",)
    assert named(office, "gpu0").healthy


def test_what_is_sick_gets_no_leases(office: Office) -> None:
    [first, second], slots = gpus(2)
    office.fit(([replace(first, healthy=False, problem="It has fallen off the bus."), second], slots))
    assert office.granted("ann").slots == (second.uuid,)
    ticket = office.queued("bob")
    office.fit(([first, second], slots))
    assert office.offer_to(ticket).slots == (first.uuid,)


def test_a_node_is_probed_by_itself(office: Office) -> None:
    office.fit(gpus(1))
    office.fit(gpus(1, node="far"), node="far")
    assert list(board(office)) == ["far-gpu0", "gpu0"]
    office.fit(node="far")
    assert (named(office, "far-gpu0").healthy, named(office, "gpu0").healthy) == (False, True)


def test_a_gpu_that_is_divided_anew(office: Office) -> None:
    office.fit(mig(5 << 30, 5 << 30))
    lease = office.running("ann")
    assert office.fit(mig(10 << 30))
    known = inventory.known_slots(office.desk)
    assert set(known) == {"MIG-SIM-local-0-0"}
    assert known["MIG-SIM-local-0-0"].memory == 10 << 30
    # The one that ann holds is there again under the same name, and hers; the other one is no more.
    assert board(office) == {"gpu0": {"MIG-SIM-local-0-0": "ann"}}
    with pytest.raises(UnknownName, match="MIG-SIM-local-0-1"):
        inventory.slots_of(office.desk, ["MIG-SIM-local-0-1"])
    assert [slot.id for slot in inventory.slots_of(office.desk, lease.slots)] == list(lease.slots)
    office.fit(gpus(1))
    assert inventory.known_slots(office.desk).keys() == {"SIM-local-0"}
    office.wait(HOUR)
    office.stop(lease)
    [row] = office.booked()
    assert (row.gpu_ms, row.model) == (3_600_000, "Simulated GPU")


@pytest.mark.parametrize("state", [GpuState.DRAINING, GpuState.OUT_OF_SERVICE, GpuState.QUARANTINED])
def test_taken_out_and_put_back(office: Office, state: GpuState) -> None:
    office.fit(gpus(2))
    lease = office.running("ann")
    office.wait(MINUTE)
    changed = inventory.set_state(office.desk, "gpu0", state, "olga", "new fans")
    assert (changed.state, changed.state_by, changed.state_why, changed.state_since) == (
        state,
        "olga",
        "new fans",
        office.clock.now,
    )
    assert named(office, "gpu0") == changed
    assert office.granted("bob").slots == ("SIM-local-1",)
    office.stop(lease)
    ticket = office.queued("eve")
    assert not office.fit(gpus(2))  # a probe does not overrule an admin
    inventory.set_state(office.desk, "SIM-local-0", GpuState.IN_SERVICE, "olga", "they turn")
    assert office.offer_to(ticket).slots == ("SIM-local-0",)
    entries = office.audit()
    assert [(entry.action, entry.subject, entry.why) for entry in entries] == [
        ("gpu.state", "gpu SIM-local-0", "new fans"),
        ("gpu.state", "gpu SIM-local-0", "they turn"),
    ]
    assert (entries[0].before, entries[0].after) == (
        {"state": "in_service", "why": ""},
        {"state": str(state), "why": "new fans"},
    )


def test_several_at_once_or_none(office: Office) -> None:
    office.fit(gpus(3))
    names = ["gpu0", "SIM-local-0", "gpu2"]
    before = office.tables()

    def refuse(found: Sequence[Gpu]) -> None:
        assert [gpu.name for gpu in found] == ["gpu0", "gpu2"]
        raise LookupError("changed meanwhile")

    with pytest.raises(LookupError, match="meanwhile"):
        inventory.set_states(office.desk, names, GpuState.DRAINING, "olga", "new fans", refuse)
    with pytest.raises(UnknownName, match="gpu7"):
        inventory.set_states(office.desk, [*names, "gpu7"], GpuState.DRAINING, "olga", "new fans")
    assert office.tables() == before
    done = inventory.set_states(office.desk, names, GpuState.DRAINING, "olga", "new fans")
    assert [gpu.name for gpu in done] == ["gpu0", "gpu2"]
    assert [gpu.state for gpu, _ in inventory.board(office.desk).gpus] == ["draining", "in_service", "draining"]
    inventory.doubt(office.desk, ["SIM-local-0"], "the driver refused")
    assert inventory.set_states(office.desk, [], GpuState.DRAINING, "olga", "nothing") == ()
    assert [(entry.action, entry.actor) for entry in inventory.decrees(office.desk, "SIM-local-0")] == [
        ("slot.quarantine", "spawner"),
        ("gpu.state", "olga"),
    ]


def test_an_unknown_gpu_changes_nothing(office: Office) -> None:
    with pytest.raises(UnknownName, match="there are: none"):
        inventory.set_state(office.desk, "gpu7", GpuState.DRAINING, "olga", "why")
    office.fit(gpus(2))
    before = office.tables()
    with pytest.raises(UnknownName, match=r"there are: gpu0, gpu1\."):
        inventory.set_state(office.desk, "gpu7", GpuState.DRAINING, "olga", "why")
    assert office.tables() == before


def test_doubt_is_about_all_shares_of_a_gpu_until_an_admin_ends_it(office: Office) -> None:
    office.fit(shared(2), gpus(1, first=1))
    held = office.granted("ann", memory=1, models=frozenset())
    assert held.slots == ("SIM-local-0:0",)
    assert inventory.doubt(office.desk, held.slots, "the driver refuses it") == ("SIM-local-0:0", "SIM-local-0:1")
    before = office.tables()
    assert inventory.doubt(office.desk, held.slots, "again") == ()
    assert inventory.doubt(office.desk, ["gone"], "again") == ()
    assert {name for name, rows in office.tables().items() if rows != before[name]} == {"pool"}
    assert board(office) == {
        "gpu0": {"SIM-local-0:0": "?", "SIM-local-0:1": "?"},
        "gpu1": {"SIM-local-1": None},
    }
    assert [(entry.actor, entry.action, entry.subject) for entry in office.audit()] == [
        ("spawner", "slot.quarantine", "slot SIM-local-0:0"),
        ("spawner", "slot.quarantine", "slot SIM-local-0:1"),
    ]
    leases.close(office.desk, held.id, None, "start_failed")
    assert office.granted("bob").slots == ("SIM-local-1",)
    assert isinstance(office.ask("eve"), Queued)
    inventory.set_state(office.desk, "gpu0", GpuState.IN_SERVICE, "olga", "a cable")
    assert office.granted("eve").slots in {("SIM-local-0:0",), ("SIM-local-0:1",)}


def test_the_gpus_of_slots(office: Office) -> None:
    office.fit(shared(2), gpus(1, first=1))
    slots = inventory.slots_of(office.desk, ["SIM-local-0:1", "SIM-local-1"])
    assert [gpu.uuid for gpu in inventory.gpus_of(office.desk, slots)] == ["SIM-local-0", "SIM-local-1"]
    assert inventory.gpus_of(office.desk, slots[:1]) == (named(office, "gpu0"),)


@pytest.mark.parametrize("how", ["vanished", "drained", "in doubt"])
def test_a_reservation_moves_to_what_is_left(office: Office, how: str) -> None:
    office.fit(gpus(3))
    reserved = office.reserve("nlp", NOW + HOUR, NOW + 2 * HOUR, "SIM-local-0", "SIM-local-1")
    match how:
        case "vanished":
            office.fit(gpus(2, first=1))
        case "drained":
            inventory.set_state(office.desk, "gpu0", GpuState.DRAINING, "olga", "why")
        case "in doubt":
            inventory.doubt(office.desk, ["SIM-local-0"], "why")
    assert _reservation(office, reserved) == replace(reserved, slots=("SIM-local-2", "SIM-local-1"))
    # Nothing is left to move to: it stays what it was, and is there again when the GPU is.
    inventory.set_state(office.desk, "gpu1", GpuState.OUT_OF_SERVICE, "olga", "why")
    assert _reservation(office, reserved).slots == ("SIM-local-2", "SIM-local-1")


def _reservation(office: Office, made: Reservation) -> Reservation:
    with office.ledger.reading() as books:
        found = books.reservations.get(made.id)
    assert found is not None
    return found


# --- borrowed ---------------------------------------------------------------------------------------------------------


def test_what_is_borrowed_is_nobodys_and_keeps_its_reservations(office: Office) -> None:
    office.fit(gpus(2))
    held = office.running("ann", hours=12)
    [other] = {"SIM-local-0", "SIM-local-1"} - set(held.slots)
    reserved = office.reserve("nlp", NOW + HOUR, NOW + 2 * HOUR, other)
    assert inventory.borrow(office.desk, other, 30 * MINUTE, "a test")
    # Ann keeps her GPU for as long as she has it.
    assert (_reservation(office, reserved), office.lease(held.id)) == (reserved, held)
    ticket = office.queued("bob", hours=0.5)
    assert [gpu.uuid for gpu in inventory.borrowed(office.desk, "a test")] == [other]
    assert inventory.borrowed(office.desk, "another") == []
    assert not inventory.borrow(office.desk, other, 30 * MINUTE, "a test")
    assert inventory.give_back(office.desk, other, "a test", "done")
    assert office.offer_to(ticket).slots == (other,)
    assert not inventory.give_back(office.desk, other, "a test", "done")
    assert [(entry.actor, entry.action, entry.why) for entry in office.audit()] == [
        ("janitor", "gpu.state", "a test"),
        ("janitor", "gpu.state", "done"),
    ]


def test_only_what_is_free_is_borrowed(office: Office) -> None:
    office.fit(gpus(4))
    [held] = office.running("ann").slots
    soon, doubtful, drained = sorted({f"SIM-local-{number}" for number in range(4)} - {held})
    office.reserve("nlp", NOW + 29 * MINUTE, NOW + HOUR, soon)
    inventory.doubt(office.desk, [doubtful], "the driver refused")
    inventory.set_state(office.desk, drained, GpuState.DRAINING, "olga", "new fans")
    before = office.tables()
    assert not any(
        inventory.borrow(office.desk, one, 30 * MINUTE, "a test") for one in (held, soon, doubtful, drained, "gone")
    )
    assert {name for name, rows in office.tables().items() if rows != before[name]} <= {"pool"}
    assert inventory.borrow(office.desk, soon, 29 * MINUTE, "a test")


def test_what_admins_say_of_a_borrowed_gpu_stands(office: Office) -> None:
    office.fit(gpus(2))
    for name in ("SIM-local-0", "SIM-local-1"):
        assert inventory.borrow(office.desk, name, 30 * MINUTE, "a test")
    inventory.set_state(office.desk, "gpu0", GpuState.DRAINING, "olga", "new fans")
    inventory.doubt(office.desk, ["SIM-local-1"], "the driver refused")
    assert not inventory.give_back(office.desk, "SIM-local-0", "a test", "done")
    assert inventory.give_back(office.desk, "SIM-local-1", "a test", "done")
    assert [(gpu.state, gpu.state_by) for gpu, _ in inventory.board(office.desk).gpus] == [
        ("draining", "olga"),
        ("in_service", "janitor"),
    ]
    assert board(office)["gpu1"] == {"SIM-local-1": "?"}
