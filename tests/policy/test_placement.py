from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.gpus import SlotKind
from spawner.policy.leases import GpuRequest, Lease, LeaseState
from spawner.policy.placement import Placement, Promises, earliest, place
from spawner.policy.pool import Pool, SlotClass, class_of
from spawner.policy.quota import ALL

from .pools import HOUR, NOW, RULES, at, gpus, lease, pools, request, reservation, shared, slot, wishes


@st.composite
def promised(draw: st.DrawFn, pool: Pool) -> Promises:
    promises = Promises()
    for _ in range(draw(st.integers(0, 2))):
        slots = draw(st.lists(st.sampled_from(sorted(pool.slots)), min_size=1, max_size=2, unique=True))
        start = draw(st.integers(-2, 10)) * 15
        promises.promise(slots, at(start), at(start + draw(st.integers(1, 10)) * 15))
    return promises


def taken(pool: Pool, slot_id: str, course: str, promises: Promises) -> list[tuple[datetime, datetime]]:
    """List the times at which a slot is not to be had; seats hold theirs until the end of a reservation."""
    reserved = [(start, finish + RULES.turnover) for start, finish in pool.reserved(slot_id, course)]
    return [*reserved, *promises.wanted.get(slot_id, [])]


def most_gpus(pool: Pool, ids: Iterable[str]) -> dict[tuple[SlotClass, str], int]:
    """Count different GPUs per class and node."""
    found: dict[tuple[SlotClass, str], set[str]] = defaultdict(set)
    for slot_id in ids:
        one = pool.slots[slot_id]
        found[class_of(one), one.node].add(one.gpu)
    return {key: len(gpus) for key, gpus in found.items()}


def free_until(pool: Pool, slot_id: str, wish: GpuRequest, length: timedelta, promises: Promises) -> datetime | None:
    """Find the latest end that a lease from now on could have, minute by minute."""
    if not pool.slots[slot_id].usable or pool.holder(slot_id) is not None:
        return None
    ends = [NOW + length] + [start - RULES.turnover for start, _ in pool.reserved(slot_id, wish.course)]
    possible = [
        end
        for end in ends
        if min(RULES.shortest, length) <= end - NOW <= length
        and all(
            finish <= NOW or end + RULES.turnover <= start
            for start, finish in taken(pool, slot_id, wish.course, promises)
        )
    ]
    return max(possible, default=None)


def longest(pool: Pool, until: dict[str, datetime], key: tuple[SlotClass, str]) -> list[datetime]:
    """List until when each GPU of a class and node has a free slot, the longest first."""
    by_gpu: dict[str, datetime] = {}
    for slot_id, end in until.items():
        one = pool.slots[slot_id]
        if (class_of(one), one.node) == key:
            by_gpu[one.gpu] = max(end, by_gpu.get(one.gpu, end))
    return sorted(by_gpu.values(), reverse=True)


@given(st.data())
def test_a_place_is_free_fits_and_is_the_best_there_is(data: st.DataObject) -> None:
    pool, wish = data.draw(pools()), data.draw(wishes())
    promises = data.draw(promised(pool))
    length = timedelta(hours=wish.hours or 1)
    classes = pool.classes(wish, ALL)
    found = place(pool, wish, classes, length, RULES, NOW, promises)
    until = {
        slot_id: end
        for slot_id, one in pool.slots.items()
        if class_of(one) in classes and (end := free_until(pool, slot_id, wish, length, promises)) is not None
    }
    enough = {key for key, count in most_gpus(pool, until).items() if count >= wish.count}
    whole = {slot_id for slot_id, end in until.items() if end == NOW + length}
    whole_enough = {key for key, count in most_gpus(pool, whole).items() if count >= wish.count}
    if found is None:
        assert not whole_enough
        # Cuts differ from slot to slot: a promise counts against the cut that its own reservation makes.
        assert not enough
        return
    chosen = [pool.slots[slot_id] for slot_id in found.slots]
    assert len({one.gpu for one in chosen}) == len(chosen) == wish.count
    assert len({(class_of(one), one.node) for one in chosen}) == 1
    assert class_of(chosen[0]) in classes
    assert all(one.usable and pool.holder(one.id) is None for one in chosen)
    assert found.start == NOW
    assert NOW + min(RULES.shortest, length) <= found.until <= NOW + length
    for one in chosen:
        for start, finish in taken(pool, one.id, wish.course, promises):
            assert finish <= NOW or found.until + RULES.turnover <= start
    if not whole_enough:
        best = max(longest(pool, until, key)[wish.count - 1] for key in enough)
        assert found.until == best, "what a reservation cuts short lasts as long as it can"
        return
    assert found.until == NOW + length, "nothing is cut short where it need not be"
    seats = pool.seats(wish.course, NOW)
    if any(count >= wish.count for count in most_gpus(pool, whole & seats).values()):
        assert set(found.slots) <= seats, "a course takes its own seats first"
        return
    assert class_of(chosen[0]) == min((key[0] for key in whole_enough), key=classes.index)
    nodes = {node for slot_class, node in whole_enough if slot_class == class_of(chosen[0])}
    if wish.count == 1:
        free = pool.free(class_of(chosen[0]))
        assert len(free[chosen[0].node]) == min(len(free[node]) for node in nodes), "the fullest node that will do"
        here = [pool.slots[s] for s in whole if class_of(pool.slots[s]) == class_of(chosen[0])]
        here = [one for one in here if one.node == chosen[0].node]
        assert pool.free_on_gpu(chosen[0]) == min(pool.free_on_gpu(one) for one in here), "the fullest GPU"
        return
    islands: dict[tuple[str, str], set[str]] = defaultdict(set)
    for slot_id in whole:
        if class_of(pool.slots[slot_id]) == class_of(chosen[0]):
            islands[pool.slots[slot_id].node, pool.slots[slot_id].island].add(pool.slots[slot_id].gpu)
    if any(len(island) >= wish.count for island in islands.values()):
        assert len({one.island for one in chosen}) == 1, "one island where there is one"


