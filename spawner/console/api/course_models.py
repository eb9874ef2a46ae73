"""Courses, rosters and join links as the API says them."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from ...operations.course_list import Listed
from ...operations.links import MOST, id_of
from ...policy.classes import Course, HomesAfter, Member, Phase, Role, Session
from ...policy.gpus import SlotKind
from ...policy.joining import JoinLink
from ...policy.model import AtEnd
from ..context import Console
from ..course_desk import link_path
from ..course_values import LONGEST, MOST_GPUS, MOST_MEMORY
from ..people import Member as HubUser
from .lease_models import one_line

_TEXT = r"^[^\x00-\x1f\x7f]*$"
Text = Annotated[str, Field(max_length=LONGEST, pattern=_TEXT)]
MaybeWhy = Annotated[
    str, Field(max_length=500, pattern=r"^[^\x00]*$", description="For the audit."), AfterValidator(one_line)
]
UserWord = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f/]*\S[^\x00-\x1f\x7f/]*$")]


class CourseValues(BaseModel):
    """What a course is like; what is left out of a change stays."""

    title: Text = Field("", description="For people.", examples=["Machine learning"])
    profile: Text = Field("", description="Slug of the profile of its seats.", examples=["cpu"])
    gpus: int = Field(0, ge=0, le=MOST_GPUS, description="GPUs of each seat.")
    models: list[Text] = Field([], max_length=50, description="GPU models that will do; none for every one.")
    kinds: list[SlotKind] = Field([], max_length=3, description="Kinds of slots that will do; none for every one.")
    memory: int = Field(0, ge=0, le=MOST_MEMORY, description="Least memory of each GPU, bytes.")
    at_end: AtEnd = Field(AtEnd.STOP, description="What becomes of a seat when its session is over.")
    materials: Text = Field(
        "", description="https address of a git repository, or the name of a directory that admins offer."
    )
    branch: Text = Field("", description="Of the repository; empty for its default.")
    folder: Text = Field("", description="Folder of each home for the materials; empty for the short name.")
    data: Text = Field("", description="Data set that admins offer, at /srv/data/NAME in seats.")
    collect: Text = Field("", description="Folder of each home that is collected when a session ends.")
    homes: HomesAfter = Field(HomesAfter.KEEP, description="What becomes of homes when the course is archived.")
    group: Text = Field("", description="Group of the hub whose members are its students, besides the roster.")


class NewCourse(CourseValues):
    """A course to be made."""

    id: str = Field(max_length=64, description="Short name, of its students' servers too.", examples=["ml"])
    title: Text = Field(description="For people.", examples=["Machine learning"])
    profile: Text = Field(description="Slug of the profile of its seats.", examples=["cpu"])
    instructor: str = Field("", max_length=255, pattern=_TEXT, description="Its first one; left out, who asks.")
    why: MaybeWhy = ""


class CourseChange(CourseValues):
    """What is to be another way; only what is said changes."""

    why: MaybeWhy = ""


class Limits(BaseModel):
    """What admins allow a course; null for as much as there is."""

    most_seats: int | None = Field(None, ge=1, le=100_000, description="Seats in one session.")
    most_gpu_hours: float | None = Field(None, ge=0, le=1e9, description="Of all its sessions together.")
    most_days_ahead: float | None = Field(None, ge=0, le=3660, description="Before its start that one is reserved.")


class NewLimits(Limits):
    why: MaybeWhy = ""


class Because(BaseModel):
    """Why something is done."""

    why: MaybeWhy = ""


class SessionBrief(BaseModel):
    """A session, in short."""

    id: str
    title: str
    starts_at: datetime
    ends_at: datetime
    seats: int
    phase: Phase


class CourseModel(CourseValues):
    """A course."""

    id: str = Field(description="Its short name.")
    limits: Limits
    role: Role | None = Field(description="What the caller is in it; null for an admin who is not.")
    students: int = Field(description="How many there are.")
    staff: int = Field(description="Instructors and assistants.")
    next_session: SessionBrief | None = Field(description="That runs, or is the next to come.")
    created_by: str
    created_at: datetime
    archived_at: datetime | None


class MemberModel(BaseModel):
    """Somebody in a course."""

    user: str
    role: Role
    via: str = Field(description="How they came in: roster, group, link or lti.")
    added_at: datetime
    added_by: str
    agreed_at: datetime | None = Field(
        description="Since when staff may enter their seat and collect from it; null until they agree."
    )
    last_seen: datetime | None = Field(description="At the hub; null for never, or where it does not tell.")


class NewMembers(BaseModel):
    """People to be put into a course: a list, or a roster as text; one of the two."""

    users: list[UserWord] = Field([], max_length=MOST)
    text: str = Field(
        "",
        max_length=2_000_000,
        pattern=r"^[^\x00]*$",
        description="A name per line, or CSV; its column `role` counts before `role`.",
    )
    role: Role = Role.STUDENT
    via: Literal["roster", "lti"] = Field("roster", description="What the roster says of how they came in.")
    why: MaybeWhy = ""


class RosterText(BaseModel):
    """A roster to be looked at."""

    text: str = Field(
        max_length=2_000_000,
        pattern=r"^[^\x00]*$",
        description="A name per line, or CSV; its column `role` counts before `role`.",
    )
    role: Role = Role.STUDENT


class NewRole(BaseModel):
    """What somebody is to be."""

    role: Role
    why: MaybeWhy = ""


class EnrolledModel(BaseModel):
    """What became of a roster."""

    added: list[str]
    changed: list[str] = Field(description="Have another role now.")
    kept: list[str] = Field(description="Were in it so already, or in a higher role.")


class MistakeModel(BaseModel):
    line: int = Field(description="The first is 1.")
    reason: str


class RosterPreview(BaseModel):
    """What a roster would change."""

    added: list[str]
    changed: dict[str, Role] = Field(description="Names, with the roles that they have now.")
    kept: list[str] = Field(description="Are in it so already, or in a higher role, which they keep.")
    missing: list[str] = Field(
        description="In the course in a role that the roster gives, and not in the roster; they stay."
    )
    roles: dict[str, Role] = Field(description="What those are to be who are new or change.")
    mistakes: list[MistakeModel] = Field(description="With one of them nothing would be taken over.")


class Followed(BaseModel):
    """How a roster follows its group."""

    added: list[str]
    removed: list[str]


class NewLink(BaseModel):
    """A join link to be made."""

    expires_at: datetime = Field(description="Within 366 days.")
    role: Role = Field(Role.STUDENT, description="student or assistant.")
    cap: int | None = Field(None, ge=1, le=MOST, description="How many may follow it; null for any number.")
    why: MaybeWhy = ""


class LinkModel(BaseModel):
    """A join link."""

    id: str = Field(description="Names it; opens nothing.")
    path: str = Field(description="Where it is followed, on the hub's host. Who has it can join.")
    role: Role
    cap: int | None
    used: int
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class Invitation(BaseModel):
    """Where a link leads."""

    course: str
    title: str
    role: Role = Field(description="What who follows it becomes.")
    member: Role | None = Field(description="What the caller is in the course already.")
    refusal: str | None = Field(description="Why it lets nobody in any more; null if it does.")


class JoinedModel(BaseModel):
    """What became of somebody who followed a link."""

    course: str
    role: Role
    already: bool = Field(description="Whether they were in it before; the link is not used up by that.")


# --- from what operations give ----------------------------------------------------------------------------------------


def values_of(said: CourseValues) -> dict[str, Any]:
    """Give what was said of a course, as the policy has it."""
    found = said.model_dump(include=said.model_fields_set & CourseValues.model_fields.keys())
    for name in ("models", "kinds"):
        if name in found:
            found[name] = frozenset(found[name])
    return found


def session_brief(session: Session, now: datetime) -> SessionBrief:
    return SessionBrief(
        id=session.id,
        title=session.title,
        starts_at=session.starts_at,
        ends_at=session.ends_at,
        seats=session.seats,
        phase=session.phase(now),
    )


def course_model(listed: Listed, role: Role | None, now: datetime) -> CourseModel:
    one = listed.course
    told = {name: getattr(one, name) for name in CourseValues.model_fields}
    return CourseModel(
        **{**told, "models": sorted(one.models), "kinds": sorted(one.kinds)},
        id=one.id,
        limits=limits_of(one),
        role=role,
        students=listed.counts[Role.STUDENT],
        staff=listed.counts[Role.INSTRUCTOR] + listed.counts[Role.ASSISTANT],
        next_session=session_brief(listed.next, now) if listed.next else None,
        created_by=one.created_by,
        created_at=one.created_at,
        archived_at=one.archived_at,
    )


def limits_of(course: Course) -> Limits:
    days = None if course.most_ahead is None else course.most_ahead / timedelta(days=1)
    return Limits(most_seats=course.most_seats, most_gpu_hours=course.most_gpu_hours, most_days_ahead=days)


def member_model(member: Member, seen: HubUser | None) -> MemberModel:
    return MemberModel(
        user=member.user,
        role=member.role,
        via=member.via,
        added_at=member.added_at,
        added_by=member.added_by,
        agreed_at=member.agreed_at,
        last_seen=seen.last_activity if seen else None,
    )


def link_model(here: Console, link: JoinLink) -> LinkModel:
    return LinkModel(
        id=id_of(link),
        path=link_path(here, link),
        role=link.role,
        cap=link.cap,
        used=link.used,
        created_by=link.created_by,
        created_at=link.created_at,
        expires_at=link.expires_at,
        revoked_at=link.revoked_at,
    )
