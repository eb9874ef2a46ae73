"""``berth reconcile``: the ledger against what the engine says exists."""

from dataclasses import asdict

import click

from ..janitor.post import Post
from ..janitor.reconciling import carry_out, describe, needed, plan
from .deployment import Deployment, connect
from .output import Output, json_option


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@json_option
def reconcile(dry_run: bool, as_json: bool) -> None:
    """Compare the leases with the containers that exist, and repair what differs.

    The hub's janitor does the same every half minute.
    """
    output = Output(as_json)
    deployment = Deployment.load()
    client = connect(timeout=60)
    try:
        post = Post(deployment.desk(), client, deployment.state.hub_id, deployment.settings)
        planned = plan(post)
        repairs = needed(planned)
        if dry_run:
            output.data([{"repair": type(one).__name__, "text": describe(one), **asdict(one)} for one in repairs])
            for one in repairs:
                output.say(f"would {describe(one)}")
            if not repairs:
                output.say("Nothing to repair: the leases and the containers agree.")
            return
        outcomes = [outcome for outcome in carry_out(post, planned) if needed([outcome.repair])]
    finally:
        client.close()
    output.data(
        [
            {
                "repair": type(outcome.repair).__name__,
                "text": describe(outcome.repair),
                "done": outcome.done,
                "problem": outcome.problem,
            }
            for outcome in outcomes
        ]
    )
    for outcome in outcomes:
        output.say(f"{describe(outcome.repair)}{f': NOT DONE, {outcome.problem}' if outcome.problem else ''}")
    if not outcomes:
        output.say("Nothing to repair: the leases and the containers agree.")
    if any(outcome.problem for outcome in outcomes):
        raise SystemExit(1)
