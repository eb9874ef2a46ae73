"""Audit: who changed what, when and why."""

import contextlib
import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ...ledger import AuditFilter
from ...operations import listing
from ..api.audit import position
from ..callers import Caller, allowed
from ..context import Here
from ..paging import Cursor, cursor_of
from ..ranges import days_between
from ..rendering import reader_of
from ..scopes import Scope
from .filters import DayField, Word, chosen, query

router = APIRouter()

_PAGE = 50
_LONG = 300  # characters of a value that are shown


@router.get("/audit")
def show_audit(
    request: Request,
    here: Here,
    caller: Annotated[Caller, allowed(Scope.READ)],
    actor: Word = "",
    action: Annotated[str, Query(max_length=100, pattern=r"^[^\x00]*$")] = "",
    subject: Word = "",
    text: Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")] = "",
    first: DayField = None,
    last: DayField = None,
    cursor: Cursor = None,
) -> Response:
    zone = reader_of(request).zone
    since = None if first is None else days_between(first, first, zone).since
    until = None if last is None else days_between(last, last, zone).until
    words = {"actor": actor.strip(), "action": action.strip(), "subject": subject.strip(), "text": text.strip()}
    wanted = AuditFilter(**{name: said or None for name, said in words.items()}, since=since, until=until)
    found = listing.audit(here.desk, wanted, before=position(cursor), limit=_PAGE)
    asked = chosen(**words, first=first, last=last)
    exported = {name: said for name, said in words.items() if said}
    exported |= chosen(since=since.isoformat() if since else "", until=until.isoformat() if until else "")
    return here.pages.render(
        request,
        caller,
        "audit/list.html",
        found=found,
        asked=asked,
        nouns=sorted({one.partition(".")[0] for one in found.actions}),
        next_query=query(asked, cursor=cursor_of(found.next)) if found.next is not None else "",
        first_query=query(asked),
        paged=cursor is not None,
        export=query(exported),
        parts=_parts,
        query=query,
    )


def _parts(value: Any) -> list[tuple[str, str | datetime]]:
    """Give what an entry tells of before or after as pairs of names and values; the name is empty of a bare value."""
    if value is None:
        return []
    pairs = value.items() if isinstance(value, dict) else [("", value)]
    return [(str(name), _shown(str(name), said)) for name, said in pairs if said is not None and said != ""]


def _shown(name: str, value: Any) -> str | datetime:
    """Give a time as such, all else in words."""
    if isinstance(value, str) and (name == "until" or name.endswith("_at")):
        with contextlib.suppress(ValueError):
            if (when := datetime.fromisoformat(value)).tzinfo is not None:
                return when
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"
