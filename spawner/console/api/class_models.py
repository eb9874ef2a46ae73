"""Boards of classes, and what is sent to seats and taken from them, as the API says it."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

from ...operations.handouts import Progress
from ...policy.classes import Phase, Role, SeatState, Wish
from ...policy.handouts import Announcement, Collected, Kind
from ...policy.leases import LeaseState
from ..class_desk import Done
from ..class_live import ClassLook, Tile
from ..class_words import Action
from .lease_models import one_line

_NO_NUL = r"^[^\x00]*$"
Because = Annotated[str, Field(max_length=500, pattern=_NO_NUL, description="For the audit."), AfterValidator(one_line)]
UserText = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]


class HeldModel(BaseModel):
    """The lease that a seat holds."""

    id: str
    state: LeaseState
    ends_at: datetime
    slots: list[str]


class SeatModel(BaseModel):
    """A student's place in a session."""

    user: str
    role: Role | None = Field(description="In the course; null for a guest, and for who has left it.")
    guest: bool
    state: SeatState
    hand_raised_at: datetime | None
    hand_place: int | None = Field(description="1 for who has waited longest; null where no hand is raised.")
    wish: Wish = Field(description="What staff want done with it, until it is done.")
    wished_by: str
    problem: str = Field(description="What is wrong with it; empty if nothing is.")
    asked_at: datetime | None = Field(description="When its server was last asked for.")
    attempts: int
    ready_at: datetime | None
    entered_at: datetime | None = Field(description="When its student was first there.")
    active_at: datetime | None
    given_back_at: datetime | None
    ended_at: datetime | None
    until: datetime | None = Field(description="More time than the session has; null for none.")
    memory: int = Field(description="Bytes that it has instead of its profile's; 0 for none.")
    lease: HeldModel | None
    gpu_utilization: float | None = Field(description="Now, 0 to 1; null if nobody has said so lately.")
    gpu_memory_used: float | None = Field(description="Bytes.")
    gpu_memory_total: int = Field(description="Bytes of all of its GPUs.")


class WarmUpModel(BaseModel):
    """How the start of all seats goes."""

    ready: int
    wanted: int
    begins_at: datetime | None = Field(description="When the first is started, while none is.")
    expected_at: datetime | None = Field(description="When the last will be ready; null where nothing is started.")


class HeadModel(BaseModel):
    """What a board says of the whole session."""

    course: str
    session: str
    title: str
    phase: Phase
    starts_at: datetime
    ends_at: datetime
    at: datetime = Field(description="Of this look.")
    warm_up: WarmUpModel
    seats_left: int = Field(description="Seats that nobody has a claim to.")
    counts: dict[SeatState, int]
    hands: list[str] = Field(description="Who asks for help, the longest waiting first.")


class BoardModel(HeadModel):
    """A session's seats at one moment."""

    seats: list[SeatModel] = Field(description="By name.")


class LeftSeatModel(BaseModel):
    """A seat that is no more on the board."""

    user: str


class SeatAction(BaseModel):
    """What is done with seats."""

    action: Action
    until: AwareDatetime | None = Field(None, description="For `time`.")
    memory: int | None = Field(None, ge=0, le=1 << 50, description="For `memory`: bytes; 0 for the profile's.")
    why: Because = ""


class SeatsAction(SeatAction):
    """What is done with several seats, each by itself."""

    users: list[UserText] = Field(min_length=1, max_length=1000)


class DoneModel(BaseModel):
    """What became of one seat."""

    user: str
    done: bool
    code: str = Field(description="Why not; empty if it was done.")
    detail: str


class DoneList(BaseModel):
    results: list[DoneModel]


class VisitReason(BaseModel):
    why: Because = ""


class VisitModel(BaseModel):
    """Where a seat's server is."""

    path: str = Field(description="At the hub's proxy.")


class GuestWanted(BaseModel):
    """Somebody who is not in the course."""

    user: UserText
    why: Because = ""


class NewMessage(BaseModel):
    """A message to seats."""

    text: str = Field(min_length=1, max_length=4000, pattern=_NO_NUL)
    user: str = Field("", max_length=255, pattern=_NO_NUL, description="Whose seat it is for; empty for all.")


class MessageModel(BaseModel):
    """A message that was sent."""

    id: str
    kind: Kind
    text: str
    user: str = Field(description="Whose seat it is for; empty for all.")
    sent_by: str
    sent_at: datetime


