"""Leases and the queue, as admins see and change them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from ...ledger import AuditFilter, LeaseFilter
from ...operations import leases as operations
from ...operations import listing, offers, places
from ...policy.leases import Lease, LeaseState
from ...policy.model import Deny
from ...policy.queue import Serving
from ..api.lease_models import LeaseId, TicketId, Why, offered_row, version_of, waiting_row
from ..api.mine import lease_cursor, lease_position
from ..callers import Caller, allowed
from ..context import Console, Here
from ..menu import N_
from ..own_words import ENDINGS, LEASE_STATES
from ..paging import Cursor
from ..problems import Problem
from ..ranges import days_between
from ..rendering import go, reader_of
from ..scopes import Scope
from .filters import DayField, Word, chosen

router = APIRouter()

Reader = Annotated[Caller, allowed(Scope.READ)]
Operator = Annotated[Caller, allowed(Scope.GPUS)]
Reason = Annotated[Why, Form()]
_PAGE, _HOARDERS, _NEXT = 50, 10, 100
_WORDS: dict[str, Any] = {"lease_states": LEASE_STATES, "endings": ENDINGS}
# Minutes, of which an admin chooses one.
NOTICES = {0: N_("at once"), 15: N_("in 15 minutes"), 60: N_("in an hour"), 240: N_("in 4 hours"), 1440: N_("in a day")}


@router.get("/leases")
def show_leases(
    request: Request,
    here: Here,
    caller: Reader,
    user: Word = "",
    state: Annotated[str, Query(max_length=20)] = "",
    model: Word = "",
    shown: Annotated[str, Query(pattern="^(open|closed|all)$")] = "open",
    first: DayField = None,
    last: DayField = None,
    every: Annotated[bool, Query(description="Show all that are idle.")] = False,
    cursor: Cursor = None,
) -> Response:
    zone = reader_of(request).zone
    since = None if first is None else days_between(first, first, zone).since
    until = None if last is None else days_between(last, last, zone).until
    known = LeaseState(state) if state in list(LeaseState) else None
    holding = {"open": True, "closed": False}.get(shown)
    wanted = LeaseFilter(user.strip() or None, known, model or None, holding, since, until)
    found = listing.floor(here.desk, wanted, after=lease_position(cursor), limit=_PAGE)
    asked = chosen(user=user.strip(), state=known, model=model, shown=shown, first=first, last=last)
    return here.pages.render(
        request,
        caller,
        "leases/list.html",
        **_WORDS,
        found=found,
        hoarders=found.hoarders if every else found.hoarders[:_HOARDERS],
        wasted_ms=sum(one.idle_ms for one in found.hoarders),
        asked=asked,
        filtered=bool(set(asked) - {"shown"}) or shown != "open",
        next_query=urlencode({**asked, "cursor": lease_cursor(*found.page.next)}) if found.page.next else "",
        first_query=urlencode(asked) if cursor else "",
        every_query=urlencode({**asked, "every": "true"}),
        states=[one for one in LeaseState if one is not LeaseState.CLOSED],
        may_operate=caller.may(Scope.GPUS),
    )


# --- the queue ----------------------------------------------------------------------------------------------------


@router.get("/leases/queue")
def show_queue(
    request: Request, here: Here, caller: Reader, shown: Annotated[Literal["next", "all"], Query()] = "next"
) -> Response:
    """Show who waits; of many, those who are next."""
    offered, waiting = places.offered(here.desk), offers.whole_queue(here.desk)
    listed = waiting if shown == "all" else waiting[:_NEXT]
    rows = [offered_row(ticket, lease) for ticket, lease in offered] + [waiting_row(serving) for serving in listed]
    return here.pages.render(
        request,
        caller,
        "leases/queue.html",
        rows=rows,
        waiting=len(waiting),
        left_out=len(waiting) - len(listed),
        may_operate=caller.may(Scope.GPUS),
    )


@router.get("/leases/queue/{ticket_id}/up")
def ask_up(ticket_id: TicketId, request: Request, here: Here, caller: Operator) -> Response:
    _ = here.pages.gettext(request)
    waiting = offers.whole_queue(here.desk)
    row = _row_of(here, waiting, ticket_id)
    passed = next((one.ticket.user for one in waiting if one.ticket.id != ticket_id), None)
    then = [] if passed is None else [_("Then comes %(user)s.") % {"user": passed}]
    return _confirm_ticket(
        request,
        here,
        caller,
        ticket_id,
        "up",
        title=_("Move up"),
        question=_("%(user)s goes before all others who wait.") % {"user": row.user},
        facts=[_("Place now: %(place)s") % {"place": row.position}, *then],
        button=_("Move up"),
        dangerous=False,
    )


@router.post("/leases/queue/{ticket_id}/up")
def move_up(ticket_id: TicketId, why: Reason, request: Request, here: Here, caller: Operator) -> Response:
    moved = offers.move_up(here.desk, ticket_id, caller.name, why)
    _ = here.pages.gettext(request)
    return go(request, f"{here.prefix}leases/queue", _("%(user)s is next.") % {"user": moved.user})


@router.get("/leases/queue/{ticket_id}/drop")
def ask_drop(ticket_id: TicketId, request: Request, here: Here, caller: Operator) -> Response:
    _ = here.pages.gettext(request)
    row = _row_of(here, offers.whole_queue(here.desk), ticket_id)
    facts = [_("Server: %(server)s") % {"server": row.server or _("the default one")}]
    if row.state == "offered":
        facts.append(_("It holds an offer, which goes to whoever is next."))
    return _confirm_ticket(
        request,
        here,
        caller,
        ticket_id,
        "drop",
        title=_("Send out of the queue"),
        question=_("%(user)s loses this place, and would have to ask again.") % {"user": row.user},
        facts=facts,
        button=_("Send out of the queue"),
        dangerous=True,
    )


@router.post("/leases/queue/{ticket_id}/drop")
def drop(ticket_id: TicketId, why: Reason, request: Request, here: Here, caller: Operator) -> Response:
    dropped = places.drop_ticket(here.desk, ticket_id, caller.name, why)
    _ = here.pages.gettext(request)
    return go(request, f"{here.prefix}leases/queue", _("%(user)s waits no more.") % {"user": dropped.user})


def _row_of(here: Console, waiting: Sequence[Serving], ticket_id: str) -> Any:
    rows = [offered_row(ticket, lease) for ticket, lease in places.offered(here.desk) if ticket.id == ticket_id]
    rows += [waiting_row(serving) for serving in waiting if serving.ticket.id == ticket_id]
    if not rows:
        raise Problem(404, "unknown_name", f"No ticket {ticket_id} waits any more.")
    return rows[0]


def _confirm_ticket(
    request: Request, here: Console, caller: Caller, ticket_id: str, verb: str, **words: Any
) -> Response:
    action = f"{here.prefix}leases/queue/{ticket_id}/{verb}"
    return here.pages.render(
        request, caller, "confirm.html", action=action, back=f"{here.prefix}leases/queue", fields={}, reason="", **words
    )


# --- one lease ----------------------------------------------------------------------------------------------------


@router.get("/leases/{lease_id}")
def show_lease(lease_id: LeaseId, request: Request, here: Here, caller: Reader) -> Response:
    found = listing.get(here.desk, lease_id)
    done = listing.audit(here.desk, AuditFilter(subject=f"lease {lease_id}"), limit=50)
    return here.pages.render(
        request,
        caller,
        "leases/one.html",
        **_WORDS,
        one=found,
        entries=done.entries,
        may_operate=caller.may(Scope.GPUS),
    )


@router.get("/leases/{lease_id}/end")
def ask_end(lease_id: LeaseId, request: Request, here: Here, caller: Operator) -> Response:
    return _confirm(request, here, caller, "end", lease_id)


@router.post("/leases/{lease_id}/end")
def end(
    lease_id: LeaseId,
    request: Request,
    here: Here,
    caller: Operator,
    why: Reason,
    version: Annotated[str, Form(max_length=100)] = "",
    notice: Annotated[int, Form(ge=0, le=10_080)] = 0,
) -> Response:
    _ = here.pages.gettext(request)
    try:
        ended = operations.end(
            here.desk, lease_id, caller.name, why, timedelta(minutes=notice), check=_matching(version)
        )
    except _Changed:
        return _changed(request, here, caller, "end", lease_id, why)
    if ended.state is LeaseState.CLOSED:
        said = _("The offer to %(user)s is withdrawn.")
    elif notice:
        said = _("The lease of %(user)s ends %(when)s; its user is told.")
    else:
        said = _("The lease of %(user)s ends now; its GPUs are free once its container is gone.")
    when = _(NOTICES.get(notice, ""))
    return go(request, f"{here.prefix}leases/{lease_id}", said % {"user": ended.user, "when": when})


@router.get("/leases/{lease_id}/extend")
def ask_extend(lease_id: LeaseId, request: Request, here: Here, caller: Operator) -> Response:
    return _confirm(request, here, caller, "extend", lease_id)


@router.post("/leases/{lease_id}/extend")
def extend(
    lease_id: LeaseId,
    request: Request,
    here: Here,
    caller: Operator,
    why: Reason,
    version: Annotated[str, Form(max_length=100)] = "",
    hours: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    _ = here.pages.gettext(request)
    try:
        length = float(hours.replace(",", ".")) if hours.strip() else None
    except ValueError:
        length = -1.0
    if length is not None and not 0 < length <= 8760:
        mistake = _("Hours are a number above 0, such as 4 or 0.5; leave them out for as long as the quota allows.")
        return _confirm(request, here, caller, "extend", lease_id, why, mistake, 422)
    try:
        said = operations.extend(here.desk, lease_id, length, caller.name, why, by_admin=True, check=_matching(version))
    except _Changed:
        return _changed(request, here, caller, "extend", lease_id, why)
    if isinstance(said, Deny):
        return _confirm(request, here, caller, "extend", lease_id, why, said.reason, 409)
    longer = _("The lease of %(user)s lasts longer.") % {"user": said.user}
    return go(request, f"{here.prefix}leases/{lease_id}", longer)


class _Changed(Exception):
    """A lease is not what the admin has seen any more."""


def _matching(version: str) -> operations.Check:
    def check(lease: Lease) -> None:
        if version_of(lease) != version:
            raise _Changed

    return check


def _changed(request: Request, here: Console, caller: Caller, verb: str, lease_id: str, why: str) -> Response:
    _ = here.pages.gettext(request)
    mistake = _("Somebody has changed this lease meanwhile. Look again: this is how it is now.")
    return _confirm(request, here, caller, verb, lease_id, why, mistake, 412)


def _confirm(
    request: Request,
    here: Console,
    caller: Caller,
    verb: str,
    lease_id: str,
    why: str = "",
    mistake: str = "",
    status: int = 200,
) -> Response:
    found = listing.get(here.desk, lease_id)
    longest = operations.can_extend(here.desk, lease_id) if verb == "extend" else None
    return here.pages.render(
        request,
        caller,
        f"leases/{verb}.html",
        status=status,
        **_WORDS,
        one=found,
        version=version_of(found.lease),
        why=why,
        mistake=mistake,
        notices=NOTICES,
        longest=longest if not isinstance(longest, Deny) else None,
        denied=longest.reason if isinstance(longest, Deny) else "",
        back=f"{here.prefix}leases/{lease_id}",
        action=f"{here.prefix}leases/{lease_id}/{verb}",
    )
