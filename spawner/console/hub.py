"""The hub, as the console asks it: who is this, and please start that server."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import requests
from jupyterhub.services.auth import HubOAuth
from tornado.web import HTTPError

from ..errors import HubNotReady, HubRefused, UnknownName

_SECONDS = 20.0
_REMEMBERED_SECONDS = 30
_CODE = re.compile(r"[a-z]+(_[a-z]+)*")
_PAGINATED = "application/jupyterhub-pagination+json"


class Hub:
    """The hub's API and its sign-in by OAuth 2.0. Thread-safe.

    Parameters
    ----------
    token
        The console's own, as a service.
    api_url
        Such as ``http://10.0.0.1:8081/hub/api``.
    prefix
        Path of the console, with a slash at both ends.
    base_url
        Path under which the hub's proxy answers, with a slash at both ends.
    """

    def __init__(self, token: str, api_url: str, client_id: str, prefix: str, base_url: str = "/") -> None:
        self._token, self._api = token, api_url.rstrip("/")
        self.base_url = base_url
        self._oauth = HubOAuth(
            api_token=token,
            api_url=self._api,
            base_url=prefix,
            hub_prefix=f"{base_url}hub/",
            hub_host="",
            oauth_client_id=client_id,
            oauth_redirect_uri=f"{prefix}oauth_callback",
            cache_max_age=_REMEMBERED_SECONDS,
        )

    @property
    def path(self) -> str:
        """Path of the hub's own pages."""
        return f"{self.base_url}hub/"

    def authorization(self) -> tuple[str, str]:
        """Begin a sign-in: gives the hub's page, without a state, and the verifier to keep until the code comes."""
        url: str = self._oauth.login_url
        verifier, challenge, method = self._oauth.generate_pkce_code_challenge()
        return f"{url}&code_challenge={quote(challenge)}&code_challenge_method={method}", verifier

    def token_for(self, code: str, verifier: str) -> str | None:
        """Exchange a sign-in's code for its user's token; None if the hub does not know it."""
        fields = {
            "client_id": self._oauth.oauth_client_id,
            "client_secret": self._token,
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": self._oauth.oauth_redirect_uri,
        }
        answer = self._send("POST", "oauth2/token", data=fields)
        return str(answer.json()["access_token"]) if answer.ok else None

    def identify(self, token: str, session: str = "") -> Mapping[str, Any] | None:
        """Give the hub's model of a token's owner, with ``scopes``; None if the token is not valid.

        Parameters
        ----------
        session
            The hub's session of the browser, which ends when its user signs out.

        Raises
        ------
        HubNotReady
        """
        try:
            model: Mapping[str, Any] | None = self._oauth.user_for_token(token, session_id=session)
        except HTTPError as error:
            if error.status_code == 403:
                return None
            raise _away(error) from error
        return model

    def ask(self, method: str, path: str, body: object = None, *, token: str | None = None) -> Any:
        """Call the hub's API, as a user or, without a token, as the console.

        Parameters
        ----------
        path
            Below ``/hub/api/``, its parts quoted.

        Raises
        ------
        HubRefused
            In the hub's own words.
        HubNotReady
        """
        return self._call(method, path, body, token, "application/json")

    def pages(self, path: str, limit: int = 200) -> list[Any]:
        """Read a whole list, page by page, as the console."""
        found: list[Any] = []
        while True:
            joint = "&" if "?" in path else "?"
            page = self._call("GET", f"{path}{joint}offset={len(found)}&limit={limit}", None, None, _PAGINATED)
            if isinstance(page, list):
                return page
            found += page["items"]
            if not page["_pagination"].get("next"):
                return found

    def _call(self, method: str, path: str, body: object, token: str | None, accept: str) -> Any:
        headers = {"Authorization": f"token {token or self._token}", "Accept": accept}
        answer = self._send(method, path, data=None if body is None else json.dumps(body), headers=headers)
        if not answer.ok:
            raise HubRefused(_words(answer), answer.status_code, _code(answer))
        return answer.json() if answer.content else None

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            answer = requests.request(method, f"{self._api}/{path}", timeout=_SECONDS, **options)
        except requests.RequestException as error:
            raise _away(error) from error
        if answer.status_code >= 500 and "json" not in answer.headers.get("Content-Type", ""):
            raise HubNotReady(f"The hub answered {answer.status_code}. Try again in a moment.")
        return answer


def _words(answer: requests.Response) -> str:
    """Give the hub's own words for a refusal."""
    try:
        message = answer.json().get("message")
    except (ValueError, AttributeError):
        message = None
    return str(message or f"The hub answered {answer.status_code} {answer.reason}.")[:1000]


def _code(answer: requests.Response) -> str:
    """Give the code of a refusal of ours: in the body, or, of a start, in place of the status in words."""
    try:
        code = answer.json().get("reason")
    except (ValueError, AttributeError):
        code = None
    found = [one for one in (code, answer.reason) if isinstance(one, str) and _CODE.fullmatch(one)]
    return found[0] if found else ""


def quoted(*names: str) -> str:
    """Join names into a path.

    Raises
    ------
    UnknownName
        If one of them would lead elsewhere: nothing has such a name.
    """
    if not {"", ".", ".."}.isdisjoint(names):
        raise UnknownName("Nothing is named so.")
    return "/".join(quote(name, safe="") for name in names)


def _away(error: Exception) -> HubNotReady:
    return HubNotReady(f"The hub does not answer ({type(error).__name__}). Try again in a moment.")
