"""What a process keeps of the ledger is always what the ledger says."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from spawner.ledger import Books, Ledger, memory
from spawner.ledger import ledger as ledgers
from spawner.policy.gpus import GpuState
from spawner.policy.leases import LeaseState, TicketState
from spawner.policy.quota import QuotaGrant, Subject

from ..support.ledgers import Place
from .examples import NOW, gpu, lease, ticket, whole

IDS = st.integers(0, 3)


class _Undone(Exception):
    pass


@contextmanager
def maybe(ledger: Ledger, keep: bool) -> Iterator[Books]:
    """Open a transaction that is rolled back unless it is to be kept."""
    undone = _Undone()
    with suppress(_Undone), ledger.transaction() as books, ExitStack() as last:
        if not keep:
            last.callback(_raise, undone)
        yield books


def _raise(error: Exception) -> None:
    raise error


def views(books: Books) -> tuple[object, ...]:
    return (
        set(books.leases.open()),
        set(books.tickets.live()),
        books.gpus.slots(),
        books.gpus.all(),
        books.quotas.all(),
    )


class TwoProcesses(RuleBasedStateMachine):
    """Two ledgers on one database, each with a memory of its own, and a third that starts afresh each time."""

    place: Place

    @initialize()
    def start(self) -> None:
        self.ledgers = [Ledger(self.place.url) for _ in range(2)]
        with self.ledgers[0].transaction() as books:
            books.quotas.replace_all([])
            for held in books.leases.open():
                books.leases.update(replace(held, state=LeaseState.CLOSED), held)
            for waits in books.tickets.live():
                books.tickets.update(replace(waits, state=TicketState.CANCELLED), waits)
        self.serial = getattr(type(self), "used", 0)

    def _next(self) -> int:
        type(self).used = self.serial = self.serial + 1
        return self.serial

    used = 0

    @rule(who=st.integers(0, 1), keep=st.booleans(), look=st.booleans(), which=IDS)
    def lease(self, who: int, keep: bool, look: bool, which: int) -> None:
        with maybe(self.ledgers[who], keep) as books:
            if look:
                views(books)
            held = [found for found in books.leases.open() if found.slots == (f"s{which}",)]
            if held:
                books.leases.update(replace(held[0], state=LeaseState.CLOSED), held[0])
            else:
                books.leases.insert(lease(self._next(), f"s{which}"))
            assert bool(held) == (f"s{which}" not in {slot for found in books.leases.open() for slot in found.slots})

    @rule(who=st.integers(0, 1), keep=st.booleans(), which=IDS)
    def change_lease(self, who: int, keep: bool, which: int) -> None:
        with maybe(self.ledgers[who], keep) as books:
            for found in sorted(books.leases.open(), key=lambda held: held.id)[which : which + 1]:
                changed = replace(found, container=f"c{self._next()}")
                assert books.leases.update(changed, found)
                assert changed in books.leases.open()

    @rule(who=st.integers(0, 1), keep=st.booleans(), look=st.booleans(), which=IDS)
    def queue(self, who: int, keep: bool, look: bool, which: int) -> None:
        with maybe(self.ledgers[who], keep) as books:
            if look:
                views(books)
            waiting = books.tickets.of_server(f"user{which}", "")
            if waiting:
                books.tickets.update(replace(waiting, state=TicketState.SERVED), waiting)
            else:
                books.tickets.insert(ticket(which, id=f"ticket{self._next()}"))

    @rule(who=st.integers(0, 1), keep=st.booleans(), found=st.sets(IDS), drained=IDS)
    def inventory(self, who: int, keep: bool, found: set[int], drained: int) -> None:
        gpus = [gpu(number) for number in sorted(found)]
        with maybe(self.ledgers[who], keep) as books:
            books.gpus.sync("local", gpus, [whole(one) for one in gpus], NOW)
            books.gpus.set_state(f"GPU-{drained}", GpuState.DRAINING, "ann", "", NOW)

    @rule(who=st.integers(0, 1), keep=st.booleans(), which=IDS)
    def quota(self, who: int, keep: bool, which: int) -> None:
        with maybe(self.ledgers[who], keep) as books:
            books.quotas.set(QuotaGrant(Subject.USER, f"user{which}", "gpus", self._next()))

    @rule(who=st.integers(0, 1))
    def reconnect(self, who: int) -> None:
        self.ledgers[who].close()

    @invariant()
    def all_see_the_same(self) -> None:
        fresh = Ledger(self.place.url)
        with fresh.reading() as books:
            expected = views(books)
        fresh.close()
        for ledger in getattr(self, "ledgers", []):
            with ledger.reading() as books:
                assert views(books) == expected

    def teardown(self) -> None:
        for ledger in getattr(self, "ledgers", []):
            ledger.close()


def test_two_processes_see_what_the_other_has_done(ledger: Ledger, place: Place) -> None:
    machine = type("Machine", (TwoProcesses,), {"place": place})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_reading_sees_one_moment(place: Place, ledger: Ledger) -> None:
    other = Ledger(place.url)
    with ledger.transaction() as books:
        books.leases.insert(lease(1, "a"))
    with other.reading() as then:
        with ledger.transaction() as books:
            books.leases.insert(lease(2, "b"))
            books.tickets.insert(ticket(1))
        with ledger.reading() as books:
            assert len(books.leases.open()) == 2
        # What was committed since it began is not seen, on whatever way it is asked for.
        assert [found.id for found in then.leases.open()] == ["lease1"]
        assert then.leases.get("lease2") is None
        assert then.tickets.waiting() == []
    with other.reading() as books:
        assert len(books.leases.open()) == 2
        assert len(books.tickets.waiting()) == 1
    other.close()


def test_what_is_known_is_not_written_over_by_who_knows_less(place: Place, ledger: Ledger) -> None:
    other, was = Ledger(place.url), lease(1, "a")
    with ledger.transaction() as books:
        books.leases.insert(was)
    for opened in (ledger, other):
        with opened.reading() as books:
            assert books.leases.open() == [was]
    changed = replace(was, state=LeaseState.ACTIVE, container="c1")
    with other.transaction() as books:
        assert books.leases.update(changed, was)
        assert books.leases.get(was.id) == changed
    closed = replace(changed, state=LeaseState.CLOSED)
    with ledger.transaction() as books:
        assert not books.leases.update(replace(was, container="c2"), was)
        assert books.leases.get(was.id) == changed
        assert books.leases.update(closed, changed)
        assert not books.leases.update(changed, changed)
        assert books.leases.of_server(was.user, was.server) is None
    with other.transaction() as books:
        assert books.leases.of_server(was.user, was.server) is None
        assert books.leases.get(was.id) == closed
        assert not books.leases.update(changed, changed)
    other.close()


@pytest.mark.parametrize("far", [0, 1, 3])
def test_who_has_missed_much_reads_all_afresh(
    place: Place, ledger: Ledger, far: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory, ledgers):
        monkeypatch.setattr(module, "FAR", far)
    other = Ledger(place.url)
    with other.reading() as books:
        assert books.leases.open() == []
    for number in range(6):
        with ledger.transaction() as books:
            books.leases.insert(lease(number, f"s{number}"))
        if number in {0, 1, 4}:
            with other.transaction() as books:
                assert len(books.leases.open()) == number + 1
                assert books.leases.of_server(f"user{number}", "") == lease(number, f"s{number}")
    other.close()


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_another_file_in_the_old_ones_place_is_noticed(ledger: Ledger, place: Place) -> None:
    path = place.url.removeprefix("sqlite:///")
    with ledger.transaction() as books:
        books.leases.insert(lease(1, "a"))
    other = Ledger(f"sqlite:///{path}.other")
    other.upgrade()
    with other.transaction() as books:
        books.leases.insert(lease(2, "a"))
    other.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    Path(f"{path}.other").replace(path)
    with ledger.reading() as books:
        assert [found.id for found in books.leases.open()] == ["lease2"]
