"""The hub's API, as far as the janitor needs it: servers started and stopped, and asked to save."""

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

_TIMEOUT = 30.0
_SAVE_TIMEOUT = 15.0
_LOOK_SECONDS = 0.25
_PAGED = "application/jupyterhub-pagination+json"


class HubUnavailable(Exception):
    """The hub did not answer, or refused; whatever was to be done is tried again at the loop's next turn."""


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
        status, said = self._call("POST", self._server(user, server), options)
        if status == 400 and ("already" in said or "pending" in said):
            return False
        return self._good(status, said, {201, 202})

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
        while status == 202 and self._runs(user, server):
            if time.monotonic() > deadline:
                raise HubUnavailable(f"the server {user}/{server} has not stopped within {patience:.0f} s")
            time.sleep(_LOOK_SECONDS)
        return True

    def users(self) -> frozenset[str]:
        """Give the names of all users that the hub knows.

        Raises
        ------
        HubUnavailable
            Also if what it says cannot be all.
        """
        names: list[str] = []
        offset: int | None = 0
        total = 0
        while offset is not None:
            url = f"{self.api_url.rstrip('/')}/users?offset={offset}&limit=200"
            status, said = self._request("GET", url, None, _TIMEOUT, accept=_PAGED)
            self._good(status, said, {200})
            try:
                answer = json.loads(said)
                names += [str(user["name"]) for user in answer["items"]]
                pagination = answer["_pagination"]
                offset, total = pagination["next"] and int(pagination["next"]["offset"]), int(pagination["total"])
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise HubUnavailable(f"the hub said something else than expected: {said[:300]}") from error
        found = frozenset(names)
        if len(found) < total:  # somebody was deleted while we asked, so that another has been passed over
            raise HubUnavailable(f"the hub named {len(found)} of {total} users")
        return found

    def _runs(self, user: str, server: str) -> bool:
        status, said = self._call("GET", f"users/{quote(user, safe='')}?include_stopped_servers")
        if status == 404:  # with its user
            return False
        self._good(status, said, {200})
        try:
            found = json.loads(said)["servers"].get(server)
            return found is not None and bool(found["ready"] or found["pending"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise HubUnavailable(f"the hub said something else than expected: {said[:300]}") from error

    def save(self, user: str, server: str) -> bool:
        """Let a server's open pages save their documents; False if it cannot be reached. Never raises."""
        path = f"user/{quote(user, safe='')}/" + (f"{quote(server, safe='')}/" if server else "") + "berth/save"
        try:
            status, _ = self._request("POST", f"{self.public_url.rstrip('/')}/{path}", {}, _SAVE_TIMEOUT)
        except HubUnavailable:
            return False
        return status < 300

    def _server(self, user: str, server: str) -> str:
        name = quote(user, safe="")
        return f"users/{name}/servers/{quote(server, safe='')}" if server else f"users/{name}/server"

    def _good(self, status: int, said: str, wanted: set[int]) -> bool:
        if status not in wanted:
            raise HubUnavailable(f"the hub answered {status}: {said[:300]}")
        return True

    def _call(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        return self._request(method, f"{self.api_url.rstrip('/')}/{path}", body, _TIMEOUT)

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
