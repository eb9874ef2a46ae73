"""As much of a hub and of users' servers as the janitor speaks to, at the wire; it misbehaves as it is told."""

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

TOKEN = "not-a-secret"
Trick = Literal["", "hang", "gone", "half", "garbage"]


@dataclass(frozen=True)
class _Answer:
    pattern: re.Pattern[str]
    status: int
    body: str
    trick: Trick
    times: list[int]


class ApiHub:
    """A hub behind its proxy.

    Attributes
    ----------
    asked
        Method and path of every request, in order.
    bodies
        Of the requests that had one, by method and path; the last.
    tokens
        Of the requests.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bodies: dict[str, Any] = {}
        self.tokens: set[str] = set()
        self.over = threading.Event()
        self._answers: list[_Answer] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def api_url(self) -> str:
        return f"{self.url}/hub/api"

    def says(self, pattern: str, status: int, body: object = "", *, trick: Trick = "", times: int = 1_000_000) -> None:
        """Answer requests whose ``"METHOD /path"`` has the pattern; what was said last goes first, so many times.

        Parameters
        ----------
        trick
            ``hang``: answer nothing until the test is over; ``gone``: close the connection; ``half``: close it in the
            middle of the answer; ``garbage``: answer what is no HTTP.
        """
        text = body if isinstance(body, str) else json.dumps(body)
        self._answers.insert(0, _Answer(re.compile(pattern), status, text, trick, [times]))

    def answer(self, request: str) -> _Answer:
        for answer in self._answers:
            if answer.times[0] and answer.pattern.search(request):
                answer.times[0] -= 1
                return answer
        return _Answer(re.compile(""), 404, '{"status": 404, "message": "Not Found"}', "", [1])

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def api_hub() -> Iterator[ApiHub]:
    hub = ApiHub()
    try:
        yield hub
    finally:
        hub.stop()


def _handler(hub: ApiHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            request = f"{self.command} {self.path}"
            hub.asked.append(request)
            hub.tokens.add(self.headers.get("Authorization", ""))
            length = int(self.headers.get("Content-Length", 0))
            if length:
                hub.bodies[request] = json.loads(self.rfile.read(length))
            answer = hub.answer(request)
            content = answer.body.encode()
            if answer.trick == "hang":
                hub.over.wait(60)
            if answer.trick in {"hang", "gone"}:
                return
            if answer.trick == "garbage":
                self.wfile.write(b"what?\r\n\r\n")
                return
            self.send_response(answer.status)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(content) + (100 if answer.trick == "half" else 0)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()
            time.sleep(0)

        do_POST = do_DELETE = do_GET  # noqa: N815  the library's names

        def log_message(self, *_: object) -> None:
            pass

    return Handler
