"""Somebody's servers: what the hub says of them, with their leases and places in the queue; and what they may do."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from ..errors import HubRefused, UnknownName
from ..operations import leases, mine, offers
from ..operations.mine import Mine, OwnLease
from ..operations.offers import Place
from ..pages.views import notices_of
from ..policy.ends import Notice
from ..policy.leases import Lease
from ..policy.model import AtEnd, Deny, Person
from .callers import Caller
from .context import Console
from .hub import quoted
from .problems import Problem, refused
from .scopes import Scope

DEFAULT = "~"
"""Stands for the default server, which has no name, in paths; no other server can be named so."""


class ServerState(enum.StrEnum):
    """What a server does; ``waiting`` in the queue, or ``offered`` GPUs there."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    WAITING = "waiting"
    OFFERED = "offered"


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A server.

    Attributes
    ----------
    url
        Path under which it answers; empty unless it runs.
    options
        What it was asked for with, the last time.
    messages
        What its user should know now.
    """

    name: str
    state: ServerState
    url: str = ""
    started_at: datetime | None = None
    last_activity: datetime | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    lease: OwnLease | None = None
    place: Place | None = None
    messages: tuple[Notice, ...] = ()

    @property
    def key(self) -> str:
        """Its name in paths."""
        return self.name or DEFAULT

    @property
    def profile(self) -> str:
        return str(self.options.get("profile") or "")

    @property
    def clean(self) -> bool:
        """Whether it runs without what is installed in the home."""
        return self.state is ServerState.RUNNING and self.options.get("clean") is True


def named(key: str) -> str:
    """Give the server's name that stands in a path."""
    return "" if key == DEFAULT else key


def person_of(here: Console, caller: Caller, user: str) -> Person:
    """Give a user whose things this caller may see, with their groups.

    Raises
    ------
    Problem
        403
    UnknownName
    """
    subject = caller.subject(user)
    own = caller.kind == "user" and caller.name == subject
    return caller.person if own else here.people.get(subject).person


def owner(caller: Caller, user: str) -> str:
    """Check that this caller acts on what is their own.

    Raises
    ------
    Problem
        403
    """
    if caller.kind != "user" or user != caller.name or not caller.may(Scope.SELF):
        raise Problem(403, "not_yours", f"Only {user} can do this, with a token that has {Scope.SELF}.")
    return user


def servers_of(here: Console, user: str, found: Mine) -> list[OwnServer]:
    """List a user's servers, the default one first.

    Raises
    ------
    UnknownName
        If the hub has no such user.
    HubNotReady
    """
    try:
        model = here.hub.ask("GET", f"{quoted('users', user)}?include_stopped_servers")
    except HubRefused as error:
        if error.status == 404:
            raise UnknownName(f"The hub has no user {user!r}.") from None
        raise
    known: Mapping[str, Any] = model.get("servers") or {}
    held = {one.lease.server: one for one in found.leases}
    waiting = {place.ticket.request.server: place for place in found.places}
    names = sorted({"", *known, *held, *waiting})
    return [_server(here, name, known.get(name) or {}, held.get(name), waiting.get(name), found.at) for name in names]


def _server(
    here: Console, name: str, model: Mapping[str, Any], lease: OwnLease | None, place: Place | None, now: datetime
) -> OwnServer:
    state = _state(model, place)
    notices = () if lease is None else notices_of(lease.lease, here.catalogue, here.settings.leases, now)
    return OwnServer(
        name,
        state,
        str(model.get("url") or "") if state is ServerState.RUNNING else "",
        _time(model.get("started")),
        _time(model.get("last_activity")),
        model.get("user_options") or {},
        lease,
        place,
        tuple(notices),
    )


def _state(model: Mapping[str, Any], place: Place | None) -> ServerState:
    if model.get("pending") == "stop":
        return ServerState.STOPPING
    if model.get("ready"):
        return ServerState.RUNNING
    if place is not None:  # a start that waits is pending, too
        return ServerState.WAITING if place.offered is None else ServerState.OFFERED
    return ServerState.STARTING if model.get("pending") else ServerState.STOPPED


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


# --- what one may do with them ------------------------------------------------------------------------------------


def start(here: Console, caller: Caller, server: str, options: Mapping[str, Any]) -> None:
    """Ask the hub for a server, in its user's name; it may still be starting, or waiting, afterwards.

    Raises
    ------
    HubRefused
        In the words of who refused.
    HubNotReady
    """
    here.hub.ask("POST", _path(caller.name, server), dict(options), token=caller.token)


def stop(here: Console, caller: Caller, server: str) -> None:
    """Stop a server; gives its lease back, too."""
    here.hub.ask("DELETE", _path(caller.name, server), token=caller.token)


def restart(here: Console, caller: Caller, server: str, *, clean: bool) -> None:
    """Stop a server and start it again, as it was asked for.

    Parameters
    ----------
    clean
        Without what is installed in the home, and with an empty workspace.
    """
    here.hub.ask("POST", f"berth/lease/restart?server={quote(server, safe='')}", {"clean": clean}, token=caller.token)


def extend(here: Console, caller: Caller, lease_id: str, hours: float | None) -> Lease:
    """Let a lease of one's own last longer; as long as is allowed, for None.

    Raises
    ------
    Problem
        409 with the reason why not.
    UnknownName
    """
    answer = leases.extend(here.desk, _own(here, caller, lease_id).id, hours, caller.name)
    if isinstance(answer, Deny):
        raise refused(answer)
    return answer


def release(here: Console, caller: Caller, lease_id: str, at_end: AtEnd) -> Lease:
    """Give the GPUs of a lease of one's own back.

    Raises
    ------
    LeaseLost, UnknownName
    """
    return mine.give_back(here.desk, _own(here, caller, lease_id).id, at_end, caller.name)


def leave(here: Console, caller: Caller, ticket_id: str) -> None:
    """Leave the queue, or decline an offer.

    Raises
    ------
    UnknownName
    """
    server = mine.own_place(here.desk, caller.name, ticket_id)
    if server is None or not offers.cancel(here.desk, caller.name, server):
        raise UnknownName("None of your servers waits with this ticket any more.")


def _own(here: Console, caller: Caller, lease_id: str) -> Lease:
    lease = mine.own_lease(here.desk, caller.name, lease_id)
    if lease is None:
        raise UnknownName(f"You have no lease {lease_id}.")
    return lease


def _path(user: str, server: str) -> str:
    return quoted("users", user, "servers", server) if server else quoted("users", user, "server")
