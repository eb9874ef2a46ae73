"""Users' homes: looked through, archived, restored, deleted. The janitor carries out what is wished here."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from ...ledger import HomeFilter, HomeSort
from ...ledger.homes import Position
from ...operations import homes
from ...policy.homes import Home, HomeState
from ...policy.model import Deny
from ..callers import Caller, allowed
from ..context import Console, Here
from ..etags import require_match
from ..paging import Cursor, Limit, Page, cursor_of, position_in
from ..problems import refused
from ..scopes import Scope
from .home_models import Deletion, HomeRow, HomesSummary, Reason, Volume, home_row, home_version, summary
from .versions import VERSIONED, WRITING, if_match

router = APIRouter(tags=["homes"])

_READ = [allowed(Scope.READ)]
Keeper = Annotated[Caller, allowed(Scope.HOMES)]
_NO_NUL = r"^[^\x00]*$"
_SEEN = if_match("The ETag of the home that you have seen, or `*` for whatever is.")
_WISH: dict[str, Any] = {"responses": {202: VERSIONED[200], **WRITING}, "openapi_extra": _SEEN}


def home_position(cursor: str | None, sort: HomeSort) -> Position | None:
    """Read where a list sorted so ended."""
    position = position_in(cursor, str if sort is HomeSort.OWNER else int, str)
    return None if position is None else (position[0], position[1])


@router.get("/homes", dependencies=_READ)
def list_homes(
    here: Here,
    state: Annotated[
        list[HomeState], Query(max_length=6, description="In one of these; left out, all but deleted ones.")
    ] = [],  # noqa: B006  FastAPI copies it
    search: Annotated[str, Query(max_length=255, pattern=_NO_NUL, description="Part of the owner's name.")] = "",
    owner: Annotated[str, Query(max_length=255, pattern=_NO_NUL, description="Exactly.")] = "",
    gone: Annotated[bool | None, Query(description="Only of owners whom the hub does not know, or does.")] = None,
    failed: Annotated[bool | None, Query(description="Only where the last wish came to nothing, or did not.")] = None,
    unused_days: Annotated[int | None, Query(ge=0, le=36_600, description="Not used for so long.")] = None,
    sort: Annotated[HomeSort, Query(description="What the list is ordered by.")] = HomeSort.OWNER,
    descending: Annotated[bool, Query(description="Whether the list begins with the most.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[HomeRow]:
    """List homes."""
    now = here.clock()
    unused = None if unused_days is None else now - timedelta(days=unused_days)
    wanted = HomeFilter(frozenset(state), search, owner, gone, failed, unused)
    after = home_position(cursor, sort)
    found = homes.page(here.desk, wanted, sort, descending=descending, limit=limit, after=after)
    following = cursor_of(*found.next) if found.next else None
    return Page(items=[home_row(home, now) for home in found.homes], next=following)


@router.get("/homes/summary", dependencies=_READ)
def read_summary(here: Here) -> HomesSummary:
    """Tell how many homes there are, and what they take."""
    return summary(homes.overview(here.desk))


@router.get("/homes/{volume}", dependencies=_READ, responses=VERSIONED)
def read_home(volume: Volume, here: Here, answer: Response) -> HomeRow:
    """Tell of one home."""
    return _told(here, homes.find(here.desk, volume), answer)


@router.post("/homes/{volume}/archive", status_code=202, **_WISH)
def archive_home(
    volume: Volume, reason: Reason, request: Request, here: Here, caller: Keeper, answer: Response
) -> HomeRow:
    """Pack a home into an archive and remove its volume. Its owner's next start of a server brings it back."""
    wished = homes.archive(here.desk, volume, caller.name, reason.why, _matching(request))
    return _told(here, wished, answer)


@router.post("/homes/{volume}/restore", status_code=202, **_WISH)
def restore_home(
    volume: Volume, reason: Reason, request: Request, here: Here, caller: Keeper, answer: Response
) -> HomeRow:
    """Bring an archived home back."""
    wished = homes.restore(here.desk, volume, caller.name, reason.why, _matching(request))
    return _told(here, wished, answer)


@router.post("/homes/{volume}/delete", status_code=202, **_WISH)
def delete_home(
    volume: Volume, deletion: Deletion, request: Request, here: Here, caller: Keeper, answer: Response
) -> HomeRow:
    """Delete a home, or its archive, for good once a grace period is over. An owner who comes back keeps it."""
    grace = timedelta(days=here.settings.homes.grace_days if deletion.grace_days is None else deletion.grace_days)
    wished = homes.delete(here.desk, volume, caller.name, deletion.why, grace, _matching(request))
    return _told(here, wished, answer)


@router.post("/homes/{volume}/cancel", status_code=202, **_WISH)
def cancel_wish(
    volume: Volume, reason: Reason, request: Request, here: Here, caller: Keeper, answer: Response
) -> HomeRow:
    """Take back what is wished for a home, as long as it can be."""
    wished = homes.cancel(here.desk, volume, caller.name, reason.why, _matching(request))
    return _told(here, wished, answer)


def _matching(request: Request) -> Callable[[Home], None]:
    return lambda home: require_match(request, home_version(home))


def _told(here: Console, answered: Home | Deny, answer: Response) -> HomeRow:
    if isinstance(answered, Deny):
        raise refused(answered)
    answer.headers["ETag"] = home_version(answered)
    return home_row(answered, here.clock())
