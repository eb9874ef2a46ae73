"""The inventory: GPUs, their slots, what admins have decreed about them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update

from ..policy.gpus import Gpu, GpuState, Slot
from . import tables
from .memory import Kept, Work
from .records import Record
from .writing import upsert

_GPU = Record(Gpu, tables.gpus, renamed={"index": "number"})
_SLOT = Record(Slot, tables.slots, apart=["usable"])
_DECREED = {"state", "state_since", "state_by", "state_why"}
_PROBED = [column.name for column in _GPU.columns if column.name not in {"uuid", *_DECREED}]

_ALL_GPUS = select(*_GPU.columns, tables.gpus.c.present).order_by(
    tables.gpus.c.node, tables.gpus.c.number, tables.gpus.c.uuid
)
_ALL_SLOTS = (
    select(
        *_SLOT.columns,
        tables.slots.c.present,
        tables.slots.c.quarantined_at,
        tables.gpus.c.present,
        tables.gpus.c.healthy,
        tables.gpus.c.state,
    )
    .join_from(tables.slots, tables.gpus)
    .order_by(tables.gpus.c.node, tables.gpus.c.number, tables.slots.c.gpu, tables.slots.c.place, tables.slots.c.id)
)


@dataclass(frozen=True, slots=True)
class InventoryChange:
    """What a probe has found to be different.

    Attributes
    ----------
    appeared, vanished, returned
        GPUs, by UUID: seen for the first time, seen no more, seen again.
    changed
        GPUs of which something else is different, their health for instance.
    slots
        Ids of slots that appeared, vanished, returned or changed.
    """

    appeared: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any((self.appeared, self.vanished, self.returned, self.changed, self.slots))


@dataclass(frozen=True, slots=True)
class SlotQuarantine:
    """A slot whose truth is in doubt, since when and why."""

    slot: str
    at: datetime
    why: str


class GpuMemory:
    """What a process keeps of the inventory."""

    def __init__(self) -> None:
        self.gpus: Kept[list[Gpu]] = Kept()
        self.slots: Kept[list[Slot]] = Kept()

    def forget(self) -> None:
        self.gpus.forget()
        self.slots.forget()


class GpuStore:
    def __init__(self, work: Work, memory: GpuMemory) -> None:
        self._work = work
        self._memory = memory

    def inventory_version(self) -> int:
        """Give a number that is another one after each change of the inventory."""
        return self._work.inventory

    def all(self) -> list[Gpu]:
        """List GPUs by node and index; one that the last probe did not find is unhealthy and says so."""
        return list(self._memory.gpus.get(self._work.inventory, self._read_gpus, committed=self._committed))

    def slots(self) -> list[Slot]:
        """List slots, those of vanished GPUs too, but not those that a GPU which is there has no more.

        `usable` are those whose GPU is present, healthy and in service, and which are not in quarantine.
        """
        return list(self._memory.slots.get(self._work.inventory, self._read_slots, committed=self._committed))

    def models(self, slot_ids: Collection[str]) -> dict[str, str]:
        """Give the GPU models of slots, those too that are no more."""
        query = select(tables.slots.c.id, tables.slots.c.model).where(tables.slots.c.id.in_(slot_ids))
        return {row.id: row.model for row in self._work.connection.execute(query)}

    def quarantined_slots(self) -> dict[str, SlotQuarantine]:
        """Give the slots in quarantine by id."""
        columns = tables.slots.c.id, tables.slots.c.quarantined_at, tables.slots.c.quarantined_why
        query = select(*columns).where(tables.slots.c.quarantined_at.is_not(None)).order_by(tables.slots.c.id)
        return {row.id: SlotQuarantine(*row) for row in self._work.connection.execute(query)}

    def sync(self, node: str, gpus: Iterable[Gpu], slots: Iterable[Slot], now: datetime) -> InventoryChange:
        """Take over what a probe of one node has found.

        What admins have decreed stays. What is found no more is marked, not deleted.

        Raises
        ------
        ValueError
            If a GPU or slot is of another node, or a slot of a GPU that is not there.
        """
        found, found_slots = {gpu.uuid: gpu for gpu in gpus}, {slot.id: slot for slot in slots}
        elsewhere = [gpu.uuid for gpu in found.values() if gpu.node != node]
        elsewhere += [slot.id for slot in found_slots.values() if slot.node != node]
        if elsewhere:
            raise ValueError(f"Not of node {node!r}, which was probed: {', '.join(sorted(elsewhere))}.")
        if astray := [slot.id for slot in found_slots.values() if slot.gpu not in found]:
            raise ValueError(f"Slots of GPUs that were not found: {', '.join(sorted(astray))}.")
        change = self._sync_gpus(found, now, node)
        change = replace(change, slots=self._sync_slots(found_slots, node))
        if change:
            self._changed()
        return change

    def set_state(self, uuid: str, state: GpuState, by: str, why: str, now: datetime) -> bool:
        """Decree about a GPU; false if there is no such one."""
        values = {"state": state, "state_since": now, "state_by": by, "state_why": why}
        return self._update_gpu(uuid, values)

    def quarantine_slot(self, slot_id: str, why: str, now: datetime) -> bool:
        """Give a slot to nobody until `release_slot`; false if there is no such one."""
        return self._update_slot(slot_id, {"quarantined_at": now, "quarantined_why": why})

    def release_slot(self, slot_id: str) -> bool:
        """End a slot's quarantine; false if there is no such slot."""
        return self._update_slot(slot_id, {"quarantined_at": None, "quarantined_why": ""})

    def forget(self, uuid: str) -> bool:
        """Remove a GPU that is gone for good, with its slots.

        Returns
        -------
        bool
            False, and nothing is removed, if there is no such GPU, the last probe found it, or a lease holds a slot.
        """
        connection = self._work.connection
        held = (
            select(tables.lease_slots.c.slot)
            .join(tables.slots, tables.slots.c.id == tables.lease_slots.c.slot)
            .where(tables.lease_slots.c.open, tables.slots.c.gpu == uuid)
        )
        absent = select(tables.gpus.c.uuid).where(tables.gpus.c.uuid == uuid, tables.gpus.c.present.is_(False))
        if connection.execute(absent).first() is None or connection.execute(held).first() is not None:
            return False
        self._changed()
        connection.execute(delete(tables.slots).where(tables.slots.c.gpu == uuid))
        connection.execute(delete(tables.gpus).where(tables.gpus.c.uuid == uuid))
        return True

    # --- reading --------------------------------------------------------------------------------------------------

    @property
    def _committed(self) -> bool:
        return self._work.untouched(tables.gpus)

    def _read_gpus(self) -> list[Gpu]:
        return [_GPU.value(row) for row in self._work.connection.execute(_ALL_GPUS)]

    def _read_slots(self) -> list[Slot]:
        found = []
        for row in self._work.connection.execute(_ALL_SLOTS):
            present, quarantined_at, gpu_present, healthy, state = row[-5:]
            if present or not gpu_present:
                in_service = gpu_present and healthy and state is GpuState.IN_SERVICE
                found.append(_SLOT.value(row, usable=bool(present and in_service and quarantined_at is None)))
        return found

    # --- writing --------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._work.inventory = self._work.touch(tables.gpus)
        self._work.connection.execute(update(tables.pool).values(inventory=self._work.inventory))

    def _update_gpu(self, uuid: str, values: Mapping[str, Any]) -> bool:
        self._changed()
        query = update(tables.gpus).where(tables.gpus.c.uuid == uuid).values(**values)
        return self._work.connection.execute(query).rowcount > 0

    def _update_slot(self, slot_id: str, values: Mapping[str, Any]) -> bool:
        self._changed()
        query = update(tables.slots).where(tables.slots.c.id == slot_id).values(**values)
        return self._work.connection.execute(query).rowcount > 0

    def _sync_gpus(self, found: Mapping[str, Gpu], now: datetime, node: str) -> InventoryChange:
        connection = self._work.connection
        known: dict[str, tuple[dict[str, Any], bool]] = {}
        for row in connection.execute(_ALL_GPUS):
            gpu = _GPU.value(row)
            if gpu.node == node or gpu.uuid in found:  # a card may have been moved here from another node
                known[gpu.uuid] = self._probed(gpu), row.present
        vanished = [uuid for uuid, (_, present) in known.items() if uuid not in found and present]
        returned = [uuid for uuid in found if uuid in known and not known[uuid][1]]
        changed = [uuid for uuid in found if uuid in known and known[uuid][0] != self._probed(found[uuid])]
        if vanished:
            gone = f"Not found any more since {now:%Y-%m-%d %H:%M} UTC."
            connection.execute(
                update(tables.gpus)
                .where(tables.gpus.c.uuid.in_(vanished))
                .values(present=False, healthy=False, problem=gone)
            )
        upsert(
            connection,
            tables.gpus,
            [{**_GPU.row(gpu), "present": True} for gpu in found.values()],
            [*_PROBED, "present"],
        )
        return InventoryChange(
            appeared=tuple(uuid for uuid in found if uuid not in known),
            vanished=tuple(vanished),
            returned=tuple(returned),
            changed=tuple(uuid for uuid in changed if uuid not in set(returned)),
        )

    @staticmethod
    def _probed(gpu: Gpu) -> dict[str, Any]:
        return {name: value for name, value in _GPU.row(gpu).items() if name in _PROBED}

    def _sync_slots(self, found: Mapping[str, Slot], node: str) -> tuple[str, ...]:
        connection = self._work.connection
        rows = self._slot_rows(list(found.values()))
        names = [column.name for column in _SLOT.columns] + ["place", "present"]
        columns = [tables.slots.c[name] for name in names]
        known = {
            row.id: dict(zip(names, row, strict=True))
            for row in connection.execute(
                select(*columns).where((tables.slots.c.node == node) | tables.slots.c.id.in_(found))
            )
        }
        vanished = [slot_id for slot_id, row in known.items() if slot_id not in found and row["present"]]
        if vanished:
            connection.execute(update(tables.slots).where(tables.slots.c.id.in_(vanished)).values(present=False))
        different = [row for row in rows if known.get(row["id"]) != {name: row[name] for name in names}]
        upsert(connection, tables.slots, different, [name for name in names if name != "id"])
        return tuple(sorted([*vanished, *(row["id"] for row in different)]))

    @staticmethod
    def _slot_rows(slots: Sequence[Slot]) -> list[dict[str, Any]]:
        """Keep the order in which the probe lists them: the tenth share comes after the ninth."""
        unknown = {"quarantined_at": None, "quarantined_why": ""}
        return [{**_SLOT.row(slot), "place": place, "present": True, **unknown} for place, slot in enumerate(slots)]
