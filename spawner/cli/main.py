"""The group of all commands, and what becomes of errors."""

import json
import sys
from typing import Any

import click

from ..errors import BerthError
from .doctor import doctor
from .down import down
from .firewall import firewall
from .images import images
from .settings import settings
from .status import status
from .up import up


class _Group(click.Group):
    """Prints what Berth raises on purpose as a sentence; everything else keeps its traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BerthError as error:
            if "--json" in sys.argv[1:]:
                click.echo(json.dumps({"error": {"code": error.code, "message": str(error)}}, indent=2))
            click.echo(f"berth: {error} [{error.code}]", err=True)
            raise SystemExit(1) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="jupyterhub-berth", prog_name="berth")
def main() -> None:
    """Run a multi-user JupyterHub that gives each user an isolated TensorFlow container."""


for _command in (doctor, down, firewall, images, settings, status, up):
    main.add_command(_command)
