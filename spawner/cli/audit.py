"""``berth audit``: who did what to GPUs, quotas, leases and the queue."""

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import click

from ..ledger import AuditFilter
from ..operations import listing
from .arguments import LINE, SINCE
from .deployment import Deployment
from .output import Output, json_option
from .shapes import exactly, minute

_HEADINGS = ("time (UTC)", "who", "did", "to", "before", "after", "why")


@click.command()
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="How many entries.")
@click.option("--actor", type=LINE, help="Who did it: a user, cli:NAME, janitor.")
@click.option("--action", type=LINE, help="What was done, such as quota.set; quota is all of them.")
@click.option("--subject", type=LINE, help="To whom or what, as it stands there.")
@click.option("--search", type=LINE, help="Words anywhere in an entry.")
@click.option("--since", type=SINCE, help="Begin: a date or time (UTC), or how long ago, as 12h, 7d, 4w.")
@click.option("--until", type=SINCE, help="End, likewise; not included.")
@json_option
def audit(
    limit: int,
    actor: str | None,
    action: str | None,
    subject: str | None,
    search: str | None,
    since: datetime | timedelta | None,
    until: datetime | timedelta | None,
    as_json: bool,
) -> None:
    """Show what was done, the latest first. Entries are never changed."""
    output = Output(as_json)
    desk = Deployment.load().desk()
    edges = [desk.clock() - said if isinstance(said, timedelta) else said for said in (since, until)]
    wanted = AuditFilter(actor, action, subject, search, *edges)
    entries = listing.audit(desk, wanted, limit=limit).entries
    output.data([asdict(entry) | {"at": exactly(entry.at)} for entry in entries])
    if not entries:
        output.say("Nothing like that was done." if wanted != AuditFilter() else "Nothing was done yet.")
        return
    output.listing(
        _HEADINGS,
        [
            (
                minute(entry.at),
                entry.actor,
                entry.action,
                entry.subject,
                _words(entry.before),
                _words(entry.after),
                entry.why,
            )
            for entry in entries
        ],
    )


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(said)}" for key, said in value.items() if said not in (None, "", []))
    if isinstance(value, list):
        return " ".join(map(_words, value))
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
