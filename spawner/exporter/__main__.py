"""The exporter's process, a managed service of the hub: ``python -m spawner.exporter``."""

import logging
import sys
from pathlib import Path

import click

from ..errors import BerthError
from ..settings_file import load_settings
from .process import find_node, log_to_stderr, run

_LOG = logging.getLogger("berth.exporter")


@click.command()
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Where the deployment's code lies.")
@click.option("--hub-pid", type=int, required=True, help="The hub's process; the exporter ends with it.")
def main(root: Path, hub_pid: int) -> None:
    """Serve the metrics of this node until told to stop, or until the hub that started this is gone."""
    log_to_stderr()
    try:
        settings = load_settings(root)
        node = find_node(settings)
    except BerthError as error:
        _LOG.error("%s [%s]", error, error.code)
        sys.exit(1)
    run(settings, node, hub_pid)


if __name__ == "__main__":
    main()
