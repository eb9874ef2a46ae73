"""The queue."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row, Select, bindparam, insert, select, update

from ..policy.leases import GpuRequest, Ticket, TicketState
from . import tables
from .memory import Mirror, Work
from .pipelines import Sentence
from .records import Record

_tickets = tables.tickets
_REQUEST = Record(GpuRequest, _tickets, renamed={"user": "username"})
_TICKET = Record(Ticket, _tickets, apart=["request"])
_LIVE_STATES = {TicketState.WAITING, TicketState.OFFERED}

_READ = select(*_TICKET.columns, *_REQUEST.columns)
_LIVE = _READ.where(tables.LIVE_TICKET)
_CHANGED = _READ.where(_tickets.c.version > bindparam("since"), _tickets.c.version <= bindparam("number"))
_BY_ID = _READ.where(_tickets.c.id == bindparam("id"))
_OF_SERVER = _READ.where(
    tables.LIVE_TICKET, _tickets.c.username == bindparam("user"), _tickets.c.server == bindparam("server")
)
_INSERT = Sentence(insert(_tickets), _tickets.c.keys())
_TOUCH = Sentence(update(tables.pool).values(queue=bindparam("number")))
_UPDATE = (
    update(_tickets)
    .where(
        _tickets.c.id == bindparam("b_id"),
        _tickets.c.state == bindparam("was_state"),
        _tickets.c.moved_up == bindparam("was_moved_up"),
        _tickets.c.lease == bindparam("was_lease"),
    )
    .values(
        {
            column: bindparam(f"b_{column.name}")
            for column in (*_TICKET.columns, *_REQUEST.columns)
            if column.name != "id"
        }
        | {_tickets.c.version: bindparam("number")}
    )
)


class TicketStore:
    def __init__(self, work: Work, mirror: Mirror[Ticket]) -> None:
        self._work = work
        self._mirror = mirror

    def live(self) -> list[Ticket]:
        """List the tickets that wait or hold an offer, in no order."""
        return list(
            self._mirror.read(
                self._work.base,
                self._read_live,
                self._read_changed,
                committed=self._work.untouched(_tickets),
                last_change=self._work.queue,
            ).values()
        )

    def waiting(self) -> list[Ticket]:
        """List the tickets that wait, in no order: `spawner.policy.queue.order` gives them one."""
        return [ticket for ticket in self.live() if ticket.state is TicketState.WAITING]

    def get(self, ticket_id: str) -> Ticket | None:
        return next(self._read(_BY_ID, id=ticket_id), None)

    def of_server(self, user: str, server: str) -> Ticket | None:
        """Give a server's ticket that waits or holds an offer."""
        known = self._mirror.known(self._work.base, last_change=self._work.queue)
        if known is not None and self._work.untouched(_tickets):
            return next((one for one in known.values() if (one.user, one.request.server) == (user, server)), None)
        return next(self._read(_OF_SERVER, user=user, server=server), None)

    def insert(self, ticket: Ticket) -> None:
        """Write a new ticket.

        Raises
        ------
        LeaseLost
            If its server has one that waits or holds an offer.
        """
        number = self._touch()
        self._work.write(_INSERT, {**_row(ticket), "version": number})

    def update(self, ticket: Ticket, was: Ticket) -> bool:
        """Write a ticket anew, if state, place and offered lease are still those of `was`.

        Returns
        -------
        bool
            Whether they were; if not, nothing is written.
        """
        number = self._touch()
        values = {f"b_{name}": value for name, value in _row(ticket).items()}
        values |= {"was_state": was.state, "was_moved_up": was.moved_up, "was_lease": was.lease, "number": number}
        return self._work.connection.execute(_UPDATE, values).rowcount > 0

    def _touch(self) -> int:
        number = self._work.touch(_tickets)
        if self._work.queue != number:
            self._work.queue = number
            self._work.write(_TOUCH, {"number": number})
        return number

    def _read(self, query: Select[Any], **parameters: object) -> Iterator[Ticket]:
        return map(_ticket, self._work.connection.execute(query, parameters))

    def _read_live(self) -> Iterator[tuple[str, Ticket]]:
        return ((ticket.id, ticket) for ticket in self._read(_LIVE))

    def _read_changed(self, since: int) -> Iterator[tuple[str, Ticket | None]]:
        for ticket in self._read(_CHANGED, since=since, number=self._work.number):
            yield ticket.id, ticket if ticket.state in _LIVE_STATES else None


def _row(ticket: Ticket) -> dict[str, Any]:
    return {**_TICKET.row(ticket), **_REQUEST.row(ticket.request)}


def _ticket(row: Row[Any]) -> Ticket:
    own = len(_TICKET.columns)
    return _TICKET.value(row[:own], request=_REQUEST.value(row[own:]))
