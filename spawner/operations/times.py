"""Times and lengths of time as people write them: on the command line, in files, on pages."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_SPAN = re.compile(r"(\d{1,7})\s*([mhdw])", re.ASCII)
_LONGEST = timedelta(days=36_600)


def parse_time(text: str) -> datetime:
    """Read ``2027-03-01``, ``2027-03-01 12:30`` or ISO 8601 with a zone; without one it is UTC.

    A date is its beginning. What is finer than a millisecond is cut off, as the ledger does.

    Raises
    ------
    ValueError
        A sentence that says what was expected.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"a date or a time such as 2027-03-01 or 2027-03-01T12:30Z, not {text!r}") from None
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def parse_span(text: str) -> timedelta:
    """Read a whole number of minutes, hours, days or weeks: ``90m``, ``12h``, ``7d``, ``2w``.

    Raises
    ------
    ValueError
        A sentence that says what was expected.
    """
    match = _SPAN.fullmatch(text.strip())
    span = int(match[1]) * _UNITS[match[2]] if match else timedelta(0)
    if not timedelta(0) < span <= _LONGEST:
        raise ValueError(f"a length of time up to 100 years such as 90m, 12h, 7d or 2w, not {text!r}")
    return span
