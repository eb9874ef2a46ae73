"""Signing in by an LTI 1.3 launch: LTI13Authenticator, with a door closed and the hub's own sentences.

- Users come of checked launches and of nothing else. The hub calls an authenticator from other places than its own
  handlers, too: its form for passwords is there with every one of them.
- Stock, a launch that does not tell a user's name lets them in by their number at the platform instead, which may be
  another user's name. Here it is refused, with what it did tell.
- Stock, the hub stands still while the platform's keys are fetched, which is at each launch. Here a thread does it,
  with our certificate authorities, and keeps the keys for some minutes.
- Cookies that tie a launch to a browser say ``SameSite=None`` over https, for it comes back as another site's form.
- The description for platforms that read one is not served: it asks for rights that nobody uses here.
"""

# mypy: allow-subclassing-any

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import jwt
from jupyterhub.handlers import BaseHandler
from jupyterhub.utils import url_path_join
from ltiauthenticator.lti13.auth import LTI13Authenticator
from ltiauthenticator.lti13.constants import LTI13_CUSTOM_CLAIM
from ltiauthenticator.lti13.error import InvalidAudienceError, TokenError, ValidationError
from ltiauthenticator.lti13.handlers import LTI13CallbackHandler, LTI13LoginInitHandler
from ltiauthenticator.lti13.validator import LTI13LaunchValidator
from tornado.web import HTTPError
from traitlets import Int, Unicode

from .claims import UserNameFrom

TIMEOUT = 10.0
# Below the hub's address; the console's page of a course.
COURSE_PAGE = "services/console/courses"


def _refused(status: int, message: str) -> Exception:
    return HTTPError(status, "%s", message)


class _Validator(LTI13LaunchValidator):
    time_leeway = Int(30, config=True)  # two machines' clocks differ

    def verify_and_decode_jwt(
        self, encoded_jwt: str, issuer: str, audience: Any, keys: jwt.PyJWKClient, jwks_algorithms: list[str]
    ) -> dict[str, Any]:
        try:
            key = keys.get_signing_key_from_jwt(encoded_jwt)
            return jwt.decode(
                encoded_jwt, key.key, jwks_algorithms, audience=audience, issuer=issuer, leeway=self.time_leeway
            )
        except jwt.InvalidAudienceError as error:
            raise InvalidAudienceError(str(error)) from None
        except jwt.PyJWTError as error:
            raise TokenError(str(error)) from None


class _Begin(LTI13LoginInitHandler):
    """A platform says that somebody is coming; they are sent back there to be told who."""

    def post(self) -> None:
        platform = self.authenticator.login_service
        issuer, client = self.get_argument("iss", ""), self.get_argument("client_id", "")
        if not issuer:
            raise _refused(400, f"You come in here from {platform}: follow the link to this hub in your course there.")
        if issuer != self.authenticator.issuer or (client and client not in self.authenticator.client_id):
            raise _refused(
                400,
                f"This hub is not registered at {issuer} as {client or 'a tool'}. Its administrator can compare "
                "sign_in.issuer and sign_in.client_id with what the platform calls itself and the hub.",
            )
        super().post()

    get = post

    def authorize_redirect(self, *, client_id: str | None = None, **more: Any) -> None:
        # Platforms need not say it.
        super().authorize_redirect(client_id=client_id or min(self.authenticator.client_id), **more)

    def get_redirect_uri(self) -> str:
        address: str = self.authenticator.launch_url
        return address

    def _set_oauth_cookie(self, key: str, value: str) -> None:
        cross_site = {}
        if urlsplit(self.authenticator.launch_url).scheme == "https":
            cross_site = {"samesite": "None", "secure": True}
        self._set_cookie(key, value, encrypted=True, expires_days=1, **cross_site)


class LaunchHandler(LTI13CallbackHandler):
    """They come back with a launch.

    Attributes
    ----------
    course
        The course that they are in by it; who signs them in may set it.
    """

    course = ""

    async def post(self) -> None:
        platform = self.authenticator.login_service
        try:
            launch = await asyncio.to_thread(self.decode_and_validate_launch_request)
        except ValidationError as error:
            self.log.warning("Refused a launch: %s", error)
            status = 401 if isinstance(error, InvalidAudienceError) else 400
            raise _refused(
                status, f"What {platform} sent was not accepted: {error}. Follow the link in your course once more."
            ) from None
        user = await self.login_user(launch)
        if user is None:
            raise _refused(
                403,
                f"{platform[:1].upper()}{platform[1:]} knows you, but your account may not use this hub. Ask the hub's "
                "administrator to let you in.",
            )
        self.redirect(self.get_next_url(user))

    def decode_and_validate_launch_request(self) -> dict[str, Any]:
        authenticator, validator = self.authenticator, _Validator(parent=self.app)
        validator.validate_auth_response({name: self.get_argument(name, "") for name in ("id_token", "state")})
        self.check_state()
        launch = validator.verify_and_decode_jwt(
            self.get_argument("id_token"),
            authenticator.issuer,
            authenticator.client_id,
            authenticator.keys,
            authenticator.jwks_algorithms,
        )
        validator.validate_id_token(launch)
        validator.validate_azp_claim(launch, authenticator.client_id)
        self.check_nonce(launch)
        return launch

    def check_state(self) -> None:
        if not self._get_state_cookie():
            raise _refused(
                400,
                "Your browser did not send back what this launch began with. Follow the link in your course once more; "
                "it has to open in a new window or tab, and with cookies.",
            )
        super().check_state()

    def get_next_url(self, user: Any = None) -> str:
        if self.course:
            return str(url_path_join(self.app.base_url, COURSE_PAGE, quote(self.course)))
        asked: str = super().get_next_url(user)
        # Platforms name where launches go, which is no page.
        own = url_path_join(self.hub.base_url, "lti13")
        return str(BaseHandler.get_next_url(self, user)) if asked.startswith(own) else asked


class LaunchAuthenticator(LTI13Authenticator):
    """LTI13Authenticator that believes launches only."""

    login_handler = _Begin
    callback_handler = LaunchHandler

    login_service = Unicode("your learning platform", config=True, help="What the platform is called.")
    launch_url = Unicode(config=True, help="Where platforms send launches: the hub's address at its callback handler.")
    ca_bundle = Unicode(config=True, help="File of the certificate authorities to trust; empty for the system's.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        context = ssl.create_default_context(cafile=self.ca_bundle or None)
        self.keys = jwt.PyJWKClient(self.jwks_endpoint, timeout=TIMEOUT, ssl_context=context)

    def get_handlers(self, app: Any) -> list[Any]:
        return [pair for pair in super().get_handlers(app) if pair[1] is not self.config_handler]

    async def authenticate(self, handler: Any, data: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        if not isinstance(handler, LaunchHandler):
            return None
        return {"name": self.get_username(dict(data or {})), "auth_state": dict(data or {})}

    def get_username(self, token: dict[str, Any]) -> str:
        custom = token.get(LTI13_CUSTOM_CLAIM)
        given = {f"custom_{name}": value for name, value in custom.items()} if isinstance(custom, Mapping) else {}
        return UserNameFrom(self.username_key)(token | given)
