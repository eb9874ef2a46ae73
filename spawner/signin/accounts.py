"""Accounts with passwords of the hub's own: NativeAuthenticator, with a login that works and two doors closed.

- Stock 1.3.0, signing in fails on JupyterHub 6: its handler uses the hub's statsd client, which
  jupyterhub#5407 removed. Here the hub's own handler does the work and shows NativeAuthenticator's page.
- Stock, the first to sign up under an admin's name becomes that admin. Here admins have their accounts when the
  hub starts, with a generated password that they change.
- Stock, an admin who follows a link to ``/hub/authorize/NAME``, from any page or mail, lets that user in. Here
  these addresses work from the hub's own pages only.
"""

# mypy: allow-subclassing-any

from pathlib import Path
from typing import Any

import bcrypt
import nativeauthenticator
from jupyterhub.handlers.login import LoginHandler
from nativeauthenticator import NativeAuthenticator
from nativeauthenticator import handlers as native
from nativeauthenticator.orm import UserInfo
from tornado import web
from traitlets import Unicode


def template_path() -> str:
    """Directory of NativeAuthenticator's pages.

    It registers the directory itself, but behind the hub's, so that the links in its ``page.html`` (change
    password, authorize users) never show. A ``page.html`` of ours must have them too.
    """
    return str(Path(nativeauthenticator.__file__).parent / "templates")


class _FromOurPages:
    """Refuses what a browser sends on behalf of another site: these addresses act on a mere GET."""

    request: Any
    hub: Any

    def prepare(self) -> Any:
        site = self.request.headers.get("Sec-Fetch-Site")
        if site is not None:
            ours = site == "same-origin"
        else:  # over plain http, browsers say it to no host but localhost
            referer = self.request.headers.get("Referer", "")
            ours = referer.startswith(f"{self.request.protocol}://{self.request.host}/")
        if not ours:
            raise web.HTTPError(403, "Let people in from the hub's own page: Authorize Users.")
        return super().prepare()  # type: ignore[misc]


class _Toggle(_FromOurPages, native.ToggleAuthorizationHandler):
    pass


class _Discard(_FromOurPages, native.DiscardHandler):
    pass


class _Login(LoginHandler, native.LocalBase):
    def render_template(self, name: str, **values: Any) -> Any:
        if name == "login.html":
            name = "native-login.html"
            values |= {"enable_signup": self.authenticator.enable_signup, "two_factor_auth": False}
            if values.get("login_error") and self._awaits_approval():
                values["login_error"] = "Your account waits for an administrator's approval."
        return super().render_template(name, **values)

    def _awaits_approval(self) -> bool:
        account = self.authenticator.get_user(self.get_argument("username", default=""))
        if account is None or account.is_authorized:
            return False
        # Only to those who know the password; for others there is no such account.
        known: bool = account.is_valid_password(self.get_argument("password", default="", strip=False))
        return known


class AccountsAuthenticator(NativeAuthenticator):
    """NativeAuthenticator whose admins exist from the start."""

    first_admin_password = Unicode(
        config=True, help="Password of admins who have no account yet; they change it after signing in."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in sorted(self.admin_users):
            self._make_admin(name)

    def _make_admin(self, name: str) -> None:
        if not self.first_admin_password or self.user_exists(name):
            return
        password = bcrypt.hashpw(self.first_admin_password.encode(), bcrypt.gensalt())
        self.db.add(UserInfo(username=self.normalize_username(name), password=password, is_authorized=True))
        self.db.commit()
        self.log.info("Made an account for the admin %s, with the generated admin password", name)

    def get_handlers(self, app: Any) -> list[Any]:
        ours = {
            native.LoginHandler: _Login,
            native.ToggleAuthorizationHandler: _Toggle,
            native.DiscardHandler: _Discard,
        }
        return [(path, ours.get(handler, handler)) for path, handler in super().get_handlers(app)]
