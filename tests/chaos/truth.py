"""What must be true whatever was killed.

The active leases are the running containers, with their slots, and the hub knows each of their servers
(`World.settle`). No slot was leased to two at any time, nor held by two living containers. No GPU-second is booked
twice, and every lease that was active is booked, once. A container's booked time is its life as the kernel showed it,
to `ACCURACY_SECONDS`. Where it ended during an outage, or within one look of the reconciliation after it, the engine
may have lost the time of its end, or noted its own return instead: then by at most the outage's length and one such
look more.
"""

from .lives import Life
from .world import RECONCILE_SECONDS, Outage, World

ACCURACY_SECONDS = 2.0


def check(made: World) -> None:
    faults, overlaps = made.books.faults(), made.lives.overlaps()
    assert not faults, faults
    assert not overlaps, overlaps
    wrong = {}
    for life in made.lives.all():
        booked = made.books.booked_seconds(life.container)
        if life.ended is not None and booked is not None:
            allowed = ACCURACY_SECONDS + uncertainty(life, made.outages)
            if abs(booked - life.seconds) > allowed:
                wrong[life.container[:12]] = f"lived {life.seconds:.2f} s, booked {booked:.2f} s, {life}"
    assert not wrong, wrong


def uncertainty(life: Life, outages: list[Outage]) -> float:
    """Tell by how many seconds a container's booked time may be wrong."""
    assert life.ended is not None
    ended = life.ended.timestamp()
    return sum(
        outage.seconds + RECONCILE_SECONDS
        for outage in outages
        if outage.part != "container" and outage.began - 1 <= ended <= outage.over + RECONCILE_SECONDS
    )
