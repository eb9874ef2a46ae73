"""Processes that claim and release at once: no slot is held twice, no release is lost.

``RACE_SECONDS=20`` makes it longer.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, create_engine, text

from spawner.ledger import Ledger
from spawner.ledger.connect import parse

from ..support.claims import at_once, fill
from ..support.ledgers import Place

SECONDS = float(os.environ.get("RACE_SECONDS", "5"))
PROCESSES, SLOTS = 8, 64

# Two leases of one slot, at one time. Each holds one slot, so that the lists can be compared.
_DOUBLE = """
    SELECT count(*) FROM leases one JOIN leases two ON one.slots = two.slots AND one.id < two.id
    WHERE one.granted_at < coalesce(two.closed_at, 9e15) AND two.granted_at < coalesce(one.closed_at, 9e15)
"""


@contextmanager
def asking(place: Place) -> Iterator[Connection]:
    """Ask the database itself, without our stores."""
    engine = create_engine(parse(place.url))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_no_double_lease_and_no_lost_release(ledger: Ledger, place: Place) -> None:
    fill(ledger, SLOTS, datetime.now(UTC))
    # More than there are slots, so that they fight for the last ones.
    works = at_once(place.url, PROCESSES, SECONDS, hold=SLOTS // PROCESSES + 2)
    claims = sum(work.claims for work in works)
    print(f"{place.kind}: {claims} claims in {SECONDS:g} s, longest wait {max(work.longest for work in works):.2f} s")
    assert all(work.claims > 0 for work in works)
    assert claims == sum(work.releases for work in works)
    assert sum(work.full for work in works) > 0
    with asking(place) as connection:

        def count(query: str) -> int:
            return int(connection.execute(text(query)).scalar_one())

        assert count(_DOUBLE) == 0
        assert count("SELECT count(*) FROM leases") == claims
        assert count("SELECT count(*) FROM leases WHERE state <> 'closed' OR closed_at IS NULL") == 0
        assert count("SELECT count(*) FROM lease_slots") == claims
        assert count("SELECT count(*) FROM lease_slots WHERE open") == 0
        assert count("SELECT count(*) FROM usage") == claims
        booked = count("SELECT coalesce(sum(closed_at - started_at), 0) FROM leases")
        assert count("SELECT coalesce(sum(gpu_ms), 0) FROM usage") == booked
        assert count("SELECT count(DISTINCT slot) FROM lease_slots") == SLOTS  # all were wanted


def test_killed_in_the_middle(ledger: Ledger, place: Place) -> None:
    """Whoever is killed leaves whole transactions only, and no lock behind."""
    fill(ledger, SLOTS, datetime.now(UTC))
    for number in range(4):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.claims", place.url, "60", "12", f"killed{number}"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(random.uniform(0.2, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
        with ledger.transaction() as books:
            held = {lease.id: lease.slots for lease in books.leases.open()}
        with asking(place) as connection:
            slots = connection.execute(text("SELECT lease, slot FROM lease_slots WHERE open")).all()
            assert {lease: (slot,) for lease, slot in slots} == held
            closed = connection.execute(text("SELECT count(*) FROM leases WHERE state = 'closed'")).scalar_one()
            assert connection.execute(text("SELECT count(*) FROM usage")).scalar_one() == closed
            assert connection.execute(text(_DOUBLE)).scalar_one() == 0
