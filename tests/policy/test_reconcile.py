"""Reconciliation: on a model to which the repairs are applied, until there is nothing left to repair."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.leases import Lease, LeaseState
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

from .pools import HELD, MINUTE, NOW, at, lease

GRACE = Grace(start=5 * MINUTE, stop=MINUTE)
LOOK = at(-0.01)


def container(
    name: str,
    slots: Iterable[str] = (),
    lease_id: str = "",
    *,
    running: bool = True,
    created: float | None = -60,
    finished: float | None = None,
) -> ObservedContainer:
    return ObservedContainer(
        name,
        name,
        "ann",
        "",
        lease_id,
        tuple(slots),
        running,
        created_at=None if created is None else at(created),
        started_at=None if created is None else at(created),
        finished_at=None if finished is None else at(finished),
        exit_code=None if running else 0,
    )


def plan(
    leases: Iterable[Lease],
    observed: Iterable[ObservedContainer],
    grace: Grace = GRACE,
    now: datetime = NOW,
    quarantined: frozenset[str] = frozenset(),
) -> list[Repair]:
    return reconcile(leases, observed, grace, LOOK, now, quarantined)


@dataclass
class World:
    """The ledger's open leases and the engine's containers."""

    leases: dict[str, Lease]
    containers: dict[str, ObservedContainer]
    quarantined: set[str] = field(default_factory=set)
    closed: dict[str, datetime | None] = field(default_factory=dict)

    def look(self, grace: Grace, now: datetime) -> list[Repair]:
        return reconcile(self.leases.values(), self.containers.values(), grace, now, now, frozenset(self.quarantined))

    def apply(self, repair: Repair, now: datetime) -> None:
        match repair:
            case Remove(gone):
                del self.containers[gone.id]
            case Release(held, ended_at):
                assert not any(one.lease == held.id and one.running for one in self.containers.values()), (
                    "closed while its container runs"
                )
                self.closed[self.leases.pop(held.id).id] = ended_at
            case Withdraw(held):
                assert held.state is LeaseState.OFFERED
                self.closed[self.leases.pop(held.id).id] = None
            case Activate(held, its, _):
                assert held.state is LeaseState.PENDING
                self.leases[held.id] = replace(
                    held, state=LeaseState.ACTIVE, container=its.id, started_at=its.started_at, changed_at=now
                )
            case Adopt(its):
                taken = {slot for held in self.leases.values() for slot in held.slots}
                assert taken.isdisjoint(its.slots), "a slot with two leases"
                self.leases[f"adopted {its.id}"] = replace(
                    lease(f"adopted {its.id}", its.slots), container=its.id, changed_at=now
                )
            case Quarantine(slots):
                assert self.quarantined.isdisjoint(slots)
                self.quarantined |= set(slots)
            case Seen(held, its, seen_at):
                self.leases[held.id] = replace(held, seen_at=seen_at, container=its.id)


def settle(world: World, grace: Grace, now: datetime) -> list[Repair]:
    """Repair, and check that a second look, a moment later, finds nothing to repair."""
    first = world.look(grace, now)
    for repair in first:
        world.apply(repair, now)
    later = now + timedelta(milliseconds=1)
    second = [repair for repair in world.look(grace, later) if not isinstance(repair, Seen)]
    assert second == []
    return first


# --- every repair ---------------------------------------------------------------------------------------------


def test_an_active_lease_with_its_container_is_well() -> None:
    held, its = lease("l", ["a"]), container("c", ["a"], "l")
    assert plan([held], [its]) == [Seen(held, its, LOOK)]
    old = container("old", ["a"], "l", running=False)
    assert plan([held], [old, its]) == [Seen(held, its, LOOK)], "a former container is of no interest yet"


def test_a_container_that_has_ended_gives_its_time_back() -> None:
    held = replace(lease("l", ["a"]), seen_at=at(-1))
    dead = container("c", ["a"], "l", running=False, finished=-20)
    assert plan([held], [dead]) == [Remove(dead, "it has ended"), Release(held, at(-20), "container_gone")]


def test_of_a_container_that_is_gone_nobody_knows_more_than_when_it_was_seen() -> None:
    held = lease("l", ["a"])
    assert plan([replace(held, seen_at=at(-1))], []) == [
        Release(replace(held, seen_at=at(-1)), at(-1), "container_gone")
    ]
    assert plan([held], []) == [Release(held, held.started_at, "container_gone")]


def test_an_end_before_the_start_books_nothing() -> None:
    held = lease("l", ["a"], started=-10)
    dead = container("c", ["a"], "l", running=False, finished=-30)
    assert Release(held, at(-10), "container_gone") in plan([held], [dead])


@pytest.mark.parametrize("running", [True, False])
def test_a_start_that_is_under_way_is_let_alone(*, running: bool) -> None:
    held = lease("l", ["a"], state=LeaseState.PENDING, started=-4)
    assert plan([held], [container("c", ["a"], "l", running=running, created=-3)]) == []
    assert plan([held], []) == []


def test_a_start_that_was_cut_off_is_completed_or_ended() -> None:
    held = lease("l", ["a"], state=LeaseState.PENDING, started=-6)
    its = container("c", ["a"], "l", created=-5)
    assert plan([held], [its]) == [Activate(held, its, LOOK)]
    assert plan([held], []) == [Release(held, None, "start_failed")]
    dead = container("c", ["a"], "l", created=-5, running=False)
    assert plan([held], [dead]) == [Remove(dead, "its start came to nothing"), Release(held, None, "start_failed")]


def test_a_start_by_a_former_hub_is_nobodys() -> None:
    held = lease("l", ["a"], state=LeaseState.PENDING, started=-2)
    assert plan([held], [], replace(GRACE, hub_began=at(-3))) == []
    assert plan([held], [], replace(GRACE, hub_began=at(-1))) == [Release(held, None, "start_failed")]
    stray = container("c", ["a"], "over", running=False, created=-2)
    assert plan([], [stray], replace(GRACE, hub_began=at(-1))) == [Remove(stray, "it has GPUs of a lease that is over")]


def test_a_stop_gets_its_time_and_is_then_finished() -> None:
    held = replace(lease("l", ["a"], state=LeaseState.RELEASING), changed_at=at(-0.5), ending="expired", seen_at=at(-3))
    its = container("c", ["a"], "l")
    assert plan([held], [its]) == []
    late = at(0.6)
    assert plan([held], [its], now=late) == [Remove(its, "its lease is over"), Release(held, late, "expired")]
    dead = container("c", ["a"], "l", running=False, finished=-0.4)
    assert plan([held], [dead], now=late) == [Remove(dead, "its lease is over"), Release(held, at(-0.4), "expired")]
    assert plan([held], [], now=late) == [Release(held, at(-3), "expired")]
    never = replace(held, started_at=None, ending="")
    assert plan([never], [], now=late) == [Release(never, None, "stopped")]


@pytest.mark.parametrize("left", ["running", "dead", "removed"])
def test_a_stop_that_is_under_way_is_let_alone(left: str) -> None:
    """Whoever stops it reads the engine's finish time, and is about to book it."""
    held = replace(lease("l", ["a"], state=LeaseState.RELEASING), changed_at=at(-0.5), ending="stopped")
    its = container("c", ["a"], "l", running=left == "running", finished=None if left == "running" else -0.4)
    assert plan([held], [its] if left != "removed" else []) == []


