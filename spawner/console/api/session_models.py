"""What the API says of sessions, and takes for them."""

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ...operations.session_changes import Change, Changed
from ...operations.sessions import NoFit, Plan, Planned, Shortened
from ...policy.classes import Late, Phase, Session
from ...policy.gpus import SlotKind
from ...policy.model import Deny
from ...policy.recurrence import MOST, Span, Weekly, occurrences
from ..problems import Problem, refused
from ..ranges import Day, Moment
from ..session_forms import MOST_SEATS
from .course_models import MaybeWhy

_MINUTE = timedelta(minutes=1)
_DAY_MINUTES = 24 * 60


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a title is one line")
    return text.strip()


def _known_zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise ValueError("no such time zone; write it as Europe/Berlin") from None
    return name


Title = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
Zone = Annotated[str, Field(max_length=64, examples=["Europe/Berlin"]), AfterValidator(_known_zone)]
SeatCount = Annotated[int, Field(ge=1, le=MOST_SEATS)]
Minutes = Annotated[int, Field(ge=0, le=_DAY_MINUTES)]


class SessionModel(BaseModel):
    """One meeting of a course."""

    id: str
    course: str
    title: str
    phase: Phase
    starts_at: datetime
    ends_at: datetime
    seats: int
    lead_minutes: int = Field(description="How long before the start its seats are started, and its GPUs reserved.")
    grace_minutes: int = Field(description="How long after the start unused seats go back.")
    late: Late = Field(description="What becomes of who comes after that.")
    exam: bool
    terminals: bool
    series: str = Field(description="The same for all sessions of a series; empty for a single one.")
    gpu_hours: float = Field(
        description="Seats times GPUs times hours, from when they are reserved until its end, or its being called off."
    )
    cancelled_at: datetime | None
    version: int


class Times(BaseModel):
    """Begin and end of a session."""

    model_config = ConfigDict(extra="forbid")

    starts_at: Moment
    ends_at: Moment


class WeeklyModel(BaseModel):
    """Sessions that come again each week, by the clocks of a zone."""

    model_config = ConfigDict(extra="forbid")

    weekdays: list[Annotated[int, Field(ge=0, le=6)]] = Field(description="Monday is 0.", min_length=1, max_length=7)
    begins: time = Field(description="By the clocks of the zone, summer and winter.", examples=["14:00"])
    minutes: int = Field(ge=1, le=_DAY_MINUTES, description="How long each is.")
    zone: Zone
    first: Day
    last: Day = Field(description="This day included.")
    skipped: list[date] = Field(default_factory=list, max_length=400, description="Days without one.")

    def spans(self) -> tuple[Span, ...]:
        """Give the begins and ends.

        Raises
        ------
        Problem
            409
        """
        if self.begins.tzinfo is not None:
            raise Problem(422, "invalid_request", "begins is a time by the clocks of the zone, without an offset.")
        found = occurrences(
            Weekly(
                frozenset(self.weekdays),
                self.begins,
                self.minutes * _MINUTE,
                self.zone,
                self.first,
                self.last,
                frozenset(self.skipped),
            )
        )
        if isinstance(found, Deny):
            raise refused(found)
        return found


class NewSessions(BaseModel):
    """Sessions that are to be reserved, all or none: at certain times, or weekly."""

    model_config = ConfigDict(extra="forbid")

    seats: SeatCount
    times: list[Times] = Field(default_factory=list, max_length=MOST)
    weekly: WeeklyModel | None = None
    title: Title = ""
    lead_minutes: Minutes = 15
    grace_minutes: Minutes = 15
    late: Late = Late.FIRST
    exam: bool = False
    terminals: bool = True
    why: MaybeWhy = ""

    @model_validator(mode="after")
    def _either(self) -> "NewSessions":
        if bool(self.times) == (self.weekly is not None):
            raise ValueError("say times, or weekly")
        return self

    def plan(self, course: str) -> Plan:
        spans = [(one.starts_at, one.ends_at) for one in self.times] if self.weekly is None else self.weekly.spans()
        return Plan(
            course,
            spans,
            self.seats,
            self.title,
            self.lead_minutes * _MINUTE,
            self.grace_minutes * _MINUTE,
            self.late,
            self.exam,
            self.terminals,
        )


