import math
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.accounting import hours_to_ms, spent
from spawner.policy.gpus import SlotKind
from spawner.policy.leases import Allot, GpuRequest, Lease, LeaseRules, LeaseState, Spent, Ticket, Wait
from spawner.policy.leasing import decide, describe, terms, terms_by
from spawner.policy.pool import Pool
from spawner.policy.queue import Terms, offers
from spawner.policy.quota import ALL, Quota

from .pools import (
    GIB,
    HOUR,
    MINUTE,
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
    ticket,
    wishes,
)

HOUR_MS = 3_600_000


def ask(
    pool: Pool,
    wish: GpuRequest | None = None,
    allowed: Quota | None = None,
    used: Spent | None = None,
    own: Ticket | None = None,
) -> object:
    return decide(pool, wish or request(), allowed or quota(), used or Spent(), RULES, NOW, generous(pool), own)


def used_up(hours: float, ended: datetime = NOW) -> Spent:
    """Give a budget of which so many hours were used in one go."""
    return spent([(ended - timedelta(hours=hours), ended, 1)], [], NOW, RULES.window)


# --- grants ---------------------------------------------------------------------------------------------------


def test_free_gpus_are_granted_for_as_long_as_asked() -> None:
    assert ask(Pool(gpus(1))) == Allot(("n0-0",), at(60))
    assert ask(Pool(gpus(1)), request(hours=None)) == Allot(("n0-0",), NOW + 24 * HOUR)


def test_a_shortened_grant_says_how_long_and_why() -> None:
    pool = Pool(gpus(1))
    pool.put_reservation(reservation("r", ["n0-0"], 32, 60))
    assert ask(pool) == Allot(("n0-0",), at(30), "Shortened to 30 min: after that the GPUs are reserved.")
    found = ask(Pool(gpus(2)), request(2, hours=None), quota(gpu_hours=10), used_up(7))
    assert found == Allot(("n0-0", "n0-1"), at(90), "Shortened to 1 h 30 min: that is what your GPU budget leaves.")


@given(st.data())
def test_no_quota_is_exceeded_when_a_grant_is_made(data: st.DataObject) -> None:
    pool = data.draw(pools())
    hours = data.draw(st.sampled_from([0.1, 0.5, 1, 2.3, None]))
    wish = replace(data.draw(wishes("ann")), hours=hours)
    allowed = quota(
        data.draw(st.integers(0, 6)),
        gpu_hours=data.draw(st.sampled_from([0, 0.2, 1, 2.5, 8, math.inf])),
        lease_hours=data.draw(st.sampled_from([0.5, 2, 24])),
        models=data.draw(st.sampled_from([ALL, frozenset({"T4"}), frozenset({"A100"}), frozenset[str]()])),
    )
    microseconds = timedelta(microseconds=data.draw(st.integers(0, 2000)))
    now = NOW + microseconds
    mine = pool.leases_of("ann")
    past = [(at(-600), at(-600 + data.draw(st.integers(0, 300))), 1)]
    before = spent(past, mine, now, RULES.window)
    found = decide(pool, wish, allowed, before, RULES, now, generous(pool))
    if not isinstance(found, Allot):
        assert found.reason.endswith(".")
        return
    granted = Lease("new", "ann", "", "gpu", LeaseState.PENDING, found.slots, now, found.until, now)
    after = spent(past, [*mine, granted], now, RULES.window)
    assert after.gpus_held <= allowed.gpus
    assert found.until - now <= timedelta(hours=allowed.lease_hours)
    assert hours is None or found.until - now <= timedelta(hours=hours)
    budget = hours_to_ms(allowed.gpu_hours)
    assert budget is None or after.used_ms + after.committed_ms <= budget
    assert {pool.slots[slot_id].model for slot_id in found.slots} <= allowed.models or allowed.models >= ALL
    wanted = timedelta(hours=allowed.lease_hours if hours is None else hours)
    assert (found.until < now + wanted) == bool(found.note)


# --- waits ----------------------------------------------------------------------------------------------------


def test_waiting_tells_the_position_and_what_is_the_matter() -> None:
    pool = Pool(gpus(2), [lease("l", ["n0-0", "n0-1"])], [ticket("a"), ticket("b", arrived=-5)])
    assert ask(pool) == Wait(3, "No GPU is free now.")
    assert ask(pool, request(2)) == Wait(3, "Fewer than 2 GPUs are free on one host now.")
    assert ask(pool, own=ticket("new", arrived=-7)) == Wait(2, "No GPU is free now.")
    assert ask(pool, own=ticket("important", priority=9)) == Wait(1, "No GPU is free now.")
    assert ask(pool, own=pool.queue["b"]) == Wait(2, "No GPU is free now.")


