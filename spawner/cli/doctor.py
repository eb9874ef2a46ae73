"""``berth doctor``: what is wrong with this machine, and the cure."""

from collections.abc import Callable, Iterable
from dataclasses import asdict

import click
import requests
from docker.errors import DockerException
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..engine.client import engine_errors
from ..engine.versions import Finding, Level
from ..errors import BerthError, EngineUnavailable
from . import preflight
from .deployment import Deployment, connect
from .ledger_health import ledger
from .output import Output, json_option
from .preflight import Scene

Check = Callable[[Scene], Iterable[Finding]]

# In the order in which they are shown. A check that raises a BerthError is a finding too.
CHECKS: tuple[Check, ...] = (
    preflight.engine,
    preflight.gpus,
    preflight.disk,
    preflight.ports,
    preflight.firewall,
    preflight.clock,
    ledger,
)

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "bold red"}


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Look for what is wrong with this machine, and say how to cure it. Changes nothing.

    Ends with status 1 if something must be done; warnings alone do not.
    """
    output = Output(as_json)
    findings = examine(Deployment.load())
    worst = _worst(findings)
    output.data({"worst": worst, "findings": [asdict(finding) for finding in findings]})
    if not as_json:
        _show(findings)
    if worst is Level.ERROR:
        raise SystemExit(1)


def examine(deployment: Deployment, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """Run all checks; what one cannot find out does not keep the others from it."""
    findings: list[Finding] = []
    try:
        client = connect(timeout=20)
        with engine_errors():
            scene = Scene.of(deployment, client)
    except EngineUnavailable as error:
        scene = Scene(deployment)
        findings.append(Finding("engine", Level.ERROR, str(error), "make up starts it, or says why it does not"))
    try:
        for check in checks:
            try:
                findings.extend(check(scene))
            except BerthError as error:
                findings.append(preflight.from_error(_name(check), error))
            except (DockerException, requests.exceptions.RequestException) as error:
                findings.append(Finding(_name(check), Level.ERROR, f"The Docker Engine failed: {error}", "Try again"))
    finally:
        if scene.client is not None:
            scene.client.close()
    return findings


def _name(check: Check) -> str:
    return getattr(check, "__name__", "check").replace("_", " ")


def _worst(findings: Iterable[Finding]) -> Level:
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.ERROR, Level.WARNING) if level in levels), Level.OK)


def _show(findings: Iterable[Finding]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column()
    table.add_column()
    table.add_column(overflow="fold")  # a command must be readable whole
    for finding in findings:
        found = Text(finding.found)
        if finding.cure:
            found.append(f"\n{finding.cure}.", style="dim" if finding.level is Level.OK else "")
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), Text(finding.check, style="bold"), found)
    Console(highlight=False).print(table)
