from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spawner.policy.gpus import Slot
from spawner.policy.leases import Allot, GpuRequest, Lease, LeaseRules, LeaseState, Spent, Ticket, TicketState, Wait
from spawner.policy.leasing import decide
from spawner.policy.placement import Placement, Promises, earliest, place, place_in_seat
from spawner.policy.pool import Pool, SlotClass, class_of
from spawner.policy.queue import Rivals, Serving, TermsOf, ahead_of, forecast, offers, order, walk
from spawner.policy.quota import ALL

from .pools import (
    HOUR,
    MINUTE,
    NOW,
    RULES,
    at,
    generous,
    gpus,
    lease,
    pools,
    queues,
    quota,
    request,
    reservation,
    ticket,
    wishes,
)


def names(tickets: list[Ticket]) -> list[str]:
    return [one.id for one in tickets]


def serve(pool: Pool, terms_of: Callable[[Pool], TermsOf], rules: LeaseRules, now: datetime) -> list[Serving]:
    """Offer until nobody can be served, as the janitor does."""
    made = []
    while served := offers(pool, terms_of(pool), rules, now):
        for serving in served:
            assert serving.placement is not None
            made.append(serving)
            give(pool, serving.ticket, serving.placement.slots, serving.placement.until, now)
    return made


def give(pool: Pool, one: Ticket, slots: tuple[str, ...], until: datetime, now: datetime) -> Lease:
    pool.put_ticket(replace(one, state=TicketState.SERVED))
    held = Lease(f"of {one.id}", one.user, "", "gpu", LeaseState.ACTIVE, slots, now, until, now, started_at=now)
    pool.put_lease(held)
    return held


@st.composite
def busy_pools(draw: st.DrawFn, *, served: bool) -> Pool:
    """Draw a pool with a queue, one ticket per user; `served` where what could be given has been given."""
    pool = draw(pools())
    for number, one in enumerate(draw(queues())):
        pool.put_ticket(replace(one, request=replace(one.request, user=f"u{number}")))
    pool.shares = {f"u{number}": draw(st.sampled_from([0.0, 1.0, 5.0])) for number in range(7)}
    if served:
        serve(pool, generous, RULES, NOW)
    return pool


# --- order ----------------------------------------------------------------------------------------------------


def test_moved_up_then_impatient_then_priority_then_share_then_arrival() -> None:
    day = 24 * 60
    line = [
        ticket("late", arrived=-1),
        ticket("early", arrived=-9),
        ticket("greedy", arrived=-100),
        ticket("important", arrived=-2, priority=5),
        ticket("impatient", arrived=-day),
        ticket("more impatient", arrived=-day - 1),
        ticket("nearly impatient", arrived=-day + 1),
        ticket("moved up", arrived=0, moved_up=1),
        ticket("moved up later", arrived=0, moved_up=2),
    ]
    pool = Pool([], queue=line, shares={"greedy": 7.0, "nearly impatient": 9.0, "more impatient": 99.0})
    expected = ["moved up later", "moved up", "more impatient", "impatient", "important", "early", "late", "greedy"]
    assert names(order(line, pool, RULES, NOW)) == [*expected, "nearly impatient"]


@given(busy_pools(served=False), st.integers(0, 300).map(lambda quarter: quarter * 15))
def test_rivals_come_in_order_and_none_is_missing(pool: Pool, later: int) -> None:
    now = at(later)
    line = order(pool.queue.values(), pool, RULES, now)
    wanted = {one.id: set(pool.classes(one.request, ALL)) for one in line}
    for place_in_line, own in enumerate(line):
        ahead = ahead_of(own, pool, RULES, now)
        assert sorted(entry[-1].id for one in ahead.lines.values() for entry in one) == sorted(
            names(line[:place_in_line])
        )
        connected = set(pool.classes(own.request, ALL))
        for _ in line:
            connected |= {c for other in line[:place_in_line] if wanted[other.id] & connected for c in wanted[other.id]}
        expected = [other.id for other in line[:place_in_line] if wanted[other.id] & connected]
        assert names(list(Rivals(pool, ahead, pool.classes(own.request, ALL), now))) == expected
    assert len(ahead_of(None, pool, RULES, now)) == len(line)


