"""The queue: who waits, and changing it."""

from typing import Annotated

from fastapi import APIRouter, Query

from ...operations import offers, places
from ..callers import Caller, allowed
from ..context import Here
from ..scopes import Scope
from .lease_models import Queue, QueueRow, Reason, TicketId, Why, offered_row, ticket_row, waiting_row

router = APIRouter(tags=["queue"])

_READ = [allowed(Scope.READ)]
Operator = Annotated[Caller, allowed(Scope.GPUS)]


@router.get("/queue", dependencies=_READ)
def list_queue(here: Here) -> Queue:
    """List who waits, next first; those who hold an offer before them.

    The estimate holds if every lease runs to its end and nobody else comes.
    """
    offered, waiting = places.offered(here.desk), offers.whole_queue(here.desk)
    rows = [offered_row(ticket, lease) for ticket, lease in offered] + [waiting_row(serving) for serving in waiting]
    return Queue(at=here.clock(), items=rows)


@router.post("/queue/{ticket_id}/move-up")
def move_ticket_up(ticket_id: TicketId, reason: Reason, here: Here, caller: Operator) -> QueueRow:
    """Put a ticket before all others."""
    return ticket_row(offers.move_up(here.desk, ticket_id, caller.name, reason.why))


@router.delete("/queue/{ticket_id}", status_code=204)
def drop_ticket(ticket_id: TicketId, here: Here, caller: Operator, why: Annotated[Why, Query()]) -> None:
    """Send a server out of the queue, with the offer if it holds one."""
    places.drop_ticket(here.desk, ticket_id, caller.name, why)
