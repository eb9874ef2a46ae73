"""People who all want the same few GPUs at once: as threads, or as a process of its own."""

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from spawner.errors import LeaseLost
from spawner.ledger import Ledger
from spawner.operations import leases, offers
from spawner.operations.desk import Desk
from spawner.operations.leases import Granted, Queued
from spawner.policy.leases import GpuRequest, LeaseState
from spawner.policy.model import IfBusy

from ..support.office import LIMITS


@dataclass
class Told:
    """What people were told.

    Attributes
    ----------
    leases, tickets
        Ids of all that they got.
    lost
        How often a lease had ended before its server was ready.
    """

    leases: list[str] = field(default_factory=list)
    tickets: list[str] = field(default_factory=list)
    lost: int = 0


def jostle(desk: Desk, seed: int, steps: int) -> Told:
    """Do at random what users, the hub and the janitor do, for people whom others serve at the same time."""
    chance, told = random.Random(seed), Told()
    for _ in range(steps):
        user, server = chance.choice("abcdef"), chance.choice(["", "lab"])
        match chance.randrange(6):
            case 0 | 1:
                request = GpuRequest(user, server, "gpu", chance.choice([1, 1, 1, 2]), chance.choice([1, 4]))
                answer = leases.acquire(desk, request, chance.choice([IfBusy.QUEUE, IfBusy.QUEUE, IfBusy.CPU]))
                if isinstance(answer, Granted):
                    told.leases.append(answer.lease.id)
                    try:
                        leases.activate(desk, answer.lease.id, f"container-{answer.lease.id}", desk.clock())
                    except LeaseLost:
                        told.lost += 1
                elif isinstance(answer, Queued):
                    told.tickets.append(answer.ticket.id)
            case 2 | 3:
                held = leases.of_server(desk, user, server)
                if held is not None and held.state is not LeaseState.OFFERED:
                    leases.release(desk, held.id, "stopped")
                    leases.close(desk, held.id, desk.clock())
            case 4:
                offers.cancel(desk, user, server)
            case 5:
                offers.offer_now(desk)
    return told


def main(arguments: Sequence[str]) -> None:
    url, seed, steps = arguments
    desk = Desk(Ledger(url), LIMITS)
    leases.rules_now(desk)
    print("ready", flush=True)
    sys.stdin.readline()
    told = jostle(desk, int(seed), int(steps))
    desk.ledger.close()
    print(json.dumps(asdict(told)))


if __name__ == "__main__":
    main(sys.argv[1:])