def test_what_is_reserved_or_promised_is_not_given_away() -> None:
    pool = Pool(gpus(1))
    pool.put_reservation(reservation("r", ["n0-0"], -5, 60))
    text = "The free GPU is reserved, or promised to somebody who came before you. A shorter lease may fit in."
    assert ask(pool) == Wait(1, text)
    pool = Pool(gpus(1), queue=[ticket("a")])
    assert ask(pool) == Wait(2, text)


def test_a_short_lease_fits_in_before_a_promise() -> None:
    pool = Pool(gpus(2), [lease("l", ["n0-0"], 60)], [ticket("two", request(2, user="two"))])
    assert isinstance(ask(pool, request(hours=2)), Wait)
    assert isinstance(ask(pool, request(hours=1.01)), Wait)
    assert isinstance(ask(pool, request(hours=1)), Allot)


def test_a_gpu_out_of_service_is_waited_for() -> None:
    pool = Pool([replace(gpus(1)[0], usable=False)])
    assert isinstance(ask(pool), Wait)


def test_who_comes_first_is_asked_for_their_terms_and_nobody_else() -> None:
    asked: list[str] = []
    waiting = [ticket(f"t{number}", arrived=-number) for number in range(9)]
    other = ticket("other", request(user="other", models=["A100"]), -20)
    busy = [lease("l", [f"n0-{number}" for number in range(4)])]
    pool = Pool([*gpus(4), *gpus(1, node="n1", model="A100")], busy, [*waiting, other])

    def quota_of(one: Ticket) -> Quota:
        asked.append(one.id)
        return quota()

    rules = LeaseRules(depth=2)
    wish = request(user="new", models=["A100"])
    answer = decide(pool, wish, quota(), Spent(), rules, NOW, terms_by(pool, quota_of, lambda _: Spent(), rules, NOW))
    assert isinstance(answer, Wait)
    assert "other" in asked
    asked.clear()
    answer = decide(
        pool,
        request(models=["T4"]),
        quota(),
        Spent(),
        rules,
        NOW,
        terms_by(pool, quota_of, lambda _: Spent(), rules, NOW),
    )
    assert isinstance(answer, Wait)
    assert not asked, "no GPU of that model is free: whoever waits does not matter"


# --- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "allowed", "used", "code", "text"),
    [
        (
            request(4),
            quota(),
            Spent(),
            "no_gpus",
            (
                "4 GPUs on one host asked for, and this hub has none such to hand out. Ask for fewer, choose a profile "
                "without GPUs, or ask an admin."
            ),
        ),
        (
            request(models=["H100"]),
            quota(),
            Spent(),
            "no_gpus",
            (
                "1 GPU of model H100 asked for, and this hub has none such to hand out. Choose a profile without GPUs, "
                "or ask an admin."
            ),
        ),
        (
            request(models=["A100"]),
            quota(models=frozenset({"T4"})),
            Spent(),
            "model_not_allowed",
            "This needs a GPU of model A100; your quota allows T4. Choose another profile, or ask an admin.",
        ),
        (
            # T4s would be allowed, but there are not three on one host.
            request(3),
            quota(models=frozenset({"T4"})),
            Spent(),
            "model_not_allowed",
            "This needs 3 GPUs of model A100; your quota allows T4. Choose another profile, or ask an admin.",
        ),
        (
            request(),
            quota(models=frozenset()),
            Spent(),
            "model_not_allowed",
            "This needs a GPU of model A100 or T4; your quota allows none. Choose another profile, or ask an admin.",
        ),
        (
            request(),
            quota(0),
            Spent(),
            "over_limit",
            "Your quota has no GPUs. Choose a profile without GPUs, or ask an admin.",
        ),
        (
            request(2),
            quota(1),
            Spent(gpus_held=1),
            "over_limit",
            "2 GPUs asked for; your quota is 1 at once. Ask for fewer, or ask an admin.",
        ),
        (
            request(),
            quota(1),
            Spent(gpus_held=1),
            "over_limit",
            (
                "You hold 1 GPU already, and your quota is 1 at once. Stop a server that has GPUs, or choose a profile "
                "without."
            ),
        ),
        (
            request(hours=3),
            quota(lease_hours=1),
            Spent(),
            "over_limit",
            (
                "3 hours asked for; you may have GPUs for 1 hour at a time. Ask for less: a lease can be extended "
                "while nobody waits."
            ),
        ),
        (
            request(hours=1e300),
            quota(),
            Spent(),
            "over_limit",
            (
                "1e+300 hours asked for; you may have GPUs for 24 hours at a time. Ask for less: a lease can be "
                "extended while nobody waits."
            ),
        ),
        (
            request(2, hours=2),
            quota(gpu_hours=10),
            used_up(6.5, NOW - 2 * HOUR),
            "over_budget",
            # Half an hour of the past has to leave the window; it began 8.5 hours ago.
            (
                "4 GPU-hours are needed, and 3.5 of your 10 per 7 days are left. There is enough from 2026-03-11 04:00 "
                "UTC on."
            ),
        ),
        (
            request(hours=None),
            quota(gpu_hours=10),
            used_up(10),
            "over_budget",
            (
                "At least 0.17 GPU-hours are needed, and 0 of your 10 per 7 days are left. There is enough from "
                "2026-03-11 02:10 UTC on."
            ),
        ),
        (
            request(2, hours=6),
            quota(gpu_hours=10),
            Spent(),
            "over_budget",
            (
                "12 GPU-hours are needed, and 10 of your 10 per 7 days are left. That is more than you ever have: ask "
                "for less, or ask an admin."
            ),
        ),
    ],
)
def test_refusals(wish: GpuRequest, allowed: Quota, used: Spent, code: str, text: str) -> None:
    pool = Pool([*gpus(2), *gpus(3, node="n1", model="A100")])
    assert refused(ask(pool, wish, allowed, used), code) == text
    assert terms_by(pool, lambda _: allowed, lambda _: used, RULES, NOW)(ticket("t", wish)) is None


