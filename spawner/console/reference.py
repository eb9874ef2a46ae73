"""``python -m spawner.console.reference``: writes docs/reference/api.md from the API's own description."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..ledger import Ledger
from ..operations.desk import Desk
from ..settings import Settings
from .app import create_app
from .context import Console
from .hub import Hub
from .keys import Keys
from .people import People
from .problems import RESPONSES
from .readings import Readings
from .rendering import Pages
from .scopes import DEFINITIONS

PAGE = Path(__file__).parents[2] / "docs/reference/api.md"
PREFIX = "/services/console/"
Api = Mapping[str, Any]
_TITLES = {"gpus": "GPUs", "me": "Who calls"}

_HEAD = """\
# The REST API

<!-- Written by `make docs` from the API's own description; change it there. -->

All that the console's pages do, for programs; how to begin is told in [Call the API from
scripts](../how-to/call-the-api-from-scripts.md). Paths below are relative to `/services/console/api/v1`. The same in
OpenAPI, for tools: `/services/console/api/v1/openapi.json`.

## What holds for all of it

**Tokens.** `Authorization: Bearer TOKEN`, with a token of the hub: a user's own, or a service's. What it allows are its
scopes, among them the console's own:

{scopes}

Each operation names the scope that it takes. Where it says "one's own", the things of others take another, which the
answer names.

**Times** are in UTC, as ISO 8601 writes them: `2027-03-01T12:00:00Z`. GPU time is in whole GPU-milliseconds (`gpu_ms`).

**Lists** come in pages: `limit` says how many, and `next` of an answer is the `cursor` of the next page, or null.

**Versions.** What can be written back comes with an `ETag`. Writing it takes that in `If-Match`: 428 without, and 412
where somebody else has written meanwhile; nothing is lost then. `If-Match: *` stands for any version.

**Repeating a call.** Every POST takes an `Idempotency-Key`, a text of 1 to 200 characters of your own making. The same
call with the same key, within 24 hours, is not carried out again: it gets the first one's answer, with
`Idempotency-Replayed: true`. Another call under the key gets 422 `key_reused`, and one that comes while the first is
still being carried out 409 `call_under_way`. What was refused or failed leaves its key free. Where the console itself
ends in between, the key is free again after two minutes; look whether the thing was done before you repeat the call.

**Problems** are `application/problem+json` (RFC 9457) with `status`, `title`, `detail` (a sentence or two for a
person) and `code` (for programs). Beside those that an operation names, every one may answer:

{statuses}
"""


def described() -> Api:
    """Give the API's description, of a console that is connected to nothing."""
    hub = Hub("none", "http://localhost/hub/api", "service-console", PREFIX)
    settings = Settings()

    def clock() -> datetime:
        return datetime.now(UTC)

    console = Console(
        desk=Desk(Ledger("sqlite:////nowhere/ledger.db"), settings.limits.rules(), settings.leases.rules(), clock),
        settings=settings,
        hub=hub,
        people=People(hub),
        pages=Pages(PREFIX, hub.path, clock),
        keys=Keys(bytes(32)),
        readings=Readings(clock),
        prefix=PREFIX,
    )
    return create_app(console, Path("node_modules")).openapi()


def render(api: Api) -> str:
    """Write the page."""
    scopes = "\n".join(f"- `{scope}`: {definition['description']}" for scope, definition in DEFINITIONS.items())
    statuses = "\n".join(f"- {status}: {told['description']}" for status, told in RESPONSES.items())
    parts = [_HEAD.format(scopes=scopes, statuses=statuses)]
    by_tag: dict[str, list[str]] = {}
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            [tag] = operation["tags"]
            short = path.removeprefix(f"{PREFIX}api/v1")
            by_tag.setdefault(tag, []).append("\n".join(_operation(f"{method.upper()} {short}", operation)))
    for tag, told in sorted(by_tag.items()):
        parts += [f"## {_TITLES.get(tag, tag.capitalize())}\n", *told]
    parts += ["## Models\n", *(_model(name, api["components"]["schemas"][name]) for name in _used(api))]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _operation(title: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### `{title}`\n"
    yield f"{operation['summary']}.\n"
    if "description" in operation:
        yield f"{operation['description']}\n"
    scopes = [scope for one in operation.get("security", ()) for scope in one.get("hub", ())]
    yield f"Scope: {', '.join(f'`{scope}`' for scope in scopes) or 'none, any token'}.\n"
    parameters = [one for one in operation.get("parameters", ()) if "$ref" not in one]
    if parameters:
        yield "| parameter | in | kind | meaning |\n|---|---|---|---|"
        for one in parameters:
            name = f"`{one['name']}`" + (" *" if one.get("required") and one["in"] != "path" else "")
            yield f"| {name} | {one['in']} | {_kind(one['schema'])} | {_cell(one.get('description', ''))} |"
        yield ""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body ({kind}): {_kind(content.get('schema', {}))}.\n"
    for status, response in operation["responses"].items():
        if status.isdecimal() and int(status) in RESPONSES:
            continue
        kinds = [
            _kind(content["schema"]) if content.get("schema") else f"`{kind}`"
            for kind, content in response.get("content", {}).items()
        ]
        told = response.get("description", "")
        words = "" if told in {"", "Successful Response"} else f" {told.removesuffix('.')}."
        yield f"- {status}:{words} {', '.join(kinds) + '.' if kinds else ''}".rstrip()
    yield ""


def _kind(schema: Mapping[str, Any]) -> str:
    """Say in a few words what values a schema allows."""
    if "$ref" in schema:
        name = _shown(schema["$ref"].rpartition("/")[2])
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    bounds = [
        f"{words} {schema[key]}"
        for key, words in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
        if key in schema
    ]
    default = schema.get("default")
    if default not in (None, "", []):
        bounds.append(f"usually `{str(default).lower() if isinstance(default, bool) else default}`")
    kind = {"date-time": "time", "date": "day"}.get(schema.get("format", ""), schema.get("type", "anything"))
    return ", ".join([str(kind), *bounds])


def _shown(name: str) -> str:
    """Name a model as a link can: `Page-LeaseRow`, or with its topic where two topics have one of a name."""
    name = re.sub(r"^spawner__console__api__(\w+?)_models__", r"\1-", name)
    return re.sub(r"_+", "-", name).strip("-")


def _model(name: str, schema: Mapping[str, Any]) -> str:
    lines = [f"### {_shown(name)}\n"]
    if schema.get("description"):
        lines.append(f"{schema['description']}\n")
    if "enum" in schema:
        lines.append(f"One of {_kind(schema)}.\n")
    if schema.get("properties"):
        lines.append("| field | kind | meaning |\n|---|---|---|")
        required = schema.get("required", ())
        for field, told in schema["properties"].items():
            optional = "" if field in required else " (optional)"
            lines.append(f"| `{field}`{optional} | {_kind(told)} | {_cell(told.get('description', ''))} |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _used(api: Api) -> list[str]:
    """List the models by name, but for FastAPI's own of errors, which we never answer with."""
    return sorted(set(api["components"]["schemas"]) - {"HTTPValidationError", "ValidationError"})


def main() -> None:
    PAGE.write_text(render(described()), encoding="utf-8")


if __name__ == "__main__":
    main()
