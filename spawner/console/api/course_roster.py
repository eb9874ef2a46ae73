"""Rosters of courses, and the links by which people join."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query

from ...operations import links, rosters
from ...policy.classes import Role
from ...policy.joining import check_link
from ...policy.model import Deny
from ...policy.rosters import Roster, parse
from ..callers import Caller, allowed
from ..context import Here
from ..course_access import InstructorOf, MemberOf, StaffOf
from ..course_desk import agree, enrol, expel, follow_group, known_people
from ..csv_files import CSV_ANSWER, CsvFile, csv_file
from ..paging import Cursor, Limit, Page, cursor_of, position_in
from ..problems import Problem, refused
from ..scopes import Scope
from .course_models import (
    EnrolledModel,
    Followed,
    Invitation,
    JoinedModel,
    LinkModel,
    MemberModel,
    MistakeModel,
    NewLink,
    NewMembers,
    NewRole,
    RosterPreview,
    RosterText,
    link_model,
    member_model,
)

router = APIRouter(tags=["classes"])

Person = Annotated[str, Path(max_length=255, description="Somebody in the course.")]
LinkId = Annotated[str, Path(max_length=64, description="Of the link.")]
Token = Annotated[str, Path(max_length=200, description="The last part of the link's path.")]
Why = Annotated[str, Query(max_length=500, pattern=r"^[^\x00]*$", description="For the audit.")]
COLUMNS = ("username", "role", "via", "added_at", "added_by", "last_seen")


@router.get("/courses/{course}/members")
def list_members(
    within: StaffOf,
    here: Here,
    role: Annotated[list[Role], Query(max_length=3, description="In one of these; left out, in any.")] = [],  # noqa: B006  FastAPI copies it
    search: Annotated[str, Query(max_length=255, description="Part of the name.")] = "",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[MemberModel]:
    """List who is in a course, by name."""
    position = position_in(cursor, str)
    with here.desk.ledger.reading() as books:
        found = books.courses.members(within.course.id, role or tuple(Role))
    word = search.strip().casefold()
    found = [one for one in found if word in one.user.casefold()]
    if position is not None:
        found = [one for one in found if one.user > position[0]]
    seen, part = known_people(here), sorted(found, key=lambda one: one.user)[:limit]
    following = cursor_of(part[-1].user) if len(found) > limit else None
    return Page(items=[member_model(one, seen.get(one.user)) for one in part], next=following)


@router.get("/courses/{course}/members/export", response_class=CsvFile, responses=CSV_ANSWER)
def export_members(within: StaffOf, here: Here) -> CsvFile:
    """Write the roster as CSV, which can be read in again."""
    with here.desk.ledger.reading() as books:
        found = books.courses.members(within.course.id)
    seen = known_people(here)
    told = (member_model(one, seen.get(one.user)) for one in found)
    rows = ((one.user, one.role, one.via, _stamp(one.added_at), one.added_by, _stamp(one.last_seen)) for one in told)
    return csv_file(f"{within.course.id}-roster.csv", COLUMNS, rows)


def _stamp(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if moment else ""


@router.post("/courses/{course}/members/preview")
def preview_roster(said: RosterText, within: InstructorOf, here: Here) -> RosterPreview:
    """Tell what a roster would change; nothing is changed."""
    found = rosters.preview(here.desk, within.course.id, said.text, said.role)
    return RosterPreview(
        added=list(found.added),
        changed=dict(found.changed),
        kept=list(found.kept),
        missing=list(found.missing),
        roles=dict(found.roles),
        mistakes=[MistakeModel(line=one.line, reason=one.reason) for one in found.mistakes],
    )


@router.post("/courses/{course}/members")
def add_members(said: NewMembers, within: InstructorOf, here: Here) -> EnrolledModel:
    """Put people into a course in a role; who is in it in a lower one changes it. All or nobody."""
    roster = parse(said.text) if said.text else Roster(())
    if roster.mistakes:
        told = [{"line": one.line, "reason": one.reason} for one in roster.mistakes]
        first = f"Line {roster.mistakes[0].line}: {roster.mistakes[0].reason}"
        raise Problem(422, "roster_invalid", first, mistakes=told[:200])
    users = [*said.users, *roster.users]
    done = enrol(here, within, users, said.role, said.why, said.via, lower=False, roles=roster.roles)
    return EnrolledModel(added=list(done.added), changed=list(done.changed), kept=list(done.kept))


@router.post("/courses/{course}/members/follow-group")
def follow(within: InstructorOf, here: Here) -> Followed:
    """Take the members of the course's group over at once; it is done every few minutes anyway."""
    if not within.course.group:
        raise Problem(409, "no_group", "This course follows no group; set `group` first.")
    done = follow_group(here, within.course, within.caller.name)
    if done is None:
        raise Problem(503, "hub_not_ready", "The hub does not tell who is in the group. Try again in a moment.")
    return Followed(added=list(done[0].added), removed=list(done[1]))