@given(st.data())
def test_when_there_is_enough_again_is_true(data: st.DataObject) -> None:
    pool = Pool(gpus(4))
    minutes = st.integers(0, 900)
    ends = data.draw(minutes) / 10
    running = [lease("l", ["n0-3"], ends, started=-data.draw(minutes) / 10)]
    past = [
        (at(-start / 10), at(-min(end, start) / 10), data.draw(st.integers(1, 2)))
        for start, end in data.draw(st.lists(st.tuples(minutes, minutes), max_size=3))
    ]
    rules = replace(RULES, window=2 * HOUR)
    allowed = quota(gpu_hours=data.draw(st.sampled_from([0.5, 1, 2, 3])))
    wish = request(data.draw(st.integers(1, 2)), hours=data.draw(st.sampled_from([0.25, 1, None])))
    answer = terms(pool, wish, allowed, spent(past, running, NOW, rules.window), rules, NOW)
    if isinstance(answer, Terms):
        return
    text = refused(answer, "over_budget")
    told = re.search(r"from (\S+ \S+) UTC", text)
    if not told:
        assert "more than you ever have" in text
        needed = wish.count * (wish.hours or rules.shortest / HOUR)
        assert needed > allowed.gpu_hours
        return
    then = datetime.strptime(told[1], "%Y-%m-%d %H:%M").replace(tzinfo=NOW.tzinfo)
    pool = Pool(gpus(4))
    closed = [(start, end, slots) for start, end, slots in past] + [(running[0].started_at or NOW, at(ends), 1)]
    if then < at(ends):
        return  # its lease runs on until then; what it uses meanwhile was counted
    for moment, enough in ((then, True), (then - 2 * MINUTE, False)):
        again = terms(pool, wish, allowed, spent(closed, [], moment, rules.window), rules, moment)
        if moment >= at(ends):
            assert isinstance(again, Terms) == enough, (text, moment)


def test_other_windows_are_written_as_they_are() -> None:
    for window, text in ((24 * HOUR, "1 day are"), (36 * HOUR, "36 h are"), (90 * MINUTE, "1 h 30 min are")):
        rules = replace(RULES, window=window)
        answer = terms(Pool(gpus(1)), request(), quota(gpu_hours=0.5), Spent(), rules, NOW)
        assert text in refused(answer, "over_budget")


def test_limitless_quotas_break_no_calendar() -> None:
    vast = replace(quota(gpu_hours=1e15), lease_hours=1e15)
    found = ask(Pool(gpus(1)), request(hours=None), vast)
    assert isinstance(found, Allot)
    assert isinstance(ask(Pool(gpus(1)), request(hours=1e14), vast), Allot)
    assert isinstance(ask(Pool(gpus(1)), request(hours=None), replace(vast, lease_hours=math.inf)), Allot)


