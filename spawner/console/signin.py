"""Signing in through the hub (OAuth 2.0 with PKCE), and out again."""

import secrets
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import RedirectResponse, Response

from .callers import SESSION_COOKIE, SESSION_SECONDS, SignInNeeded
from .context import Console, Here, console_of
from .problems import Problem

router = APIRouter(include_in_schema=False)

_STATE_COOKIE = "berth-console-sign-in-"
_STATE_SECONDS = 600


def install(app: FastAPI) -> None:
    """Let pages send whoever is not signed in to the hub."""

    @app.exception_handler(SignInNeeded)
    async def _sign_in(request: Request, _error: SignInNeeded) -> Response:
        here = console_of(request)
        if "HX-Request" in request.headers:
            # Part of a page cannot show the hub's; the whole page is loaded again, and goes there.
            return Response(status_code=401, headers={"HX-Refresh": "true"})
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return _to_hub(request, here, asked if request.method == "GET" else here.prefix)


def _to_hub(request: Request, here: Console, asked: str) -> Response:
    url, verifier = here.hub.authorization()
    state = secrets.token_urlsafe(16)
    answer = RedirectResponse(f"{url}&{urlencode({'state': state})}", 302)
    answer.set_cookie(
        _STATE_COOKIE + state,
        here.keys.seal({"next": asked, "verifier": verifier}),
        max_age=_STATE_SECONDS,
        path=here.prefix,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@router.get("/oauth_callback")
def oauth_callback(
    request: Request,
    here: Here,
    code: Annotated[str | None, Query(max_length=1000)] = None,
    state: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Come back from the hub, signed in."""
    name = _STATE_COOKIE + state
    begun = here.keys.open(request.cookies.get(name, ""), _STATE_SECONDS)
    if begun is None:
        raise Problem(
            400, "sign_in_expired", "This sign-in took too long, or was begun in another browser. Begin anew."
        )
    token = here.hub.token_for(code, begun["verifier"]) if code else None
    if token is None:
        raise Problem(
            403, "sign_in_failed", "The hub did not confirm this sign-in. Begin anew, or ask an admin for access."
        )
    asked = str(begun["next"])
    answer = RedirectResponse(asked if asked.startswith(here.prefix) else here.prefix, 302)
    answer.set_cookie(
        SESSION_COOKIE,
        here.keys.seal({"token": token}),
        max_age=SESSION_SECONDS,
        path=here.prefix,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    answer.delete_cookie(name, path=here.prefix)
    return answer


@router.get("/logout")
def logout(here: Here) -> Response:
    """Sign out, of the hub as well."""
    answer = RedirectResponse(f"{here.hub.path}logout", 302)
    answer.delete_cookie(SESSION_COOKIE, path=here.prefix)
    return answer
