"""What the API says of leases and places in the queue. No I/O."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from ..operations.holdings import Holding, Holdings
from ..operations.offers import Place
from ..policy.ends import Notice, idle_limit, notices
from ..policy.leases import Lease, LeaseState
from ..policy.model import Deny, Profile
from ..settings import LeaseSettings
from .words import isolation_words, models_words


def lease_view(holding: Holding, longest: datetime | Deny, now: datetime) -> dict[str, Any]:
    """Describe a lease.

    Parameters
    ----------
    longest
        How long it could last, or why no longer (`spawner.operations.leases.can_extend`).
    """
    lease, slots = holding.lease, holding.slots
    first = slots[0] if slots else None
    return {
        "id": lease.id,
        "gpus": len(lease.slots),
        "model": models_words(slots),
        "isolation": str(first.isolation) if first else "",
        "isolation_text": isolation_words(first.kind, first.isolation) if first else "",
        "simulated": any(slot.simulated for slot in slots),
        "state": str(lease.state),
        "ends_at": lease.ends_at.isoformat(),
        "left_seconds": max(0, int((lease.ends_at - now).total_seconds())),
        "can_extend": not isinstance(longest, Deny),
        "extend_reason": longest.reason if isinstance(longest, Deny) else "",
        "at_end": str(lease.at_end),
    }


def notices_of(lease: Lease, profiles: Iterable[Profile], settings: LeaseSettings, now: datetime) -> list[Notice]:
    """List what a lease's user should know now."""
    profile = next((profile for profile in profiles if profile.slug == lease.profile), None)
    idle = idle_limit(
        profile.idle if profile else None,
        lease.groups,
        {group: timedelta(minutes=minutes) for group, minutes in settings.idle_groups.items()},
        timedelta(minutes=settings.idle_minutes),
    )
    return notices(lease, settings.warn_minutes, idle, timedelta(minutes=settings.idle_warn_minutes), now)


def notice_view(notice: Notice) -> dict[str, Any]:
    return {
        "id": notice.id,
        "level": notice.level,
        "text": notice.text,
        "at": notice.at.isoformat(),
        "actions": list(notice.actions),
    }


def poll_seconds(lease: Lease | None, settings: LeaseSettings, now: datetime) -> int:
    """Say when to ask again: often where something is about to happen, seldom where nothing is."""
    if lease is None:
        return 300
    left = lease.ends_at - now
    if lease.state is LeaseState.RELEASING or left <= timedelta(minutes=min(settings.warn_minutes, default=2)):
        return 5
    if left <= timedelta(minutes=max(settings.warn_minutes, default=30)):
        return 15
    return 60


def place_view(place: Place) -> dict[str, Any]:
    """Describe a place in the queue; `eta` is null where nobody can tell."""
    request = place.ticket.request
    return {
        "state": "waiting" if place.offered is None else "offered",
        "position": place.position,
        "waiting": place.waiting,
        "eta": None if place.eta is None else place.eta.isoformat(),
        "since": place.ticket.arrived_at.isoformat(),
        "blocked": place.blocked,
        "gpus": request.count,
        "profile": request.profile,
    }


def quota_view(held: Holdings) -> dict[str, Any]:
    """Describe a quota and what is left of it; hours are null where there is no bound."""
    return {
        "gpus": held.at_once,
        "held": held.held,
        "budget_hours": held.budget_hours,
        "left_hours": held.left_hours,
        "window_days": held.window_days,
    }
