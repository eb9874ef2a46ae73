"""What a container engine says exists, as values: one side of the reconciliation."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ObservedContainer:
    """A user's container as it was seen. All times are the engine's own, UTC-aware.

    Attributes
    ----------
    server
        Name of the server, ``""`` for the default one.
    lease
        Id of the lease that its label names; empty without GPUs.
    slots
        Ids of the slots that its label names.
    created_at
        To the second for a container without a lease.
    started_at, finished_at
        Of its last run; None where it never ran, or runs, or was not asked for (containers without a lease).
    exit_code
        Of the last run; None while it runs, before it ever ran, and where it was not asked for.
    """

    id: str
    name: str
    user: str
    server: str
    lease: str = ""
    slots: tuple[str, ...] = ()
    running: bool = False
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    out_of_memory: bool = False
