"""Waiting for what comes about by itself, with an end."""

import asyncio
import time
from collections.abc import Callable


def eventually(true: Callable[[], object], seconds: float = 20) -> None:
    """Return as soon as `true` gives something true.

    Raises
    ------
    AssertionError
        If that does not happen in time.
    """
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)


async def soon(true: Callable[[], object], seconds: float = 20) -> None:
    """Do likewise, and leave the event loop free."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)
