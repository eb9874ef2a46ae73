"""``berth settings``: check them, show them, render their reference."""

import json
from pathlib import Path

import click
import yaml

from ..settings_file import settings_path
from .deployment import ROOT, Deployment
from .metrics_reference import render_metrics
from .output import Output, json_option
from .reference import render, render_profiles

_PAGES = {"settings.md": render, "profiles.md": render_profiles, "metrics.md": render_metrics}


@click.group()
def settings() -> None:
    """Check or show the settings."""


@settings.command()
@json_option
def check(as_json: bool) -> None:
    """Say whether the settings are valid; if not, name every mistake."""
    output = Output(as_json)
    Deployment.load()
    path = settings_path(ROOT)
    output.say(f"The settings are valid ({path or 'no file: defaults'}, and the environment).")
    output.data({"valid": True, "file": str(path) if path else None})


@settings.command()
@json_option
def show(as_json: bool) -> None:
    """Print the settings in force, defaults included; secrets stay hidden."""
    output = Output(as_json)
    settings = Deployment.load().settings
    values = json.loads(settings.model_dump_json())
    # Of signing in, options of other methods do not exist, rather than having a default.
    sign_in = {"method": settings.sign_in.method, **json.loads(settings.sign_in.model_dump_json(exclude_unset=True))}
    values["sign_in"] = sign_in
    output.data(values)
    if not as_json:
        click.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), nl=False)


@settings.command()
@click.option("--write", is_flag=True, help="Write docs/reference/settings.md, profiles.md and metrics.md.")
def reference(write: bool) -> None:
    """Render the reference of all settings and metrics as Markdown."""
    if not write:
        click.echo("\n".join(page() for page in _PAGES.values()), nl=False)
        return
    folder = ROOT / "docs" / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in _PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
        click.echo(f"Wrote {Path('docs/reference') / name}")
