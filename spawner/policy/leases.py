"""Leases, tickets and reservations: values that the policy decides about and the ledger keeps.

All times are aware of their zone (UTC). Amounts of GPU time are integers: milliseconds of one GPU.
"""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from .gpus import SlotKind
from .model import AtEnd

RESERVED = "reserved"
"""Why a lease ends earlier than it was to: a class has its slots then."""


class LeaseState(enum.StrEnum):
    """Where a lease stands; it holds its slots in all states but ``closed``.

    ``offered`` to a ticket, ``pending`` while its server starts, ``active`` while it runs, ``releasing`` until its
    container is confirmed gone, ``closed``.
    """

    OFFERED = "offered"
    PENDING = "pending"
    ACTIVE = "active"
    RELEASING = "releasing"
    CLOSED = "closed"


class TicketState(enum.StrEnum):
    WAITING = "waiting"
    OFFERED = "offered"
    SERVED = "served"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """GPUs for one server.

    Attributes
    ----------
    count
        Slots on as many different GPUs of one node.
    hours
        Length of the lease; None takes the longest that is allowed.
    models
        Models that will do, as the inventory names them; empty means any.
    kinds
        Kinds of slots that will do; empty means any.
    memory
        Least memory of each slot, bytes.
    course
        A course in whose reservations this server has a seat; empty for none.
    ends_at
        When a seat's session ends for it, and with that its lease at the latest; None for servers that are no seats.
        With a course it goes before `hours`, and no quota of its user's stands against it: the course has its own.
    options
        The spawn's ``user_options``, kept for a start by itself, as JSON.
    """

    user: str
    server: str
    profile: str
    count: int
    hours: float | None = None
    models: frozenset[str] = frozenset()
    kinds: frozenset[SlotKind] = frozenset()
    memory: int = 0
    course: str = ""
    groups: frozenset[str] = frozenset()
    at_end: AtEnd = AtEnd.CPU
    options: str = "{}"
    ends_at: datetime | None = None

    @property
    def is_seat(self) -> bool:
        return bool(self.course) and self.ends_at is not None


@dataclass(frozen=True, slots=True)
class Lease:
    """A user's right to slots, for a time.

    Attributes
    ----------
    slots
        Ids of the slots.
    granted_at
        When the slots became this lease's.
    started_at
        The engine's time at which its container started; None until its server was ready. Time is booked from here.
    ends_at
        When its slots go back at the latest.
    offered_until
        While offered: when the offer lapses.
    changed_at
        Last change of state or container, to tell what moved while the engine was being looked at.
    seen_at
        Until when its container surely ran; what is booked where nobody knows when it ended, and never less.
    container
        Id of the container; empty until it is made.
    busy_at
        When one of its server's kernels was last seen at work.
    idle_since
        Since when its GPUs and kernels do nothing, where that is known.
    idle_ms
        Milliseconds of spells of idleness that are over; of a closed lease, of all. `accounting.idle_ms` adds the one
        that goes on.
    problem
        What its server says is wrong with its GPUs; empty if nothing is.
    warning
        What its user is told who takes more of a GPU than their share; empty if they do not.
    warned
        Minutes before the end of which its user was told last; None if not told yet.
    ending
        Why it is being ended: a code such as ``stopped``, ``expired``, ``idle``, ``over_budget``, ``ended_by_admin``,
        `RESERVED`.
    """

    id: str
    user: str
    server: str
    profile: str
    state: LeaseState
    slots: tuple[str, ...]
    granted_at: datetime
    ends_at: datetime
    changed_at: datetime
    groups: frozenset[str] = frozenset()
    course: str = ""
    at_end: AtEnd = AtEnd.CPU
    started_at: datetime | None = None
    closed_at: datetime | None = None
    offered_until: datetime | None = None
    seen_at: datetime | None = None
    container: str = ""
    ticket: str = ""
    busy_at: datetime | None = None
    idle_since: datetime | None = None
    idle_ms: int = 0
    problem: str = ""
    warning: str = ""
    warned: int | None = None
    ending: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A place in the queue. One per server.

    Attributes
    ----------
    priority
        The user's, when it was drawn.
    moved_up
        How often an admin put it in front; goes before everything else.
    starts_itself
        Whether the server is started when the offer comes, without its user.
    lease
        Id of the offered lease.
    """

    id: str
    request: GpuRequest
    state: TicketState
    arrived_at: datetime
    priority: int = 0
    moved_up: int = 0
    starts_itself: bool = True
    lease: str = ""

    @property
    def user(self) -> str:
        return self.request.user


@dataclass(frozen=True, slots=True)
class Reservation:
    """Slots that a course holds from `starts_at` to `ends_at`, named, so that it is certain which."""

    id: str
    course: str
    slots: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a closed lease used of one slot; never changed once written.

    Attributes
    ----------
    gpu_ms
        Milliseconds times one slot: `ended_at` less `started_at`.
    idle_ms
        Of these, how many it was found idle.
    """

    lease: str
    user: str
    groups: frozenset[str]
    course: str
    slot: str
    model: str
    started_at: datetime
    ended_at: datetime
    gpu_ms: int
    idle_ms: int = 0


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """The deployment's rules about time.

    Attributes
    ----------
    window
        Rolling window of the GPU-hours budget.
    half_life
        After which a GPU-hour counts half in fair share (as Slurm's PriorityDecayHalfLife).
    patience
        After which a ticket goes before all younger ones, whatever their priority and share.
    offer
        How long an offer is held.
    shortest
        No lease is shorter, whatever is reserved.
    turnover
        From the end of a lease until its slots are surely free again, in plans.
    notice
        What is left at the least of a lease that makes room for a class: who has it is told in time.
    depth
        How many tickets that cannot be served yet get a promise that nobody passes (Slurm's bf_max_job_test).
    """

    window: timedelta = timedelta(days=7)
    half_life: timedelta = timedelta(days=7)
    patience: timedelta = timedelta(hours=24)
    offer: timedelta = timedelta(minutes=5)
    shortest: timedelta = timedelta(minutes=10)
    turnover: timedelta = timedelta(minutes=2)
    notice: timedelta = timedelta(minutes=10)
    depth: int = 8


@dataclass(frozen=True, slots=True)
class Allot:
    """Slots that may be leased now.

    Attributes
    ----------
    note
        How it differs from what was asked for, for the user; empty if it does not.
    """

    slots: tuple[str, ...]
    until: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is free for this request now, but something will be.

    Attributes
    ----------
    position
        Place in the queue, 1 for the next.
    """

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Spent:
    """A user's budget of GPU time.

    Attributes
    ----------
    used_ms
        Within the window that ends now, running leases included.
    committed_ms
        What running leases may still use, until their ends.
    gpus_held
        Slots that the user holds.
    past
        The intervals within the window, start, end and slots, of running leases up to their ends, to tell when
        something is free again.
    """

    used_ms: int = 0
    committed_ms: int = 0
    gpus_held: int = 0
    past: tuple[tuple[datetime, datetime, int], ...] = ()
