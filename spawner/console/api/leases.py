"""All leases: looked through, ended, extended."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from ...ledger import LeaseFilter
from ...operations import leases as operations
from ...operations import listing
from ...policy.leases import Lease, LeaseState
from ...policy.model import Deny
from ..callers import Caller, allowed
from ..context import Console, Here
from ..etags import require_match
from ..paging import Cursor, Limit, Page
from ..problems import refused
from ..ranges import Moment
from ..scopes import Scope
from .lease_models import Ending, Extension, Idle, LeaseId, LeaseRow, Name, lease_row, version_of
from .mine import lease_cursor, lease_position
from .versions import VERSIONED, WRITING, if_match

router = APIRouter(tags=["leases"])

_READ = [allowed(Scope.READ)]
Operator = Annotated[Caller, allowed(Scope.GPUS)]
_SEEN = if_match("The ETag of the lease that you have seen, or `*` for whatever is.")


@router.get("/leases", dependencies=_READ)
def list_all_leases(
    here: Here,
    user: Name = None,
    state: Annotated[LeaseState | None, Query(description="Only those in it.")] = None,
    model: Name = None,
    holding: Annotated[
        bool | None, Query(alias="open", description="Only those that hold GPUs, or only those that are closed.")
    ] = None,
    since: Annotated[Moment | None, Query(description="Not those closed before.")] = None,
    until: Annotated[Moment | None, Query(description="Not those granted then or later.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[LeaseRow]:
    """List leases, the latest granted first."""
    wanted = LeaseFilter(user, state, model, holding, since, until)
    found = listing.listing(here.desk, wanted, after=lease_position(cursor), limit=limit)
    following = lease_cursor(*found.next) if found.next else None
    return Page[LeaseRow](items=[lease_row(one) for one in found.leases], next=following)


@router.get("/leases/idle", dependencies=_READ)
def list_idle_leases(here: Here) -> Idle:
    """List the leases that do nothing now: who hoards."""
    found = listing.hoarders(here.desk)
    wasted = sum(one.idle_ms for one in found)
    return Idle(at=here.clock(), items=[lease_row(one) for one in found], idle_ms=wasted)


@router.get("/leases/{lease_id}", dependencies=_READ, responses=VERSIONED)
def read_lease(lease_id: LeaseId, here: Here, answer: Response) -> LeaseRow:
    """Tell of one lease."""
    return _read(here, lease_id, answer)


@router.post("/leases/{lease_id}/end", responses={**VERSIONED, **WRITING}, openapi_extra=_SEEN)
def end_lease(
    lease_id: LeaseId, ending: Ending, request: Request, here: Here, caller: Operator, answer: Response
) -> LeaseRow:
    """End a lease, now or after a notice. Work is saved, and the server goes on without GPUs or stops, as chosen."""
    notice = timedelta(minutes=ending.notice_minutes)
    operations.end(here.desk, lease_id, caller.name, ending.why, notice, check=_matching(request))
    return _read(here, lease_id, answer)


@router.post("/leases/{lease_id}/extend", responses={**VERSIONED, **WRITING}, openapi_extra=_SEEN)
def extend_lease(
    lease_id: LeaseId, extension: Extension, request: Request, here: Here, caller: Operator, answer: Response
) -> LeaseRow:
    """Make a lease last longer, within its user's quota and while nobody waits for such a GPU."""
    said = operations.extend(
        here.desk,
        lease_id,
        extension.hours,
        caller.name,
        extension.why,
        by_admin=True,
        check=_matching(request),
    )
    if isinstance(said, Deny):
        raise refused(said)
    return _read(here, lease_id, answer)


def _read(here: Console, lease_id: str, answer: Response) -> LeaseRow:
    found = listing.get(here.desk, lease_id)
    answer.headers["ETag"] = version_of(found.lease)
    return lease_row(found)


def _matching(request: Request) -> Callable[[Lease], None]:
    return lambda lease: require_match(request, version_of(lease))
