"""Users' homes: what they take, who used them last; archived, restored, deleted."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Request
from starlette.responses import Response

from ...ledger import AuditFilter, HomeFilter, HomeSort
from ...operations import homes, listing
from ...policy.homes import RESTS, Home, HomeState, possible
from ...policy.model import Deny
from ..api.home_models import Volume, home_version
from ..api.homes import home_position
from ..api.lease_models import Why
from ..callers import Caller, allowed
from ..context import Console, Here
from ..home_words import DEEDS, HOME_STATES, SORTS, UNUSED_DAYS
from ..paging import Cursor, cursor_of
from ..rendering import go
from ..scopes import Scope
from .filters import Word, chosen, query

router = APIRouter()

Reader = Annotated[Caller, allowed(Scope.READ)]
Keeper = Annotated[Caller, allowed(Scope.HOMES)]
Verb = Annotated[str, Path(pattern="^(archive|restore|delete|cancel)$")]
_PAGE = 50
_WORDS: dict[str, Any] = {"states": HOME_STATES, "deeds": DEEDS}
# What the list can be narrowed to, beside states.
_GONE, _FAILED = "gone", "failed"


@router.get("/homes")
def show_homes(
    request: Request,
    here: Here,
    caller: Reader,
    search: Word = "",
    shown: Word = "",
    unused: Annotated[str, Query(max_length=5)] = "",
    sort: HomeSort = HomeSort.OWNER,
    down: Annotated[bool, Query()] = False,
    cursor: Cursor = None,
) -> Response:
    now = here.clock()
    days = int(unused) if unused in {str(one) for one in UNUSED_DAYS} else None
    wanted = HomeFilter(
        states=frozenset({HomeState(shown)}) if shown in list(HomeState) else frozenset(),
        search=search.strip(),
        gone=True if shown == _GONE else None,
        failed=True if shown == _FAILED else None,
        unused_since=None if days is None else now - timedelta(days=days),
    )
    page, everything = homes.board(
        here.desk, wanted, sort, descending=down, limit=_PAGE, after=home_position(cursor, sort)
    )
    asked = chosen(search=search.strip(), shown=shown, unused=unused)
    ordered = {**asked, "sort": str(sort), **({"down": "true"} if down else {})}
    return here.pages.render(
        request,
        caller,
        "homes/list.html",
        **_WORDS,
        homes=[(home, possible(home, now)) for home in page.homes],
        overview=everything,
        asked=asked,
        sort=sort,
        down=down,
        unused_days=UNUSED_DAYS,
        orders=[(one, title, query(asked, sort=one, down=_turned(one, sort, down))) for one, title in SORTS.items()],
        next_query=query(ordered, cursor=cursor_of(*page.next)) if page.next else "",
        first_query=query(ordered) if cursor else "",
        may_keep=caller.may(Scope.HOMES),
        rests=RESTS,
    )


def _turned(column: HomeSort, sort: HomeSort, down: bool) -> str | None:
    """Tell whether a column's link sorts downwards: the other way round, sizes the largest first."""
    return "true" if (not down if column is sort else column is HomeSort.SIZE) else None


@router.get("/homes/{volume}")
def show_home(volume: Volume, request: Request, here: Here, caller: Reader) -> Response:
    home = homes.find(here.desk, volume)
    done = listing.audit(here.desk, AuditFilter(subject=f"home {home.owner}"), limit=20)
    return here.pages.render(
        request,
        caller,
        "homes/one.html",
        **_WORDS,
        home=home,
        wishes=possible(home, here.clock()),
        entries=done.entries,
        may_keep=caller.may(Scope.HOMES),
        rests=RESTS,
    )


@router.get("/homes/{volume}/now")
def show_progress(volume: Volume, request: Request, here: Here, caller: Reader) -> Response:
    """Give the part of a page that says how far a wish is; what is at rest brings a new page."""
    home = homes.find(here.desk, volume)
    answer = here.pages.render(request, caller, "homes/now.html", **_WORDS, home=home, rests=RESTS)
    if home.state in RESTS:
        answer.headers["HX-Refresh"] = "true"
    return answer


@router.get("/homes/{volume}/{verb}")
def ask(volume: Volume, verb: Verb, request: Request, here: Here, caller: Keeper) -> Response:
    return _confirm(request, here, caller, verb, homes.find(here.desk, volume))


@router.post("/homes/{volume}/{verb}")
def wish(
    volume: Volume,
    verb: Verb,
    request: Request,
    here: Here,
    caller: Keeper,
    why: Annotated[Why, Form()],
    version: Annotated[str, Form(max_length=100)] = "",
    days: Annotated[int | None, Form(ge=0, le=3660)] = None,
) -> Response:
    _ = here.pages.gettext(request)
    grace = timedelta(days=here.settings.homes.grace_days if days is None else days)
    asked = here.desk, volume, caller.name, why
    matching = _matching(version)
    try:
        if verb == "archive":
            answer = homes.archive(*asked, matching)
        elif verb == "restore":
            answer = homes.restore(*asked, matching)
        elif verb == "delete":
            answer = homes.delete(*asked, grace, matching)
        else:
            answer = homes.cancel(*asked, matching)
    except _Changed:
        mistake = _("Somebody has decided about this home meanwhile. Look again: this is how it is now.")
        return _confirm(request, here, caller, verb, homes.find(here.desk, volume), why, mistake, 412)
    if isinstance(answer, Deny):
        return _confirm(request, here, caller, verb, homes.find(here.desk, volume), why, answer.reason, 409)
    return go(request, f"{here.prefix}homes/{answer.volume}", _(DEEDS[verb].done) % {"owner": answer.owner})


class _Changed(Exception):
    """A home is not what the admin has seen any more."""


def _matching(version: str) -> Callable[[Home], None]:
    def check(home: Home) -> None:
        if home_version(home) != version:
            raise _Changed

    return check


def _confirm(
    request: Request,
    here: Console,
    caller: Caller,
    verb: str,
    home: Home,
    why: str = "",
    mistake: str = "",
    status: int = 200,
) -> Response:
    _ = here.pages.gettext(request)
    deed = DEEDS[verb]
    values: dict[str, Any] = {
        "title": _(deed.title),
        "question": _(deed.question) % {"owner": f"\N{FIRST STRONG ISOLATE}{home.owner}\N{POP DIRECTIONAL ISOLATE}"},
        "facts": [],
        "action": f"{here.prefix}homes/{home.volume}/{verb}",
        "button": _(deed.button),
        "back": f"{here.prefix}homes/{home.volume}",
        "fields": {"version": home_version(home)},
        "reason": why,
        "dangerous": deed.dangerous,
    }
    return here.pages.render(
        request,
        caller,
        "homes/confirm.html",
        status=status,
        **_WORDS,
        **values,
        home=home,
        verb=verb,
        mistake=mistake,
        possible=verb in possible(home, here.clock()),
        grace_days=here.settings.homes.grace_days,
        rests=RESTS,
    )
