"""``berth janitor``: one turn of a loop, by hand."""

import click

from ..janitor.opening import make_post
from ..janitor.schedule import loops
from .deployment import Deployment
from .output import Output, json_option

LOOPS = (
    *("inventory", "reconcile", "offers", "expiry", "idle", "watchdog"),
    *("rosters", "prepare", "warmup", "seats", "endings"),
    *("collections", "materials", "course-homes", "leftovers"),
    *("homes", "archives", "volumes", "sizes", "owners"),
)


@click.command()
@click.argument("loop", type=click.Choice(LOOPS))
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@json_option
def janitor(loop: str, dry_run: bool, as_json: bool) -> None:
    """Take one turn of a loop of the janitor's, which the hub runs anyway.

    Starting and stopping servers is left to the hub's own janitor.
    """
    output = Output(as_json)
    deployment = Deployment.load()
    deployment.desk()  # says what is wrong with the ledger, where something is
    post = make_post(deployment.settings, None, None)
    look = next(one.look for one in loops(deployment.settings) if one.name == loop)
    try:
        steps = look(post)
        done = [None if dry_run else step.carry_out() for step in steps]
    finally:
        post.engine.close()
        post.desk.ledger.close()
    output.data([{"step": step.text, "done": did} for step, did in zip(steps, done, strict=True)])
    for step, did in zip(steps, done, strict=True):
        output.say(f"{'would ' if dry_run else ''}{step.text}{': nothing changed' if did is False else ''}")
    if not steps:
        output.say("Nothing to do.")
