"""``berth audit``: who did what to GPUs, quotas, leases and the queue."""

import json
from dataclasses import asdict
from typing import Any

import click

from ..operations import usage
from .deployment import Deployment
from .output import Output, json_option
from .shapes import exactly, minute

_HEADINGS = ("time (UTC)", "who", "did", "to", "before", "after", "why")


@click.command()
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="How many entries.")
@json_option
def audit(limit: int, as_json: bool) -> None:
    """Show what was done, the latest first. Entries are never changed."""
    output = Output(as_json)
    entries = usage.audit(Deployment.load().desk(), limit)
    output.data([asdict(entry) | {"at": exactly(entry.at)} for entry in entries])
    if not entries:
        output.say("Nothing was done yet.")
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
        return ", ".join(f"{key} {_words(said)}" for key, said in value.items() if said not in {None, ""})
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
