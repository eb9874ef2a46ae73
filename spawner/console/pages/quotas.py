"""Quotas: one table, edited in place; what a change would do is shown before it is made."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from ...errors import QuotaChanged, QuotaInvalid
from ...operations import inventory, quotas
from ...operations.quota_preview import preview
from ...operations.quota_table import Cell, Filter, Place, row, table
from ...operations.quota_values import show_value
from ...operations.times import parse_time
from ...policy.accounting import hours_to_ms
from ...policy.model import Person
from ...policy.quota import ALL, QuotaGrant, Subject
from ..callers import Caller, allowed
from ..context import Console, Here
from ..paging import cursor_of, position_in
from ..problems import Problem
from ..quota_desk import Directory, check_key, directory, grant_of
from ..quota_words import DIMENSIONS, HINTS, LEASE_EFFECTS, TICKET_EFFECTS, grant_text, value_text, whose
from ..rendering import go, reader_of
from ..scopes import Scope

router = APIRouter()

Reader = Annotated[Caller, allowed(Scope.READ)]
Setter = Annotated[Caller, allowed(Scope.QUOTAS)]
Word = Annotated[str, Query(max_length=255)]
Typed = Annotated[str, Form(max_length=2000)]

_ROWS, _PEOPLE = 50, 50
_WORDS: dict[str, Any] = {
    "dimensions": DIMENSIONS,
    "lease_effects": LEASE_EFFECTS,
    "ticket_effects": TICKET_EFFECTS,
    "value_text": value_text,
    "grant_text": grant_text,
    "shown_people": _PEOPLE,
}


@router.get("/quotas")
def show_table(
    request: Request,
    here: Here,
    caller: Reader,
    search: Annotated[str, Query(max_length=200)] = "",
    subject: Word = "",
    everyone: bool = False,
    temporary: bool = False,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    position = position_in(cursor, str, str)
    known = directory(here)
    subjects = [Subject(subject)] if subject in list(Subject) else []
    after = (Subject(position[0]), position[1]) if position and position[0] in list(Subject) else None
    found = table(here.desk, known.people, Filter(search, subjects, everyone, temporary), after, _ROWS)
    asked = {"search": search, "subject": subject}
    asked |= {name: "true" for name, on in (("everyone", everyone), ("temporary", temporary)) if on}
    asked = {name: said for name, said in asked.items() if said}
    return here.pages.render(
        request,
        caller,
        "quotas/table.html",
        **_WORDS,
        found=found,
        asked=asked,
        all_query=urlencode({**asked, "everyone": "true"}),
        next_query=urlencode({**asked, "cursor": cursor_of(*found.rows[-1].place)}) if found.more else "",
        first_query=urlencode(asked) if cursor else "",
        paged=cursor is not None,
        back=request.url.query,
        may_set=caller.may(Scope.QUOTAS),
        hub_known=known.known,
    )


# --- one value ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Draft:
    """A value that is being edited, as it was typed."""

    subject: Subject
    name: str
    dimension: str
    value: str
    until: str
    why: str
    version: str

    @property
    def key(self) -> quotas.GrantKey:
        return self.subject, self.name, self.dimension


@router.get("/quotas/edit")
def edit(
    request: Request,
    here: Here,
    caller: Setter,
    subject: Word = "",
    name: Word = "",
    dimension: Word = "",
    back: Annotated[str, Query(max_length=2000)] = "",
) -> Response:
    """Edit one value; in the table, or as a page."""
    name = name.strip()
    if subject == Subject.DEFAULT:
        name = ""
    if subject not in list(Subject) or dimension not in DIMENSIONS or (subject != Subject.DEFAULT and not name):
        return here.pages.render(
            request, caller, "quotas/choose.html", **_WORDS, subject=subject, name=name, dimension=dimension, back=back
        )
    whom = check_key(subject, name, dimension)
    cell = row(here.desk, Place(whom, name)).cell(dimension)
    grant, holds = cell.grant, cell.own
    until = _local(request, grant.until) if grant and grant.until and not cell.over else ""
    value = "" if holds is None else show_value(dimension, holds)
    draft = _Draft(whom, name, dimension, value, until, "", quotas.grant_version(grant))
    return _editor(request, here, caller, draft, cell, back)


def _local(request: Request, moment: datetime) -> str:
    """Write a time as a field of the reader's zone takes it."""
    return moment.astimezone(reader_of(request).zone).strftime("%Y-%m-%dT%H:%M")


