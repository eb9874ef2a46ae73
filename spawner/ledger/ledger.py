"""The ledger of a process: transactions on its database."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from ..errors import LedgerOutdated, LedgerUnavailable
from ..policy.leases import Lease, Ticket
from . import schema, tables
from .audit import AuditStore
from .calls import CallStore
from .connect import WRITES, describe, make_engine, no_connection_left, parse
from .courses import CourseStore
from .faults import CURE, fault
from .gpus import GpuMemory, GpuStore
from .handouts import HandoutStore
from .homes import HomeStore
from .leases import CHANGED, LeaseStore, changes_of
from .links import LinkStore
from .loops import LoopStore
from .memory import FAR, Mirror, Work
from .pipelines import Sentence, Values, ask
from .quotas import QuotaMemory, QuotaStore
from .reservations import ReservationStore
from .sessions import SessionStore
from .tallies import TallyStore
from .tickets import TicketStore
from .usage import UsageStore

_NUMBERS = tables.pool.c["changes", "inventory", "quotas", "queue"]
_LOOK = select(*_NUMBERS)
# Locks the row as SELECT ... FOR UPDATE does, and counts in the same step.
_CLAIM = update(tables.pool).values(changes=tables.pool.c.changes + 1).returning(*_NUMBERS)
# PostgreSQL wakes all who wait for a row, to let one have it; those who wait for an advisory lock it wakes in turn.
_IN_LINE = Sentence(select(func.pg_advisory_xact_lock(0x706F6F6C)))
_CLAIM_IN_LINE, _CHANGED = Sentence(_CLAIM), Sentence(CHANGED)


@dataclass(frozen=True, slots=True)
class Books:
    """The stores of one transaction; of no use after its end."""

    gpus: GpuStore
    leases: LeaseStore
    tickets: TicketStore
    reservations: ReservationStore
    usage: UsageStore
    quotas: QuotaStore
    audit: AuditStore
    loops: LoopStore
    tallies: TallyStore
    homes: HomeStore
    calls: CallStore
    courses: CourseStore
    sessions: SessionStore
    links: LinkStore
    handouts: HandoutStore


class Ledger:
    """A database of quotas, leases, queue, reservations and accounting. One per process; thread-safe.

    Parameters
    ----------
    url
        ``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST/DATABASE``. Nothing is opened yet.

    Notes
    -----
    Every method may raise `spawner.errors.LedgerUnavailable`; then nothing was written, but for one case that no
    database can exclude: a connection lost while PostgreSQL commits leaves open whether it did. The next transaction
    tries afresh, so that all is well when the database is.
    """

    def __init__(self, url: str) -> None:
        self._url = parse(url)
        self._place = describe(self._url)
        self._leases: Mirror[Lease] = Mirror()
        self._tickets: Mirror[Ticket] = Mirror()
        self._gpus = GpuMemory()
        self._quotas = QuotaMemory()
        self._engine = make_engine(self._url, on_connect=self._forget)
        self._writer = self._engine.execution_options(**{WRITES: True})
        self._reader, self._take = self._engine, self._take_file
        if self._engine.dialect.name == "postgresql":
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            self._take = self._take_turn
        self._mine = threading.local()

    def __repr__(self) -> str:
        return f"<Ledger {self._place}>"

    @contextmanager
    def transaction(self) -> Iterator[Books]:
        """Write, alone: takes the pool's lock, commits at the end, rolls back on any exception.

        Raises
        ------
        LeaseLost
            If something was to be held or booked twice: a slot, a server's lease or ticket, a lease's use.
        LedgerOutdated
            If the tables are not there.
        """
        with self._begun(writes=True) as books:
            yield books

    @contextmanager
    def reading(self) -> Iterator[Books]:
        """Read a consistent state, without a lock."""
        with self._begun(writes=False) as books:
            yield books

    def upgrade(self) -> None:
        """Create or upgrade the schema; two processes may do so at once.

        Raises
        ------
        LedgerOutdated
            If a newer version of Berth has made it.
        """
        schema.upgrade(self._url)
        self._forget()

    def require_schema(self) -> None:
        """Check that the schema is this program's.

        Raises
        ------
        LedgerOutdated
            With both revisions and the command that helps.
        """
        schema.require(self._url)

    def close(self) -> None:
        """Close all connections; a later transaction opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _begun(self, *, writes: bool) -> Iterator[Books]:
        if getattr(self._mine, "busy", False):
            raise RuntimeError("A transaction within a transaction would wait for itself.")
        self._mine.busy = True
        try:
            with self._open(writes=writes) as work:
                yield self._books(work)
        finally:
            self._mine.busy = False

    @contextmanager
    def _open(self, *, writes: bool) -> Iterator[Work]:
        connection, work = self._start(writes=writes)
        try:
            with self._told():
                yield work
                work.commit()
        finally:
            connection.close()  # rolls back what is not committed

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Translate errors of the driver that SQLAlchemy does not see."""
        try:
            yield
        except psycopg.Error as error:
            raise (fault(error, self._place) or error) from error

    def _start(self, *, writes: bool) -> tuple[Connection, Work]:
        """Begin; a second time where a connection of the pool turns out to be dead."""
        engine = self._writer if writes else self._reader
        for last in (False, True):
            try:
                connection = engine.connect()
            except NoConnectionLeft:
                raise no_connection_left(self._place) from None
            try:
                with self._told():
                    return connection, self._look(connection, writes=writes)
            except LedgerUnavailable:
                dead = connection.invalidated
                connection.close()
                if last or not dead:
                    raise
            except BaseException:
                connection.close()
                raise
        raise AssertionError

    def _look(self, connection: Connection, *, writes: bool) -> Work:
        found = self._take(connection) if writes else connection.execute(_LOOK).all()
        if not found:
            raise LedgerOutdated(f"The ledger {self._place} is empty; run `{CURE}`.")
        changes, inventory, quotas, queue = found[0]
        return Work(connection, changes, inventory, quotas, queue, writes)

    def _take_file(self, connection: Connection) -> Sequence[Sequence[int]]:
        return connection.execute(_CLAIM).all()

    def _take_turn(self, connection: Connection) -> Sequence[Sequence[int]]:
        """Wait for PostgreSQL's lock, and read at once what others have done to the leases meanwhile."""
        questions: list[tuple[Sentence, Values]] = [(_IN_LINE, {}), (_CLAIM_IN_LINE, {})]
        kept = self._leases.kept
        if kept is not None:
            questions.append((_CHANGED, {"since": kept[0], "number": kept[0] + FAR}))
        _, numbers, *changed = ask(connection, *questions)
        if kept is not None and numbers and numbers[0][0] <= kept[0] + FAR:
            self._leases.advance(kept, numbers[0][0] - 1, changes_of(changed[0]))
        return numbers

    def _books(self, work: Work) -> Books:
        return Books(
            GpuStore(work, self._gpus),
            LeaseStore(work, self._leases),
            TicketStore(work, self._tickets),
            ReservationStore(work),
            UsageStore(work),
            QuotaStore(work, self._quotas),
            AuditStore(work),
            LoopStore(work),
            TallyStore(work),
            HomeStore(work),
            CallStore(work),
            CourseStore(work),
            SessionStore(work),
            LinkStore(work),
            HandoutStore(work),
        )

    def _forget(self) -> None:
        for memory in (self._leases, self._tickets, self._gpus, self._quotas):
            memory.forget()
