"""What is free now and later: no count below nothing or above what there is, each what a look at single slots tells."""

from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.operations.availability import Busy, Step, availability, coarse, kinds_of
from spawner.operations.inventory import set_state
from spawner.policy.gpus import GpuState, Isolation, Slot, SlotKind
from spawner.policy.leases import Ticket
from spawner.policy.placement import free_again
from spawner.policy.pool import Pool

from ..policy.pools import NOW as POOL_NOW
from ..policy.pools import RULES, pools, queues
from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus, shared

AHEAD = timedelta(hours=12)


def _state(pool: Pool, slot: Slot, at: datetime) -> str:
    lease = pool.holder(slot.id)
    if lease is not None and free_again(lease, RULES, POOL_NOW) > at:
        return "leased"
    if not slot.usable:
        return "out"
    taken = (one for one in pool.reservations.values() if slot.id in one.slots and one.starts_at <= at < one.ends_at)
    return "reserved" if any(taken) else "free"


@settings(max_examples=150, deadline=None)
@given(pools(), queues(), st.data())
def test_counts_are_those_of_the_single_slots(pool: Pool, queue: list[Ticket], data: st.DataObject) -> None:
    for ticket in queue:
        pool.put_ticket(ticket)
    kinds = list(kinds_of(pool, RULES, POOL_NOW, POOL_NOW + AHEAD))
    assert sum(kind.total for kind in kinds) == len(pool.slots)
    for kind in kinds:
        members = [
            slot
            for slot in pool.slots.values()
            if (slot.model, slot.kind, slot.isolation, slot.memory)
            == (kind.model, kind.kind, kind.isolation, kind.memory)
        ]
        assert kind.now.at == POOL_NOW
        assert [step.at for step in kind.steps] == sorted({step.at for step in kind.steps})
        assert all(step.at < POOL_NOW + AHEAD for step in kind.steps)
        for step in kind.steps:
            counts = step.free, step.leased, step.reserved, step.out
            assert min(counts) >= 0
            assert sum(counts) == kind.total == len(members)
        # At every step, and between any two.
        times = [*(step.at for step in kind.steps)]
        times.append(POOL_NOW + data.draw(st.integers(0, int(AHEAD / MINUTE) - 1)) * MINUTE)
        for at in times:
            step = [step for step in kind.steps if step.at <= at][-1]
            states = [_state(pool, slot, at) for slot in members]
            told = {"free": step.free, "leased": step.leased, "reserved": step.reserved, "out": step.out}
            assert told == {state: states.count(state) for state in told}, at
        assert 0 <= kind.widest <= kind.total
        assert 0 <= kind.waiting <= len(queue)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), min_size=1, max_size=80), st.integers(1, 30))
def test_pictures_never_show_more_than_is_free(changes: list[tuple[int, int]], most: int) -> None:
    at, steps = NOW, []
    for minutes, free in changes:
        steps.append(Step(at, free, 9 - free, 0, 0))
        at += minutes * MINUTE
    thin = coarse(steps, at, most)
    assert len(thin) <= max(most, 1)
    assert thin[0].at == NOW
    ends = [*(step.at for step in thin[1:]), at]
    for step, end in zip(thin, ends, strict=True):
        following = [*(one.at for one in steps[1:]), at]
        during = [one.free for one, its_end in zip(steps, following, strict=True) if one.at < end and its_end > step.at]
        assert step.free == min(during) if len(steps) > most else step.free in during


def test_an_office_day(office: Office) -> None:
    office.fit(gpus(3, model="A100"), shared(2, model="T4", index=3))
    office.running("ann", hours=4, models=frozenset({"A100"}))
    office.running("bob", hours=1, models=frozenset({"T4"}))
    office.reserve("ml", NOW + 2 * HOUR, NOW + 6 * HOUR, "SIM-local-1", "SIM-local-2")
    set_state(office.desk, "gpu2", GpuState.DRAINING, "olga", "its fan")
    found = availability(office.desk, timedelta(days=3))
    assert (found.at, found.until) == (NOW, NOW + timedelta(days=3))
    whole, share = found.kinds
    turnover = office.desk.rules.turnover
    assert (whole.model, whole.kind, whole.isolation, whole.total) == (
        "A100",
        SlotKind.EXCLUSIVE,
        Isolation.HARDWARE,
        3,
    )
    assert whole.steps == (
        Step(NOW, 1, 1, 0, 1),
        Step(NOW + 2 * HOUR, 0, 1, 1, 1),
        Step(NOW + 4 * HOUR + turnover, 1, 0, 1, 1),
        Step(NOW + 6 * HOUR, 2, 0, 0, 1),
    )
    assert whole.reserved == (Busy("ml", NOW + 2 * HOUR, NOW + 6 * HOUR, 2),)
    assert (share.kind, share.total, share.widest) == (SlotKind.SHARED, 2, 1)
    assert share.steps == (Step(NOW, 1, 1, 0, 0), Step(NOW + HOUR + turnover, 2, 0, 0, 0))
    assert (whole.next_free, share.next_free) == (NOW, NOW)


def test_what_is_on_offer_is_not_free_and_who_waits_is_counted(office: Office) -> None:
    office.fit(gpus(1))
    first = office.running("ann", hours=1)
    office.queued("bob", hours=2)
    office.queued("eva", hours=2)
    [kind] = availability(office.desk, AHEAD).kinds
    assert (kind.now.free, kind.now.leased, kind.waiting) == (0, 1, 2)
    assert kind.next_free == NOW + HOUR + office.desk.rules.turnover
    office.stop(first)
    [kind] = availability(office.desk, AHEAD).kinds
    assert (kind.now.free, kind.now.leased, kind.waiting) == (0, 1, 1)


def test_without_gpus_there_are_no_kinds(office: Office) -> None:
    assert availability(office.desk, AHEAD).kinds == ()
