"""What staff send to a class's seats and take from them: messages, files, collections of work."""

import tempfile
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import FileResponse, Response, StreamingResponse

from ...operations import announcements, collections, handouts
from ...policy.model import Deny
from ..class_desk import places
from ..context import Here
from ..course_access import SessionOf, StaffOf
from ..problems import refused
from .class_models import (
    CollectionsModel,
    MessageModel,
    NewMessage,
    PushModel,
    collected_model,
    message_model,
    push_model,
)

router = APIRouter(tags=["classes"])

_PATH = "/courses/{course}/sessions/{session}"
_IN_MEMORY = 1 << 20
_FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A tar archive.", "content": {"application/gzip": {}}}
}
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"description": "Archives, and a table of them.", "content": {"application/zip": {}}}
}


@router.get(f"{_PATH}/messages")
def list_messages(here: Here, found: StaffOf, session: SessionOf) -> list[MessageModel]:  # noqa: ARG001  who may
    """List all messages of a session as they were sent."""
    return [message_model(one) for one in announcements.of_session(here.desk, session.id)]


@router.post(f"{_PATH}/messages", status_code=201)
def send_message(new: NewMessage, here: Here, found: StaffOf, session: SessionOf) -> MessageModel:
    """Send a message to all seats, or to one: it is shown in JupyterLab, and kept for who comes later."""
    answer = announcements.announce(here.desk, session.id, new.text, found.caller.name, new.user)
    if isinstance(answer, Deny):
        raise refused(answer)
    return message_model(answer)


async def _content(request: Request) -> IO[bytes]:
    """Take in what is sent, on the disk if it is much."""
    kept = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  closed with what reads it
    async for chunk in request.stream():
        kept.write(chunk)
    kept.seek(0)
    return kept


@router.get(f"{_PATH}/pushes")
def list_pushes(here: Here, found: StaffOf, session: SessionOf) -> list[PushModel]:
    """List the files that were sent in a session, and in how many homes each is."""
    ask = here.settings.classes.ask_students
    return [push_model(one) for one in handouts.progress_of_course(here.desk, found.course.id, session.id, ask=ask)]


@router.post(
    f"{_PATH}/pushes",
    status_code=201,
    openapi_extra={"requestBody": {"required": True, "content": _FILE}},
)
def push_file(
    here: Here,
    found: StaffOf,
    session: SessionOf,
    path: Annotated[str, Query(min_length=1, max_length=500, description="Where it goes, relative to the home.")],
    content: Annotated[IO[bytes], Depends(_content)],
    why: Annotated[str, Query(max_length=500, pattern=r"^[^\x00]*$", description="For the audit.")] = "",
    hidden: Annotated[bool, Query(description="That it is meant that a part of the path begins with a dot.")] = False,
) -> PushModel:
    """Send a file to all homes of the course; nothing that is there is overwritten."""
    with content:
        answer = handouts.push(
            here.desk,
            places(here),
            found.course.id,
            session.id,
            path,
            content,
            found.caller.name,
            " ".join(why.split()),
            hidden=hidden,
        )
    if isinstance(answer, Deny):
        raise refused(answer)
    return push_model(handouts.progress(here.desk, answer.id, ask=here.settings.classes.ask_students))


@router.post(f"{_PATH}/collections", status_code=202)
def collect_now(here: Here, found: StaffOf, session: SessionOf) -> CollectionsModel:
    """Ask that everybody's work be collected now; it is in the moments after."""
    answer = collections.request(here.desk, session.id, found.caller.name)
    if isinstance(answer, Deny):
        raise refused(answer)
    listed = collections.listing(here.desk, session.id)
    return CollectionsModel(asked_at=answer.collect_at, items=[collected_model(one) for one in listed])


@router.get(f"{_PATH}/collections")
def list_collections(here: Here, found: StaffOf, session: SessionOf) -> CollectionsModel:  # noqa: ARG001  who may
    """List what was collected in a session, with times and checksums."""
    listed = collections.listing(here.desk, session.id)
    return CollectionsModel(asked_at=session.collect_at, items=[collected_model(one) for one in listed])


@router.get(f"{_PATH}/collections/export", responses=_ZIP, response_class=StreamingResponse)
def download_all(here: Here, found: StaffOf, session: SessionOf) -> Response:
    """Download everybody's last archive in one file, with a table of them."""
    chosen = collections.latest(collections.listing(here.desk, session.id))
    pieces = collections.zipped(places(here), found.course.id, chosen)
    name = f"{found.course.id}-{session.starts_at:%Y-%m-%d}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


@router.get(f"{_PATH}/collections/{{collected}}", responses=_ARCHIVE, response_class=FileResponse)
def download_one(
    collected: Annotated[str, Path(max_length=64, description="Id of what was collected.")],
    here: Here,
    found: StaffOf,
    session: SessionOf,
) -> Response:
    """Download one archive."""
    _, one = collections.find(here.desk, session.id, collected)
    path = collections.archive_of(places(here), found.course.id, one)
    return FileResponse(path, media_type="application/gzip", filename=path.name)
