"""The API of classes, for a seat's own server; what it asks is part of its lease's, see `spawner.pages.lease_api`.

======================== ==== =================================================================================
``class/hand``           POST ``{"raised": bool}``: ask for help, or no more; answers with the place in the order.
                              With ``"by": name`` it is a visitor who lowers the hand
``class/deliveries``     POST ``{"items": [{"push", "outcome", "path", "problem"}]}``: what became of sent files
======================== ==== =================================================================================
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from ..operations import class_lab
from ..policy.handouts import Delivery, Outcome
from ..policy.model import Deny
from .asking import BerthHandler, Refusal

_MOST_ITEMS = 500
_MOST_WORDS = 500
_LONGEST_PATH = 1024
_MOST_VISITORS = 50


class HandHandler(BerthHandler):
    async def post(self) -> None:
        spawner = self.asked_spawner("servers")
        raised, by = hand_in(self.body())
        answer = await self.operate(spawner, class_lab.set_hand, spawner.user.name, spawner.name, raised, by)
        if isinstance(answer, Deny):
            raise Refusal.of(answer)
        lesson = await self.operate(spawner, class_lab.lesson, spawner.user.name, spawner.name)
        self.say({"raised": raised, "place": (lesson.place or None) if lesson and raised else None})


class DeliveriesHandler(BerthHandler):
    async def post(self) -> None:
        spawner = self.asked_spawner("servers")
        items = deliveries_in(self.body(), spawner.user.name, spawner.desk.clock() if spawner.desk else None)
        refused = await self.operate(spawner, class_lab.taken, spawner.user.name, spawner.name, items)
        if refused is not None:
            raise Refusal.of(refused)
        self.set_status(204)


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is at a server, by its own word; as in `spawner.operations.class_lab.seen`."""

    present: bool
    active_at: datetime | None
    visitors: tuple[str, ...]

    @classmethod
    def of(cls, body: dict[str, Any], busy: bool, now: datetime | None) -> Self:
        """Read a report."""
        present, visitors = presence_in(body)
        active_at = active_in(body, now)
        return cls(present, now if busy else active_at, visitors)

    async def note(self, handler: BerthHandler, spawner: Any) -> None:
        """Write it down, where the server is a seat."""
        if not spawner.name:
            return
        # A server's word makes entries in the audit: under names that there are, and no others.
        known = [name for name in self.visitors if handler.find_user(name) is not None]
        await handler.operate(
            spawner,
            lambda desk: class_lab.seen(
                desk,
                spawner.user.name,
                spawner.name,
                present=self.present,
                active_at=self.active_at,
                visitors=known,
            ),
        )


# --- what is in a body ------------------------------------------------------------------------------------------------


def hand_in(body: dict[str, Any]) -> tuple[bool, str]:
    """Read whether a hand is to be up, and who says so."""
    raised, by = body.get("raised"), body.get("by", "")
    if not isinstance(raised, bool):
        raise Refusal(400, "raised must be true or false.", "invalid_body")
    if not isinstance(by, str) or not by.isprintable():
        raise Refusal(400, "by must be a name.", "invalid_body")
    return raised, by


def presence_in(body: dict[str, Any]) -> tuple[bool, tuple[str, ...]]:
    """Read whether a server's owner has a page open, and who else is there."""
    present, visitors = body.get("present", False), body.get("visitors", [])
    if not isinstance(present, bool):
        raise Refusal(400, "present must be true or false.", "invalid_body")
    if not isinstance(visitors, list) or not all(isinstance(name, str) for name in visitors):
        raise Refusal(400, "visitors must be a list of names.", "invalid_body")
    return present, tuple(sorted(set(visitors))[:_MOST_VISITORS])


def active_in(body: dict[str, Any], now: datetime | None) -> datetime | None:
    """Read when a server's owner last did something; None if they have not."""
    seconds = body.get("active_seconds")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 0:
        raise Refusal(400, "active_seconds must be a whole number, 0 or more, or null.", "invalid_body")
    return None if now is None else now - timedelta(seconds=min(seconds, 24 * 3600))


def deliveries_in(body: dict[str, Any], user: str, now: datetime | None) -> list[Delivery]:
    """Read what became of sent files."""
    items = body.get("items")
    if not isinstance(items, list) or len(items) > _MOST_ITEMS:
        raise Refusal(400, f"items must be a list of {_MOST_ITEMS} at most.", "invalid_body")
    return [] if now is None else [_delivery(item, user, now) for item in items]


def _delivery(item: object, user: str, now: datetime) -> Delivery:
    if not isinstance(item, dict):
        raise Refusal(400, "Each of items must be an object.", "invalid_body")
    push, path, problem = (item.get(name, "") for name in ("push", "path", "problem"))
    if not isinstance(push, str) or not isinstance(path, str) or not isinstance(problem, str):
        raise Refusal(400, "push, path and problem must be texts.", "invalid_body")
    try:
        outcome = Outcome(str(item.get("outcome")))
    except ValueError:
        known = ", ".join(Outcome)
        raise Refusal(400, f"outcome must be one of {known}.", "invalid_body") from None
    return Delivery(push, user, now, outcome, _plain(path, _LONGEST_PATH), _plain(problem, _MOST_WORDS))


def _plain(text: str, most: int) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])


ROUTES: list[tuple[str, type[BerthHandler]]] = [
    (r"/api/berth/class/hand", HandHandler),
    (r"/api/berth/class/deliveries", DeliveriesHandler),
]
