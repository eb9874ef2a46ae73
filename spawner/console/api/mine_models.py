"""Somebody's servers, leases, places in the queue and use, as the API says them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, Field

from ...operations.mine import DayOfUse, OwnLease, PastLease
from ...operations.offers import Place
from ...pages.views import notice_view
from ...pages.words import isolation_words
from ...policy.gpus import Isolation, Slot, SlotKind
from ...policy.leases import Lease, LeaseState
from ...policy.model import AtEnd, Deny, IfBusy
from ..live import LiveSlot
from ..own import OwnServer, ServerState
from ..readings import HeldReading

_HOUR_MS = 3_600_000

UserName = Annotated[str, Path(max_length=255, description="Of the user.")]
ServerKey = Annotated[
    str, Path(max_length=255, description="The server's name; `~` for the default server, which has none.")
]
LeaseId = Annotated[str, Path(max_length=64, description="Of the lease.")]
TicketId = Annotated[str, Path(max_length=64, description="Of the place in the queue.")]


class Message(BaseModel):
    """Something that a server's user should know now."""

    id: str = Field(description="The same for the same message.")
    level: Literal["info", "warning", "error"]
    text: str
    at: datetime
    actions: list[str] = Field(description="What can be done about it: `extend`, `release`, `restart`.")


class SlotModel(BaseModel):
    """A GPU, or a part of one, that a lease holds."""

    model: str
    kind: SlotKind
    isolation: Isolation
    isolation_text: str = Field(description="What keeps its holder apart from others, in words.")
    memory: int = Field(description="Bytes.")
    simulated: bool


class LeaseModel(BaseModel):
    """The right to GPUs for a time."""

    id: str
    server: str = Field(description="Name of the server; empty for the default one.")
    profile: str
    state: LeaseState
    gpus: int = Field(description="How many slots: whole GPUs, or parts.")
    models: list[str] = Field(description="Of each slot; empty where nobody knows it any more.")
    granted_at: datetime
    started_at: datetime | None = Field(description="From when time is booked.")
    ends_at: datetime = Field(description="At the latest.")
    closed_at: datetime | None
    at_end: AtEnd = Field(description="What becomes of the server then.")
    course: str
    idle_since: datetime | None
    ending: str = Field(description="Why it ended, or is being ended; a code.")


class OpenLease(LeaseModel):
    """A lease that holds its slots."""

    slots: list[SlotModel]
    can_extend: bool
    longest: datetime | None = Field(description="Until when it could last; null if it cannot be extended.")
    extend_code: str = Field(description="Why it cannot be extended, a code; empty if it can.")
    extend_reason: str = Field(description="The same in words.")


class PlaceModel(BaseModel):
    """A server's place in the queue."""

    ticket: str
    server: str
    state: Literal["waiting", "offered"]
    position: int = Field(description="1 for the next; 0 with an offer.")
    waiting: int = Field(description="How many wait in all.")
    eta: datetime | None = Field(description="When it is likely served; null where nobody can tell.")
    since: datetime
    blocked: bool = Field(description="Passed over, while its user's quota is used up.")
    gpus: int
    profile: str
    starts_itself: bool = Field(description="Whether the server is started when its turn comes.")
    offered_until: datetime | None = Field(description="When an offer lapses.")


class ServerModel(BaseModel):
    """A server, running or not."""

    name: str = Field(description="Empty for the default server.")
    key: str = Field(description="The name in paths of this API.")
    state: ServerState
    url: str = Field(description="Path at which it answers; empty unless it runs.")
    started_at: datetime | None
    last_activity: datetime | None
    profile: str = Field(description="That it was asked for with the last time; empty if it never was.")
    options: dict[str, Any] = Field(description="All that it was asked for with.")
    clean: bool = Field(description="Whether it runs without what is installed in the home.")
    lease: OpenLease | None
    place: PlaceModel | None
    messages: list[Message]


class Servers(BaseModel):
    """All servers of a user."""

    at: datetime = Field(description="Now.")
    items: list[ServerModel]


class Places(BaseModel):
    """All places in the queue of a user."""

    items: list[PlaceModel]


class StartOptions(BaseModel):
    """What to start a server with; all is optional, and read as a spawn's `user_options`."""

    profile: str | None = Field(None, max_length=100, description="Slug of a profile; null for the user's first.")
    gpus: int | None = Field(None, ge=0, le=1024, description="Null for the profile's number.")
    hours: float | None = Field(None, gt=0, le=8760, description="Of the lease; null for as long as is allowed.")
    if_busy: IfBusy = IfBusy.QUEUE
    at_end: AtEnd | None = Field(None, description="Null for the deployment's rule.")
    clean: bool = Field(False, description="Without what pip has put into the home, and with an empty workspace.")

    def user_options(self) -> dict[str, Any]:
        chosen = self.model_dump(mode="json", exclude_none=True)
        return {name: value for name, value in chosen.items() if name != "clean" or value}


class RestartOptions(BaseModel):
    """How to start a server again."""

    clean: bool = Field(False, description="Without what pip has put into the home, and with an empty workspace.")


class Extension(BaseModel):
    """How much longer a lease is to last."""

    hours: float | None = Field(None, gt=0, le=8760, description="Null for as long as is allowed.")