@given(busy_pools(served=False), st.data())
def test_rivals_of_closed_classes_are_left_out(pool: Pool, data: st.DataObject) -> None:
    classes = list(pool.all_classes())
    rivals = Rivals(pool, ahead_of(None, pool, RULES, NOW), classes, NOW)
    seen = []
    for one in rivals:
        seated = pool.seats(one.request.course, NOW)  # a course's seats are its own, whatever is closed
        assert seated or not rivals.closed or not rivals.closed.issuperset(pool.classes(one.request, ALL))
        seen.append(one)
        rivals.closed |= data.draw(st.frozensets(st.sampled_from(classes), max_size=1))
    assert seen == [one for one in order(pool.queue.values(), pool, RULES, NOW) if one in seen]
    left = [one for one in pool.queue.values() if one not in seen]
    assert all(rivals.closed.issuperset(pool.classes(one.request, ALL)) for one in left)


# --- who is served --------------------------------------------------------------------------------------------


@given(busy_pools(served=False), st.sampled_from([1, 2, 8]))
def test_a_decision_on_a_ticket_is_the_offer_that_it_would_get(pool: Pool, depth: int) -> None:
    rules = replace(RULES, depth=depth)
    offered = {serving.ticket.id: serving.placement for serving in offers(pool, generous(pool), rules, NOW)}
    for one in pool.queue.values():
        answer = decide(pool, one.request, quota(), Spent(), rules, NOW, generous(pool), one)
        placement = offered.get(one.id)
        if placement is None:
            assert not isinstance(answer, Allot)
        else:
            assert isinstance(answer, Allot)
            assert (answer.slots, answer.until) == (placement.slots, placement.until)


@given(busy_pools(served=True), wishes("newcomer"), st.sampled_from([1, 2, 8]))
def test_nobody_who_was_promised_something_waits_longer_for_a_newcomer(
    pool: Pool, wish: GpuRequest, depth: int
) -> None:
    rules = replace(RULES, depth=depth)
    before = {serving.ticket.id: serving for serving in forecast(pool, generous(pool), rules, NOW)}
    answer = decide(pool, wish, quota(), Spent(), rules, NOW, generous(pool))
    if not isinstance(answer, Allot):
        return
    give(pool, ticket("new", wish), answer.slots, answer.until, NOW)
    assert not offers(pool, generous(pool), rules, NOW)
    after = {serving.ticket.id: serving for serving in forecast(pool, generous(pool), rules, NOW)}
    if len(before) <= depth:
        assert {key: serving.placement for key, serving in after.items()} == {
            key: serving.placement for key, serving in before.items()
        }
        return
    # Those behind the last promise: whoever wants slots of the newcomer's class must have been promised some.
    given_class = class_of(pool.slots[answer.slots[0]])
    rivals = [serving for serving in before.values() if given_class in pool.classes(serving.ticket.request, ALL)]
    able = [one for one in rivals if pool.widest(given_class, usable=True) >= one.ticket.request.count]
    classes_of_able = [pool.classes(one.ticket.request, ALL) for one in able]
    if all(classes == (given_class,) for classes in classes_of_able):
        assert len(able) <= depth
        for serving in able:
            assert after[serving.ticket.id].placement == serving.placement


@given(busy_pools(served=True))
def test_nobody_waits_while_something_free_is_promised_to_none(pool: Pool) -> None:
    promises = Promises()
    for serving in forecast(pool, generous(pool), RULES, NOW):
        terms = generous(pool)(serving.ticket)
        assert (terms is None) == serving.blocked
        if terms is None:
            continue
        wish = serving.ticket.request
        assert place(pool, wish, terms.classes, terms.length, RULES, NOW, promises) is None
        if serving.placement:
            assert serving.placement.start > NOW
            assert serving.placement.until == serving.placement.start + terms.length
            promises.promise(serving.placement.slots, serving.placement.start, serving.placement.until + RULES.turnover)


def eager(line: list[Ticket], pool: Pool, rules: LeaseRules) -> list[tuple[Placement | None, set[SlotClass]]]:
    """Walk as plainly as can be: each promise is made at once, whether it matters or not."""
    promises, closed, promised = Promises(), set[SlotClass](), Counter[SlotClass]()
    found: list[tuple[Placement | None, set[SlotClass]]] = []
    for one in line:
        wish = one.request
        seats = bool(pool.reservations_of(wish.course, NOW))
        length = timedelta(hours=wish.hours or 24)
        able = [c for c in pool.classes(wish, ALL) if pool.widest(c, usable=True) >= wish.count]
        open_now = [c for c in able if c not in closed]
        now = place(pool, wish, open_now, length, rules, NOW, promises)
        if seats and now is None:
            now = place_in_seat(pool, wish, able, length, rules, NOW, promises)
        if now is not None:
            promises.promise(now.slots, NOW, now.until + rules.turnover)
        elif any(promised[c] < rules.depth for c in able):
            promised.update(able)
            later = earliest(pool, wish, open_now, length, rules, NOW, promises)
            if later is not None:
                promises.promise(later.slots, later.start, later.until + rules.turnover)
        else:
            closed |= set(able)
        found.append((now, set(closed)))
    return found


