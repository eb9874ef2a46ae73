"""Quotas: what is set, setting it, what that would do, and why somebody has what they have."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from ...errors import QuotaChanged
from ...operations import quotas
from ...operations.quota_preview import preview
from ...operations.quota_table import Filter, table
from ...operations.quotas import Edits, grant_version
from ...policy.model import Person
from ...policy.quota import QuotaGrant, Subject
from ..callers import Caller, allowed
from ..context import Console, Here
from ..paging import Cursor, Limit, Page, cursor_of, position_in
from ..problems import Problem
from ..quota_desk import check_key, directory, grant_of
from ..scopes import Scope
from .quota_models import (
    AccountModel,
    Dimension,
    GrantModel,
    NewValue,
    Plan,
    PreviewModel,
    RowModel,
    account_model,
    grant_model,
    preview_model,
    row_model,
)
from .versions import VERSIONED, WRITING, if_match

router = APIRouter(tags=["quotas"])

READING = [allowed(Scope.READ)]
Setter = Annotated[Caller, allowed(Scope.QUOTAS)]
Named = Annotated[Literal["group", "user"], Path(description="Whose kind of quota.")]
Search = Annotated[
    str, Query(max_length=200, description="Words that all occur in the name, or in an author or a reason.")
]
Temporary = Annotated[bool, Query(description="Only values that end by themselves.")]
PathName = Annotated[str, Path(max_length=255, description="Of the group or user.")]
PathDimension = Annotated[Dimension, Path(description="What is bounded.")]
Reason = Annotated[str, Query(min_length=1, max_length=500, pattern=r"\S", description="For the audit.")]

_NO_SUCH = "none of ours"
_OF_GRANT = if_match("The ETag of what is set, `*` for whatever is. Where nothing is, send `If-None-Match: *`.")


@router.get("/quotas", dependencies=READING, responses=VERSIONED)
def list_grants(
    here: Here,
    answer: Response,
    subject: Annotated[Subject | None, Query(description="Whose kind of quota.")] = None,
    name: Annotated[str | None, Query(max_length=255, description="Of the group or user.")] = None,
    dimension: Annotated[Dimension | None, Query(description="What is bounded.")] = None,
    search: Search = "",
    temporary: Temporary = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[GrantModel]:
    """List what admins have set: the default's, then groups', then users'. The ETag is that of all that is set."""
    position = position_in(cursor, int, str, str)
    now, found = here.clock(), quotas.all_set(here.desk)
    answer.headers["ETag"] = f'"{found.version}"'
    words = search.casefold().split()
    chosen = [
        grant
        for grant in found.grants
        if (subject is None or grant.subject == subject)
        and (name is None or grant.name == name)
        and (dimension is None or grant.dimension == dimension)
        and (not temporary or grant.until is not None)
        and all(word in _said(grant) for word in words)
    ]
    following = [grant for grant in chosen if position is None or _position(grant) > position]
    last = _position(following[limit - 1]) if len(following) > limit else None
    items = [grant_model(grant, now) for grant in following[:limit]]
    return Page(items=items, next=cursor_of(*last) if last else None)


def _said(grant: QuotaGrant) -> str:
    return "\n".join([grant.subject, grant.name, grant.dimension, grant.by, grant.why]).casefold()


def _position(grant: QuotaGrant) -> tuple[int, str, str]:
    return list(Subject).index(grant.subject), grant.name, grant.dimension


