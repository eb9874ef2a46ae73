"""Who there is: the hub's users, their groups, and when they were last there."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import HubNotReady, HubRefused, UnknownName
from ..policy.model import Person
from .hub import Hub, quoted

_FRESH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Member:
    """A user of the hub."""

    name: str
    groups: frozenset[str] = frozenset()
    admin: bool = False
    last_activity: datetime | None = None

    @property
    def person(self) -> Person:
        return Person(self.name, self.groups)


class People:
    """The hub's users as of a moment ago. Thread-safe.

    Ten thousand of them take the hub some seconds to list. So a list that is there is given at once, and renewed behind
    its readers' backs when it is older than `fresh` seconds.
    """

    def __init__(self, hub: Hub, fresh: float = _FRESH_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._hub, self._fresh, self._clock = hub, fresh, clock
        self._lock = threading.Lock()
        self._all: tuple[float, Mapping[str, Member]] | None = None
        self._persons: tuple[Mapping[str, Member], Sequence[Person]] | None = None
        self._single: dict[str, tuple[float, Member]] = {}
        self._renewing = False

    def all(self) -> Mapping[str, Member]:
        """Give all users by name.

        Raises
        ------
        HubNotReady, HubRefused
            If they have never been read.
        """
        kept = self._all
        if kept is None:
            with self._lock:
                return self._all[1] if self._all else self._read()
        if self._clock() - kept[0] > self._fresh and not self._renewing:
            self._renewing = True
            threading.Thread(target=self._renew, daemon=True, name="people").start()
        return kept[1]

    def persons(self) -> Sequence[Person]:
        """Give all users as the policy knows them; the same list as long as nothing new was read.

        Raises
        ------
        HubNotReady, HubRefused
        """
        members, kept = self.all(), self._persons
        if kept is None or kept[0] is not members:
            kept = self._persons = members, [member.person for member in members.values()]
        return kept[1]

    def get(self, name: str) -> Member:
        """Give one user.

        Raises
        ------
        UnknownName
            If the hub knows none of this name.
        HubNotReady
        """
        now = self._clock()
        known = self._single.get(name)
        if known is not None and now - known[0] <= self._fresh:
            return known[1]
        try:
            member = _member(self._hub.ask("GET", quoted("users", name)))
        except HubRefused as error:
            if error.status == 404:
                raise UnknownName(f"The hub has no user {name!r}.") from None
            raise
        with self._lock:
            self._single = {key: kept for key, kept in self._single.items() if now - kept[0] <= self._fresh}
            self._single[name] = now, member
        return member

    def _renew(self) -> None:
        try:
            self._read()
        except (HubNotReady, HubRefused):
            pass  # the old list stays, and the next reader tries again
        finally:
            self._renewing = False

    def _read(self) -> Mapping[str, Member]:
        found = {model["name"]: _member(model) for model in self._hub.pages("users")}
        self._all = self._clock(), found
        return found


def _member(model: Mapping[str, Any]) -> Member:
    last = model.get("last_activity")
    return Member(
        model["name"],
        frozenset(model.get("groups") or ()),
        bool(model.get("admin")),
        datetime.fromisoformat(last) if last else None,
    )
