"""Links that hold a secret: into a course, until they end or as many have come as they are for; to one's calendar."""

from dataclasses import dataclass
from datetime import datetime

from .classes import Role
from .model import Deny


@dataclass(frozen=True, slots=True)
class JoinLink:
    """A link into a course.

    Attributes
    ----------
    token
        What nobody guesses; the link ends with it.
    role
        What whoever follows it becomes: a student, or an assistant.
    cap, used
        How many it is for, None for any number; and how many have followed it.
    """

    token: str
    course: str
    role: Role
    created_by: str
    created_at: datetime
    expires_at: datetime
    cap: int | None = None
    used: int = 0
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Feed:
    """Somebody's calendar, as programs read it.

    Attributes
    ----------
    id
        Part of its address, which ends with it; the rest is a secret of the console's.
    """

    user: str
    id: str
    made_at: datetime


def check_link(link: JoinLink, now: datetime) -> Deny | None:
    """Find why a link lets nobody in any more: ``link_ended`` or ``link_full``."""
    if link.revoked_at is not None:
        return Deny("link_ended", "This link has been withdrawn. Ask whoever gave it to you for another.")
    if now >= link.expires_at:
        return Deny(
            "link_ended",
            f"This link ended at {link.expires_at:%Y-%m-%d %H:%M} UTC. Ask whoever gave it to you for another.",
        )
    if link.cap is not None and link.used >= link.cap:
        return Deny("link_full", f"As many have joined by this link as it is for: {link.cap}.")
    return None
