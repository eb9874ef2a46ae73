"""Sizes as people write them in settings."""

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from .policy.admission import format_bytes

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE)


def parse_bytes(value: object) -> object:
    """Read ``"2 GiB"``, ``"512M"`` or a number of bytes; K, M, G, T are powers of 1024, as in Docker.

    Raises
    ------
    ValueError
        If a text is none of these.
    """
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError('a size such as "2 GiB" or "512 MiB"')
    return int(float(match[1]) * _UNITS[match[2].upper()])


Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["2 GiB"]}),
]
