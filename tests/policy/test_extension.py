import math
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.accounting import hours_to_ms, spent
from spawner.policy.extension import extend
from spawner.policy.leases import Lease, LeaseState, Spent
from spawner.policy.model import Deny
from spawner.policy.pool import Pool
from spawner.policy.quota import Quota

from .pools import HOUR, NOW, RULES, at, generous, gpus, lease, quota, refused, request, reservation, ticket


def ask(
    pool: Pool, held: Lease, hours: float | None = None, allowed: Quota | None = None, used: Spent | None = None
) -> datetime | Deny:
    return extend(pool, held, hours, allowed or quota(), used or Spent(), RULES, NOW, generous(pool))


@pytest.fixture
def held() -> Lease:
    return lease("l", ["n0-0"], 60)


@pytest.fixture
def pool(held: Lease) -> Pool:
    return Pool([*gpus(1), *gpus(1, node="n1", model="A100")], [held])


def test_as_much_as_is_asked_or_as_is_allowed(pool: Pool, held: Lease) -> None:
    assert ask(pool, held, 2) == at(180)
    assert ask(pool, held) == NOW + 24 * HOUR
    assert ask(pool, held, 1, quota(lease_hours=2)) == at(120)


@pytest.mark.parametrize("state", [LeaseState.OFFERED, LeaseState.RELEASING, LeaseState.CLOSED])
def test_what_is_over_stays_over(pool: Pool, held: Lease, state: LeaseState) -> None:
    text = "This lease is over already; ask for a new one."
    assert refused(ask(pool, replace(held, state=state)), "lease_over") == text
    refused(ask(pool, replace(held, ends_at=NOW)), "lease_over")


@pytest.mark.parametrize("hours", [0, -1, math.nan])
def test_no_hours_are_refused(pool: Pool, held: Lease, hours: float) -> None:
    text = refused(ask(pool, held, hours), "invalid_option")
    assert text == f"By how much should it last longer? {hours:g} hours are no time."


def test_nobody_extends_while_somebody_waits_for_such_a_gpu(pool: Pool, held: Lease) -> None:
    pool.put_ticket(ticket("t", request(user="t", models=["A100"])))
    assert isinstance(ask(pool, held, 1), datetime)
    pool.put_ticket(ticket("u", request(user="u", models=["A100", "T4"])))
    text = refused(ask(pool, held, 1), "others_wait")
    assert text == "Somebody waits for such a GPU, so leases are not extended now."


def test_who_waits_for_their_own_quota_hinders_nobody(pool: Pool, held: Lease) -> None:
    pool.put_ticket(ticket("u", request(user="u")))
    assert extend(pool, held, 1, quota(), Spent(), RULES, NOW, lambda _: None) == at(120)


def test_no_longer_than_the_longest_lease(pool: Pool, held: Lease) -> None:
    allowed = quota(lease_hours=2)
    text = refused(ask(pool, held, 1.5, allowed), "over_limit")
    assert text == "It would last 2 h 30 min from now; you may have GPUs for 2 h at a time. Ask for less."
    refused(ask(pool, held, 1e300, allowed), "over_limit")
    text = refused(ask(pool, replace(held, ends_at=at(120)), None, allowed), "over_limit")
    assert text == "It lasts 2 h from now already, the longest that you may have GPUs at a time."
    assert isinstance(ask(pool, held, None, replace(quota(gpu_hours=1e15), lease_hours=1e15)), datetime)


def test_not_what_a_lowered_quota_would_not_give_any_more(pool: Pool, held: Lease) -> None:
    used = Spent(gpus_held=2)
    assert isinstance(ask(pool, held, 1, quota(2), used), datetime)
    text = refused(ask(pool, held, 1, quota(1), used), "over_limit")
    assert text == "You hold 2 GPUs, and your quota is 1 at once by now, so your leases are not extended."
    text = refused(ask(pool, held, 1, quota(models=frozenset({"A100"}))), "model_not_allowed")
    assert text == "Your quota has no GPUs of model T4 any more, so this lease is not extended."


def test_no_longer_than_the_budget(pool: Pool, held: Lease) -> None:
    allowed = quota(gpu_hours=3.5)
    used = spent([], [held], NOW, RULES.window)
    assert ask(pool, held, None, allowed, used) == at(60 + 90)
    assert ask(pool, held, 1.5, allowed, used) == at(60 + 90)
    text = refused(ask(pool, held, 2, allowed, used), "over_budget")
    assert text == "Your GPU budget leaves 1 h 30 min more for this server. Ask an admin for more."
    text = refused(ask(pool, held, None, quota(gpu_hours=2), used), "over_budget")
    assert text == "Your GPU budget leaves no more time for this server. Ask an admin for more."


def test_not_into_a_reservation_of_others(pool: Pool, held: Lease) -> None:
    pool.put_reservation(reservation("r", ["n0-0"], 120, 180))
    assert ask(pool, held) == at(118)
    text = refused(ask(pool, held, 1), "reserved")
    assert text == "These GPUs are reserved afterwards, which leaves 58 min more for this server."
    pool.put_reservation(reservation("r", ["n0-0"], 62, 180))
    text = refused(ask(pool, held), "reserved")
    assert text == "These GPUs are reserved afterwards, which leaves no more time for this server."
    assert isinstance(ask(pool, replace(held, course="class"), 1), datetime), "the course's own"


@given(
    st.floats(0.01, 30) | st.none(),
    st.floats(0.1, 30),
    st.floats(0, 30) | st.just(math.inf),
    st.integers(1, 3),
    st.integers(0, 2000).map(lambda microseconds: timedelta(microseconds=microseconds)),
    st.none() | st.integers(0, 2000),
)
def test_an_extension_keeps_to_every_bound(
    hours: float | None, longest: float, budget: float, count: int, past: timedelta, reserved: int | None
) -> None:
    now = NOW + past
    own = lease("l", [f"n0-{number}" for number in range(count)], 60)
    pool = Pool(gpus(3), [own])
    if reserved is not None:
        pool.put_reservation(reservation("r", ["n0-0"], reserved, reserved + 60))
    allowed = quota(lease_hours=longest, gpu_hours=budget)
    used = spent([], [own], now, RULES.window)
    end = extend(pool, own, hours, allowed, used, RULES, now, generous(pool))
    if isinstance(end, Deny):
        refused(end, end.code)
        return
    assert own.ends_at < end <= now + timedelta(hours=longest)
    assert hours is None or end == own.ends_at + timedelta(hours=hours), "as asked, or not at all"
    after = spent([], [replace(own, ends_at=end)], now, RULES.window)
    most = hours_to_ms(budget)
    assert most is None or after.used_ms + after.committed_ms <= most
    assert reserved is None or at(reserved + 60) <= own.ends_at or end <= at(reserved) - RULES.turnover
