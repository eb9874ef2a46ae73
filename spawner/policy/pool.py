"""Everything that a decision looks at, indexed: slots, open leases, reservations, the queue.

A pool is a plain value without I/O. The ledger fills one from its rows for each decision; the simulator keeps one and
changes it event by event, so that 1,000 GPUs cost a decision no more than the few that it is about.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from .gpus import Slot, SlotKind
from .leases import GpuRequest, Lease, LeaseState, Reservation, Ticket, TicketState
from .quota import allows

# Before every end of a lease.
FREE = datetime.min.replace(tzinfo=UTC)


class SlotClass(NamedTuple):
    """Slots that are alike for a request."""

    model: str
    kind: SlotKind
    memory: int


class Wish(NamedTuple):
    """What makes a request's classes, and whether it may have seats: all that tells whom it competes with."""

    models: frozenset[str]
    kinds: frozenset[SlotKind]
    memory: int
    several: bool
    course: str


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
        self._queue: dict[str, Ticket] = {}
        self.reservations: dict[str, Reservation] = {}
        self.shares: Mapping[str, float] = shares if shares is not None else {}
        self._holder: dict[str, str] = {}
        self._class: dict[str, SlotClass] = {}
        self._classes: dict[SlotClass, dict[str, dict[str, None]]] = {}
        # Of usable slots: those that are free, and the ends of the leases that hold the others, in order.
        self._free: dict[SlotClass, dict[str, set[str]]] = {}
        self._ends: dict[SlotClass, dict[str, list[datetime]]] = {}
        self._of_user: dict[str, set[str]] = {}
        self._reserved: dict[str, list[tuple[datetime, datetime, str]]] = {}
        self._islands: Counter[tuple[str, str, SlotClass]] = Counter()
        self._on_gpu: Counter[str] = Counter()
        # Answers that hold until a slot of the class, or the inventory, changes.
        self._soonest: dict[SlotClass, dict[int, list[tuple[datetime, str]]]] = {}
        self._most_free: dict[SlotClass, int] = {}
        self._fitting: dict[tuple[object, ...], tuple[SlotClass, ...]] = {}
        self._widest: dict[tuple[SlotClass, bool], int] = {}
        self._able: dict[tuple[tuple[SlotClass, ...], int, bool], tuple[SlotClass, ...]] = {}
        self._lines: dict[Wish, dict[str, Ticket]] = {}
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
        old = self.slots.get(slot.id)
        if old is not None:
            self._unindex(old)
            del self._classes[self._class[slot.id]][old.node][slot.id]
        self.slots[slot.id] = slot
        slot_class = self._class[slot.id] = class_of(slot)
        self._classes.setdefault(slot_class, {}).setdefault(slot.node, {})[slot.id] = None
        self._index(slot)
        self._fitting.clear()
        self._widest.clear()
        self._able.clear()

    def holder(self, slot_id: str) -> Lease | None:
        """Give the lease that holds a slot."""
        lease = self._holder.get(slot_id)
        return None if lease is None else self.leases[lease]

    def class_of(self, slot_id: str) -> SlotClass:
        return self._class[slot_id]

    def classes(self, request: GpuRequest, models: frozenset[str]) -> tuple[SlotClass, ...]:
        """List the classes that will do for a request, the least valuable first; for several GPUs whole ones first.

        Parameters
        ----------
        models
            Those that the user's quota allows.
        """
        key = request.models, request.kinds, request.memory, request.count > 1, models
        found = self._fitting.get(key)
        if found is None:
            found = self._fitting[key] = self._classes_for(request, models)
        return found

    def _classes_for(self, request: GpuRequest, models: frozenset[str]) -> tuple[SlotClass, ...]:
        fitting = [
            slot_class
            for slot_class, nodes in self._classes.items()
            if any(nodes.values())
            and (not request.models or slot_class.model in request.models)
            and (not request.kinds or slot_class.kind in request.kinds)
            and slot_class.memory >= request.memory
            and allows(models, slot_class.model)
        ]

        def value(slot_class: SlotClass) -> tuple[bool, int, str, str]:
            # A process sees one MIG instance at most, and shares of GPUs are slow together.
            partial = request.count > 1 and slot_class.kind is not SlotKind.EXCLUSIVE
            return partial, slot_class.memory, slot_class.model, slot_class.kind

        return tuple(sorted(fitting, key=value))

    def all_classes(self) -> Iterable[SlotClass]:
        return self._classes

    def free(self, slot_class: SlotClass) -> Mapping[str, set[str]]:
        """Give the ids of the usable slots that nobody holds, by node; only nodes that have some."""
        return self._free.get(slot_class, {})

    def has_free(self, slot_class: SlotClass, count: int) -> bool:
        """Tell whether a node has so many free slots of a class."""
        most = self._most_free.get(slot_class)
        if most is None:
            most = self._most_free[slot_class] = max(map(len, self.free(slot_class).values()), default=0)
        return most >= count

    def members(self, slot_class: SlotClass) -> Mapping[str, Iterable[str]]:
        """Give the ids of all slots of a class, by node."""
        return self._classes.get(slot_class, {})

    def widest(self, slot_class: SlotClass, *, usable: bool) -> int:
        """Give the most GPUs with slots of a class that one node has, in use or not.

        Parameters
        ----------
        usable
            Whether to count only those that may be leased now.
        """
        key = slot_class, usable
        if key not in self._widest:
            self._widest[key] = max(
                (
                    len({self.slots[slot_id].gpu for slot_id in ids if self.slots[slot_id].usable or not usable})
                    for ids in self.members(slot_class).values()
                ),
                default=0,
            )
        return self._widest[key]

    def able(self, classes: tuple[SlotClass, ...], count: int, *, usable: bool) -> tuple[SlotClass, ...]:
        """Give those of some classes of which a node has so many GPUs, as `widest` counts them."""
        key = classes, count, usable
        found = self._able.get(key)
        if found is None:
            found = tuple(each for each in classes if self.widest(each, usable=usable) >= count)
            self._able[key] = found
        return found

    def soonest(self, slot_class: SlotClass, count: int) -> list[tuple[datetime, str]]:
        """List the nodes that have so many usable slots of a class, in the order in which so many leases of them end.

        Each with that time; `FREE` where so many are free.
        """
        known = self._soonest.setdefault(slot_class, {})
        if count not in known:
            free, ends = self._free.get(slot_class, {}), self._ends.get(slot_class, {})
            found = []
            for node in self._classes.get(slot_class, ()):
                missing = count - len(free.get(node, ()))
                if missing <= 0:
                    found.append((FREE, node))
                elif missing <= len(held := ends.get(node, ())):
                    found.append((held[missing - 1], node))
            known[count] = sorted(found)
        return known[count]

    def free_in_island(self, slot: Slot) -> int:
        return self._islands[slot.node, slot.island, self._class[slot.id]]

    def free_on_gpu(self, slot: Slot) -> int:
        return self._on_gpu[slot.gpu]

    def _index(self, slot: Slot) -> None:
        if not slot.usable:
            return
        slot_class = self._class[slot.id]
        self._soonest.pop(slot_class, None)
        self._most_free.pop(slot_class, None)
        lease = self.holder(slot.id)
        if lease is not None:
            insort(self._ends.setdefault(slot_class, {}).setdefault(slot.node, []), end_of(lease))
            return
        self._free.setdefault(slot_class, {}).setdefault(slot.node, set()).add(slot.id)
        self._islands[slot.node, slot.island, slot_class] += 1
        self._on_gpu[slot.gpu] += 1

    def _unindex(self, slot: Slot) -> None:
        if not slot.usable:
            return
        slot_class = self._class[slot.id]
        self._soonest.pop(slot_class, None)
        self._most_free.pop(slot_class, None)
        lease = self.holder(slot.id)
        if lease is not None:
            ends = self._ends[slot_class][slot.node]
            del ends[bisect_left(ends, end_of(lease))]
            return
        free = self._free[slot_class][slot.node]
        free.remove(slot.id)
        if not free:
            del self._free[slot_class][slot.node]
        self._islands[slot.node, slot.island, slot_class] -= 1
        self._on_gpu[slot.gpu] -= 1

    # --- leases -----------------------------------------------------------------------------------------------

    def put_lease(self, lease: Lease) -> None:
        """Put an open lease in or replace it; a closed one is taken out.

        Raises
        ------
        ValueError
            If another lease holds one of its slots: that must never be. Nothing is changed then.
        """
        if lease.state is LeaseState.CLOSED:
            self.drop_lease(lease.id)
            return
        for slot_id in lease.slots:
            if self._holder.get(slot_id, lease.id) != lease.id:
                raise ValueError(f"slot {slot_id} is held by lease {self._holder[slot_id]}, and by {lease.id}")
        self.drop_lease(lease.id)
        self.leases[lease.id] = lease
        self._of_user.setdefault(lease.user, set()).add(lease.id)
        for slot_id in lease.slots:
            slot = self.slots.get(slot_id)
            if slot is not None:
                self._unindex(slot)
            self._holder[slot_id] = lease.id
            if slot is not None:
                self._index(slot)

    def drop_lease(self, lease_id: str) -> None:
        lease = self.leases.get(lease_id)
        if lease is None:
            return
        for slot_id in lease.slots:
            slot = self.slots.get(slot_id)
            if slot is not None:
                self._unindex(slot)
            del self._holder[slot_id]
            if slot is not None:
                self._index(slot)
        del self.leases[lease_id]
        self._of_user[lease.user].discard(lease_id)

    def leases_of(self, user: str) -> list[Lease]:
        return [self.leases[lease] for lease in sorted(self._of_user.get(user, ()))]

    # --- queue and reservations -------------------------------------------------------------------------------

    def put_ticket(self, ticket: Ticket) -> None:
        """Put a waiting ticket in or replace it; one that waits no more is taken out."""
        self.drop_ticket(ticket.id)
        if ticket.state is TicketState.WAITING:
            self._queue[ticket.id] = ticket
            self._lines.setdefault(wish_of(ticket.request), {})[ticket.id] = ticket

    def drop_ticket(self, ticket_id: str) -> None:
        ticket = self._queue.pop(ticket_id, None)
        if ticket is not None:
            wish = wish_of(ticket.request)
            del self._lines[wish][ticket_id]
            if not self._lines[wish]:
                del self._lines[wish]

    @property
    def queue(self) -> Mapping[str, Ticket]:
        """Who waits, by id."""
        return self._queue

    @property
    def lines(self) -> Mapping[Wish, Mapping[str, Ticket]]:
        """The queue once more, by what is wanted: a few lines of many tickets."""
        return self._lines

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

    def free_until(
        self, slots: Iterable[str], since: datetime, turnover: timedelta, course: str = ""
    ) -> datetime | None:
        """Tell until when slots can be held that are held at `since`; None for ever.

        Parameters
        ----------
        turnover
            How long before a reservation begins its slots are free.
        course
            Whose own reservations do not count.
        """
        starts = [start for slot in slots for start, end in self.reserved(slot, course) if end > since]
        return min(starts) - turnover if starts else None

    def seats(self, course: str, now: datetime) -> set[str]:
        """Give the slots that a course has reserved for now."""
        return {slot_id for reservation in self.reservations_of(course, now) for slot_id in reservation.slots}

    def reservations_of(self, course: str, now: datetime) -> list[Reservation]:
        """List the reservations that a course has now."""
        if not course:
            return []
        return [
            reservation
            for reservation in self.reservations.values()
            if reservation.course == course and reservation.starts_at <= now < reservation.ends_at
        ]


def class_of(slot: Slot) -> SlotClass:
    return SlotClass(slot.model, slot.kind, slot.memory)


def wish_of(request: GpuRequest) -> Wish:
    return Wish(request.models, request.kinds, request.memory, request.count > 1, request.course)


def end_of(lease: Lease) -> datetime:
    """Tell when a lease ends, or ended if it is being released already."""
    return min(lease.changed_at, lease.ends_at) if lease.state is LeaseState.RELEASING else lease.ends_at
