"""The open pages of JupyterLab: told of every change, asked to save."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from .visitors import person_of


class Pages:
    """All pages that are connected.

    Parameters
    ----------
    state
        Gives what a page is told.
    moved
        Called when somebody comes, goes, or does something after a while.
    """

    def __init__(self, state: Callable[[], dict[str, Any]], moved: Callable[[], None] = lambda: None) -> None:
        self._state, self._moved = state, moved
        self._active: dict[str, float] = {}
        self._open: dict[PageSocket, dict[int, asyncio.Future[dict[str, Any]]]] = {}
        self._saves = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, page: "PageSocket") -> None:
        self._open[page] = {}
        page.send({"type": "state", **self._state()})
        self._moved()

    def remove(self, page: "PageSocket") -> None:
        for future in self._open.pop(page, {}).values():
            future.cancel()
        self._moved()

    def people(self) -> set[str]:
        """Give the names of all who have a page open."""
        return {page.person for page in self._open if page.person}

    def used_by(self, person: str) -> bool:
        """Tell whether somebody has a page open and has done something with it.

        A tab that was left open long ago comes back by itself when the server starts; nobody need be there.
        """
        return any(page.person == person and page.used for page in self._open)

    def active_at(self, person: str) -> float | None:
        """Tell when somebody last did something on a page, by the monotonic clock."""
        return self._active.get(person)

    def active(self, page: "PageSocket") -> None:
        """Note that who looks at a page does something."""
        if page.person:
            page.used = True
            self._active[page.person] = time.monotonic()
            self._moved()

    def tell(self) -> None:
        """Send the state to all pages."""
        state = self._state()
        for page in list(self._open):
            page.send({"type": "state", **state})

    def reload(self, folder: str) -> None:
        """Have all pages read again what they have open of a folder, and have not changed."""
        for page in list(self._open):
            page.send({"type": "reload", "folder": folder})

    def answered(self, page: "PageSocket", number: int, result: dict[str, Any]) -> None:
        future = self._open.get(page, {}).pop(number, None)
        if future is not None and not future.done():
            future.set_result(result)

    async def save(self, seconds: float, reason: str = "") -> dict[str, Any]:
        """Have all pages save their documents.

        Parameters
        ----------
        seconds
            Wait no longer than this for their answers.
        reason
            Shown to whoever looks at such a page; empty to show nothing.

        Returns
        -------
        dict
            ``pages`` asked, of which ``answered``; documents ``saved`` and ``failed``, the latter's paths ``unsaved``.
        """
        self._saves += 1
        futures = {}
        for page, waiting in self._open.items():
            futures[page] = waiting[self._saves] = asyncio.get_running_loop().create_future()
        for page in futures:
            page.send({"type": "save", "id": self._saves, "seconds": seconds, "reason": reason})
        if futures:
            # A page gives up on a document a little before we do, to say which.
            await asyncio.wait(futures.values(), timeout=seconds + 1)
        results = [future.result() for future in futures.values() if future.done() and not future.cancelled()]
        for waiting in self._open.values():
            waiting.pop(self._saves, None)
        unsaved = {path for result in results for path in result.get("unsaved", [])}
        return {
            "pages": len(futures),
            "answered": len(results),
            "saved": sum(result.get("saved", 0) for result in results),
            "failed": sum(result.get("failed", 0) for result in results),
            "unsaved": sorted(unsaved),
        }


class PageSocket(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """One page's connection."""

    person = ""
    used = False

    def initialize(self, pages: Pages) -> None:
        self._pages = pages

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        if not await _allowed(self):
            raise web.HTTPError(403)
        await super().get(*args, **kwargs)

    def open(self, *args: Any, **kwargs: Any) -> None:
        super().open(*args, **kwargs)
        self.person = person_of(self.current_user)
        self._pages.add(self)

    def send(self, message: dict[str, Any]) -> None:
        try:
            self.write_message(json.dumps(message))
        except WebSocketClosedError:
            self._pages.remove(self)

    def on_message(self, message: str | bytes) -> None:
        try:
            said = json.loads(message)
            if said["type"] == "active":
                self._pages.active(self)
            elif said["type"] == "saved":
                self._pages.answered(self, int(said["id"]), _result(said))
        except (ValueError, KeyError, TypeError):
            self.log.warning("berth: a page said what cannot be understood")

    def on_close(self) -> None:
        self._pages.remove(self)


def _result(said: dict[str, Any]) -> dict[str, Any]:
    return {
        "saved": int(said.get("saved", 0)),
        "failed": int(said.get("failed", 0)),
        "unsaved": [str(path) for path in said.get("unsaved", [])],
    }


async def _allowed(handler: JupyterHandler) -> bool:
    answer = handler.authorizer.is_authorized(handler, handler.current_user, "execute", "berth")
    return bool(await answer if asyncio.iscoroutine(answer) else answer)
