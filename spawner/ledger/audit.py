"""Who did what, when and why. Entries are only ever added; the database refuses to change or remove them."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, insert, or_, select, type_coerce

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


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are listed; None for all.

    Attributes
    ----------
    action
        As it stands there, or its noun alone: ``quota`` is all that begins with ``quota.``.
    text
        Anywhere in an entry, small letters as good as large ones.
    since, until
        Of what was done within ``[since, until)``.
    """

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None


Entries = list[AuditEntry]
Names = list[str]

_audit = tables.audit
_ENTRY = Record(AuditEntry, _audit)
_INSERT = Sentence(insert(_audit), [column.name for column in _ENTRY.columns if column.name != "id"])

_WORDS = [_audit.c.actor, _audit.c.action, _audit.c.subject, _audit.c.why]
_VALUES = [_audit.c.before, _audit.c.after]
_ACTIONS = select(_audit.c.action).distinct().order_by(_audit.c.action)


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

    def page(self, wanted: AuditFilter, *, before: int | None = None, limit: int = 100) -> Entries:
        """List entries, the latest first.

        Parameters
        ----------
        before
            Only those with a lower id, for the next page.
        """
        query = select(*_ENTRY.columns).order_by(_audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(_audit.c.id < before)
        if wanted.actor is not None:
            query = query.where(_audit.c.actor == wanted.actor)
        if wanted.subject is not None:
            query = query.where(_audit.c.subject == wanted.subject)
        if wanted.action is not None:
            begins = _audit.c.action.startswith(f"{wanted.action}.", autoescape=True)
            query = query.where(or_(_audit.c.action == wanted.action, begins))
        if wanted.since is not None:
            query = query.where(_audit.c.at >= wanted.since)
        if wanted.until is not None:
            query = query.where(_audit.c.at < wanted.until)
        if wanted.text is not None:
            said = json.dumps(wanted.text)[1:-1]  # as it stands in a column of JSON
            words = [column.icontains(wanted.text, autoescape=True) for column in _WORDS]
            words += [type_coerce(column, Text).icontains(said, autoescape=True) for column in _VALUES]
            query = query.where(or_(*words))
        return [_ENTRY.value(row) for row in self._work.connection.execute(query)]

    def actions(self) -> Names:
        """List the actions that there are entries of, by name."""
        return list(self._work.connection.execute(_ACTIONS).scalars())
