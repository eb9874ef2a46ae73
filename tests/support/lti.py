"""A learning platform for tests: keys that it serves, launches that it signs, and a browser that carries them."""

import contextlib
import http.server
import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from .oidc import Certificate

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
ROLE = "http://purl.imsglobal.org/vocab/lis/v2/membership"
LEARNER, INSTRUCTOR = f"{ROLE}#Learner", f"{ROLE}#Instructor"
ASSISTANT = f"{ROLE}/Instructor#TeachingAssistant"


def new_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Platform:
    """A platform; `served` says how often its keys were fetched.

    Attributes
    ----------
    issuer
        Its address.
    """

    issuer: str
    client_id: str = "berth-at-the-platform"
    key: RSAPrivateKey = field(default_factory=new_key, repr=False)
    kid: str = "first"
    served: int = 0

    @property
    def settings(self) -> dict[str, object]:
        """What ``sign_in`` holds for it."""
        return {
            "method": "lti",
            "issuer": self.issuer,
            "authorize_url": f"{self.issuer}/authorize",
            "jwks_url": f"{self.issuer}/keys",
            "client_id": self.client_id,
            "username_claim": "email",
            "provider_name": "Example Moodle",
        }

    def keys(self) -> bytes:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return json.dumps({"keys": [public | {"kid": self.kid, "alg": "RS256", "use": "sig"}]}).encode()

    def claims(
        self, user: str, *roles: str, course: str = "", context: str = "", nonce: str = "", **more: Any
    ) -> dict[str, Any]:
        """Say what a launch does; `more` replaces claims, and takes out those that are None."""
        now = int(time.time())
        said = {
            "iss": self.issuer,
            "aud": self.client_id,
            "sub": uuid.uuid4().hex,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "email": user,
            f"{CLAIM}message_type": "LtiResourceLinkRequest",
            f"{CLAIM}version": "1.3.0",
            f"{CLAIM}deployment_id": "1",
            f"{CLAIM}target_link_uri": "https://berth.example.org",
            f"{CLAIM}resource_link": {"id": "17"},
            f"{CLAIM}roles": list(roles),
            f"{CLAIM}custom": {"berth_course": course} if course else {},
            f"{CLAIM}context": {"id": context} if context else None,
        } | more
        return {name: value for name, value in said.items() if value is not None}

    def sign(self, claims: dict[str, Any], key: RSAPrivateKey | None = None, kid: str = "") -> str:
        return jwt.encode(claims, key or self.key, "RS256", headers={"kid": kid or self.kid})


@contextlib.contextmanager
def platform(tls: Certificate | None = None) -> Iterator[Platform]:
    """Run a platform, which serves its keys."""

    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.served += 1
            self.send_response(200 if self.path == "/keys" else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(made.keys())

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    made = Platform(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Visitor:
    """Somebody's browser, on the way from the platform to a hub."""

    platform: Platform
    hub: str
    browser: requests.Session = field(default_factory=requests.Session)
    state: str = ""
    nonce: str = ""

    def begin(self, **more: str) -> requests.Response:
        """Follow the link: the platform tells the hub, which sends the browser back there."""
        said = {
            "iss": self.platform.issuer,
            "login_hint": "3",
            "target_link_uri": self.hub,
            "client_id": self.platform.client_id,
        } | more
        answer = self.browser.post(f"{self.hub}/hub/lti13/oauth_login", said, allow_redirects=False, timeout=30)
        asked = {name: value[0] for name, value in parse_qs(urlsplit(answer.headers.get("Location", "")).query).items()}
        self.state, self.nonce = asked.get("state", ""), asked.get("nonce", "")
        return answer

    def come(self, token: str) -> requests.Response:
        """Bring a launch to the hub."""
        said = {"id_token": token, "state": self.state}
        return self.browser.post(f"{self.hub}/hub/lti13/oauth_callback", said, allow_redirects=False, timeout=30)

    def launch(self, user: str, *roles: str, **more: Any) -> requests.Response:
        """Do all of it."""
        self.begin()
        return self.come(self.platform.sign(self.platform.claims(user, *roles, nonce=self.nonce, **more)))
