"""The open pages of JupyterLab: told of every change, asked to save."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler


class Pages:
    """All pages that are connected.

    Parameters
    ----------
    state
        Gives what a page is told.
    """

    def __init__(self, state: Callable[[], dict[str, Any]]) -> None:
        self._state = state
        self._open: dict[PageSocket, dict[int, asyncio.Future[dict[str, Any]]]] = {}
        self._saves = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, page: "PageSocket") -> None:
        self._open[page] = {}
        page.send({"type": "state", **self._state()})

    def remove(self, page: "PageSocket") -> None:
        for future in self._open.pop(page, {}).values():
            future.cancel()

    def tell(self) -> None:
        """Send the state to all pages."""
        state = self._state()
        for page in list(self._open):
            page.send({"type": "state", **state})

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

    def initialize(self, pages: Pages) -> None:
        self._pages = pages

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        if not await _allowed(self):
            raise web.HTTPError(403)
        await super().get(*args, **kwargs)

    def open(self, *args: Any, **kwargs: Any) -> None:
        super().open(*args, **kwargs)
        self._pages.add(self)

    def send(self, message: dict[str, Any]) -> None:
        try:
            self.write_message(json.dumps(message))
        except WebSocketClosedError:
            self._pages.remove(self)

    def on_message(self, message: str | bytes) -> None:
        try:
            said = json.loads(message)
            if said["type"] == "saved":
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
