"""Discovery, against documents as they come and against a real provider."""

import json
import urllib.error
from email.message import Message
from pathlib import Path

import pytest

from spawner.engine.certificates import write_bundle
from spawner.errors import SignInMisconfigured
from spawner.signin import Endpoints, SignIn, discover, endpoints
from spawner.signin.discovery import ProviderUnreachable

from ..support.oidc import Account, Client, make_certificate, oidc_provider
from ..support.ports import free_ports

ISSUER = "https://login.example.org/realms/lab"
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
}
FOUND = Endpoints(f"{ISSUER}/auth", f"{ISSUER}/token", f"{ISSUER}/userinfo", basic_auth=False)


def found(**changes: object) -> Endpoints:
    document = {key: value for key, value in {**DOCUMENT, **changes}.items() if value is not None}
    return discover(ISSUER, fetch=lambda _address: json.dumps(document).encode())


def refusal(**changes: object) -> str:
    with pytest.raises(SignInMisconfigured) as caught:
        found(**changes)
    return str(caught.value)


def test_the_addresses_are_the_documents() -> None:
    assert found() == FOUND


def test_it_is_asked_where_the_standard_says() -> None:
    asked: list[str] = []

    def fetch(address: str) -> bytes:
        asked.append(address)
        return json.dumps(DOCUMENT).encode()

    assert discover(f"{ISSUER}/", fetch=fetch) == FOUND
    assert asked == [f"{ISSUER}/.well-known/openid-configuration"]


def test_the_client_proves_itself_as_the_provider_takes_it() -> None:
    assert found(token_endpoint_auth_methods_supported=["client_secret_basic"]).basic_auth
    assert found(token_endpoint_auth_methods_supported=None).basic_auth
    assert not found(token_endpoint_auth_methods_supported=["client_secret_post"]).basic_auth


def test_a_provider_without_userinfo() -> None:
    assert found(userinfo_endpoint=None).userinfo_url is None


def test_another_issuer_is_refused() -> None:
    assert "calls itself 'https://evil.example.org'. Set that as the issuer" in refusal(
        issuer="https://evil.example.org"
    )
    assert "calls itself None" in refusal(issuer=None)


def test_a_missing_or_open_address_is_refused() -> None:
    assert "token_endpoint: expected an address, found None" in refusal(token_endpoint=None)
    assert "token_endpoint: expected an address with https://" in refusal(token_endpoint="http://login.example.org/t")
    assert "userinfo_endpoint: expected an address, found 7" in refusal(userinfo_endpoint=7)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b"\xff"])
def test_something_else_is_refused(body: bytes) -> None:
    with pytest.raises(SignInMisconfigured, match="expected a discovery document at"):
        discover(ISSUER, fetch=lambda _address: body)


def _http_error(code: int, reason: str) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("https://a.org", code, reason, Message(), None)


def failing(error: Exception) -> None:
    def fetch(_address: str) -> bytes:
        raise error

    discover(ISSUER, fetch=fetch)


def test_an_error_of_the_provider_is_told() -> None:
    with pytest.raises(SignInMisconfigured, match="answered 404 Not Found") as caught:
        failing(_http_error(404, "Not Found"))
    assert not isinstance(caught.value, ProviderUnreachable)
    with pytest.raises(ProviderUnreachable, match="answered 503 Down"):
        failing(_http_error(503, "Down"))


def test_no_answer_is_told() -> None:
    issuer = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(ProviderUnreachable, match=r"cannot be reached from this machine: .*Connection refused"):
        discover(issuer)


def settings(**options: object) -> SignIn:
    return SignIn.model_validate({"method": "oidc", "client_id": "berth", "allow_all": True, **options})


def test_methods_with_known_addresses_ask_nobody() -> None:
    assert endpoints(SignIn()) is None
    explicit = {"authorize_url": "https://a.org/a", "token_url": "https://a.org/t", "userinfo_url": "https://a.org/u"}
    assert endpoints(settings(**explicit)) == Endpoints("https://a.org/a", "https://a.org/t", "https://a.org/u")


def test_what_the_provider_said_is_remembered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = tmp_path / "provider.json"
    sign_in = settings(issuer=ISSUER)
    assert endpoints(sign_in, memory=memory, fetch=lambda _address: json.dumps(DOCUMENT).encode()) == FOUND

    def down(_address: str) -> bytes:
        raise OSError("network is unreachable")

    assert endpoints(sign_in, memory=memory, fetch=down) == FOUND
    assert "Going on with what it said the last time" in caplog.text
    # Another provider's addresses are no help, nor is a wrong answer.
    with pytest.raises(ProviderUnreachable):
        endpoints(settings(issuer="https://other.example.org"), memory=memory, fetch=down)
    with pytest.raises(SignInMisconfigured):
        endpoints(sign_in, memory=memory, fetch=lambda _address: b"<html>")
    memory.write_text("{")
    with pytest.raises(ProviderUnreachable):
        endpoints(sign_in, memory=memory, fetch=down)


def test_a_real_provider(tmp_path: Path) -> None:
    client = Client(["http://127.0.0.1:1/hub/oauth_callback"])
    with oidc_provider(tmp_path, client, {"alice": Account("alice's", {})}) as issuer:
        assert discover(issuer) == Endpoints(f"{issuer}/auth", f"{issuer}/token", f"{issuer}/me", basic_auth=False)
        with pytest.raises(SignInMisconfigured, match="answered 404"):
            discover(f"{issuer}/realms/wrong")


def test_a_provider_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    tls = make_certificate(tmp_path)
    with oidc_provider(tmp_path, Client(["http://127.0.0.1:1/hub/oauth_callback"]), {}, tls=tls) as issuer:
        with pytest.raises(ProviderUnreachable, match=r"certificate verify failed.*name that in `certificates`"):
            discover(issuer)
        bundle = write_bundle([tls.certificate], tmp_path / "ca.pem")
        assert discover(issuer, ca_bundle=bundle).token_url == f"{issuer}/token"
