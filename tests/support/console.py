"""A whole console over an office's ledger, with a stand-in for the hub at the wire."""

import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import httpx2
from fastapi import FastAPI
from fastapi.testclient import TestClient

from spawner.console.app import create_app
from spawner.console.callers import FORM_FIELD, SESSION_COOKIE
from spawner.console.context import Console
from spawner.console.hub import Hub
from spawner.console.keys import Keys
from spawner.console.people import People
from spawner.console.readings import Readings
from spawner.console.rendering import Pages
from spawner.console.scopes import OF_ADMINS, OF_PEOPLE, Scope
from spawner.settings import Settings

from .npm import ROOT
from .office import Office

PREFIX = "/services/console/"
OF_HUB_ADMINS = ["admin-ui", "admin:users", *OF_ADMINS]


@dataclass(frozen=True)
class Asked:
    """What the console asked the hub: in whose name, and with which body."""

    method: str
    path: str
    owner: str
    body: Any


@dataclass
class StandInHub:
    """As much of a hub as the console speaks to: users, tokens, and whatever else `says`.

    Attributes
    ----------
    users
        Models by name, as the hub gives them.
    owners
        Whose a token is, and what it allows.
    asked
        All calls but those that identify a token.
    away
        Whether it answers nothing but 503.
    """

    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    owners: dict[str, tuple[str, str, list[str]]] = field(default_factory=dict)
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    away: bool = False

    def add_user(self, name: str, groups: Sequence[str] = (), *, admin: bool = False, **more: Any) -> None:
        model = {"kind": "user", "name": name, "groups": list(groups), "admin": admin, "servers": {}}
        self.users[name] = {**model, "last_activity": None, **more}

    def token(self, name: str, scopes: Sequence[str], kind: str = "user") -> str:
        """Make a token of a user or service."""
        made = f"token-{len(self.owners)}"
        self.owners[made] = kind, name, [str(scope) for scope in scopes]
        return made

    def says(self, method: str, path: str, status: int, body: Any = None) -> None:
        """Answer a call so; the path is that below ``/hub/api/``."""
        self.answers[method, path] = status, body

    def answer(self, method: str, address: str, token: str, body: Any) -> tuple[int, Any]:
        split = urlsplit(address)
        path = split.path.removeprefix("/hub/api/")
        kind, owner, scopes = self.owners.get(token, ("", "", []))
        if self.away:
            return 503, {"message": "The hub is away."}
        if path == "oauth2/token":  # its secret is in the body
            self.asked.append(Asked(method, path, owner, body))
            return self.answers[method, path]
        if not owner:
            return 403, {"message": "Missing or invalid credentials."}
        if (method, path) == ("GET", "user"):
            model = self.users[owner] if kind == "user" else {"kind": "service", "name": owner, "admin": False}
            return 200, {**model, "scopes": scopes}
        self.asked.append(Asked(method, path, owner, body))
        if (method, path) in self.answers:
            return self.answers[method, path]
        if (method, path) == ("GET", "users"):
            asked = parse_qs(split.query)
            offset, limit = int(asked["offset"][0]), int(asked["limit"][0])
            models = list(self.users.values())
            more = {"offset": offset + limit} if offset + limit < len(models) else None
            return 200, {"items": models[offset : offset + limit], "_pagination": {"next": more}}
        if method == "GET" and path.startswith("users/") and unquote(path[6:]) in self.users:
            return 200, self.users[unquote(path[6:])]
        return 404, {"message": "Not Found"}


def _handler(hub: StandInHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            token = self.headers.get("Authorization", "").removeprefix("token ")
            form = "urlencoded" in self.headers.get("Content-Type", "")
            sent = dict(parse_qsl(text)) if form else json.loads(text or "null")
            status, body = hub.answer(self.command, self.path, token, sent)
            told = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer  # noqa: N815  names that the library wants

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


class Visitor(TestClient):
    """Somebody at the console; paths are relative to its own.

    Attributes
    ----------
    form_token
        What forms carry of whoever is signed in with a cookie; empty for who shows a token.
    """

    form_token = ""

    def send_form(self, path: str, **fields: Any) -> httpx2.Response:
        """Send a form of a page, as a browser does; the redirect that follows is not followed."""
        answer: httpx2.Response = self.post(path, data={FORM_FIELD: self.form_token, **fields}, follow_redirects=False)
        return answer


@dataclass
class ConsoleStand:
    """A console, its hub and its ledger."""

    app: FastAPI
    console: Console
    hub: StandInHub
    office: Office

    def anonymous(self) -> Visitor:
        return Visitor(self.app, base_url=f"http://console.test{PREFIX}", raise_server_exceptions=False)

    def with_token(self, token: str) -> Visitor:
        visitor = self.anonymous()
        visitor.headers["Authorization"] = f"Bearer {token}"
        return visitor

    def as_user(self, name: str, groups: Sequence[str] = (), scopes: Sequence[str] = OF_PEOPLE) -> Visitor:
        """Call the API as a user with a token."""
        if name not in self.hub.users:
            self.hub.add_user(name, groups)
        return self.with_token(self.hub.token(name, scopes))

    def as_admin(self, name: str = "olga") -> Visitor:
        return self.as_user(name, scopes=OF_HUB_ADMINS)

    def as_instructor(self, name: str = "ines") -> Visitor:
        return self.as_user(name, scopes=[*OF_PEOPLE, Scope.TEACH])

    def as_service(self, name: str, scopes: Sequence[str]) -> Visitor:
        return self.with_token(self.hub.token(name, scopes, "service"))

    def signed_in(self, name: str, groups: Sequence[str] = (), scopes: Sequence[str] = OF_PEOPLE) -> Visitor:
        """Visit the pages as a user who has signed in with a browser."""
        if name not in self.hub.users:
            self.hub.add_user(name, groups)
        token = self.hub.token(name, scopes)
        visitor = self.anonymous()
        visitor.cookies.set(SESSION_COOKIE, self.console.keys.seal({"token": token}), path=PREFIX)
        visitor.form_token = self.console.keys.form_token(token)
        return visitor

    def signed_in_admin(self, name: str = "olga") -> Visitor:
        return self.signed_in(name, scopes=OF_HUB_ADMINS)


@contextlib.contextmanager
def open_console(office: Office, settings: Settings | None = None) -> Iterator[ConsoleStand]:
    """Open a console over an office; its clock is the office's. Without settings, its state directory is a new one."""
    hub, state = StandInHub(), tempfile.TemporaryDirectory(prefix="berth-console-")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    own = hub.token("console", ["list:users", "read:users"], "service")
    to_hub = Hub(own, f"http://127.0.0.1:{server.server_port}/hub/api", "service-console", PREFIX)
    console = Console(
        desk=office.desk,
        settings=settings or Settings(state_dir=Path(state.name) / "state"),
        hub=to_hub,
        people=People(to_hub),
        pages=Pages(PREFIX, to_hub.path, office.desk.clock),
        keys=Keys(bytes(range(32))),
        readings=Readings(office.desk.clock),
        prefix=PREFIX,
    )
    try:
        yield ConsoleStand(create_app(console, ROOT / "node_modules"), console, hub, office)
    finally:
        server.shutdown()
        server.server_close()
        state.cleanup()
