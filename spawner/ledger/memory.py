"""What a process keeps of the ledger between transactions, so that a claim reads little.

The one row of `pool` counts all writing transactions. A row of `leases` or `tickets` carries the number of the one
that changed it last, and `pool` the numbers of those that last changed the inventory, the quotas and the queue.
Writers hold the pool row until they commit, so numbers are committed in their order: whoever knows the state at one
number needs only the rows with a higher one. What a transaction has written itself is never kept: it may be rolled
back.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy import Connection, Table

from .pipelines import Sentence, Values, tell

T = TypeVar("T")

FAR = 1000  # transactions after which a mirror is read afresh, rather than every row that they have changed


class Kept(Generic[T]):
    """A value that holds as long as a number of the pool row stays."""

    def __init__(self) -> None:
        self._kept: tuple[int, T] | None = None

    def get(self, number: int, read: Callable[[], T], *, committed: bool) -> T:
        kept = self._kept
        if kept is not None and kept[0] == number:
            return kept[1]
        value = read()
        if committed:
            self._kept = number, value
        return value

    def forget(self) -> None:
        self._kept = None


class Mirror(Generic[T]):
    """The live rows of a table, by id."""

    def __init__(self) -> None:
        self._kept: tuple[int, dict[str, T]] | None = None

    def read(
        self,
        number: int,
        live: Callable[[], Iterable[tuple[str, T]]],
        changed_since: Callable[[int], Iterable[tuple[str, T | None]]],
        *,
        committed: bool,
        last_change: int | None = None,
    ) -> dict[str, T]:
        """Bring the rows up to date.

        Parameters
        ----------
        number
            Of the last committed transaction that the caller sees.
        live
            Reads all rows.
        changed_since
            Reads those changed after a number; None for one that is live no more.
        committed
            Whether what is read is: the caller's transaction has not written to this table.
        last_change
            Number of the last transaction that changed this table, where that is known.
        """
        kept = self._kept
        # A newer state than the caller's snapshot is of no use to it.
        if kept is None or not kept[0] <= number <= kept[0] + FAR:
            rows = dict(live())
        elif committed and kept[0] >= (number if last_change is None else last_change):
            return kept[1]
        else:
            rows = _changed(kept[1], changed_since(kept[0]))
        if committed:
            self._kept = number, rows
        return rows

    def known(self, number: int, *, last_change: int | None = None) -> dict[str, T] | None:
        """Give the rows where they are up to date already; the parameters are those of `read`."""
        kept = self._kept
        if kept is not None and (number if last_change is None else last_change) <= kept[0] <= number:
            return kept[1]
        return None

    @property
    def kept(self) -> tuple[int, dict[str, T]] | None:
        """What is kept, and the number of which it is the state."""
        return self._kept

    def advance(self, kept: tuple[int, dict[str, T]], number: int, changes: Iterable[tuple[str, T | None]]) -> None:
        """Take over what has changed between an earlier `kept` and a number."""
        if self._kept is not None:  # forgotten meanwhile: then it was of another database
            self._kept = number, _changed(kept[1], changes)

    def forget(self) -> None:
        self._kept = None


def _changed(rows: Mapping[str, T], changes: Iterable[tuple[str, T | None]]) -> dict[str, T]:
    new = dict(rows)
    for key, value in changes:
        if value is None:
            new.pop(key, None)
        else:
            new[key] = value
    return new


@dataclass(eq=False)
class Work:
    """One transaction: its connection, and what the pool row said when it began.

    Attributes
    ----------
    number
        This transaction's own, or the last committed one's where it only reads.
    inventory, quotas, queue
        Numbers of the transactions that changed these last.
    """

    _connection: Connection
    number: int
    inventory: int
    quotas: int
    queue: int
    writes: bool
    _touched: set[Table] = field(default_factory=set)
    _put_off: list[tuple[Sentence, Values]] = field(default_factory=list)

    @property
    def connection(self) -> Connection:
        """The connection; what was put off is written first."""
        if self._put_off:
            self._tell(commit=False)
        return self._connection

    def write(self, sentence: Sentence, *rows: Values) -> None:
        """Execute a statement whose result is of no interest, at the latest when something is read or committed.

        PostgreSQL gets it together with all others, for each would hold the pool while its answer travels. What it
        refuses, it then refuses later.
        """
        if self.postgresql:
            self._put_off += [(sentence, sentence.values(row)) for row in rows]
        else:
            self._connection.execute(sentence.statement, rows if len(rows) > 1 else rows[0])

    def commit(self) -> None:
        if self._put_off:
            self._tell(commit=True)
        else:
            self._connection.commit()

    def _tell(self, *, commit: bool) -> None:
        put_off, self._put_off = self._put_off, []
        tell(self._connection, put_off, commit=commit)

    @property
    def postgresql(self) -> bool:
        return self._connection.dialect.name == "postgresql"

    @property
    def base(self) -> int:
        """Number of the last committed transaction that this one sees."""
        return self.number - 1 if self.writes else self.number

    def touch(self, table: Table) -> int:
        """Note that a table is written to; gives the number for the row.

        Raises
        ------
        RuntimeError
            In a transaction that only reads.
        """
        if not self.writes:
            raise RuntimeError(f"{table.name} cannot be written while reading; use Ledger.transaction().")
        self._touched.add(table)
        return self.number

    def untouched(self, table: Table) -> bool:
        return table not in self._touched
