"""Users' homes: listed, and what is to become of them; the janitor carries it out, see `home_work`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..errors import UnknownName
from ..ledger import AuditEntry, Books, HomeFilter, HomeSort, HomeSum
from ..ledger.homes import Position, position_of
from ..policy import homes as rules
from ..policy.homes import Home, HomeState
from ..policy.model import Deny
from .desk import Desk

Answer = Home | Deny
Check = Callable[[Home], None]


@dataclass(frozen=True, slots=True)
class HomePage:
    """Part of a list.

    Attributes
    ----------
    next
        Where the list goes on; None at its end.
    """

    homes: tuple[Home, ...]
    next: Position | None


@dataclass(frozen=True, slots=True)
class HomesOverview:
    """All homes in numbers.

    Attributes
    ----------
    largest
        Size of the largest one, bytes.
    """

    sums: dict[HomeState, HomeSum]
    largest: int

    @property
    def size(self) -> int:
        """Bytes in volumes."""
        return sum(one.size for state, one in self.sums.items() if state not in {HomeState.ARCHIVED, HomeState.DELETED})

    @property
    def archive_size(self) -> int:
        """Bytes in archives."""
        return sum(one.archive_size for one in self.sums.values())

    @property
    def count(self) -> int:
        """Homes that there are."""
        return sum(one.count for state, one in self.sums.items() if state is not HomeState.DELETED)


def page(
    desk: Desk,
    wanted: HomeFilter | None = None,
    sort: HomeSort = HomeSort.OWNER,
    *,
    descending: bool = False,
    limit: int = 100,
    after: Position | None = None,
) -> HomePage:
    """List homes, part by part."""
    with desk.ledger.reading() as books:
        return _page(books, wanted or HomeFilter(), sort, descending, limit, after)


def _page(
    books: Books, wanted: HomeFilter, sort: HomeSort, descending: bool, limit: int, after: Position | None
) -> HomePage:
    found = books.homes.page(wanted, sort, limit + 1, after, descending=descending)
    shown = tuple(found[:limit])
    return HomePage(shown, position_of(shown[-1], sort) if len(found) > limit else None)


def board(
    desk: Desk,
    wanted: HomeFilter,
    sort: HomeSort,
    *,
    descending: bool = False,
    limit: int = 100,
    after: Position | None = None,
) -> tuple[HomePage, HomesOverview]:
    """List homes and give all in numbers, as of one moment."""
    with desk.ledger.reading() as books:
        return _page(books, wanted, sort, descending, limit, after), _overview(books)


def overview(desk: Desk) -> HomesOverview:
    """Give all homes in numbers."""
    with desk.ledger.reading() as books:
        return _overview(books)


def _overview(books: Books) -> HomesOverview:
    return HomesOverview({one.state: one for one in books.homes.sums()}, books.homes.largest())


def find(desk: Desk, name: str) -> Home:
    """Give a home by its volume's name, or by its owner's.

    Raises
    ------
    UnknownName
    """
    with desk.ledger.reading() as books:
        return find_in(books, name)


def find_in(books: Books, name: str) -> Home:
    """Likewise, in a transaction."""
    home = books.homes.get(name)
    if home is None:
        # An owner has several only where hubs share a ledger; of these the one that is there.
        found = sorted(books.homes.of_owner(name), key=lambda one: one.state is HomeState.DELETED)
        home = found[0] if found else None
    if home is None:
        raise UnknownName(f"There is no home of {name!r}; `berth homes` lists those there are.")
    return home


def archive(desk: Desk, name: str, actor: str, why: str, check: Check | None = None) -> Answer:
    """Wish to pack a home into an archive and to remove its volume.

    Parameters
    ----------
    name
        Of the volume, or of its owner.
    check
        Called with the home as it is, before anything is decided; what it raises keeps it as it is.

    Raises
    ------
    UnknownName
    """
    return _decide(desk, name, "home.archive", actor, check, lambda home, now: rules.ask_archive(home, actor, why, now))


def restore(desk: Desk, name: str, actor: str, why: str, check: Check | None = None) -> Answer:
    """Wish to have an archived home back; parameters and errors as of `archive`."""
    return _decide(desk, name, "home.restore", actor, check, lambda home, now: rules.ask_restore(home, actor, why, now))


def delete(desk: Desk, name: str, actor: str, why: str, grace: timedelta, check: Check | None = None) -> Answer:
    """Wish to remove a home for good once a grace period is over; parameters and errors as of `archive`."""
    return _decide(
        desk,
        name,
        "home.delete",
        actor,
        check,
        lambda home, now: rules.ask_delete(home, actor, why, now + grace, now),
    )


def cancel(desk: Desk, name: str, actor: str, why: str, check: Check | None = None) -> Answer:
    """Take the last wish back; parameters and errors as of `archive`."""
    return _decide(desk, name, "home.cancel", actor, check, lambda home, now: rules.cancel(home, actor, why, now))


def _decide(
    desk: Desk, name: str, action: str, actor: str, check: Check | None, rule: Callable[[Home, datetime], Answer]
) -> Answer:
    with desk.ledger.transaction() as books:
        now = desk.clock()
        home = find_in(books, name)
        if check is not None:
            check(home)
        answer = rule(home, now)
        if isinstance(answer, Home):
            books.homes.update(answer)
            note(books, now, action, actor, home, answer, answer.why)
        return answer


def note(books: Books, now: datetime, action: str, actor: str, before: Home, after: Home, why: str) -> None:
    """Put a change of a home's state into the audit."""
    entry = AuditEntry(
        at=now,
        actor=actor,
        action=action,
        subject=f"home {after.owner}",
        before={"state": str(before.state)},
        after=_shown(after),
        why=why,
    )
    books.audit.append(entry)


