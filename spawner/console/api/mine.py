"""What is somebody's own: servers, leases, places in the queue, use. Others' may be seen by who may see all."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from ...errors import UnknownName
from ...operations import mine
from ..callers import Caller, allowed
from ..context import Console, Here
from ..live import live_slots, problem_words
from ..own import OwnServer, named, person_of, servers_of
from ..paging import Cursor, Limit, Page, cursor_of, position_in
from ..problems import Problem
from ..ranges import Moment, ZoneName, range_of, zone_of
from ..scopes import Scope
from .mine_models import (
    LeaseModel,
    Live,
    Places,
    ServerKey,
    ServerModel,
    Servers,
    Use,
    UserName,
    lease_model,
    live_model,
    place_model,
    server_model,
    use_model,
)

router = APIRouter(tags=["mine"])

Reader = Annotated[Caller, allowed(Scope.SELF_READ)]


def one_server(here: Console, caller: Caller, user: str, key: str) -> OwnServer:
    """Give one server as it is now.

    Raises
    ------
    UnknownName
    """
    found = mine.mine(here.desk, person_of(here, caller, user))
    server = next((one for one in servers_of(here, user, found) if one.name == named(key)), None)
    if server is None:
        raise UnknownName(f"{user} has no server {key!r}.")
    return server


@router.get("/users/{name}/servers")
def list_servers(name: UserName, here: Here, caller: Reader) -> Servers:
    """List a user's servers, with their leases, places in the queue and messages."""
    found = mine.mine(here.desk, person_of(here, caller, name))
    return Servers(at=found.at, items=[server_model(server) for server in servers_of(here, name, found)])


@router.get("/users/{name}/servers/{server}")
def read_server(name: UserName, server: ServerKey, here: Here, caller: Reader) -> ServerModel:
    """Tell of one server."""
    return server_model(one_server(here, caller, name, server))


@router.get("/users/{name}/leases")
def list_leases(
    name: UserName,
    here: Here,
    caller: Reader,
    holding: Annotated[
        bool | None, Query(alias="open", description="Only those that hold GPUs, or only those that are closed.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[LeaseModel]:
    """List a user's leases, the latest granted first."""
    user = person_of(here, caller, name).name
    found = mine.history(here.desk, user, holding=holding, after=lease_position(cursor), limit=limit + 1)
    last = found[limit - 1].lease if len(found) > limit else None
    return Page[LeaseModel](
        items=[lease_model(one) for one in found[:limit]],
        next=lease_cursor(last.granted_at, last.id) if last else None,
    )


def lease_position(cursor: str | None) -> tuple[datetime, str] | None:
    """Read where the page before ended.

    Raises
    ------
    Problem
        400
    """
    position = position_in(cursor, str, str)
    if position is None:
        return None
    try:
        granted = datetime.fromisoformat(position[0])
        return granted.astimezone(UTC), position[1]
    except (ValueError, OverflowError):
        raise Problem(400, "invalid_cursor", "This cursor is none of ours; begin without one.") from None


def lease_cursor(granted_at: datetime, lease_id: str) -> str:
    return cursor_of(granted_at.isoformat(), lease_id)


@router.get("/users/{name}/queue")
def list_places(name: UserName, here: Here, caller: Reader) -> Places:
    """List a user's places in the queue, offers included."""
    found = mine.mine(here.desk, person_of(here, caller, name))
    return Places(items=[place_model(place) for place in found.places])


@router.get("/users/{name}/usage")
def read_use(
    name: UserName,
    here: Here,
    caller: Reader,
    since: Annotated[Moment | None, Query(description="Left out: 30 days ago, from midnight on.")] = None,
    until: Annotated[Moment | None, Query(description="Left out: now. At most 400 days later.")] = None,
    zone: ZoneName = "UTC",
) -> Use:
    """Tell what a user has used on each day, and how much of it was idle."""
    user = person_of(here, caller, name).name
    span = range_of(here.clock(), since, until, zone_of(zone))
    use = mine.use_by_day(here.desk, user, span.since, span.until, span.zone)
    return use_model(use, span.since, span.until, zone)


@router.get("/users/{name}/gpu-use")
def read_live(name: UserName, here: Here, caller: Reader) -> Live:
    """Tell what a user's servers do with their GPUs, over the last 15 minutes."""
    found = mine.mine(here.desk, person_of(here, caller, name))
    items = [live_model(one) for one in live_slots(here, found.leases, found.at)]
    return Live(at=found.at, problem=problem_words(here), items=items)