class SessionChange(BaseModel):
    """What a session is to be like; what is left out stays. While it runs, only end, title, grace and late change."""

    model_config = ConfigDict(extra="forbid")

    starts_at: Moment | None = None
    ends_at: Moment | None = None
    seats: SeatCount | None = None
    title: Title | None = None
    lead_minutes: Minutes | None = None
    grace_minutes: Minutes | None = None
    late: Late | None = None
    exam: bool | None = None
    terminals: bool | None = None
    why: MaybeWhy = ""

    def change(self) -> Change:
        return Change(
            self.starts_at,
            self.ends_at,
            self.seats,
            self.title,
            None if self.lead_minutes is None else self.lead_minutes * _MINUTE,
            None if self.grace_minutes is None else self.grace_minutes * _MINUTE,
            self.late,
            self.exam,
            self.terminals,
        )


class Extension(BaseModel):
    model_config = ConfigDict(extra="forbid")

    minutes: int = Field(ge=-_DAY_MINUTES, le=_DAY_MINUTES, description="By how much it ends later; negative: sooner.")
    why: MaybeWhy = ""


class Cancellation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    following: bool = Field(False, description="Whether the later ones of its series are called off, too.")
    why: MaybeWhy = ""


class ShortenedModel(BaseModel):
    """A lease that ends sooner, so that there is room."""

    lease: str
    user: str
    ends_at: datetime
    ended_at: datetime = Field(description="When it was to end.")


class OtherKindModel(BaseModel):
    """GPUs on which all seats would fit at the same time."""

    model: str
    kind: SlotKind
    memory: int
    seats: int


class FitModel(BaseModel):
    """Whether sessions fit, and what would do where they do not."""

    fits: bool
    code: str = Field("", description="Why they do not: `no_capacity`, or another refusal; empty where they fit.")
    detail: str = Field("", description="The same for a person.")
    sessions: list[SessionModel] = Field(default_factory=list, description="As they are, or would be.")
    shortened: int = Field(0, description="How many leases end sooner for them.")
    leases: list[ShortenedModel] | None = Field(None, description="These leases, for who may see all; else null.")
    starts_at: datetime | None = Field(None, description="Of the first session that does not fit.")
    seats: int | None = Field(None, description="How many seats there would be then.")
    times: list[datetime] = Field(default_factory=list, description="Begins at which all would fit, the nearest first.")
    kinds: list[OtherKindModel] = Field(default_factory=list)


def session_model(session: Session, now: datetime) -> SessionModel:
    return SessionModel(
        id=session.id,
        course=session.course,
        title=session.title,
        phase=session.phase(now),
        starts_at=session.starts_at.astimezone(UTC),
        ends_at=session.ends_at.astimezone(UTC),
        seats=session.seats,
        lead_minutes=session.lead // _MINUTE,
        grace_minutes=session.grace // _MINUTE,
        late=session.late,
        exam=session.exam,
        terminals=session.terminals,
        series=session.series,
        gpu_hours=session.gpu_hours,
        cancelled_at=session.cancelled_at,
        version=session.version,
    )


def fit_model(answer: Planned | Changed | NoFit | Deny, now: datetime, *, see_leases: bool) -> FitModel:
    """Say what a plan comes to."""
    if isinstance(answer, Deny):
        return FitModel(fits=False, code=answer.code, detail=answer.reason)
    if isinstance(answer, NoFit):
        fit = answer.fit
        return FitModel(
            fits=False,
            code=answer.denied.code,
            detail=answer.denied.reason,
            starts_at=answer.starts_at,
            seats=fit.seats,
            times=list(fit.times),
            kinds=[
                OtherKindModel(model=one.model, kind=one.kind, memory=one.memory, seats=one.seats) for one in fit.kinds
            ],
        )
    sessions = answer.sessions if isinstance(answer, Planned) else (answer.session,)
    return FitModel(
        fits=True,
        sessions=[session_model(one, now) for one in sessions],
        shortened=len(answer.shortened),
        leases=[_shortened(one) for one in answer.shortened] if see_leases else None,
    )


def _shortened(one: Shortened) -> ShortenedModel:
    return ShortenedModel(lease=one.lease.id, user=one.lease.user, ends_at=one.ends_at, ended_at=one.lease.ends_at)


def refuse(answer: NoFit | Deny) -> Problem:
    """Tell why sessions cannot be; with what would do."""
    if isinstance(answer, Deny):
        return refused(answer)
    fit = answer.fit
    return Problem(
        409,
        answer.denied.code,
        answer.denied.reason,
        starts_at=answer.starts_at.isoformat(),
        seats=fit.seats,
        times=[one.isoformat() for one in fit.times],
        kinds=[{"model": one.model, "kind": one.kind, "memory": one.memory, "seats": one.seats} for one in fit.kinds],
    )
