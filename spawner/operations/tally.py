"""What the ledger's records add up to: kept in memory, brought up to date by what is new.

A process that starts sums up everything once; after that a look costs what has happened since the one before. All of it
comes from rows that are never changed, so sums only grow, and those of another process are the same.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime

from ..ledger import Books
from ..policy.leases import TicketState
from .repairs import JANITOR, REPAIRED
from .reservations import BROKEN, KEPT

_LAPSED = "offer_lapsed"


@dataclass
class Sums:
    """Sums as of one transaction.

    Attributes
    ----------
    number
        Of that transaction.
    users, groups, courses
        GPU-milliseconds booked; who was in two groups counts in both, who was in none under an empty name.
    late
        GPU-milliseconds per user that were used after `begin`.
    lately
        Groups that users were in whose use is in `late`, and when the last of it ended.
    """

    number: int | None = None
    entry: int = 0
    begin: datetime | None = None
    longest_ms: int = 0
    users: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    courses: Counter[str] = field(default_factory=Counter)
    late: dict[str, int] = field(default_factory=dict)
    lately: dict[str, tuple[datetime, frozenset[str]]] = field(default_factory=dict)
    tickets: Counter[TicketState] = field(default_factory=Counter)
    offers_lapsed: int = 0
    waits: tuple[int, ...] = ()
    waited_ms: int = 0
    actions: Counter[str] = field(default_factory=Counter)

    def copy(self) -> "Sums":
        return replace(
            self,
            users=self.users.copy(),
            groups=self.groups.copy(),
            courses=self.courses.copy(),
            late=self.late.copy(),
            lately=self.lately.copy(),
            tickets=self.tickets.copy(),
            actions=self.actions.copy(),
        )


def advance(sums: Sums, books: Books, begin: datetime, bounds_ms: tuple[int, ...]) -> Sums:
    """Give the sums as they are now; the old ones stay as they were, for the look may yet fail.

    Parameters
    ----------
    begin
        Of the window in which use counts as late.
    bounds_ms
        Upper bounds for `Sums.waits`; always the same ones.
    """
    number = books.tallies.number
    if sums.number is not None and (number < sums.number or sums.begin is None or begin < sums.begin):
        # Another database stands in its place, or the clock was set back.
        sums = Sums()
    new = sums.copy()
    if number != sums.number:
        _add_what_is_new(new, books, sums.begin or begin, bounds_ms)
    _forget_before(new, books, begin)
    new.number = number
    return new


def _add_what_is_new(sums: Sums, books: Books, begin: datetime, bounds_ms: tuple[int, ...]) -> None:
    tallies, since = books.tallies, sums.number
    for row in tallies.booked(since):
        sums.users[row.user] += row.gpu_ms
        for group in row.groups or {""}:
            sums.groups[group] += row.gpu_ms
        if row.course:
            sums.courses[row.course] += row.gpu_ms
        sums.longest_ms = max(sums.longest_ms, row.longest_ms)
    for late in tallies.late(since, begin):
        sums.late[late.user] = sums.late.get(late.user, 0) + late.gpu_ms
        known = sums.lately.get(late.user)
        if known is None or known[0] <= late.ended_at:
            sums.lately[late.user] = late.ended_at, late.groups
    sums.tickets.update(tallies.tickets(since))
    sums.offers_lapsed += tallies.ended(since, _LAPSED)
    waits = tallies.waits(since, bounds_ms)
    sums.waits = tuple(map(sum, zip(sums.waits or (0,) * len(waits.counts), waits.counts, strict=True)))
    sums.waited_ms += waits.total_ms
    last = tallies.last_entry()
    sums.actions.update(tallies.actions(sums.entry, last, JANITOR, {*REPAIRED, KEPT, BROKEN}))
    sums.entry = last


def _forget_before(sums: Sums, books: Books, begin: datetime) -> None:
    """Move the window's begin."""
    if sums.begin is not None and begin > sums.begin:
        for user, gone in books.tallies.left(sums.begin, begin, sums.longest_ms).items():
            sums.late[user] = sums.late.get(user, 0) - gone
        for user in [user for user, left in sums.late.items() if left <= 0]:
            del sums.late[user]
            sums.lately.pop(user, None)
    sums.begin = begin
