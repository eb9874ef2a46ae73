"""Extra certificate authorities for users' containers: one bundle, the usual ones included."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import certifi

from ..errors import SettingsInvalid

TARGET = "/etc/berth/ca-bundle.pem"
# Each tool reads another one: OpenSSL and Python, requests, pip, git, curl, Node.
VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
)
_SYSTEM = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))


def write_bundle(extra: Sequence[Path], target: Path, usual: Iterable[Path] = _SYSTEM) -> Path:
    """Write the host's usual authorities and the extra ones into one file, in one step.

    Raises
    ------
    SettingsInvalid
        If a file is missing or holds no certificate.
    """
    parts = [next((path for path in usual if path.is_file()), Path(certifi.where())).read_text()]
    for path in extra:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")  # DER is no text
        except OSError as error:
            raise SettingsInvalid(f"certificates: {path} cannot be read: {error.strerror}.") from None
        if "-----BEGIN CERTIFICATE-----" not in text:
            raise SettingsInvalid(f"certificates: {path} holds no PEM certificate.")
        parts.append(text)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    partial.write_text("\n".join(parts))
    partial.chmod(0o644)  # users' containers read it
    partial.replace(target)
    return target
