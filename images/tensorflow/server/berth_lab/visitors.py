"""Who else than its owner uses a server, by whatever way: every request counts, not only a page that is open."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

_STAYS = 30  # seconds after a request for which who made it is still there
_MOST = 50  # names at once, which is what the hub takes


class Visitors:
    """Who has come, kept until the hub was told, and as long as they are there.

    Parameters
    ----------
    owner
        Whose server it is; is no visitor.
    moved
        Called when somebody comes.
    """

    def __init__(self, owner: str, moved: Callable[[], None]) -> None:
        self._owner, self._moved = owner, moved
        self._asked: dict[str, float] = {}  # by the monotonic clock

    def note(self, person: str) -> None:
        """Note that somebody has asked for something; nobody for a program with a token of its own."""
        if not person or person == self._owner:
            return
        known = person in self._asked
        if known or len(self._asked) < _MOST:
            self._asked[person] = time.monotonic()
        if not known:
            self._moved()

    def names(self) -> set[str]:
        return set(self._asked)

    def told(self, names: list[str]) -> None:
        """Note that the hub knows of these: those who have gone are forgotten."""
        gone = time.monotonic() - _STAYS
        for name in names:
            if self._asked.get(name, gone) < gone:
                del self._asked[name]

    def forget(self) -> None:
        """Forget everybody: nobody wants to know."""
        self._asked.clear()

    def watch(self, provider: Any) -> None:
        """Have Jupyter's identity provider say who makes a request, before that is answered."""
        get_user = provider.get_user

        async def noted(handler: Any) -> Any:
            user = get_user(handler)
            if isinstance(user, Awaitable):
                user = await user
            self.note(person_of(user))
            return user

        provider.get_user = noted


def person_of(user: Any) -> str:
    """Give the name of who makes a request; empty for a program with a token of its own."""
    hub_user = getattr(user, "hub_user", {})
    return str(user.username) if hub_user.get("kind") == "user" else ""
