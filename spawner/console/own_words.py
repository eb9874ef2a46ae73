"""Words for what people see of their servers, leases and quota; translated where they are shown."""

from collections.abc import Mapping

from ..policy.gpus import Isolation, SlotKind
from ..policy.leases import LeaseState
from .menu import N_
from .own import ServerState

# Words, and how the tag looks.
SERVER_STATES: Mapping[ServerState, tuple[str, str]] = {
    ServerState.RUNNING: (N_("Running"), "good"),
    ServerState.STARTING: (N_("Starting"), "info"),
    ServerState.STOPPING: (N_("Stopping"), "info"),
    ServerState.STOPPED: (N_("Not running"), ""),
    ServerState.WAITING: (N_("Waiting in the queue"), "warn"),
    ServerState.OFFERED: (N_("Its turn"), "warn"),
}

LEASE_STATES: Mapping[LeaseState, tuple[str, str]] = {
    LeaseState.OFFERED: (N_("On offer"), "warn"),
    LeaseState.PENDING: (N_("Server starting"), "info"),
    LeaseState.ACTIVE: (N_("Running"), "good"),
    LeaseState.RELEASING: (N_("Being given back"), "info"),
    LeaseState.CLOSED: (N_("Over"), ""),
}

# Why a lease ended; another code is shown as it stands.
ENDINGS: Mapping[str, str] = {
    "stopped": N_("The server was stopped"),
    "expired": N_("Its time was up"),
    "idle": N_("Its GPUs did nothing"),
    "over_budget": N_("The budget of GPU-hours was used up"),
    "ended_by_admin": N_("An admin ended it"),
    "released": N_("Given back"),
    "reserved": N_("A class had reserved its GPUs"),
    "start_failed": N_("The server did not start"),
    "superseded": N_("Another start took its place"),
    "container_gone": N_("The server ended by itself"),
    "declined": N_("The offer was declined"),
    "offer_lapsed": N_("The offer was not taken in time"),
}

_SHARES: Mapping[Isolation, tuple[str, str]] = {
    Isolation.HARDWARE: (N_("Part of a GPU"), N_("The hardware keeps the parts apart (MIG).")),
    Isolation.KERNEL: (N_("Share of a GPU"), N_("The kernel bounds each holder's GPU memory.")),
    Isolation.MPS: (N_("Share of a GPU"), N_("NVIDIA's MPS bounds each holder's GPU memory.")),
    Isolation.COOPERATIVE: (
        N_("Share of a GPU"),
        N_("Kept by agreement: who takes too much memory is stopped, after a warning."),
    ),
}
_WHOLE = N_("Whole GPU"), N_("Nobody else is on it.")


def slot_words(kind: SlotKind, isolation: Isolation) -> tuple[str, str]:
    """Say what a slot is, and what keeps its holders apart."""
    return _WHOLE if kind is SlotKind.EXCLUSIVE else _SHARES[isolation]


# Of a quota: what it is, and whether it holds for one server or for all of a person's.
DIMENSIONS: Mapping[str, str] = {
    "gpus": N_("GPUs at once"),
    "gpu_hours": N_("GPU-hours"),
    "lease_hours": N_("Longest lease, hours"),
    "models": N_("GPU models"),
    "profiles": N_("Profiles"),
    "priority": N_("Priority in the queue"),
    "cpu": N_("Cores per server"),
    "memory": N_("Memory per server"),
    "processes": N_("Processes per server"),
    "shm": N_("Shared memory (/dev/shm) per server"),
    "open_files": N_("Open files per process"),
    "home": N_("Size of the home"),
}
