"""Homes as each database keeps and lists them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawner.ledger import HomeFilter, HomeSort, HomeSum, Ledger
from spawner.ledger.homes import position_of
from spawner.policy.homes import RESTS, Home, HomeState, Phase

from . import strategies as ours
from .examples import HOUR, NOW
from .test_round_trip import _Undo

many = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

_MAYBE = st.none() | ours.TIMES
_SIZE = st.integers(0, 2**60)
HOMES = st.builds(
    Home,
    volume=ours.TEXT.map(lambda text: f"v{text}"),
    owner=ours.TEXT,
    state=st.sampled_from(HomeState),
    state_since=ours.TIMES,
    version=_SIZE,
    size=st.none() | _SIZE,
    measured_at=_MAYBE,
    last_used_at=_MAYBE,
    in_use=st.booleans(),
    start_until=_MAYBE,
    owner_gone_at=_MAYBE,
    kept=st.booleans(),
    asked_at=_MAYBE,
    asked_by=ours.TEXT,
    why=ours.TEXT,
    delete_at=_MAYBE,
    phase=st.sampled_from(Phase),
    worker=ours.TEXT,
    beat_at=_MAYBE,
    done=_SIZE,
    archive=ours.TEXT,
    archive_size=st.none() | _SIZE,
    archived_at=_MAYBE,
    sha256=ours.TEXT,
    labels=st.dictionaries(ours.TEXT, ours.TEXT, max_size=3),
    error=ours.TEXT,
)


def home(name: str, state: HomeState = HomeState.PRESENT, **changes: object) -> Home:
    return replace(Home(f"v-{name}", name, state, NOW), **changes)  # type: ignore[arg-type]


@many
@given(was=HOMES, then=HOMES)
def test_a_home(ledger: Ledger, was: Home, then: Home) -> None:
    then = replace(then, volume=was.volume)
    with _Undo(ledger) as books:
        books.homes.insert(was)
        assert books.homes.get(was.volume) == was
        assert books.homes.of_owner(was.owner) == [was]
        books.homes.update(then)
        assert books.homes.all() == [then]
        books.homes.remove(was.volume)
        assert books.homes.all() == []


@many
@given(found=st.lists(HOMES, max_size=8, unique_by=lambda one: one.volume), sort=st.sampled_from(HomeSort))
@pytest.mark.parametrize("descending", [False, True])
def test_pages_hold_each_home_once(ledger: Ledger, found: list[Home], sort: HomeSort, descending: bool) -> None:
    wanted = HomeFilter(states=frozenset(HomeState))
    with _Undo(ledger) as books:
        books.homes.put(found, ())
        everything = books.homes.page(wanted, sort, 100, descending=descending)
        assert sorted(one.volume for one in everything) == sorted(one.volume for one in found)
        if sort is HomeSort.SIZE:
            sizes = [-1 if one.size is None else one.size for one in everything]
            assert sizes == sorted(sizes, reverse=descending)
        pages, after = [], None
        while page := books.homes.page(wanted, sort, 3, after, descending=descending):
            pages += page
            after = position_of(page[-1], sort)
        assert pages == everything


def test_filters(ledger: Ledger) -> None:
    found = [
        home("Ann_Lee", last_used_at=NOW),
        home("ann%", owner_gone_at=NOW),
        home("bob", HomeState.ARCHIVED, error="full"),
        home("eve", HomeState.DELETED),
    ]
    with ledger.transaction() as books:
        books.homes.put(found, ())

    def names(**wanted: object) -> list[str]:
        with ledger.reading() as books:
            page = books.homes.page(HomeFilter(**wanted), HomeSort.OWNER, 10)  # type: ignore[arg-type]
            return sorted(one.owner for one in page)

    assert names() == ["Ann_Lee", "ann%", "bob"]
    assert names(search="ANN") == ["Ann_Lee", "ann%"]
    assert names(search="_") == ["Ann_Lee"]
    assert names(search="%") == ["ann%"]
    assert names(owner="bob") == ["bob"]
    assert names(states=frozenset({HomeState.DELETED})) == ["eve"]
    assert names(gone=True) == ["ann%"]
    assert names(gone=False, failed=False) == ["Ann_Lee"]
    assert names(failed=True) == ["bob"]
    assert names(unused_since=NOW - timedelta(days=1)) == ["ann%", "bob"]


def test_sums_and_what_is_to_be_done(ledger: Ledger) -> None:
    found = [
        home("ann", size=5),
        home("bob", size=7, archive="left-over"),
        home("cyn", HomeState.ARCHIVED, archive="a", sha256="5a", size=9, archive_size=3),
        home("dan", HomeState.DELETING, asked_at=NOW, archive="b", sha256="5a"),
        home("eve", HomeState.ARCHIVING, asked_at=NOW - HOUR),
    ]
    with ledger.transaction() as books:
        assert books.homes.sums() == []
        assert books.homes.largest() == 0
        books.homes.put(found, ())
    with ledger.reading() as books:
        sums = {one.state: one for one in books.homes.sums()}
        assert sums[HomeState.PRESENT] == HomeSum(HomeState.PRESENT, 2, 12, 0)
        assert sums[HomeState.ARCHIVED] == HomeSum(HomeState.ARCHIVED, 1, 9, 3)
        assert books.homes.largest() == 9
        to_do = [one.owner for one in books.homes.to_do(RESTS)]
        assert sorted(to_do) == ["bob", "dan", "eve"]
        assert to_do.index("eve") < to_do.index("dan")
