"""Sizes as people write them in settings."""

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from .policy.admission import format_bytes

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
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
    return int(float(match[1]) * UNITS[match[2].upper()])


Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["2 GiB"]}),
]

UNLIMITED = "unlimited"


def parse_amount(value: object) -> object:
    """Read a number, or ``"unlimited"`` as infinity."""
    return math.inf if value == UNLIMITED else value


def format_amount(value: float) -> float | str:
    return UNLIMITED if math.isinf(value) else value


def parse_bytes_or_unlimited(value: object) -> object:
    """Read a size, or ``"unlimited"`` as infinity.

    Raises
    ------
    ValueError
        If a text is neither.
    """
    return math.inf if value == UNLIMITED else parse_bytes(value)


def format_bytes_or_unlimited(value: float) -> str:
    return UNLIMITED if math.isinf(value) else format_bytes(int(value))


Amount = Annotated[
    float,
    BeforeValidator(parse_amount),
    Field(ge=0),
    PlainSerializer(format_amount, when_used="json"),
]

BytesOrUnlimited = Annotated[
    float,
    BeforeValidator(parse_bytes_or_unlimited),
    Field(ge=0),
    PlainSerializer(format_bytes_or_unlimited, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["50 GiB", UNLIMITED]}),
]
