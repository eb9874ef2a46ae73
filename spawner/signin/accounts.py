"""Accounts with passwords of the hub's own: NativeAuthenticator, with two doors closed.

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
from nativeauthenticator import NativeAuthenticator
from nativeauthenticator.handlers import DiscardHandler, ToggleAuthorizationHandler
from nativeauthenticator.orm import UserInfo
from tornado import web
from traitlets import Unicode


def template_path() -> str:
    """Directory of NativeAuthenticator's pages.

    It registers the directory itself, but behind the hub's, so that the links in its ``page.html`` (change
    password, authorize users) never show.
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


class _Toggle(_FromOurPages, ToggleAuthorizationHandler):
    pass


class _Discard(_FromOurPages, DiscardHandler):
    pass


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
        ours = {ToggleAuthorizationHandler: _Toggle, DiscardHandler: _Discard}
        return [(path, ours.get(handler, handler)) for path, handler in super().get_handlers(app)]
