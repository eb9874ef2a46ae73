"""How values lie in columns: times, names, lists, words."""

import functools
import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import BigInteger, Dialect, Text
from sqlalchemy.types import TypeDecorator

from ..policy.accounting import from_ms, to_ms
from ..policy.quota import UNLIMITED

E = TypeVar("E", bound=StrEnum)
V = TypeVar("V")

_UNLIMITED = "unlimited"
_MS = timedelta(milliseconds=1)


class _Direct(TypeDecorator[V]):
    """A type whose `impl` both databases take as it is: what converts it is called without detours."""

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        return functools.partial(self.process_bind_param, dialect=dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:  # noqa: ARG002
        if type(self).process_result_value is TypeDecorator.process_result_value:
            return None
        return functools.partial(self.process_result_value, dialect=dialect)


class UtcMs(_Direct[datetime]):
    """A time, as whole milliseconds since 1970, rounded down; aware and in UTC when it comes back.

    Raises
    ------
    ValueError
        For a time without a zone.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else exact_ms(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else from_ms(value)


def exact_ms(moment: datetime) -> int:
    """Give a time's milliseconds; a ValueError where it does not say in which zone it is."""
    if moment.utcoffset() is None:
        raise ValueError(f"The time {moment.isoformat()} has no zone; the ledger takes aware ones only.")
    return to_ms(moment)


class Length(_Direct[timedelta]):
    """A length of time, as whole milliseconds, rounded down."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else value // _MS

    def process_result_value(self, value: int | None, dialect: Dialect) -> timedelta | None:  # noqa: ARG002
        return None if value is None else value * _MS


class Words(_Direct[str]):
    """Text; refuses what only one of the databases can keep (NUL, half of a surrogate pair) by a ValueError."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value is not None and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError(f"The ledger cannot keep {value!r}: it is no valid Unicode.") from None
        if value is not None and "\0" in value:
            raise ValueError(f"The ledger cannot keep {value!r}: it has a NUL character.")
        return value


class Choice(_Direct[E], Generic[E]):
    """A member of an enumeration, as its value."""

    impl = Text
    cache_ok = True

    def __init__(self, members: type[E]) -> None:
        super().__init__()
        self.members = members
        self._members = {member.value: member for member in members}

    def process_bind_param(self, value: E | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else self.members(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> E | None:  # noqa: ARG002
        return None if value is None else self._members[value]


class Names(_Direct[frozenset[str]]):
    """A set of names, as a sorted JSON list."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: frozenset[str] | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else json.dumps(sorted(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> frozenset[str] | None:  # noqa: ARG002
        return None if value is None else names(value)


@functools.lru_cache(maxsize=4096)
def names(text: str) -> frozenset[str]:
    """Read a set of names; the same few come again and again."""
    return frozenset(json.loads(text))


class Kinds(_Direct[frozenset[E]], Generic[E]):
    """A set of members of an enumeration, as a sorted JSON list of their values."""

    impl = Text
    cache_ok = True

    def __init__(self, members: type[E]) -> None:
        super().__init__()
        self.members = members

    def process_bind_param(self, value: frozenset[E] | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else json.dumps(sorted(str(member) for member in value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> frozenset[E] | None:  # noqa: ARG002
        return None if value is None else frozenset(self.members(name) for name in names(value))


class Ids(_Direct[tuple[str, ...]]):
    """Ids in an order that counts, as a JSON list."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Iterable[str] | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else json.dumps(list(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...] | None:  # noqa: ARG002
        return None if value is None else _ids(value)


@functools.lru_cache(maxsize=4096)
def _ids(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


class Json(_Direct[Any]):
    """Anything that JSON can say, with sorted keys."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else json.dumps(value, sort_keys=True, allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else json.loads(value)


class QuotaValue(_Direct[Any]):
    """A quota's value as JSON: a number, ``"unlimited"`` for no bound, a sorted list for a set."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: float | frozenset[str] | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if isinstance(value, frozenset):
            return json.dumps(sorted(value))
        return None if value is None else json.dumps(_UNLIMITED if value == UNLIMITED else value, allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> float | int | frozenset[str] | None:  # noqa: ARG002
        if value is None:
            return None
        said: float | int | str | list[str] = json.loads(value)
        if isinstance(said, list):
            return frozenset(said)
        return UNLIMITED if isinstance(said, str) else said