@st.composite
def crowded_pools(draw: st.DrawFn) -> Pool:
    """Draw a pool with some GPUs free on each node, and a queue in which most want more of them, some a single one."""
    models = ["T4", "A100", "H100"]
    pool = Pool([one for model in models for one in gpus(3, node=f"n{model}", model=model, islands=2)])
    for number, slot_id in enumerate(pool.slots):
        if draw(st.booleans()):
            pool.put_lease(lease(f"l{number}", [slot_id], draw(st.integers(1, 12)) * 15))
    if draw(st.booleans()):
        starts = draw(st.integers(-1, 4)) * 30
        pool.put_reservation(reservation("r", draw(st.sets(st.sampled_from(list(pool.slots)))), starts, starts + 120))
    wants = st.sampled_from([("T4",), ("A100",), ("H100",), ("T4", "A100"), ("A100", "H100"), ()])
    for number in range(draw(st.integers(3, 9))):
        wish = request(
            draw(st.sampled_from([1, 2, 3])),
            user=f"u{number}",
            hours=draw(st.sampled_from([0.5, 1, 4])),
            models=draw(wants),
            course=draw(st.sampled_from(["", "", "class"])),
        )
        pool.put_ticket(ticket(f"t{number}", wish, -100 + number))
    return pool


@settings(max_examples=300, deadline=None)
@given(crowded_pools(), st.sampled_from([0, 1, 2, 8]))
def test_promises_that_are_made_only_where_they_matter_are_the_same(pool: Pool, depth: int) -> None:
    rules = replace(RULES, depth=depth)
    line = order(pool.queue.values(), pool, rules, NOW)
    walked = list(walk(line, pool, generous(pool), rules, NOW, depth))
    assert [(serving.placement, set(closed)) for serving, closed in walked] == eager(line, pool, rules)


def test_a_promise_of_another_class_can_move_one_to_the_class_that_is_free() -> None:
    # "a" is promised the T4s, for four hours from the next on; so "b" the A100s, in three. "c" wants the free A100.
    slots = [*gpus(2), *gpus(2, node="n1", model="A100")]
    leases = [lease("l0", ["n0-0", "n0-1"], 60), lease("l1", ["n1-1"], 180)]
    waiting = [
        ticket("a", request(2, user="a", hours=4, models=["T4"]), -30),
        ticket("b", request(2, user="b", hours=4, models=["T4", "A100"]), -20),
    ]
    wish = request(user="c", hours=4, models=["A100"])
    pool = Pool(slots, leases, waiting)
    assert isinstance(decide(pool, wish, quota(), Spent(), RULES, NOW, generous(pool)), Wait)
    pool.drop_ticket("a")
    assert isinstance(decide(pool, wish, quota(), Spent(), RULES, NOW, generous(pool)), Allot)


def test_who_behind_the_last_promise_waits_is_not_passed_either() -> None:
    rules = replace(RULES, depth=1)
    # One GPU is free on each of two nodes; four users want two at once.
    pool = Pool(
        [*gpus(2), *gpus(2, node="n1")],
        [lease("a", ["n0-0"], 60), lease("b", ["n1-0"], 120)],
        [ticket("first", request(2, user="first")), ticket("second", request(2, user="second"), -5)],
    )
    short = request(1, user="new", hours=0.5)
    answer = decide(pool, short, quota(), Spent(), rules, NOW, generous(pool))
    assert not isinstance(answer, Allot), "the second in the queue has no promise that could be kept"
    answer = decide(pool, short, quota(), Spent(), replace(rules, depth=2), NOW, generous(pool))
    assert isinstance(answer, Allot), "half an hour harms nobody"


def test_who_can_never_be_served_holds_nobody_up() -> None:
    rules = replace(RULES, depth=0)
    slots = gpus(2)
    pool = Pool([slots[0], replace(slots[1], usable=False)], queue=[ticket("two", request(2, user="two"))])
    assert isinstance(decide(pool, request(), quota(), Spent(), rules, NOW, generous(pool)), Allot)


