"""What the loops find to be done, and that looking alone does nothing."""

from datetime import timedelta

import pytest

from spawner.gpus.scenario import Event, GpuSpec
from spawner.janitor.steps import Step, carry_out_all
from spawner.janitor.tasks import expiry_steps, inventory_steps, offer_steps
from spawner.operations import inventory, leases, offers
from spawner.policy.leases import Lease, LeaseState, Ticket
from spawner.policy.model import AtEnd

from ..support.api_hub import ApiHub
from ..support.office import HOUR, MINUTE, NOW
from ..support.slots import gpus
from .conftest import Watch

SECOND = timedelta(seconds=1)
ANN = "/hub/api/users/ann/server"


def texts(steps: list[Step]) -> list[str]:
    return [step.text for step in steps]


# --- inventory ----------------------------------------------------------------------------------------------------


def test_gpus_are_taken_over(watch: Watch) -> None:
    watch.see(GpuSpec(count=2), gpu_shares={"gpu1": 2})
    found = inventory.board(watch.office.desk)
    assert [(gpu.name, [use.slot.kind for use in uses]) for gpu, uses in found.gpus] == [
        ("gpu0", ["exclusive"]),
        ("gpu1", ["shared", "shared"]),
    ]
    assert texts(watch.look(inventory_steps)) == ["take over 2 GPUs with 3 slots"]
    assert watch.turn(inventory_steps) == [False]


def test_a_gpu_that_falls_off_the_bus_and_comes_back(watch: Watch) -> None:
    watch.see(GpuSpec(events=(Event(at=60, what="lost"), Event(at=120, what="back"))))
    watch.office.wait(MINUTE)
    assert watch.turn(inventory_steps) == [True]
    ticket = watch.office.queued("ann")
    watch.office.wait(MINUTE)
    assert watch.turn(inventory_steps) == [True]
    assert watch.office.offer_to(ticket)


def test_without_gpus_there_is_nothing_to_look_at(watch: Watch) -> None:
    assert watch.turn(inventory_steps) == [False]


# --- offers -------------------------------------------------------------------------------------------------------


@pytest.fixture
def offered(watch: Watch) -> tuple[Ticket, Lease]:
    """One who waited and has an offer."""
    office = watch.office
    office.fit(gpus(1))
    lease = office.running("bob")
    ticket = office.queued("ann", options='{"profile": "gpu", "gpus": 1}')
    office.stop(lease)
    return ticket, office.offer_to(ticket)


def test_a_server_whose_turn_it_is_is_started(watch: Watch, hub: ApiHub, offered: tuple[Ticket, Lease]) -> None:
    # A start that waits takes its offer by itself.
    assert watch.look(offer_steps) == []
    watch.office.wait(3 * SECOND)
    hub.says("^POST ", 202)
    [step] = watch.look(offer_steps)
    assert (step.text, step.slow) == ("start the server ann, whose turn it is", True)
    assert hub.asked == []
    assert step.carry_out()
    assert hub.bodies == {f"POST {ANN}": {"profile": "gpu", "gpus": 1}}
    hub.says("^POST ", 400, "ann is pending spawn")
    assert watch.turn(offer_steps) == [False]


@pytest.mark.parametrize("trick", ["hang up", "500"])
def test_a_hub_that_does_not_start_it_is_asked_again(
    watch: Watch, hub: ApiHub, offered: tuple[Ticket, Lease], trick: str, caplog: pytest.LogCaptureFixture
) -> None:
    watch.office.wait(3 * SECOND)
    hub.says("^POST ", 500, trick="gone" if trick == "hang up" else "", times=1)
    assert watch.turn(offer_steps) == [False]
    assert "could not be started by itself" in caplog.text
    hub.says("^POST ", 201)
    assert watch.turn(offer_steps) == [True]


def test_no_server_is_started_against_its_users_will(watch: Watch, hub: ApiHub, offered: tuple[Ticket, Lease]) -> None:
    watch.office.wait(3 * SECOND)
    [step] = watch.look(offer_steps)
    offers.cancel(watch.office.desk, "ann", "")
    assert not step.carry_out()
    assert hub.asked == []


