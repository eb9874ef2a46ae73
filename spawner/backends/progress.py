"""The steps of one start, as the progress page shows them."""

import asyncio
from collections.abc import AsyncIterator


class Steps:
    """Steps written by a start and read by any number of open pages.

    Written from the event loop's thread only; a page that opens late gets all steps from the first on.
    """

    def __init__(self) -> None:
        self._steps: list[dict[str, object]] = []
        self._changed = asyncio.Event()
        self._done = False

    def add(self, progress: int, message: str) -> None:
        """Add a step; `progress` is a percentage."""
        self._steps.append({"progress": progress, "message": message})
        self._wake()

    def finish(self) -> None:
        self._done = True
        self._wake()

    def _wake(self) -> None:
        # Readers hold the old event; each waits for the next change on the new one.
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self) -> AsyncIterator[dict[str, object]]:
        """Yield all steps so far and those to come, until the start is over."""
        read = 0
        while True:
            changed = self._changed
            while read < len(self._steps):
                yield self._steps[read]
                read += 1
            if self._done:
                return
            await changed.wait()