@router.put("/courses/{course}/members/{user}")
def set_role(said: NewRole, user: Person, within: InstructorOf, here: Here) -> EnrolledModel:
    """Put one person into a course, or give them another role."""
    done = enrol(here, within, [user], said.role, said.why)
    return EnrolledModel(added=list(done.added), changed=list(done.changed), kept=list(done.kept))


@router.delete("/courses/{course}/members/{user}", status_code=204)
def remove_member(user: Person, within: InstructorOf, here: Here, why: Why = "") -> None:
    """Take somebody out of a course. Their server goes on until it stops."""
    if user not in expel(here, within, [user], why):
        raise Problem(404, "unknown_name", f"{user!r} is not in this course.")


@router.post("/courses/{course}/agree", status_code=204)
def agree_to_staff(within: MemberOf, here: Here) -> None:
    """Let the staff of a course enter one's own server of it, and collect from it."""
    agree(here, within)


# --- join links -------------------------------------------------------------------------------------------------------


@router.get("/courses/{course}/links")
def list_links(within: InstructorOf, here: Here) -> list[LinkModel]:
    """List all join links of a course, the newest first; ended ones, too."""
    return [link_model(here, one) for one in links.of_course(here.desk, within.course.id)]


@router.post("/courses/{course}/links", status_code=201)
def make_link(said: NewLink, within: InstructorOf, here: Here) -> LinkModel:
    """Make a join link."""
    ends = said.expires_at if said.expires_at.tzinfo else said.expires_at.replace(tzinfo=UTC)
    made = links.make(here.desk, within.course.id, said.role, ends, within.caller.name, said.cap, said.why)
    if isinstance(made, Deny):
        raise refused(made)
    return link_model(here, made)


@router.delete("/courses/{course}/links/{link}")
def revoke_link(link: LinkId, within: InstructorOf, here: Here, why: Why = "") -> LinkModel:
    """Withdraw a join link; whoever came by it stays in the course."""
    return link_model(here, links.revoke(here.desk, within.course.id, link, within.caller.name, why))


@router.get("/join/{token}")
def read_link(token: Token, here: Here, caller: Annotated[Caller, allowed(Scope.SELF_READ)]) -> Invitation:
    """Tell where a join link leads."""
    user = caller.person.name
    link, course = links.look(here.desk, token)
    with here.desk.ledger.reading() as books:
        member = books.courses.member(course.id, user)
    ended = check_link(link, here.clock())
    return Invitation(
        course=course.id,
        title=course.title,
        role=link.role,
        member=member.role if member else None,
        refusal=ended.reason if ended else None,
    )


@router.post("/join/{token}")
def join(token: Token, here: Here, caller: Annotated[Caller, allowed(Scope.SELF)]) -> JoinedModel:
    """Put oneself into a course by its link."""
    done = links.join(here.desk, token, caller.person.name)
    if isinstance(done, Deny):
        raise refused(done)
    return JoinedModel(course=done.course.id, role=done.role, already=done.already)
