"""What became of reservations when their hour came."""

from dataclasses import dataclass
from datetime import datetime

from ..ledger import AuditEntry, Books
from ..policy.leases import Reservation
from .desk import Desk
from .repairs import JANITOR

KEPT, BROKEN = "reservation.kept", "reservation.broken"


@dataclass(frozen=True, slots=True)
class Seats:
    """A reservation's slots.

    Attributes
    ----------
    free
        Usable, and nobody's.
    held
        Of its own course's leases.
    taken
        Of others' leases.
    unusable
        Not in service, or no more there.
    """

    free: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        return not (self.taken or self.unusable)


def seats_of(books: Books, reservation: Reservation) -> Seats:
    """Look who has a reservation's slots."""
    usable = {slot.id for slot in books.gpus.slots() if slot.usable}
    courses = {slot: lease.course for lease in books.leases.open() for slot in lease.slots}
    found: dict[str, list[str]] = {"free": [], "held": [], "taken": [], "unusable": []}
    for slot in reservation.slots:
        if slot in courses:
            found["held" if courses[slot] == reservation.course else "taken"].append(slot)
        else:
            found["free" if slot in usable else "unusable"].append(slot)
    return Seats(**{name: tuple(slots) for name, slots in found.items()})


def begun(desk: Desk) -> list[Reservation]:
    """List the reservations that run and of which nobody has noted yet whether they were kept."""
    with desk.ledger.reading() as books:
        return _begun(books, desk.clock())


def _begun(books: Books, now: datetime) -> list[Reservation]:
    running = [reservation for reservation in books.reservations.upcoming(now) if reservation.starts_at <= now]
    return [reservation for reservation in running if not _noted(books, reservation)]


def _noted(books: Books, reservation: Reservation) -> bool:
    entries = books.audit.list(subject=_subject(reservation))
    return any(entry.action in {KEPT, BROKEN} for entry in entries)


def note_begun(desk: Desk, reservation_id: str) -> bool:
    """Note, once, whether a reservation that has begun has all its slots; false if that was noted already."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        reservation = next((one for one in _begun(books, now) if one.id == reservation_id), None)
        if reservation is None:
            return False
        seats = seats_of(books, reservation)
        missing = {"taken": list(seats.taken), "unusable": list(seats.unusable)}
        books.audit.append(
            AuditEntry(
                at=now,
                actor=JANITOR,
                action=KEPT if seats.kept else BROKEN,
                subject=_subject(reservation),
                after={"course": reservation.course, **{name: slots for name, slots in missing.items() if slots}},
                why="its hour has come",
            )
        )
        return True


def _subject(reservation: Reservation) -> str:
    return f"reservation {reservation.id}"
