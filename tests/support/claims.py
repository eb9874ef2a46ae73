"""Processes that claim and release slots as fast as they can: for the race test and the benchmark."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spawner.ledger import Ledger
from spawner.policy.accounting import length_ms
from spawner.policy.gpus import Gpu, Isolation, Slot, SlotKind
from spawner.policy.leases import Lease, LeaseState, UsageRow

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Work:
    """What one process did.

    Attributes
    ----------
    claims, releases
        Transactions that were committed.
    full
        Claims that found nothing free.
    longest
        Seconds that one transaction took at most, waiting included.
    cpu
        Seconds of processor time in this process.
    """

    claims: int
    releases: int
    full: int
    longest: float
    seconds: float
    cpu: float


def fill(ledger: Ledger, gpus: int, now: datetime) -> None:
    """Write an inventory of so many GPUs, a slot each."""
    found = [Gpu(f"GPU-{number}", "local", number, "T4", 16 << 30) for number in range(gpus)]
    slots = [
        Slot(gpu.uuid, gpu.uuid, gpu.node, SlotKind.EXCLUSIVE, gpu.model, gpu.memory, Isolation.HARDWARE, gpu.uuid)
        for gpu in found
    ]
    with ledger.transaction() as books:
        books.gpus.sync("local", found, slots, now)


def at_once(url: str, processes: int, seconds: float, *, hold: int) -> list[Work]:
    """Let processes claim and release for a time; gives what each did.

    Parameters
    ----------
    hold
        Leases that a process holds before it releases one.

    Raises
    ------
    RuntimeError
        With what a process wrote, if it failed.
    """
    command = [sys.executable, "-m", "tests.support.claims"]
    running = []
    for number in range(processes):
        started = subprocess.Popen(
            [*command, url, str(seconds), str(hold), str(number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(started)
    try:
        for started in running:  # all have loaded their modules and opened the ledger
            assert started.stdout is not None
            started.stdout.readline()
        for started in running:
            assert started.stdin is not None
            started.stdin.write("go\n")
            started.stdin.flush()
        works = []
        for started in running:
            output, errors = started.communicate(timeout=seconds + 60)
            if started.returncode:
                raise RuntimeError(errors)
            works.append(Work(**json.loads(output)))
        return works
    finally:
        for started in running:
            if started.poll() is None:
                started.kill()
                started.wait()


def _claim(ledger: Ledger, number: str, server: int) -> Lease | None:
    with ledger.transaction() as books:
        now = datetime.now(UTC)  # under the lock, so that times tell the order
        slots, open_leases = books.gpus.slots(), books.leases.open()
        books.tickets.waiting()
        taken = {slot for lease in open_leases for slot in lease.slots}
        free = [slot.id for slot in slots if slot.usable and slot.id not in taken]
        if not free:
            return None
        lease = Lease(
            id=f"{number}-{server}",
            user=f"user{number}",
            server=str(server),
            profile="gpu",
            state=LeaseState.PENDING,
            slots=(random.choice(free),),
            granted_at=now,
            ends_at=now + timedelta(hours=1),
            changed_at=now,
            started_at=now,
        )
        books.leases.insert(lease)
        return lease


def _release(ledger: Ledger, lease: Lease) -> None:
    with ledger.transaction() as books:
        now = datetime.now(UTC)
        was = books.leases.get(lease.id)
        assert was is not None, lease.id
        assert books.leases.update(replace(was, state=LeaseState.CLOSED, closed_at=now, changed_at=now), was)
        start, end = was.started_at or now, now
        length = length_ms(start, end)
        books.usage.insert(
            [UsageRow(was.id, was.user, was.groups, was.course, slot, "T4", start, end, length) for slot in was.slots]
        )


def main(arguments: Iterable[str]) -> None:
    url, seconds, hold, number = arguments
    ledger = Ledger(url)
    with ledger.reading() as books:
        books.gpus.slots()
    print("ready", flush=True)
    sys.stdin.readline()
    held: list[Lease] = []
    claims = releases = full = 0
    longest = 0.0
    began, used = time.monotonic(), time.process_time()
    while (started := time.monotonic()) - began < float(seconds):
        if len(held) >= int(hold):
            _release(ledger, held.pop(0))
            releases += 1
        elif lease := _claim(ledger, number, claims):
            held.append(lease)
            claims += 1
        else:
            full += 1
            if held:
                _release(ledger, held.pop(0))
                releases += 1
        longest = max(longest, time.monotonic() - started)
    elapsed = time.monotonic() - began
    for lease in held:
        _release(ledger, lease)
        releases += 1
    used = time.process_time() - used
    ledger.close()
    print(json.dumps(asdict(Work(claims, releases, full, longest, elapsed, used))))


if __name__ == "__main__":
    main(sys.argv[1:])
