"""Loops that must not run twice at once: who has each, and how it went."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update

from . import tables
from .memory import Work
from .records import Record
from .writing import upsert

_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class LoopRecord:
    """A loop as the ledger knows it.

    Attributes
    ----------
    started_at
        Of its last run.
    beat_at
        When its owner last reported.
    expires_at
        When another may take it.
    succeeded_at, failed_at
        End of the last run that went well, and of the last that did not.
    result, error
        What these two reported.
    """

    name: str
    owner: str
    started_at: datetime
    expires_at: datetime
    beat_at: datetime | None = None
    succeeded_at: datetime | None = None
    failed_at: datetime | None = None
    result: str = ""
    error: str = ""


_loops = tables.loops
_LOOP = Record(LoopRecord, _loops)


class LoopStore:
    def __init__(self, work: Work) -> None:
        self._work = work

    def take(self, name: str, owner: str, now: datetime, ttl: timedelta) -> bool:
        """Begin a run of a loop, unless another owner has it and has reported within its time.

        Parameters
        ----------
        ttl
            How long the loop is the owner's without a report.
        """
        self._work.touch(_loops)
        query = select(_loops.c.owner, _loops.c.expires_at).where(_loops.c.name == name)
        held = self._work.connection.execute(query).first()
        if held is not None and held.owner not in {owner, ""} and held.expires_at > now:
            return False
        begun = {"owner": owner, "started_at": now, "expires_at": now + ttl, "ttl_ms": ttl // _MS}
        upsert(self._work.connection, _loops, [{"name": name, "result": "", "error": "", **begun}], [*begun])
        return True

    def beat(self, name: str, owner: str, now: datetime, *, result: str, ok: bool) -> bool:
        """Report the end of a run, and keep the loop for another `ttl`; false if it is another's by now."""
        self._work.touch(_loops)
        mine = _loops.c.name == name, _loops.c.owner == owner
        ttl = self._work.connection.execute(select(_loops.c.ttl_ms).where(*mine)).scalar_one_or_none()
        if ttl is None:
            return False
        told = {"succeeded_at": now, "result": result} if ok else {"failed_at": now, "error": result}
        values = {"beat_at": now, "expires_at": now + ttl * _MS, **told}
        self._work.connection.execute(update(_loops).where(*mine).values(**values))
        return True

    def give_back(self, name: str, owner: str) -> bool:
        """Let another take the loop at once; false if it is another's already."""
        self._work.touch(_loops)
        query = update(_loops).where(_loops.c.name == name, _loops.c.owner == owner).values(owner="")
        return self._work.connection.execute(query).rowcount > 0

    def all(self) -> list[LoopRecord]:
        query = select(*_LOOP.columns).order_by(_loops.c.name)
        return [_LOOP.value(row) for row in self._work.connection.execute(query)]
