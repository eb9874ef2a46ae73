"""The hub's API for leases and classes, as a user's server sees it."""

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any, Self

_SECONDS = 20  # a hub that takes longer is asked again later


class NoLeases(Exception):
    """The hub knows nothing of leases, or not of what was asked of it."""


class HubAway(Exception):
    """The hub did not answer, or not with what it should: it may be restarting."""


class Refused(Exception):
    """The hub answered no; the message is for the user.

    Parameters
    ----------
    reason
        For programs.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class LeaseHub:
    """Where the hub is, and who asks."""

    url: str
    token: str
    tls: dict[str, Any]

    @classmethod
    def from_environment(cls) -> Self | None:
        """Find the hub that started this server, if one did."""
        url, token = os.environ.get("JUPYTERHUB_API_URL"), os.environ.get("JUPYTERHUB_API_TOKEN")
        return cls(url.rstrip("/"), token, _tls()) if url and token else None

    async def lease(self) -> dict[str, Any]:
        """Ask for the server's lease and the messages to its user."""
        answer = await self._ask("GET", "berth/lease")
        if not isinstance(answer, dict) or "lease" not in answer:
            raise HubAway("the answer is not about a lease")
        return answer

    async def extend(self, hours: float | None) -> dict[str, Any]:
        return dict(await self._ask("POST", "berth/lease/extend", {"hours": hours}))

    async def release(self, at_end: str) -> None:
        await self._ask("POST", "berth/lease/release", {"at_end": at_end})

    async def restart(self) -> None:
        """Ask for this server's stop and start; raises `NoLeases` where a hub does not offer that."""
        await self._ask("POST", "berth/lease/restart", {})

    async def report(self, report: dict[str, Any]) -> None:
        await self._ask("POST", "berth/lease/report", report)

    async def hand(self, raised: bool, by: str) -> dict[str, Any]:
        """Ask for help in a class, or no more, in somebody's name; gives ``raised`` and ``place``."""
        return dict(await self._ask("POST", "berth/class/hand", {"raised": raised, "by": by}))

    async def deliveries(self, items: list[dict[str, Any]]) -> None:
        """Say what became of files that staff have sent."""
        await self._ask("POST", "berth/class/deliveries", {"items": items})

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        # Stood in for by tornado's client in the lean start, see berth_deferred.
        from jupyterhub.httpclient import fetch

        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        try:
            async with asyncio.timeout(_SECONDS):
                response = await fetch(
                    f"{self.url}/{path}", method=method, headers=headers, data=data, raise_for_status=False, **self.tls
                )
                text = await response.text()
        except Exception as error:  # two HTTP clients, each with errors of its own
            raise HubAway(str(error) or type(error).__name__) from error
        if response.status == 404:
            raise NoLeases
        answer = _parsed(text)
        if response.status in {400, 403, 409} and isinstance(answer, dict) and "reason" in answer:
            raise Refused(str(answer.get("message", "The hub refused.")), str(answer["reason"]))
        if response.status >= 300:
            raise HubAway(f"status {response.status}")
        return answer


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return None


def _tls() -> dict[str, Any]:
    """Options of the hub's own HTTP client, where hub and servers speak TLS among themselves."""
    key, certificate, authority = (
        os.environ.get(f"JUPYTERHUB_SSL_{name}", "") for name in ("KEYFILE", "CERTFILE", "CLIENT_CA")
    )
    if not certificate:
        return {}
    from jupyterhub.utils import make_ssl_context

    return {"ssl": make_ssl_context(key, certificate, cafile=authority)}