def test_terms_name_the_classes_that_will_do() -> None:
    pool = Pool([*gpus(1), *shared(1, 2)])
    found = terms(pool, request(memory=9 * GIB), quota(), Spent(), RULES, NOW)
    assert isinstance(found, Terms)
    assert [slot_class.kind for slot_class in found.classes] == [SlotKind.EXCLUSIVE]


@pytest.mark.parametrize(
    ("length", "text"),
    [(59 * MINUTE, "59 min"), (HOUR, "1 h"), (25 * HOUR + MINUTE * 1.5, "25 h 1 min"), (MINUTE / 2, "0 min")],
)
def test_lengths_for_people(length: timedelta, text: str) -> None:
    assert describe(length) == text


# --- seats of a course ------------------------------------------------------------------------------------------


def test_a_free_seat_is_the_students_whoever_waits_for_the_time_after() -> None:
    """Somebody waits for eight hours and is promised the time after the class, which the student's wish runs into."""
    pool = Pool(gpus(1))
    pool.put_reservation(reservation("r", ["n0-0"], -3, 117))
    pool.put_ticket(ticket("t", request(hours=8)))
    student = replace(request(hours=2), course="class", user="stu")
    assert ask(pool, student) == Allot(("n0-0",), at(117), "Shortened to 1 h 57 min: after that the GPUs are reserved.")
    assert ask(pool, replace(student, hours=1)) == Allot(("n0-0",), at(60))


def test_a_free_seat_is_the_students_however_many_wait() -> None:
    pool = Pool(gpus(1))
    pool.put_reservation(reservation("r", ["n0-0"], -3, 117))
    for number in range(RULES.depth + 2):
        pool.put_ticket(ticket(f"t{number}", replace(request(hours=8), user=f"u{number}")))
    student = replace(request(hours=1), course="class", user="stu")
    assert ask(pool, student) == Allot(("n0-0",), at(60))
    pool.put_ticket(ticket("mine", student))
    [served] = offers(pool, generous(pool), RULES, NOW)
    assert served.ticket.id == "mine"


def seat(user: str = "stu", ends: float = 90, **more: Any) -> GpuRequest:
    return replace(request(hours=None, user=user, course="class", **more), ends_at=at(ends))


def test_a_seat_lasts_until_its_sessions_end_whatever_its_users_quota() -> None:
    pool = Pool(gpus(1), reservations=[reservation("r", ["n0-0"], -15, 90)])
    nothing = replace(quota(0, gpu_hours=0.0, models=frozenset({"A100"})), lease_hours=0.1)
    assert ask(pool, seat(), nothing, Spent(gpus_held=3)) == Allot(("n0-0",), at(90))
    assert ask(pool, replace(seat(), hours=12.0), nothing) == Allot(("n0-0",), at(90))


def test_a_seat_of_a_session_that_is_over() -> None:
    text = refused(ask(Pool(gpus(1)), seat(ends=0)), "no_session")
    assert "over" in text
    assert terms_by(Pool(gpus(1)), lambda _: quota(), lambda _: Spent(), RULES, at(90))(ticket("t", seat())) is None


def test_a_seat_of_a_kind_that_there_is_none_of() -> None:
    refused(ask(Pool(gpus(1)), seat(models=["H100"]), quota(models=frozenset({"T4"}))), "no_gpus")


def test_a_seat_costs_nothing_of_its_users_budget() -> None:
    pool = Pool(gpus(2), [lease("class", ["n0-0"], 90, user="ann", course="class")])
    used = spent([], pool.leases_of("ann"), NOW, RULES.window)
    assert used == Spent()
    assert isinstance(ask(pool, request(), quota(1, gpu_hours=1.0), used), Allot)


def test_a_wish_that_names_no_end_is_no_seat() -> None:
    """A course's name alone gives a place in its reservation, and no more than the quota allows."""
    pool = Pool(gpus(1), reservations=[reservation("r", ["n0-0"], -15, 90)])
    refused(ask(pool, request(course="class"), quota(0)), "over_limit")


@pytest.mark.parametrize("waiting", [0, 1, RULES.depth + 2])
def test_a_seat_lasts_until_the_bell_whoever_waits_for_the_time_after(waiting: int) -> None:
    pool = Pool(gpus(1), reservations=[reservation("r", ["n0-0"], -15, 90)])
    for number in range(waiting):
        pool.put_ticket(ticket(f"t{number}", replace(request(hours=8), user=f"u{number}")))
    assert ask(pool, seat(ends=90)) == Allot(("n0-0",), at(90))
    # With more time from staff, for as long as its GPU is the course's at least.
    longer = ask(pool, seat(ends=120))
    assert isinstance(longer, Allot)
    assert longer.until == (at(90) if waiting else at(120))
