"""Versions in the API's description: what is read has an ``ETag``, what is written needs ``If-Match``."""

from typing import Any

from ..problems import MEDIA_TYPE

PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
ETAG = {"ETag": {"description": "The version.", "schema": {"type": "string"}}}
VERSIONED: dict[int | str, dict[str, Any]] = {200: {"headers": ETAG}}
WRITING: dict[int | str, dict[str, Any]] = {
    412: {"description": "Somebody has changed it meanwhile; says who, and what to. Nothing was written.", **PROBLEM},
    428: {"description": "`If-Match` is missing.", **PROBLEM},
}


def if_match(description: str) -> dict[str, Any]:
    """Describe headers that are read from the request itself."""
    header = {"in": "header", "required": False, "schema": {"type": "string"}}
    return {"parameters": [{"name": "If-Match", "description": description, **header}]}