def free_again(held: Lease) -> datetime:
    """Tell when slots are free again: after the turnover, and that from now on if it should be over already."""
    end = held.changed_at if held.state is LeaseState.RELEASING else held.ends_at
    return end + RULES.turnover if end + RULES.turnover >= NOW else NOW + RULES.turnover


@given(st.data())
def test_the_earliest_place_is_the_first_that_a_search_finds(data: st.DataObject) -> None:
    pool, wish = data.draw(pools()), data.draw(wishes())
    promises = data.draw(promised(pool))
    length = timedelta(hours=wish.hours or 1)
    classes = pool.classes(wish, ALL)

    def is_free(slot_id: str, moment: datetime) -> bool:
        held = pool.holder(slot_id)
        if held is not None and moment < free_again(held):
            return False
        return pool.slots[slot_id].usable and all(
            finish <= moment or moment + length + RULES.turnover <= start
            for start, finish in taken(pool, slot_id, wish.course, promises)
        )

    edges = {NOW} | {free_again(one) for one in pool.leases.values()}
    edges |= {finish for slot_id in pool.slots for _, finish in taken(pool, slot_id, "", promises)}
    expected = next(
        (
            moment
            for moment in sorted(edge for edge in edges if edge >= NOW)
            if any(
                count >= wish.count and key[0] in classes
                for key, count in most_gpus(pool, [s for s in pool.slots if is_free(s, moment)]).items()
            )
        ),
        None,
    )
    found = earliest(pool, wish, classes, length, RULES, NOW, promises)
    assert (found and found.start) == expected
    if found is None:
        return
    assert found.until == found.start + length
    assert all(is_free(slot_id, found.start) for slot_id in found.slots)
    assert most_gpus(pool, found.slots) == {
        (class_of(pool.slots[found.slots[0]]), pool.slots[found.slots[0]].node): wish.count
    }
    # Whoever has asked before, for less, changes nothing.
    again = Promises({slot_id: list(times) for slot_id, times in promises.wanted.items()})
    for smaller in (request(1, hours=0.1), request(wish.count, hours=0.1)):
        earliest(pool, smaller, classes, timedelta(hours=0.1), RULES, NOW, again)
    assert earliest(pool, wish, classes, length, RULES, NOW, again) == found


def put(pool: Pool, wish: GpuRequest, hours: float = 1) -> Placement | None:
    return place(pool, wish, pool.classes(wish, ALL), timedelta(hours=hours), RULES, NOW)


def slots_of(found: Placement | None) -> set[str]:
    assert found is not None
    return set(found.slots)


def test_large_models_stay_for_those_who_ask_for_them() -> None:
    pool = Pool([*gpus(2, model="H100"), *gpus(2, node="n1", model="T4")])
    assert slots_of(put(pool, request())) <= {"n1-0", "n1-1"}
    assert slots_of(put(pool, request(models=["H100"]))) <= {"n0-0", "n0-1"}