def test_rivals_of_rivals_count() -> None:
    # "b" would take the A100, if "a" did not; so "b" wants the T4, which a newcomer must not take.
    pool = Pool(
        [*gpus(1, model="A100"), *gpus(1, node="n1", model="T4")],
        queue=[
            ticket("a", request(user="a", models=["A100"]), -20),
            ticket("b", request(user="b", models=["A100", "T4"], memory=1), -10),
        ],
    )
    pool.put_ticket(ticket("b", request(user="b", models=["A100", "T4"]), -10))
    answer = decide(pool, request(user="new", models=["T4"]), quota(), Spent(), RULES, NOW, generous(pool))
    assert not isinstance(answer, Allot)


def test_a_user_is_served_one_at_a_time_and_the_quota_decides_on_the_next() -> None:
    waiting = [ticket("a1", request(user="ann"), -5), ticket("a2", request(user="ann"), -4), ticket("b", arrived=-3)]
    pool = Pool(gpus(3), queue=waiting)
    assert names([serving.ticket for serving in offers(pool, generous(pool), RULES, NOW)]) == ["a1", "b"]


def test_a_quota_that_allows_nothing_blocks_its_ticket_only() -> None:
    waiting = [ticket("blocked", arrived=-5), ticket("next", arrived=-3)]
    pool = Pool(gpus(1), queue=waiting)

    def terms_of(one: Ticket) -> object:
        return None if one.id == "blocked" else generous(pool)(one)

    first, second = forecast(pool, terms_of, RULES, NOW)  # type: ignore[arg-type]
    assert (first.ticket.id, first.blocked, first.placement, first.position) == ("blocked", True, None, 1)
    assert second.placement is not None
    assert (second.blocked, second.placement.start, second.position) == (False, NOW, 2)


def test_closed_classes_are_told() -> None:
    pool = Pool(gpus(1), [lease("l", ["n0-0"])], [ticket("a"), ticket("b", arrived=-5)])
    line = order(pool.queue.values(), pool, RULES, NOW)
    told: list[frozenset[SlotClass]] = [closed for _, closed in walk(line, pool, generous(pool), RULES, NOW, depth=1)]
    assert told == [frozenset(), frozenset(pool.all_classes())]


# --- how long it takes ----------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.lists(st.integers(1, 8), min_size=1, max_size=8), st.lists(st.integers(1, 8), max_size=3))
def test_a_forecast_comes_true_where_every_lease_runs_to_its_end(
    gpu_count: int, lengths: list[int], running: list[int]
) -> None:
    pool = Pool(gpus(gpu_count))
    for number, quarters in enumerate(running[:gpu_count]):
        pool.put_lease(lease(f"l{number}", [f"n0-{number}"], quarters * 15))
    for number, quarters in enumerate(lengths):
        pool.put_ticket(ticket(f"t{number}", request(user=f"t{number}", hours=quarters / 4), -100 + number))
    told = {serving.ticket.id: serving.placement for serving in forecast(pool, generous(pool), RULES, NOW)}
    now, served = NOW, dict[str, datetime]()
    while pool.queue:
        for held in list(pool.leases.values()):
            if held.ends_at + RULES.turnover <= now:
                pool.drop_lease(held.id)
        served |= {serving.ticket.id: now for serving in serve(pool, generous, RULES, now)}
        now += MINUTE
    for ticket_id, placement in told.items():
        assert placement is not None
        assert served[ticket_id] == placement.start


def test_a_forecast_minds_reservations() -> None:
    pool = Pool(gpus(1), [lease("l", ["n0-0"], 30)], [ticket("a", request(user="a", hours=2))])
    pool.put_reservation(reservation("r", ["n0-0"], 60, 180))
    (serving,) = forecast(pool, generous(pool), RULES, NOW)
    assert serving.placement is not None
    assert serving.placement.start == at(180) + RULES.turnover, "the class holds them until its end"


# --- the bound on waiting -------------------------------------------------------------------------------------

HARSH = LeaseRules(patience=HOUR, offer=5 * MINUTE, turnover=2 * MINUTE, shortest=10 * MINUTE, depth=2)
LONGEST = 2 * HOUR


