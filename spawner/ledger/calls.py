"""What calls with an idempotency key were answered, so that one that is repeated is not carried out twice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, insert, select, update

from . import tables
from .memory import Work
from .records import Record


@dataclass(frozen=True, slots=True)
class Call:
    """A call that its caller has given a key.

    Attributes
    ----------
    caller
        As ``kind:name``.
    call
        Method and path.
    fingerprint
        Of all that the call carried.
    scopes
        What its caller's token allowed.
    at
        When it came.
    attempt
        Tells one try from the next.
    status
        Of the answer; None while it is under way.
    headers, answer
        The answer itself.
    """

    caller: str
    key: str
    call: str
    fingerprint: str
    scopes: frozenset[str]
    at: datetime
    attempt: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: str = ""


_calls = tables.calls
_CALL = Record(Call, _calls)


class CallStore:
    def __init__(self, work: Work) -> None:
        self._work = work

    def get(self, caller: str, key: str) -> Call | None:
        query = select(*_CALL.columns).where(_calls.c.caller == caller, _calls.c.key == key)
        row = self._work.connection.execute(query).first()
        return None if row is None else _CALL.value(row)

    def put(self, call: Call) -> None:
        """Write a call in place of an earlier one with its key."""
        self.remove(call.caller, call.key)
        self._work.connection.execute(insert(_calls), _CALL.row(call))

    def finish(self, call: Call) -> bool:
        """Write a call's answer; false if the key is another attempt's by now."""
        self._work.touch(_calls)
        mine = _calls.c.caller == call.caller, _calls.c.key == call.key, _calls.c.attempt == call.attempt
        query = update(_calls).where(*mine)
        query = query.values(status=call.status, headers=call.headers, answer=call.answer)
        return self._work.connection.execute(query).rowcount > 0

    def remove(self, caller: str, key: str, attempt: str | None = None) -> None:
        """Free a key; where an attempt is named, only if it is that one's."""
        self._work.touch(_calls)
        query = delete(_calls).where(_calls.c.caller == caller, _calls.c.key == key)
        if attempt is not None:
            query = query.where(_calls.c.attempt == attempt)
        self._work.connection.execute(query)

    def forget(self, before: datetime) -> int:
        """Remove what came before a time; gives how many that were."""
        self._work.touch(_calls)
        return self._work.connection.execute(delete(_calls).where(_calls.c.at < before)).rowcount
