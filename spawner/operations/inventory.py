"""GPUs: what the probe found, what admins decree, who holds what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..errors import UnknownName
from ..ledger import AuditEntry, Books, SlotQuarantine
from ..policy.gpus import Gpu, GpuState, Slot
from ..policy.leases import Lease
from ..policy.reservations import replan
from .desk import Desk
from .offers import make_offers
from .pools import load_pool
from .repairs import JANITOR
from .sessions import mend_all


def sync(desk: Desk, node: str, gpus: Sequence[Gpu], slots: Sequence[Slot]) -> bool:
    """Bring the inventory of one host up to what its probe found; True if anything changed.

    What admins have decreed stays. What is gone is marked absent: running leases of it go on until their containers
    end, and reservations move to other slots where they can.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        changed = bool(books.gpus.sync(node, gpus, slots, now))
        if changed:
            _after_change(desk, books, now)
        return changed


def _after_change(desk: Desk, books: Books, now: datetime) -> None:
    pool = load_pool(books, desk.rules, now)
    for reservation in list(pool.reservations.values()):
        moved = replan(pool, reservation, desk.rules, now)
        if moved is not None:
            books.reservations.update(moved)
            pool.put_reservation(moved)
    mend_all(desk, books, JANITOR, now)
    make_offers(desk, books, now)


def set_state(desk: Desk, name: str, state: GpuState, actor: str, why: str) -> Gpu:
    """Take a GPU out of service or put it back, by its name or UUID.

    Raises
    ------
    UnknownName
        Names the GPUs that there are.
    """
    [changed] = set_states(desk, [name], state, actor, why)
    return changed


def set_states(
    desk: Desk,
    names: Sequence[str],
    state: GpuState,
    actor: str,
    why: str,
    check: Callable[[Sequence[Gpu]], None] | None = None,
) -> tuple[Gpu, ...]:
    """Take GPUs out of service or put them back, all or none.

    Parameters
    ----------
    check
        Called with the GPUs as they are, while nobody else can change them; nothing is done if it raises.

    Raises
    ------
    UnknownName
        Names the GPUs that there are.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        gpus = _named(books.gpus.all(), names)
        if check is not None:
            check(gpus)
        for gpu in gpus:
            _set_state(books, gpu, state, actor, why, now)
        if gpus:
            _after_change(desk, books, now)
        return tuple(replace(gpu, state=state, state_by=actor, state_why=why, state_since=now) for gpu in gpus)


def _named(gpus: Sequence[Gpu], names: Sequence[str]) -> list[Gpu]:
    known = {gpu.name: gpu for gpu in gpus} | {gpu.uuid: gpu for gpu in gpus}
    for name in names:
        if name not in known:
            there = ", ".join(sorted(gpu.name for gpu in gpus)) or "none"
            raise UnknownName(f"There is no GPU {name!r}; there are: {there}.")
    return list({known[name].uuid: known[name] for name in names}.values())


def _set_state(books: Books, gpu: Gpu, state: GpuState, actor: str, why: str, now: datetime) -> None:
    _decree(books, gpu, state, actor, why, now)
    if state is GpuState.IN_SERVICE:
        for slot in books.gpus.slots():
            if slot.gpu == gpu.uuid:
                books.gpus.release_slot(slot.id)


def _decree(books: Books, gpu: Gpu, state: GpuState, actor: str, why: str, now: datetime) -> None:
    books.gpus.set_state(gpu.uuid, state, actor, why, now)
    entry = AuditEntry(
        at=now,
        actor=actor,
        action="gpu.state",
        subject=f"gpu {gpu.uuid}",
        before={"state": gpu.state, "why": gpu.state_why},
        after={"state": state, "why": why},
        why=why,
    )
    books.audit.append(entry)


def can_be_borrowed(books: Books, gpu: Gpu, until: datetime, now: datetime) -> bool:
    """Tell whether a GPU is in service, not in doubt, nobody's, and reserved by nobody before some time."""
    mine = [slot for slot in books.gpus.slots() if slot.gpu == gpu.uuid]
    taken = {slot for lease in books.leases.open() for slot in lease.slots}
    taken |= {slot for one in books.reservations.upcoming(now) if one.starts_at < until for slot in one.slots}
    return bool(mine) and all(slot.usable and slot.id not in taken for slot in mine)


