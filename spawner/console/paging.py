"""Lists in pages: ``?limit=50&cursor=...``; the answer's ``next`` is the cursor of the next page, or null."""

import base64
import binascii
import json
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from .problems import Problem

T = TypeVar("T")

LONGEST = 500
Limit = Annotated[int, Query(ge=1, le=LONGEST, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next` of the page before.")]


class Page(BaseModel, Generic[T]):
    """Part of a list."""

    items: list[T]
    next: str | None = Field(None, description="Cursor of the next page; null on the last.")


def cursor_of(*position: Any) -> str:
    """Write where a page ended, as an opaque text; values that JSON can say."""
    text = json.dumps(position, separators=(",", ":"), default=str)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_in(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """Read what `cursor_of` wrote; None for the first page.

    Raises
    ------
    Problem
        400 if it is not one of ours.
    """
    if cursor is None:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        found = None
    alike = isinstance(found, list) and len(found) == len(kinds)
    if not alike or not all(type(one) is kind for one, kind in zip(found, kinds, strict=True)):
        raise Problem(400, "invalid_cursor", "This cursor is none of ours; begin without one.")
    return tuple(found)
