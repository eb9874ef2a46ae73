"""``berth course``: courses and who is in them."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TextIO

import click

from ..operations import courses as operations
from ..operations import inventory
from ..operations.courses import Enrolled
from ..operations.desk import Desk
from ..policy.classes import Course, HomesAfter, Role
from ..policy.gpus import SlotKind
from ..policy.handouts import check_push_path
from ..policy.materials import check_materials
from ..policy.model import AtEnd, Deny
from ..policy.rosters import Roster, parse
from ..units import parse_bytes
from .arguments import LINE, SPAN, actor, why_option
from .class_shapes import (
    SESSION_HEADINGS,
    course_data,
    limits_data,
    limits_words,
    member_data,
    people_data,
    seat_words,
    session_data,
    session_row,
)
from .deployment import Deployment
from .output import Output, json_option
from .shapes import minute, plural

_HEADINGS = ("course", "title", "staff", "students", "seat", "limits", "archived (UTC)")
_ROSTER = ("user", "role", "since (UTC)", "by", "via")
_MISTAKES_SHOWN = 5

said_why = click.option("--why", type=LINE, help="A reason; stands in the audit.")


class _Size(click.ParamType[int]):
    """A number of bytes."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(str(parse_bytes(value)))
        except ValueError:
            self.fail(f'expected a size such as "8 GiB", not {value!r}.', param, ctx)


class _Limit(click.ParamType[Any]):
    """A value of another type, or ``none``."""

    def __init__(self, reader: click.ParamType[Any]) -> None:
        self.name = f"{reader.name}|none"
        self._reader = reader

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if value == "none" else self._reader.convert(value, param, ctx)


@click.group()
def course() -> None:
    """Make courses, fill and archive them. Teachers do so in the browser; this is for scripts and for admins."""


@course.command("list")
@click.option("--archived", is_flag=True, help="Archived ones too.")
@json_option
def list_courses(archived: bool, as_json: bool) -> None:
    """Show all courses: how many are in them, and what one seat has."""
    output = Output(as_json)
    desk = Deployment.load().desk()
    with desk.ledger.reading() as books:
        found, counts = books.courses.all(archived=archived), books.courses.counts()
    output.data([course_data(one) | people_data(counts, one.id) for one in found])
    if not found:
        output.say("There are no courses yet; `berth course create` makes one.")
        return
    output.listing(
        _HEADINGS,
        [
            (
                one.id,
                one.title,
                str(counts.get((one.id, Role.INSTRUCTOR), 0) + counts.get((one.id, Role.ASSISTANT), 0)),
                str(counts.get((one.id, Role.STUDENT), 0)),
                seat_words(one),
                limits_words(one),
                minute(one.archived_at),
            )
            for one in found
        ],
    )


@course.command()
@click.argument("course_id", metavar="COURSE")
@json_option
def show(course_id: str, as_json: bool) -> None:
    """Show one course: what its seats are like, who is in it, when it meets."""
    output = Output(as_json)
    desk = Deployment.load().desk()
    with desk.ledger.reading() as books:
        found, now = operations.find_in(books, course_id), desk.clock()
        members, sessions = books.courses.members(course_id), books.sessions.of_course(course_id)
    output.data(
        course_data(found)
        | {
            "members": [member_data(member) for member in members],
            "sessions": [session_data(session, now) for session in sessions],
        }
    )
    if output.as_json:
        return
    output.table(_values(found))
    output.say("")
    output.listing(
        _ROSTER, [(one.user, one.role, minute(one.added_at), one.added_by, one.via) for one in _staff_first(members)]
    )
    output.say("")
    if sessions:
        output.listing(SESSION_HEADINGS, [session_row(session, now) for session in sessions])
    else:
        output.say("No session is planned; `berth session reserve` reserves one.")


def _staff_first(members: list[Any]) -> list[Any]:
    order = list(Role)
    return sorted(members, key=lambda member: (order.index(member.role), member.user))


def _values(course: Course) -> list[tuple[str, str]]:
    rows = [
        ("course", course.id),
        ("title", course.title),
        ("seat", seat_words(course)),
        ("at the end", "goes on without GPUs" if course.at_end is AtEnd.CPU else "stops"),
        (
            "materials",
            " ".join(filter(None, (course.materials, course.branch, course.folder and f"→ {course.folder}"))),
        ),
        ("data", course.data),
        ("collected", course.collect),
        ("homes afterwards", course.homes),
        ("group of the hub", course.group),
        ("limits", limits_words(course)),
        ("made by", f"{course.created_by}, {minute(course.created_at)} UTC"),
        ("archived", f"{minute(course.archived_at)} UTC" if course.archived_at else ""),
    ]
    return [(name, value) for name, value in rows if value]


