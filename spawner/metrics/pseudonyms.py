"""Users' names in metrics: as they are, or each replaced by a keyed hash."""

import hashlib
import hmac
from dataclasses import dataclass, field

_DIGITS = 16


@dataclass(frozen=True)
class Pseudonyms:
    """What stands for users in metrics; the same in all processes that have the same key.

    Parameters
    ----------
    key
        Without one, names stay.
    """

    key: bytes | None = field(default=None, repr=False)

    def of(self, user: str) -> str:
        """Give what stands for a user: with a key, ``u-`` and 64 bits of an HMAC-SHA256; for no user, nothing."""
        if self.key is None or not user:
            return user
        return f"u-{hmac.new(self.key, user.encode('utf-8', 'surrogatepass'), hashlib.sha256).hexdigest()[:_DIGITS]}"
