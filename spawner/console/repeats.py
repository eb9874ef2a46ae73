"""Calls that may be repeated: ``Idempotency-Key`` on every POST of the API.

Whoever does not know whether a call arrived sends it again with the same key, and gets the first one's answer.
"""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BerthError
from ..ledger import Call
from ..operations import calls
from .callers import identified
from .context import Console
from .problems import Problem, answer, problem_of

HEADER, REPLAYED = "Idempotency-Key", "Idempotency-Replayed"
_LONGEST_KEY = 200
_KEPT_HEADERS = ("Content-Type", "Location", "ETag", "Content-Disposition")
_LOG = logging.getLogger("berth.console")


class Repeats:
    """ASGI middleware that carries out a call with a key once."""

    def __init__(self, app: ASGIApp, console: Console) -> None:
        self._app, self._here = app, console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        api = f"{self._here.prefix}api/v1/"
        keyed = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(api)
        key = Headers(scope=scope).get(HEADER) if keyed else None
        if key is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            begun = await self._begin(request, key)
        except Problem as problem:
            await answer(request, problem)(scope, receive, send)
            return
        except BerthError as error:
            await answer(request, problem_of(error))(scope, receive, send)
            return
        if isinstance(begun, calls.Answered):
            await _repeat(begun.call, send)
        elif begun is None:
            await self._app(scope, _again(await request.body(), receive), send)
        else:
            await self._carry_out(begun.call, scope, _again(await request.body(), receive), send)

    async def _begin(self, request: Request, key: str) -> calls.Begun | calls.Answered | None:
        """Take the key; None for a caller who is not let in anyway."""
        if not 0 < len(key) <= _LONGEST_KEY or not key.isascii() or not key.isprintable():
            raise Problem(400, "invalid_key", f"{HEADER} is to be 1 to {_LONGEST_KEY} printable ASCII characters.")
        body = await request.body()
        caller = await run_in_threadpool(identified, request, self._here)
        if caller is None:
            return None
        call = f"{request.method} {request.url.path}"
        carried = "\n".join([request.url.query, request.headers.get("Content-Type", ""), ""]).encode() + body
        fingerprint = hashlib.sha256(carried).hexdigest()
        found = await run_in_threadpool(
            calls.begin, self._here.desk, f"{caller.kind}:{caller.name}", caller.scopes, key, call, fingerprint
        )
        if isinstance(found, calls.Answered) and not found.call.scopes <= caller.scopes:
            raise Problem(403, "scope_missing", "The call with this key was that of a token which may more than this.")
        if isinstance(found, calls.Different):
            raise Problem(422, "key_reused", f"This {HEADER} was that of another call. Take a new one for each call.")
        if isinstance(found, calls.UnderWay):
            raise Problem(
                409,
                "call_under_way",
                "The call with this key is still being carried out. Repeat it in a moment.",
                {"Retry-After": "2"},
            )
        return found

    async def _carry_out(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        try:
            await self._app(scope, receive, keep)
        except BaseException:
            await self._end(call, None)
            raise
        await self._end(call, messages)
        for message in messages:
            await send(message)

    async def _end(self, call: Call, messages: list[Message] | None) -> None:
        """Keep the answer before it is sent; without the ledger, it is sent nevertheless."""
        start: Mapping[str, Any] = messages[0] if messages else {"status": 500}
        try:
            if messages and start["status"] < 300:
                headers = Headers(raw=start["headers"])
                kept = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
                text = b"".join(message.get("body", b"") for message in messages[1:]).decode()
                await run_in_threadpool(calls.finish, self._here.desk, call, start["status"], kept, text)
            else:
                await run_in_threadpool(calls.give_up, self._here.desk, call)
        except BerthError as error:
            _LOG.warning("The answer to a call of %s is not kept: %s", call.caller, error)


def _again(body: bytes, receive: Receive) -> Receive:
    """Let what was read be read again."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return waiting.pop() if waiting else await receive()

    return receiving


async def _repeat(call: Call, send: Send) -> None:
    body = call.answer.encode()
    headers = MutableHeaders(raw=[])
    headers.update({**call.headers, REPLAYED: "true", "Content-Length": str(len(body))})
    await send({"type": "http.response.start", "status": call.status, "headers": headers.raw})
    await send({"type": "http.response.body", "body": body})


def describe(api: dict[str, Any]) -> None:
    """Tell of keys in an OpenAPI document, at every POST."""
    api["components"].setdefault("parameters", {})["IdempotencyKey"] = {
        "name": HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "minLength": 1, "maxLength": _LONGEST_KEY, "pattern": "^[ -~]+$"},
        "description": "Of your own making, a new one for each call, such as a UUID. A call that is repeated with the "
        "same key within 24 hours is not carried out again: it gets the first one's answer.",
    }
    replayed = {"description": "`true` where this is the answer to an earlier call.", "schema": {"type": "string"}}
    for operations in api["paths"].values():
        if (post := operations.get("post")) is None:
            continue
        post.setdefault("parameters", []).append({"$ref": "#/components/parameters/IdempotencyKey"})
        for status, response in post["responses"].items():
            if status.startswith("2"):
                response.setdefault("headers", {})[REPLAYED] = replayed
