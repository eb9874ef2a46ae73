"""As much of a hub as courses need, at the wire: users, groups, servers, shares; it fails as it is told."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Key = tuple[str, str]


@dataclass
class Running:
    """A server.

    Attributes
    ----------
    course, staff
        Whose seat it says it is, and whether it is one of that course's staff; empty for somebody's own.
    """

    started: datetime
    active: datetime
    ready: bool = True
    pending: str | None = None
    course: str = ""
    staff: bool = False


@dataclass
class ClassHub:
    """A hub that keeps its state while it is away.

    Attributes
    ----------
    starts
        What becomes of a user's next starts, the first first: ``ready``, ``slow`` (not ready as it answers), a status
        such as ``429``, ``fail: REASON`` or ``late: REASON`` (answers that it starts, and then it fails).
    servers
        That run, start or stop.
    asked
        Method and path of each request.
    away
        Whether it hangs up on everybody.
    gone_at
        Number of the request at which it goes away, once it has done what that asks for.
    """

    clock: Callable[[], datetime]
    users: set[str] = field(default_factory=set)
    groups: dict[str, set[str]] = field(default_factory=dict)
    servers: dict[Key, Running] = field(default_factory=dict)
    shares: set[tuple[str, str, str]] = field(default_factory=set)
    saved: list[Key] = field(default_factory=list)
    starts: dict[str, list[str]] = field(default_factory=dict)
    failures: dict[Key, str] = field(default_factory=dict)
    options: dict[Key, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    most_at_once: int = 0
    away: bool = False
    gone_at: int | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    url: str = ""

    @property
    def api_url(self) -> str:
        return f"{self.url}/hub/api"

    def run(self, user: str, name: str, *, ready: bool = True, own: bool = False, staff: bool = False) -> None:
        """Let somebody start a server themselves: a seat in the course of its name, or their own."""
        now = self.clock()
        self.servers[user, name] = Running(now, now, ready, None if ready else "spawn", "" if own else name, staff)

    def count(self, request: str) -> int:
        return self.asked.count(request)

    def restart(self) -> None:
        """Let it come back, without what it knew of starts."""
        self.away, self.gone_at = False, None
        self.failures.clear()
        for key in [key for key, one in self.servers.items() if not one.ready]:
            del self.servers[key]

    # --- what it answers ----------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        with self.lock:
            self.asked.append(f"{method} {path}")
            parts = [unquote(part) for part in path.strip("/").split("/")]
            if parts[0] == "user":
                key = (parts[1], parts[2] if len(parts) == 5 else "")
                self.saved.append(key)
                return (200, {}) if key in self.servers else (503, {})
            kind, rest = parts[2], parts[3:]
            return getattr(self, f"_{kind.replace('-', '_')}")(method, rest, query, body)  # type: ignore[no-any-return]

    def _page(self, items: list[dict[str, Any]], query: dict[str, list[str]]) -> tuple[int, Any]:
        offset, limit = int(query["offset"][0]), min(int(query["limit"][0]), 3)
        following = offset + limit if offset + limit < len(items) else None
        pagination = {"offset": offset, "limit": limit, "total": len(items), "next": None}
        if following is not None:
            pagination["next"] = {"offset": following}  # type: ignore[assignment]
        return 200, {"items": items[offset : offset + limit], "_pagination": pagination}

    def _users(self, method: str, rest: list[str], query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if not rest:
            names = sorted(self.users)
            if query.get("state") == ["active"]:
                names = [name for name in names if any(user == name for user, _ in self.servers)]
            return self._page([self._user(name) for name in names], query)
        name = rest[0]
        if method == "POST" and len(rest) == 1:
            if name.startswith("!"):
                return 400, {"message": f"Invalid username: {name}"}
            there = name in self.users
            self.users.add(name)
            return (409, {}) if there else (201, {})
        if name not in self.users:
            return 404, {}
        if len(rest) == 1:
            return 200, self._user(name)
        server = rest[2] if rest[1] == "servers" else ""
        if rest[1] == "shared":
            return self._shared(method, name, rest[2:], query)
        if rest[-1] == "progress":
            return self._progress(name, server)
        return self._start(name, server, body) if method == "POST" else self._stop(name, server)

    def _user(self, name: str) -> dict[str, Any]:
        servers = {
            server: {
                "ready": one.ready,
                "pending": one.pending,
                "started": one.started.isoformat(),
                "last_activity": one.active.isoformat(),
                "state": {"course": one.course, "staff": one.staff} if one.course else {},
            }
            for (user, server), one in self.servers.items()
            if user == name
        }
        return {"name": name, "servers": servers}

    def _start(self, user: str, server: str, body: Any) -> tuple[int, Any]:
        there = self.servers.get((user, server))
        if there is not None:
            if there.pending == "spawn":
                return 202, {}
            return 400, {"message": f"{user} is already running" if there.ready else f"{user} is pending stop"}
        self.options[user, server] = body
        how = self.starts[user].pop(0) if self.starts.get(user) else "ready"
        self.failures.pop((user, server), None)
        if how.isdigit():
            return int(how), {"message": "Too many users trying to log in right now."}
        if how.startswith(("fail: ", "late: ")):
            self.failures[user, server] = how[6:]
            return (500, {"message": how[6:]}) if how.startswith("fail") else (202, {})
        self.run(user, server, ready=how == "ready")
        starting = sum(one.pending == "spawn" for one in self.servers.values())
        self.most_at_once = max(self.most_at_once, starting)
        return 201 if how == "ready" else 202, {}

    def _stop(self, user: str, server: str) -> tuple[int, Any]:
        return (204, None) if self.servers.pop((user, server), None) else (404, {})

    def _progress(self, user: str, server: str) -> tuple[int, Any]:
        why = self.failures.get((user, server))
        if why is None:
            return 400, {"message": "is not starting"}
        event = {"progress": 100, "failed": True, "message": f"Spawn failed: {why}"}
        return 200, f"\n\ndata: {json.dumps(event)}\n\n"

    def _groups(self, method: str, rest: list[str], query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if not rest:
            return self._page([self._group(name) for name in sorted(self.groups)], query)
        name = rest[0]
        if method == "POST" and len(rest) == 1:
            self.groups[name] = set()
            return 201, self._group(name)
        if name not in self.groups:
            return 404, {}
        if len(rest) == 1:
            return 200, self._group(name)
        if rest[1] == "users":
            if unknown := set(body["users"]) - self.users:
                return 400, {"message": f"No such user: {unknown}"}
            self.groups[name] = self.groups[name] | set(body["users"])
            if method == "DELETE":
                self.groups[name] -= set(body["users"])
            return 200, self._group(name)
        return 404, {}

    def _shared(self, method: str, name: str, rest: list[str], query: dict[str, list[str]]) -> tuple[int, Any]:
        if method == "DELETE":
            share = (rest[0], rest[1], name)
            there = share in self.shares
            self.shares.discard(share)
            return (204, None) if there else (404, {})
        found = [one for one in sorted(self.shares) if one[2] == name]
        return self._page([{"server": {"user": {"name": user}, "name": one}} for user, one, _ in found], query)

    def _group(self, name: str) -> dict[str, Any]:
        return {"name": name, "users": sorted(self.groups[name])}

    def _shares(self, method: str, rest: list[str], query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        user, server = rest
        assert (method, body["scopes"]) == ("POST", [f"access:servers!server={user}/{server}"])
        if (user, server) not in self.servers:
            return 404, {}
        if body["user"] not in self.users:
            return 400, {}
        self.shares.add((user, server, body["user"]))
        return 200, {}


@contextlib.contextmanager
def class_hub(clock: Callable[[], datetime]) -> Iterator[ClassHub]:
    hub = ClassHub(clock)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _handler(hub: ClassHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if hub.away:
                return
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            at = urlsplit(self.path)
            status, said = hub.answer(self.command, at.path, parse_qs(at.query), body)
            if hub.gone_at is not None and len(hub.asked) >= hub.gone_at:
                hub.away = True
                return
            content = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if status != 204:
                self.wfile.write(content)

        do_POST = do_DELETE = do_GET  # noqa: N815  the library's names

        def log_message(self, *_: object) -> None:
            pass

    return Handler
