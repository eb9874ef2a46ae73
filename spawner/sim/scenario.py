"""The simulated weeks as values: who asks for what and when, what is booked, what breaks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ..policy.accounting import Interval
from ..policy.gpus import Slot, SlotKind
from ..policy.quota import Quota

MONDAY = datetime(2026, 9, 7, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated.

    Attributes
    ----------
    seed
        Of everything that is drawn.
    load
        GPU time asked for, as a part of what there is.
    per_node
        GPUs in one node.
    """

    users: int = 10_000
    gpus: int = 1_000
    days: int = 7
    seed: int = 1
    load: float = 0.9
    per_node: int = 8

    @property
    def starts_at(self) -> datetime:
        return MONDAY

    @property
    def ends_at(self) -> datetime:
        return MONDAY + timedelta(days=self.days)


@dataclass(frozen=True, slots=True)
class Demand:
    """Somebody wants GPUs, and what they would do with them: the same whoever serves them, and when.

    Attributes
    ----------
    group
        Of the user; decides the quota.
    row
        Under which it is reported: the group, or ``courses`` for what students do in class.
    hours
        Length of the lease asked for; None takes the longest.
    work
        For which the GPUs are busy.
    tail
        For which they are held idle afterwards, unless somebody takes them back.
    dodges
        Whether the idle GPUs look busy.
    waits
        After which the user gives up.
    leaves
        Whether the user does not queue at all, but goes on without GPUs.
    takes_after
        From an offer until the user takes it; nothing where the server starts by itself.
    startup, stop_takes
        Of the server.
    crashes_after
        Of running, None for never.
    back_after
        From a server that ended too early until the user asks for the rest of the work.
    attempt
        How often the same work was asked for before.
    ends_at
        When the session ends in which this is a seat; None for what is no seat.
    first
        Whether it goes before all who wait.
    returns
        Whether the user comes back for the rest of a work that was cut off.
    """

    id: int
    at: datetime
    user: str
    group: str
    row: str
    count: int
    memory: int
    work: timedelta
    kinds: frozenset[SlotKind] = frozenset()
    hours: float | None = None
    tail: timedelta = timedelta(0)
    dodges: bool = False
    course: str = ""
    waits: timedelta = timedelta(days=365)
    leaves: bool = False
    takes_after: timedelta = timedelta(0)
    startup: timedelta = timedelta(seconds=30)
    stop_takes: timedelta = timedelta(seconds=10)
    start_fails: bool = False
    crashes_after: timedelta | None = None
    back_after: timedelta = timedelta(minutes=5)
    attempt: int = 0
    ends_at: datetime | None = None
    first: bool = False
    returns: bool = True


@dataclass(frozen=True, slots=True)
class Session:
    """One hour of a course, for which its teacher reserves a slot per student.

    Attributes
    ----------
    booked_at
        When the teacher asks for it.
    """

    id: str
    course: str
    booked_at: datetime
    starts_at: datetime
    ends_at: datetime
    seats: int
    memory: int
    kinds: frozenset[SlotKind] = frozenset()


@dataclass(frozen=True, slots=True)
class Outage:
    """GPUs get no new leases for a time.

    Attributes
    ----------
    kills
        Whether what runs on them ends at once: a node or a GPU has failed. Else an admin drains them.
    """

    starts_at: datetime
    ends_at: datetime
    slots: tuple[str, ...]
    kills: bool


@dataclass(frozen=True)
class Workload:
    """All that comes from outside.

    Attributes
    ----------
    demands
        By time.
    quotas
        By group.
    past
        Booked use of the week before, by user.
    """

    scenario: Scenario
    slots: tuple[Slot, ...]
    quotas: Mapping[str, Quota]
    demands: tuple[Demand, ...]
    sessions: tuple[Session, ...] = ()
    outages: tuple[Outage, ...] = ()
    past: Mapping[str, list[Interval]] = field(default_factory=dict)
