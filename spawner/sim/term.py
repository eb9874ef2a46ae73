"""A term of courses beside ordinary users on the same GPUs: what is drawn before it begins."""

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..policy.accounting import Interval
from ..policy.gpus import Isolation, Slot, SlotKind
from . import demands, fleet, people
from .fleet import NodeType
from .people import WHOLE
from .scenario import MONDAY, Demand, Scenario, Workload

_GIB = 1 << 30
_HOUR = timedelta(hours=1)
_SHARED = frozenset({SlotKind.SHARED})
_ALONE = 0.2  # of the courses: reserve each session for itself, days or an hour before
_HOURS = (8, 9, 10, 11, 13, 14, 15, 16)
_LENGTHS = (timedelta(minutes=90), timedelta(hours=2), timedelta(hours=3))
# Other weekly hours that a teacher would take, if the first is full.
_ALTERNATIVES = 12

_NODE_TYPES = (
    NodeType("A100-SXM4-40GB", 37, SlotKind.EXCLUSIVE, 40 * _GIB),
    NodeType("H100-SXM5-80GB", 13, SlotKind.EXCLUSIVE, 80 * _GIB),
    NodeType("T4", 25, SlotKind.EXCLUSIVE, 16 * _GIB, islands=2),
    NodeType("T4", 25, SlotKind.SHARED, 4 * _GIB, slots=4, islands=2, isolation=Isolation.MPS),
)


@dataclass(frozen=True, slots=True)
class Term:
    """What is simulated.

    Attributes
    ----------
    load
        GPU time that ordinary users ask for, as a part of what there is.
    most_seats
        Of one course; the least has a quarter of it.
    """

    courses: int = 20
    weeks: int = 14
    gpus: int = 64
    users: int = 640
    seed: int = 1
    load: float = 0.6
    most_seats: int = 40

    @property
    def starts_at(self) -> datetime:
        return MONDAY

    @property
    def scenario(self) -> Scenario:
        return Scenario(self.users, self.gpus, self.weeks * 7, self.seed, self.load)


@dataclass(frozen=True, slots=True)
class Lab:
    """A course that meets once a week.

    Attributes
    ----------
    hours
        Begins within the week, the one that is wanted first.
    booked_at
        When its teacher reserves the whole term.
    ahead
        How long before each session it is reserved instead; None for the whole term at once.
    """

    course: str
    students: tuple[str, ...]
    kinds: frozenset[SlotKind]
    memory: int
    hours: tuple[timedelta, ...]
    length: timedelta
    booked_at: datetime
    ahead: timedelta | None = None


def draw(term: Term) -> tuple[Workload, tuple[Lab, ...]]:
    """Draw what ordinary users ask for, and the courses; the same term always gives the same."""
    scenario, slots = term.scenario, fleet.build(term.gpus, known=_NODE_TYPES)
    return _ordinary(scenario, slots), _labs(term, slots, random.Random(f"{term.seed}/labs"))


def _ordinary(scenario: Scenario, slots: tuple[Slot, ...]) -> Workload:
    members, quotas = people.members(scenario.users), people.quotas()
    part = _least_part(slots)
    wanted: list[Demand] = []
    past: dict[str, list[Interval]] = {}
    for group in people.GROUPS:
        share = scenario.gpus * scenario.days * 24 * scenario.load * group.load / 100
        chance = random.Random(f"{scenario.seed}/demands of {group.name}")
        quota = quotas[group.name]
        own = demands.draw(scenario, group, members[group.name], quota, share, part, chance)
        past |= demands.past(scenario, own, quota, random.Random(f"{scenario.seed}/past of {group.name}"))
        wanted += own
    in_order = sorted(wanted, key=lambda demand: (demand.at, demand.user, demand.count))
    numbered = tuple(replace(demand, id=number) for number, demand in enumerate(in_order))
    return Workload(scenario, slots, quotas, numbered, past=past)


def _least_part(slots: tuple[Slot, ...]) -> float:
    parts = [weight for weight in fleet.weights(slots).values() if weight < 1]
    return sum(parts) / len(parts) if parts else 1.0


def _labs(term: Term, slots: tuple[Slot, ...], chance: random.Random) -> tuple[Lab, ...]:
    shared = sum(slot.kind is SlotKind.SHARED for slot in slots)
    whole = sum(slot.kind is SlotKind.EXCLUSIVE for slot in slots)
    labs = []
    for number in range(term.courses):
        on_shares = bool(shared) and chance.random() < 0.5
        most = min(term.most_seats, (shared if on_shares else whole) // 2) or 1
        seats = chance.randint(min(most, max(1, term.most_seats // 4)), most)
        alone = chance.random() < _ALONE
        labs.append(
            Lab(
                course=f"c{number:02d}",
                students=tuple(f"c{number:02d}-s{student:02d}" for student in range(seats)),
                kinds=_SHARED if on_shares else WHOLE,
                memory=(4 if on_shares else 16) * _GIB,
                hours=tuple(_hours(chance)),
                length=chance.choice(_LENGTHS),
                # In the first days; who reserves late meets what others have.
                booked_at=term.starts_at + timedelta(minutes=chance.randrange(1, 8 * 60)),
                ahead=timedelta(minutes=chance.randrange(60, 72 * 60)) if alone else None,
            )
        )
    return tuple(labs)


def _hours(chance: random.Random) -> list[timedelta]:
    every = [timedelta(days=day, hours=hour) for day in range(5) for hour in _HOURS]
    return chance.sample(every, min(len(every), 1 + _ALTERNATIVES))
