"""As much of a hub as a user's server asks about its lease, at the wire."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "not-a-secret"
USER = "ada"


class LeaseHub:
    """A hub that may go away and come back at the same address.

    Attributes
    ----------
    answer
        What ``GET /berth/lease`` gives; None is a hub without leases, status 404.
    extend
        Status and body for ``POST /berth/lease/extend``.
    offers_restart
        Whether ``POST /berth/lease/restart`` exists.
    asked
        Method and path of every request.
    hand
        Status and body for ``POST /berth/class/hand``.
    heard
        Bodies of the posts to ``/berth/lease/...`` and ``/berth/class/...``, by the last part of the path.
    visitors
        Who else may come, by their tokens.
    """

    def __init__(self, host: str) -> None:
        self.answer: dict[str, Any] | None = answer()
        self.extend: tuple[int, dict[str, Any]] = (200, {"ends_at": _iso(7200), "text": "Extended by two hours."})
        self.hand: tuple[int, dict[str, Any]] = (200, {"raised": True, "place": 1})
        self.offers_restart = True
        self.visitors: dict[str, str] = {}
        self.asked: list[str] = []
        posts = ("extend", "release", "restart", "report", "hand", "deliveries")
        self.heard: dict[str, list[dict[str, Any]]] = {name: [] for name in posts}
        self._host, self._port = host, 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def api(self) -> str:
        return f"http://{self._host}:{self._port}/hub/api"

    def start(self) -> None:
        self._server = ThreadingHTTPServer((self._host, self._port), _handler(self))
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def count(self, request: str) -> int:
        return self.asked.count(request)

    def environment(self, **more: str) -> dict[str, str]:
        prefix = f"/user/{USER}/"
        scopes = json.dumps([f"access:servers!server={USER}/", f"access:servers!user={USER}"])
        return {
            "JUPYTERHUB_ACTIVITY_URL": f"{self.api}/users/{USER}/activity",
            "JUPYTERHUB_API_TOKEN": TOKEN,
            "JUPYTERHUB_API_URL": self.api,
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{USER}",
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": scopes,
            "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{prefix}oauth_callback",
            "JUPYTERHUB_OAUTH_SCOPES": scopes,
            "JUPYTERHUB_SERVICE_PREFIX": prefix,
            "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:8888{prefix}",
            "JUPYTERHUB_USER": USER,
            **more,
        }

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if self.answer is None or path not in self.heard or (path == "restart" and not self.offers_restart):
            return 404, {"status": 404, "message": "Not Found"}
        self.heard[path].append(body)
        if path == "extend":
            return self.extend
        if path == "hand":
            return self.hand
        return (204, None) if path in {"report", "deliveries"} else (202, {})


@contextmanager
def running_lease_hub(host: str) -> Iterator[LeaseHub]:
    hub = LeaseHub(host)
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


def answer(*messages: dict[str, Any], poll_seconds: int = 2, **lease: Any) -> dict[str, Any]:
    """What the hub says of a lease with 90 minutes to go; `lease` changes its values."""
    left = lease.pop("left_seconds", 5400)
    values = {
        "id": "lease-1",
        "gpus": 1,
        "model": "NVIDIA A100-SXM4-80GB",
        "isolation": "hardware",
        "isolation_text": "The whole GPU is yours.",
        "simulated": False,
        "state": "active",
        "ends_at": _iso(left),
        "left_seconds": left,
        "can_extend": True,
        "extend_reason": "",
        "at_end": "cpu",
    }
    return {"now": _iso(0), "lease": values | lease, "messages": list(messages), "poll_seconds": poll_seconds}


def class_answer(*messages: dict[str, Any], poll_seconds: int = 2, **values: Any) -> dict[str, Any]:
    """What the hub says to a seat without GPUs, of a class with 42 minutes to go; `values` changes it."""
    left = values.pop("left_seconds", 2520)
    part = {
        "course": "ml",
        "title": "Machine learning",
        "session": "session-1",
        "session_title": "Week 2",
        "starts_at": _iso(left - 5400),
        "ends_at": _iso(left),
        "left_seconds": left,
        "exam": False,
        "staff": False,
        "hand": {"raised": False, "place": None},
        "messages": [],
        "pushes": [],
        "files": [],
        "withheld": 0,
    }
    return {
        "now": _iso(0),
        "lease": None,
        "class": part | values,
        "messages": list(messages),
        "poll_seconds": poll_seconds,
    }


def announcement(name: str, text: str, kind: str = "broadcast", by: str = "ines", ago: float = 60) -> dict[str, Any]:
    return {"id": name, "kind": kind, "text": text, "by": by, "at": _iso(-ago)}


def message(name: str, text: str, *actions: str, level: str = "warning") -> dict[str, Any]:
    return {"id": name, "level": level, "text": text, "at": _iso(0), "actions": list(actions)}


def _iso(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def _handler(hub: LeaseHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def say(self, status: int, body: object) -> None:
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("X-JupyterHub-Version", "6.1.1")
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")  # so that nobody speaks on with a hub that has gone
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True

        @property
        def token(self) -> str:
            return (self.headers.get("Authorization", "").split() or [""])[-1]

        def known(self) -> bool:
            return self.token == TOKEN

        def do_GET(self) -> None:
            hub.asked.append(f"GET {self.path}")
            if self.path.startswith("/hub/api/berth/lease"):
                if not self.known():
                    self.say(403, {"status": 403, "message": "Forbidden"})
                elif hub.answer is None:
                    self.say(404, {"status": 404, "message": "Not Found"})
                else:
                    self.say(200, hub.answer)
            elif self.path.startswith("/hub/api/user"):
                name = USER if self.known() else hub.visitors.get(self.token)
                user = {"kind": "user", "name": name, "scopes": [f"access:servers!server={USER}/"], "groups": []}
                self.say(200 if name else 403, user if name else {"message": "who?"})
            elif self.path.startswith("/hub/api"):
                self.say(200, {"version": "6.1.1"})
            else:
                self.say(200, f"a page of the hub: {self.path}")

        def do_POST(self) -> None:
            hub.asked.append(f"POST {self.path}")
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            group, _, name = self.path.removeprefix("/hub/api/berth/").partition("/")
            if group not in {"lease", "class"}:
                self.say(200, {})
            elif not self.known():
                self.say(403, {"status": 403, "message": "Forbidden"})
            else:
                self.say(*hub.post(name, body))

        def log_message(self, *_: object) -> None:
            pass

    return Handler
