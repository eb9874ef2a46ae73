"""Small values for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from spawner.policy.gpus import Gpu, Isolation, Slot, SlotKind
from spawner.policy.leases import GpuRequest, Lease, LeaseState, Ticket, TicketState, UsageRow

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def lease(number: object, *slots: str, **changes: Any) -> Lease:
    values: dict[str, Any] = {
        "id": f"lease{number}",
        "user": f"user{number}",
        "server": "",
        "profile": "gpu",
        "state": LeaseState.PENDING,
        "slots": slots,
        "granted_at": NOW,
        "ends_at": NOW + HOUR,
        "changed_at": NOW,
    }
    return Lease(**{**values, **changes})


def ticket(number: object, **changes: Any) -> Ticket:
    values: dict[str, Any] = {
        "id": f"ticket{number}",
        "request": GpuRequest(f"user{number}", "", "gpu", 1),
        "state": TicketState.WAITING,
        "arrived_at": NOW,
    }
    return Ticket(**{**values, **changes})


def usage(lease_id: str, user: str, start: datetime, end: datetime, slot: str = "a", **changes: Any) -> UsageRow:
    values: dict[str, Any] = {"groups": frozenset(), "course": "", "model": "T4"}
    length = max(0, (end - start) // timedelta(milliseconds=1))
    return UsageRow(
        lease=lease_id, user=user, slot=slot, started_at=start, ended_at=end, gpu_ms=length, **{**values, **changes}
    )


def gpu(number: int, **changes: Any) -> Gpu:
    return Gpu(**{"uuid": f"GPU-{number}", "node": "local", "index": number, "model": "T4", "memory": 1, **changes})


def whole(of: Gpu, **changes: Any) -> Slot:
    """The one slot of an exclusive GPU."""
    values: dict[str, Any] = {
        "id": of.uuid,
        "gpu": of.uuid,
        "node": of.node,
        "kind": SlotKind.EXCLUSIVE,
        "model": of.model,
        "memory": of.memory,
        "isolation": Isolation.HARDWARE,
        "device": of.uuid,
    }
    return Slot(**{**values, **changes})
