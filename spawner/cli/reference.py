"""The reference of the settings, rendered from their schema."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..policy.admission import format_bytes
from ..settings import ProfileSettings, Settings
from ..settings_file import PREFIX

_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false"}


@dataclass(frozen=True)
class Entry:
    """One key.

    Attributes
    ----------
    key
        Dotted; ``N`` stands for a place in a list, ``NAME`` for a name of your own.
    variable
        The environment variable that sets it; empty where only the file can.
    """

    key: str
    kind: str
    default: str
    description: str
    variable: str
    example: str


def entries(model: type[BaseModel] = Settings, prefix: str = "", settable: bool = True) -> Iterator[Entry]:
    """Give every key of a model, those of nested ones included, in the order of the schema."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        nested, path, direct = _nested(field.annotation)
        yield Entry(
            key,
            _kind(field.annotation, field),
            _default(field),
            " ".join((field.description or "").split()),
            f"{PREFIX}{key.upper().replace('.', '__')}" if settable else "",
            ", ".join(f"`{example}`" for example in field.examples or []),
        )
        if nested:
            yield from entries(nested, f"{key}{path}.", settable and direct)


def render() -> str:
    """Give the page in Markdown."""
    lines = [
        "# Settings",
        "",
        "<!-- Rendered by `make docs` from spawner/settings.py; edit that. -->",
        "",
        "`$BERTH_CONFIG` names the settings file; else it is `berth.yaml` in the repository's root. A variable of the",
        "environment goes before the file. Lists and maps in a variable are written as JSON. Relative paths count",
        "from the file's directory. `berth settings check` tells what is wrong with the settings, `berth settings",
        "show` what they are.",
        "",
    ]
    for entry in entries():
        lines.append(f"## `{entry.key}`")
        lines.append("")
        lines.append(entry.description)
        lines.append("")
        lines.append(f"- Type: {entry.kind}")
        lines.append(f"- Default: {entry.default}")
        if entry.example:
            lines.append(f"- Example: {entry.example}")
        if entry.variable:
            lines.append(f"- Environment: `{entry.variable}`")
        lines.append("")
    return "\n".join(lines)


def render_profiles() -> str:
    """Give the page about profiles, with those that are there by default."""
    lines = [
        "# Profiles",
        "",
        "<!-- Rendered by `make docs` from spawner/settings.py; edit that. -->",
        "",
        "A profile is a kind of server that users choose on the spawn form or name in the API",
        '(`user_options: {"profile": "cpu"}`). The first one is the default. `profiles` in the settings replaces the',
        "whole list.",
        "",
        "## The default ones",
        "",
        "| profile | name | cores | memory | GPUs | who may choose it |",
        "|---|---|---|---|---|---|",
    ]
    for profile in Settings.model_fields["profiles"].default:
        shown = profile.model_dump(mode="json")
        whose = ", ".join([*shown["users"], *shown["groups"]]) or "everyone"
        cells = [f"`{profile.slug}`", profile.name, f"{profile.cpu:g}", shown["memory"], str(profile.gpus), whose]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## Keys", "", "| key | type | default | meaning |", "|---|---|---|---|"]
    for entry in entries(ProfileSettings):
        lines.append(f"| `{entry.key}` | {entry.kind} | {entry.default} | {entry.description} |")
    lines += [
        "",
        "What a profile leaves out, `limits` decides; what it asks beyond a user's limits is refused with the limit's",
        "name and origin.",
        "",
    ]
    return "\n".join(lines)


def _nested(annotation: Any) -> tuple[type[BaseModel] | None, str, bool]:
    """Find the model within an annotation: itself, in a list (``.N``) or in a map (``.NAME``)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, "", True
    origin, arguments = get_origin(annotation), get_args(annotation)
    for argument in arguments:
        found, path, direct = _nested(argument)
        if found:
            place = {tuple: ".N", list: ".N", dict: ".NAME"}.get(origin, "")
            return found, place + path, direct and not place
    return None, "", False


def _kind(annotation: Any, field: FieldInfo | None = None) -> str:
    schema = next((m for m in getattr(field, "metadata", []) if hasattr(m, "json_schema")), None)
    if schema is not None:
        return "size"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, UnionType}:
        return " or ".join("nothing" if item is type(None) else _kind(item) for item in arguments)
    if origin is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in arguments)
    if origin is dict:
        return f"map of names to {_plural(_kind(arguments[1]))}"
    if origin in {tuple, frozenset, list}:
        return f"list of {_plural(_kind(arguments[0]))}"
    if hasattr(annotation, "__metadata__"):  # Annotated
        inner = annotation.__metadata__
        return "size" if any(hasattr(item, "json_schema") for item in inner) else _kind(annotation.__origin__)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return {"Path": "path", "SecretStr": "secret"}.get(getattr(annotation, "__name__", ""), "text")


def _plural(kind: str) -> str:
    return kind if kind.endswith("s") or " " in kind else f"{kind}s"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "none, it must be given"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or (isinstance(value, tuple) and value and isinstance(value[0], BaseModel)):
        return "see its keys"
    if value is None or value == "" or (isinstance(value, (tuple, frozenset, dict)) and not value):
        return "nothing"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if _kind(field.annotation, field).startswith("size") and isinstance(value, int):
        return f"`{format_bytes(value)}`"
    if isinstance(value, (tuple, frozenset)):
        return f"`{json.dumps(list(value))}`"
    return f"`{re.sub(r'[`]', '', str(value))}`"