def _shown(home: Home) -> dict[str, object]:
    found: dict[str, object] = {"state": str(home.state), "volume": home.volume}
    if home.delete_at is not None:
        found["delete_at"] = home.delete_at.isoformat()
    if home.archive:
        found["archive"] = home.archive
    if home.error:
        found["error"] = home.error
    return found


# --- servers that start -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The home is where a server finds it, or there is none yet."""


@dataclass(frozen=True, slots=True)
class BeingRestored:
    """The home is being brought back from its archive.

    Attributes
    ----------
    since
        When it was archived.
    done, to_do
        Bytes; None where the size is unknown.
    """

    since: datetime | None
    done: int
    to_do: int | None


def arriving(desk: Desk, volume: str) -> Ready | BeingRestored | Deny:
    """Note that a home's owner wants to start a server.

    That takes back what is not done yet, and wishes an archived home back.
    """
    with desk.ledger.reading() as books:
        home = books.homes.get(volume)
    if home is None or home.state in {HomeState.PRESENT, HomeState.DELETED}:
        return Ready()
    with desk.ledger.transaction() as books:
        now = desk.clock()
        home = books.homes.get(volume)
        if home is None:
            return Ready()
        answer = rules.start(home, now)
        if isinstance(answer, Deny):
            return answer
        if answer != home:
            books.homes.update(answer)
            action = "home.restore" if answer.state is HomeState.RESTORING else "home.cancel"
            note(books, now, action, home.owner, home, answer, "its owner started a server")
        if answer.state is HomeState.RESTORING:
            return BeingRestored(answer.archived_at, answer.done, answer.to_do)
        return Ready()


def hold(desk: Desk, volume: str, owner: str) -> Deny | None:
    """Hold a home for a container that is about to be made, so that nobody puts it away meanwhile."""
    with desk.ledger.transaction() as books:
        now = desk.clock()
        home = books.homes.get(volume)
        known = home is not None
        if home is None:
            home = Home(volume, owner, HomeState.PRESENT, now)
        elif home.state is HomeState.DELETED:
            home = rules.renewed(home, now)
        held = rules.hold(home, now)
        if isinstance(held, Deny):
            return held
        books.homes.put([held], [volume] if known else [])
        return None
