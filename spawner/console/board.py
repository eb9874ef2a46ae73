"""The GPUs as the board shows them: what the ledger knows of each, what it does now, and what has changed since."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from math import ceil

from ..operations import inventory
from ..operations.desk import Desk
from ..operations.inventory import SlotUse
from ..policy.gpus import Gpu, GpuState
from ..policy.leases import Lease
from .readings import Reading, Readings

LEVELS = 6
_STEP = 0.05  # of use, in the heat map: what flutters below that is not worth a message


class Standing(StrEnum):
    """Where a GPU stands, in one word: an admin's decree if it is not in service, else what can be had of it."""

    FREE = "free"
    PARTLY = "partly_held"
    HELD = "held"
    EMPTY = "nothing_to_lease"
    DRAINING = "draining"
    OUT_OF_SERVICE = "out_of_service"
    QUARANTINED = "quarantined"
    UNHEALTHY = "unhealthy"


_OF_STATE = {
    GpuState.DRAINING: Standing.DRAINING,
    GpuState.OUT_OF_SERVICE: Standing.OUT_OF_SERVICE,
    GpuState.QUARANTINED: Standing.QUARANTINED,
}


def standing_of(gpu: Gpu, uses: tuple[SlotUse, ...]) -> Standing:
    if gpu.state is not GpuState.IN_SERVICE:
        return _OF_STATE[gpu.state]
    if not gpu.healthy:
        return Standing.UNHEALTHY
    if not uses:
        return Standing.EMPTY
    if all(use.quarantine for use in uses):
        return Standing.QUARANTINED
    held = sum(1 for use in uses if use.lease)
    return Standing.FREE if not held else Standing.HELD if held == len(uses) else Standing.PARTLY


@dataclass(frozen=True, slots=True)
class View:
    """A GPU on the board.

    Attributes
    ----------
    reading
        What it does now; None if nobody has said so in the last moments.
    changed, cell_changed
        Number of the look that found something else to be shown: at all, and in the heat map.
    """

    gpu: Gpu
    uses: tuple[SlotUse, ...]
    standing: Standing
    reading: Reading | None
    changed: int = 0
    cell_changed: int = 0

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Those that hold a slot of it."""
        return tuple({use.lease.id: use.lease for use in self.uses if use.lease}.values())

    @property
    def free(self) -> int:
        """Slots that may be leased now."""
        return sum(1 for use in self.uses if use.lease is None and use.slot.usable)

    @property
    def sm(self) -> float | None:
        return None if self.reading is None else self.reading.sm

    @property
    def rounded_sm(self) -> float | None:
        """As the heat map tells it."""
        return None if self.sm is None else round(self.sm / _STEP) * _STEP

    @property
    def level(self) -> int | None:
        """Shade of its cell, 0 to `LEVELS`; None if its use is not known."""
        value = self.rounded_sm
        return None if value is None else min(LEVELS, ceil(value * LEVELS - 1e-9))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which GPUs are shown; empty for all."""

    node: str = ""
    model: str = ""
    state: GpuState | None = None
    standing: Standing | None = None
    holder: str = ""
    text: str = ""
    free: bool | None = None

    def fits(self, view: View) -> bool:
        gpu = view.gpu
        return (
            (not self.node or gpu.node == self.node)
            and (not self.model or gpu.model == self.model)
            and (self.state is None or gpu.state is self.state)
            and (self.standing is None or view.standing is self.standing)
            and (self.free is None or bool(view.free) is self.free)
            and (not self.holder or any(lease.user == self.holder for lease in view.leases))
            and (not self.text or self._has_text(view))
        )

    def _has_text(self, view: View) -> bool:
        gpu = view.gpu
        words = [gpu.name, gpu.uuid, gpu.node, gpu.model, gpu.state_why, gpu.state_by, gpu.problem]
        for use in view.uses:
            words += [use.lease.user, use.lease.course, use.lease.server] if use.lease else []
            words += [use.slot.id, use.quarantine.why if use.quarantine else ""]
        sought = self.text.casefold()
        return any(sought in word.casefold() for word in words)


@dataclass(frozen=True)
class NodeCount:
    """What there is on a node."""

    node: str
    total: int
    standings: Mapping[Standing, int]
    sm: float | None


