"""A Docker Engine that fails on demand: the real one behind a socket of ours.

Nothing is patched: a client gets what it would get from an engine that fails, hangs or dies, byte for byte.
"""

import contextlib
import json
import re
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Literal

ENGINE = Path("/var/run/docker.sock")
_CHUNK = 1 << 16


@dataclass
class _Rule:
    pattern: re.Pattern[str]
    action: Literal["answer", "drop", "hold", "lose"]
    status: int = 500
    times: int | None = None
    opened: threading.Event = field(default_factory=threading.Event)


class FlakyEngine:
    """What the tests tell the socket to do.

    Patterns are searched in ``"METHOD /path?query"``; the first rule that matches counts, and without one a request
    passes to the real engine.
    """

    def __init__(self, socket_path: Path) -> None:
        self.url = f"unix://{socket_path}"
        self._changed = threading.Condition()
        self._rules: list[_Rule] = []
        self._seen: list[str] = []
        self._connections: set[socket.socket] = set()
        self._server = _Server(self, str(socket_path))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, pattern: str, status: int = 500, times: int | None = None) -> None:
        """Answer with an HTTP error, for ever or so many times."""
        self._add(_Rule(re.compile(pattern), "answer", status, times))

    def drop(self, pattern: str, times: int | None = None) -> None:
        """Close the connection instead of answering."""
        self._add(_Rule(re.compile(pattern), "drop", times=times))

    def lose(self, pattern: str, times: int | None = None) -> None:
        """Let the engine do what it is asked, and close the connection instead of telling so."""
        self._add(_Rule(re.compile(pattern), "lose", times=times))

    def hold(self, pattern: str) -> None:
        """Let requests hang until `heal`; they pass then."""
        self._add(_Rule(re.compile(pattern), "hold"))

    def heal(self) -> None:
        """Forget all rules."""
        with self._changed:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.opened.set()

    def cut(self) -> None:
        """Break all connections that are open now, as an engine does that is killed."""
        with self._changed:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def seen(self, pattern: str) -> int:
        """Count the requests that have arrived."""
        with self._changed:
            return sum(bool(re.search(pattern, request)) for request in self._seen)

    def wait_for(self, pattern: str, count: int = 1, seconds: float = 20) -> None:
        """Wait until so many requests have arrived in all."""
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: sum(bool(re.search(pattern, request)) for request in self._seen) >= count, seconds
            )
        assert arrived, f"no request like {pattern!r} within {seconds} s"

    def close(self) -> None:
        self.heal()
        self.cut()
        self._server.shutdown()
        self._server.server_close()

    def _add(self, rule: _Rule) -> None:
        with self._changed:
            self._rules.append(rule)

    def rule_for(self, request: str) -> _Rule | None:
        with self._changed:
            self._seen.append(request)
            self._changed.notify_all()
            for rule in self._rules:
                if rule.pattern.search(request) and rule.times != 0:
                    if rule.times is not None:
                        rule.times -= 1
                    return rule
        return None

    @contextlib.contextmanager
    def tracked(self, *connections: socket.socket) -> Iterator[None]:
        with self._changed:
            self._connections.update(connections)
        try:
            yield
        finally:
            with self._changed:
                self._connections.difference_update(connections)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, flaky: FlakyEngine, path: str) -> None:
        self.flaky = flaky
        super().__init__(path, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: connections break here on purpose."""


class _Handler(socketserver.StreamRequestHandler):
    """One request per connection; what comes back passes unchanged, however long it takes."""

    server: _Server

    def handle(self) -> None:
        line = self.rfile.readline()
        headers: list[bytes] = []
        while (header := self.rfile.readline()) not in {b"\r\n", b""}:
            headers.append(header)
        if not line:
            return
        length = next((int(h.split(b":")[1]) for h in headers if h.lower().startswith(b"content-length:")), 0)
        body = self.rfile.read(length)
        method, target, _ = line.decode().split(" ", 2)
        rule = self.server.flaky.rule_for(f"{method} {target}")
        if rule is not None and rule.action == "drop":
            return
        if rule is not None and rule.action == "answer":
            self.wfile.write(_failure(rule.status))
            return
        if rule is not None and rule.action == "hold":
            rule.opened.wait()
        kept = [h for h in headers if not h.lower().startswith(b"connection:")]
        self._pass(
            b"".join([line, *kept, b"Connection: close\r\n\r\n", body]),
            silent=rule is not None and rule.action == "lose",
        )

    def _pass(self, request: bytes, *, silent: bool) -> None:
        client: socket.socket = self.connection
        with socket.socket(socket.AF_UNIX) as engine, self.server.flaky.tracked(client, engine):
            engine.connect(str(ENGINE))
            engine.sendall(request)
            while answer := engine.recv(_CHUNK):
                if not silent:
                    client.sendall(answer)


def _failure(status: int) -> bytes:
    body = json.dumps({"message": "told to fail by a test"}).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


@contextlib.contextmanager
def flaky_engine() -> Iterator[FlakyEngine]:
    """Give an engine that passes everything until it is told otherwise."""
    # Not under pytest's directories: a socket's path has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="flaky-"))
    flaky = FlakyEngine(directory / "engine.sock")
    try:
        yield flaky
    finally:
        flaky.close()
        shutil.rmtree(directory)
