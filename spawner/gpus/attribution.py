"""Whose processes are on a GPU, and who takes more of it than their share. Pure.

The watchdog of shares that nothing else bounds: it warns first, and lets a process be ended after a while.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..policy.gpus import Slot
from .readings import GpuProcess, Processes

GRACE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class SlotUse:
    """What a container takes of a slot.

    Attributes
    ----------
    processes
        The largest first.
    memory
        Bytes of all of them; None if one of them could not be read.
    """

    slot: str
    container: str
    processes: tuple[GpuProcess, ...]

    @property
    def memory(self) -> int | None:
        told = [process.memory for process in self.processes]
        return None if None in told else sum(memory for memory in told if memory is not None)


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who uses what.

    Attributes
    ----------
    uses
        Each held slot of a GPU that could be read, also if nothing runs on it.
    strangers
        Processes on a GPU or MIG instance that their container holds no slot of, or that are in no container of ours.
    """

    uses: tuple[SlotUse, ...]
    strangers: tuple[GpuProcess, ...]


def attribute(
    processes: Processes, container_of: Mapping[int, str | None], held: Mapping[str, Sequence[Slot]]
) -> Attribution:
    """Give each process to the slot that its container holds.

    Parameters
    ----------
    container_of
        Container by pid (`spawner.gpus.cgroups.container_of`).
    held
        Slots by container, from its label ``berth.slots``.
    """
    by_device: dict[tuple[str, str], list[GpuProcess]] = {}
    strangers: list[GpuProcess] = []
    devices = {(container, slot.device) for container, slots in held.items() for slot in slots}
    for process in processes.found:
        container = container_of.get(process.pid) or ""
        device = process.mig or process.gpu
        if (container, device) in devices:
            by_device.setdefault((container, device), []).append(process)
        else:
            strangers.append(process)
    uses = [
        SlotUse(
            slot.id,
            container,
            tuple(sorted(by_device.get((container, slot.device), ()), key=lambda one: (-(one.memory or 0), one.pid))),
        )
        for container, slots in held.items()
        for slot in slots
        if slot.gpu not in processes.unread
    ]
    return Attribution(tuple(uses), tuple(strangers))


@dataclass(frozen=True, slots=True)
class Excess:
    """A slot whose holder takes more than its share.

    Attributes
    ----------
    since
        When that was first seen; a use within the share in between begins anew.
    """

    slot: str
    container: str
    used: int
    cap: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Warn:
    """The user is to be told; said once for each excess."""

    excess: Excess
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class End:
    """The largest process of the slot is to be ended; said again as long as the excess lasts."""

    excess: Excess
    pid: int


@dataclass(frozen=True, slots=True)
class Watch:
    """What the watchdog decided, and what it must be given next time.

    Attributes
    ----------
    over
        By slot.
    """

    actions: tuple[Warn | End, ...] = ()
    over: Mapping[str, Excess] = field(default_factory=dict)


def watch(
    uses: Iterable[SlotUse],
    caps: Mapping[str, int],
    over: Mapping[str, Excess],
    now: datetime,
    grace: timedelta = GRACE,
) -> Watch:
    """Decide who is warned and which process is to be ended.

    Parameters
    ----------
    uses
        From `attribute`; slots that are not among them keep what was known of them, since nothing was seen.
    caps
        Bytes by slot, for those that the watchdog guards (cooperative ones); others are let be.
    over
        `Watch.over` of the last time.
    grace
        From the first sight of an excess until a process is ended.
    """
    still = {slot: excess for slot, excess in over.items() if slot in caps}
    actions: list[Warn | End] = []
    for use in uses:
        cap = caps.get(use.slot)
        if cap is None or use.memory is None:
            continue
        if use.memory <= cap:
            still.pop(use.slot, None)
            continue
        before = still.get(use.slot)
        if before is None or before.container != use.container:
            excess = Excess(use.slot, use.container, use.memory, cap, now)
            actions.append(Warn(excess, now + grace))
        else:
            excess = Excess(use.slot, use.container, use.memory, cap, before.since)
            if now - before.since >= grace:
                actions.append(End(excess, use.processes[0].pid))
        still[use.slot] = excess
    return Watch(tuple(actions), still)
