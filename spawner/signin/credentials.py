"""Reading the client's credentials, and recognising those that were never filled in."""

import re

from ..errors import SignInMisconfigured
from .model import SignIn

# Each of these words gives a placeholder away; the fillers only stand beside them.
_MARKERS = frozenset(
    """
    change changeme clientid clientsecret dummy empty enter example fill fixme goes here insert none null placeholder
    replace replaceme sample tbd todo undefined your yours
    """.split()  # noqa: SIM905  readable as words
)
_SECRET_MARKERS = _MARKERS | {"passwd", "password", "secret", "test", "testing"}
_FILLERS = frozenset(
    """
    a an app application azure azuread berth by client github gitlab google hub id in it jupyterhub key keycloak me my
    new oauth oauth2 oidc openid own password please put real secret string the this token value with
    """.split()  # noqa: SIM905
)
_BRACKETED = re.compile(r"<.*>|\{.*\}|\[.*\]|\$\{?\w+\}?|%\w+%|__\w+__")
# No provider hands out a secret of one character repeated, nor an id of zeros.
_REPEATED = re.compile(r"(.)\1*|[0-]+|(?:xxx+[-_ ]?)+", re.IGNORECASE)


def is_placeholder(value: str, *, secret: bool) -> bool:
    """Tell whether a value was left in place of a real one, such as ``changeme``, ``<secret>`` or ``xxxx``.

    Parameters
    ----------
    value
        Any text.
    secret
        Whether a secret is meant. ``test`` may well be a client's id, but is no secret.
    """
    text = value.strip()
    if not text or _BRACKETED.fullmatch(text) or _REPEATED.fullmatch(text):
        return True
    words = [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]
    markers = _SECRET_MARKERS if secret else _MARKERS
    if not all(word in markers or word in _FILLERS for word in words):
        return False
    return any(word in markers for word in words) or words == ["client", "id"]


def client_credentials(sign_in: SignIn) -> tuple[str, str]:
    """Get the client's id and secret.

    Raises
    ------
    SignInMisconfigured
        If one is missing or a placeholder. The message names the key and never the value.
    """
    return client_id(sign_in), _client_secret(sign_in)


def client_id(sign_in: SignIn) -> str:
    """Get the client's id.

    Raises
    ------
    SignInMisconfigured
        If it is missing or a placeholder.
    """
    found = sign_in.client_id or ""
    if is_placeholder(found, secret=False):
        raise SignInMisconfigured(
            "sign_in.client_id: expected the client id under which this hub is registered at the provider "
            f"(method {sign_in.method}), found {found!r}, a placeholder. Register the hub there and put the id "
            "in its place."
        )
    return found


def _client_secret(sign_in: SignIn) -> str:
    expected = f"expected the client secret that the provider gave for {sign_in.client_id!r} (method {sign_in.method})"
    path = sign_in.client_secret_file
    if path is not None:
        where = f"sign_in.client_secret_file: {path}"
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise SignInMisconfigured(
                f"{where}: {expected}, but the file could not be read: {reason}. Write the secret into it, readable "
                "for the user that the hub runs as."
            ) from None
    elif sign_in.client_secret is not None:
        where = "sign_in.client_secret"
        secret = sign_in.client_secret.get_secret_value().strip()
    else:
        raise SignInMisconfigured(
            f"sign_in.client_secret: {expected}, found none. Set BERTH_SIGN_IN__CLIENT_SECRET, or write it to a file "
            "and name that in sign_in.client_secret_file."
        )
    if is_placeholder(secret, secret=True):
        found = "a placeholder" if secret else "nothing"
        raise SignInMisconfigured(f"{where}: {expected}, found {found}. Copy the secret from the provider.")
    if any(character.isspace() for character in secret):
        raise SignInMisconfigured(f"{where}: {expected}, found several words or lines. Leave only the secret.")
    return secret


class Hidden(str):
    """Text that does not print itself: the hub logs its whole configuration at debug level, by ``repr``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"
