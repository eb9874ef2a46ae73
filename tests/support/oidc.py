"""A real OpenID Connect provider (npm's oidc-provider) for tests; the server is ``oidc/server.js``."""

import contextlib
import json
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .npm import npm_ci
from .ports import free_ports
from .processes import process, wait_for_http

DIRECTORY = Path(__file__).parent / "oidc"


@dataclass(frozen=True)
class Account:
    """Someone who can sign in at the provider, under the key it stands with."""

    password: str
    claims: Mapping[str, object]


@dataclass(frozen=True)
class Client:
    """What is registered at the provider."""

    redirect_uris: Sequence[str]
    client_id: str = "berth"
    client_secret: str = field(default="6f0b1c8e94d24d7f9a55e2c1", repr=False)
    # How the client proves itself: client_secret_basic or client_secret_post.
    auth_method: str = "client_secret_basic"


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 that is its own authority, and its key, in PEM."""

    certificate: Path
    key: Path


def make_certificate(directory: Path) -> Certificate:
    made = Certificate(directory / "company.pem", directory / "company.key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", made.key, "-out", made.certificate),
        ],
        check=True,
        capture_output=True,
    )
    return made


@contextlib.contextmanager
def oidc_provider(
    directory: Path,
    client: Client,
    accounts: Mapping[str, Account],
    *,
    port: int | None = None,
    tls: Certificate | None = None,
) -> Iterator[str]:
    """Run a provider that knows one client, with its log in `directory`; gives the issuer's address."""
    modules = npm_ci(DIRECTORY)
    port = port or free_ports(1)[0]
    configuration = {
        "port": port,
        "tls": tls and {"cert": str(tls.certificate), "key": str(tls.key)},
        "clients": [
            {
                "client_id": client.client_id,
                "client_secret": client.client_secret,
                "redirect_uris": list(client.redirect_uris),
                "token_endpoint_auth_method": client.auth_method,
            }
        ],
        "accounts": {
            login: {"password": account.password, "claims": dict(account.claims)} for login, account in accounts.items()
        },
    }
    log = directory / "oidc.log"
    issuer = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    command: list[str | Path] = ["node", modules.parent / "server.js"]
    with process(command, log, env={"OIDC_TEST": json.dumps(configuration)}) as started:
        context = ssl.create_default_context(cafile=str(tls.certificate)) if tls else None
        wait_for_http(f"{issuer}/.well-known/openid-configuration", started, log, context=context)
        yield issuer
