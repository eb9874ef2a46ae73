"""What is written comes back the same, from each database."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawner.errors import LeaseLost
from spawner.ledger import AuditEntry, Books, Ledger
from spawner.policy.gpus import Gpu, GpuState
from spawner.policy.leases import Lease, LeaseState, Reservation, Ticket, TicketState, UsageRow
from spawner.policy.quota import QuotaGrant, Subject

from . import strategies as ours

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
# One ledger for all examples: each takes back what it wrote by an exception.
many = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class _Undone(Exception):
    pass


class _Undo:
    """A transaction that is rolled back at its end."""

    def __init__(self, ledger: Ledger) -> None:
        self._transaction = ledger.transaction()

    def __enter__(self) -> Books:
        return self._transaction.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        failure = error or _Undone()
        try:
            self._transaction.__exit__(type(failure), failure, failure.__traceback__)
        except _Undone:
            pass


@many
@given(lease=ours.LEASES)
def test_a_lease(ledger: Ledger, lease: Lease) -> None:
    with _Undo(ledger) as books:
        books.leases.insert(lease)
        assert books.leases.get(lease.id) == lease
        assert books.leases.open() == ([lease] if lease.state is not LeaseState.CLOSED else [])
        assert books.leases.history() == [lease]
    with ledger.reading() as books:
        assert books.leases.get(lease.id) is None
        assert books.leases.open() == []


@many
@given(was=ours.LEASES, then=ours.LEASES)
def test_a_changed_lease(ledger: Ledger, was: Lease, then: Lease) -> None:
    then = replace(then, id=was.id)
    with _Undo(ledger) as books:
        books.leases.insert(was)
        assert books.leases.update(then, was)
        assert books.leases.get(was.id) == then
        assert books.leases.open() == ([then] if then.state is not LeaseState.CLOSED else [])


@many
@given(was=ours.TICKETS, then=ours.TICKETS)
def test_a_ticket(ledger: Ledger, was: Ticket, then: Ticket) -> None:
    then = replace(then, id=was.id)
    with _Undo(ledger) as books:
        books.tickets.insert(was)
        assert books.tickets.get(was.id) == was
        assert books.tickets.waiting() == ([was] if was.state is TicketState.WAITING else [])
        assert books.tickets.update(then, was)
        assert books.tickets.get(was.id) == then
        assert books.tickets.waiting() == ([then] if then.state is TicketState.WAITING else [])


@many
@given(was=ours.RESERVATIONS, then=ours.RESERVATIONS, now=ours.TIMES)
def test_a_reservation(ledger: Ledger, was: Reservation, then: Reservation, now: datetime) -> None:
    then = replace(then, id=was.id)
    with _Undo(ledger) as books:
        books.reservations.insert(was)
        assert books.reservations.get(was.id) == was
        assert books.reservations.update(then)
        assert books.reservations.get(was.id) == then
        assert books.reservations.upcoming(now) == ([then] if not then.cancelled and then.ends_at > now else [])


@many
@given(rows=st.lists(ours.USAGE, max_size=4, unique_by=lambda row: (row.lease, row.slot)))
def test_usage(ledger: Ledger, rows: list[UsageRow]) -> None:
    with _Undo(ledger) as books:
        books.usage.insert(rows)
        assert set(books.usage.rows()) == set(rows)


@many
@given(
    before=st.lists(ours.GRANTS, max_size=3, unique_by=lambda grant: (grant.subject, grant.name, grant.dimension)),
    grant=ours.GRANTS,
)
def test_quotas(ledger: Ledger, before: list[QuotaGrant], grant: QuotaGrant) -> None:
    key = grant.subject, grant.name, grant.dimension
    old = next((other for other in before if (other.subject, other.name, other.dimension) == key), None)
    with _Undo(ledger) as books:
        first = books.quotas.version()
        books.quotas.replace_all(before)
        assert set(books.quotas.all()) == set(before)
        assert books.quotas.version() != first
        assert books.quotas.set(grant) == old
        assert set(books.quotas.all()) == {*before, grant} - {old}
        kept = next(other for other in books.quotas.all() if other == grant)
        assert type(kept.value) is type(grant.value)
        assert books.quotas.unset(*key) == grant
        assert set(books.quotas.all()) == set(before) - {old}
        assert books.quotas.unset(*key) is None


@many
@given(entry=ours.AUDIT)
def test_audit(ledger: Ledger, entry: AuditEntry) -> None:
    with _Undo(ledger) as books:
        books.audit.append(entry)
        (kept,) = books.audit.list()
        assert kept.id > 0
        assert replace(kept, id=0) == entry


@many
@given(data=st.data(), gpus=st.lists(ours.GPUS, max_size=3, unique_by=lambda gpu: gpu.uuid))
def test_the_inventory(ledger: Ledger, data: st.DataObject, gpus: list[Gpu]) -> None:
    slots = [slot for gpu in gpus for slot in data.draw(ours.slots_of(gpu))]
    states = {gpu.uuid: gpu for gpu in gpus}
    if len({slot.id for slot in slots}) < len(slots):
        slots = list({slot.id: slot for slot in slots}.values())
    with _Undo(ledger) as books:
        books.gpus.sync("here", gpus, slots, NOW)
        assert set(books.gpus.all()) == set(gpus)
        usable = {gpu.uuid for gpu in gpus if gpu.healthy and states[gpu.uuid].state is GpuState.IN_SERVICE}
        assert set(books.gpus.slots()) == {replace(slot, usable=slot.gpu in usable) for slot in slots}
        assert not books.gpus.sync("here", gpus, slots, NOW + timedelta(days=1))


def test_times_are_kept_to_the_millisecond(ledger: Ledger) -> None:
    at = datetime(2027, 3, 1, 12, 0, 0, 999_999, tzinfo=UTC)
    lease = Lease("1", "ann", "", "gpu", LeaseState.PENDING, ("a",), at, at, at)
    with ledger.transaction() as books:
        books.leases.insert(lease)
    with ledger.transaction() as books:
        kept = books.leases.get("1")
        assert kept is not None
        assert kept.granted_at == at.replace(microsecond=999_000)
        # Whoever still has the exact time is understood.
        assert books.leases.update(replace(kept, state=LeaseState.ACTIVE), lease)


def test_a_time_without_a_zone_is_refused(ledger: Ledger) -> None:
    naive = NOW.replace(tzinfo=None)
    lease = Lease("1", "ann", "", "gpu", LeaseState.PENDING, ("a",), NOW, naive, NOW)
    with pytest.raises(ValueError, match="no zone"), ledger.transaction() as books:
        books.leases.insert(lease)
    with pytest.raises(ValueError, match="no zone"), ledger.reading() as books:
        books.usage.totals("user", naive, NOW)


@pytest.mark.parametrize(("text", "said"), [("a\0b", "NUL"), ("\ud800", "Unicode")])
def test_text_that_one_database_cannot_keep_is_refused_by_both(ledger: Ledger, text: str, said: str) -> None:
    lease = Lease("1", text, "", "gpu", LeaseState.PENDING, (), NOW, NOW, NOW)
    with pytest.raises(ValueError, match=said), ledger.transaction() as books:
        books.leases.insert(lease)


def test_a_number_that_is_none_is_no_quota(ledger: Ledger) -> None:
    grant = QuotaGrant(Subject.USER, "ann", "gpu_hours", math.nan)
    with pytest.raises(ValueError, match="JSON"), ledger.transaction() as books:
        books.quotas.set(grant)


def test_nothing_is_written_while_reading(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError, match="transaction"), ledger.reading() as books:
        books.audit.append(AuditEntry(NOW, "ann", "gpu.drain", "gpu:1"))
    with pytest.raises(RuntimeError, match="transaction"), ledger.reading() as books:
        books.usage.insert([UsageRow("1", "ann", frozenset(), "", "a", "T4", NOW, NOW, 0)])


def test_a_transaction_within_another_is_a_fault_of_ours(ledger: Ledger) -> None:
    with ledger.transaction(), pytest.raises(RuntimeError, match="within"), ledger.reading():
        pass
    with ledger.reading() as books:  # and does not last
        assert books.leases.open() == []


def test_twice_is_refused_by_the_error_for_it(ledger: Ledger) -> None:
    with ledger.transaction() as books:
        books.reservations.insert(Reservation("1", "course", ("a",), NOW, NOW))
    with pytest.raises(LeaseLost), ledger.transaction() as books:
        books.reservations.insert(Reservation("1", "course", ("a",), NOW, NOW))
