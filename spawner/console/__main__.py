"""The console's process, a managed service of the hub: ``python -m spawner.console``."""

import logging
import sys
from pathlib import Path

import click

from ..errors import BerthError
from ..settings_file import load_settings
from .process import run

_LOG = logging.getLogger("berth.console")


@click.command()
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Where the deployment's code lies.")
@click.option("--hub-pid", type=int, required=True, help="The hub's process; the console ends with it.")
def main(root: Path, hub_pid: int) -> None:
    """Serve the console until told to stop, or until the hub that started this is gone."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="[%(levelname)1.1s %(asctime)s %(name)s] %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    try:
        run(load_settings(root), root, hub_pid)
    except BerthError as error:
        _LOG.error("%s [%s]", error, error.code)
        sys.exit(1)


if __name__ == "__main__":
    main()
