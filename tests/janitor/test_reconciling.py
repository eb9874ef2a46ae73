"""The ledger against a real engine: looked at, repaired, and let alone where nothing is known."""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import docker
import pytest

from spawner.engine.containers import LEASE_LABEL, SERVER_LABEL, SLOTS_LABEL, USER_LABEL
from spawner.engine.observe import observe
from spawner.engine.view import HUB_LABEL
from spawner.errors import EngineUnavailable
from spawner.janitor.loops import Loop, Runner
from spawner.janitor.reconciling import carry_out, describe, needed, plan
from spawner.janitor.tasks import expiry_steps, reconcile_steps
from spawner.operations import leases, repairs
from spawner.policy.leases import Lease, LeaseState
from spawner.policy.reconcile import Release, Remove

from ..support.api_hub import ApiHub
from ..support.flaky_engine import FlakyEngine, flaky_engine
from ..support.slots import gpus
from ..support.tiny_image import ensure_tiny_image, remove_traces
from ..support.waiting import eventually
from .conftest import Watch

pytestmark = pytest.mark.docker
Start = Callable[..., str]


@pytest.fixture
def flaky() -> Iterator[FlakyEngine]:
    with flaky_engine() as engine:
        yield engine


@pytest.fixture
def client(flaky: FlakyEngine) -> Iterator[docker.APIClient]:
    connected = docker.APIClient(base_url=flaky.url, version="auto", timeout=20)
    yield connected
    connected.close()


@pytest.fixture
def watch(watch: Watch, client: docker.APIClient) -> Iterator[Watch]:
    """A janitor with an engine, by the real time, with a hub that began a moment ago."""
    object.__setattr__(watch.office.desk, "clock", lambda: datetime.now(UTC))
    watch.office.clock.now = datetime.now(UTC)
    began = datetime.now(UTC) + timedelta(days=1)  # so that nothing is still starting or stopping
    watch.post = replace(watch.post, engine=client, hub_id=secrets.token_hex(4), hub_began=began)
    watch.office.fit(gpus(3))
    yield watch
    own = docker.APIClient(version="auto")
    remove_traces(own, watch.post.hub_id)
    own.close()


@pytest.fixture
def start(watch: Watch, client: docker.APIClient) -> Start:
    """Start a container as the hub does, for a lease or with labels of one's own."""
    image = ensure_tiny_image(client)

    def start(lease: Lease | None = None, **labels: str) -> str:
        values = {HUB_LABEL: watch.post.hub_id, USER_LABEL: "ann", SERVER_LABEL: "", **labels}
        if lease is not None:
            values |= {USER_LABEL: lease.user, LEASE_LABEL: lease.id, SLOTS_LABEL: ",".join(lease.slots)}
        made = client.create_container(image, ["sleep", "1000"], labels=values, stop_signal="SIGKILL")
        client.start(made["Id"])
        return str(made["Id"])

    return start


def planned(watch: Watch) -> list[str]:
    before, seen = watch.office.tables(), existing(watch)
    words = [describe(repair) for repair in needed(plan(watch.post))]
    assert watch.office.tables() == before
    assert existing(watch) == seen
    return words


def existing(watch: Watch) -> set[tuple[str, bool]]:
    return {(one.id, one.running) for one in observe(watch.post.engine, watch.post.hub_id)}


def repair(watch: Watch) -> list[tuple[str, bool, str]]:
    outcomes = carry_out(watch.post, plan(watch.post))
    return [(type(one.repair).__name__, one.done, one.problem) for one in outcomes]


def active(watch: Watch, start: Start, user: str = "ann") -> tuple[Lease, str]:
    lease = watch.office.granted(user, 1, 24)
    container = start(lease)
    leases.activate(watch.office.desk, lease.id, container, lease.granted_at)
    return watch.office.lease(lease.id), container


def test_all_is_well(watch: Watch, start: Start) -> None:
    lease, container = active(watch, start)
    assert planned(watch) == []
    [step] = reconcile_steps(watch.post)
    assert step.text == "note that all servers are as they should be"
    assert not step.carry_out()
    seen = watch.office.lease(lease.id)
    assert seen.seen_at is not None
    assert lease.seen_at is not None
    assert seen.seen_at > lease.seen_at
    assert existing(watch) == {(container, True)}


