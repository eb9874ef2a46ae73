"""Secrets that were never filled in stop the start; real ones never do, and are never told."""

import base64
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.errors import SignInMisconfigured
from spawner.signin.credentials import Hidden, client_credentials, is_placeholder
from spawner.signin.model import SignIn

SECRET = "b5cd3f7a9e0144f2"

PLACEHOLDERS = [
    "", " ", "changeme", "change-me", "CHANGE_ME", "ChangeMe!", "xxx", "XXXXXXXX", "xxxx-xxxx", "...", "****", "-",
    "<secret>", "<your client secret>", "${CLIENT_SECRET}", "$SECRET", "{{ secret }}", "[secret]", "%SECRET%",
    "your-client-secret", "your_secret_here", "YOUR-OAUTH-CLIENT-SECRET", "my-secret", "secret", "client-secret",
    "clientsecret", "password", "test", "todo", "tbd", "None", "null", "example", "replace-me", "insert secret here",
    "put-the-secret-here", "github-client-secret", "0000000000000000", "00000000-0000-0000-0000-000000000000",
]  # fmt: skip


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_a_placeholder_is_no_secret(value: str) -> None:
    assert is_placeholder(value, secret=True)


@pytest.mark.parametrize("value", ["your-client-id", "<id>", "changeme", "client-id", "xxxx", "example-client-id"])
def test_a_placeholder_is_no_id(value: str) -> None:
    assert is_placeholder(value, secret=False)


@pytest.mark.parametrize(
    "value",
    [
        "berth",
        "jupyterhub",
        "my-app",
        "hub",
        "test",
        "Iv1.8a61f9b3a7aba766",
        "12-ab.apps.example.com",
        "7bbd15e4-46b0-466e-ba31-9e3a2f7254b8",
    ],
)
def test_real_ids_pass(value: str) -> None:
    assert not is_placeholder(value, secret=False)


@given(st.binary(min_size=16, max_size=48).filter(lambda raw: len(set(raw)) > 4))
def test_generated_secrets_pass(raw: bytes) -> None:
    for value in (
        raw.hex(),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        f"gloas-{raw.hex()}",
        f"GOCSPX-{base64.urlsafe_b64encode(raw).decode()[:28]}",
    ):
        assert not is_placeholder(value, secret=True)


@given(st.text(max_size=40))
def test_any_text_is_judged(text: str) -> None:
    assert is_placeholder(text, secret=True) or text.strip()


def settings(**options: object) -> SignIn:
    return SignIn.model_validate({"method": "github", "client_id": "Iv1.8a61f9b3", "allow_all": True, **options})


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_a_placeholder_stops_the_start(value: str) -> None:
    with pytest.raises(SignInMisconfigured) as caught:
        client_credentials(settings(client_secret=value))
    assert str(caught.value) == (
        "sign_in.client_secret: expected the client secret that the provider gave for 'Iv1.8a61f9b3' (method github), "
        f"found {'a placeholder' if value.strip() else 'nothing'}. Copy the secret from the provider."
    )


def test_no_secret_stops_the_start() -> None:
    with pytest.raises(SignInMisconfigured, match=r"found none\. Set BERTH_SIGN_IN__CLIENT_SECRET, or write it"):
        client_credentials(settings())


def test_a_placeholder_for_the_id_stops_the_start() -> None:
    with pytest.raises(SignInMisconfigured, match=r"^sign_in\.client_id: .* found 'your-client-id', a placeholder"):
        client_credentials(settings(client_id="your-client-id", client_secret=SECRET))


def test_two_lines_stop_the_start() -> None:
    with pytest.raises(SignInMisconfigured, match="several words or lines") as caught:
        client_credentials(settings(client_secret=f"{SECRET}\n{SECRET}"))
    assert SECRET not in str(caught.value)


def test_the_secret_from_the_settings() -> None:
    assert client_credentials(settings(client_secret=SECRET)) == ("Iv1.8a61f9b3", SECRET)


def test_the_secret_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    assert client_credentials(settings(client_secret_file=path)) == ("Iv1.8a61f9b3", SECRET)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"changeme\n"])
def test_a_bad_file_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SignInMisconfigured, match=f"sign_in.client_secret_file: {path}: expected the client secret"):
        client_credentials(settings(client_secret_file=path))


def test_a_hidden_text_is_the_text_and_does_not_print_itself() -> None:
    value = secrets.token_hex()
    assert Hidden(value) == value
    assert value not in repr({"client_secret": Hidden(value)})
