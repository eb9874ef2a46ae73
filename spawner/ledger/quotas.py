"""What admins have granted."""

from collections.abc import Iterable

from sqlalchemy import delete, insert, select, update

from ..policy.quota import QuotaGrant, Subject
from . import tables
from .memory import Kept, Work
from .records import Record
from .writing import upsert

_quotas = tables.quotas
_GRANT = Record(QuotaGrant, _quotas)
_READ = select(*_GRANT.columns).order_by(_quotas.c.subject, _quotas.c.name, _quotas.c.dimension)
_SET = [column.name for column in _GRANT.columns if not column.primary_key]

QuotaMemory = Kept[list[QuotaGrant]]


class QuotaStore:
    def __init__(self, work: Work, memory: QuotaMemory) -> None:
        self._work = work
        self._memory = memory

    def version(self) -> int:
        """Give a number that is another one after each change, to tell whether what one saw still holds."""
        return self._work.quotas

    @property
    def settled(self) -> bool:
        """Whether what this transaction sees is committed; else its `version` may yet be that of something else."""
        return self._work.untouched(_quotas)

    def all(self) -> list[QuotaGrant]:
        """List grants, lapsed ones too, by subject, name and dimension."""
        return list(self._memory.get(self._work.quotas, self._read, committed=self._work.untouched(_quotas)))

    def set(self, grant: QuotaGrant) -> QuotaGrant | None:
        """Write a grant; gives the one that it replaces."""
        old = self._get(grant.subject, grant.name, grant.dimension)
        self._changed()
        upsert(self._work.connection, _quotas, [_GRANT.row(grant)], _SET)
        return old

    def unset(self, subject: Subject, name: str, dimension: str) -> QuotaGrant | None:
        """Remove a grant; gives it, or None if there was none."""
        old = self._get(subject, name, dimension)
        if old is not None:
            self._changed()
            self._work.connection.execute(
                delete(_quotas).where(
                    _quotas.c.subject == subject, _quotas.c.name == name, _quotas.c.dimension == dimension
                )
            )
        return old

    def replace_all(self, grants: Iterable[QuotaGrant]) -> None:
        """Write these and no others.

        Raises
        ------
        ValueError
            If two are for the same subject, name and dimension.
        """
        rows = [_GRANT.row(grant) for grant in grants]
        if len({(row["subject"], row["name"], row["dimension"]) for row in rows}) != len(rows):
            raise ValueError("Two grants for the same subject, name and dimension.")
        self._changed()
        self._work.connection.execute(delete(_quotas))
        if rows:
            self._work.connection.execute(insert(_quotas), rows)

    def _get(self, subject: Subject, name: str, dimension: str) -> QuotaGrant | None:
        query = select(*_GRANT.columns).where(
            _quotas.c.subject == subject, _quotas.c.name == name, _quotas.c.dimension == dimension
        )
        row = self._work.connection.execute(query).first()
        return None if row is None else _GRANT.value(row)

    def _read(self) -> list[QuotaGrant]:
        return [_GRANT.value(row) for row in self._work.connection.execute(_READ)]

    def _changed(self) -> None:
        self._work.quotas = self._work.touch(_quotas)
        self._work.connection.execute(update(tables.pool).values(quotas=self._work.quotas))
