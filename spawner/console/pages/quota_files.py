"""Quotas from a file: tried first, then made."""

import base64
import binascii
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, UploadFile
from starlette.responses import Response

from ...errors import QuotaChanged, QuotaInvalid
from ...operations import quota_files, quotas
from ...operations.quota_files import FileFormat
from ...operations.quota_preview import preview_import
from ..callers import Caller, allowed
from ..context import Console, Here
from ..problems import Problem
from ..quota_desk import directory
from ..quota_words import DIMENSIONS, LEASE_EFFECTS, TICKET_EFFECTS, grant_text, value_text, whose
from ..rendering import go
from ..scopes import Scope

router = APIRouter()

Setter = Annotated[Caller, allowed(Scope.QUOTAS)]
Typed = Annotated[str, Form(max_length=2000)]

_FORMATS: dict[str, FileFormat] = {".csv": "csv", ".yaml": "yaml", ".yml": "yaml"}
_LISTED = 500


@router.get("/quotas/import")
def choose_file(request: Request, here: Here, caller: Setter) -> Response:
    return _form(request, here, caller)


def _form(request: Request, here: Console, caller: Caller, mistakes: str = "", **typed: Any) -> Response:
    values = {"text": "", "file_format": "yaml", "keep_others": True, "why": "", **typed}
    lines = mistakes.splitlines()
    return here.pages.render(
        request, caller, "quotas/import.html", mistakes=lines, status=422 if lines else 200, **values
    )


@router.post("/quotas/import/preview")
def try_file(
    request: Request,
    here: Here,
    caller: Setter,
    file: UploadFile | None = None,
    text: Annotated[str, Form()] = "",
    file_format: Annotated[str, Form(alias="format", max_length=10)] = "yaml",
    mode: Typed = "replace",
    why: Typed = "",
) -> Response:
    """Show what an import would do, before it is made."""
    named = file.filename if file is not None and file.filename else ""
    content = file.file.read() if file is not None and named else text.encode()
    form = _FORMATS.get(PurePath(named).suffix.lower()) or _FORMATS.get(f".{file_format}", "yaml")
    source, reason = named or here.pages.gettext(request)("the text"), " ".join(why.split())
    keep = mode == "add"
    typed = {"text": text, "file_format": form, "keep_others": keep, "why": why}
    if not content.strip():
        return _form(request, here, caller, here.pages.gettext(request)("Choose a file, or write one."), **typed)
    if not reason or not reason.isprintable():
        return _form(request, here, caller, here.pages.gettext(request)("Give a reason, in one line."), **typed)
    return _try(request, here, caller, content, form, source, reason, keep_others=keep, typed=typed)


def _try(
    request: Request,
    here: Console,
    caller: Caller,
    content: bytes,
    form: FileFormat,
    source: str,
    why: str,
    *,
    keep_others: bool,
    typed: dict[str, Any] | None = None,
    told: str = "",
) -> Response:
    try:
        grants = quota_files.read(content, form, source, here.clock())
    except QuotaInvalid as error:
        return _form(request, here, caller, str(error), **(typed or {}))
    known = directory(here)
    found = preview_import(here.desk, grants, known.people, keep_others=keep_others)
    translate = here.pages.gettext(request)
    return here.pages.render(
        request,
        caller,
        "quotas/import-preview.html",
        found=found,
        listed=_LISTED,
        shown_people=50,
        hub_known=known.known,
        whose=lambda grant: whose(translate, grant.subject, grant.name),
        dimensions=DIMENSIONS,
        lease_effects=LEASE_EFFECTS,
        ticket_effects=TICKET_EFFECTS,
        value_text=value_text,
        grant_text=grant_text,
        content=base64.b64encode(content).decode(),
        file_format=form,
        source=source,
        why=why,
        keep_others=keep_others,
        told=told,
        status=409 if told else 200,
    )


@router.post("/quotas/import/save")
def import_file(
    request: Request,
    here: Here,
    caller: Setter,
    content: Annotated[str, Form()],
    version: Annotated[int, Form()],
    why: Annotated[str, Form(min_length=1, max_length=2000)],
    file_format: Annotated[FileFormat, Form(alias="format")],
    source: Typed = "",
    mode: Typed = "replace",
) -> Response:
    """Make an import that was tried; if something was set meanwhile, it is shown anew first."""
    try:
        read = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise Problem(400, "invalid_request", "The file was damaged on its way. Choose it again.") from None
    keep, reason = mode == "add", " ".join(why.split())
    if not reason or not reason.isprintable():
        raise Problem(422, "quota_invalid", "A reason is one line of text, without control characters.")
    grants = quota_files.read(read, file_format, source or "the file", here.clock())
    try:
        done = quotas.replace_all(here.desk, grants, caller.name, reason, version, keep_others=keep)
    except QuotaChanged as error:
        told = str(error)
        return _try(request, here, caller, read, file_format, source, reason, keep_others=keep, told=told)
    translate = here.pages.gettext(request)
    return go(request, f"{here.prefix}quotas", translate("Imported. Values changed: %(count)s") % {"count": len(done)})