def test_a_container_that_died_is_removed_and_its_time_booked(
    watch: Watch, start: Start, client: docker.APIClient
) -> None:
    lease, container = active(watch, start)
    client.kill(container)
    eventually(lambda: existing(watch) == {(container, False)})
    finished = observe(client, watch.post.hub_id)[0].finished_at
    assert planned(watch) == [
        f"remove container {container[:12]} of ann: it has ended",
        f"release lease {lease.id} of ann: container_gone",
    ]
    assert repair(watch) == [("Remove", True, ""), ("Release", True, "")]
    assert existing(watch) == set()
    assert watch.office.lease(lease.id).state is LeaseState.CLOSED
    [row] = watch.office.booked()
    assert finished is not None
    assert abs(row.ended_at - finished) <= timedelta(milliseconds=1)
    assert planned(watch) == []


def _is_over(watch: Watch, lease: Lease) -> None:
    """As the hub notes it when it finds no container any more."""
    leases.release(watch.office.desk, lease.id, "stopped")
    leases.close(watch.office.desk, lease.id, None)


def _nobody(watch: Watch, lease: Lease) -> None:
    """As a janitor that does not live to close the lease."""


@pytest.mark.parametrize("then", [_is_over, _nobody])
@pytest.mark.parametrize("adopted", [False, True])
def test_its_end_is_known_to_whoever_closes_the_lease_once_the_container_is_gone(
    watch: Watch, start: Start, client: docker.APIClient, then: Callable[[Watch, Lease], None], adopted: bool
) -> None:
    lease, container = active(watch, start)
    if adopted:
        leases.close(watch.office.desk, lease.id, None)
        assert repair(watch) == [("Adopt", True, "")]
        found = leases.of_server(watch.office.desk, "ann", "")
        assert found is not None
        lease = found
    time.sleep(1)
    client.kill(container)
    eventually(lambda: existing(watch) == {(container, False)})
    finished = observe(client, watch.post.hub_id)[0].finished_at
    assert finished is not None
    repaired = plan(watch.post)
    assert [type(one) for one in repaired] == [Remove, Release]

    class Cut(Exception):
        pass

    def removed(*_: object) -> None:
        then(watch, lease)
        raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repairs, "note_removed", removed)
        with pytest.raises(Cut):
            carry_out(watch.post, repaired)
    assert existing(watch) == set()
    repair(watch)
    row = watch.office.booked()[-1]
    assert row.lease == lease.id
    assert abs(row.ended_at - finished) <= timedelta(milliseconds=1)


def test_no_slot_is_free_while_its_container_could_not_be_removed(
    watch: Watch, start: Start, client: docker.APIClient, flaky: FlakyEngine
) -> None:
    lease, container = active(watch, start)
    client.kill(container)
    eventually(lambda: existing(watch) == {(container, False)})
    flaky.answer("^DELETE /.*containers/", 500)
    (removed, gone, said), (released, done, why) = repair(watch)
    assert (removed, gone, released, done) == ("Remove", False, "Release", False)
    assert "The Docker Engine failed" in said
    assert why == "its container could not be removed"
    assert watch.office.lease(lease.id).state is LeaseState.ACTIVE
    flaky.heal()
    assert repair(watch) == [("Remove", True, ""), ("Release", True, "")]


def test_one_that_was_adopted_is_no_exception(
    watch: Watch, start: Start, client: docker.APIClient, flaky: FlakyEngine
) -> None:
    """Its label names the lease that it had before."""
    old, container = active(watch, start)
    leases.close(watch.office.desk, old.id, None)
    assert planned(watch) == [
        f"adopt container {container[:12]} of ann: it runs with {old.slots[0]} and without a lease"
    ]
    assert repair(watch) == [("Adopt", True, "")]
    assert planned(watch) == []
    adopted = leases.of_server(watch.office.desk, "ann", "")
    assert adopted is not None
    assert (adopted.slots, adopted.container) == (old.slots, container)
    client.kill(container)
    eventually(lambda: existing(watch) == {(container, False)})
    flaky.answer("^DELETE /.*containers/", 500)
    assert [(name, done) for name, done, _ in repair(watch)] == [("Remove", False), ("Release", False)]
    assert watch.office.lease(adopted.id).state is LeaseState.ACTIVE
    flaky.heal()
    assert [(name, done) for name, done, _ in repair(watch)] == [("Remove", True), ("Release", True)]
    assert watch.office.lease(adopted.id).state is LeaseState.CLOSED


def test_a_server_that_runs_is_made_active(watch: Watch, start: Start) -> None:
    lease = watch.office.granted("ann", 1, 24)
    container = start(lease)
    assert planned(watch) == [f"activate lease {lease.id} of ann"]
    assert repair(watch) == [("Activate", True, "")]
    found = watch.office.lease(lease.id)
    assert (found.state, found.container) == (LeaseState.ACTIVE, container)
    assert planned(watch) == []


