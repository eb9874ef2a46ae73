"""Calls that may be repeated: each is carried out once, and repeated calls get the first one's answer.

A caller gives a call a key of their own making. The key is theirs for a day; what was refused or has failed did
nothing, so it leaves its key free. A call whose process died halfway holds its key for `ABANDONED`: whether it was
carried out nobody knows then.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from ..ledger import Call
from .desk import Desk

KEPT = timedelta(hours=24)
ABANDONED = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Begun:
    """Carry it out, then tell by `finish` or `give_up`."""

    call: Call


@dataclass(frozen=True, slots=True)
class Answered:
    """It was carried out before, with this answer."""

    call: Call


@dataclass(frozen=True, slots=True)
class UnderWay:
    """It is being carried out by another request."""


@dataclass(frozen=True, slots=True)
class Different:
    """The key is another call's."""


def begin(
    desk: Desk, caller: str, scopes: frozenset[str], key: str, call: str, fingerprint: str
) -> Begun | Answered | UnderWay | Different:
    """Take a key for a call, unless it is in use.

    Parameters
    ----------
    caller
        As ``kind:name``; keys of others are no concern of theirs.
    scopes
        What the caller may: the answer is for nobody who may less.
    call
        Method and path.
    fingerprint
        Of all that the call carries.
    """
    with desk.ledger.transaction() as books:
        now = desk.clock()
        books.calls.forget(now - KEPT)
        found = books.calls.get(caller, key)
        if found is not None and (found.call, found.fingerprint) != (call, fingerprint):
            return Different()
        if found is not None and found.status is not None:
            return Answered(found)
        if found is not None and now - found.at < ABANDONED:
            return UnderWay()
        begun = Call(caller, key, call, fingerprint, scopes, now, desk.new_id())
        books.calls.put(begun)
    return Begun(begun)


def finish(desk: Desk, call: Call, status: int, headers: Mapping[str, str], answer: str) -> bool:
    """Keep the answer to a call; false if it took so long that another has taken its key."""
    with desk.ledger.transaction() as books:
        return books.calls.finish(replace(call, status=status, headers=headers, answer=answer))


def give_up(desk: Desk, call: Call) -> None:
    """Free the key of a call that did nothing."""
    with desk.ledger.transaction() as books:
        books.calls.remove(call.caller, call.key, call.attempt)
