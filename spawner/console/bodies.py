"""A bound for what is sent to us."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import Problem, answer

LARGEST = 8 << 20
"""Bytes; an import of every user's quotas is smaller."""


class BodyLimit:
    """ASGI middleware that refuses larger bodies, also of who does not say how large theirs is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = Headers(scope=scope).get("Content-Length", "")
        if said.isdecimal() and int(said) > LARGEST:
            await answer(Request(scope), _too_large())(scope, receive, send)
            return
        read = 0

        async def counting() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > LARGEST:
                raise _too_large()
            return message

        await self._app(scope, counting, send)


def _too_large() -> Problem:
    return Problem(413, "too_large", f"This is more than {LARGEST >> 20} MiB.")