def test_a_stop_by_a_former_hub_is_nobodys() -> None:
    held = replace(lease("l", ["a"], state=LeaseState.RELEASING), changed_at=at(-0.5), ending="stopped")
    its = container("c", ["a"], "l")
    grace = replace(GRACE, hub_began=at(-0.2))
    assert plan([held], [its], grace) == [Remove(its, "its lease is over"), Release(held, NOW, "stopped")]


def test_an_offer_lapses() -> None:
    held = replace(lease("l", ["a"], state=LeaseState.OFFERED), offered_until=at(1))
    assert plan([held], []) == []
    assert plan([held], [], now=at(1)) == [Withdraw(held)]


def test_a_container_without_a_lease_is_adopted_if_it_works_and_removed_if_not() -> None:
    runs, dead = container("c", ["a"], "over"), container("d", ["b"], "over", running=False)
    assert plan([], [runs, dead]) == [Remove(dead, "it has GPUs of a lease that is over"), Adopt(runs)]
    new = container("d", ["b"], "new", running=False, created=-1)
    assert plan([], [new]) == [], "a hub may be about to start it"
    assert plan([], [container("d", ["b"], "x", running=False, created=None)]) != []
    adopted = replace(lease("fresh", ["a"]), container="c")
    assert plan([adopted], [runs]) == [Seen(adopted, runs, LOOK)], "known by its id, whatever its label says"


def test_a_slot_that_two_claim_is_in_doubt() -> None:
    held, its = lease("l", ["a"]), container("c", ["a"], "l")
    stray = container("d", ["a", "b"], "over")
    doubt = Quarantine(("a", "b"), stray, "two running containers say they have it")
    # b as well: nobody holds it, but the stray uses it.
    assert plan([held], [its, stray]) == [Seen(held, its, LOOK), doubt]
    assert plan([held], [its, stray], quarantined=frozenset({"a"})) == [
        Seen(held, its, LOOK),
        replace(doubt, slots=("b",)),
    ]
    assert plan([held], [its, stray], quarantined=frozenset({"a", "b"})) == [Seen(held, its, LOOK)]


def test_of_two_strays_with_one_slot_the_first_keeps_it() -> None:
    one, other = container("c", ["a"], "x"), container("d", ["a"], "y")
    assert plan([], [other, one]) == [Adopt(one), Quarantine(("a",), other, "two running containers say they have it")]


