"""What the database itself refuses, and what is written only if nothing has changed meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from spawner.errors import LeaseLost
from spawner.ledger import AuditEntry, Ledger
from spawner.ledger.connect import parse
from spawner.policy.leases import LeaseState, TicketState

from ..support.ledgers import Place
from .examples import HOUR, NOW, lease, ticket, usage


@contextmanager
def refused(ledger: Ledger, *words: str) -> Iterator[None]:
    """Expect an error that says so, and nothing written."""
    with ledger.reading() as books:
        before = books.leases.history(), books.tickets.live(), books.usage.rows()
    with pytest.raises(LeaseLost) as caught:
        yield
    for word in words:
        assert word in str(caught.value)
    with ledger.reading() as books:
        assert (books.leases.history(), books.tickets.live(), books.usage.rows()) == before


def test_no_slot_is_held_twice(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        books.leases.insert(lease(1, "a", "b"))
    with refused(ledger, "slot", "held"), ledger.transaction() as books:
        books.leases.insert(lease(2, "c", "b"))


def test_a_slot_is_free_again_when_its_lease_is_closed(ledger: Ledger) -> None:
    was = lease(1, "a")
    with ledger.transaction() as books:
        books.leases.insert(was)
    with ledger.transaction() as books:
        assert books.leases.update(replace(was, state=LeaseState.CLOSED, closed_at=NOW), was)
        books.leases.insert(lease(2, "a"))
    with ledger.reading() as books:
        assert [found.id for found in books.leases.open()] == ["lease2"]


def test_a_closed_lease_does_not_come_back_over_another(ledger: Ledger) -> None:
    closed = lease(1, "a", state=LeaseState.CLOSED)
    with ledger.transaction() as books:
        books.leases.insert(closed)
        books.leases.insert(lease(2, "a"))
    with refused(ledger, "slot", "held"), ledger.transaction() as books:
        books.leases.update(replace(closed, state=LeaseState.ACTIVE), closed)


def test_a_lease_that_gets_other_slots_gives_its_own_back(ledger: Ledger) -> None:
    was = lease(1, "a")
    with ledger.transaction() as books:
        books.leases.insert(was)
        assert books.leases.update(replace(was, slots=("b",)), was)
        books.leases.insert(lease(2, "a"))
    with refused(ledger, "slot", "held"), ledger.transaction() as books:
        books.leases.insert(lease(3, "b"))


def test_a_server_has_one_open_lease(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        books.leases.insert(lease(1, "a", state=LeaseState.CLOSED))
        books.leases.insert(lease(2, "a", user="user1", state=LeaseState.RELEASING))
        books.leases.insert(lease(3, "b", user="user1", server="second"))
    with refused(ledger, "server", "lease"), ledger.transaction() as books:
        books.leases.insert(lease(4, "c", user="user1"))


def test_a_server_has_one_live_ticket(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        books.tickets.insert(ticket(1, state=TicketState.SERVED))
        books.tickets.insert(ticket(2, request=ticket(1).request, state=TicketState.OFFERED))
        books.tickets.insert(ticket(3, request=replace(ticket(1).request, server="second")))
    with refused(ledger, "server", "queue"), ledger.transaction() as books:
        books.tickets.insert(ticket(4, request=ticket(1).request))


def test_nothing_is_booked_twice(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        books.usage.insert([usage("1", "ann", NOW - HOUR, NOW)])
    with refused(ledger, "booked"), ledger.transaction() as books:
        books.usage.insert([usage("2", "ann", NOW - HOUR, NOW), usage("1", "ann", NOW - HOUR, NOW)])


@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = ''", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize(("table", "column"), [("usage", "course"), ("audit", "why")])
def test_what_was_booked_and_done_is_final(
    ledger: Ledger, place: Place, table: str, column: str, statement: str
) -> None:
    if place.kind == "sqlite" and statement.startswith("TRUNCATE"):
        statement = "DELETE FROM {} WHERE true"  # SQLite's way to empty a table
    with ledger.transaction() as books:
        books.usage.insert([usage("1", "ann", NOW - HOUR, NOW)])
        books.audit.append(AuditEntry(NOW, "ann", "gpu.drain", "gpu:1", why="too hot"))
    with create_engine(parse(place.url)).connect() as connection:
        with pytest.raises(IntegrityError, match=f"rows of {table} are final"):
            connection.execute(text(statement.format(table, column)))
        connection.rollback()
    with ledger.reading() as books:
        assert len(books.usage.rows()) == len(books.audit.list()) == 1


def test_a_lease_changed_meanwhile_is_not_written(ledger: Ledger) -> None:
    was = lease(1, "a")
    with ledger.transaction() as books:
        books.leases.insert(was)
    first = replace(was, state=LeaseState.ACTIVE, changed_at=NOW + HOUR)
    later = replace(was, container="c1", changed_at=NOW + HOUR)
    with ledger.transaction() as books:
        assert books.leases.update(first, was)
    for stale in (was, later, replace(was, state=LeaseState.ACTIVE)):
        with ledger.transaction() as books:
            assert not books.leases.update(replace(was, state=LeaseState.CLOSED), stale)
    with ledger.reading() as books:
        assert books.leases.get(was.id) == first


def test_a_ticket_changed_meanwhile_is_not_written(ledger: Ledger) -> None:
    was = ticket(1)
    with ledger.transaction() as books:
        books.tickets.insert(was)
        assert books.tickets.update(replace(was, moved_up=1), was)
        assert not books.tickets.update(replace(was, state=TicketState.CANCELLED), was)
        assert books.tickets.get(was.id) == replace(was, moved_up=1)


def test_what_is_not_there_is_not_written(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        assert not books.leases.update(lease(1, "a"), lease(1, "a"))
        assert not books.tickets.update(ticket(1), ticket(1))


def test_an_exception_takes_back_all(ledger: Ledger) -> None:
    def write_and_fail() -> None:
        with ledger.transaction() as books:
            books.leases.insert(lease(1, "a"))
            books.tickets.insert(ticket(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with ledger.reading() as books:
        assert books.leases.history() == []
        assert books.tickets.get("ticket1") is None
