"""The group of all commands, and what becomes of errors."""

from typing import Any

import click

from ..errors import BerthError
from .audit import audit
from .course import course
from .db import db
from .doctor import doctor
from .down import down
from .exporter import exporter
from .firewall import firewall
from .gpus import gpus
from .homes import homes
from .images import images
from .janitor import janitor
from .leases import leases
from .output import refuse, wants_json
from .queue import queue
from .quota import quota
from .reconcile import reconcile
from .session import session
from .settings import settings
from .simulate import simulate
from .status import status
from .up import up
from .usage import usage


class _Group(click.Group):
    """Prints what Berth raises on purpose as a sentence; everything else keeps its traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BerthError as error:
            refuse(error.code, str(error), as_json=wants_json(context))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="jupyterhub-berth", prog_name="berth")
def main() -> None:
    """Run a multi-user JupyterHub that gives each user an isolated TensorFlow container."""


for _command in (
    audit,
    course,
    db,
    doctor,
    down,
    exporter,
    firewall,
    gpus,
    homes,
    images,
    janitor,
    leases,
    queue,
    quota,
    reconcile,
    session,
    settings,
    simulate,
    status,
    up,
    usage,
):
    main.add_command(_command)
