"""Caches of compiled CUDA kernels: which are there, and which a class will want."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ..ledger import AuditEntry, Books
from ..policy.classes import Course, Session
from ..policy.gpus import Gpu, GpuState, Slot
from .desk import Desk

WARMED = "cache.warmed"
TAKES = timedelta(minutes=30)
"""What the warming of a cache may take: a GPU that is reserved sooner is let alone."""


@dataclass(frozen=True, slots=True)
class Cold:
    """A GPU on which the cache of its model can be warmed before a class has it.

    Attributes
    ----------
    volume
        Of the cache.
    slot
        What gives a container this GPU.
    course, profile
        The class that will have such a GPU.
    """

    gpu: Gpu
    slot: Slot
    volume: str
    course: str
    profile: str


def coming(desk: Desk, ahead: timedelta) -> list[tuple[Session, Course]]:
    """List the sessions whose seats are started within a time, or now, with their courses."""
    with desk.ledger.reading() as books:
        now = desk.clock()
        known = {one.id: one for one in books.courses.all()}
        live = [one for one in books.sessions.live(now) if one.cancelled_at is None and one.ends_at > now]
        return [
            (one, known[one.course]) for one in live if one.starts_at - one.lead <= now + ahead and one.course in known
        ]


def cold(desk: Desk, sessions: Sequence[tuple[Session, Course]], volume_of: Callable[[str], str]) -> list[Cold]:
    """List the caches that sessions will want and that nobody has warmed yet, each with a GPU that is free for it."""
    with desk.ledger.reading() as books:
        slots, gpus = {slot.id: slot for slot in books.gpus.slots()}, books.gpus.all()
        found: dict[str, Cold] = {}
        for session, course in sessions:
            reservation = books.reservations.get(session.reservation) if session.reservation else None
            reserved = [slots[one] for one in (reservation.slots if reservation else ()) if one in slots]
            for model in sorted({slot.model for slot in reserved if not slot.simulated}):
                volume = volume_of(model)
                if volume in found or _warmed(books, volume):
                    continue
                for gpu in gpus:
                    if gpu.model == model and not gpu.simulated and _is_free(desk, books, gpu):
                        slot = next(slot for slot in slots.values() if slot.gpu == gpu.uuid)
                        found[volume] = Cold(gpu, slot, volume, course.id, course.profile)
                        break
        return list(found.values())


def is_free(desk: Desk, uuid: str) -> bool:
    """Tell whether nobody holds a slot of a GPU."""
    with desk.ledger.reading() as books:
        held = {slot for lease in books.leases.open() for slot in lease.slots}
        return not any(slot.id in held for slot in books.gpus.slots() if slot.gpu == uuid)


def note_warmed(desk: Desk, volume: str, actor: str, found: Mapping[str, Any]) -> None:
    """Note what came of the warming of a cache."""
    with desk.ledger.transaction() as books:
        books.audit.append(AuditEntry(desk.clock(), actor, WARMED, f"cache {volume}", None, dict(found), ""))


def _warmed(books: Books, volume: str) -> bool:
    return any(entry.action == WARMED for entry in books.audit.list(subject=f"cache {volume}"))


def _is_free(desk: Desk, books: Books, gpu: Gpu) -> bool:
    now = desk.clock()
    mine = {slot.id for slot in books.gpus.slots() if slot.gpu == gpu.uuid}
    held = {slot for lease in books.leases.open() for slot in lease.slots}
    soon = {
        slot
        for one in books.reservations.upcoming(now)
        if one.starts_at < now + TAKES and not one.cancelled
        for slot in one.slots
    }
    usable = gpu.state is GpuState.IN_SERVICE and gpu.healthy
    return usable and bool(mine) and mine.isdisjoint(held | soon)
