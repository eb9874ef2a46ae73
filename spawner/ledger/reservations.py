"""Slots that courses hold for a time."""

from datetime import datetime

from sqlalchemy import bindparam, insert, select, update

from ..policy.leases import Reservation
from . import tables
from .memory import Work
from .records import Record

_reservations = tables.reservations
_RESERVATION = Record(Reservation, _reservations)
_READ = select(*_RESERVATION.columns)
_UPCOMING = _READ.where(_reservations.c.cancelled.is_(False), _reservations.c.ends_at > bindparam("now")).order_by(
    _reservations.c.starts_at, _reservations.c.id
)
_BY_ID = _READ.where(_reservations.c.id == bindparam("id"))


class ReservationStore:
    def __init__(self, work: Work) -> None:
        self._work = work

    def upcoming(self, now: datetime) -> list[Reservation]:
        """List those that have not ended and are not cancelled, by start."""
        return [_RESERVATION.value(row) for row in self._work.connection.execute(_UPCOMING, {"now": now})]

    def get(self, reservation_id: str) -> Reservation | None:
        row = self._work.connection.execute(_BY_ID, {"id": reservation_id}).first()
        return None if row is None else _RESERVATION.value(row)

    def insert(self, reservation: Reservation) -> None:
        self._work.touch(_reservations)
        self._work.connection.execute(insert(_reservations), _RESERVATION.row(reservation))

    def update(self, reservation: Reservation) -> bool:
        """Write a reservation anew; false if there is none with its id."""
        self._work.touch(_reservations)
        query = update(_reservations).where(_reservations.c.id == reservation.id)
        return self._work.connection.execute(query.values(**_RESERVATION.row(reservation))).rowcount > 0
