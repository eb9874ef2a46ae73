"""A stand-in for a Docker Engine with any number of containers, at the wire: what a list of them would cost is real."""

import contextlib
import json
import shutil
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


class CrowdedEngine:
    """An engine whose containers are made up.

    Attributes
    ----------
    inspected
        Answers of ``GET /containers/{id}/json`` by id.
    seen
        The paths that were asked for.
    """

    def __init__(self, socket_path: Path) -> None:
        self.url = f"unix://{socket_path}"
        self.inspected: dict[str, dict[str, Any]] = {}
        self.seen: list[str] = []
        self.closed = threading.Event()
        self._server = _Server(self, str(socket_path))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, id_: str, status: str = "running", pid: int = 0, **labels: str) -> None:
        self.inspected[id_] = {
            "Id": id_,
            "Name": f"/berth-{id_[:12]}",
            "State": {"Status": status, "Pid": pid, "StartedAt": "2026-03-04T12:00:00.5Z"},
            "Config": {"Labels": labels, "Env": ["PATH=/bin"], "Image": "tiny"},
            "HostConfig": {"NetworkMode": "bridge"},
        }

    def listed(self, statuses: list[str], *, every: bool) -> list[dict[str, Any]]:
        return [
            {
                "Id": id_,
                "Names": [about["Name"]],
                "State": about["State"]["Status"],
                "Labels": about["Config"]["Labels"],
            }
            for id_, about in self.inspected.items()
            if every or about["State"]["Status"] in (statuses or ["running", "paused"])
        ]

    def close(self) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, engine: CrowdedEngine, path: str) -> None:
        self.engine = engine
        super().__init__(path, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients go away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        engine, url = self.server.engine, urlsplit(self.path)
        engine.seen.append(url.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        path = "/" + url.path.lstrip("/").partition("/")[2] if url.path.startswith("/v1.") else url.path
        match path.strip("/").split("/"):
            case ["version"]:
                self._say({"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24"})
            case ["_ping"]:
                self._answer(b"OK", "text/plain")
            case ["containers", "json"]:
                filters = json.loads(query.get("filters", "{}"))
                every = query.get("all") == "1" and "status" not in filters
                self._say(engine.listed(filters.get("status", []), every=every))
            case ["containers", id_, "json"] if id_ in engine.inspected:
                self._say(engine.inspected[id_])
            case ["volumes"]:
                self._say({"Volumes": [], "Warnings": None})
            case ["events"]:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.flush()
                engine.closed.wait()
                self.close_connection = True
            case _:
                self._say({"message": f"no such thing: {path}"}, 404)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _say(self, value: object, status: int = 200) -> None:
        self._answer(json.dumps(value).encode(), "application/json", status)

    def _answer(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def crowded_engine() -> Iterator[CrowdedEngine]:
    # Not under pytest's directories: a socket's path has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="crowded-"))
    engine = CrowdedEngine(directory / "engine.sock")
    try:
        yield engine
    finally:
        engine.close()
        shutil.rmtree(directory)