def borrow(desk: Desk, uuid: str, length: timedelta, why: str) -> bool:
    """Keep a GPU from everybody for a short while, in which the janitor needs it; False if it cannot be borrowed.

    Unlike `set_state` that moves no reservations: it is back before they begin, and whoever made room for them
    elsewhere would have done so for nothing.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        gpu = next((one for one in books.gpus.all() if one.uuid == uuid), None)
        if gpu is None or not can_be_borrowed(books, gpu, now + length, now):
            return False
        _decree(books, gpu, GpuState.DRAINING, JANITOR, why, now)
        return True


def borrowed(desk: Desk, why: str) -> list[Gpu]:
    """List the GPUs that were borrowed for something, and are not given back."""
    with desk.ledger.reading() as books:
        return [gpu for gpu in books.gpus.all() if _is_borrowed(gpu, why)]


def _is_borrowed(gpu: Gpu, why: str) -> bool:
    return (gpu.state, gpu.state_by, gpu.state_why) == (GpuState.DRAINING, JANITOR, why)


def give_back(desk: Desk, uuid: str, why: str, done: str) -> bool:
    """Put a GPU back in service that was borrowed; False if an admin has decreed about it since.

    Parameters
    ----------
    why
        For what it was borrowed.
    done
        Why it is not needed any more.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        gpu = next((one for one in books.gpus.all() if one.uuid == uuid), None)
        if gpu is None or not _is_borrowed(gpu, why):
            return False
        # What came in doubt meanwhile stays so.
        _decree(books, gpu, GpuState.IN_SERVICE, JANITOR, done, now)
        _after_change(desk, books, now)
        return True


def decrees(desk: Desk, uuid: str, limit: int = 20) -> list[AuditEntry]:
    """List what was done to a GPU and its slots, the latest first."""
    with desk.ledger.reading() as books:
        slots = [slot.id for slot in books.gpus.slots() if slot.gpu == uuid]
        subjects = [f"gpu {uuid}", *(f"slot {slot}" for slot in slots)]
        found = [entry for subject in subjects for entry in books.audit.list(limit=limit, subject=subject)]
    return sorted(found, key=lambda entry: entry.id, reverse=True)[:limit]


@dataclass(frozen=True, slots=True)
class SlotUse:
    slot: Slot
    lease: Lease | None
    quarantine: SlotQuarantine | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """All GPUs, each with its slots and who holds them."""

    gpus: tuple[tuple[Gpu, tuple[SlotUse, ...]], ...]
    waiting: int


def board(desk: Desk) -> Board:
    """Give the state of every GPU."""
    with desk.ledger.reading() as books:
        pool = load_pool(books, desk.rules, desk.clock())
        of_gpu: dict[str, list[SlotUse]] = {}
        doubtful = books.gpus.quarantined_slots()
        for slot in pool.slots.values():
            of_gpu.setdefault(slot.gpu, []).append(SlotUse(slot, pool.holder(slot.id), doubtful.get(slot.id)))
        gpus = sorted(books.gpus.all(), key=lambda gpu: (gpu.node, gpu.index))
        return Board(tuple((gpu, tuple(of_gpu.get(gpu.uuid, ()))) for gpu in gpus), len(pool.queue))


def doubt(desk: Desk, slots: Sequence[str], why: str, actor: str = "spawner") -> tuple[str, ...]:
    """Give slots to nobody until an admin puts their GPU in service again; gives those that were not in doubt yet.

    One refusal by the driver is enough: a GPU that is not handed out costs less than starts that fail one after the
    other. All slots of the same device are in doubt together, as the other shares of a shared GPU.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        known = {slot.id: slot for slot in books.gpus.slots()}
        devices = {known[slot_id].device for slot_id in slots if slot_id in known}
        doubtful = {slot.id for slot in known.values() if slot.device in devices}
        new = tuple(sorted(doubtful - set(books.gpus.quarantined_slots())))
        for slot_id in new:
            books.gpus.quarantine_slot(slot_id, why, now)
            entry = AuditEntry(
                at=now,
                actor=actor,
                action="slot.quarantine",
                subject=f"slot {slot_id}",
                before=None,
                after={"why": why},
                why=why,
            )
            books.audit.append(entry)
        if new:
            _after_change(desk, books, now)
        return new


def gpus_of(desk: Desk, slots: Sequence[Slot]) -> tuple[Gpu, ...]:
    """Give the GPUs that slots are of."""
    wanted = {slot.gpu for slot in slots}
    with desk.ledger.reading() as books:
        return tuple(gpu for gpu in books.gpus.all() if gpu.uuid in wanted)


def slots_of(desk: Desk, ids: Sequence[str]) -> tuple[Slot, ...]:
    """Give slots by their ids.

    Raises
    ------
    UnknownName
        If one is no more.
    """
    known = known_slots(desk)
    gone = [slot_id for slot_id in ids if slot_id not in known]
    if gone:
        raise UnknownName(f"The GPU was divided anew meanwhile: {', '.join(gone)} is there no more. Try again.")
    return tuple(known[slot_id] for slot_id in ids)


def known_slots(desk: Desk) -> dict[str, Slot]:
    """Give by their ids the slots that the inventory knows; a lease may hold others, until its server ends."""
    with desk.ledger.reading() as books:
        return {slot.id: slot for slot in books.gpus.slots()}
