"""The ledger of a deployment under test, looked at beside its hub."""

import contextlib
from collections.abc import Iterator

from spawner.ledger import Ledger, LoopRecord
from spawner.operations import repairs
from spawner.operations.desk import Desk
from spawner.policy.leases import Lease
from spawner.settings import LeaseSettings, LimitSettings

from .berth import Berth


@contextlib.contextmanager
def ledger_of(berth: Berth) -> Iterator[Desk]:
    ledger = Ledger(berth.state.ledger_url(None))
    try:
        yield Desk(ledger, LimitSettings().rules(), LeaseSettings().rules())
    finally:
        ledger.close()


def open_leases(berth: Berth) -> list[Lease]:
    with ledger_of(berth) as desk:
        return repairs.open_leases(desk)


def loops(berth: Berth) -> dict[str, LoopRecord]:
    with ledger_of(berth) as desk, desk.ledger.reading() as books:
        return {loop.name: loop for loop in books.loops.all()}


def lease_of(berth: Berth, user: str) -> Lease | None:
    return next((lease for lease in open_leases(berth) if lease.user == user), None)
