"""Caches of compiled CUDA kernels: which are there, and which a class will want."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ..ledger import AuditEntry, Books
from ..policy.classes import Course, Session
from ..policy.gpus import Gpu, Slot
from .desk import Desk
from .inventory import can_be_borrowed

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
        now = desk.clock()
        slots, gpus = {slot.id: slot for slot in books.gpus.slots()}, books.gpus.all()
        found: dict[str, Cold] = {}
        for session, course in sessions:
            reservation = books.reservations.get(session.reservation) if session.reservation else None
            reserved = [slots[one] for one in (reservation.slots if reservation else ()) if one in slots]
            for model in sorted({slot.model for slot in reserved if not slot.simulated}):
                volume = volume_of(model)
                if volume in found or _warmed(books, volume):
                    continue
                gpu = _free_for(books, gpus, model, now)
                if gpu is not None:
                    slot = next(slot for slot in slots.values() if slot.gpu == gpu.uuid)
                    found[volume] = Cold(gpu, slot, volume, course.id, course.profile)
        return list(found.values())


def note_warmed(desk: Desk, volume: str, actor: str, found: Mapping[str, Any]) -> None:
    """Note what came of the warming of a cache."""
    with desk.ledger.transaction() as books:
        books.audit.append(AuditEntry(desk.clock(), actor, WARMED, f"cache {volume}", None, dict(found), ""))


def _warmed(books: Books, volume: str) -> bool:
    return any(entry.action == WARMED for entry in books.audit.list(subject=f"cache {volume}"))


def _free_for(books: Books, gpus: Sequence[Gpu], model: str, now: datetime) -> Gpu | None:
    """Choose a GPU of a model that can be borrowed: one that is reserved for as late as can be."""
    able = [gpu for gpu in gpus if gpu.model == model and not gpu.simulated]
    able = [gpu for gpu in able if can_be_borrowed(books, gpu, now + TAKES, now)]
    of_slots = {slot.id: slot.gpu for slot in books.gpus.slots()}
    first: dict[str, datetime] = {}
    for one in books.reservations.upcoming(now):  # by start
        for slot in one.slots:
            first.setdefault(of_slots.get(slot, ""), one.starts_at)
    never = datetime.max.replace(tzinfo=UTC)
    # Should another GPU break meanwhile, reservations that are far off disturb the fewest in moving.
    return max(able, key=lambda gpu: first.get(gpu.uuid, never), default=None)