@router.get("/quotas/table", dependencies=READING, responses=VERSIONED)
def read_table(
    here: Here,
    answer: Response,
    subject: Annotated[list[Subject], Query(max_length=3, description="Whose kind of quota.")] = [],  # noqa: B006  FastAPI copies it
    search: Search = "",
    everyone: Annotated[bool, Query(description="Also groups and users of whom nothing is said.")] = False,
    temporary: Temporary = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[RowModel]:
    """Show quotas as a table: what the settings say, what is set, and what users have in the end."""
    position = position_in(cursor, str, str)
    if position is not None and position[0] not in list(Subject):
        raise Problem(400, "invalid_cursor", "This cursor is none of ours; begin without one.")
    after = (Subject(position[0]), position[1]) if position else None
    people = directory(here).people
    found = table(here.desk, people, Filter(search, subject, everyone, temporary), after, limit)
    answer.headers["ETag"] = f'"{found.version}"'
    now = here.clock()
    following = cursor_of(*found.rows[-1].place) if found.more else None
    return Page(items=[row_model(row, now) for row in found.rows], next=following)


@router.post("/quotas/preview")
def preview_changes(
    here: Here,
    caller: Setter,
    plan: Plan,
    limit: Annotated[int, Query(ge=0, le=10_000, description="People listed at most.")] = 100,
) -> PreviewModel:
    """Tell what setting and taking back values would do: to whom, to leases that run, to those who wait.

    Nothing is changed. `limit` is for the list of people.
    """
    edits: Edits = {
        (change.subject, change.name, change.dimension): None
        if change.value is None
        else grant_of(
            here, change.subject, change.name, change.dimension, change.value, change.until, caller.name, "preview"
        )
        for change in plan.changes
    }
    for key in edits:
        check_key(*key)
    known = directory(here)
    return preview_model(preview(here.desk, edits, known.people), here.clock(), limit, people_known=known.known)


# --- one value ----------------------------------------------------------------------------------------------------


@router.get("/quotas/default/{dimension}", dependencies=READING, responses=VERSIONED)
def read_default(here: Here, answer: Response, dimension: PathDimension) -> GrantModel:
    """Tell what is set by default; 404 if nothing is, so that the settings hold."""
    return _read(here, answer, "default", "", dimension)


@router.get("/quotas/{subject}/{name:path}/{dimension}", dependencies=READING, responses=VERSIONED)
def read_grant(here: Here, answer: Response, subject: Named, name: PathName, dimension: PathDimension) -> GrantModel:
    """Tell what is set for a group or user; 404 if nothing is, so that the settings hold."""
    return _read(here, answer, subject, name, dimension)


def _read(here: Console, answer: Response, subject: str, name: str, dimension: str) -> GrantModel:
    grant = quotas.get_grant(here.desk, check_key(subject, name, dimension), name, dimension)
    if grant is None:
        raise Problem(404, "not_set", f"No {dimension} is set for {f'{subject} {name}'.strip()}; the settings hold.")
    answer.headers["ETag"] = f'"{grant_version(grant)}"'
    return grant_model(grant, here.clock())


@router.put("/quotas/default/{dimension}", responses={**VERSIONED, **WRITING}, openapi_extra=_OF_GRANT)
def set_default(
    request: Request, here: Here, caller: Setter, answer: Response, dimension: PathDimension, value: NewValue
) -> GrantModel:
    """Set a value by default. It goes before the settings, and holds at once."""
    return _set(request, here, caller, answer, "default", "", dimension, value)


@router.put("/quotas/{subject}/{name:path}/{dimension}", responses={**VERSIONED, **WRITING}, openapi_extra=_OF_GRANT)
def set_grant(
    request: Request,
    here: Here,
    caller: Setter,
    answer: Response,
    subject: Named,
    name: PathName,
    dimension: PathDimension,
    value: NewValue,
) -> GrantModel:
    """Set a value for a group or user. It goes before the settings, and holds at once."""
    return _set(request, here, caller, answer, subject, name, dimension, value)


def _set(
    request: Request,
    here: Console,
    caller: Caller,
    answer: Response,
    subject: str,
    name: str,
    dimension: str,
    said: NewValue,
) -> GrantModel:
    key = check_key(subject, name, dimension), name, dimension
    expected = _expected(request, here, *key)
    grant = grant_of(here, subject, name, dimension, said.value, said.until, caller.name, said.why)
    try:
        quotas.set_quota(here.desk, grant, expected)
    except QuotaChanged as error:
        raise _changed(error, here, *key) from None
    answer.headers["ETag"] = f'"{grant_version(grant)}"'
    return grant_model(grant, here.clock())


@router.delete("/quotas/default/{dimension}", status_code=204, responses=WRITING, openapi_extra=_OF_GRANT)
def unset_default(request: Request, here: Here, caller: Setter, dimension: PathDimension, why: Reason) -> None:
    """Take back what is set by default, so that the settings hold again."""
    _unset(request, here, caller, "default", "", dimension, why)


@router.delete("/quotas/{subject}/{name:path}/{dimension}", status_code=204, responses=WRITING, openapi_extra=_OF_GRANT)
def unset_grant(
    request: Request, here: Here, caller: Setter, subject: Named, name: PathName, dimension: PathDimension, why: Reason
) -> None:
    """Take back what is set for a group or user, so that the settings hold again."""
    _unset(request, here, caller, subject, name, dimension, why)


def _unset(request: Request, here: Console, caller: Caller, subject: str, name: str, dimension: str, why: str) -> None:
    key = check_key(subject, name, dimension), name, dimension
    reason = " ".join(why.split())
    if not reason.isprintable():
        raise Problem(422, "quota_invalid", "A reason is one line of text, without control characters.")
    if quotas.get_grant(here.desk, *key) is None:
        raise Problem(404, "not_set", f"No {dimension} is set for {f'{subject} {name}'.strip()}.")
    expected = _expected(request, here, *key)
    try:
        quotas.unset_quota(here.desk, *key, caller.name, reason, expected)
    except QuotaChanged as error:
        raise _changed(error, here, *key) from None


def _expected(request: Request, here: Console, subject: Subject, name: str, dimension: str) -> str | None:
    """Tell which version the caller has seen; None if any will do."""
    matches = request.headers.get("If-Match")
    if matches is None and request.headers.get("If-None-Match", "").strip() == "*":
        return grant_version(None)
    if matches is None:
        raise Problem(
            428,
            "version_needed",
            "Say in If-Match which version you have seen: the ETag of the GET, or * for any; where nothing is set, "
            "If-None-Match: *.",
        )
    current = quotas.get_grant(here.desk, subject, name, dimension)
    said = {one.strip().removeprefix("W/").strip('"') for one in matches.split(",")}
    if current is None or grant_version(current) in said:
        return grant_version(current) if current else _NO_SUCH
    return None if "*" in said else _NO_SUCH


def _changed(error: QuotaChanged, here: Console, subject: Subject, name: str, dimension: str) -> Problem:
    """Tell what is there now, so that the caller can decide anew."""
    grant = quotas.get_grant(here.desk, subject, name, dimension)
    current = grant_model(grant, here.clock()).model_dump(mode="json") if grant else None
    headers = {"ETag": f'"{grant_version(grant)}"'} if grant else {}
    return Problem(412, error.code, str(error), headers, current=current)


# --- why ----------------------------------------------------------------------------------------------------------


@router.get("/users/{name}/quota")
def read_quota(
    here: Here,
    caller: Annotated[Caller, allowed(Scope.SELF_READ)],
    name: Annotated[str, Path(max_length=255, description="Of the user.")],
    group: Annotated[
        Sequence[str],
        Query(max_length=100, description="As if a member of these groups and no others; for who may read all."),
    ] = (),
) -> AccountModel:
    """Explain somebody's quota: each value, where it comes from, and what is left of the GPU-hours.

    One's own takes `custom:berth:read:self`, and leaves out who has set a value and why.
    """
    user, in_full = caller.subject(name), caller.may(Scope.READ)
    if group and not in_full:
        raise Problem(403, "scope_missing", f"Other groups than one's own take {Scope.READ}.", scope=Scope.READ)
    own = caller.kind == "user" and user == caller.name
    person = caller.person if own else Person(user, here.people.get(user).groups)
    if group:
        person = Person(user, frozenset(group))
    found = quotas.account(here.desk, person)
    return account_model(found, here.desk.rules.window.total_seconds() / 86_400, in_full=in_full)