class Town:
    """A hub whose users do their worst: minute by minute, they ask with all priority, hold, extend, decline, go."""

    def __init__(self, pool: Pool, chance: Random) -> None:
        self.pool, self.chance, self.now = pool, chance, NOW
        self.freed: dict[str, datetime] = {}
        self.became_impatient: dict[str, int] = {}
        self.waited: dict[str, timedelta] = {}
        self.number = 0

    def ask(self, count: int, minutes: int, *, meek: bool) -> None:
        self.number += 1
        name = f"{'meek' if meek else 'bold'}{self.number}"
        wish = request(count, user=name, hours=minutes / 60)
        one = Ticket(name, wish, TicketState.WAITING, self.now, 0 if meek else 100)
        answer = decide(self.pool, wish, quota(lease_hours=2), Spent(), HARSH, self.now, generous(self.pool), one)
        if isinstance(answer, Allot):
            self.waited[name] = timedelta(0)
            give(self.pool, one, answer.slots, answer.until, self.now)
        else:
            self.pool.put_ticket(one)

    def minute(self) -> None:
        for held in list(self.pool.leases.values()):
            over = held.ends_at <= self.now or self.chance.random() < 0.02
            if held.state is LeaseState.ACTIVE and over:
                self.pool.put_lease(replace(held, state=LeaseState.RELEASING, changed_at=self.now))
                self.freed[held.id] = self.now + self.chance.randrange(3) * MINUTE
            if self.freed.get(held.id, self.now + HOUR) <= self.now:
                self.pool.drop_lease(held.id)
        for serving in serve(self.pool, generous, HARSH, self.now):
            self.waited[serving.ticket.id] = self.now - serving.ticket.arrived_at
        for one in self.pool.queue.values():
            if self.now - one.arrived_at >= HARSH.patience and one.id not in self.became_impatient:
                # Of those who come at the same moment the first by its id goes first.
                before = [(other.arrived_at, other.id) < (one.arrived_at, one.id) for other in self.pool.queue.values()]
                self.became_impatient[one.id] = sum(before)
        self.now += MINUTE


HUBS = [
    gpus(2),
    gpus(4, islands=2),
    [*gpus(2), *gpus(2, node="n1")],
    [*gpus(3), *gpus(2, node="n1", model="A100")],
]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from(HUBS))
@example(467, HUBS[3])  # two come in the same minute; one of them is before the other all the same
def test_nobody_waits_longer_than_the_bound(seed: int, slots: list[Slot]) -> None:
    chance = Random(seed)
    pool = Pool(slots, shares=_Shares())
    town = Town(pool, chance)
    widest = max(pool.widest(slot_class, usable=True) for slot_class in pool.all_classes())
    for minute in range(14 * 60):
        if minute < 6 * 60:
            # As long as anybody meek waits there is somebody bold who wants what is free.
            if chance.random() < 0.2:
                town.ask(chance.randint(1, widest), chance.choice([5, 10, 60, 120]), meek=False)
            if chance.random() < 0.01:
                town.ask(chance.choice([1, widest]), chance.choice([10, 120]), meek=True)
        town.minute()
        for one in pool.queue.values():
            before = town.became_impatient.get(one.id)
            if before is not None:
                bound = HARSH.patience + (before + 1) * (LONGEST + HARSH.turnover)
                assert town.now - one.arrived_at <= bound, (one.id, before)


class _Shares(dict[str, float]):
    """Who is meek has used much."""

    def get(self, user: str, default: float = 0.0) -> float:  # type: ignore[override]
        return 1e12 if user.startswith("meek") else default


def test_a_promise_stays_where_it_is_while_its_slots_are_being_freed() -> None:
    # The second GPU of "n1" is free in a minute, "n0" in two. Were both two minutes from now on, the promise would move
    # to "n0", and the free GPU of "n1" would be lent: so one node after the other.
    ended = [
        replace(lease("a", ["n0-0", "n0-1"], state=LeaseState.RELEASING), changed_at=NOW),
        replace(lease("b", ["n1-1"], state=LeaseState.RELEASING), changed_at=at(-1)),
    ]
    pool = Pool([*gpus(2), *gpus(2, node="n1")], ended, [ticket("two", request(2, user="two"))])
    (serving,) = forecast(pool, generous(pool), RULES, NOW)
    assert serving.placement == Placement(("n1-0", "n1-1"), at(1), at(61))
    assert isinstance(decide(pool, request(), quota(), Spent(), RULES, NOW, generous(pool)), Wait)


def test_without_patience_the_meek_would_wait_for_ever() -> None:
    pool = Pool(gpus(1), shares=_Shares())
    town = Town(pool, Random(1))
    town.ask(1, 120, meek=False)
    town.ask(1, 120, meek=True)
    (meek,) = pool.queue
    while meek in pool.queue:
        while len(pool.queue) < 3:
            town.ask(1, 120, meek=False)
        town.minute()
    assert town.waited[meek] == pytest.approx(HARSH.patience, abs=LONGEST + HARSH.turnover + MINUTE)
    assert town.waited[meek] >= HARSH.patience
