"""Who did what, when and why. Entries are only ever added; the database refuses to change or remove them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from . import tables
from .memory import Work
from .pipelines import Sentence
from .records import Record


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that was done to the pool, a quota or another's lease.

    Attributes
    ----------
    actor
        Name of the user, or of the part of Berth that did it.
    action
        What was done, as ``noun.verb``: ``quota.set``, ``gpu.drain``.
    subject
        To whom or what, as ``kind:name``: ``user:ann``, ``gpu:GPU-1f0c``.
    before, after
        Anything that JSON can say; None for nothing.
    id
        Given by the ledger, rising; 0 before.
    """

    at: datetime
    actor: str
    action: str
    subject: str
    before: Any = None
    after: Any = None
    why: str = ""
    id: int = 0


Entries = list[AuditEntry]

_audit = tables.audit
_ENTRY = Record(AuditEntry, _audit)
_INSERT = Sentence(insert(_audit), [column.name for column in _ENTRY.columns if column.name != "id"])


class AuditStore:
    def __init__(self, work: Work) -> None:
        self._work = work

    def append(self, entry: AuditEntry) -> None:
        self._work.touch(_audit)
        values = {name: value for name, value in _ENTRY.row(entry).items() if name != "id"}
        self._work.write(_INSERT, values)

    def list(self, *, limit: int = 100, before: int | None = None, subject: str | None = None) -> Entries:
        """List entries, the latest first.

        Parameters
        ----------
        before
            Only those with a lower id, for the next page.
        """
        query = select(*_ENTRY.columns).order_by(_audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(_audit.c.id < before)
        if subject is not None:
            query = query.where(_audit.c.subject == subject)
        return [_ENTRY.value(row) for row in self._work.connection.execute(query)]
