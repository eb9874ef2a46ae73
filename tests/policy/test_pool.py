from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.gpus import SlotKind
from spawner.policy.leases import GpuRequest, LeaseState, Ticket, TicketState
from spawner.policy.pool import FREE, Pool, SlotClass, class_of, wish_of
from spawner.policy.quota import ALL

from .pools import (
    GIB,
    HELD,
    MINUTES,
    at,
    gpus,
    inventories,
    lease,
    request,
    reservation,
    shared,
    slot,
    ticket,
    wishes,
)


def snapshot(pool: Pool) -> dict[str, Any]:
    """Tell all that a pool can be asked."""
    classes = sorted(slot_class for slot_class in pool.all_classes() if any(pool.members(slot_class).values()))
    return {
        "holders": {slot_id: pool.holder(slot_id) for slot_id in pool.slots},
        "free": {c: {node: set(ids) for node, ids in pool.free(c).items()} for c in classes},
        "members": {c: {node: set(ids) for node, ids in pool.members(c).items() if ids} for c in classes},
        "soonest": {(c, count): pool.soonest(c, count) for c in classes for count in (1, 2, 3)},
        "widest": {(c, usable): pool.widest(c, usable=usable) for c in classes for usable in (True, False)},
        "has_free": {(c, count): pool.has_free(c, count) for c in classes for count in (1, 2)},
        "on_gpu": {slot_id: pool.free_on_gpu(one) for slot_id, one in pool.slots.items()},
        "in_island": {slot_id: pool.free_in_island(one) for slot_id, one in pool.slots.items()},
        "of_user": {user: pool.leases_of(user) for user in ("ann", "bob", "eve")},
        "reserved": {(s, course): pool.reserved(s, course) for s in pool.slots for course in ("", "class", "lab")},
        "seats": {course: pool.seats(course, at(0)) for course in ("", "class", "lab")},
        "classes": pool.classes(request(), ALL),
        "leases": dict(pool.leases),
    }


def naive(pool: Pool) -> dict[str, Any]:
    """Tell the same, worked out from the slots, leases and reservations alone."""
    slots, leases = pool.slots, list(pool.leases.values())
    holder = {slot_id: one for one in leases for slot_id in one.slots}
    free = [one for one in slots.values() if one.usable and one.id not in holder]
    classes = sorted({class_of(one) for one in slots.values()})

    def by_node(c: SlotClass, some: Any) -> dict[str, set[str]]:
        nodes: dict[str, set[str]] = {}
        for one in some:
            if class_of(one) == c:
                nodes.setdefault(one.node, set()).add(one.id)
        return nodes

    def widest(c: SlotClass, *, usable: bool) -> int:
        found = Counter(
            node for node, _ in {(s.node, s.gpu) for s in slots.values() if class_of(s) == c and s.usable >= usable}
        )
        return max(found.values(), default=0)

    def soonest(c: SlotClass, count: int) -> list[Any]:
        found = []
        for node, ids in by_node(c, slots.values()).items():
            times = []
            for slot_id in ids:
                if slots[slot_id].usable:
                    held = holder.get(slot_id)
                    times.append(
                        FREE
                        if held is None
                        else min(held.changed_at, held.ends_at)
                        if held.state is LeaseState.RELEASING
                        else held.ends_at
                    )
            if len(times) >= count:
                found.append((sorted(times)[count - 1], node))
        return sorted(found)

    return {
        "holders": {slot_id: holder.get(slot_id) for slot_id in slots},
        "free": {c: by_node(c, free) for c in classes},
        "members": {c: by_node(c, slots.values()) for c in classes},
        "soonest": {(c, count): soonest(c, count) for c in classes for count in (1, 2, 3)},
        "widest": {(c, usable): widest(c, usable=usable) for c in classes for usable in (True, False)},
        "has_free": {
            (c, count): any(len(ids) >= count for ids in by_node(c, free).values()) for c in classes for count in (1, 2)
        },
        "on_gpu": {s.id: sum(other.gpu == s.gpu for other in free) for s in slots.values()},
        "in_island": {
            s.id: sum((o.node, o.island, class_of(o)) == (s.node, s.island, class_of(s)) for o in free)
            for s in slots.values()
        },
        "of_user": {
            user: sorted((one for one in leases if one.user == user), key=lambda one: one.id)
            for user in ("ann", "bob", "eve")
        },
        "reserved": {
            (slot_id, course): sorted(
                (r.starts_at, r.ends_at)
                for r in pool.reservations.values()
                if slot_id in r.slots and (not course or r.course != course)
            )
            for slot_id in slots
            for course in ("", "class", "lab")
        },
        "seats": {
            course: {
                slot_id
                for r in pool.reservations.values()
                if course and r.course == course and r.starts_at <= at(0) < r.ends_at
                for slot_id in r.slots
            }
            for course in ("", "class", "lab")
        },
        "classes": tuple(sorted(classes, key=lambda c: (c.memory, c.model, c.kind))),
        "leases": {one.id: one for one in leases},
    }


