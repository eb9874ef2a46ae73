"""A bound for what is sent to us."""

import re

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .callers import SESSION_COOKIE, SESSION_SECONDS
from .context import Console
from .problems import Problem, answer

LARGEST = 8 << 20
"""Bytes; an import of every user's quotas is smaller."""
_FILES = re.compile(r".*/courses/[^/]+/sessions/[^/]+/(?:board/files|pushes)")
_ENVELOPE = 1 << 20  # what a form has beside its file


class BodyLimit:
    """ASGI middleware that refuses larger bodies, also of who does not say how large theirs is.

    Files for seats may be larger, of those who show that they have signed in.
    """

    def __init__(self, app: ASGIApp, console: Console) -> None:
        self._app, self._console = app, console

    def _most(self, scope: Scope) -> int:
        if scope["method"] == "POST" and _FILES.fullmatch(scope["path"]):
            files = self._console.settings.classes.push_bytes + _ENVELOPE
            request = Request(scope)
            sealed = request.cookies.get(SESSION_COOKIE)
            # Of a token the hub is asked before the body is read; a form is read before anything is asked.
            if "Authorization" in request.headers or (sealed and self._console.keys.open(sealed, SESSION_SECONDS)):
                return max(LARGEST, files)
        return LARGEST

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._most(scope)
        said = Headers(scope=scope).get("Content-Length", "")
        if said.isdecimal() and int(said) > most:
            await answer(Request(scope), _too_large(most))(scope, receive, send)
            return
        read = 0

        async def counting() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise _too_large(most)
            return message

        await self._app(scope, counting, send)


def _too_large(most: int) -> Problem:
    return Problem(413, "too_large", f"This is more than {most >> 20} MiB.")
