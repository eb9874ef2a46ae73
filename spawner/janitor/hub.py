"""The hub's API, as far as the janitor needs it: users, groups, servers, and who may enter which."""

import enum
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

_TIMEOUT = 30.0
_SAVE_TIMEOUT = 15.0
_WORD_SECONDS = 5.0  # a server that has failed is told of at once
_LOOK_SECONDS = 0.25
_PAGED = "application/jupyterhub-pagination+json"
_PAGE = 200


class HubUnavailable(Exception):
    """The hub did not answer, or refused; whatever was to be done is tried again at the loop's next turn.

    Attributes
    ----------
    status
        Of its answer; None where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same call may go well a little later: the hub is busy, or broken, or away."""
        return self.status is None or self.status == 429 or self.status >= 500


class Start(enum.Enum):
    """What became of a wish to start a server."""

    READY = enum.auto()
    STARTING = enum.auto()
    THERE = enum.auto()  # it ran already
    BUSY = enum.auto()  # it stops, or is looked after


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, starts or stops.

    Attributes
    ----------
    pending
        What is under way: ``spawn``, ``stop``, ``check`` or nothing.
    started, active
        When it was asked for, and when it was last seen in use; by the hub's clock.
    course, staff
        Whose seat it is, and whether it is one of that course's staff. Empty for somebody's own server, and as long as
        one that starts has not told.
    """

    user: str
    name: str
    ready: bool
    pending: str
    started: datetime | None
    active: datetime | None
    course: str = ""
    staff: bool = False

    @property
    def told(self) -> bool:
        """Whether it is known what it is."""
        return self.ready or bool(self.course)


@dataclass(frozen=True)
class Hub:
    """A hub and the janitor's token there.

    Attributes
    ----------
    api_url
        Ends with ``/hub/api``.
    public_url
        Of the proxy, under which the servers are.
    """

    api_url: str
    public_url: str
    token: str

    def __repr__(self) -> str:
        return f"Hub({self.api_url!r})"

    def start(self, user: str, server: str, options: dict[str, Any]) -> bool:
        """Start a server; False if it runs or starts already.

        Raises
        ------
        HubUnavailable
        """
        return self.begin(user, server, options) not in {Start.THERE, Start.BUSY}

    def begin(self, user: str, server: str, options: dict[str, Any]) -> Start:
        """Start a server, and tell how far it has come when the hub answers, which takes some seconds.

        Raises
        ------
        HubUnavailable
            Also if the start has failed by then.
        """
        status, said = self._call("POST", self._server(user, server), options)
        if status == 400 and "already" in said:
            return Start.THERE
        if status == 400 and "pending" in said:
            return Start.BUSY
        self._good(status, said, {201, 202})
        return Start.READY if status == 201 else Start.STARTING

    def failure(self, user: str, server: str) -> str:
        """Tell in the hub's words why a server's last start failed; empty if that is not known.

        Raises
        ------
        HubUnavailable
        """
        status, said = self._call("GET", f"{self._server(user, server)}/progress", timeout=_WORD_SECONDS)
        if status in {400, 404}:  # nothing of it failed; or the hub has begun anew since
            return ""
        self._good(status, said, {200})
        for line in said.splitlines():
            if line.startswith("data:"):
                try:
                    event = json.loads(line.removeprefix("data:"))
                    if event.get("failed"):
                        return str(event["message"]).removeprefix("Spawn failed: ")
                except (ValueError, LookupError, AttributeError) as error:
                    raise _odd(said) from error
        return ""

    def stop(self, user: str, server: str, patience: float) -> bool:
        """Stop a server and wait until it has ended; False if it does not run.

        Raises
        ------
        HubUnavailable
            Also if it has not ended in time.
        """
        status, said = self._call("DELETE", self._server(user, server))
        if status == 404 or (status == 400 and "not running" in said):
            return False
        self._good(status, said, {202, 204})
        deadline = time.monotonic() + patience
        while status == 202 and self.runs(user, server):
            if time.monotonic() > deadline:
                raise HubUnavailable(f"the server {user}/{server} has not stopped within {patience:.0f} s")
            time.sleep(_LOOK_SECONDS)
        return True

    def servers(self) -> dict[tuple[str, str], Server]:
        """Give all servers that run, start or stop, by user and name.

        Raises
        ------
        HubUnavailable
        """
        found = {}
        for user in self._pages("users?state=active"):
            try:
                for name, told in user["servers"].items():
                    state = told["state"] or {}
                    found[user["name"], name] = Server(
                        user["name"],
                        name,
                        bool(told["ready"]),
                        told["pending"] or "",
                        _time(told["started"]),
                        _time(told["last_activity"]),
                        str(state.get("course", "")),
                        bool(state.get("staff")),
                    )
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise _odd(str(user)) from error
        return found

    def runs(self, user: str, server: str) -> bool:
        """Tell whether a server runs, starts or stops.

        Raises
        ------
        HubUnavailable
        """
        status, said = self._call("GET", f"users/{quote(user, safe='')}?include_stopped_servers")
        if status == 404:  # with its user
            return False
        self._good(status, said, {200})
        try:
            found = json.loads(said)["servers"].get(server)
            return found is not None and bool(found["ready"] or found["pending"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _odd(said) from error

    def used_servers(self, user: str) -> frozenset[str] | None:
        """Give the names of the servers that a user has, and has ever used; None if there is no such user.

        Raises
        ------
        HubUnavailable
        """
        status, said = self._call("GET", f"users/{quote(user, safe='')}?include_stopped_servers")
        if status == 404:
            return None
        self._good(status, said, {200})
        try:
            servers = json.loads(said)["servers"].items()
            return frozenset(name for name, told in servers if told["last_activity"] or told["started"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _odd(said) from error

    def save(self, user: str, server: str) -> bool:
        """Let a server's open pages save their documents; False if it cannot be reached. Never raises."""
        path = f"user/{quote(user, safe='')}/" + (f"{quote(server, safe='')}/" if server else "") + "berth/save"
        try:
            status, _ = self._request("POST", f"{self.public_url.rstrip('/')}/{path}", {}, _SAVE_TIMEOUT)
        except HubUnavailable:
            return False
        return status < 300

    # --- people -------------------------------------------------------------------------------------------------------

    def users(self) -> frozenset[str]:
        """Give the names of all users that the hub knows.

        Raises
        ------
        HubUnavailable
            Also if what it says cannot be all.
        """
        return frozenset(_name(user) for user in self._pages("users"))

    def make_user(self, name: str) -> bool:
        """Make a user; False if there is one.

        Raises
        ------
        HubUnavailable
            Also if nobody can be called so here.
        """
        status, said = self._call("POST", f"users/{quote(name, safe='')}")
        if status == 409:
            return False
        return self._good(status, said, {201})

    def groups(self) -> dict[str, frozenset[str]]:
        """Give who is in which group.

        Raises
        ------
        HubUnavailable
        """
        return {_name(group): frozenset(_members(group)) for group in self._pages("groups")}

    def set_group(self, name: str, members: Collection[str]) -> bool:
        """Make a group, if there is none, and let these and nobody else be in it; False if it is so already.

        Raises
        ------
        HubUnavailable
            Also if one of them is no user of the hub's.
        """
        path = f"groups/{quote(name, safe='')}"
        status, said = self._call("GET", path)
        made = status == 404
        if made:
            status, said = self._call("POST", path, {})
            self._good(status, said, {201, 409})
            there: frozenset[str] = frozenset()
        else:
            self._good(status, said, {200})
            there = frozenset(_members(_parsed(said)))
        for method, users in (("POST", set(members) - there), ("DELETE", there - set(members))):
            if users:
                status, said = self._call(method, f"{path}/users", {"users": sorted(users)})
                self._good(status, said, {200})
        return made or there != frozenset(members)

    # --- who may enter which server -----------------------------------------------------------------------------------
    # Of people and not of groups: JupyterHub 6.1 shows a group's shares to nobody's token, and so lets nobody in.

    def shared_with(self, user: str) -> frozenset[tuple[str, str]]:
        """Give the servers of others that somebody may enter, by user and name; none if there is no such user.

        Raises
        ------
        HubUnavailable
        """
        try:
            found = self._pages(f"users/{quote(user, safe='')}/shared")
            return frozenset((str(one["server"]["user"]["name"]), str(one["server"]["name"])) for one in found)
        except HubUnavailable as error:
            if error.status == 404:
                return frozenset()
            raise
        except (LookupError, TypeError) as error:
            raise _odd(user) from error

    def share(self, owner: str, server: str, user: str) -> bool:
        """Let somebody enter another's server; False if there is no such server.

        Raises
        ------
        HubUnavailable
        """
        wanted = {"user": user, "scopes": [f"access:servers!server={owner}/{server}"]}
        status, said = self._call("POST", f"shares/{quote(owner, safe='')}/{quote(server, safe='')}", wanted)
        if status == 404:
            return False
        return self._good(status, said, {200})

    def unshare(self, owner: str, server: str, user: str) -> bool:
        """Let somebody no longer enter another's server; False if they could not.

        Raises
        ------
        HubUnavailable
        """
        where = f"users/{quote(user, safe='')}/shared/{quote(owner, safe='')}/{quote(server, safe='')}"
        status, said = self._call("DELETE", where)
        if status == 404:
            return False
        return self._good(status, said, {204})

    # --- how it is asked ----------------------------------------------------------------------------------------------

    def _pages(self, path: str) -> list[dict[str, Any]]:
        """Read all of a list; refuses one that cannot be whole."""
        found: dict[str, dict[str, Any]] = {}
        offset: int | None = 0
        total = 0
        while offset is not None:
            url = f"{self.api_url.rstrip('/')}/{path}{'&' if '?' in path else '?'}offset={offset}&limit={_PAGE}"
            status, said = self._request("GET", url, None, _TIMEOUT, accept=_PAGED)
            self._good(status, said, {200})
            answer = _parsed(said)
            try:
                for item in answer["items"]:
                    found[str(item.get("name") or item)] = item
                pagination = answer["_pagination"]
                offset, total = pagination["next"] and int(pagination["next"]["offset"]), int(pagination["total"])
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise _odd(said) from error
        if len(found) < total:  # somebody was deleted while we asked, so that another has been passed over
            raise HubUnavailable(f"the hub named {len(found)} of {total} {path.partition('?')[0]}")
        return list(found.values())

    def _server(self, user: str, server: str) -> str:
        name = quote(user, safe="")
        return f"users/{name}/servers/{quote(server, safe='')}" if server else f"users/{name}/server"

    def _good(self, status: int, said: str, wanted: set[int]) -> bool:
        if status not in wanted:
            raise HubUnavailable(f"the hub answered {status}: {said[:300]}", status)
        return True

    def _call(self, method: str, path: str, body: object = None, timeout: float | None = None) -> tuple[int, str]:
        return self._request(method, f"{self.api_url.rstrip('/')}/{path}", body, timeout or _TIMEOUT)

    def _request(self, method: str, url: str, body: object, timeout: float, *, accept: str = "*/*") -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json", "Accept": accept}
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  the deployment's own address
        # No proxy of the environment: this is about this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            try:
                with opener.open(request, timeout=timeout) as answer:
                    return answer.status, answer.read().decode("utf-8", "replace")
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, f"{error.reason} {error.read().decode('utf-8', 'replace')}"
        except (OSError, http.client.HTTPException) as error:
            raise HubUnavailable(f"the hub does not answer at {url}: {error!r}") from error


def _parsed(said: str) -> dict[str, Any]:
    try:
        answer = json.loads(said)
    except ValueError as error:
        raise _odd(said) from error
    if not isinstance(answer, dict):
        raise _odd(said)
    return answer


def _name(model: dict[str, Any]) -> str:
    try:
        return str(model["name"])
    except LookupError as error:
        raise _odd(str(model)) from error


def _members(group: dict[str, Any]) -> list[str]:
    try:
        return [str(name) for name in group["users"]]
    except (LookupError, TypeError) as error:
        raise _odd(str(group)) from error


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _odd(said: str) -> HubUnavailable:
    return HubUnavailable(f"the hub said something else than expected: {said[:300]}")