@given(st.data())
def test_after_any_changes_the_indexes_are_what_a_fresh_look_gives(data: st.DataObject) -> None:
    pool = Pool(data.draw(inventories()))
    ids = sorted(pool.slots)
    subsets = st.lists(st.sampled_from(ids), min_size=1, max_size=3, unique=True)
    for _ in range(data.draw(st.integers(1, 12))):
        name = data.draw(st.sampled_from(["l0", "l1", "l2", "r0", "r1"]))
        match data.draw(st.sampled_from(["put", "put", "put", "state", "drop", "slot", "reserve", "cancel"])):
            case "put":
                state = data.draw(st.sampled_from([*sorted(HELD), LeaseState.CLOSED]))
                user = data.draw(st.sampled_from(["ann", "bob", "eve"]))
                held = lease(name, data.draw(subsets), data.draw(MINUTES), user=user, state=state)
                before = snapshot(pool)
                try:
                    pool.put_lease(held)
                except ValueError:
                    assert snapshot(pool) == before, "a refused lease left its traces"
                else:
                    assert pool.leases.get(name) == (None if state is LeaseState.CLOSED else held)
            case "state" if name in pool.leases:
                changed = replace(pool.leases[name], state=data.draw(st.sampled_from(sorted(HELD))))
                pool.put_lease(changed)
            case "drop":
                pool.drop_lease(name)
            case "slot":
                old = pool.slots[data.draw(st.sampled_from(ids))]
                model = data.draw(st.sampled_from([old.model, "H100"]))
                pool.add_slot(replace(old, usable=data.draw(st.booleans()), model=model))
            case "reserve" | "cancel" as what:
                starts = data.draw(st.integers(-4, 20)) * 15
                seats = reservation(name, data.draw(subsets), starts, starts + data.draw(MINUTES), name)
                course = data.draw(st.sampled_from(["class", "lab"]))
                pool.put_reservation(replace(seats, cancelled=what == "cancel", course=course))
        assert snapshot(pool) == naive(pool)


def test_a_slot_is_held_once() -> None:
    pool = Pool(gpus(3))
    pool.put_lease(lease("one", ["n0-1"]))
    with pytest.raises(ValueError, match=r"n0-1 is held by lease one, and by other"):
        pool.put_lease(lease("other", ["n0-0", "n0-1"]))
    assert pool.holder("n0-0") is None
    assert list(pool.leases) == ["one"]


def test_a_slot_that_is_found_again_is_still_held() -> None:
    pool = Pool([], [lease("one", ["n0-0"])])
    pool.add_slot(slot(0))
    assert not pool.has_free(class_of(slot(0)), 1)
    pool.drop_lease("one")
    assert pool.has_free(class_of(slot(0)), 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), wishes(), st.sampled_from(TicketState)), max_size=12))
def test_the_lines_are_the_queue_by_what_is_wanted(changes: list[tuple[str, GpuRequest, TicketState]]) -> None:
    pool = Pool([])
    waiting: dict[str, Ticket] = {}
    for name, wish, state in changes:
        waiting.pop(name, None)
        pool.put_ticket(replace(ticket(name, wish), state=state))
        if state is TicketState.WAITING:
            waiting[name] = pool.queue[name]
        assert pool.queue == waiting
        assert {name: one for line in pool.lines.values() for name, one in line.items()} == waiting
        assert all(line for line in pool.lines.values())
        assert all({wish_of(one.request) for one in line.values()} == {wish} for wish, line in pool.lines.items())


def test_the_queue_holds_who_waits() -> None:
    pool = Pool([], queue=[ticket("a"), replace(ticket("b"), state=TicketState.OFFERED)])
    assert list(pool.queue) == ["a"]
    pool.put_ticket(replace(ticket("a"), state=TicketState.SERVED))
    assert not pool.queue


def test_classes_come_least_valuable_first_and_only_those_that_will_do() -> None:
    pool = Pool([*gpus(1, model="A100"), *gpus(1, node="n1"), *shared(0, 2, node="n2"), *shared(0, 2, node="n3")])
    small, whole, large = (
        SlotClass("T4", SlotKind.SHARED, 8 * GIB),
        SlotClass("T4", SlotKind.EXCLUSIVE, 16 * GIB),
        SlotClass("A100", SlotKind.EXCLUSIVE, 40 * GIB),
    )
    assert pool.classes(request(), ALL) == (small, whole, large)
    assert pool.classes(request(2), ALL) == (whole, large, small), "whole GPUs for whoever wants several"
    assert pool.classes(request(models=["T4"], memory=9 * GIB), ALL) == (whole,)
    assert pool.classes(request(kinds=[SlotKind.SHARED]), ALL) == (small,)
    assert pool.classes(request(), frozenset({"A100"})) == (large,)
    assert pool.classes(request(), frozenset()) == ()
