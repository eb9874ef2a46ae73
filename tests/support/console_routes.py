"""All routes of the console, and calls of them that a test can make."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from .console import PREFIX


@dataclass(frozen=True, slots=True)
class Called:
    """A route with one of its methods.

    Attributes
    ----------
    path
        Below the console's, with its parameters in braces.
    """

    method: str
    path: str
    route: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def in_api(self) -> bool:
        return self.path.startswith("api/")

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)(?::\w+)?}", self.path)

    def at(self, values: Mapping[str, str]) -> str:
        """Fill in the parameters."""
        return re.sub(r"{(\w+)(?::\w+)?}", lambda found: quote(values[found[1]], safe=""), self.path)


def routes_of(app: FastAPI) -> list[Called]:
    """List all that answers, but for static files."""
    return sorted(_routes(app), key=lambda called: (not called.in_api, called.path, called.method))


def _routes(app: FastAPI) -> Iterator[Called]:
    for route in iter_route_contexts(app.routes):
        path = route.path
        if path is None or path.startswith(f"{PREFIX}static") or not route.methods:
            continue
        for method in route.methods - {"HEAD"}:
            yield Called(method, path.removeprefix(PREFIX), route)


def example_body(app: FastAPI, called: Called) -> Any:
    """Make a small body that the API's description allows; None where it asks for none."""
    api = app.openapi()
    path = re.sub(r"{(\w+):\w+}", r"{\1}", called.path)
    operation = api["paths"][f"{PREFIX}{path}"][called.method.lower()]
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return None
    return example_of(content["application/json"]["schema"], api)


def example_of(schema: Mapping[str, Any], api: Mapping[str, Any]) -> Any:
    """Make a value of a schema, with what is required only."""
    if "$ref" in schema:
        return example_of(api["components"]["schemas"][schema["$ref"].rpartition("/")[2]], api)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return example_of(schema[key][0], api)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "examples" in schema:
        return schema["examples"][0]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: example_of(schema["properties"][name], api) for name in schema.get("required", [])}
        case "array":
            return [example_of(schema["items"], api)] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "string" if schema.get("format") == "date-time":
            return "2027-03-02T12:00:00Z"
        case "string":
            return "x" * max(1, schema.get("minLength", 1))
    return "x"
