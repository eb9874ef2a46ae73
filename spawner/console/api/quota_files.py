"""Quotas as files: all that is set, out and in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from ...operations import quota_files, quotas
from ...operations.quota_files import FileFormat
from ...operations.quota_preview import preview_import
from ..callers import Caller, allowed
from ..context import Here
from ..problems import Problem
from ..quota_desk import directory
from ..scopes import Scope
from .quota_models import ImportModel, change_model, preview_model
from .versions import ETAG, PROBLEM, WRITING, if_match

router = APIRouter(tags=["quotas"])

Setter = Annotated[Caller, allowed(Scope.QUOTAS)]
_TYPES: dict[str, FileFormat] = {
    "text/csv": "csv",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/yaml": "yaml",
}
_OF_ALL = if_match("The ETag of all that is set, as a dry run gives it, or `*`; a dry run itself needs none.")


@router.get(
    "/quotas/export",
    dependencies=[allowed(Scope.READ)],
    response_class=Response,
    responses={200: {"headers": ETAG, "content": {"text/csv": {}, "application/yaml": {}}}},
)
def export_all(
    here: Here, file_format: Annotated[FileFormat, Query(alias="format", description="Of the file.")] = "yaml"
) -> Response:
    """Write all that is set as a file that can be imported. What is over is left out."""
    found, now = quotas.all_set(here.desk), here.clock()
    text = quota_files.write([one for one in found.grants if one.until is None or one.until > now], file_format)
    headers = {"ETag": f'"{found.version}"', "Content-Disposition": f'attachment; filename="quotas.{file_format}"'}
    media_type = "text/csv; charset=utf-8" if file_format == "csv" else "application/yaml"
    return Response(text, headers=headers, media_type=media_type)


async def _content(request: Request) -> bytes:
    return await request.body()


@router.post(
    "/quotas/import",
    responses={
        200: {"headers": ETAG},
        415: {"description": "Neither CSV nor YAML.", **PROBLEM},
        **WRITING,
    },
    openapi_extra={
        **_OF_ALL,
        "requestBody": {
            "required": True,
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/yaml": {"schema": {"type": "string"}},
            },
        },
    },
)
def import_all(
    request: Request,
    here: Here,
    caller: Setter,
    answer: Response,
    content: Annotated[bytes, Depends(_content)],
    dry_run: Annotated[bool, Query(description="Tell what would change; change nothing.")] = False,
    keep_others: Annotated[bool, Query(description="Leave what the file does not name as it is.")] = False,
    why: Annotated[
        str, Query(max_length=500, description="For values whose line gives no reason, and for what is taken back.")
    ] = "imported",
) -> ImportModel:
    """Replace all that is set by what a file says, all or nothing. Mistakes are told line by line."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise Problem(415, "unknown_format", "Send text/csv or application/yaml, and say so in Content-Type.")
    now = here.clock()
    grants = quota_files.read(content, _TYPES[kind], "the file", now)
    if dry_run:
        known = directory(here)
        found = preview_import(here.desk, grants, known.people, keep_others=keep_others)
        told = preview_model(found, now, 100, people_known=known.known)
        answer.headers["ETag"] = f'"{found.version}"'
        return ImportModel(done=False, version=told.version, changes=told.changes, preview=told)
    reason = " ".join(why.split()) or "imported"
    expected = _expected_of_all(request)
    done = quotas.replace_all(here.desk, grants, caller.name, reason, expected, keep_others=keep_others)
    version = str(quotas.all_set(here.desk).version)
    answer.headers["ETag"] = f'"{version}"'
    return ImportModel(done=True, version=version, changes=[change_model(one, now) for one in done], preview=None)


def _expected_of_all(request: Request) -> int | None:
    matches = request.headers.get("If-Match")
    if matches is None:
        raise Problem(428, "version_needed", "Say in If-Match which version you have seen: that of a dry run, or *.")
    said = {one.strip().removeprefix("W/").strip('"') for one in matches.split(",")}
    if "*" in said:
        return None
    return max((int(one) for one in said if one.isascii() and one.isdecimal() and len(one) < 19), default=-1)
