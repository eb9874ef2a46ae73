"""Who calls, and what they may."""

import hmac
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.openapi.models import OAuth2 as OAuth2Model
from fastapi.openapi.models import OAuthFlowAuthorizationCode, OAuthFlows
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.datastructures import FormData

from ..policy.model import Person
from .context import Console, Here
from .problems import Problem
from .scopes import DEFINITIONS, Scope, implied

SESSION_COOKIE = "berth-console"
HUB_SESSION_COOKIE = "jupyterhub-session-id"
FORM_FIELD, FORM_HEADER = "csrf", "X-CSRF-Token"
SESSION_SECONDS = 14 * 86_400
_SAFE = {"GET", "HEAD", "OPTIONS"}
_FORMS = {"application/x-www-form-urlencoded", "multipart/form-data"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody, or some program, that the hub knows.

    Attributes
    ----------
    kind
        ``user`` or ``service``.
    groups
        Of a user, at the hub.
    scopes
        What the token allows, with what that holds within it.
    token
        Of the hub, to act there in the caller's name.
    form_token
        What this session's forms must carry; empty for a caller with a token of their own.
    """

    name: str
    kind: str
    groups: frozenset[str]
    scopes: frozenset[str]
    token: str = field(repr=False)
    form_token: str = field(default="", repr=False)

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    @property
    def person(self) -> Person:
        """The caller as the policy knows them.

        Raises
        ------
        Problem
            403 for a service, which has no quota and no servers.
        """
        if self.kind != "user":
            raise Problem(403, "not_a_person", f"{self.name} is a service; only people have servers and quotas.")
        return Person(self.name, self.groups)

    def subject(self, user: str) -> str:
        """Check that this caller may see what is of a user: it is their own, or they may see all.

        Raises
        ------
        Problem
            403
        """
        own = self.kind == "user" and user == self.name and self.may(Scope.SELF_READ)
        if not own and not self.may(Scope.READ):
            raise Problem(
                403, "scope_missing", f"This is not yours, and to see it takes {Scope.READ}.", scope=Scope.READ
            )
        return user


class SignInNeeded(Exception):
    """A page wants to know who reads it, and nobody is signed in."""


class HubTokens(SecurityBase):
    """Says in OpenAPI how to show a token; `caller_of` looks at it."""

    def __init__(self) -> None:
        self.model = OAuth2Model(
            flows=OAuthFlows(
                authorizationCode=OAuthFlowAuthorizationCode(
                    authorizationUrl="/hub/api/oauth2/authorize",
                    tokenUrl="/hub/api/oauth2/token",
                    scopes={scope: definition["description"] for scope, definition in DEFINITIONS.items()},
                )
            ),
            description="A token of the hub, in `Authorization: Bearer TOKEN`; make one on the hub's page *Token*.",
        )
        self.scheme_name = "hub"

    async def __call__(self) -> None:
        return None


async def form_of(request: Request) -> FormData | None:
    """Read a browser's form; what calls with a token of its own sends none.

    Raises
    ------
    Problem
        422 for a NUL, which nobody types and no database keeps.
    """
    if request.method in _SAFE or SESSION_COOKIE not in request.cookies:
        return None
    kind = request.headers.get("Content-Type", "").partition(";")[0]
    if kind not in _FORMS:
        return None
    form = await request.form()
    for name, value in form.multi_items():
        if isinstance(value, str) and "\0" in value:
            raise Problem(422, "invalid_request", f"{name}: there is a NUL character in it.")
    return form


def caller_of(
    request: Request,
    needed: SecurityScopes,
    here: Here,
    form: Annotated[FormData | None, Depends(form_of)],
    _: Annotated[None, Depends(HubTokens())],
) -> Caller:
    """Tell who calls, and check that they may.

    Raises
    ------
    Problem
        401, or 403 with the missing scope.
    SignInNeeded
        On a page, by a browser that is not signed in.
    """
    caller = _by_header(request, here) or _by_cookie(request, here, form)
    if caller is None:
        if request.url.path.startswith(f"{here.prefix}api/"):
            raise Problem(
                401,
                "not_signed_in",
                "Show a token of the hub: Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )
        raise SignInNeeded
    missing = [scope for scope in needed.scopes if scope not in caller.scopes]
    if missing:
        takes = f"This takes {' and '.join(missing)}, which you do not have. An admin of the hub can give it to you."
        raise Problem(403, "scope_missing", takes, scope=missing[0])
    return caller


def identified(request: Request, here: Console) -> Caller | None:
    """Tell who calls, for what comes before a route: None where the route will not let them in."""
    try:
        return _by_header(request, here) or _by_cookie(request, here, None)
    except Problem:
        return None


def _by_header(request: Request, here: Console) -> Caller | None:
    said = request.headers.get("Authorization", "")
    kind, _, token = said.partition(" ")
    if kind.lower() not in {"token", "bearer"} or not token.strip():
        return None
    found = _known(here, token.strip(), "")
    if found is None:
        raise Problem(
            401, "invalid_token", "The hub does not know this token, or it has expired.", {"WWW-Authenticate": "Bearer"}
        )
    return found


def _by_cookie(request: Request, here: Console, form: FormData | None) -> Caller | None:
    sealed = request.cookies.get(SESSION_COOKIE)
    session = here.keys.open(sealed, SESSION_SECONDS) if sealed else None
    if session is None:
        return None
    token = str(session["token"])
    form_token = here.keys.form_token(token)
    if request.method not in _SAFE:
        _check_form(request, form, form_token)
    return _known(here, token, request.cookies.get(HUB_SESSION_COOKIE, ""), form_token)


def _check_form(request: Request, form: FormData | None, form_token: str) -> None:
    """Refuse what another site has sent in the name of somebody who is signed in here."""
    said = request.headers.get(FORM_HEADER) or (None if form is None else form.get(FORM_FIELD))
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), form_token.encode()):
        raise Problem(
            403,
            "form_expired",
            "This form is not from here, or you have signed in anew since. Load the page again, and repeat.",
        )


def _known(here: Console, token: str, session: str, form_token: str = "") -> Caller | None:
    model = here.hub.identify(token, session)
    if model is None:
        return None
    kind, scopes = str(model.get("kind", "user")), implied(frozenset(model.get("scopes") or ()))
    groups: Any = model.get("groups")
    if kind == "user" and groups is None:
        # A token may be too narrow to tell.
        groups = here.people.get(model["name"]).groups
    return Caller(model["name"], kind, frozenset(groups or ()), scopes, token, form_token)


def allowed(*scopes: Scope) -> Any:
    """Let in only callers with all of these scopes; for `Annotated[Caller, allowed(...)]`."""
    return Security(caller_of, scopes=[*scopes])