def test_several_get_the_smallest_island_that_holds_them() -> None:
    # A pair is left in the first island, all four are free in the second.
    pool = Pool(gpus(8, islands=2), [lease("l", ["n0-0", "n0-1"])])
    assert slots_of(put(pool, request(2))) == {"n0-2", "n0-3"}
    assert slots_of(put(pool, request(4))) == {"n0-4", "n0-5", "n0-6", "n0-7"}
    # Over both, if it must be: most of them from the larger one.
    assert slots_of(put(pool, request(5))) >= {"n0-4", "n0-5", "n0-6", "n0-7"}


def test_one_island_is_worth_an_emptier_node() -> None:
    # n0 is fuller, with a GPU left in each island.
    pool = Pool([*gpus(4, islands=2), *gpus(4, node="n1", islands=2)], [lease("l", ["n0-0", "n0-2"])])
    assert slots_of(put(pool, request(2))) <= {"n1-0", "n1-1"}


def test_single_ones_pack_and_leave_whole_islands() -> None:
    pool = Pool([*gpus(8, islands=2), *gpus(8, node="n1", islands=2)], [lease("l", ["n0-5"])])
    taken_slots = []
    for number in range(7):
        (chosen,) = slots_of(put(pool, request()))
        taken_slots.append(chosen)
        pool.put_lease(lease(str(number), [chosen]))
    assert taken_slots == ["n0-4", "n0-6", "n0-7", "n0-0", "n0-1", "n0-2", "n0-3"]


def test_shares_pack_on_the_fullest_gpu_and_several_spread() -> None:
    pool = Pool([*shared(0, 4), *shared(1, 4), *shared(2, 4)], [lease("l", ["n0-1:0"]), lease("m", ["n0-2:3"])])
    assert slots_of(put(pool, request())) == {"n0-1:1"}
    found = slots_of(put(pool, request(2)))
    assert "n0-0:0" in found, "the emptiest GPU for whoever wants several"
    assert len({pool.slots[slot_id].gpu for slot_id in found}) == 2
    assert put(pool, request(4)) is None, "never two shares of one GPU"


def test_whole_gpus_for_several_even_where_shares_are_smaller() -> None:
    pool = Pool([*shared(0), *shared(1), *gpus(2, node="n1")])
    assert slots_of(put(pool, request(2))) == {"n1-0", "n1-1"}
    assert slots_of(put(pool, request(1))) == {"n0-0:0"}


def test_a_course_finds_its_seat_on_whatever_node_it_is() -> None:
    pool = Pool([*gpus(1), *gpus(4, node="n1", model="A100")])
    pool.put_reservation(reservation("r", ["n1-2"], -10, 60))
    assert slots_of(put(pool, request(course="class"))) == {"n1-2"}
    assert slots_of(put(pool, request(course="lab"))) == {"n0-0"}
    assert slots_of(put(pool, request(models=["A100"]))) == {"n1-0"}


def test_a_reservation_shortens_but_not_below_the_shortest() -> None:
    pool = Pool(gpus(1))
    pool.put_reservation(reservation("r", ["n0-0"], 30, 60))
    assert put(pool, request()) == Placement(("n0-0",), NOW, at(28))
    assert put(pool, request(), hours=0.25) == Placement(("n0-0",), NOW, at(15))
    pool.put_reservation(reservation("r", ["n0-0"], 11, 60))
    assert put(pool, request()) is None
    assert put(pool, request(), hours=0.1) == Placement(("n0-0",), NOW, at(6)), "less was asked for"


def test_a_promise_behind_a_reservation_is_no_hindrance_before_it() -> None:
    pool = Pool(gpus(1))
    pool.put_reservation(reservation("r", ["n0-0"], 60, 120))
    promises = Promises()
    promises.promise(["n0-0"], at(120), at(300))
    wish = request()
    found = place(pool, wish, pool.classes(wish, ALL), 4 * HOUR, RULES, NOW, promises)
    assert found == Placement(("n0-0",), NOW, at(58))


def test_two_that_end_at_different_times_are_waited_for() -> None:
    # A search that forgets what has ended meanwhile never ends.
    pool = Pool(gpus(2), [lease("a", ["n0-0"], 10), lease("b", ["n0-1"], 20)])
    wish = request(2)
    found = earliest(pool, wish, pool.classes(wish, ALL), HOUR, RULES, NOW, Promises())
    assert found is not None
    assert found.start == at(20) + RULES.turnover


def test_kinds_do_not_mix() -> None:
    pool = Pool([slot(0), slot(1, kind=SlotKind.MIG, share=0)])
    assert put(pool, request(2)) is None
