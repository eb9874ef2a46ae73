from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.gpus import Slot
from spawner.policy.leases import Allot, LeaseState, Spent
from spawner.policy.leasing import decide
from spawner.policy.model import Deny
from spawner.policy.placement import place
from spawner.policy.pool import Pool, class_of
from spawner.policy.quota import ALL
from spawner.policy.reservations import Reserved, replan, reserve, shrink

from .pools import (
    NOW,
    RULES,
    at,
    generous,
    gpus,
    lease,
    pools,
    quota,
    refused,
    request,
    reservation,
    shared,
    slot,
    wishes,
)


def ask(pool: Pool, seats: int = 1, starts: float = 60, ends: float = 120, *, count: int = 1) -> Reserved | Deny:
    return reserve(pool, request(count, course="class"), seats, at(starts), at(ends), RULES, NOW)


@given(st.data())
def test_the_seats_are_free_at_the_start(data: st.DataObject) -> None:
    pool, wish = data.draw(pools()), data.draw(wishes())
    seats, starts = data.draw(st.integers(1, 4)), data.draw(st.integers(-1, 12)) * 15
    ends = starts + data.draw(st.integers(1, 12)) * 15
    answer = reserve(pool, wish, seats, at(starts), at(ends), RULES, NOW)
    classes = pool.classes(wish, ALL)

    def in_time(one: Slot) -> bool:
        held, begins = pool.holder(one.id), at(starts) - RULES.turnover
        if held is None or held.state in {LeaseState.RELEASING, LeaseState.OFFERED} or held.course == wish.course != "":
            return True
        return held.ends_at <= begins or begins >= NOW + RULES.notice

    def could_be_reserved(one: Slot) -> bool:
        return (
            one.usable
            and class_of(one) in classes
            and in_time(one)
            and all(
                at(ends) + RULES.turnover <= begin or finish + RULES.turnover <= at(starts)
                for begin, finish in pool.reserved(one.id, "")
            )
        )

    if isinstance(answer, Deny):
        refused(answer, answer.code)
        if wish.count == 1 and answer.code == "no_capacity":
            assert sum(could_be_reserved(one) for one in pool.slots.values()) < seats
        return
    assert len(set(answer.slots)) == len(answer.slots) == seats * wish.count
    assert all(could_be_reserved(pool.slots[slot_id]) for slot_id in answer.slots)
    for start in range(0, len(answer.slots), wish.count):
        seat = [pool.slots[slot_id] for slot_id in answer.slots[start : start + wish.count]]
        assert len({(class_of(one), one.node) for one in seat}) == 1
        assert len({one.gpu for one in seat}) == wish.count
    # Told to go are exactly those who would be in the way, and no earlier than they must.
    room = max(at(starts) - RULES.turnover, NOW)
    in_the_way = {
        held.id
        for slot_id in answer.slots
        if (held := pool.holder(slot_id)) is not None
        and held.state is not LeaseState.RELEASING
        and held.ends_at > room
        and (not wish.course or held.course != wish.course)
    }
    assert {held.id for held, _ in answer.shorten} == in_the_way
    assert len(answer.shorten) == len(in_the_way)
    assert all(end == room < held.ends_at for held, end in answer.shorten)
    # From then on nobody else gets in the way.
    for held, end in answer.shorten:
        pool.put_lease(replace(held, ends_at=end))
    pool.put_reservation(reservation("new", answer.slots, starts, ends, "new course"))
    for hours in (0.2, 1, 5):
        placed = place(pool, request(), classes, timedelta(hours=hours), RULES, NOW)
        if placed and set(placed.slots) & set(answer.slots):
            assert placed.until + RULES.turnover <= at(starts) or at(ends) <= NOW


def test_who_disturbs_nobody_goes_first_wherever_it_is() -> None:
    busy = [lease("long", ["n0-0"], 300), lease("short", ["n0-1"], 30), lease("longer", ["n1-0"], 400)]
    pool = Pool([*gpus(2), *gpus(2, node="n1", model="A100")], busy)
    # The T4 that is free in time, the A100 that is free, then whose lease loses least.
    assert ask(pool, 1) == Reserved(("n0-1",))
    assert ask(pool, 2) == Reserved(("n0-1", "n1-1"))
    assert ask(pool, 3) == Reserved(("n0-1", "n1-1", "n0-0"), ((busy[0], at(58)),))
    text = refused(ask(pool, 5), "no_capacity")
    assert text == (
        "5 seats asked for, and there are 4 at that time. Choose another time, fewer seats, or another kind of GPU."
    )
    assert refused(ask(Pool([]), 1), "no_capacity").startswith("1 seat asked for, and there are none at that time.")