@course.command()
@click.argument("course_id", metavar="COURSE")
@click.option("--title", type=LINE, required=True)
@click.option("--instructor", type=LINE, required=True, help="Who may change it; `berth course enrol` adds others.")
@click.option("--profile", required=True, help="Of its seats.")
@click.option("--gpus", type=click.IntRange(0, 16), default=0, show_default=True, help="Of one seat.")
@click.option("--model", "models", multiple=True, help="A GPU model that will do; may be repeated [default: any].")
@click.option(
    "--kind",
    "kinds",
    type=click.Choice([str(kind) for kind in SlotKind]),
    multiple=True,
    help="A kind of slot that will do; may be repeated [default: any].",
)
@click.option("--gpu-memory", type=_Size(), default=0, help="Least GPU memory of a seat, such as 8GiB.")
@click.option("--at-end", type=click.Choice([str(end) for end in AtEnd]), default="stop", show_default=True)
@click.option("--materials", default="", help="A git repository's https address, or a name in `classes.materials`.")
@click.option("--branch", default="", help="Of the repository.")
@click.option("--folder", default="", help="In each home, for the materials [default: COURSE].")
@click.option("--data", default="", help="A name in `classes.data_sets`, for seats to read.")
@click.option("--collect", default="", help="Folder of each home that is collected at the end of a session.")
@click.option(
    "--homes",
    type=click.Choice([str(one) for one in HomesAfter]),
    default="keep",
    show_default=True,
    help="What becomes of students' homes when the course is archived.",
)
@click.option("--group", default="", help="A group of the hub whose members are students, besides the roster.")
@said_why
@json_option
def create(
    course_id: str,
    title: str,
    instructor: str,
    profile: str,
    gpus: int,
    models: tuple[str, ...],
    kinds: tuple[str, ...],
    gpu_memory: int,
    at_end: str,
    materials: str,
    branch: str,
    folder: str,
    data: str,
    collect: str,
    homes: str,
    group: str,
    why: str | None,
    as_json: bool,
) -> None:
    """Make a course. COURSE is its short name, of small letters, digits and hyphens.

    Its seats are their students' servers of that name.
    """
    output = Output(as_json)
    deployment = Deployment.load()
    desk = deployment.desk()
    wanted = Course(
        course_id,
        title,
        profile,
        actor(),
        desk.clock(),
        gpus=gpus,
        models=frozenset(models),
        kinds=frozenset(map(SlotKind, kinds)),
        memory=gpu_memory,
        at_end=AtEnd(at_end),
        materials=materials,
        branch=branch,
        folder=folder or (course_id if materials else ""),
        data=data,
        collect=collect,
        homes=HomesAfter(homes),
        group=group,
    )
    if (wrong := _unknown(deployment, wanted)) is not None:
        output.refuse(wrong.code, wrong.reason)
    made = operations.create(desk, wanted, actor(), why or "", instructor=instructor.lower())
    if isinstance(made, Deny):
        output.refuse(made.code, made.reason)
    notes = _notes(desk, made)
    output.say(f"Course {made.id} is made; its instructor is {instructor.lower()}.")
    for note in notes:
        output.say(f"Note: {note}")
    output.data(course_data(made) | {"notes": notes})


def _unknown(deployment: Deployment, course: Course) -> Deny | None:
    """Find what a course names that the settings do not have."""
    settings = deployment.settings
    profiles = [profile.slug for profile in settings.profiles]
    if course.profile not in profiles:
        return Deny("invalid_option", f"There is no profile {course.profile!r}; there are: {', '.join(profiles)}.")
    if course.data and course.data not in settings.classes.data_sets:
        there = ", ".join(sorted(settings.classes.data_sets)) or "none"
        return Deny("invalid_option", f"No data set is called {course.data!r} here; there are: {there}.")
    for path in filter(None, (course.folder, course.collect)):
        if (wrong := check_push_path(path)) is not None:
            return wrong
    return check_materials(course.materials, course.branch, settings.classes.materials, settings.classes.git_hosts)


def _notes(desk: Desk, course: Course) -> list[str]:
    """Tell what looks like a mistake and need not be one."""
    if not course.gpus:
        return []
    known = {gpu.model for gpu, _ in inventory.board(desk).gpus}
    there = ", ".join(sorted(known)) or "none"
    return [f"There is no GPU of model {name!r} now; there are: {there}." for name in sorted(course.models - known)]


@course.command()
@click.argument("course_id", metavar="COURSE")
@click.argument("users", nargs=-1, metavar="[USER]...")
@click.option("--role", type=click.Choice([str(role) for role in Role]), default="student", show_default=True)
@click.option(
    "--file",
    "roster",
    type=click.File(encoding="utf-8-sig"),
    help="A roster: a name per line, or CSV with a heading; - reads what is piped in. It lowers nobody's role.",
)
@said_why
@json_option
def enrol(
    course_id: str, users: tuple[str, ...], role: str, roster: TextIO | None, why: str | None, as_json: bool
) -> None:
    """Put USERs into a course, or give them another role; all of them or, where a name is wrong, nobody."""
    output = Output(as_json)
    names = [name.strip().lower() for name in users]
    read = Roster(()) if roster is None else _read(roster, output)
    names += read.users
    if not names:
        raise click.UsageError("Name users, or give a roster with --file.")
    answer = operations.enrol(
        Deployment.load().desk(),
        course_id,
        names,
        Role(role),
        actor(),
        why=why or "",
        agreed=True,
        lower=roster is None,
        roles=read.roles,
    )
    if isinstance(answer, Deny):
        output.refuse(answer.code, answer.reason)
    output.say(_enrolled(answer, Role(role), read.roles, course_id))
    output.data({"added": list(answer.added), "changed": list(answer.changed), "kept": list(answer.kept)})


