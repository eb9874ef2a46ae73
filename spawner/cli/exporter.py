"""``berth exporter``: the metrics of a node, for machines on which no hub runs."""

from pathlib import Path

import click

from ..exporter.process import find_node, log_to_stderr, run
from ..policy.gpus import LOCAL_NODE
from .deployment import Deployment


@click.command()
@click.option("--hub-id", default="", help="Whose containers count. Default: the hub of the state directory.")
@click.option("--node", default=LOCAL_NODE, show_default=True, help="This machine's name, as in the inventory of GPUs.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Copy of the hub's metrics-key, for metrics.hash_users. Default: that of the state directory.",
)
def exporter(hub_id: str, node: str, key_file: Path | None) -> None:
    """Serve the metrics of this machine, in the foreground.

    The hub runs one on its own machine anyway; this is for other nodes and for trying.
    """
    settings = Deployment.load().settings
    found = find_node(settings, hub_id, node, key_file)
    log_to_stderr()
    run(settings, found)
