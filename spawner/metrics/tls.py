"""The server's side of TLS."""

import logging
import ssl
import threading
from pathlib import Path

from ..errors import SettingsInvalid

_LOG = logging.getLogger("berth.metrics")


class Tls:
    """A certificate with its key; a renewed one is taken up without a restart.

    Raises
    ------
    SettingsInvalid
        If it cannot be used; says why.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._lock = threading.Lock()
        self._seen = self._looks()
        self._context = self._read()

    @property
    def context(self) -> ssl.SSLContext:
        """What the next connection is secured with."""
        with self._lock:
            looks = self._looks()
            if looks != self._seen:
                self._seen = looks
                try:
                    self._context = self._read()
                except SettingsInvalid as error:
                    _LOG.error("The former certificate stays in use: %s", error)
            return self._context

    def _looks(self) -> list[tuple[int, int] | None]:
        return [_look(path) for path in self._files]

    def _read(self) -> ssl.SSLContext:
        certificate, key = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # Without this OpenSSL asks for a key's password at a terminal, which is not there.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
            raise SettingsInvalid(
                f"metrics: the certificate {certificate} with the key {key} cannot be used ({why}). "
                "Name two PEM files that this user may read, the key without a password."
            ) from None
        return context


def _look(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
