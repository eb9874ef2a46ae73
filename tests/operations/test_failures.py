"""Whatever fails in the middle of an operation, and wherever: nothing is half done."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, event

from spawner.ledger import Ledger
from spawner.operations import ends, inventory, leases, offers, places, quotas, repairs
from spawner.operations.quotas import make_grant
from spawner.policy.gpus import GpuState
from spawner.policy.leases import GpuRequest, Lease
from spawner.policy.model import AtEnd, IfBusy
from spawner.policy.observed import ObservedContainer
from spawner.policy.quota import Subject
from spawner.policy.reconcile import Activate, Adopt, Quarantine, Release, Seen, Withdraw

from ..support.office import HOUR, MINUTE, NOW, Office
from ..support.slots import gpus


class Failed(Exception):
    pass


@contextlib.contextmanager
def failing(ledger: Ledger, after: int) -> Iterator[None]:
    """Fail before the next statement but so many, commits counted too."""
    left = [after]

    def count(*_: object) -> None:
        if left[0] == 0:
            raise Failed
        left[0] -= 1

    def count_commit(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        if isinstance(driver, psycopg.Connection) and driver.info.transaction_status is TransactionStatus.IDLE:
            return  # committed already, by a statement that was counted
        try:
            count()
        except Failed:
            connection.connection.rollback()  # as a database does whose commit fails
            raise

    class Cursor(psycopg.Cursor[Any]):
        def execute(self, *arguments: Any, **options: Any) -> Self:
            count()
            return super().execute(*arguments, **options)

    def watch(driver: Any, *_: object) -> None:
        driver.cursor_factory = Cursor

    def leave(driver: Any, *_: object) -> None:
        if driver is not None:
            driver.cursor_factory = psycopg.Cursor

    listeners: dict[str, Callable[..., None]] = {"commit": count_commit}
    if ledger._engine.dialect.name == "postgresql":  # not all that it executes goes through SQLAlchemy
        listeners |= {"checkout": watch, "checkin": leave}
    else:
        listeners |= {"before_cursor_execute": count}
    for name, listener in listeners.items():
        event.listen(ledger._engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(ledger._engine, name, listener)


def view(ledger: Ledger) -> tuple[Any, ...]:
    """What a process believes, from what it keeps in memory."""
    with ledger.reading() as books:
        return (
            sorted(books.leases.open(), key=lambda lease: lease.id),
            sorted(books.tickets.live(), key=lambda ticket: ticket.id),
            books.gpus.all(),
            books.gpus.slots(),
            books.quotas.all(),
        )


@dataclass
class Scene:
    """Some of everything: what runs, starts, ends, waits, is offered, has lapsed."""

    office: Office
    running: Lease
    pending: Lease
    releasing: Lease
    offered: Lease
    waiting: str

    @property
    def container(self) -> ObservedContainer:
        return ObservedContainer("c0ffee", "x", "zoe", "", "gone", ("SIM-local-5",), running=True, started_at=NOW)


@pytest.fixture
def scene(office: Office) -> Scene:
    office.fit(gpus(6))
    office.give("user", "ann", "gpu_hours", 100, NOW + HOUR)
    running, pending, releasing = office.running("ann", 1, 8), office.granted("bob"), office.running("eve")
    first = office.running("joe", 2)
    leases.release(office.desk, releasing.id, "stopped")
    office.running("max", server="a")
    waiting = office.queued("kim", 2)
    office.wait(MINUTE)
    office.queued("lea", 1, 20)
    office.wait(MINUTE)
    office.queued("lea", 1, 20, server="b")
    office.stop(first)
    offered = office.offer_to(waiting)
    office.reserve("nlp", NOW + 10 * HOUR, NOW + 12 * HOUR, *running.slots)
    last = next(ticket for ticket in offers.whole_queue(office.desk) if ticket.ticket.request.server == "b").ticket
    return Scene(office, running, pending, releasing, offered, last.id)


OPERATIONS: dict[str, Callable[[Scene], object]] = {
    "acquire": lambda it: leases.acquire(it.office.desk, GpuRequest("new", "", "gpu", 1, 4)),
    "acquire an offer": lambda it: leases.acquire(it.office.desk, GpuRequest("kim", "", "gpu", 2, 4)),
    "acquire something else": lambda it: leases.acquire(it.office.desk, GpuRequest("kim", "", "gpu", 1, 4)),
    "acquire no more": lambda it: leases.acquire(it.office.desk, GpuRequest("lea", "", "gpu", 1, 30), IfBusy.REFUSE),
    "bind": lambda it: leases.bind(it.office.desk, it.pending.id, "c0ffee"),
    "activate": lambda it: leases.activate(it.office.desk, it.pending.id, "c0ffee", NOW),
    "release": lambda it: leases.release(it.office.desk, it.running.id, "stopped"),
    "close": lambda it: leases.close(it.office.desk, it.releasing.id, NOW + MINUTE),
    "extend": lambda it: leases.extend(it.office.desk, it.running.id, 1, "olga", by_admin=True),
    "end": lambda it: leases.end(it.office.desk, it.running.id, "olga", "why"),
    "end an offer": lambda it: leases.end(it.office.desk, it.offered.id, "olga", "why"),
    "choose": lambda it: leases.choose_at_end(it.office.desk, it.running.id, AtEnd.STOP),
    "report": lambda it: leases.report(it.office.desk, it.running.id, busy=True, problem="it sees 0 of 1"),
    "warn": lambda it: ends.note_warning(it.office.desk, it.running.id, "Too much."),
    "idle": lambda it: ends.note_idle(it.office.desk, it.running, NOW),
    "cancel": lambda it: offers.cancel(it.office.desk, "kim", ""),
    "withdraw": lambda it: offers.withdraw(it.office.desk, it.offered.id),
    "move up": lambda it: offers.move_up(it.office.desk, it.waiting, "olga", "why"),
    "drop": lambda it: places.drop(it.office.desk, "kim", None, "olga", "why"),
    "set a quota": lambda it: quotas.set_quota(
        it.office.desk, make_grant("user", "ann", "gpu_hours", 1, None, "olga", "", it.office.clock.now)
    ),
    "unset a quota": lambda it: quotas.unset_quota(it.office.desk, Subject.USER, "ann", "gpu_hours", "olga", ""),
    "import quotas": lambda it: quotas.replace_all(
        it.office.desk, [make_grant("user", "lea", "gpus", 1, None, "olga", "", it.office.clock.now)], "olga", ""
    ),
    "end grants": lambda it: quotas.grants_ended(it.office.desk),
    "sync": lambda it: it.office.fit(gpus(9, first=2)),
    "set a state": lambda it: inventory.set_state(it.office.desk, "gpu0", GpuState.DRAINING, "olga", "why"),
    "doubt": lambda it: inventory.doubt(it.office.desk, ["SIM-local-0"], "why"),
    "repair: activate": lambda it: repairs.apply(
        it.office.desk, Activate(it.pending, it.container, it.office.clock.now)
    ),
    "repair: seen": lambda it: repairs.apply(it.office.desk, Seen(it.running, it.container, it.office.clock.now)),
    "repair: release": lambda it: repairs.apply(it.office.desk, Release(it.running, NOW + MINUTE, "container_gone")),
    "repair: withdraw": lambda it: repairs.apply(it.office.desk, Withdraw(it.offered)),
    "repair: adopt": lambda it: repairs.apply(it.office.desk, Adopt(it.container)),
    "repair: quarantine": lambda it: repairs.apply(
        it.office.desk, Quarantine(("SIM-local-0", "SIM-local-1"), it.container, "why")
    ),
}
_LATER = {"withdraw", "repair: withdraw", "end grants"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_fails_at_every_step(scene: Scene, name: str) -> None:
    operate, office = OPERATIONS[name], scene.office
    if name in _LATER:
        office.wait(HOUR)
    if name == "repair: adopt":
        leases.close(office.desk, office.lease(_holder(office, "SIM-local-5")).id, None)
        offers.cancel(office.desk, "lea", "")
        offers.cancel(office.desk, "lea", "b")
    if name == "extend":
        for server in ("", "b"):
            offers.cancel(office.desk, "lea", server)
    before, believed = office.tables(), view(office.ledger)
    steps = 0
    while True:
        try:
            with failing(office.ledger, steps):
                result = operate(scene)
            break
        except Failed:
            assert office.tables() == before
            assert view(office.ledger) == believed
        steps += 1
        assert steps < 200
    assert steps > 2
    assert result is None or result
    after = office.tables()
    assert {table for table, rows in after.items() if rows != before[table]} - {"pool"}
    # Nor does the process believe what another one would not see.
    other = Ledger(office.place.url)
    try:
        assert view(other) == view(office.ledger)
    finally:
        other.close()


def _holder(office: Office, slot: str) -> str:
    with office.ledger.reading() as books:
        return next(lease.id for lease in books.leases.open() if slot in lease.slots)


def test_a_ledger_that_comes_back_goes_on(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    ticket = office.queued("bob")
    office.wait(timedelta(seconds=30))
    for step in range(3):
        with failing(office.ledger, step), pytest.raises(Failed):
            leases.close(office.desk, lease.id, office.clock.now)
    assert office.booked() == []
    leases.close(office.desk, lease.id, NOW + timedelta(seconds=30))
    assert [row.gpu_ms for row in office.booked()] == [30_000]
    assert office.offer_to(ticket)
