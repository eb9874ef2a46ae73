"""The simulated people: their groups, their quotas, and what they ask for."""

from dataclasses import dataclass

from ..policy.gpus import SlotKind
from ..policy.limits import quota_of
from ..policy.model import LimitRules, Person
from ..policy.quota import UNLIMITED, Quota, QuotaRule

_GIB = 1 << 30
WHOLE = frozenset({SlotKind.EXCLUSIVE})
COURSES = "courses"  # the row of what students do in class


@dataclass(frozen=True, slots=True)
class Job:
    """Something that people start.

    Attributes
    ----------
    counts
        Numbers of GPUs, each as often as it is likely.
    median, spread
        Of the hours that it works: log-normal.
    """

    counts: tuple[int, ...]
    median: float
    spread: float
    memory: int
    kinds: frozenset[SlotKind] = WHOLE


_NOTEBOOK = Job((1,), 1.5, 0.8, 4 * _GIB, frozenset())
_SMALL = Job((1,), 3.0, 0.9, 16 * _GIB)
_TRAINING = Job((1, 1, 1, 1, 1, 1, 2, 2, 2, 4), 5.0, 0.9, 40 * _GIB)
_LARGE = Job((1, 1, 1, 1, 2, 2, 2, 4, 4, 8), 6.0, 0.8, 80 * _GIB)
_WIDE = Job((4, 4, 8), 4.0, 0.8, 16 * _GIB)
_TOO_LARGE = Job((1,), 1.0, 0.5, 80 * _GIB)  # asked for by those whose quota does not allow it


@dataclass(frozen=True, slots=True)
class Group:
    """People with one quota.

    Attributes
    ----------
    people
        Their part of all, per mille.
    load
        The GPU time which they ask for, in percent of what all groups ask for.
    jobs
        With their odds, by number.
    patience
        Hours that they wait before they give up, on average (exponential).
    """

    name: str
    people: int
    load: int
    quota: QuotaRule
    jobs: tuple[tuple[Job, int], ...]
    patience: float


_MODELS = frozenset({"T4", "V100-SXM2-16GB", "A100-SXM4-40GB"})

GROUPS = (
    Group(
        "students",
        people=700,
        load=14,
        quota=QuotaRule(gpus=2, gpu_hours=40.0, lease_hours=8.0, models=_MODELS),
        jobs=((_NOTEBOOK, 79), (_SMALL, 20), (_TOO_LARGE, 1)),
        patience=6.0,
    ),
    Group(
        "research",
        people=200,
        load=49,
        quota=QuotaRule(gpus=4, gpu_hours=250.0, lease_hours=24.0),
        jobs=((_NOTEBOOK, 2), (_SMALL, 3), (_TRAINING, 4), (_LARGE, 1)),
        patience=24.0,
    ),
    Group(
        "engineering",
        people=90,
        load=32,
        quota=QuotaRule(gpus=8, gpu_hours=600.0, lease_hours=48.0),
        jobs=((_SMALL, 2), (_TRAINING, 3), (_LARGE, 2), (_WIDE, 1)),
        patience=36.0,
    ),
    Group(
        "urgent",
        people=10,
        load=5,
        quota=QuotaRule(gpus=8, gpu_hours=UNLIMITED, lease_hours=24.0, priority=10),
        jobs=((_TRAINING, 2), (_LARGE, 2)),
        patience=48.0,
    ),
)

_DEFAULT = Quota(
    cpu=8.0, memory=64 * _GIB, processes=4096, shm=8 * _GIB, open_files=16384, gpus=1, gpu_hours=10.0, lease_hours=8.0
)
_RULES = LimitRules(_DEFAULT, {group.name: group.quota for group in GROUPS})


def quotas() -> dict[str, Quota]:
    """Give each group's quota, by the policy's own rule."""
    return {group.name: quota_of(_RULES, Person("", frozenset({group.name}))) for group in GROUPS}


def members(users: int) -> dict[str, list[str]]:
    """Name the people of each group; at least one in each."""
    return {
        group.name: [f"{group.name}-{number:05d}" for number in range(max(1, round(users * group.people / 1000)))]
        for group in GROUPS
    }
