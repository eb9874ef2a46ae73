"""Everything that a decision looks at, indexed: slots, open leases, reservations, the queue.

A pool is a plain value without I/O. The ledger fills one from its rows for each decision; the simulator keeps one and
changes it event by event, so that 1,000 GPUs cost a decision no more than the few that it is about.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from .gpus import Slot, SlotKind
from .leases import GpuRequest, Lease, LeaseState, Reservation, Ticket, TicketState
from .quota import allows


@dataclass(frozen=True, slots=True)
class SlotClass:
    """Slots that are alike for a request."""

    model: str
    kind: SlotKind
    memory: int


class Pool:
    """What exists and who holds it.

    Parameters
    ----------
    slots
        All slots of the inventory, usable or not.
    leases
        Those which hold slots; closed ones are left out.
    shares
        Decayed use per user, GPU-milliseconds, for fair share (`spawner.policy.accounting.decayed_ms`).
    """

    def __init__(
        self,
        slots: Iterable[Slot],
        leases: Iterable[Lease] = (),
        queue: Iterable[Ticket] = (),
        reservations: Iterable[Reservation] = (),
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.slots: dict[str, Slot] = {}
        self.leases: dict[str, Lease] = {}
        self.queue: dict[str, Ticket] = {}
        self.reservations: dict[str, Reservation] = {}
        self.shares: Mapping[str, float] = shares if shares is not None else {}
        self._holder: dict[str, str] = {}
        self._classes: dict[SlotClass, dict[str, dict[str, None]]] = {}
        self._free: dict[SlotClass, dict[str, set[str]]] = {}
        self._of_user: dict[str, set[str]] = {}
        self._reserved: dict[str, list[tuple[datetime, datetime, str]]] = {}
        self._islands: Counter[tuple[SlotClass, str]] = Counter()
        self._on_gpu: Counter[str] = Counter()
        for slot in slots:
            self.add_slot(slot)
        for lease in leases:
            self.put_lease(lease)
        for ticket in queue:
            self.put_ticket(ticket)
        for reservation in reservations:
            self.put_reservation(reservation)

    # --- slots ------------------------------------------------------------------------------------------------

    def add_slot(self, slot: Slot) -> None:
        """Put a slot in, or replace it when its state has changed."""
        if slot.id in self.slots:
            self._unfree(self.slots[slot.id])
            del self._classes[class_of(self.slots[slot.id])][self.slots[slot.id].node][slot.id]
        self.slots[slot.id] = slot
        self._classes.setdefault(class_of(slot), {}).setdefault(slot.node, {})[slot.id] = None
        if slot.usable and slot.id not in self._holder:
            self._refree(slot)

    def holder(self, slot_id: str) -> Lease | None:
        """Give the lease that holds a slot."""
        lease = self._holder.get(slot_id)
        return None if lease is None else self.leases[lease]

    def classes(self, request: GpuRequest, models: frozenset[str]) -> list[SlotClass]:
        """List the classes that will do for a request, the least valuable first.

        Parameters
        ----------
        models
            Those that the user's quota allows.
        """
        fitting = [
            slot_class
            for slot_class in self._classes
            if (not request.models or slot_class.model in request.models)
            and (not request.kinds or slot_class.kind in request.kinds)
            and slot_class.memory >= request.memory
            and allows(models, slot_class.model)
        ]
        return sorted(fitting, key=lambda slot_class: (slot_class.memory, slot_class.model, slot_class.kind))

    def all_classes(self) -> Iterable[SlotClass]:
        return self._classes

    def free(self, slot_class: SlotClass) -> Mapping[str, set[str]]:
        """Give the ids of the usable slots that nobody holds, by node."""
        return self._free.get(slot_class, {})

    def members(self, slot_class: SlotClass) -> Mapping[str, Iterable[str]]:
        """Give the ids of all slots of a class, by node."""
        return self._classes.get(slot_class, {})

    def free_in_island(self, slot: Slot) -> int:
        return self._islands[class_of(slot), _island(slot)]

    def free_on_gpu(self, slot: Slot) -> int:
        return self._on_gpu[slot.gpu]

    def _refree(self, slot: Slot) -> None:
        free = self._free.setdefault(class_of(slot), {}).setdefault(slot.node, set())
        if slot.id not in free:
            free.add(slot.id)
            self._islands[class_of(slot), _island(slot)] += 1
            self._on_gpu[slot.gpu] += 1

    def _unfree(self, slot: Slot) -> None:
        free = self._free.get(class_of(slot), {}).get(slot.node, set())
        if slot.id in free:
            free.remove(slot.id)
            self._islands[class_of(slot), _island(slot)] -= 1
            self._on_gpu[slot.gpu] -= 1

    # --- leases -----------------------------------------------------------------------------------------------

    def put_lease(self, lease: Lease) -> None:
        """Put an open lease in or replace it; a closed one is taken out.

        Raises
        ------
        ValueError
            If another lease holds one of its slots: that must never be.
        """
        self.drop_lease(lease.id)
        if lease.state is LeaseState.CLOSED:
            return
        for slot_id in lease.slots:
            if slot_id in self._holder:
                self.drop_lease(lease.id)
                raise ValueError(f"slot {slot_id} is held by lease {self._holder[slot_id]}, and by {lease.id}")
            self._holder[slot_id] = lease.id
            if slot_id in self.slots:
                self._unfree(self.slots[slot_id])
        self.leases[lease.id] = lease
        self._of_user.setdefault(lease.user, set()).add(lease.id)

    def drop_lease(self, lease_id: str) -> None:
        lease = self.leases.pop(lease_id, None)
        if lease is None:
            return
        self._of_user[lease.user].discard(lease_id)
        for slot_id in lease.slots:
            if self._holder.get(slot_id) == lease_id:
                del self._holder[slot_id]
                slot = self.slots.get(slot_id)
                if slot is not None and slot.usable:
                    self._refree(slot)

    def leases_of(self, user: str) -> list[Lease]:
        return [self.leases[lease] for lease in sorted(self._of_user.get(user, ()))]

    # --- queue and reservations -------------------------------------------------------------------------------

    def put_ticket(self, ticket: Ticket) -> None:
        """Put a waiting ticket in or replace it; one that waits no more is taken out."""
        if ticket.state is TicketState.WAITING:
            self.queue[ticket.id] = ticket
        else:
            self.queue.pop(ticket.id, None)

    def put_reservation(self, reservation: Reservation) -> None:
        """Put a reservation in or replace it; a cancelled one is taken out."""
        old = self.reservations.pop(reservation.id, None)
        for slot_id in old.slots if old else ():
            entry = (old.starts_at, old.ends_at, old.course)  # type: ignore[union-attr]
            self._reserved[slot_id].remove(entry)
        if reservation.cancelled:
            return
        self.reservations[reservation.id] = reservation
        for slot_id in reservation.slots:
            insort(
                self._reserved.setdefault(slot_id, []), (reservation.starts_at, reservation.ends_at, reservation.course)
            )

    def reserved(self, slot_id: str, course: str) -> list[tuple[datetime, datetime]]:
        """Give the times at which a slot is reserved for others than `course`, in order."""
        entries = self._reserved.get(slot_id)
        if not entries:
            return []
        return [(start, end) for start, end, whose in entries if not course or whose != course]


def class_of(slot: Slot) -> SlotClass:
    return SlotClass(slot.model, slot.kind, slot.memory)


def _island(slot: Slot) -> str:
    return f"{slot.node}\0{slot.island}"
