"""Which groups a user is in, as the hub knows it."""

import contextlib
import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from .deployment import Deployment

Source = Literal["option", "hub", "database", "unknown"]


@dataclass(frozen=True)
class Membership:
    """A user's groups, and who says so.

    Attributes
    ----------
    known
        Whether the source knows the user; groups given as options are not asked about.
    """

    user: str
    groups: frozenset[str]
    source: Source
    known: bool = True

    @property
    def sentence(self) -> str:
        """Say the groups and where they come from."""
        if self.source == "unknown":
            return "Groups are not known: the hub has not run here yet. Name them with --group."
        if not self.known:
            return f"The hub does not know a user {self.user!r}, so no group counts (from {_SAID[self.source]})."
        names = ", ".join(sorted(self.groups)) or "none"
        return f"Groups of {self.user}: {names} (from {_SAID[self.source]})."


_SAID: dict[Source, str] = {
    "option": "--group",
    "hub": "the hub, which runs",
    "database": "the hub's database",
    "unknown": "nobody",
}


def membership(deployment: Deployment, user: str, given: Iterable[str]) -> Membership:
    """Find a user's groups: as given; else as the running hub says; else as its database does."""
    groups = frozenset(given)
    if groups:
        return Membership(user, groups, "option")
    return _from_hub(deployment, user) or _from_database(deployment, user) or Membership(user, groups, "unknown")


def _from_hub(deployment: Deployment, user: str) -> Membership | None:
    """Ask the hub's API, as the deployment's own service; None without a token or an answer."""
    token = deployment.settings.api_token
    if token is None:
        return None
    request = urllib.request.Request(  # noqa: S310  our own address, http
        f"{deployment.local_url}/hub/api/users/{quote(user, safe='')}",
        headers={"Authorization": f"token {token.get_secret_value()}"},
    )
    # No proxy of the environment: this is about this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            return Membership(user, frozenset(map(str, json.load(answer)["groups"])), "hub")
    except urllib.error.HTTPError as error:
        error.close()
        # Another program on the port may say so, too; a hub says why in JSON, and which version it is.
        missing = error.code == 404 and "X-JupyterHub-Version" in error.headers
        return Membership(user, frozenset(), "hub", known=False) if missing else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _from_database(deployment: Deployment, user: str) -> Membership | None:
    """Read JupyterHub's own database, without a chance to change it."""
    path = deployment.state.path / "jupyterhub.sqlite"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as database:
            known = database.execute("SELECT id FROM users WHERE name = ?", [user]).fetchone()
            rows = database.execute(
                "SELECT groups.name FROM groups JOIN user_group_map ON groups.id = user_group_map.group_id "
                "JOIN users ON users.id = user_group_map.user_id WHERE users.name = ?",
                [user],
            ).fetchall()
    except sqlite3.Error:
        return None
    return Membership(user, frozenset(name for (name,) in rows), "database", known=known is not None)
