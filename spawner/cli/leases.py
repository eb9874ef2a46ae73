"""``berth leases``: who holds GPUs, and ending or extending a lease."""

from datetime import timedelta

import click

from ..operations import inventory, usage
from ..operations import leases as operations
from ..operations.desk import Desk
from ..policy.leases import Lease, LeaseState
from ..policy.model import Deny
from .arguments import HOURS, actor, bare, why_option
from .deployment import Deployment
from .output import Output, json_option
from .shapes import lease_data, lease_note, minute, names_of, slot_names, whose

_HEADINGS = ("lease", "state", "user", "server", "GPUs", "from (UTC)", "until (UTC)", "note")


@click.group(invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Closed ones too, the latest first.")
@click.option("--user", help="Of one user.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="How many, with --all."
)
@json_option
@click.pass_context
def leases(context: click.Context, everything: bool, user: str | None, limit: int, as_json: bool) -> None:
    """Show the leases that hold GPUs; end or extend one."""
    if not bare(context):
        return
    output = Output(as_json)
    desk = Deployment.load().desk()
    found = usage.leases(desk, everything=everything, user=user, limit=limit)
    names = slot_names(inventory.board(desk))
    output.data([lease_data(lease, names) for lease in found])
    if not found:
        output.say(f"There are no{'' if everything else ' open'} leases{f' of {user}' if user else ''}.")
        return
    output.listing(
        _HEADINGS,
        [
            (
                lease.id,
                lease.state,
                lease.user,
                whose(lease.server),
                ", ".join(names_of(lease, names)),
                minute(lease.started_at or lease.granted_at),
                minute(lease.closed_at or lease.ends_at),
                lease_note(lease),
            )
            for lease in found
        ],
    )


@leases.command()
@click.argument("lease_id", metavar="ID")
@why_option
@click.option(
    "--notice",
    type=click.IntRange(0, 10_080),
    default=0,
    show_default=True,
    metavar="MINUTES",
    help="How long it may still run; its user is told.",
)
@json_option
def end(lease_id: str, why: str, notice: int, as_json: bool) -> None:
    """End a lease, now or after a notice. Work is saved, and the server goes on without GPUs or stops, as chosen."""
    output = Output(as_json)
    desk = Deployment.load().desk()
    ended = operations.end(desk, lease_id, actor(), why, timedelta(minutes=notice))
    if ended.state is LeaseState.CLOSED:
        output.say(f"The offer to {ended.user} is withdrawn.")
    elif notice:
        output.say(f"Lease {ended.id} of {ended.user} ends at {minute(ended.ends_at)} UTC.")
    else:
        output.say(f"Lease {ended.id} of {ended.user} ends now; its GPUs are free once its container is gone.")
    _give(desk, ended, output)


@leases.command()
@click.argument("lease_id", metavar="ID")
@click.option("--hours", type=HOURS, help="By how much [default: as much as the quota allows].")
@why_option
@json_option
def extend(lease_id: str, hours: float | None, why: str, as_json: bool) -> None:
    """Make a lease last longer, within its user's quota and while nobody waits for such a GPU."""
    output = Output(as_json)
    desk = Deployment.load().desk()
    extended = operations.extend(desk, lease_id, hours, actor(), why, by_admin=True)
    if isinstance(extended, Deny):
        output.refuse(extended.code, extended.reason)
    output.say(f"Lease {extended.id} of {extended.user} lasts until {minute(extended.ends_at)} UTC.")
    _give(desk, extended, output)


def _give(desk: Desk, lease: Lease, output: Output) -> None:
    if output.as_json:
        output.data(lease_data(lease, slot_names(inventory.board(desk))))
