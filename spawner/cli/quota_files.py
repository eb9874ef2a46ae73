"""``berth quota import`` and ``export``: all that is set, as one file."""

import sys
from pathlib import Path
from typing import Any, get_args

import click

from ..operations import quota_files, quotas
from ..operations.quota_files import FileFormat
from ..operations.quotas import Change
from .arguments import LINE, actor
from .deployment import Deployment
from .output import Output, json_option
from .shapes import grant_data, grant_words, plural, subject_name

_SUFFIXES: dict[str, FileFormat] = {".csv": "csv", ".yaml": "yaml", ".yml": "yaml"}
_HEADINGS = ("", "for", "dimension", "before", "after")

_format_option = click.option(
    "--format", "form", type=click.Choice(get_args(FileFormat)), help="Of the file [default: by its suffix]."
)


def _format(form: FileFormat | None, name: str) -> FileFormat:
    found = form or _SUFFIXES.get(Path(name).suffix.lower())
    if found is None:
        raise click.UsageError(f"{name!r} ends in none of {', '.join(_SUFFIXES)}; say --format csv or --format yaml.")
    return found


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True))
@_format_option
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@click.option("--keep-others", is_flag=True, help="Leave what is set and not in the file as it is.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@click.option("--why", type=LINE, help="The reason, for values whose line gives none [default: imported from FILE].")
@json_option
def import_quotas(
    file: str,
    form: FileFormat | None,
    dry_run: bool,
    keep_others: bool,
    yes: bool,
    why: str | None,
    as_json: bool,
) -> None:
    """Replace all that is set by what FILE says, all or nothing; - reads standard input.

    What is set and not in the file is taken back, unless --keep-others is given. What is in both, with the same value
    and end, stays as it is. If somebody sets something else while you are asked, nothing is changed.
    """
    output = Output(as_json)
    name = Path(file).name if file != "-" else "standard input"
    file_format = _format(form, name)
    with click.open_file(file, "rb") as opened:
        content = opened.read()
    desk = Deployment.load().desk()
    grants = quota_files.read(content, file_format, name, desk.clock())
    seen = quotas.all_set(desk)
    planned = quotas.imported(seen.grants, grants, keep_others=keep_others)
    if dry_run or not planned:
        _tell(planned, output, done=False)
        return
    what = "This adds to what is set" if keep_others else "This replaces all that is set"
    if not yes:
        # A program that reads the output, or a file on standard input, leaves nobody to ask.
        if as_json or file == "-" or not sys.stdin.isatty():
            raise click.UsageError(f"{what} ({_count(planned)}). Look with --dry-run, then repeat with --yes.")
        _show(planned, output)
        click.confirm(f"{what} ({_count(planned)}). Go on?", abort=True)
    reason = why or f"imported from {name}"
    done = quotas.replace_all(desk, grants, actor(), reason, seen.version, keep_others=keep_others)
    _tell(done, output, done=True)


def _tell(changes: list[Change], output: Output, *, done: bool) -> None:
    output.data({"done": done, "changes": [_change_data(change) for change in changes]})
    _show(changes, output)
    if not changes:
        output.say("Nothing changes: all that the file says is set already, and nothing else.")
    else:
        output.say(
            f"Done: {_count(changes)}." if done else f"Nothing was changed. Import would change: {_count(changes)}."
        )


def _show(changes: list[Change], output: Output) -> None:
    if changes:
        output.listing(_HEADINGS, [_row(change) for change in changes])


def _row(change: Change) -> tuple[str, ...]:
    sign = "+" if change.before is None else "-" if change.after is None else "~"
    grant = change.after or change.before
    if grant is None:  # cannot be: something changes
        raise AssertionError
    return sign, subject_name(grant), grant.dimension, grant_words(change.before), grant_words(change.after)


def _count(changes: list[Change]) -> str:
    added = sum(change.before is None for change in changes)
    removed = sum(change.after is None for change in changes)
    return f"{added} added, {len(changes) - added - removed} changed, {removed} taken back"


def _change_data(change: Change) -> dict[str, Any]:
    return {
        "before": grant_data(change.before) if change.before else None,
        "after": grant_data(change.after) if change.after else None,
    }


@click.command("export")
@click.argument("file", required=False, type=click.Path(dir_okay=False, allow_dash=True))
@_format_option
@json_option
def export_quotas(file: str | None, form: FileFormat | None, as_json: bool) -> None:
    """Write all that is set to FILE, or print it, as `berth quota import` reads it. What is over is left out."""
    output = Output(as_json)
    printed = file is None or file == "-"
    file_format = form or "yaml" if file is None or printed else _format(form, file)
    desk = Deployment.load().desk()
    now = desk.clock()
    grants = [grant for grant in quotas.all_grants(desk) if grant.until is None or grant.until > now]
    text = quota_files.write(grants, file_format)
    if file is not None and not printed:
        try:
            Path(file).write_text(text, encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"{file} cannot be written: {error.strerror}.") from None
        output.say(f"Wrote {plural(len(grants), 'value')} to {file}.")
    elif not as_json:
        click.echo(text, nl=False)
    output.data([grant_data(grant) for grant in grants])
