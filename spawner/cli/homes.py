"""``berth homes``: users' homes, and archiving, restoring and deleting them."""

from datetime import datetime, timedelta
from typing import Any

import click

from ..ledger import HomeFilter, HomeSort
from ..operations import homes as operations
from ..operations.desk import utc_now
from ..policy.admission import format_bytes
from ..policy.homes import Home, HomeState
from ..policy.model import Deny
from .arguments import SPAN, actor, bare, why_option
from .deployment import Deployment
from .output import Output, json_option
from .shapes import exactly, minute

_HEADINGS = ("owner", "state", "size", "last use (UTC)", "note")
_SORTS = {"owner": HomeSort.OWNER, "size": HomeSort.SIZE, "use": HomeSort.LAST_USED}


@click.group(invoke_without_command=True)
@click.option(
    "--state",
    "states",
    type=click.Choice([str(state) for state in HomeState]),
    multiple=True,
    help="In this state; may be repeated.",
)
@click.option("--user", "search", default="", help="Whose owner's name has this part.")
@click.option("--gone", is_flag=True, help="Only those of users whom the hub does not know any more.")
@click.option("--unused", type=SPAN, metavar="LENGTH", help="Not used for so long, such as 90d.")
@click.option(
    "--sort",
    type=click.Choice([*_SORTS]),
    default="owner",
    show_default=True,
    help="The largest, or longest unused, first.",
)
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="How many.")
@json_option
@click.pass_context
def homes(
    context: click.Context,
    states: tuple[str, ...],
    search: str,
    gone: bool,
    unused: timedelta | None,
    sort: str,
    limit: int,
    as_json: bool,
) -> None:
    """Show users' homes; archive, restore or delete one. The hub's janitor does it within seconds."""
    if not bare(context):
        return
    output = Output(as_json)
    desk = Deployment.load().desk()
    now = desk.clock()
    wanted = HomeFilter(
        states=frozenset(map(HomeState, states)),
        search=search,
        gone=True if gone else None,
        unused_since=None if unused is None else now - unused,
    )
    found = operations.page(desk, wanted, _SORTS[sort], descending=sort == "size", limit=limit)
    output.data([home_data(home) for home in found.homes])
    if not found.homes:
        output.say("There are no such homes." if states or search or gone or unused else "There are no homes yet.")
        return
    output.listing(
        _HEADINGS,
        [
            (home.owner, home.state, _size(home), "now" if home.in_use else minute(home.last_used_at), _note(home, now))
            for home in found.homes
        ],
    )
    if found.next is not None:
        output.say(f"There are more; --limit shows more than {limit}.")


def home_data(home: Home) -> dict[str, Any]:
    return {
        "volume": home.volume,
        "owner": home.owner,
        "state": str(home.state),
        "state_since": exactly(home.state_since),
        "bytes": home.size,
        "measured_at": exactly(home.measured_at),
        "in_use": home.in_use,
        "last_used_at": exactly(home.last_used_at),
        "owner_gone_at": exactly(home.owner_gone_at),
        "asked_at": exactly(home.asked_at),
        "asked_by": home.asked_by,
        "why": home.why,
        "delete_at": exactly(home.delete_at),
        "done_bytes": home.done,
        "archive": home.archive if home.archived else "",
        "archive_bytes": home.archive_size,
        "archived_at": exactly(home.archived_at),
        "sha256": home.sha256,
        "error": home.error,
    }


def _size(home: Home) -> str:
    size = home.archive_size if home.archived else home.size
    return "" if size is None else format_bytes(size)


def _note(home: Home, now: datetime) -> str:
    said = []
    if home.owner_gone_at is not None:
        said.append("owner deleted")
    if home.state is HomeState.DELETING and home.delete_at is not None and now < home.delete_at:
        said.append(f"on {minute(home.delete_at)}, as {home.asked_by} wished: {home.why}")
    elif home.state in {HomeState.ARCHIVING, HomeState.RESTORING, HomeState.DELETING}:
        done = f"{100 * home.done // home.to_do} %, " if home.done and home.to_do else ""
        said.append(f"{done}as {home.asked_by} wished: {home.why}")
    if home.archived_at is not None:
        said.append(f"archived on {minute(home.archived_at)}")
    if home.error:
        said.append(home.error)
    return "; ".join(said)


@homes.command()
@click.argument("name")
@why_option
@json_option
def archive(name: str, why: str, as_json: bool) -> None:
    """Pack the home of a user, or the volume, NAME into an archive, and remove its volume.

    A start of a server by its owner brings it back.
    """
    answer = operations.archive(Deployment.load().desk(), name, actor(), why)
    _tell(
        answer,
        Output(as_json),
        lambda home: f"The home of {home.owner} is archived as soon as the janitor comes to it.",
    )


@homes.command()
@click.argument("name")
@why_option
@json_option
def restore(name: str, why: str, as_json: bool) -> None:
    """Bring an archived home back."""
    answer = operations.restore(Deployment.load().desk(), name, actor(), why)
    _tell(
        answer,
        Output(as_json),
        lambda home: f"The home of {home.owner} is restored as soon as the janitor comes to it.",
    )


@homes.command()
@click.argument("name")
@why_option
@click.option(
    "--days", type=click.IntRange(0, 3660), help="Grace period [default: the setting homes.grace_days]; 0 for at once."
)
@click.option("--yes", is_flag=True, help="Do not ask, where it is deleted at once.")
@json_option
def delete(name: str, why: str, days: int | None, yes: bool, as_json: bool) -> None:
    """Delete a home, or its archive, for good once a grace period is over. An owner who comes back keeps it."""
    deployment = Deployment.load()
    output, desk = Output(as_json), deployment.desk()
    grace = timedelta(days=deployment.settings.homes.grace_days if days is None else days)
    if not grace and not yes:
        home = operations.find(desk, name)
        click.confirm(f"Delete the home of {home.owner} ({_size(home) or 'size unknown'}) for good, now?", abort=True)
    answer = operations.delete(desk, name, actor(), why, grace)
    _tell(answer, output, _deletion)


def _deletion(home: Home) -> str:
    if home.delete_at is None or home.delete_at <= utc_now():
        return f"The home of {home.owner} is deleted as soon as the janitor comes to it."
    return f"The home of {home.owner} is deleted at {minute(home.delete_at)} UTC. Until then: berth homes cancel."


@homes.command()
@click.argument("name")
@why_option
@json_option
def cancel(name: str, why: str, as_json: bool) -> None:
    """Take back what is wished for a home, while it can be."""
    answer = operations.cancel(Deployment.load().desk(), name, actor(), why)
    _tell(answer, Output(as_json), lambda home: f"The home of {home.owner} stays as it is: {home.state}.")


def _tell(answer: operations.Answer, output: Output, words: Any) -> None:
    if isinstance(answer, Deny):
        output.refuse(answer.code, answer.reason)
    output.data(home_data(answer))
    output.say(words(answer))
