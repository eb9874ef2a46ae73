"""Values of quota dimensions as people write and read them: on the command line, in CSV and YAML, on pages."""

import math
import re
from fractions import Fraction

from ..errors import QuotaInvalid
from ..policy.admission import format_bytes
from ..units import UNITS, UNLIMITED

_SIZE = re.compile(r"\s*(\d{1,19}(?:\.\d{1,15})?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE)
NOTHING = "none"  # no name at all; a value left empty is a mistake

_SIZES = {"memory": 64 << 20, "shm": 1 << 20, "home": 0}
_LARGEST_SIZE = 1 << 60
# Least and largest; beyond these no kernel and no database column follows.
_COUNTS = {
    "processes": (1, 1 << 30),
    "open_files": (1, 1 << 30),
    "gpus": (0, 1_000_000),
    "priority": (-1_000_000, 1_000_000),
}
_LARGEST = {"cpu": 4096, "lease_hours": 24 * 365, "gpu_hours": 1_000_000_000}
_NAMES = {"profiles", "models"}
_NO_BOUND = {"home", "gpu_hours"}


def parse_value(dimension: str, value: object) -> float | int | frozenset[str]:
    """Read a value of a quota dimension.

    Raises
    ------
    QuotaInvalid
        Says what was expected.
    """
    if isinstance(value, (list, tuple, set, frozenset)):
        if dimension not in _NAMES:
            raise QuotaInvalid(f"{dimension} takes one value, not a list.")
        return _names(dimension, ", ".join(map(str, value))) if value else frozenset()
    text = str(value).strip()
    if dimension in _NAMES:
        return _names(dimension, text)
    if dimension in _NO_BOUND and (text == UNLIMITED or value == math.inf):
        return math.inf
    if dimension in _SIZES:
        return _size(dimension, text)
    if dimension in _COUNTS:
        return _whole(dimension, text, *_COUNTS[dimension])
    return _number(dimension, text)


def _names(dimension: str, text: str) -> frozenset[str]:
    if text == NOTHING:
        return frozenset()
    names = frozenset(name for name in (name.strip() for name in re.split(r"[,;]", text)) if name)
    if not names or not all(name.isprintable() for name in names):
        raise QuotaInvalid(f"{dimension} must be names with commas between, * for all, or none, not {text!r}.")
    return names


def _size(dimension: str, text: str) -> int:
    match = _SIZE.fullmatch(text)
    size = int(Fraction(match[1]) * UNITS[match[2].upper()]) if match else -1
    if not _SIZES[dimension] <= size <= _LARGEST_SIZE:
        least = format_bytes(_SIZES[dimension])
        unlimited = f", or {UNLIMITED}" if dimension in _NO_BOUND else ""
        raise QuotaInvalid(f"{dimension} must be a size from {least} on, such as 2 GiB{unlimited}, not {text!r}.")
    return size


def _whole(dimension: str, text: str, least: int, most: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise QuotaInvalid(f"{dimension} must be a whole number, not {text!r}.") from None
    if not least <= number <= most:
        raise QuotaInvalid(f"{dimension} must be a whole number from {least} to {most}, not {text!r}.")
    return number


def _number(dimension: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    from_nought, most = dimension in _NO_BOUND, _LARGEST[dimension]
    if not (0 < number <= most or (from_nought and number == 0)):
        expected = f"from 0 to {most}, or {UNLIMITED}" if from_nought else f"above 0, up to {most}"
        raise QuotaInvalid(f"{dimension} must be a number {expected}, not {text!r}.")
    return number


def show_value(dimension: str, value: float | frozenset[str]) -> str:
    """Write a value as `parse_value` reads it."""
    if isinstance(value, frozenset):
        return ", ".join(sorted(value)) or NOTHING
    if math.isinf(value):
        return UNLIMITED
    if dimension in _SIZES:
        # Exact where a unit divides it; a rounded one would not be read back as the same.
        size = int(value)
        unit = next((unit for unit in "TGMK" if size and size % UNITS[unit] == 0), "")
        return f"{size // UNITS[unit]} {unit}iB" if unit else f"{size} B"
    # Not :g, whose six digits would not be read back as the same.
    return str(int(value)) if value == int(value) else repr(value)
