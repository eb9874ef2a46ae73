"""Quotas in words, for pages."""

from collections.abc import Callable, Mapping

from ..operations.quota_preview import LeaseEffect, TicketEffect
from ..operations.quota_values import show_value
from ..policy.quota import QuotaGrant, Subject
from .menu import N_

Translate = Callable[[str], str]

DIMENSIONS: Mapping[str, str] = {
    "gpus": N_("GPUs at once"),
    "gpu_hours": N_("GPU-hours"),
    "lease_hours": N_("Longest lease, hours"),
    "priority": N_("Priority"),
    "models": N_("GPU models"),
    "profiles": N_("Profiles"),
    "cpu": N_("CPU cores"),
    "memory": N_("Memory"),
    "shm": N_("Shared memory"),
    "processes": N_("Processes"),
    "open_files": N_("Open files"),
    "home": N_("Home"),
}
"""Titles, in the order of the pages: what is changed most often first."""

HINTS: Mapping[str, str] = {
    "gpus": N_("A whole number; 0 for none."),
    "gpu_hours": N_("Hours of one GPU within the rolling window, or unlimited."),
    "lease_hours": N_("Hours, such as 12 or 0.5."),
    "priority": N_("A whole number; higher goes first, and it may lie below 0."),
    "models": N_("Names with commas between, * for all, or none."),
    "profiles": N_("Names with commas between, * for all, or none."),
    "cpu": N_("Cores, such as 4 or 0.5."),
    "memory": N_("A size such as 16 GiB."),
    "shm": N_("A size such as 2 GiB."),
    "processes": N_("A whole number."),
    "open_files": N_("A whole number."),
    "home": N_("A size such as 200 GiB, or unlimited."),
}

LEASE_EFFECTS: Mapping[LeaseEffect, str] = {
    LeaseEffect.SHORTENED: N_("ends earlier: the GPU-hours do not last"),
    LeaseEffect.TOO_MANY: N_("runs on, but is not extended: more GPUs are held than allowed"),
    LeaseEffect.TOO_LONG: N_("runs on, but is not extended: it lasts longer than a lease may"),
    LeaseEffect.MODEL: N_("runs on, but is not extended: GPUs of this model are not allowed any more"),
    LeaseEffect.PROFILE: N_("runs on, but cannot be started again: the profile is not allowed any more"),
}

TICKET_EFFECTS: Mapping[TicketEffect, str] = {
    TicketEffect.OFFERED: N_("is offered GPUs at once"),
    TicketEffect.WAITS: N_("may have GPUs again, and waits in turn"),
    TicketEffect.BLOCKED: N_("may have none for now"),
    TicketEffect.NEVER: N_("can have none as long as this holds"),
    TicketEffect.PROFILE: N_("waits for a profile that is not allowed any more"),
}


def whose(translate: Translate, subject: Subject, name: str) -> str:
    """Name whose quota it is."""
    if subject is Subject.DEFAULT:
        return translate("everybody (default)")
    kind = translate("group") if subject is Subject.GROUP else translate("user")
    return f"{kind} {name}"


def value_text(dimension: str, value: float | frozenset[str] | None) -> str:
    return "–" if value is None else show_value(dimension, value)


def grant_text(grant: QuotaGrant | None) -> str:
    return value_text(grant.dimension, grant.value) if grant else "–"