def test_seats_of_several_gpus_disturb_least_too() -> None:
    pool = Pool(gpus(4), [lease("a", ["n0-0"], 300), lease("b", ["n0-2"], 300)])
    assert ask(pool, 1, count=2) == Reserved(("n0-1", "n0-3"))


def test_seats_of_several_shares_leave_none_over() -> None:
    pool = Pool([*shared(0, 2), *shared(1, 1), *shared(2, 1)])
    pool = Pool([replace(one, memory=1) for one in pool.slots.values()])
    answer = ask(pool, 2, count=2)
    assert isinstance(answer, Reserved)
    assert len(set(answer.slots)) == 4


def test_what_is_being_released_and_the_courses_own_disturb_nobody() -> None:
    pool = Pool(
        gpus(2),
        [lease("going", ["n0-0"], 300, state=LeaseState.RELEASING), lease("own", ["n0-1"], 300, course="class")],
    )
    assert ask(pool, 2) == Reserved(("n0-0", "n0-1"))


def test_reservations_keep_a_turnover_apart() -> None:
    pool = Pool(gpus(1))
    pool.put_reservation(reservation("r", ["n0-0"], 120, 180, "other"))
    assert isinstance(ask(pool, 1, 60, 118), Reserved)
    refused(ask(pool, 1, 60, 119), "no_capacity")
    assert isinstance(ask(pool, 1, 182, 200), Reserved)
    refused(ask(pool, 1, 181, 200), "no_capacity")


def test_nonsense_is_refused() -> None:
    pool = Pool(gpus(1))
    assert refused(ask(pool, 1, 60, 60), "invalid_option") == "A reservation ends after it starts, and not in the past."
    refused(ask(pool, 1, -60, 0), "invalid_option")
    text = refused(ask(pool, 0), "invalid_option")
    assert text == "A reservation has one seat or more, each with one GPU or more."
    refused(ask(pool, 1, count=0), "invalid_option")


def test_one_that_has_begun_takes_what_is_free() -> None:
    pool = Pool(gpus(2), [lease("l", ["n0-0"], 30)])
    assert ask(pool, 1, -60, 60) == Reserved(("n0-1",))


def test_nobody_is_cut_off_at_once() -> None:
    pool = Pool(gpus(1), [lease("l", ["n0-0"], 60)])
    assert "none at that time" in refused(ask(pool, 1, 5, 60), "no_capacity")
    soonest = (RULES.notice + RULES.turnover) / timedelta(minutes=1)
    assert ask(pool, 1, soonest, 60) == Reserved(("n0-0",), ((pool.leases["l"], at(10)),))
    # What is only on offer is nobody's work yet, and what ends by itself in time is in nobody's way.
    on_offer = Pool(gpus(1), [replace(lease("l", ["n0-0"], 60), state=LeaseState.OFFERED)])
    assert isinstance(ask(on_offer, 1, 5, 60), Reserved)
    assert ask(Pool(gpus(1), [lease("l", ["n0-0"], 3)]), 1, 5, 60) == Reserved(("n0-0",))


def test_what_is_preferred_is_taken_where_it_disturbs_nobody() -> None:
    pool = Pool(gpus(3), [lease("l", ["n0-2"], 90)])

    def preferring(*slots: str) -> Reserved | Deny:
        return reserve(pool, request(course="class"), 1, at(60), at(120), RULES, NOW, slots)

    assert preferring("n0-1") == Reserved(("n0-1",))
    assert preferring("n0-2") == Reserved(("n0-0",))


# --- other slots for lost ones --------------------------------------------------------------------------------


