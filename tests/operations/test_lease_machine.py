"""The machine of `tests.policy.test_lease_machine`, on a ledger in each database, in step with the book in memory."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, cast

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from spawner.ledger import Ledger
from spawner.ledger.tables import metadata
from spawner.operations import usage
from spawner.operations.metrics import LedgerSnapshot, Surveyor
from spawner.operations.usage import By
from spawner.policy.gpus import Slot

from ..support.lease_book import LeaseBook, MemoryBook
from ..support.lease_machine import HUB, START, LeaseMachine
from ..support.ledger_book import LedgerBook
from ..support.ledgers import KINDS, empty_place


@pytest.fixture(params=KINDS)
def open_empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Give what empties the ledger and opens it anew: there is one hub after the other."""
    opened: list[Ledger] = []
    with empty_place(request.param, tmp_path, request) as place:
        made = Ledger(place.url)
        made.upgrade()
        made.close()
        if place.kind == "sqlite":
            path = Path(place.url.removeprefix("sqlite:///"))
            template = shutil.copy(path, path.with_suffix(".template"))

        def open_empty() -> Ledger:
            while opened:
                opened.pop().close()
            if place.kind == "sqlite":
                for old in path.parent.glob(f"{path.name}*"):
                    old.unlink()  # with what the write-ahead log has left
                shutil.copy(template, path)
            else:
                _empty(place.url)
            opened.append(Ledger(place.url))
            return opened[-1]

        yield open_empty
        while opened:
            opened.pop().close()


def _empty(url: str) -> None:
    names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables if table.name != "pool")
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")  # past the rule that some rows are final
        connection.execute(f"TRUNCATE {names}")


class InStep:
    """Two books that are told the same, and must answer the same."""

    def __init__(self, one: LeaseBook, other: LeaseBook) -> None:
        self._books = one, other

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def both(*arguments: Any) -> Any:
            one, other = (getattr(book, name)(*arguments) for book in self._books)
            assert _in_order(one) == _in_order(other)
            return other

        return both


def _in_order(answer: Any) -> Any:
    """Sort what comes in no order; of slots, only what changes."""
    if not isinstance(answer, list):
        return answer
    return sorted(((one.id, one.usable) if isinstance(one, Slot) else one for one in answer), key=repr)


BOUNDS_MS = (60_000, 3_600_000)
FOR_EVER = START - timedelta(days=999), START + timedelta(days=9999)


def _counters(found: LedgerSnapshot) -> dict[tuple[str, str], int]:
    """Give all that only ever grows."""
    kinds: dict[str, Mapping[Any, int]] = {
        "user": found.users,
        "group": found.groups,
        "course": found.courses,
        "ticket": found.tickets_over,
        "wait": dict(enumerate(found.waits)),
        "repair": found.repairs,
        "offers": {"lapsed": found.offers_lapsed},
        "waited": {"ms": found.waited_ms},
    }
    return {(kind, str(name)): value for kind, values in kinds.items() for name, value in values.items()}


class OnLedger(LeaseMachine):
    open_empty: ClassVar[Callable[[], Ledger]]

    def make_book(self) -> LeaseBook:
        book = LedgerBook(type(self).open_empty(), HUB, self.clock)
        self.desk = book.desk
        self.surveyor = Surveyor(self.desk, BOUNDS_MS)
        self.counted: dict[tuple[str, str], int] = {}
        return cast("LeaseBook", InStep(MemoryBook(HUB, self.clock), book))

    @invariant()
    def counters_never_fall(self) -> None:
        found = self.surveyor.snapshot()
        counted = _counters(found)
        fallen = {key: (was, counted.get(key, 0)) for key, was in self.counted.items() if was > counted.get(key, 0)}
        assert not fallen
        self.counted = counted
        anew = Surveyor(self.desk, BOUNDS_MS).snapshot()  # of a janitor that starts now
        assert _counters(anew) == counted
        assert anew.allowances == found.allowances
        for lease in found.leases:
            assert lease.user in found.users
            assert lease.groups <= found.groups.keys()
        if not self.stepped_back:
            for user, allowance in found.allowances.items():
                assert allowance.used_ms == self._spent(user).used_ms

    def teardown(self) -> None:
        super().teardown()
        self.counters_never_fall()
        if not self.book.open_leases():
            found = self.surveyor.snapshot()
            by_kind: dict[By, Mapping[str, int]] = {
                "user": found.users,
                "group": found.groups,
                "course": found.courses,
            }
            for by, counted in by_kind.items():
                booked = usage.totals(self.desk, by, *FOR_EVER)
                assert {name: ms for name, ms in booked.items() if by != "course" or name} == +Counter(counted)


def test_whatever_happens_to_leases_in_a_ledger(open_empty: Callable[[], Ledger]) -> None:
    machine = type("Machine", (OnLedger,), {"open_empty": staticmethod(open_empty)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
