"""``berth queue``: who waits for GPUs, and changing it."""

from typing import Any

import click

from ..operations import offers, places
from ..policy.leases import Ticket
from ..policy.queue import Serving
from .arguments import actor, bare, why_option
from .deployment import Deployment
from .output import Output, json_option
from .shapes import exactly, minute, plural, ticket_data, whose

_HEADINGS = ("place", "ticket", "user", "server", "wants", "since (UTC)", "served (UTC)", "priority")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def queue(context: click.Context, as_json: bool) -> None:
    """Show who waits for GPUs, next first, and when they are likely served; change who waits.

    Those who hold an offer come first, at place 0. The estimate holds if every lease runs to its end and nobody else
    comes.
    """
    if not bare(context):
        return
    output = Output(as_json)
    desk = Deployment.load().desk()
    offered, waiting = places.offered(desk), offers.whole_queue(desk)
    output.data(
        [
            _data(ticket, 0) | {"offered_until": exactly(lease.offered_until), "lease": lease.id}
            for ticket, lease in offered
        ]
        + [
            _data(serving.ticket, serving.position)
            | {
                "eta": exactly(serving.placement.start) if serving.placement else None,
                "blocked": serving.blocked,
                "note": serving.note,
            }
            for serving in waiting
        ]
    )
    if not (offered or waiting):
        output.say("Nobody waits.")
        return
    output.listing(
        _HEADINGS,
        [_row(ticket, 0, f"offered until {minute(lease.offered_until)}") for ticket, lease in offered]
        + [_row(serving.ticket, serving.position, _when(serving)) for serving in waiting],
    )


def _data(ticket: Ticket, position: int) -> dict[str, Any]:
    rest = {"eta": None, "blocked": False, "note": "", "offered_until": None, "lease": ""}
    return {"position": position, **ticket_data(ticket), **rest}


def _when(serving: Serving) -> str:
    if serving.blocked:
        return "their quota allows nothing now"
    return minute(serving.placement.start) if serving.placement else "nobody can tell"


def _row(ticket: Ticket, position: int, when: str) -> tuple[str, ...]:
    request = ticket.request
    wants = [plural(request.count, "GPU")]
    if request.models:
        wants.append(" or ".join(sorted(request.models)))
    if request.hours is not None:
        wants.append(f"{request.hours:g} h")
    return (
        str(position),
        ticket.id,
        ticket.user,
        whose(request.server),
        ", ".join(wants),
        minute(ticket.arrived_at),
        when,
        f"{ticket.priority} (moved up)" if ticket.moved_up else str(ticket.priority),
    )


@queue.command()
@click.argument("ticket_id", metavar="TICKET")
@why_option
@json_option
def up(ticket_id: str, why: str, as_json: bool) -> None:
    """Put a ticket before all others."""
    output = Output(as_json)
    moved = offers.move_up(Deployment.load().desk(), ticket_id, actor(), why)
    output.say(f"{moved.user} is next.")
    output.data(ticket_data(moved))


@queue.command()
@click.argument("user")
@click.argument("server", required=False)
@why_option
@json_option
def drop(user: str, server: str | None, why: str, as_json: bool) -> None:
    """Send a user's servers out of the queue, offers included: one SERVER ('' is the default one), or all of them."""
    output = Output(as_json)
    dropped = places.drop(Deployment.load().desk(), user, server, actor(), why)
    for ticket in dropped:
        output.say(f"{ticket.user}'s server {whose(ticket.request.server)} waits no more.")
    output.data([ticket_data(ticket) for ticket in dropped])