def test_lost_slots_are_replaced_all_at_once() -> None:
    pool = Pool([*gpus(5), *gpus(1, node="n1", model="A100")], [lease("l", ["n0-2"], 300)])
    booked = reservation("r", ["n0-0", "n0-1"], 60, 120)
    pool.put_reservation(booked)
    assert replan(pool, booked, RULES, NOW) is None
    for lost in (0, 1):
        pool.add_slot(slot(lost, usable=False))
    found = replan(pool, booked, RULES, NOW)
    assert found == replace(booked, slots=("n0-3", "n0-4")), "not one in use, nor another model"
    pool.put_reservation(found)
    assert replan(pool, found, RULES, NOW) is None


def test_what_cannot_be_replaced_stays() -> None:
    pool = Pool(gpus(3), [lease("l", ["n0-2"], 300)])
    booked = reservation("r", ["n0-0", "gone", "n0-1"], 60, 120)
    pool.put_reservation(booked)
    pool.add_slot(slot(0, usable=False))
    assert replan(pool, booked, RULES, NOW) is None
    pool.drop_lease("l")
    assert replan(pool, booked, RULES, NOW) == replace(booked, slots=("n0-2", "gone", "n0-1"))
    assert replan(pool, booked, RULES, at(120)) is None, "it is over"


def test_students_find_their_seats_and_others_do_not() -> None:
    pool = Pool(gpus(2))
    pool.put_reservation(reservation("r", ["n0-0", "n0-1"], 0, 60))
    for course, granted in (("", False), ("lab", False), ("class", True)):
        answer = decide(pool, request(course=course), quota(), Spent(), RULES, NOW, generous(pool))
        assert isinstance(answer, Allot) == granted


@given(st.data())
def test_what_is_left_of_a_reservation_is_what_those_who_stay_have(data: st.DataObject) -> None:
    pool, wish = data.draw(pools()), data.draw(wishes())
    seats = data.draw(st.integers(1, 4))
    answer = reserve(pool, wish, seats, at(60), at(120), RULES, NOW)
    if isinstance(answer, Deny):
        return
    whole = [answer.slots[start : start + wish.count] for start in range(0, len(answer.slots), wish.count)]
    stay = data.draw(st.lists(st.sampled_from(whole), unique=True))
    left = data.draw(st.integers(len(stay), seats))
    was = reservation("r", answer.slots, 60, 120)
    held = {slot_id for seat in stay for slot_id in seat}
    found = shrink(pool, was, left, wish.count, held)
    assert replace(found, slots=was.slots) == was
    assert len(set(found.slots)) == len(found.slots) == left * wish.count
    assert held <= set(found.slots) <= set(was.slots)
    for start in range(len(held), len(found.slots), wish.count):
        seat = [pool.slots[slot_id] for slot_id in found.slots[start : start + wish.count]]
        assert len({(class_of(one), one.node) for one in seat}) == 1
        assert len({one.gpu for one in seat}) == wish.count


def test_what_is_free_stays_before_what_others_hold_and_broken_ones_leave_first() -> None:
    slots = gpus(5)
    slots[0] = replace(slots[0], usable=False)
    pool = Pool(slots, [lease("l", [slots[1].id], course="class"), lease("k", [slots[4].id], course="class")])
    was = reservation("r", [one.id for one in slots], -10, 60)
    for seats, left in [(1, [4]), (2, [4, 2]), (3, [4, 2, 3]), (4, [4, 2, 3, 1]), (5, [4, 2, 3, 1, 0]), (0, [])]:
        assert shrink(pool, was, seats, 1, [slots[4].id]).slots == tuple(slots[number].id for number in left)


def test_seats_with_several_gpus_stay_whole() -> None:
    near, far = gpus(3), gpus(2, node="n1")
    was = reservation("r", [one.id for one in (near[0], near[1], near[2], *far)], -10, 60)
    pool = Pool([*near, *far], [lease("l", [near[0].id], course="class")])
    assert set(shrink(pool, was, 1, 2, []).slots) == {near[1].id, near[2].id}
    held = [near[0].id, near[2].id]
    assert set(shrink(pool, was, 2, 2, held).slots) == {*held, *(one.id for one in far)}
    # What is there no more makes no seat.
    gone = Pool([near[0], *far])
    assert set(shrink(gone, was, 1, 2, []).slots) == {one.id for one in far}
