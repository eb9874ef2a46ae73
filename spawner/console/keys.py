"""The console's secrets: what is in its cookies nobody else can read or make."""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken


class Keys:
    """Seals cookies and signs forms, with one key of 32 bytes that outlives the process."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._box = Fernet(base64.urlsafe_b64encode(key))

    def __repr__(self) -> str:
        return "<Keys>"

    def seal(self, value: dict[str, Any]) -> str:
        """Encrypt and sign a value that JSON can say."""
        return self._box.encrypt(json.dumps(value).encode()).decode()

    def open(self, sealed: str, seconds: int) -> dict[str, Any] | None:
        """Read what `seal` wrote; None where it is another's, or older than so many seconds."""
        try:
            found = json.loads(self._box.decrypt(sealed.encode(), ttl=seconds))
        except (InvalidToken, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def form_token(self, token: str) -> str:
        """Give what the forms of a session carry, so that no other site can send them: bound to its hub token."""
        return hmac.new(self._key, b"form:" + token.encode(), hashlib.sha256).hexdigest()[:40]

    def feed_token(self, feed: str) -> str:
        """Give the secret part of a calendar's address, so that the ledger alone opens none."""
        return hmac.new(self._key, b"feed:" + feed.encode(), hashlib.sha256).hexdigest()[:40]
