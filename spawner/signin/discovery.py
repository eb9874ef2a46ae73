"""The addresses of an OpenID Connect provider, from its discovery document."""

import json
import logging
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import SignInMisconfigured
from .model import SignIn, safe_address

TIMEOUT = 10.0
_PATH = "/.well-known/openid-configuration"
_LIMIT = 1 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider does what.

    Attributes
    ----------
    userinfo_url
        None where the provider has no such address; the claims are then read from the id token.
    basic_auth
        Whether the hub proves itself at `token_url` by an HTTP header; else in the body.
    """

    authorize_url: str
    token_url: str
    userinfo_url: str | None
    basic_auth: bool = False


Fetch = Callable[[str], bytes]


def endpoints(
    sign_in: SignIn, *, ca_bundle: Path | None = None, memory: Path | None = None, fetch: Fetch | None = None
) -> Endpoints | None:
    """Find a provider's addresses, asking the provider if it has to be.

    Parameters
    ----------
    ca_bundle
        Certificate authorities to trust, the usual ones included; None for the system's.
    memory
        File that keeps the last answer. A hub that restarts while the provider does not answer takes it from
        there: nobody can sign in then, but those who are signed in can go on.
    fetch
        Gets the bytes at an address, for tests.

    Returns
    -------
    Endpoints or None
        None for methods whose addresses are known.

    Raises
    ------
    SignInMisconfigured
        As `discover`, where there is nothing in `memory` either.
    """
    if sign_in.method != "oidc":
        return None
    if sign_in.issuer is None:
        if sign_in.authorize_url is None or sign_in.token_url is None:  # the model sees to it
            raise SignInMisconfigured("sign_in.issuer: expected the provider's address.")
        return Endpoints(sign_in.authorize_url, sign_in.token_url, sign_in.userinfo_url)
    try:
        found = discover(sign_in.issuer, ca_bundle=ca_bundle, fetch=fetch)
    except ProviderUnreachable as error:
        remembered = _recall(memory, sign_in.issuer)
        if remembered is None:
            raise
        _log.warning("%s Going on with what it said the last time.", error)
        return remembered
    if memory is not None:
        memory.write_text(json.dumps({"issuer": sign_in.issuer, "endpoints": asdict(found)}), encoding="utf-8")
    return found


class ProviderUnreachable(SignInMisconfigured):
    """The provider does not answer, which may pass."""


def discover(issuer: str, *, ca_bundle: Path | None = None, fetch: Fetch | None = None) -> Endpoints:
    """Read a provider's discovery document (OpenID Connect Discovery 1.0, section 4).

    Raises
    ------
    ProviderUnreachable
        If there is no answer.
    SignInMisconfigured
        If the answer is not this issuer's discovery document, or lacks what the hub needs.
    """
    address = issuer.rstrip("/") + _PATH
    try:
        body = (fetch or _fetcher(ca_bundle))(address)
    except urllib.error.HTTPError as error:
        kind = ProviderUnreachable if error.code >= 500 else SignInMisconfigured
        raise kind(
            f"sign_in.issuer: expected an OpenID Connect provider at {issuer}, but {address} answered "
            f"{error.code} {error.reason}. Compare the address with the provider's documentation."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ProviderUnreachable(
            f"sign_in.issuer: {address} cannot be reached from this machine: {reason}. Check the address and the "
            "network; for a provider with a certificate of your own authority, name that in `certificates`. "
            "The hub speaks to the provider directly, not through a proxy."
        ) from None
    return _parse(issuer, address, body)


def _parse(issuer: str, address: str, body: bytes) -> Endpoints:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, Mapping):
        raise SignInMisconfigured(
            f"sign_in.issuer: expected a discovery document at {address}, found something else than a JSON object. "
            "Compare the address with the provider's documentation."
        )
    named = document.get("issuer")
    # Section 4.3: they must be the same. A slash at the end is the usual slip, and does no harm.
    if not isinstance(named, str) or named.rstrip("/") != issuer.rstrip("/"):
        raise SignInMisconfigured(
            f"sign_in.issuer: the provider at {issuer} calls itself {named!r}. Set that as the issuer, if it is the "
            "provider you mean."
        )

    def endpoint(key: str) -> str:
        value = document.get(key)
        try:
            if not isinstance(value, str):
                raise ValueError("an address")  # noqa: TRY301, TRY004  told below, as the other one
            return safe_address(value)
        except ValueError as error:
            raise SignInMisconfigured(f"sign_in.issuer: {address}: {key}: expected {error}, found {value!r}.") from None

    # What a provider does when it does not say: section 3.
    methods = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return Endpoints(
        endpoint("authorization_endpoint"),
        endpoint("token_endpoint"),
        endpoint("userinfo_endpoint") if "userinfo_endpoint" in document else None,
        basic_auth="client_secret_post" not in methods,
    )


def _recall(memory: Path | None, issuer: str) -> Endpoints | None:
    try:
        kept = json.loads(memory.read_text(encoding="utf-8")) if memory else {}
        return Endpoints(**kept["endpoints"]) if kept.get("issuer") == issuer else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A provider's document stands where it says; following elsewhere could leave https."""

    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


def _fetcher(ca_bundle: Path | None) -> Fetch:
    context = ssl.create_default_context(cafile=str(ca_bundle) if ca_bundle else None)
    # The hub's own requests to the provider use no proxy, so this one must not succeed through one.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect()
    )

    def fetch(address: str) -> bytes:
        request = urllib.request.Request(address, headers={"Accept": "application/json"})  # noqa: S310  safe_address
        with opener.open(request, timeout=TIMEOUT) as response:
            body: bytes = response.read(_LIMIT)
            return body

    return fetch