@dataclass(frozen=True)
class Snapshot:
    """The board at one moment.

    Attributes
    ----------
    number
        Of the look that last found something changed.
    waiting
        Tickets in the queue.
    removed
        UUIDs of GPUs that are there no more, and the number of the look that found so.
    """

    views: tuple[View, ...]
    waiting: int
    number: int
    at: datetime
    removed: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def by_uuid(self) -> Mapping[str, View]:
        return {view.gpu.uuid: view for view in self.views}

    @cached_property
    def nodes(self) -> Mapping[str, NodeCount]:
        members: dict[str, list[View]] = {}
        for view in self.views:
            members.setdefault(view.gpu.node, []).append(view)
        return {node: count(node, views) for node, views in members.items()}

    @cached_property
    def models(self) -> list[str]:
        return sorted({view.gpu.model for view in self.views})

    def fitting(self, wanted: Wanted) -> list[View]:
        return [view for view in self.views if wanted.fits(view)]


def count(node: str, views: Iterable[View]) -> NodeCount:
    views = list(views)
    known = [view.sm for view in views if view.sm is not None]
    return NodeCount(
        node,
        len(views),
        Counter(view.standing for view in views),
        sum(known) / len(known) if known else None,
    )


@dataclass
class Board:
    """Looks at the GPUs, and numbers what it finds changed. Thread-safe.

    Attributes
    ----------
    epoch
        Numbers of another epoch, that of another process, mean nothing here.
    """

    desk: Desk
    readings: Readings
    epoch: str = field(default_factory=lambda: secrets.token_hex(4))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _begun: float = float("-inf")
    _last: Snapshot | None = None
    _keys: dict[str, tuple[Hashable, Hashable]] = field(default_factory=dict)

    def look(self) -> Snapshot:
        """Read the ledger and the readings now; those who ask at the same time share it.

        Raises
        ------
        LedgerUnavailable
        """
        return self.latest(0.0)

    def latest(self, seconds: float) -> Snapshot:
        """Give what a look of the last so many seconds found.

        Raises
        ------
        LedgerUnavailable
        """
        oldest = time.monotonic() - seconds
        with self._lock:
            if self._last is None or self._begun < oldest:
                begun = time.monotonic()
                self._last = self._numbered(inventory.board(self.desk))
                self._begun = begun
            return self._last

    def _numbered(self, found: inventory.Board) -> Snapshot:
        readings, before = self.readings.all_latest(), self._last
        known = before.by_uuid if before else {}
        number = (before.number if before else 0) + 1
        views, keys = [], {}
        for gpu, uses in found.gpus:
            view = View(gpu, uses, standing_of(gpu, uses), readings.get(gpu.uuid))
            key = keys[gpu.uuid] = _keys_of(view)
            was, old = known.get(gpu.uuid), self._keys.get(gpu.uuid)
            whole = was.changed if was and old and old[0] == key[0] else number
            cell = was.cell_changed if was and old and old[1] == key[1] else number
            views.append(replace(view, changed=whole, cell_changed=cell))
        removed = {uuid: at for uuid, at in (before.removed if before else {}).items() if uuid not in keys}
        removed |= {uuid: number for uuid in known if uuid not in keys}
        same = before is not None and self._keys == keys and before.waiting == found.waiting
        self._keys = keys
        return Snapshot(tuple(views), found.waiting, number - 1 if same else number, self.desk.clock(), removed)


def _keys_of(view: View) -> tuple[Hashable, Hashable]:
    """Tell what is shown of a GPU on its card, and in the heat map; leases change otherwise all the time."""
    one = view.reading
    doing = one and (
        _rounded(one.sm, 100), _rounded(one.memory, 100), _rounded(one.temperature), _rounded(one.power), one.strangers
    )  # fmt: skip
    held = tuple((use.slot, use.quarantine, use.lease and _shown(use.lease)) for use in view.uses)
    cell = view.gpu.index, view.standing, view.rounded_sm, tuple(lease.user for lease in view.leases)
    return (view.gpu, held, doing), cell


def _shown(lease: Lease) -> Hashable:
    return lease.id, lease.state, lease.ends_at, lease.idle_since


def _rounded(value: float | None, factor: float = 1) -> int | None:
    return None if value is None else round(value * factor)
