"""What commands print of the ledger's values: the same words in all tables, the same keys in all JSON."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..operations.inventory import Board, SlotUse
from ..operations.quota_values import show_value
from ..policy.gpus import Gpu, SlotKind
from ..policy.leases import Lease, LeaseState, Ticket
from ..policy.quota import QuotaGrant, Subject

Names = Mapping[str, str]
"""Of slots, by id: ``gpu0`` for a whole GPU, ``gpu0:2`` for its second part."""


def slot_names(board: Board) -> dict[str, str]:
    return {
        use.slot.id: gpu.name if use.slot.kind is SlotKind.EXCLUSIVE else f"{gpu.name}:{number}"
        for gpu, uses in board.gpus
        for number, use in enumerate(uses, start=1)
    }


def names_of(lease: Lease, names: Names) -> list[str]:
    """Name a lease's slots; one that the inventory has forgotten keeps its id."""
    return [names.get(slot, slot) for slot in lease.slots]


def minute(moment: datetime | None) -> str:
    """Write a time to the minute, in UTC, which the heading says."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment else ""


def exactly(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None


def plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def whose(server: str) -> str:
    """Name a server; the one without a name is called so."""
    return server or "(default)"


def lease_data(lease: Lease, names: Names) -> dict[str, Any]:
    return {
        "id": lease.id,
        "state": lease.state,
        "user": lease.user,
        "server": lease.server,
        "profile": lease.profile,
        "groups": sorted(lease.groups),
        "course": lease.course,
        "gpus": names_of(lease, names),
        "slots": list(lease.slots),
        "granted_at": exactly(lease.granted_at),
        "started_at": exactly(lease.started_at),
        "ends_at": exactly(lease.ends_at),
        "closed_at": exactly(lease.closed_at),
        "offered_until": exactly(lease.offered_until),
        "idle_since": exactly(lease.idle_since),
        "at_end": lease.at_end,
        "problem": lease.problem,
        "ending": lease.ending,
        "container": lease.container,
    }


def lease_note(lease: Lease) -> str:
    """Say what an admin should know of a lease besides its columns."""
    said = []
    if lease.state is LeaseState.OFFERED:
        said.append(f"offered until {minute(lease.offered_until)}")
    if lease.ending:
        said.append(lease.ending.replace("_", " "))
    if lease.problem:
        said.append(lease.problem)
    if lease.idle_since and lease.state is LeaseState.ACTIVE:
        said.append(f"idle since {minute(lease.idle_since)}")
    return "; ".join(said)


def gpu_data(gpu: Gpu, uses: tuple[SlotUse, ...], names: Names) -> dict[str, Any]:
    return {
        "name": gpu.name,
        "uuid": gpu.uuid,
        "node": gpu.node,
        "index": gpu.index,
        "model": gpu.model,
        "memory": gpu.memory,
        "driver": gpu.driver,
        "compute_capability": gpu.compute_capability,
        "simulated": gpu.simulated,
        "healthy": gpu.healthy,
        "problem": gpu.problem,
        "state": gpu.state,
        "state_since": exactly(gpu.state_since),
        "state_by": gpu.state_by,
        "state_why": gpu.state_why,
        "slots": [_slot_data(use, names) for use in uses],
    }


def _slot_data(use: SlotUse, names: Names) -> dict[str, Any]:
    slot, lease, doubt = use.slot, use.lease, use.quarantine
    return {
        "name": names[slot.id],
        "id": slot.id,
        "kind": slot.kind,
        "memory": slot.memory,
        "isolation": slot.isolation,
        "usable": slot.usable,
        "quarantined_since": exactly(doubt.at) if doubt else None,
        "quarantined_why": doubt.why if doubt else "",
        "lease": lease_data(lease, names) if lease else None,
    }


def ticket_data(ticket: Ticket) -> dict[str, Any]:
    request = ticket.request
    return {
        "ticket": ticket.id,
        "state": ticket.state,
        "user": request.user,
        "server": request.server,
        "profile": request.profile,
        "gpus": request.count,
        "hours": request.hours,
        "models": sorted(request.models),
        "kinds": sorted(request.kinds),
        "memory": request.memory,
        "course": request.course,
        "since": exactly(ticket.arrived_at),
        "priority": ticket.priority,
        "moved_up": ticket.moved_up,
    }


def value_data(value: float | frozenset[str]) -> float | str | list[str]:
    """Give a quota's value as JSON says it: a number (bytes for sizes), ``unlimited``, or a list."""
    if isinstance(value, frozenset):
        return sorted(value)
    return "unlimited" if math.isinf(value) else value


def grant_data(grant: QuotaGrant) -> dict[str, Any]:
    return {
        "subject": grant.subject,
        "name": grant.name,
        "dimension": grant.dimension,
        "value": value_data(grant.value),
        "until": exactly(grant.until),
        "why": grant.why,
        "by": grant.by,
        "at": exactly(grant.at),
    }


def subject_name(grant: QuotaGrant) -> str:
    return "default" if grant.subject is Subject.DEFAULT else f"{grant.subject} {grant.name}"


def grant_words(grant: QuotaGrant | None) -> str:
    """Say a grant's value and end; ``not set`` where there is none."""
    if grant is None:
        return "not set"
    value = show_value(grant.dimension, grant.value)
    return f"{value} until {minute(grant.until)} UTC" if grant.until else value
