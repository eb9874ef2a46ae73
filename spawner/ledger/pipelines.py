"""PostgreSQL: statements sent together, so that nobody holds the pool while each answer travels by itself.

SQLAlchemy waits for each answer. So the few statements of a claim and of a release go to the driver straight, in the
words and with the values that SQLAlchemy would give it.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import Select
from sqlalchemy.types import TypeDecorator, TypeEngine

_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]

Values = Mapping[str, Any]
Row = tuple[Any, ...]


class Sentence:
    """A statement, to be written once and executed often.

    Parameters
    ----------
    names
        Of an insert: the columns that it is given.
    """

    def __init__(self, statement: UpdateBase | Select[Any], names: Iterable[str] = ()) -> None:
        self.statement = statement
        self._names = list(names)

    @functools.cached_property
    def words(self) -> str:
        return str(self._compiled)

    @functools.cached_property
    def _compiled(self) -> SQLCompiler:
        compiled = self.statement.compile(dialect=_DIALECT, column_keys=self._names or None)
        if not isinstance(compiled, SQLCompiler):  # cannot be: it is no definition of a table
            raise TypeError(self.statement)
        return compiled

    @functools.cached_property
    def _writers(self) -> list[tuple[str, Callable[[Any], Any]]]:
        found = ((name, _writer(bind.type)) for name, bind in self._compiled.binds.items())
        return [(name, write) for name, write in found if write]

    @functools.cached_property
    def _fixed(self) -> dict[str, Any]:
        return {name: bind.value for name, bind in self._compiled.binds.items() if not bind.required}

    def values(self, given: Values) -> dict[str, Any]:
        """Make of values what the driver takes."""
        values = {**self._fixed, **given}
        for name, write in self._writers:
            values[name] = write(values[name])
        return values


def _writer(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def reader(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    """Give what makes a value of that which the driver gives; None where it is one."""
    return kind.result_processor(_DIALECT, None) if isinstance(kind, TypeDecorator) else None


def ask(connection: Connection, *questions: tuple[Sentence, Values]) -> list[list[Row]]:
    """Begin a transaction with some queries, each of which sees what the one before has waited for.

    Raises
    ------
    psycopg.Error
    """
    connection.begin()
    with _together(connection) as driver:
        cursors = [driver.execute(query.words, query.values(given)) for query, given in questions]
    return [cursor.fetchall() for cursor in cursors]


def tell(connection: Connection, statements: Iterable[tuple[Sentence, Values]], *, commit: bool) -> None:
    """Execute statements whose answers are of no interest.

    Parameters
    ----------
    statements
        With the values that `Sentence.values` gives.

    Raises
    ------
    psycopg.Error
        The first one; nothing is written then.
    """
    with _together(connection) as driver:
        cursor = driver.cursor()
        for statement, values in statements:
            cursor.execute(statement.words, values)
        if commit:
            cursor.execute("COMMIT")
    if commit:
        connection.commit()  # of which the database hears no more


@contextmanager
def _together(connection: Connection) -> Iterator[psycopg.Connection[Row]]:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):  # cannot be: only PostgreSQL's engine comes here
        raise TypeError(driver)
    failed: psycopg.Error | None = None
    try:
        with driver.pipeline():
            try:
                yield driver
            except psycopg.Error as error:
                failed = error  # what comes at the end now is of no interest
    except psycopg.Error as error:
        failed = failed or error
    if failed is not None:
        if driver.closed:
            connection.invalidate(failed)
        raise _cause(failed) from None


def _cause(error: psycopg.Error) -> psycopg.Error:
    """Give the error for whose sake alone PostgreSQL refused what came after it."""
    while isinstance(error, psycopg.errors.PipelineAborted) and isinstance(error.__context__, psycopg.Error):
        error = error.__context__
    return error