def test_a_start_that_came_to_nothing(watch: Watch) -> None:
    lease = watch.office.granted("ann", 1, 24)
    ticket = watch.office.queued("bob", 3)
    assert planned(watch) == [f"release lease {lease.id} of ann: start_failed"]
    assert repair(watch) == [("Release", True, "")]
    assert watch.office.offer_to(ticket)


def test_two_containers_with_the_same_gpu(watch: Watch, start: Start) -> None:
    lease, _ = active(watch, start)
    stray = start(**{USER_LABEL: "eve", LEASE_LABEL: "gone", SLOTS_LABEL: lease.slots[0]})
    assert planned(watch) == [
        f"quarantine {lease.slots[0]}: two running containers say they have it (container {stray[:12]} of eve)"
    ]
    assert ("Quarantine", True, "") in repair(watch)
    assert planned(watch) == []
    assert repairs.quarantined_slots(watch.office.desk) == set(lease.slots)


def test_what_has_no_gpus_and_what_is_another_hubs_is_let_be(watch: Watch, start: Start) -> None:
    container = start()
    other = start(**{HUB_LABEL: f"{watch.post.hub_id}x", LEASE_LABEL: "gone", SLOTS_LABEL: "SIM-local-0"})
    try:
        assert planned(watch) == []
        assert repair(watch) == []
        assert existing(watch) == {(container, True)}
    finally:
        watch.post.engine.remove_container(other, force=True)


@pytest.mark.parametrize("fault", ["500", "gone"])
@pytest.mark.parametrize("request_", ["GET /.*containers/json", "GET /.*containers/[0-9a-f]{64}/json"])
def test_an_engine_that_does_not_tell_all_frees_nothing(
    watch: Watch, start: Start, flaky: FlakyEngine, fault: str, request_: str
) -> None:
    lease, container = active(watch, start)
    before = watch.office.tables()
    if fault == "500":
        flaky.answer(request_, 500)
    else:
        flaky.drop(request_)
    with pytest.raises(EngineUnavailable):
        plan(watch.post)
    assert watch.office.tables() == before
    runner = Runner(watch.post, Loop("reconcile", reconcile_steps, 30.0), "here")
    assert runner.turn()
    assert watch.office.lease(lease.id) == lease
    flaky.heal()
    assert runner.turn()
    with watch.office.ledger.reading() as books:
        [told] = books.loops.all()
    assert told.succeeded_at is not None
    assert told.failed_at is not None
    assert told.succeeded_at > told.failed_at
    assert existing(watch) == {(container, True)}


def test_what_changes_after_the_plan_is_let_alone(watch: Watch, start: Start, client: docker.APIClient) -> None:
    lease = watch.office.granted("ann", 1, 24)
    repaired = plan(watch.post)
    container = start(lease)
    leases.activate(watch.office.desk, lease.id, container, datetime.now(UTC))
    assert [(one.done, one.problem) for one in carry_out(watch.post, repaired)] == [(False, "")]
    assert watch.office.lease(lease.id).state is LeaseState.ACTIVE
    assert existing(watch) == {(container, True)}


def test_two_janitors_at_once(watch: Watch, start: Start, client: docker.APIClient) -> None:
    lease, container = active(watch, start)
    client.kill(container)
    eventually(lambda: existing(watch) == {(container, False)})
    first, second = plan(watch.post), plan(watch.post)
    assert [one.done for one in carry_out(watch.post, first)] == [True, True]
    outcomes: list[Any] = carry_out(watch.post, second)
    assert not any(one.problem for one in outcomes)
    assert not outcomes[-1].done
    assert len(watch.office.booked()) == 1
    assert watch.office.lease(lease.id).state is LeaseState.CLOSED


def test_the_end_of_a_lease_that_a_killed_janitor_began(watch: Watch, start: Start, hub: ApiHub) -> None:
    lease, container = active(watch, start)
    leases.release(watch.office.desk, lease.id, "expired")
    hub.says("^DELETE ", 204)
    hub.says("^POST ", 202)
    [step] = watch.look(expiry_steps)
    assert step.carry_out()
    assert hub.asked == [
        "POST /user/ann/berth/save",
        "DELETE /hub/api/users/ann/server",
        "POST /hub/api/users/ann/server",
    ]
    watch.post.engine.remove_container(container, force=True)
    # The server that the hub has now may be another one.
    assert watch.look(expiry_steps) == []
