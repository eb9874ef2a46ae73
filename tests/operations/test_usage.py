"""Who used how much: booked, and running."""

import itertools
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawner.operations import leases, usage
from spawner.operations.usage import By

from ..support.office import HOUR, MS, NOW, Office
from ..support.slots import gpus
from .conftest import OpenOffice

DAY = timedelta(days=1)
EVER = NOW - 30 * DAY


def both(office: Office, by: By, since: datetime, until: datetime | None = None) -> dict[str, int]:
    """Sum up what is booked and what runs."""
    booked, running = usage.totals(office.desk, by, since, until), usage.running_ms(office.desk, since, until, by)
    return {key: booked.get(key, 0) + running.get(key, 0) for key in booked.keys() | running.keys()}


def test_running_becomes_booked(office: Office) -> None:
    office.fit(gpus(2, model="T4"), gpus(1, model="A100", first=2))
    first = office.running("ann", 2, 24, groups=frozenset({"lab", "staff"}), course="nlp", models=frozenset({"T4"}))
    office.wait(11 * HOUR)
    office.running("bob", 1, 24, models=frozenset({"A100"}))
    office.wait(2 * HOUR)
    expected: dict[By, dict[str, int]] = {
        "user": {"ann": 26, "bob": 2},
        "group": {"": 2, "lab": 26, "staff": 26},
        "course": {"": 2, "nlp": 26},
        "model": {"A100": 2, "T4": 26},
        "day": {"2027-03-01": 25, "2027-03-02": 3},
    }
    for by, hours in expected.items():
        assert usage.running_ms(office.desk, EVER, by=by) == {key: 3_600_000 * amount for key, amount in hours.items()}
        assert usage.totals(office.desk, by, EVER) == {}
    office.stop(first)
    for by, hours in expected.items():
        assert both(office, by, EVER) == {key: 3_600_000 * amount for key, amount in hours.items()}


def test_what_has_not_begun_uses_nothing(office: Office) -> None:
    office.fit(gpus(2))
    office.granted("ann")
    office.wait(HOUR)
    assert usage.running_ms(office.desk, EVER) == {}


@pytest.mark.parametrize("everything", [False, True])
def test_leases_that_are_listed(office: Office, everything: bool) -> None:
    office.fit(gpus(3))
    first = office.running("ann")
    office.wait(HOUR)
    second = office.running("bob")
    office.wait(HOUR)
    third = office.running("ann", server="lab")
    closed = office.stop(first)
    listed = [third, second, closed] if everything else [third, second]
    assert usage.leases(office.desk, everything=everything) == listed
    assert usage.leases(office.desk, everything=everything, user="bob") == [second]
    assert usage.leases(office.desk, everything=True, limit=1) == [third]


def test_the_audit_is_given_newest_first(office: Office) -> None:
    for value in (1, 2, 3):
        office.give("user", "ann", "gpus", value)
    told = usage.audit(office.desk, 2)
    assert [entry.after and entry.after["value"] for entry in told] == ["3", "2"]


@settings(max_examples=25, deadline=None)
@given(
    lives=st.lists(st.tuples(st.integers(1, 2), st.integers(1, 100_000_000), st.booleans()), min_size=1, max_size=4),
    cuts=st.lists(st.integers(-100_000_000, 200_000_000), max_size=3),
    microseconds=st.integers(0, 999),
)
def test_a_cut_anywhere_loses_and_doubles_nothing(
    open_office: OpenOffice, lives: list[tuple[int, int, bool]], cuts: list[int], microseconds: int
) -> None:
    office = open_office()
    office.fit(gpus(8))
    office.give("default", "", "gpus", 8)
    for number, (count, length, ends) in enumerate(lives):
        lease = office.granted("ann", count, 24, server=str(number))
        leases.activate(office.desk, lease.id, "c0ffee", NOW)
        office.wait(length * MS + timedelta(microseconds=microseconds))
        if ends:
            office.stop(lease)
    edges = [EVER, *sorted(NOW + cut * MS for cut in cuts), office.clock.now + DAY]
    by: By
    for by in ("user", "day", "model"):
        whole = sum(both(office, by, edges[0], edges[-1]).values())
        assert whole == sum(sum(both(office, by, start, end).values()) for start, end in itertools.pairwise(edges))
        assert whole == sum(both(office, "user", EVER).values())
