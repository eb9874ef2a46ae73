"""How much of a disk a directory takes: GNU du, in a process of its own, at low priority.

It counts blocks and not lengths, a file with several names once, and goes on when files vanish. A thread at low
priority would hold up the others while it has the interpreter.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .volumes import HomeVolume

LOW_PRIORITY = ("nice", "-n", "19", "ionice", "-t", "-c", "3")
_OPTIONS = ("--summarize", "--one-file-system", "--block-size=1")
_TIMES = ("--time", "--time-style=+%s")
_LONGEST = 6 * 3600.0  # seconds for one directory
_MOST_COMPLAINTS = 1 << 16  # bytes


class CannotMeasure(Exception):
    """A home could not be measured; `reason` says why in a word, the message in a sentence."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What a directory takes.

    Attributes
    ----------
    used
        Bytes on disk.
    newest
        When something in it was changed last, by the files' own word; None where that was not asked for, or is no time.
    """

    used: int
    newest: datetime | None = None


def measure(
    home: HomeVolume, *, newest: bool = False, started: Callable[["subprocess.Popen[bytes]"], None] | None = None
) -> DiskUse:
    """Measure a home.

    Parameters
    ----------
    newest
        Whether to look when something was changed last, too.
    started
        Called with the process, which may be killed.

    Raises
    ------
    CannotMeasure
    """
    if home.mounted and not os.path.ismount(home.path):
        raise CannotMeasure("not_supported", f"{home.path} is mounted only while a server of its user runs")
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [*LOW_PRIORITY, "du", *_OPTIONS, *(_TIMES if newest else ()), "--", home.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={**os.environ, "LC_ALL": "C"},
        )
        if started is not None:
            started(child)
        try:
            said, _ = child.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise CannotMeasure("timeout", f"{home.path} took more than {_LONGEST / 3600:g} hours") from None
        complaints.seek(0)
        complained = complaints.read(_MOST_COMPLAINTS).splitlines()
    if any(line.endswith(b": Permission denied") for line in complained):
        raise CannotMeasure("denied", f"not all of {home.path} may be read by this user")
    size, _, rest = said.partition(b"\t")
    if not size.isdigit():
        gone = not Path(home.path).exists()
        why = complained[0].decode("utf-8", "replace") if complained else "du said nothing"
        raise CannotMeasure("gone" if gone else "failed", f"{home.path}: {why}")
    return DiskUse(int(size), _moment(rest.partition(b"\t")[0]) if newest else None)


def _moment(seconds: bytes) -> datetime | None:
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(int(seconds), UTC)
    return None
