"""What servers do with their GPUs now, as their nodes' exporters say."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ..operations.mine import OwnLease
from .context import Console
from .menu import N_
from .readings import INTERVAL, HeldReading

_FRESH = 4 * INTERVAL


@dataclass(frozen=True, slots=True)
class LiveSlot:
    """A slot that a server holds.

    Attributes
    ----------
    memory_total
        Bytes that it may use; None where the inventory does not know it any more.
    points
        Of the last quarter of an hour, the oldest first; none where nothing is known.
    fresh
        Whether the last of them is of now.
    """

    server: str
    lease: str
    slot: str
    model: str
    memory_total: int | None
    points: tuple[HeldReading, ...]
    fresh: bool

    @property
    def latest(self) -> HeldReading | None:
        return self.points[-1] if self.points and self.fresh else None

    @property
    def memory(self) -> float | None:
        """Share of its memory that it uses, 0 to 1."""
        return None if self.latest is None else self.share(self.latest)

    def share(self, point: HeldReading) -> float | None:
        if point.memory is None or not self.memory_total:
            return None
        return min(1.0, point.memory / self.memory_total)


def live_slots(here: Console, leases: Iterable[OwnLease], now: datetime) -> list[LiveSlot]:
    """List the slots of leases, in the leases' order."""
    found = []
    for own in leases:
        series = {one.holding.slot: one.points for one in here.readings.of_lease(own.lease.id)}
        known = {slot.id: slot for slot in own.slots}
        for slot_id in own.lease.slots:
            slot, points = known.get(slot_id), series.get(slot_id, ())
            found.append(
                LiveSlot(
                    own.lease.server,
                    own.lease.id,
                    slot_id,
                    slot.model if slot else "",
                    slot.memory if slot else None,
                    points,
                    bool(points) and now - points[-1].at <= _FRESH,
                )
            )
    return found


def problem_words(here: Console) -> str:
    """Say why nothing is known of live use; empty if there is no reason. No addresses: this is for everybody."""
    trouble = here.readings.problem
    if trouble is None:
        return ""
    if trouble.kind == "starting":
        return N_("The first readings come in some seconds.")
    return N_("What GPUs do cannot be read now; an admin sees why on the page of the GPUs.")
