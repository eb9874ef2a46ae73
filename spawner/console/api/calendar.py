"""The calendar: who has GPUs when; and the address at which programs read somebody's classes."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from ...operations import feeds
from ...operations.calendar import Booking, KindCapacity, capacity
from ...policy.gpus import Isolation, SlotKind
from ..calendar_desk import address_of, names_for
from ..callers import Caller, allowed
from ..context import Here
from ..problems import Problem
from ..ranges import Moment
from ..scopes import Scope
from .free import StepModel
from .mine_models import UserName

router = APIRouter(tags=["classes"])

Owner = Annotated[Caller, allowed(Scope.SELF)]
_LONGEST = timedelta(days=31)


class BookingModel(BaseModel):
    """GPUs that a class has reserved."""

    course: str = Field(description="Empty for who may not know it: its members and admins may.")
    title: str = Field(description="Of the course; empty likewise.")
    session: str = Field(description="Empty likewise, and where there is none.")
    starts_at: datetime = Field(description="From when on its seats are started.")
    ends_at: datetime
    count: int


class KindCapacityModel(BaseModel):
    """GPUs, or parts of GPUs, that are alike."""

    model: str
    kind: SlotKind
    isolation: Isolation
    memory: int = Field(description="Of each, bytes.")
    simulated: bool
    total: int
    steps: list[StepModel] = Field(description="From the begin of the time on, or from now; empty for what has passed.")
    bookings: list[BookingModel]


class CalendarModel(BaseModel):
    """What there is, if every lease runs to its end and nobody else comes."""

    at: datetime = Field(description="Now.")
    since: datetime
    until: datetime
    kinds: list[KindCapacityModel] = Field(description="The most memory first.")


@router.get("/calendar")
def read_calendar(
    here: Here,
    caller: Annotated[Caller, allowed(Scope.SELF_READ)],
    since: Annotated[Moment | None, Query(description="Now, if not said.")] = None,
    until: Annotated[Moment | None, Query(description="A week later, if not said; 31 days at most.")] = None,
) -> CalendarModel:
    """Tell who has GPUs when."""
    begin = since or here.clock()
    end = until or begin + timedelta(days=7)
    if not timedelta(0) < end - begin <= _LONGEST:
        raise Problem(422, "invalid_range", "The range ends after it begins, and at most 31 days later.")
    found, names = capacity(here.desk, begin, end), names_for(here, caller)
    return CalendarModel(at=found.at, since=begin, until=end, kinds=[_kind(one, names) for one in found.kinds])


def _kind(found: KindCapacity, names: dict[str, str]) -> KindCapacityModel:
    return KindCapacityModel(
        model=found.model,
        kind=found.kind,
        isolation=found.isolation,
        memory=found.memory,
        simulated=found.simulated,
        total=found.total,
        steps=[
            StepModel(at=step.at, free=step.free, leased=step.leased, reserved=step.reserved, out=step.out)
            for step in found.steps
        ],
        bookings=[_booking(one, names) for one in found.bookings],
    )


def _booking(one: Booking, names: dict[str, str]) -> BookingModel:
    known = one.course in names
    return BookingModel(
        course=one.course if known else "",
        title=one.title if known else "",
        session=one.session.id if known and one.session else "",
        starts_at=one.starts_at,
        ends_at=one.ends_at,
        count=one.count,
    )


# --- what programs read -----------------------------------------------------------------------------------------------


class FeedModel(BaseModel):
    """Where calendar programs read somebody's classes."""

    address: str = Field(description="Secret: whoever knows it can read them.")
    made_at: datetime


@router.get("/users/{name}/calendar")
def read_feed_address(name: UserName, request: Request, here: Here, caller: Owner) -> FeedModel:
    """Tell the secret address of one's calendar; only its owner may know it."""
    found = feeds.feed_of(here.desk, _own(caller, name))
    if found is None:
        raise Problem(404, "unknown_name", "Your calendar has no address yet; make one with POST.")
    return FeedModel(address=address_of(request, here, found), made_at=found.made_at)


@router.post("/users/{name}/calendar", status_code=201)
def renew_feed(name: UserName, request: Request, here: Here, caller: Owner) -> FeedModel:
    """Give one's calendar a new address; the one it had is gone."""
    made = feeds.renew(here.desk, _own(caller, name), caller.name)
    return FeedModel(address=address_of(request, here, made), made_at=made.made_at)


@router.delete("/users/{name}/calendar", status_code=204)
def withdraw_feed(name: UserName, here: Here, caller: Owner) -> None:
    """Let one's calendar have no address any more."""
    if not feeds.withdraw(here.desk, _own(caller, name), caller.name):
        raise Problem(404, "unknown_name", "Your calendar has no address.")


def _own(caller: Caller, name: str) -> str:
    if caller.kind != "user" or caller.name != name:
        raise Problem(403, "not_yours", "The address of a calendar is its owner's secret.")
    return name