def _editor(
    request: Request, here: Console, caller: Caller, draft: _Draft, cell: Cell, back: str, mistake: str = ""
) -> Response:
    known: set[str] = set()
    if draft.dimension == "models":
        known = {gpu.model for gpu, _ in inventory.board(here.desk).gpus}
    elif draft.dimension == "profiles":
        known = {profile.slug for profile in here.catalogue}
    return here.pages.render(
        request,
        caller,
        "quotas/edit-row.html" if "HX-Request" in request.headers else "quotas/edit.html",
        **_WORDS,
        draft=draft,
        whom=whose(here.pages.gettext(request), draft.subject, draft.name),
        hint=HINTS[draft.dimension],
        there_are=sorted(known),
        cell=cell,
        back=back,
        mistake=mistake,
        status=422 if mistake else 200,
    )


@router.post("/quotas/preview")
def show_preview(
    request: Request,
    here: Here,
    caller: Setter,
    subject: Typed,
    dimension: Typed,
    name: Typed = "",
    value: Typed = "",
    until: Typed = "",
    zone: Typed = "UTC",
    why: Typed = "",
    version: Typed = "",
    back: Typed = "",
    action: Typed = "set",
) -> Response:
    """Show what a change would do, before it is made."""
    draft = _Draft(check_key(subject, name, dimension), name, dimension, value, until, " ".join(why.split()), version)
    try:
        end = _moment(until, zone)
        grant = None
        if action != "unset":
            grant = grant_of(here, subject, name, dimension, value, end, caller.name, draft.why)
        _check_reason(draft.why)
    except QuotaInvalid as error:
        cell = row(here.desk, Place(draft.subject, name)).cell(dimension)
        return _editor(request, here, caller, draft, cell, back, str(error))
    return _preview(request, here, caller, draft, grant, back)


def _check_reason(why: str) -> None:
    if not why or not why.isprintable():
        raise QuotaInvalid("Give a reason, in one line; others will want to know it.")


def _moment(said: str, zone: str) -> datetime | None:
    """Read a time of the zone that the field said: a browser's own may have become known only since."""
    if not said.strip():
        return None
    try:
        moment = datetime.fromisoformat(said.strip())
        aware = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
        return parse_time(aware.astimezone(UTC).isoformat())
    except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError):
        raise QuotaInvalid(f"The end must be a date and a time, not {said!r}.") from None


def _preview(
    request: Request, here: Console, caller: Caller, draft: _Draft, grant: QuotaGrant | None, back: str
) -> Response:
    known = directory(here)
    found = preview(here.desk, {draft.key: grant}, known.people)
    before = quotas.get_grant(here.desk, *draft.key)
    if quotas.grant_version(before) != draft.version:
        return _conflict(request, here, caller, draft, grant, before, back)
    return here.pages.render(
        request,
        caller,
        "quotas/preview-row.html" if "HX-Request" in request.headers else "quotas/preview.html",
        **_WORDS,
        draft=draft,
        grant=grant,
        before=before,
        whom=whose(here.pages.gettext(request), draft.subject, draft.name),
        found=found,
        notes=_notes(request, here, known, draft, grant),
        hub_known=known.known,
        until=grant.until.isoformat() if grant and grant.until else "",
        edit_query=urlencode(
            {"subject": draft.subject, "name": draft.name, "dimension": draft.dimension, "back": back}
        ),
        back=back,
    )


def _notes(request: Request, here: Console, known: Directory, draft: _Draft, grant: QuotaGrant | None) -> list[str]:
    """Tell what looks like a mistake and need not be one."""
    _, found = here.pages.gettext(request), []
    if known.known and draft.subject is Subject.USER and all(one.name != draft.name for one in known.people):
        found.append(_("The hub has no user of this name yet; it holds once there is one."))
    if known.known and draft.subject is Subject.GROUP and all(draft.name not in one.groups for one in known.people):
        found.append(_("Nobody is in a group of this name yet; it holds once somebody is."))
    if grant is not None and isinstance(grant.value, frozenset):
        there = (
            {gpu.model for gpu, _ in inventory.board(here.desk).gpus}
            if grant.dimension == "models"
            else {profile.slug for profile in here.catalogue}
        )
        strange = sorted(grant.value - there - ALL)
        found += [_("There is none of this name now: %(name)s.") % {"name": name} for name in strange]
    return found


