"""What people do with their own servers, leases and places in the queue; never with those of others."""

from typing import Annotated

from fastapi import APIRouter, Response

from ...operations import mine
from ...policy.leases import Lease
from .. import own
from ..callers import Caller, allowed
from ..context import Console, Here
from ..own import named, owner
from ..scopes import Scope
from .mine import one_server
from .mine_models import (
    Extension,
    LeaseId,
    LeaseModel,
    ReleaseOptions,
    RestartOptions,
    ServerKey,
    ServerModel,
    StartOptions,
    TicketId,
    UserName,
    lease_model,
    server_model,
)

router = APIRouter(tags=["mine"])

Owner = Annotated[Caller, allowed(Scope.SELF)]


def _as_it_is(here: Console, caller: Caller, key: str) -> ServerModel:
    return server_model(one_server(here, caller, caller.name, key))


def _lease(here: Console, lease: Lease) -> LeaseModel:
    return lease_model(mine.with_models(here.desk, lease))


@router.post("/users/{name}/servers/{server}/start", status_code=202)
def start_server(name: UserName, server: ServerKey, options: StartOptions, here: Here, caller: Owner) -> ServerModel:
    """Start a server. It may still be starting, or waiting in the queue, when this answers."""
    owner(caller, name)
    own.start(here, caller, named(server), options.user_options())
    return _as_it_is(here, caller, server)


@router.post("/users/{name}/servers/{server}/stop", status_code=202)
def stop_server(name: UserName, server: ServerKey, here: Here, caller: Owner) -> ServerModel:
    """Stop a server; its GPUs are given back, and its files stay."""
    owner(caller, name)
    own.stop(here, caller, named(server))
    return _as_it_is(here, caller, server)


@router.post("/users/{name}/servers/{server}/restart", status_code=202)
def restart_server(
    name: UserName, server: ServerKey, options: RestartOptions, here: Here, caller: Owner
) -> ServerModel:
    """Stop a server and start it again as it was asked for. Its GPUs are asked for anew."""
    owner(caller, name)
    own.restart(here, caller, named(server), clean=options.clean)
    return _as_it_is(here, caller, server)


@router.post("/users/{name}/leases/{lease_id}/extend")
def extend_lease(name: UserName, lease_id: LeaseId, wanted: Extension, here: Here, caller: Owner) -> LeaseModel:
    """Let a lease last longer, as far as quota and queue allow."""
    owner(caller, name)
    return _lease(here, own.extend(here, caller, lease_id, wanted.hours))


@router.post("/users/{name}/leases/{lease_id}/release", status_code=202)
def release_lease(name: UserName, lease_id: LeaseId, wanted: ReleaseOptions, here: Here, caller: Owner) -> LeaseModel:
    """Give the GPUs of a lease back: open documents are saved, and running kernels end."""
    owner(caller, name)
    return _lease(here, own.release(here, caller, lease_id, wanted.at_end))


@router.delete("/users/{name}/queue/{ticket_id}", status_code=204)
def leave_queue(name: UserName, ticket_id: TicketId, here: Here, caller: Owner) -> Response:
    """Leave the queue, or decline an offer."""
    owner(caller, name)
    own.leave(here, caller, ticket_id)
    return Response(status_code=204)
