"""``berth session``: when courses meet, and how their seats are."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NoReturn
from zoneinfo import ZoneInfo

import click

from ..operations import courses, session_changes
from ..operations import seats as seat_operations
from ..operations import sessions as operations
from ..operations.session_changes import Change, Changed
from ..operations.sessions import Answer, NoFit, Plan, Planned, Shortened
from ..policy.classes import Late, Session, seat_state
from ..policy.model import Deny
from ..policy.recurrence import Span, Weekly, occurrences
from .arguments import LINE, SINCE, SPAN, actor, why_option
from .class_shapes import (
    SESSION_HEADINGS,
    no_fit_data,
    no_fit_words,
    seat_data,
    seat_note,
    session_data,
    session_row,
    shortened_data,
)
from .deployment import Deployment
from .output import Output, json_option
from .shapes import minute, plural

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_AHEAD = timedelta(days=28)
_BOARD = ("seat", "state", "ready (UTC)", "there since (UTC)", "last seen at work (UTC)", "note")


class _Zone(click.ParamType[ZoneInfo]):
    """A time zone."""

    name = "zone"

    def convert(self, value: str | ZoneInfo, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:
        if isinstance(value, ZoneInfo):
            return value
        try:
            return ZoneInfo(value)
        except (ValueError, OSError, KeyError):
            self.fail(f"there is no time zone {value!r}; they are called like Europe/Berlin.", param, ctx)


class _Local(click.ParamType[datetime]):
    """A point in time as clocks somewhere show it, or with a zone of its own."""

    name = "time"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        text = value.strip()
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or len(text) <= len("2027-03-01"):
            self.fail(f'expected a day and a time such as "2027-03-01 14:00", not {value!r}.', param, ctx)
        return moment


class _Day(click.ParamType[date]):
    name = "day"

    def convert(self, value: str | date, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"expected a day such as 2027-03-01, not {value!r}.", param, ctx)


@click.group()
def session() -> None:
    """Reserve sessions of courses, change or cancel them, look at their seats."""


@session.command("list")
@click.option("--course", help="Of one course: all of them, past and cancelled ones too.")
@click.option("--since", type=SINCE, help="Begin: a date or time (UTC), or how long ago, as 12h, 7d [default: now].")
@click.option("--until", type=SPAN, help="How far ahead, as 7d, 20w [default: 4 weeks].")
@json_option
def list_sessions(
    course: str | None, since: datetime | timedelta | None, until: timedelta | None, as_json: bool
) -> None:
    """Show the sessions that run or are to come, of all courses; of one course all."""
    output = Output(as_json)
    desk = Deployment.load().desk()
    now = desk.clock()
    begin = now if since is None else since if isinstance(since, datetime) else now - since
    if course is not None:
        courses.find(desk, course)
    if course is None or since is not None or until is not None:
        found = [one for one, _ in operations.upcoming(desk, begin, now + (until or _AHEAD))]
        found = [one for one in found if course is None or one.course == course]
    else:
        with desk.ledger.reading() as books:
            found = books.sessions.of_course(course)
    output.data([session_data(one, now) for one in found])
    if not found:
        output.say(f"There are no sessions{f' of {course}' if course else ''} in that time.")
        return
    output.listing(SESSION_HEADINGS, [session_row(one, now) for one in found])


@session.command()
@click.argument("session_id", metavar="SESSION")
@json_option
def show(session_id: str, as_json: bool) -> None:
    """Show one session."""
    output = Output(as_json)
    desk = Deployment.load().desk()
    found, now = operations.find(desk, session_id), desk.clock()
    output.data(session_data(found, now))
    if output.as_json:
        return
    rows = [
        ("session", found.id),
        ("course", found.course),
        ("title", found.title),
        ("state", found.phase(now)),
        ("from", f"{minute(found.starts_at)} UTC"),
        ("until", f"{minute(found.ends_at)} UTC"),
        ("seats", str(found.seats)),
        ("GPUs reserved from", f"{minute(found.reserved_from)} UTC" if found.reservation else ""),
        ("unused seats go back", f"{minute(found.starts_at + found.grace)} UTC"),
        ("who comes later", found.late),
        ("exam mode", "yes" if found.exam else ""),
        ("series", found.series),
        ("reserved by", f"{found.created_by}, {minute(found.created_at)} UTC"),
        ("cancelled", f"{minute(found.cancelled_at)} UTC" if found.cancelled_at else ""),
    ]
    output.table([(name, value) for name, value in rows if value])


@session.command()
@click.argument("course")
@click.option("--from", "begins", type=_Local(), required=True, help='Such as "2027-03-01 14:00".')
@click.option("--until", type=_Local(), help="Likewise.")
@click.option("--for", "length", type=SPAN, help="How long, instead of --until: 90m, 2h.")
@click.option("--zone", type=_Zone(), default="UTC", show_default=True, help="Whose clocks these times are.")
@click.option("--seats", type=click.IntRange(1, 100_000), required=True)
@click.option("--title", type=LINE)
@click.option(
    "--lead",
    type=click.IntRange(0, 1440),
    default=15,
    show_default=True,
    metavar="MINUTES",
    help="Before the start: from then on the GPUs are reserved, and seats are started.",
)
@click.option(
    "--grace",
    type=click.IntRange(0, 1440),
    default=15,
    show_default=True,
    metavar="MINUTES",
    help="After the start: then seats that nobody came to go back.",
)
@click.option(
    "--late",
    type=click.Choice([str(late) for late in Late]),
    default="first",
    show_default=True,
    help="Who comes after that: first in the queue, like everybody in the queue, or refused.",
)
@click.option("--exam", is_flag=True, help="In exam mode.")
@click.option("--no-terminals", is_flag=True, help="Seats have no terminals.")
@click.option("--weekly-until", "last", type=_Day(), help="Each week, this day included at the most.")
@click.option("--on", "days", type=click.Choice(_DAYS), multiple=True, help="With --weekly-until: on which days.")
@click.option("--skip", "skipped", type=_Day(), multiple=True, help="With --weekly-until: a day without one.")
@click.option("--dry-run", is_flag=True, help="Only tell whether it fits, and who would have to make room.")
@click.option("--why", type=LINE, help="A reason; stands in the audit.")
@json_option
def reserve(
    course: str,
    begins: datetime,
    until: datetime | None,
    length: timedelta | None,
    zone: ZoneInfo,
    seats: int,
    title: str | None,
    lead: int,
    grace: int,
    late: str,
    exam: bool,
    no_terminals: bool,
    last: date | None,
    days: Sequence[str],
    skipped: Sequence[date],
    dry_run: bool,
    why: str | None,
    as_json: bool,
) -> None:
    """Reserve a session of COURSE, or a weekly series: all of it, or where one does not fit nothing.

    Once reserved it is certain. Leases that would run into it end before; who holds them is told.
    """
    output = Output(as_json)
    if (until is None) == (length is None):
        raise click.UsageError("Give --until or --for.")
    if (days or skipped) and last is None:
        raise click.UsageError("--on and --skip go with --weekly-until.")
    start = _local(begins, zone)
    span = length if length is not None else _local(until or begins, zone) - start
    spans = _spans(start, span, zone, last, days, skipped)
    if isinstance(spans, Deny):
        output.refuse(spans.code, spans.reason)
    plan = Plan(
        course,
        spans,
        seats,
        title=title or "",
        lead=timedelta(minutes=lead),
        grace=timedelta(minutes=grace),
        late=Late(late),
        exam=exam,
        terminals=not no_terminals,
    )
    desk = Deployment.load().desk()
    answer = operations.preview(desk, plan, actor()) if dry_run else operations.book(desk, plan, actor(), why or "")
    _tell(answer, output, desk.clock(), dry_run=dry_run)


def _local(moment: datetime, zone: ZoneInfo) -> datetime:
    return (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment).astimezone(UTC)


def _spans(
    start: datetime, length: timedelta, zone: ZoneInfo, last: date | None, days: Sequence[str], skipped: Sequence[date]
) -> tuple[Span, ...] | Deny:
    if last is None:
        return ((start, start + length),)
    local = start.astimezone(zone)
    weekdays = frozenset(map(_DAYS.index, days)) or frozenset({local.weekday()})
    return occurrences(Weekly(weekdays, local.time(), length, zone.key, local.date(), last, frozenset(skipped)))


def _tell(answer: Answer, output: Output, now: datetime, *, dry_run: bool) -> None:
    if not isinstance(answer, Planned):
        _refuse(answer, output)
    output.data(
        {
            "reserved": not dry_run,
            "sessions": [session_data(one, now) for one in answer.sessions],
            "shortened": [shortened_data(one) for one in answer.shortened],
        }
    )
    _listed(answer, output, now, dry_run=dry_run)


def _refuse(answer: NoFit | Deny, output: Output) -> NoReturn:
    if isinstance(answer, NoFit):
        output.refuse(answer.denied.code, no_fit_words(answer), **no_fit_data(answer))
    output.refuse(answer.code, answer.reason)


def _listed(answer: Planned, output: Output, now: datetime, *, dry_run: bool) -> None:
    count = plural(len(answer.sessions), "session")
    output.say(f"{count} would fit; nothing is reserved." if dry_run else f"{count} reserved.")
    output.listing(SESSION_HEADINGS, [session_row(one, now) for one in answer.sessions])
    _make_room(answer.shortened, output, dry_run=dry_run)


def _make_room(shortened: Sequence[Shortened], output: Output, *, dry_run: bool) -> None:
    if not shortened:
        return
    output.say(f"To make room, {plural(len(shortened), 'lease')} {'would end' if dry_run else 'ends'} earlier:")
    output.listing(
        ("lease", "user", "ends (UTC)", "was to end (UTC)"),
        [(one.lease.id, one.lease.user, minute(one.ends_at), minute(one.lease.ends_at)) for one in shortened],
    )


@session.command()
@click.argument("session_id", metavar="SESSION")
@click.option("--from", "begins", type=_Local(), help="Moves it; it stays as long as it is, unless its end is given.")
@click.option("--until", type=_Local(), help='Its end, such as "2027-03-01 16:00".')
@click.option("--for", "length", type=SPAN, help="How long, instead of --until: 90m, 2h.")
@click.option("--zone", type=_Zone(), default="UTC", show_default=True, help="Whose clocks these times are.")
@click.option("--seats", type=click.IntRange(1, 100_000))
@click.option("--title", type=LINE)
@click.option(
    "--lead", type=click.IntRange(0, 1440), metavar="MINUTES", help="Before the start: when seats are started."
)
@click.option("--grace", type=click.IntRange(0, 1440), metavar="MINUTES", help="After it: when unused seats go back.")
@click.option("--late", type=click.Choice([str(late) for late in Late]), help="What is for those who come after that.")
@click.option("--exam/--no-exam", default=None, help="Whether in exam mode.")
@click.option("--terminals/--no-terminals", default=None, help="Whether seats have terminals.")
@click.option("--dry-run", is_flag=True, help="Only tell whether it fits, and who would have to make room.")
@click.option("--why", type=LINE, help="A reason; stands in the audit.")
@json_option
def change(
    session_id: str,
    begins: datetime | None,
    until: datetime | None,
    length: timedelta | None,
    zone: ZoneInfo,
    seats: int | None,
    title: str | None,
    lead: int | None,
    grace: int | None,
    late: str | None,
    exam: bool | None,
    terminals: bool | None,
    dry_run: bool,
    why: str | None,
    as_json: bool,
) -> None:
    """Move a session, or make it larger, smaller, longer or shorter; where that does not fit, it stays as it is.

    Once its seats are being started, only its end, title, grace and late policy change.
    """
    output = Output(as_json)
    if until is not None and length is not None:
        raise click.UsageError("Give --until or --for, not both.")
    given = (begins, until, length, seats, title, lead, grace, late, exam, terminals)
    if all(one is None for one in given):
        raise click.UsageError("Say what is to change.")
    desk = Deployment.load().desk()
    starts_at, ends_at = _times(operations.find(desk, session_id), begins, until, length, zone)
    wanted = Change(
        starts_at,
        ends_at,
        seats,
        title,
        None if lead is None else timedelta(minutes=lead),
        None if grace is None else timedelta(minutes=grace),
        None if late is None else Late(late),
        exam,
        terminals,
    )
    if dry_run:
        answer = session_changes.preview_change(desk, session_id, wanted)
    else:
        answer = session_changes.change(desk, session_id, wanted, actor(), why or "")
    if not isinstance(answer, Changed):
        _refuse(answer, output)
    said = "It would fit; nothing is changed." if dry_run else "Session changed."
    _tell_change(answer, said, output, desk.clock(), dry_run=dry_run)


def _times(
    was: Session, begins: datetime | None, until: datetime | None, length: timedelta | None, zone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """Give the begin and end that are asked for; None for as it is."""
    if begins is None and until is None and length is None:
        return None, None
    start = was.starts_at if begins is None else _local(begins, zone)
    end = start + (was.length if length is None else length) if until is None else _local(until, zone)
    return (None if begins is None else start), end


def _tell_change(answer: Changed, said: str, output: Output, now: datetime, *, dry_run: bool = False) -> None:
    output.data(
        {
            "changed": not dry_run,
            "session": session_data(answer.session, now),
            "shortened": [shortened_data(one) for one in answer.shortened],
        }
    )
    output.say(said)
    output.listing(SESSION_HEADINGS, [session_row(answer.session, now)])
    _make_room(answer.shortened, output, dry_run=dry_run)


@session.command()
@click.argument("session_id", metavar="SESSION")
@click.option("--by", type=SPAN, required=True, help="How much later it ends: 15m, 1h.")
@click.option("--why", type=LINE, help="A reason; stands in the audit.")
@json_option
def extend(session_id: str, by: timedelta, why: str | None, as_json: bool) -> None:
    """Let a session last longer, also while it runs; until another class has its GPUs."""
    output = Output(as_json)
    desk = Deployment.load().desk()
    answer = session_changes.extend(desk, session_id, by, actor(), why or "")
    if not isinstance(answer, Changed):
        _refuse(answer, output)
    _tell_change(answer, f"It ends at {minute(answer.session.ends_at)} UTC.", output, desk.clock())


@session.command()
@click.argument("session_id", metavar="SESSION")
@click.option("--following", is_flag=True, help="The later ones of its series, too.")
@why_option
@json_option
def cancel(session_id: str, following: bool, why: str, as_json: bool) -> None:
    """Call a session off; its GPUs are free at once, and seats that run are stopped."""
    output = Output(as_json)
    desk = Deployment.load().desk()
    answer = operations.cancel(desk, session_id, actor(), why, following=following)
    if isinstance(answer, Deny):
        output.refuse(answer.code, answer.reason)
    output.say(f"{plural(len(answer), 'session')} cancelled.")
    now = desk.clock()
    output.data([session_data(one, now) for one in answer])


@session.command()
@click.argument("session_id", metavar="SESSION")
@json_option
def board(session_id: str, as_json: bool) -> None:
    """Show a session's seats: state, who asks for help and in which order, what is wrong."""
    output = Output(as_json)
    desk = Deployment.load().desk()
    (found, seats), now = seat_operations.board(desk, session_id), desk.clock()
    output.data({"session": session_data(found, now), "seats": [seat_data(one, seats, now) for one in seats]})
    if not seats:
        output.say(f"Nobody is in {found.course} yet; `berth course enrol` puts people in.")
        return
    output.listing(
        _BOARD,
        [
            (
                one.user,
                seat_state(one, now).replace("_", " "),
                minute(one.ready_at),
                minute(one.entered_at),
                minute(one.active_at),
                seat_note(one, seats),
            )
            for one in seats
        ],
    )