class FailedModel(BaseModel):
    """A home into which a file could not be put."""

    user: str
    problem: str


class PushModel(BaseModel):
    """A file that was sent to homes, and in how many it is."""

    id: str
    path: str
    sha256: str
    size: int = Field(description="Bytes.")
    pushed_by: str
    pushed_at: datetime
    homes: int
    written: int
    same: int = Field(description="Where it was there already.")
    beside: int = Field(description="Where another file of this name was, which stays.")
    waiting: int = Field(description="Whose servers have not said anything yet.")
    not_agreed: int = Field(
        description="Of these, who have not agreed yet that staff enter their seats: nothing is put into their homes."
    )
    failures: list[FailedModel]


class CollectedModel(BaseModel):
    """One student's work as it was when it was collected."""

    id: str
    user: str
    taken_at: datetime
    folder: str
    archive: str = Field(description="Empty where nothing could be taken.")
    files: int
    size: int = Field(description="Bytes before packing.")
    sha256: str = Field(description="Of the archive.")
    problem: str


class CollectionsModel(BaseModel):
    """What was collected in a session."""

    asked_at: datetime | None = Field(description="When staff last asked for it.")
    items: list[CollectedModel] = Field(description="By user and time.")


# --- made of what there is --------------------------------------------------------------------------------------------


def seat_model(tile: Tile) -> SeatModel:
    view, seat, use = tile.view, tile.view.seat, tile.use
    lease = view.lease
    return SeatModel(
        user=seat.user,
        role=view.role,
        guest=seat.guest,
        state=view.state,
        hand_raised_at=seat.hand_at,
        hand_place=tile.place or None,
        wish=seat.wish,
        wished_by=seat.wished_by,
        problem=seat.problem,
        asked_at=seat.asked_at,
        attempts=seat.attempts,
        ready_at=seat.ready_at,
        entered_at=seat.entered_at,
        active_at=seat.active_at,
        given_back_at=seat.given_back_at,
        ended_at=seat.ended_at,
        until=seat.until,
        memory=seat.memory,
        lease=lease and HeldModel(id=lease.id, state=lease.state, ends_at=lease.ends_at, slots=list(lease.slots)),
        gpu_utilization=use.sm if use else None,
        gpu_memory_used=use.memory_used if use else None,
        gpu_memory_total=use.memory_total if use else 0,
    )


def head_model(look: ClassLook) -> HeadModel:
    board, warm_up = look.board, look.board.warm_up
    return HeadModel(
        course=board.course.id,
        session=board.session.id,
        title=board.session.title,
        phase=board.phase,
        starts_at=board.session.starts_at,
        ends_at=board.session.ends_at,
        at=board.at,
        warm_up=WarmUpModel(
            ready=warm_up.ready,
            wanted=warm_up.wanted,
            begins_at=warm_up.begins_at,
            expected_at=warm_up.expected_at,
        ),
        seats_left=board.left,
        counts=dict(board.counts),
        hands=[tile.user for tile in look.hands],
    )


def board_model(look: ClassLook) -> BoardModel:
    return BoardModel(**head_model(look).model_dump(), seats=[seat_model(tile) for tile in look.tiles])


def done_model(one: Done) -> DoneModel:
    refusal = one.refusal
    return DoneModel(
        user=one.user,
        done=refusal is None,
        code=refusal.code if refusal else "",
        detail=refusal.reason if refusal else "",
    )


def message_model(one: Announcement) -> MessageModel:
    return MessageModel(
        id=one.id, kind=one.kind, text=one.text, user=one.user, sent_by=one.sent_by, sent_at=one.sent_at
    )


def push_model(one: Progress) -> PushModel:
    sent = one.push
    return PushModel(
        id=sent.id,
        path=sent.path,
        sha256=sent.sha256,
        size=sent.size,
        pushed_by=sent.pushed_by,
        pushed_at=sent.pushed_at,
        homes=one.homes,
        written=one.written,
        same=one.same,
        beside=one.beside,
        waiting=one.waiting,
        not_agreed=one.not_agreed,
        failures=[FailedModel(user=bad.user, problem=bad.problem) for bad in one.failures],
    )


def collected_model(one: Collected) -> CollectedModel:
    return CollectedModel(
        id=one.id,
        user=one.user,
        taken_at=one.taken_at,
        folder=one.folder,
        archive=one.archive,
        files=one.files,
        size=one.size,
        sha256=one.sha256,
        problem=one.problem,
    )
