"""What people do with their own servers, leases and places: forms, and a question before what ends work."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from ...errors import HubRefused, UnknownName
from ...operations import leases, mine
from ...operations.mine import Mine, OwnLease
from ...policy.admission import profiles_for
from ...policy.model import AtEnd, Deny, IfBusy, Person, Profile
from ...policy.request import OPTIONS
from .. import own
from ..api.mine_models import Extension, LeaseId, ServerKey, StartOptions, TicketId
from ..callers import Caller, allowed
from ..context import Console, Here
from ..own import OwnServer, named, servers_of
from ..problems import Problem
from ..rendering import go
from ..scopes import Scope

router = APIRouter()

Owner = Annotated[Caller, allowed(Scope.SELF)]
Clean = Annotated[bool, Query(description="Without what is installed in the home.")]
# Lengths of time to choose from, in hours.
_HOURS = (1, 2, 4, 8, 12, 24, 48, 72, 120, 168)


def _back(here: Console) -> str:
    return here.prefix


def _server(here: Console, caller: Caller, key: str) -> OwnServer:
    found = mine.mine(here.desk, caller.person)
    server = next((one for one in servers_of(here, caller.name, found) if one.name == named(key)), None)
    if server is None:
        raise UnknownName(f"You have no server {key!r}.")
    return server


def _lease(here: Console, caller: Caller, lease_id: str) -> tuple[Mine, OwnLease]:
    found = mine.mine(here.desk, caller.person)
    lease = next((one for one in found.leases if one.lease.id == lease_id), None)
    if lease is None:
        raise UnknownName(f"You have no lease {lease_id} that still runs.")
    return found, lease


# --- servers ------------------------------------------------------------------------------------------------------


@router.get("/mine/servers/{server}/start")
def ask_start(server: ServerKey, request: Request, here: Here, caller: Owner) -> Response:
    """Show the choices of a start."""
    return _start_form(request, here, caller, _server(here, caller, server))


@router.post("/mine/servers/{server}/start")
def start(
    server: ServerKey,
    request: Request,
    here: Here,
    caller: Owner,
    profile: Annotated[str, Form(max_length=100)] = "",
    gpus: Annotated[str, Form(max_length=20)] = "",
    hours: Annotated[str, Form(max_length=20)] = "",
    if_busy: Annotated[str, Form(max_length=20)] = "",
    at_end: Annotated[str, Form(max_length=20)] = "",
    clean: Annotated[str, Form(max_length=5)] = "",
) -> Response:
    _ = here.pages.gettext(request)
    texts = {"profile": profile, "gpus": gpus, "hours": hours, "if_busy": if_busy, "at_end": at_end, "clean": clean}
    chosen = {name: text.strip() for name, text in texts.items() if text.strip()}
    try:
        options = StartOptions.model_validate(chosen)
    except ValidationError as error:
        wrong = "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
        return _start_form(request, here, caller, _server(here, caller, server), chosen, wrong, 422)
    try:
        own.start(here, caller, named(server), options.user_options())
    except HubRefused as error:
        return _start_form(request, here, caller, _server(here, caller, server), chosen, str(error), 409)
    return go(request, _back(here), _("Your server is on its way. It is listed here with what it does."))


def _start_form(
    request: Request,
    here: Console,
    caller: Caller,
    server: OwnServer,
    chosen: Mapping[str, Any] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    profiles = _profiles(here, caller)
    # As the last time, but for what holds for one start only.
    asked = chosen if chosen is not None else {**server.options, "clean": ""}
    said = {name: "" if asked.get(name) is None else asked[name] for name in OPTIONS}
    if said["profile"] not in {profile.slug for profile in profiles}:
        said["profile"] = profiles[0].slug if profiles else ""
    return here.pages.render(
        request,
        caller,
        "mine/start.html",
        status=status,
        server=server,
        profiles=profiles,
        chosen=said,
        problem=problem,
        ways=list(IfBusy),
        ends=list(AtEnd),
        usual_end=AtEnd(here.settings.leases.at_end),
    )


def _profiles(here: Console, caller: Caller) -> list[Profile]:
    member = here.people.get(caller.name)
    person = Person(caller.name, caller.groups, member.admin)
    return profiles_for(here.catalogue, person, leases.rules_now(here.desk))


@router.get("/mine/servers/{server}/stop")
def ask_stop(server: ServerKey, request: Request, here: Here, caller: Owner) -> Response:
    _ = here.pages.gettext(request)
    found = _server(here, caller, server)
    facts = [_("Running kernels and terminals end. What is not saved is lost."), _("Your files are kept.")]
    if found.lease:
        facts.append(_("Its GPUs go back, and are somebody else's afterwards."))
    return _ask(
        request,
        here,
        caller,
        title=_("Stop {server}?").format(server=_name(_, found)),
        question=_("The server is stopped."),
        facts=facts,
        action=f"{here.prefix}mine/servers/{found.key}/stop",
        button=_("Stop the server"),
        dangerous=True,
    )


@router.post("/mine/servers/{server}/stop")
def stop(server: ServerKey, request: Request, here: Here, caller: Owner) -> Response:
    own.stop(here, caller, named(server))
    return go(request, _back(here), here.pages.gettext(request)("The server stops."))


@router.get("/mine/servers/{server}/restart")
def ask_restart(server: ServerKey, request: Request, here: Here, caller: Owner, clean: Clean = False) -> Response:
    _ = here.pages.gettext(request)
    found = _server(here, caller, server)
    facts = [_("Running kernels and terminals end. What is not saved is lost."), _("Your files are kept.")]
    if found.lease:
        facts.append(_("Its GPUs are asked for anew, for as long as before; if others wait, so do you."))
    if clean:
        facts += [
            _("Packages that you installed with pip are not used, and JupyterLab opens with nothing open."),
            _("Nothing is deleted: the next ordinary start has all of it again."),
        ]
    title = _("Restart {server} clean?") if clean else _("Restart {server}?")
    return _ask(
        request,
        here,
        caller,
        title=title.format(server=_name(_, found)),
        question=_("The server is stopped, and started again as you asked for it before."),
        facts=facts,
        action=f"{here.prefix}mine/servers/{found.key}/restart",
        button=_("Restart clean") if clean else _("Restart"),
        fields={"clean": "true"} if clean else {},
        dangerous=True,
    )


@router.post("/mine/servers/{server}/restart")
def restart(
    server: ServerKey, request: Request, here: Here, caller: Owner, clean: Annotated[bool, Form()] = False
) -> Response:
    own.restart(here, caller, named(server), clean=clean)
    return go(request, _back(here), here.pages.gettext(request)("The server is started again."))


# --- leases -------------------------------------------------------------------------------------------------------


@router.get("/mine/leases/{lease_id}/extend")
def ask_extend(lease_id: LeaseId, request: Request, here: Here, caller: Owner) -> Response:
    """Show by how much a lease can be extended."""
    found, lease = _lease(here, caller, lease_id)
    longest = lease.longest
    choices = []
    if not isinstance(longest, Deny):
        more = (longest - lease.lease.ends_at).total_seconds() / 3600
        choices = [hours for hours in _HOURS if hours < more]
    return here.pages.render(
        request,
        caller,
        "mine/extend.html",
        lease=lease.lease,
        longest=None if isinstance(longest, Deny) else longest,
        refusal=longest if isinstance(longest, Deny) else None,
        choices=choices,
        left_ms=found.left_ms,
    )


@router.post("/mine/leases/{lease_id}/extend")
def extend(
    lease_id: LeaseId, request: Request, here: Here, caller: Owner, hours: Annotated[str, Form(max_length=20)] = ""
) -> Response:
    _ = here.pages.gettext(request)
    try:
        wanted = Extension.model_validate({"hours": hours.strip() or None})
    except ValidationError:
        raise Problem(422, "invalid_request", _("By how many hours? That is no number above 0.")) from None
    own.extend(here, caller, lease_id, wanted.hours)
    return go(request, _back(here), _("The lease lasts longer now."))


@router.get("/mine/leases/{lease_id}/release")
def ask_release(lease_id: LeaseId, request: Request, here: Here, caller: Owner) -> Response:
    _ = here.pages.gettext(request)
    _found, lease = _lease(here, caller, lease_id)
    return _ask(
        request,
        here,
        caller,
        template="mine/release.html",
        title=_("Give the GPUs back?"),
        question=_("The lease ends now, and its GPUs are somebody else's afterwards."),
        facts=[
            _("Open documents are saved. Running kernels end."),
            _("Time that is left goes back to your budget."),
        ],
        action=f"{here.prefix}mine/leases/{lease.lease.id}/release",
        button=_("Give them back"),
        dangerous=True,
        at_end=lease.lease.at_end,
        ends=list(AtEnd),
    )


@router.post("/mine/leases/{lease_id}/release")
def release(
    lease_id: LeaseId, request: Request, here: Here, caller: Owner, at_end: Annotated[AtEnd, Form()] = AtEnd.CPU
) -> Response:
    own.release(here, caller, lease_id, at_end)
    return go(request, _back(here), here.pages.gettext(request)("The GPUs go back."))


# --- the queue ----------------------------------------------------------------------------------------------------


@router.get("/mine/queue/{ticket_id}/leave")
def ask_leave(ticket_id: TicketId, request: Request, here: Here, caller: Owner) -> Response:
    _ = here.pages.gettext(request)
    place = next((one for one in mine.mine(here.desk, caller.person).places if one.ticket.id == ticket_id), None)
    if place is None:
        raise UnknownName("None of your servers waits with this ticket any more.")
    offered = place.offered is not None
    return _ask(
        request,
        here,
        caller,
        title=_("Decline the offer?") if offered else _("Leave the queue?"),
        question=_("The GPUs on offer go to who is next.") if offered else _("You give up your place."),
        facts=[_("Whoever asks again begins at the end of the queue.")],
        action=f"{here.prefix}mine/queue/{ticket_id}/leave",
        button=_("Decline") if offered else _("Leave the queue"),
        dangerous=True,
    )


@router.post("/mine/queue/{ticket_id}/leave")
def leave(ticket_id: TicketId, request: Request, here: Here, caller: Owner) -> Response:
    own.leave(here, caller, ticket_id)
    return go(request, _back(here), here.pages.gettext(request)("You are not in the queue any more."))


def _ask(request: Request, here: Console, caller: Caller, *, template: str = "confirm.html", **values: Any) -> Response:
    return here.pages.render(request, caller, template, **{"back": _back(here), "fields": {}, "reason": None, **values})


def _name(_: Any, server: OwnServer) -> str:
    return server.name or _("your default server")
