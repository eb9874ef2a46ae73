"""What is free, now and over the next days."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from ...operations.availability import Busy, KindOfGpu, Step, availability
from ...pages.words import isolation_words
from ...policy.gpus import Isolation, SlotKind
from ..callers import Caller, allowed
from ..context import Here
from ..scopes import Scope

router = APIRouter(tags=["availability"])


class StepModel(BaseModel):
    """How many slots are what, from a moment until the next step; the four add up to all there are."""

    at: datetime
    free: int
    leased: int = Field(description="Held by leases, or on offer to who waits.")
    reserved: int = Field(description="For classes.")
    out: int = Field(description="Of service.")


class BusyModel(BaseModel):
    """Slots that a class has for a time."""

    course: str = Field(description="Empty for who may not know it: its members, teachers and admins may.")
    starts_at: datetime
    ends_at: datetime
    count: int


class KindModel(BaseModel):
    """GPUs, or parts of GPUs, that are alike."""

    model: str
    kind: SlotKind
    isolation: Isolation
    isolation_text: str = Field(description="What keeps their holders apart, in words.")
    memory: int = Field(description="Of each, bytes.")
    simulated: bool
    total: int
    waiting: int = Field(description="Servers in the queue that would take such ones.")
    widest: int = Field(description="The most that one server can have, on different GPUs of one host.")
    next_free: datetime | None = Field(description="When one is free first; null if not in this time.")
    steps: list[StepModel] = Field(description="The first is now.")
    reserved: list[BusyModel]


class AvailabilityModel(BaseModel):
    """What there is, if every lease runs to its end and nobody else comes."""

    at: datetime = Field(description="Now.")
    until: datetime
    kinds: list[KindModel] = Field(description="The most memory first.")


@router.get("/availability")
def read_availability(
    here: Here,
    caller: Annotated[Caller, allowed(Scope.SELF_READ)],
    hours: Annotated[int, Query(ge=1, le=24 * 30, description="How far to look ahead.")] = 72,
    model: Annotated[str | None, Query(max_length=200, description="Only GPUs of this model.")] = None,
) -> AvailabilityModel:
    """Tell how many GPUs of each kind are free, now and later."""
    found = availability(here.desk, timedelta(hours=hours))
    kinds = [_kind(kind, caller) for kind in found.kinds if model is None or kind.model == model]
    return AvailabilityModel(at=found.at, until=found.until, kinds=kinds)


def _kind(kind: KindOfGpu, caller: Caller) -> KindModel:
    return KindModel(
        model=kind.model,
        kind=kind.kind,
        isolation=kind.isolation,
        isolation_text=isolation_words(kind.kind, kind.isolation),
        memory=kind.memory,
        simulated=kind.simulated,
        total=kind.total,
        waiting=kind.waiting,
        widest=kind.widest,
        next_free=kind.next_free,
        steps=[_step(step) for step in kind.steps],
        reserved=[_busy(busy, caller) for busy in kind.reserved],
    )


def _step(step: Step) -> StepModel:
    return StepModel(at=step.at, free=step.free, leased=step.leased, reserved=step.reserved, out=step.out)


def _busy(busy: Busy, caller: Caller) -> BusyModel:
    course = busy.course if may_know(caller, busy.course) else ""
    return BusyModel(course=course, starts_at=busy.starts_at, ends_at=busy.ends_at, count=busy.count)


def may_know(caller: Caller, course: str) -> bool:
    """Tell whether somebody may know which class has GPUs reserved."""
    return caller.may(Scope.READ) or caller.may(Scope.TEACH) or course in caller.groups
