"""Whether a class fits; and if it is told other times and kinds, they are true."""

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.policy.fitting import fit
from spawner.policy.gpus import SlotKind
from spawner.policy.leases import GpuRequest
from spawner.policy.pool import Pool
from spawner.policy.reservations import Reserved, reserve

from .pools import NOW, RULES, at, gpus, pools, request, reservation, shared, wishes


def test_what_fits_needs_no_advice() -> None:
    found = fit(Pool(gpus(3)), request(1, course="ml"), 3, at(60), at(120), RULES, NOW)
    assert (found.fits, found.seats, found.times, found.kinds) == (True, 3, (), ())


def test_another_class_has_the_gpus_then() -> None:
    pool = Pool(gpus(3), reservations=[reservation("r", ["n0-0", "n0-1"], 60, 180, course="other")])
    found = fit(pool, request(1, course="ml"), 3, at(60), at(120), RULES, NOW)
    assert (found.fits, found.seats) == (False, 1)
    # After it, with the time that its containers take to end; the day after; and so on.
    assert found.times == (at(195), at(24 * 60 + 60), at(2 * 24 * 60 + 60))


def test_smaller_parts_would_do() -> None:
    pool = Pool([*gpus(1), *shared(1, 4, model="A100")])
    found = fit(pool, replace(request(1, course="ml"), models=frozenset({"T4"})), 4, at(60), at(120), RULES, NOW)
    assert [(one.model, one.kind, one.seats) for one in found.kinds] == [("A100", SlotKind.SHARED, 4)]
    assert found.times == ()


def test_never_in_the_past() -> None:
    pool = Pool(gpus(1), reservations=[reservation("r", ["n0-0"], 30, 90)])
    found = fit(pool, request(1, course="ml"), 1, at(60), at(120), RULES, NOW)
    assert all(begin > NOW for begin in found.times)
    assert found.times[0] == at(105)


@settings(deadline=None)
@given(pools(), wishes(), st.integers(1, 6), st.integers(0, 40), st.integers(1, 12))
def test_advice_is_true(pool: Pool, wish: GpuRequest, seats: int, starts: int, length: int) -> None:
    begin, end = at(15 * starts + 15), at(15 * (starts + length) + 15)
    found = fit(pool, wish, seats, begin, end, RULES, NOW)

    def reserved(asked: GpuRequest, when: datetime) -> bool:
        answer = reserve(pool, asked, seats, when, when + (end - begin), RULES, NOW)
        return isinstance(answer, Reserved)

    assert found.fits == reserved(wish, begin)
    for time in found.times:
        assert reserved(wish, time)
        assert time > NOW
        assert abs(time - begin) <= timedelta(days=7)
    for kind in found.kinds:
        other = replace(
            wish,
            models=frozenset({kind.model}),
            kinds=frozenset({kind.kind}),
            memory=kind.memory,
        )
        assert reserved(other, begin)
    assert list(found.times) == sorted(found.times, key=lambda time: (abs(time - begin), time))
    assert not (found.fits and (found.times or found.kinds))