def _read(roster: TextIO, output: Output) -> Roster:
    try:
        text = roster.read()
    except UnicodeDecodeError:
        output.refuse("invalid_option", f"{roster.name} is no text in UTF-8; save the table as CSV in UTF-8.")
    found = parse(text)
    if found.mistakes:
        told = [f"line {one.line}: {one.reason}" for one in found.mistakes[:_MISTAKES_SHOWN]]
        more = len(found.mistakes) - len(told)
        rest = f" And {more} more." if more else ""
        output.refuse("invalid_option", f"Nobody is put in; {roster.name} has mistakes. {' '.join(told)}{rest}")
    return found


def _enrolled(answer: Enrolled, role: Role, roles: Mapping[str, Role], course_id: str) -> str:
    count = Counter(roles.get(name, role) for name in answer.added)
    said = (
        f"{', '.join(plural(count[one], one) for one in Role if count[one]) or plural(0, role)} added to {course_id}."
    )
    for one in Role:
        if names := [name for name in answer.changed if roles.get(name, role) is one]:
            said += f" {', '.join(names)}: now {one}."
    if answer.kept:
        said += f" Already there: {', '.join(answer.kept)}."
    return said


@course.command()
@click.argument("course_id", metavar="COURSE")
@click.argument("users", nargs=-1, required=True, metavar="USER...")
@why_option
@json_option
def expel(course_id: str, users: tuple[str, ...], why: str, as_json: bool) -> None:
    """Take USERs out of a course; their homes stay."""
    output = Output(as_json)
    names = sorted({name.strip().lower() for name in users})
    gone = operations.expel(Deployment.load().desk(), course_id, names, actor(), why)
    if isinstance(gone, Deny):
        output.refuse(gone.code, gone.reason)
    if gone:
        output.say(f"Not in {course_id} any more: {', '.join(gone)}.")
    if strangers := [name for name in names if name not in gone]:
        output.say(f"Not in {course_id} anyway: {', '.join(strangers)}.")
    output.data({"removed": list(gone), "unknown": [name for name in names if name not in gone]})


@course.command()
@click.argument("course_id", metavar="COURSE")
@click.option("--back", is_flag=True, help="Bring an archived one back.")
@why_option
@json_option
def archive(course_id: str, back: bool, why: str, as_json: bool) -> None:
    """Put a course away; its roster and past sessions stay. Its students' homes are archived or kept, as it says."""
    output = Output(as_json)
    answer = operations.archive(Deployment.load().desk(), course_id, actor(), why, back=back)
    if isinstance(answer, Deny):
        output.refuse(answer.code, answer.reason)
    output.say(f"Course {answer.id} is {'back' if back else 'archived'}.")
    output.data(course_data(answer))


@course.command()
@click.argument("course_id", metavar="COURSE")
@click.option("--seats", type=_Limit(click.IntRange(1, 100_000)), default=None, help="In one session.")
@click.option("--gpu-hours", type=_Limit(click.FloatRange(0, 1e9)), help="Of all its sessions together.")
@click.option("--ahead", type=_Limit(SPAN), help="How long before its start a session may be reserved: 12h, 30d, 8w.")
@click.option("--why", type=LINE, help="The reason; stands in the audit. Needed to change a limit.")
@json_option
@click.pass_context
def limits(
    context: click.Context,
    course_id: str,
    seats: int | None,
    gpu_hours: float | None,
    ahead: timedelta | None,
    why: str | None,
    as_json: bool,
) -> None:
    """Show or set what a course may reserve; `none` takes a limit away. What is reserved already stays."""
    output = Output(as_json)
    values = {"seats": seats, "gpu_hours": gpu_hours, "ahead": ahead}
    source = click.core.ParameterSource.COMMANDLINE
    given: dict[str, Any] = {
        f"most_{name}": value for name, value in values.items() if context.get_parameter_source(name) is source
    }
    desk = Deployment.load().desk()
    if not given:
        found = operations.find(desk, course_id)
        output.say(f"{found.id}: {limits_words(found)}.")
        output.data(limits_data(found))
        return
    if not why:
        raise click.UsageError("Give the reason with --why.")
    changed = operations.change(desk, course_id, actor(), why, **given)
    if isinstance(changed, Deny):
        output.refuse(changed.code, changed.reason)
    output.say(f"{changed.id}: {limits_words(changed)}.")
    output.data(limits_data(changed))
