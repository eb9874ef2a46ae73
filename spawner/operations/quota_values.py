"""Values of quota dimensions as people write and read them: on the command line, in CSV and YAML, on pages."""

import math
import re

from ..errors import QuotaInvalid
from ..policy.admission import format_bytes

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE)
UNLIMITED = "unlimited"

_SIZES = {"memory": 64 << 20, "shm": 1 << 20, "home": 0}
_COUNTS = {"processes": 1, "open_files": 1, "gpus": 0}
_NAMES = {"profiles", "models"}
_NO_BOUND = {"home", "gpu_hours"}


def parse_value(dimension: str, value: object) -> float | int | frozenset[str]:
    """Read a value of a quota dimension.

    Raises
    ------
    QuotaInvalid
        Says what was expected.
    """
    text = str(value).strip() if not isinstance(value, (list, tuple, set, frozenset)) else ""
    if dimension in _NAMES:
        names = value if isinstance(value, (list, tuple, set, frozenset)) else re.split(r"[,;]", text)
        return frozenset(name for name in (str(name).strip() for name in names) if name)
    if dimension in _NO_BOUND and (text == UNLIMITED or value == math.inf):
        return math.inf
    if dimension in _SIZES:
        return _size(dimension, text)
    if dimension == "priority":
        return _whole(dimension, text, None)
    if dimension in _COUNTS:
        return _whole(dimension, text, _COUNTS[dimension])
    return _number(dimension, text)


def _size(dimension: str, text: str) -> int:
    match = _SIZE.fullmatch(text)
    size = int(float(match[1]) * _UNITS[match[2].upper()]) if match else -1
    if size < _SIZES[dimension]:
        least = format_bytes(_SIZES[dimension])
        raise QuotaInvalid(f"{dimension} must be a size from {least} on, such as 2 GiB, not {text!r}.")
    return size


def _whole(dimension: str, text: str, least: int | None) -> int:
    try:
        number = int(text)
    except ValueError:
        raise QuotaInvalid(f"{dimension} must be a whole number, not {text!r}.") from None
    if least is not None and number < least:
        raise QuotaInvalid(f"{dimension} must be {least} or more, not {text!r}.")
    return number


def _number(dimension: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    least_is_allowed = dimension == "gpu_hours"
    if not (number > 0 or (least_is_allowed and number == 0)) or math.isinf(number):
        expected = "0 or more, or unlimited" if least_is_allowed else "above 0"
        raise QuotaInvalid(f"{dimension} must be a number {expected}, not {text!r}.")
    return number


def show_value(dimension: str, value: float | frozenset[str]) -> str:
    """Write a value as `parse_value` reads it."""
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    if math.isinf(value):
        return UNLIMITED
    if dimension in _SIZES:
        # Exact where a unit divides it; a rounded one would not be read back as the same.
        size = int(value)
        unit = next((unit for unit in "TGMK" if size and size % _UNITS[unit] == 0), "")
        return f"{size // _UNITS[unit]} {unit}iB" if unit else f"{size} B"
    return f"{value:g}"
