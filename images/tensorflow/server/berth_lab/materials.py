"""A course's materials: put into the home once the server answers, by a program of its own."""

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

from .pages import Pages

PROGRAM = "/opt/berth/bin/berth-materials"
SOURCE = Path("/opt/berth/course/materials.git")
_SECONDS = 900  # a program that takes longer hangs
_WAIT_FOR_SOURCE = 30  # seconds between looks; the janitor may be fetching it
_AGAIN = (20, 60, 300)  # seconds until a failure is tried again
_SAVE_SECONDS = 5.0
_TELL_AFTER = 2  # failures: what passes by itself within seconds is no matter for a notice


class Materials:
    """What became of the materials.

    Parameters
    ----------
    pages
        Told of what is new; what they have open of the course is saved before, and read again after.

    Attributes
    ----------
    state
        ``state``: ``none``, ``working``, ``new``, ``updated``, ``unchanged`` or ``failed``; ``folder`` relative to the
        home; ``problem``, for the home's user.
    """

    def __init__(self, pages: Pages, log: logging.Logger) -> None:
        self.state: dict[str, Any] = {"state": "none", "folder": "", "problem": ""}
        self._pages, self._log = pages, log
        self._running = asyncio.Lock()

    @staticmethod
    def expected() -> bool:
        return bool(os.environ.get("BERTH_COURSE"))

    async def keep_trying(self) -> None:
        """Fetch the materials; goes on until it has worked."""
        while not (SOURCE / "HEAD").is_file():  # noqa: ASYNC110 -- nobody tells us of a mount's files
            await asyncio.sleep(_WAIT_FOR_SOURCE)
        failures = 0
        while (await self.fetch(tell=failures + 1 >= _TELL_AFTER))["state"] == "failed":
            await asyncio.sleep(_AGAIN[min(failures, len(_AGAIN) - 1)])
            failures += 1

    async def fetch(self, *, tell: bool = True) -> dict[str, Any]:
        """Fetch the materials now; says what became of it, as `state` does.

        Parameters
        ----------
        tell
            Whether a failure is told.
        """
        async with self._running:
            if not (SOURCE / "HEAD").is_file():
                return self.state
            found = await self._unsaved() or await _run()
            if found["problem"]:
                self._log.warning("berth: the course's materials: %s", found["problem"])
            if found["state"] != "failed" or tell:
                self.state = found
                self._pages.tell()
            if found["state"] == "updated":
                self._pages.reload(found["folder"])
            return found

    async def _unsaved(self) -> dict[str, Any] | None:
        """Have the pages save what is open; says which files of the course's folder could not be.

        What is merged is what lies on the disk. Who typed meanwhile would have to choose between that and staff's.
        """
        folder = os.environ.get("BERTH_COURSE_FOLDER") or os.environ.get("BERTH_COURSE", "")
        unsaved = (await self._pages.save(_SAVE_SECONDS))["unsaved"]
        names = [path for path in unsaved if path.startswith(f"{folder}/")]
        if not names:
            return None
        problem = f"These files are open and could not be saved: {', '.join(names)}."
        return {"state": "failed", "folder": folder, "problem": problem}


async def _run() -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/nice",
        "-n",
        "10",
        PROGRAM,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate()
        found = json.loads(output)
        return {name: str(found[name]) for name in ("state", "folder", "problem")}
    except TimeoutError:
        process.kill()
        problem = f"It takes longer than {_SECONDS // 60} minutes."
    except (ValueError, KeyError, TypeError):
        problem = "It ended without a word."
    return {"state": "failed", "folder": "", "problem": problem}
