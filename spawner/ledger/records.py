"""How frozen dataclasses lie in tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Row, Table

from .pipelines import reader

T = TypeVar("T")


class Record(Generic[T]):
    """A dataclass and the columns of its fields.

    Parameters
    ----------
    renamed
        Columns that are not called like their field.
    apart
        Fields kept elsewhere, to be given to `value` by name.
    """

    def __init__(
        self, kind: type[T], table: Table, *, renamed: Mapping[str, str] | None = None, apart: Iterable[str] = ()
    ) -> None:
        self._kind = kind
        self._fields = [field.name for field in fields(kind) if field.name not in set(apart)]  # type: ignore[arg-type]
        self._names = [(renamed or {}).get(name, name) for name in self._fields]
        self.columns: list[Column[Any]] = [table.c[name] for name in self._names]
        self._readers = [(at, read) for at, column in enumerate(self.columns) if (read := reader(column.type))]

    def row(self, value: T) -> dict[str, Any]:
        return {column: getattr(value, field) for column, field in zip(self._names, self._fields, strict=True)}

    def read(self, row: Sequence[Any]) -> T:
        """Make a value of a row as PostgreSQL's driver gives it; no field may be apart."""
        values = list(row)
        for at, read in self._readers:
            values[at] = read(values[at])
        return self._kind(*values)

    def value(self, row: Row[Any] | tuple[Any, ...], **apart: object) -> T:
        """Make a value of a row that begins with `columns`."""
        return self._kind(**dict(zip(self._fields, row, strict=False)), **apart)
