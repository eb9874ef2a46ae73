"""Everything at once, by threads and by processes: no slot twice, no ticket lost, no time booked twice."""

import json
import subprocess
import sys
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from spawner.operations import leases, offers, repairs
from spawner.operations.desk import Desk
from spawner.operations.leases import Granted, Queued
from spawner.policy.accounting import length_ms
from spawner.policy.leases import GpuRequest, LeaseState, TicketState
from spawner.policy.model import IfBusy

from ..support.office import HOUR, LIMITS, Office
from ..support.slots import gpus, shared
from .crowd import Told, jostle

ROOT = Path(__file__).parents[2]


def by_the_clock(office: Office) -> Desk:
    return Desk(office.ledger, LIMITS)


def check(office: Office, told: list[Told]) -> None:
    """Look at what was written, then serve all who still wait."""
    desk = by_the_clock(office)
    assert offers.servable(desk) == []  # whatever made room has made the offers too
    with office.ledger.reading() as books:
        history = books.leases.history(limit=1_000_000)
        tickets = {ticket_id: books.tickets.get(ticket_id) for one in told for ticket_id in one.tickets}
        booked = books.usage.rows()
    _one_at_a_time(
        (slot, lease.granted_at, lease.closed_at or datetime.max.replace(tzinfo=UTC))
        for lease in history
        for slot in lease.slots
    )
    _one_at_a_time((row.slot, row.started_at, row.ended_at) for row in booked)
    assert {lease.id for lease in history} >= {lease_id for one in told for lease_id in one.leases}
    ran = {lease.id: lease for lease in history if lease.state is LeaseState.CLOSED and lease.started_at}
    assert sorted((row.lease, row.slot) for row in booked) == sorted(
        (lease.id, slot) for lease in ran.values() for slot in lease.slots
    )
    assert all(row.gpu_ms == length_ms(row.started_at, row.ended_at) for row in booked)
    assert all(tickets.values())
    _serve_all(office)


def _one_at_a_time(held: object) -> None:
    by_slot = defaultdict(list)
    for slot, start, end in held:  # type: ignore[attr-defined]
        by_slot[slot].append((start, end))
    assert by_slot
    for times in by_slot.values():
        assert all(first[1] <= second[0] for first, second in pairwise(sorted(times)))


def _serve_all(office: Office) -> None:
    desk = by_the_clock(office)
    with office.ledger.reading() as books:
        waiting = {ticket.id for ticket in books.tickets.live()}
    for _ in range(1000):
        open_leases = repairs.open_leases(desk)
        if not open_leases:
            break
        for lease in open_leases:
            if lease.state is LeaseState.OFFERED:
                ticket = offers.ticket_of(desk, lease)
                assert ticket is not None
                assert isinstance(leases.acquire(desk, ticket.request), Granted)
            leases.close(desk, lease.id, None)
    with office.ledger.reading() as books:
        assert books.tickets.live() == []
        assert {books.tickets.get(ticket_id).state for ticket_id in waiting} <= {TicketState.SERVED}  # type: ignore[union-attr]


def test_threads(office: Office) -> None:
    office.fit(gpus(3), shared(2, index=3))
    desk = by_the_clock(office)
    with ThreadPoolExecutor(6) as threads:
        told = list(threads.map(lambda seed: jostle(desk, seed, 60), range(6)))
    assert sum(len(one.leases) for one in told) > 5
    check(office, told)


def test_processes(office: Office) -> None:
    office.fit(gpus(3), shared(2, index=3))
    command = [sys.executable, "-m", "tests.operations.crowd", office.place.url]
    running = [
        subprocess.Popen(
            [*command, str(seed), "120"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for seed in range(3)
    ]
    try:
        for started in running:
            assert started.stdout is not None
            assert started.stdout.readline() == "ready\n"
        for started in running:
            assert started.stdin is not None
            started.stdin.write("go\n")
            started.stdin.flush()
        told = [Told(**json.loads(started.communicate(timeout=120)[0])) for started in running]
    finally:
        for started in running:
            if started.poll() is None:
                started.kill()
                started.wait()
    assert [started.returncode for started in running] == [0, 0, 0]
    assert sum(len(one.leases) for one in told) > 5
    check(office, told)


def test_as_many_as_there_are_get_one(office: Office) -> None:
    office.fit(gpus(4))
    desk, gate = by_the_clock(office), threading.Barrier(8)

    def ask(number: int) -> leases.Answer:
        gate.wait()
        return leases.acquire(desk, GpuRequest(f"user{number}", "", "gpu", 1, 1), IfBusy.QUEUE)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    held = [answer.lease for answer in answers if isinstance(answer, Granted)]
    assert sorted(slot for lease in held for slot in lease.slots) == [f"SIM-local-{number}" for number in range(4)]
    assert sorted(answer.position for answer in answers if isinstance(answer, Queued)) == [1, 2, 3, 4]


def test_one_offer_is_taken_cancelled_and_withdrawn_at_once(office: Office) -> None:
    """Whoever comes first has it; nobody else notices more than that."""
    office.fit(gpus(1))
    for _ in range(5):
        first = office.running("ann")
        office.queued("bob")
        office.stop(first)
        [offered] = repairs.open_leases(office.desk)
        office.wait(office.desk.rules.offer)  # lapsed: whoever takes it asks anew
        gate = threading.Barrier(3)

        def at_once(act: object, gate: threading.Barrier = gate) -> object:
            gate.wait()
            return act()  # type: ignore[operator]

        acts = (
            lambda: offers.cancel(office.desk, "bob", ""),
            lambda offered=offered: offers.withdraw(office.desk, offered.id),
            lambda: office.ask("bob", 1, 1),
        )
        with ThreadPoolExecutor(3) as threads:
            cancelled, withdrawn, answer = threads.map(at_once, acts)
        assert isinstance(answer, Granted)
        assert not (cancelled and withdrawn)
        assert office.lease(offered.id).state is LeaseState.CLOSED
        assert [lease.id for lease in repairs.open_leases(office.desk)] == [answer.lease.id]
        office.stop(answer.lease)


def test_a_lease_is_closed_once_by_all_who_close_it(office: Office) -> None:
    office.fit(gpus(1))
    lease = office.running("ann")
    office.wait(HOUR)
    gate = threading.Barrier(6)

    def close(number: int) -> object:
        gate.wait()
        return leases.close(office.desk, lease.id, office.clock.now, f"by {number}")

    with ThreadPoolExecutor(6) as threads:
        closed = set(threads.map(close, range(6)))
    assert len(closed) == 1
    assert [row.gpu_ms for row in office.booked()] == [3_600_000]