@router.post("/quotas/save")
def save(
    request: Request,
    here: Here,
    caller: Setter,
    subject: Typed,
    dimension: Typed,
    why: Typed,
    version: Typed,
    name: Typed = "",
    value: Typed = "",
    until: Typed = "",
    back: Typed = "",
    action: Typed = "set",
) -> Response:
    """Make a change that was looked at; whoever comes second is shown both values."""
    key = check_key(subject, name, dimension), name, dimension
    draft = _Draft(*key, value, until, why, version)
    try:
        end = parse_time(until) if until else None
    except ValueError as error:
        raise Problem(422, "quota_invalid", f"until must be {error}.") from None
    reason = " ".join(why.split())
    _check_reason(reason)
    grant = None
    if action != "unset":
        grant = grant_of(here, subject, name, dimension, value, end, caller.name, reason)
    try:
        if grant is not None:
            quotas.set_quota(here.desk, grant, version)
        else:
            quotas.unset_quota(here.desk, *key, caller.name, reason, version)
    except QuotaChanged:
        return _conflict(request, here, caller, draft, grant, quotas.get_grant(here.desk, *key), back)
    _ = here.pages.gettext(request)
    title, whom = _(DIMENSIONS[dimension]), whose(_, key[0], name)
    said = _("%(what)s of %(whom)s: %(value)s") if grant else _("%(what)s of %(whom)s is not set any more.")
    return go(request, _table_path(here, back), said % {"what": title, "whom": whom, "value": grant_text(grant)})


def _table_path(here: Console, query: str) -> str:
    # Only ever a query of the table's own.
    return f"{here.prefix}quotas" + (f"?{query}" if query and query.isprintable() else "")


def _conflict(
    request: Request,
    here: Console,
    caller: Caller,
    draft: _Draft,
    mine: QuotaGrant | None,
    theirs: QuotaGrant | None,
    back: str,
) -> Response:
    """Show what somebody else has set meanwhile beside what was to be set."""
    who = theirs
    if who is None:
        with here.desk.ledger.reading() as books:
            [*last] = books.audit.list(limit=1, subject=" ".join(filter(None, draft.key)))
    else:
        last = []
    return here.pages.render(
        request,
        caller,
        "quotas/conflict-row.html" if "HX-Request" in request.headers else "quotas/conflict.html",
        **_WORDS,
        draft=draft,
        whom=whose(here.pages.gettext(request), draft.subject, draft.name),
        mine=mine,
        theirs=theirs,
        last=last[0] if last else None,
        version=quotas.grant_version(theirs),
        until=mine.until.isoformat() if mine and mine.until else "",
        back=back,
        status=409,
    )


# --- why ----------------------------------------------------------------------------------------------------------


@router.get("/quotas/why")
def show_why(
    request: Request,
    here: Here,
    caller: Reader,
    user: Word = "",
    groups: Annotated[str, Query(max_length=2000)] = "",
) -> Response:
    """Explain somebody's quota."""
    name = user.strip()
    values: dict[str, Any] = {"account": None, "known": True, "user": name, "groups": groups}
    if name:
        members = directory(here)
        person = next((one for one in members.people if one.name == name), None)
        given = frozenset(part.strip() for part in groups.split(",") if part.strip())
        shown = Person(name, given or (person.groups if person else frozenset()))
        account = quotas.account(here.desk, shown)
        by_name = {one.dimension: one for one in account.quota}
        limit = hours_to_ms(by_name["gpu_hours"].origin.value)
        values |= {
            "account": account,
            "explained": [(title, by_name[dimension]) for dimension, title in DIMENSIONS.items()],
            "known": person is not None,
            "hub_known": members.known,
            "as_if": bool(given),
            "limit": limit,
            "left": None if limit is None else max(0, limit - account.used_ms - account.committed_ms),
            "window": here.desk.rules.window,
            "at_once": by_name["gpus"].origin.value,
        }
    return here.pages.render(request, caller, "quotas/why.html", **_WORDS, may_set=caller.may(Scope.QUOTAS), **values)
