"""The values that the policy decides about."""

import enum
from dataclasses import dataclass, field, fields
from datetime import timedelta

from .gpus import SlotKind


class IfBusy(enum.StrEnum):
    """What a user wants where the GPUs asked for are not free."""

    QUEUE = "queue"
    CPU = "cpu"
    REFUSE = "refuse"


class AtEnd(enum.StrEnum):
    """What becomes of a server when its lease ends: started again without GPUs, or stopped."""

    CPU = "cpu"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server gets, or may get at most.

    Attributes
    ----------
    cpu
        Cores, as a share of time on any of them.
    memory
        Bytes of memory. Swap adds nothing to it.
    processes
        Processes and threads.
    shm
        Bytes of /dev/shm, counted in the memory too.
    open_files
        Open files per process.
    gpus
        GPUs at once.
    """

    cpu: float
    memory: int
    processes: int
    shm: int
    open_files: int
    gpus: int


@dataclass(frozen=True, slots=True)
class LimitRule:
    """Limits as far as a rule speaks of them; None says nothing. Units as in `Limits`."""

    cpu: float | None = None
    memory: int | None = None
    processes: int | None = None
    shm: int | None = None
    open_files: int | None = None
    gpus: int | None = None


DIMENSIONS: tuple[str, ...] = tuple(dimension.name for dimension in fields(Limits))


@dataclass(frozen=True, slots=True)
class LimitRules:
    """The limits of everyone, of groups and of single users."""

    default: Limits
    groups: dict[str, LimitRule] = field(default_factory=dict)
    users: dict[str, LimitRule] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of server that users choose by name.

    Attributes
    ----------
    slug
        Name in the API, lowercase letters, digits and hyphens.
    size
        What a server of this profile gets; where it says nothing, the user's own limit holds.
    image
        Image to run, empty for the deployment's default.
    users, groups
        Who may use it; both empty means everyone.
    gpu_models, gpu_kinds, gpu_memory
        GPUs that will do; empty means every one. Memory in bytes.
    idle
        How long its GPUs may be unused; None for the deployment's rule, zero for ever.
    """

    slug: str
    name: str
    description: str
    size: LimitRule
    image: str = ""
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    gpu_models: frozenset[str] = frozenset()
    gpu_kinds: frozenset[SlotKind] = frozenset()
    gpu_memory: int = 0
    idle: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """A user as the policy sees them."""

    name: str
    groups: frozenset[str] = frozenset()
    admin: bool = False


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """What a user asks for, parsed.

    Attributes
    ----------
    profile
        Slug of a profile.
    gpus
        Number of GPUs; None takes the profile's.
    hours
        Length of the lease in hours; None takes the longest that is allowed.
    if_busy
        What to do where not enough GPUs are free.
    at_end
        What becomes of the server when its lease ends; None takes the deployment's rule.
    clean
        Whether it starts without what its user has installed into the home with pip, and with an empty workspace.
    """

    profile: str
    gpus: int | None = None
    hours: float | None = None
    if_busy: IfBusy = IfBusy.QUEUE
    at_end: AtEnd | None = None
    clean: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """A server that may be started.

    Attributes
    ----------
    note
        What differs from what was asked for, for the user; empty if nothing does.
    """

    profile: Profile
    limits: Limits
    note: str = ""


@dataclass(frozen=True, slots=True)
class Deny:
    """A refusal: a machine-readable code, and a reason that a person can read and act on."""

    code: str
    reason: str
