"""The certificate authorities that the hub trusts when it speaks to the sign-in provider."""

import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from ..errors import SignInMisconfigured

# Where distributions keep all authorities in one file: Debian and Ubuntu, Fedora and its kin, Alpine and OpenSUSE.
_SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def trust_bundle(certificates: Sequence[Path], target: Path) -> Path | None:
    """Write the system's certificate authorities and further ones to one file.

    Parameters
    ----------
    certificates
        PEM files.
    target
        File to write; nothing secret goes into it.

    Returns
    -------
    Path or None
        `target`, or None if there are no further ones: then the system's do.

    Raises
    ------
    SignInMisconfigured
        If a file cannot be read or holds no certificate.
    """
    if not certificates:
        return None
    parts = []
    for path in certificates:
        try:
            text = path.read_text(encoding="utf-8")
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
        except (OSError, ValueError) as error:
            raise SignInMisconfigured(
                f"certificates: expected PEM certificates in {path}: {getattr(error, 'strerror', None) or error}."
            ) from None
        parts.append(text)
    parts.extend(path.read_text(encoding="utf-8") for path in _system_files()[:1])
    target.write_text("\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")
    return target


def _system_files() -> list[Path]:
    named = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    return [path for path in map(Path, filter(None, (named, *_SYSTEM))) if path.is_file()]
