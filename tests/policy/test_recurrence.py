"""Sessions of a series: on the right days, at the right hour of the clocks, whatever they do."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.policy.model import Deny
from spawner.policy.recurrence import MOST, Span, Weekly, occurrences

from .pools import refused

BERLIN = "Europe/Berlin"
HOUR = timedelta(hours=1)


def weekly(
    first: date,
    last: date,
    begins: time = time(9),
    *weekdays: int,
    zone: str = BERLIN,
    length: timedelta = 2 * HOUR,
    skipped: frozenset[date] = frozenset(),
) -> Weekly:
    return Weekly(frozenset(weekdays or (0,)), begins, length, zone, first, last, skipped)


def spans(asked: Weekly) -> tuple[Span, ...]:
    found = occurrences(asked)
    assert not isinstance(found, Deny), found
    return found


def test_nine_oclock_stays_nine_oclock() -> None:
    """Clocks are put forward on 28 March 2027."""
    found = spans(weekly(date(2027, 3, 22), date(2027, 4, 4)))
    assert found == (
        (datetime(2027, 3, 22, 8, tzinfo=UTC), datetime(2027, 3, 22, 10, tzinfo=UTC)),
        (datetime(2027, 3, 29, 7, tzinfo=UTC), datetime(2027, 3, 29, 9, tzinfo=UTC)),
    )


def test_a_time_that_is_left_out_or_shown_twice() -> None:
    spring, autumn = date(2027, 3, 28), date(2027, 10, 31)
    ((starts_at, ends_at),) = spans(weekly(spring, spring, time(2, 30), 6))
    assert starts_at.astimezone(ZoneInfo(BERLIN)).time() == time(3, 30)
    assert ends_at - starts_at == 2 * HOUR
    ((starts_at, _),) = spans(weekly(autumn, autumn, time(2, 30), 6))
    assert starts_at == datetime(2027, 10, 31, 0, 30, tzinfo=UTC)  # the first of the two


def test_holidays_are_skipped() -> None:
    skipped = frozenset({date(2027, 3, 8)})
    found = spans(weekly(date(2027, 3, 1), date(2027, 3, 15), time(9), 0, 2, skipped=skipped))
    assert [f"{starts_at:%d}" for starts_at, _ in found] == ["01", "03", "10", "15"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Weekly(frozenset(), time(9), HOUR, BERLIN, date(2027, 3, 1), date(2027, 3, 2)), "at least one day"),
        (Weekly(frozenset({7}), time(9), HOUR, BERLIN, date(2027, 3, 1), date(2027, 3, 2)), "at least one day"),
        (weekly(date(2027, 3, 2), date(2027, 3, 1)), "is before the first"),
        (weekly(date(2027, 3, 2), date(2027, 3, 3)), "there is none"),
        (weekly(date(2027, 3, 1), date(2097, 3, 1)), "too long"),
        (weekly(date(2027, 3, 1), date(2028, 3, 1), time(9), *range(7)), f"has {MOST} at most"),
        (weekly(date(2027, 3, 1), date(2027, 3, 8), length=timedelta(0)), "some time"),
        (weekly(date(2027, 3, 1), date(2027, 3, 8), length=timedelta(days=8)), "before the one before"),
    ],
)
def test_what_cannot_be(asked: Weekly, words: str) -> None:
    assert words in refused(occurrences(asked), "invalid_option")


DAYS = st.dates(date(2020, 1, 1), date(2035, 1, 1))


@given(
    DAYS,
    st.integers(0, 200),
    st.times(),
    st.frozensets(st.integers(0, 6), min_size=1),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
    st.integers(1, 20 * 60),
    st.frozensets(DAYS, max_size=3),
)
def test_all_sessions_and_no_others(
    first: date, days: int, begins: time, weekdays: frozenset[int], zone: str, minutes: int, skipped: frozenset[date]
) -> None:
    last = first + timedelta(days=days)
    asked = Weekly(weekdays, begins, timedelta(minutes=minutes), zone, first, last, skipped)
    found = occurrences(asked)
    there = [first + timedelta(days=number) for number in range(days + 1)]
    wanted = [day for day in there if day.weekday() in weekdays and day not in skipped]
    if isinstance(found, Deny):
        assert not wanted or len(wanted) > MOST
        return
    assert len(found) == len(wanted)
    for (starts_at, ends_at), day in zip(found, wanted, strict=True):
        local = starts_at.astimezone(ZoneInfo(zone))
        assert local.date() in {day, day + timedelta(days=1)}
        # Other than asked only where clocks leave the time out.
        late = local.replace(tzinfo=None) - datetime.combine(day, begins)
        assert timedelta(0) <= late <= HOUR
        assert ends_at - starts_at == asked.length
    assert list(found) == sorted(found)