def test_an_offer_that_lapsed_goes_to_the_next(watch: Watch, offered: tuple[Ticket, Lease]) -> None:
    ticket, _ = offered
    following = watch.office.queued("eve", server="lab")
    watch.office.wait(watch.office.desk.rules.offer)
    assert texts(watch.look(offer_steps)) == ["take back from ann the offer that lapsed"]
    assert watch.turn(offer_steps) == [True]
    assert watch.office.ticket(ticket.id).state == "expired"
    assert watch.office.offer_to(following)


def test_what_becomes_free_by_time_is_offered(watch: Watch) -> None:
    office = watch.office
    office.fit(gpus(1))
    office.reserve("nlp", NOW, NOW + HOUR, "SIM-local-0")
    ticket = office.queued("ann", 1, 2, server="lab")
    assert watch.turn(offer_steps) == []
    office.wait(HOUR)
    assert texts(watch.look(offer_steps)) == ["offer GPUs to ann/lab"]
    assert watch.turn(offer_steps) == [True]
    assert office.offer_to(ticket)
    assert watch.turn(offer_steps) == []


# --- expiry -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_end", list(AtEnd))
def test_a_lease_that_is_over_is_ended_and_the_work_kept(watch: Watch, hub: ApiHub, at_end: AtEnd) -> None:
    office = watch.office
    office.fit(gpus(1))
    lease = office.running("ann", 1, 4, at_end=at_end)
    office.wait(4 * HOUR - SECOND)
    assert watch.turn(expiry_steps) == []
    office.wait(SECOND)
    hub.says("POST /user/ann/berth/save", 200)
    hub.says("^DELETE ", 204)
    hub.says(f"POST {ANN}", 202)
    after = "start it again without GPUs" if at_end is AtEnd.CPU else "leave it stopped"
    [step] = watch.look(expiry_steps)
    assert step.text == f"end the lease {lease.id} (expired): save and stop ann, {after}"
    assert hub.asked == []
    assert step.carry_out()
    assert hub.asked == ["POST /user/ann/berth/save", f"DELETE {ANN}", f"POST {ANN}"][: 3 if at_end is AtEnd.CPU else 2]
    if at_end is AtEnd.CPU:
        assert hub.bodies[f"POST {ANN}"] == {"profile": "gpu", "gpus": 0}
    # Its slots are free only when the container is confirmed gone.
    assert (office.lease(lease.id).state, office.lease(lease.id).ending) == (LeaseState.RELEASING, "expired")
    assert office.booked() == []


def test_a_server_that_cannot_save_is_ended_all_the_same(
    watch: Watch, hub: ApiHub, caplog: pytest.LogCaptureFixture
) -> None:
    watch.office.fit(gpus(1))
    lease = watch.office.running("ann", 1, 4, server="lab")
    watch.office.wait(4 * HOUR)
    hub.says("^DELETE ", 204)
    hub.says("^POST /hub/", 202)
    assert watch.turn(expiry_steps) == [True]
    assert "ann/lab could not be asked to save" in caplog.text
    assert watch.office.lease(lease.id).state is LeaseState.RELEASING


def test_a_hub_that_does_not_stop_it(watch: Watch, hub: ApiHub, caplog: pytest.LogCaptureFixture) -> None:
    watch.office.fit(gpus(1))
    lease = watch.office.running("ann", 1, 4)
    watch.office.wait(4 * HOUR)
    hub.says("^DELETE ", 500)
    assert watch.turn(expiry_steps) == [False]
    assert f"Lease {lease.id}: the hub answered 500" in caplog.text


