"""The console's own scopes, as JupyterHub knows them: who may see and do what.

Every user has `Scope.SELF`; the hub's admins have all; others get them from the hub's roles.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Scope(StrEnum):
    SELF_READ = "custom:berth:read:self"
    SELF = "custom:berth:self"
    READ = "custom:berth:read"
    QUOTAS = "custom:berth:quotas"
    GPUS = "custom:berth:gpus"
    HOMES = "custom:berth:homes"
    TEACH = "custom:berth:teach"


DEFINITIONS: Mapping[Scope, Mapping[str, Any]] = {
    Scope.SELF_READ: {"description": "See one's own servers, GPU leases, quota and use."},
    Scope.SELF: {
        "description": "Extend and give back one's own GPU leases, and leave the queue.",
        "subscopes": [Scope.SELF_READ],
    },
    Scope.READ: {
        "description": "See everybody's GPU leases, quotas, use and homes, and the audit.",
        "subscopes": [Scope.SELF_READ],
    },
    Scope.QUOTAS: {"description": "Set quotas.", "subscopes": [Scope.READ]},
    Scope.GPUS: {
        "description": "Take GPUs out of service and back; end and extend leases, and change the queue.",
        "subscopes": [Scope.READ],
    },
    Scope.HOMES: {"description": "Archive, restore and delete homes.", "subscopes": [Scope.READ]},
    Scope.TEACH: {"description": "Give classes."},
}
"""For ``c.JupyterHub.custom_scopes``."""

# What the console does with a signed-in person's token at the hub: it reads who they are, and starts and stops servers.
AT_HUB = ("read:users!user", "servers!user")

OF_PEOPLE = (Scope.SELF,)
"""What every user of the hub may."""

OF_ADMINS = tuple(Scope)
"""What the hub's admins may."""


def implied(scopes: frozenset[str]) -> frozenset[str]:
    """Add to scopes those that they hold within them."""
    found = set(scopes)
    waiting = [scope for scope in scopes if scope in DEFINITIONS]
    while waiting:
        for scope in DEFINITIONS[Scope(waiting.pop())].get("subscopes", ()):
            if scope not in found:
                found.add(scope)
                waiting.append(scope)
    return frozenset(found)