def test_a_slot_that_becomes_free_now_is_not_in_doubt() -> None:
    held, stray = lease("l", ["a"]), container("d", ["a"], "over")
    assert plan([held], [stray]) == [Release(held, held.started_at, "container_gone"), Adopt(stray)]


def test_containers_without_gpus_do_not_matter() -> None:
    assert plan([], [container("c"), container("d", running=False)]) == []


# --- what moves meanwhile -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(HELD))
def test_what_changed_since_the_look_began_is_let_alone(state: LeaseState) -> None:
    held = replace(lease("l", ["a"], state=state), changed_at=LOOK)
    assert plan([held], []) == []
    assert plan([held], [container("c", ["a"], "l", running=False)]) == []


def test_a_lease_that_was_closed_since_the_look_leaves_no_stray() -> None:
    its = container("c", ["a"], "l")
    over = replace(lease("l", ["a"], state=LeaseState.CLOSED), changed_at=LOOK)
    assert plan([over], [its]) == []
    assert plan([replace(over, changed_at=at(-1))], [its]) == [Adopt(its)], "this one was closed before"


def test_a_slot_that_was_given_away_since_the_look_is_not_in_doubt() -> None:
    # Its former container was still there when the engine was looked at.
    new = replace(lease("new", ["a"], state=LeaseState.PENDING), changed_at=at(0))
    assert plan([new], [container("c", ["a"], "old")]) == []


# --- any world ------------------------------------------------------------------------------------------------


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw leases and containers that agree, or do not."""
    slots = ["a", "b", "c", "d"]
    world = World({}, {})
    free = list(slots)
    for number in range(draw(st.integers(0, 4))):
        if not free:
            break
        own = [free.pop(0) for _ in range(min(len(free), draw(st.integers(1, 2))))]
        state = draw(st.sampled_from(sorted(HELD)))
        held = replace(
            lease(f"l{number}", own, draw(st.integers(-5, 60)), state=state, started=-draw(st.integers(1, 20))),
            offered_until=at(draw(st.integers(-3, 3))) if state is LeaseState.OFFERED else None,
            seen_at=draw(st.none() | st.integers(-20, -1).map(at)),
            ending=draw(st.sampled_from(["", "expired"])),
        )
        world.leases[held.id] = held
    labels = [held.id for held in world.leases.values() if held.state is not LeaseState.OFFERED]
    for number in range(draw(st.integers(0, 5))):
        label = draw(st.sampled_from([*labels, *labels, "over", "older"]))
        claimed = world.leases[label].slots if label in world.leases else None
        running = draw(st.booleans())
        created = -draw(st.integers(1, 20))
        world.containers[f"c{number}"] = container(
            f"c{number}",
            claimed or draw(st.lists(st.sampled_from(slots), min_size=1, max_size=2, unique=True)),
            label,
            running=running,
            created=draw(st.sampled_from([created, created, None])),
            finished=None if running else draw(st.none() | st.integers(created, 0)),
        )
    world.quarantined = draw(st.sets(st.sampled_from(slots), max_size=2))
    return world


GRACES = st.builds(
    Grace,
    start=st.sampled_from([5 * MINUTE, 15 * MINUTE]),
    stop=st.sampled_from([MINUTE, 10 * MINUTE]),
    hub_began=st.none() | st.integers(-20, 0).map(at),
)


@given(worlds(), GRACES)
def test_a_second_look_finds_nothing_to_repair(world: World, grace: Grace) -> None:
    before = dict(world.leases)
    running = {one.id: one for one in world.containers.values() if one.running}
    repairs = settle(world, grace, NOW)
    kinds = [isinstance(repair, Remove) for repair in repairs]
    assert kinds == sorted(kinds, reverse=True), "containers go before their leases"
    # Nobody's running work is ended but by its lease's own end.
    for repair in repairs:
        if isinstance(repair, Remove) and repair.container.running:
            assert before[repair.container.lease].state is LeaseState.RELEASING
    for lease_id, ended_at in world.closed.items():
        held = before[lease_id]
        assert (ended_at is None) == (held.started_at is None)
        assert ended_at is None or (held.started_at or NOW) <= ended_at <= NOW
    # Every slot that a running container has is held by its lease, or in doubt.
    taken = {slot for held in world.leases.values() for slot in held.slots}
    for one in running.values():
        if one.id in world.containers:
            assert set(one.slots) <= taken | world.quarantined


@given(worlds(), GRACES, st.integers(0, 4))
def test_what_one_janitor_has_repaired_the_other_finds_well(world: World, grace: Grace, done: int) -> None:
    for repair in world.look(grace, NOW)[:done]:
        world.apply(repair, NOW)
    settle(world, grace, at(0.001))