@pytest.mark.parametrize("meanwhile", ["extended", "stopped", "closed", "chosen"])
def test_what_has_changed_since_the_look(watch: Watch, hub: ApiHub, meanwhile: str) -> None:
    office, desk = watch.office, watch.office.desk
    office.fit(gpus(1))
    lease = office.running("ann", 1, 4)
    leases.end(desk, lease.id, "olga", "why", timedelta(0))
    [step] = watch.look(expiry_steps)
    hub.says(".", 204)
    match meanwhile:
        case "extended":
            office.clock.now -= MINUTE  # else it is over
            assert leases.extend(desk, lease.id, 1, "olga", by_admin=True)
        case "stopped":
            leases.release(desk, lease.id, "stopped")
        case "closed":
            office.stop(lease)
        case "chosen":
            leases.choose_at_end(desk, lease.id, AtEnd.STOP)
    if meanwhile == "chosen":
        assert step.carry_out()
        assert not any(request.startswith("POST /hub/") for request in hub.asked)
    else:
        assert not step.carry_out()
        assert hub.asked == []


def test_one_that_is_starting_gets_its_turn_when_it_is_up(watch: Watch) -> None:
    watch.office.fit(gpus(1))
    lease = watch.office.granted("ann", 1, 4)
    watch.office.wait(5 * HOUR)
    assert watch.look(expiry_steps) == []
    leases.activate(watch.office.desk, lease.id, "c0ffee", watch.office.clock.now)
    assert len(watch.look(expiry_steps)) == 1


def test_an_empty_budget_ends_a_lease_with_a_warning_first(watch: Watch) -> None:
    office = watch.office
    office.fit(gpus(1))
    lease = office.running("ann", 1, 10)
    office.wait(HOUR)
    office.give("user", "ann", "gpu_hours", 3)
    assert texts(watch.look(expiry_steps)) == [
        f"shorten to their users' budgets: {lease.id} of ann to 15:00:00 UTC",
    ]
    assert watch.turn(expiry_steps) == [True]
    assert watch.turn(expiry_steps) == []
    office.wait(2 * HOUR)
    [step] = watch.look(expiry_steps)
    assert step.text.startswith(f"end the lease {lease.id} (over_budget)")


def test_what_was_granted_for_a_time_is_taken_back(watch: Watch) -> None:
    office = watch.office
    office.give("user", "ann", "gpus", 8, NOW + HOUR)
    office.give("default", "", "cpu", 3, NOW + HOUR)
    assert watch.turn(expiry_steps) == []
    office.wait(HOUR)
    assert texts(watch.look(expiry_steps)) == [
        "take back what was granted for a time: cpu of default, gpus of user ann"
    ]
    assert watch.turn(expiry_steps) == [True]
    assert office.tables()["quotas"] == []
    assert watch.turn(expiry_steps) == []


def test_servers_end_side_by_side(watch: Watch, hub: ApiHub) -> None:
    office = watch.office
    office.fit(gpus(4))
    held = [office.running(user, 1, 4, at_end=AtEnd.STOP) for user in ("ann", "bob", "eve")]
    office.wait(4 * HOUR)
    hub.says("DELETE /hub/api/users/bob", 503)
    hub.says("DELETE /hub/api/users/(ann|eve)", 204)
    assert carry_out_all(watch.look(expiry_steps)) == 2
    assert {office.lease(lease.id).state for lease in held} == {LeaseState.RELEASING}


# --- steps --------------------------------------------------------------------------------------------------------


def test_one_step_that_fails_keeps_no_other_from_being_done() -> None:
    done: list[str] = []

    def fail() -> bool:
        raise ValueError("the second")

    def note(name: str) -> Step:
        def carry_out() -> bool:
            done.append(name)
            return True

        return Step(name, carry_out, slow=name.startswith("slow"))

    steps = [note("first"), Step("second", fail), note("third"), note("slow"), Step("slow too", fail, slow=True)]
    with pytest.raises(ValueError, match="the second"):
        carry_out_all(steps)
    assert done == ["first", "third", "slow"]
    assert carry_out_all([note("first"), Step("no", lambda: False), note("slow")]) == 2
    assert carry_out_all([]) == 0
