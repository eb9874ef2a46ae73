"""GPUs as the API says them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from ...operations.inventory import SlotUse
from ...policy.gpus import Gpu, GpuState, Isolation, SlotKind
from ...policy.leases import Lease, LeaseState
from ..board import Standing, View
from ..gpu_changes import Plan, version_of
from ..readings import Reading, Trouble

Why = Annotated[
    str, Field(min_length=1, max_length=500, pattern=r"\S", description="For the audit.", examples=["new fans"])
]


class ReadingModel(BaseModel):
    """What a GPU was found to do; null for what could not be read."""

    at: datetime
    sm_utilization: float | None = Field(description="Share of the last moments in which a kernel ran, 0 to 1.")
    memory_used: float | None = Field(description="Bytes.")
    memory_total: float | None = Field(description="Bytes.")
    temperature_celsius: float | None
    power_watts: float | None
    foreign_processes: float | None = Field(description="Processes on it that hold no lease of it.")


class HolderModel(BaseModel):
    """An open lease that holds a slot."""

    id: str
    user: str
    server: str = Field(description="Empty for the default server.")
    course: str = Field(description="Empty for none.")
    state: LeaseState
    granted_at: datetime
    ends_at: datetime = Field(description="At the latest.")
    idle_since: datetime | None = Field(description="Since when GPUs and kernels do nothing, where that is known.")


class DoubtModel(BaseModel):
    """Since when and why a slot is given to nobody."""

    at: datetime
    why: str


class SlotModel(BaseModel):
    """What one lease can hold of a GPU."""

    id: str
    kind: SlotKind
    isolation: Isolation = Field(description="What keeps its holder within it, strongest first as in the list.")
    memory: int = Field(description="Bytes that its holder may use.")
    usable: bool = Field(description="Whether it may be leased, if it is not already.")
    quarantine: DoubtModel | None
    lease: HolderModel | None = Field(description="Its holder; null if it is free.")


class DecreeModel(BaseModel):
    """What an admin has decreed about a GPU."""

    state: GpuState
    since: datetime | None = Field(description="Null if nobody has decreed anything.")
    by: str
    why: str


class GpuModel(BaseModel):
    """A GPU on the board."""

    uuid: str
    name: str = Field(description="For people and commands.")
    node: str
    index: int = Field(description="The driver's number on its node.")
    model: str
    memory: int = Field(description="Bytes.")
    compute_capability: str
    driver: str
    simulated: bool
    healthy: bool = Field(description="Whether the last probe could read it.")
    problem: str = Field(description="What is wrong with it; empty if nothing is.")
    standing: Standing = Field(description="Where it stands, in one word.")
    decree: DecreeModel
    slots: list[SlotModel]
    reading: ReadingModel | None = Field(
        description="What it does now; null if nobody has said so in the last moments."
    )
    version: str = Field(description="Of the decree; the ETag without quotes.")


class TroubleModel(BaseModel):
    """Why there are no readings of some GPUs."""

    kind: str = Field(description="`starting`, `away`, `refused`, `untrusted` or `unreadable`.")
    where: str = Field(description="Host and port of the exporter.")
    detail: str


class SeriesModel(BaseModel):
    """What a GPU did in the last quarter of an hour, the oldest first."""

    uuid: str
    points: list[ReadingModel]
    problem: TroubleModel | None = Field(description="What stands in the way of readings; null if nothing does.")


class LeftModel(BaseModel):
    """A GPU that is not among those that were asked for."""

    uuid: str


class NewState(BaseModel):
    """A state to put a GPU in."""

    state: GpuState
    why: Why


class NewStates(BaseModel):
    """A state to put several GPUs in: certain ones, or those of a node that it makes sense for."""

    state: GpuState
    why: Why
    node: str | None = Field(None, max_length=255, description="All of this node; those in another state stay in it.")
    gpus: list[Annotated[str, Field(max_length=255)]] = Field([], max_length=1000, description="UUIDs.")
    dry_run: bool = Field(False, description="Whether to tell only what it would do.", examples=[True])


class ConcernedModel(BaseModel):
    """A lease that holds something of what changes; it goes on to its end."""

    id: str
    user: str
    server: str
    ends_at: datetime
    gpus: list[str] = Field(description="UUIDs.")


class ChangesModel(BaseModel):
    """What was changed, or would be."""

    dry_run: bool
    changed: list[GpuModel]
    left: list[GpuModel] = Field(description="Those that stay in the state that they are in.")
    leases: list[ConcernedModel]


def reading_model(one: Reading) -> ReadingModel:
    return ReadingModel(
        at=one.at,
        sm_utilization=one.sm,
        memory_used=one.memory_used,
        memory_total=one.memory_total,
        temperature_celsius=one.temperature,
        power_watts=one.power,
        foreign_processes=one.strangers,
    )


def holder_model(lease: Lease) -> HolderModel:
    names = "id", "user", "server", "course", "state", "granted_at", "ends_at", "idle_since"
    return HolderModel(**{name: getattr(lease, name) for name in names})


def slot_model(use: SlotUse) -> SlotModel:
    slot, doubt = use.slot, use.quarantine
    return SlotModel(
        id=slot.id,
        kind=slot.kind,
        isolation=slot.isolation,
        memory=slot.memory,
        usable=slot.usable,
        quarantine=DoubtModel(at=doubt.at, why=doubt.why) if doubt else None,
        lease=holder_model(use.lease) if use.lease else None,
    )


def gpu_model(view: View) -> GpuModel:
    gpu = view.gpu
    return GpuModel(
        uuid=gpu.uuid,
        name=gpu.name,
        node=gpu.node,
        index=gpu.index,
        model=gpu.model,
        memory=gpu.memory,
        compute_capability=gpu.compute_capability,
        driver=gpu.driver,
        simulated=gpu.simulated,
        healthy=gpu.healthy,
        problem=gpu.problem,
        standing=view.standing,
        decree=decree_model(gpu),
        slots=[slot_model(use) for use in view.uses],
        reading=reading_model(view.reading) if view.reading else None,
        version=version_of([gpu]).strip('"'),
    )


def decree_model(gpu: Gpu) -> DecreeModel:
    return DecreeModel(state=gpu.state, since=gpu.state_since, by=gpu.state_by, why=gpu.state_why)


def trouble_model(trouble: Trouble) -> TroubleModel:
    return TroubleModel(kind=trouble.kind, where=trouble.where, detail=str(trouble))


def concerned(plan: Plan) -> list[ConcernedModel]:
    return [
        ConcernedModel(
            id=lease.id,
            user=lease.user,
            server=lease.server,
            ends_at=lease.ends_at,
            gpus=[gpu.uuid for gpu in gpus],
        )
        for lease, gpus in plan.leases
    ]