class ReleaseOptions(BaseModel):
    """How GPUs are given back."""

    at_end: AtEnd = Field(description="Whether the server goes on without GPUs, started again, or stops.")


class Day(BaseModel):
    """What was used on a day."""

    day: str = Field(description="In the zone asked for.", examples=["2027-03-01"])
    gpu_ms: int = Field(description="GPU-milliseconds leased.")
    idle_gpu_ms: int = Field(description="Of these, how many nothing was done.")
    gpu_hours: float


class Use(BaseModel):
    """A user's use of GPUs over time, running leases included."""

    since: datetime
    until: datetime
    zone: str
    gpu_ms: int
    idle_gpu_ms: int
    gpu_hours: float
    days: list[Day]


class Point(BaseModel):
    """What was found at a moment."""

    at: datetime
    sm: float | None = Field(description="Share of the time in which a kernel ran, 0 to 1.")
    memory: float | None = Field(description="Bytes of GPU memory held.")


class LiveSlotModel(BaseModel):
    """What a server does with one of its slots, the last 15 minutes."""

    server: str
    lease: str
    slot: str
    model: str
    memory_total: int | None = Field(description="Bytes that it may use.")
    latest: Point | None = Field(description="Null where nothing is known.")
    points: list[Point] = Field(description="The oldest first.")


class Live(BaseModel):
    """What a user's servers do with their GPUs."""

    at: datetime
    problem: str = Field(description="Why nothing, or not all, is known; empty if all is.")
    items: list[LiveSlotModel]


# --- from what operations give ------------------------------------------------------------------------------------


def slot_model(slot: Slot) -> SlotModel:
    return SlotModel(
        model=slot.model,
        kind=slot.kind,
        isolation=slot.isolation,
        isolation_text=isolation_words(slot.kind, slot.isolation),
        memory=slot.memory,
        simulated=slot.simulated,
    )


def _said(lease: Lease, models: Iterable[str]) -> dict[str, Any]:
    return {
        "id": lease.id,
        "server": lease.server,
        "profile": lease.profile,
        "state": lease.state,
        "gpus": len(lease.slots),
        "models": list(models),
        "granted_at": lease.granted_at,
        "started_at": lease.started_at,
        "ends_at": lease.ends_at,
        "closed_at": lease.closed_at,
        "at_end": lease.at_end,
        "course": lease.course,
        "idle_since": lease.idle_since,
        "ending": lease.ending,
    }


def lease_model(found: PastLease) -> LeaseModel:
    return LeaseModel(**_said(found.lease, found.models))


def open_lease_model(found: OwnLease) -> OpenLease:
    why = found.longest if isinstance(found.longest, Deny) else None
    models = {slot.id: slot.model for slot in found.slots}
    return OpenLease(
        **_said(found.lease, (models.get(slot, "") for slot in found.lease.slots)),
        slots=[slot_model(slot) for slot in found.slots],
        can_extend=why is None,
        longest=None if isinstance(found.longest, Deny) else found.longest,
        extend_code=why.code if why else "",
        extend_reason=why.reason if why else "",
    )


def place_model(place: Place) -> PlaceModel:
    ticket = place.ticket
    return PlaceModel(
        ticket=ticket.id,
        server=ticket.request.server,
        state="waiting" if place.offered is None else "offered",
        position=place.position,
        waiting=place.waiting,
        eta=place.eta,
        since=ticket.arrived_at,
        blocked=place.blocked,
        gpus=ticket.request.count,
        profile=ticket.request.profile,
        starts_itself=ticket.starts_itself,
        offered_until=place.offered.offered_until if place.offered else None,
    )


def server_model(server: OwnServer) -> ServerModel:
    return ServerModel(
        name=server.name,
        key=server.key,
        state=server.state,
        url=server.url,
        started_at=server.started_at,
        last_activity=server.last_activity,
        profile=server.profile,
        options=dict(server.options),
        clean=server.clean,
        lease=open_lease_model(server.lease) if server.lease else None,
        place=place_model(server.place) if server.place else None,
        messages=[Message(**notice_view(notice)) for notice in server.messages],
    )


def day_model(day: DayOfUse) -> Day:
    return Day(day=day.day, gpu_ms=day.gpu_ms, idle_gpu_ms=day.idle_ms, gpu_hours=day.gpu_ms / _HOUR_MS)


def use_model(days: list[DayOfUse], since: datetime, until: datetime, zone: str) -> Use:
    whole = sum(day.gpu_ms for day in days)
    return Use(
        since=since,
        until=until,
        zone=zone,
        gpu_ms=whole,
        idle_gpu_ms=sum(day.idle_ms for day in days),
        gpu_hours=whole / _HOUR_MS,
        days=[day_model(day) for day in days],
    )


def live_model(found: LiveSlot) -> LiveSlotModel:
    points = [_point(point) for point in found.points]
    return LiveSlotModel(
        server=found.server,
        lease=found.lease,
        slot=found.slot,
        model=found.model,
        memory_total=found.memory_total,
        latest=points[-1] if points and found.fresh else None,
        points=points,
    )


def _point(point: HeldReading) -> Point:
    return Point(at=point.at, sm=point.sm, memory=point.memory)
