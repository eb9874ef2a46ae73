"""All that the ledger says of itself at one moment, for metrics."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..ledger import Books, LoopRecord
from ..policy.accounting import hours_to_ms, overlap_ms, running_interval, sure_ms
from ..policy.classes import Phase, Role, SeatState, seat_state
from ..policy.gpus import Gpu, Slot
from ..policy.leases import Lease, Reservation, Ticket, TicketState
from ..policy.limits import quota_of
from ..policy.model import LimitRules, Person
from ..policy.quota import UNLIMITED, Quota
from .desk import Desk
from .repairs import REPAIRED
from .reservations import BROKEN, KEPT, Seats, seats_of
from .tally import Sums, advance


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a user may have, and has used within the window.

    Attributes
    ----------
    budget_ms, home
        None for no bound; `home` in bytes.
    """

    gpus: int
    budget_ms: int | None
    used_ms: int
    home: int | None


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """The ledger at `now`.

    Attributes
    ----------
    leases
        Open ones, offers included.
    tickets
        Those that wait or hold an offer.
    reservations
        Those that are not over; a running one has its `Seats` in `seats`, by id.
    users, groups, courses
        GPU-milliseconds of closed leases, and of open ones up to when they were last seen to run: never less than
        before. Whoever has an open lease is there.
    allowances
        Of users with an open lease or a ticket, or with use in the window.
    waits
        Per upper bound, and above the last one: how many tickets waited so long until they were served;
        `waited_ms` in all.
    repairs
        By kind.
    sessions
        Of courses, by phase: those that are to come, run, or are over and not cleared.
    class_seats
        By state: of sessions that are being warmed up, run or end.
    """

    now: datetime
    leases: tuple[Lease, ...]
    gpus: tuple[Gpu, ...]
    slots: tuple[Slot, ...]
    tickets: tuple[Ticket, ...]
    reservations: tuple[Reservation, ...]
    seats: Mapping[str, Seats]
    loops: tuple[LoopRecord, ...]
    users: Mapping[str, int]
    groups: Mapping[str, int]
    courses: Mapping[str, int]
    allowances: Mapping[str, Allowance]
    tickets_over: Mapping[TicketState, int]
    offers_lapsed: int
    waits: tuple[int, ...]
    waited_ms: int
    reservations_kept: int
    reservations_broken: int
    repairs: Mapping[str, int]
    sessions: Mapping[Phase, int]
    class_seats: Mapping[SeatState, int]


class Surveyor:
    """Takes snapshots, one after the other: only one thread may.

    Parameters
    ----------
    bounds_ms
        Upper bounds for `LedgerSnapshot.waits`.
    """

    def __init__(self, desk: Desk, bounds_ms: Sequence[int]) -> None:
        self._desk, self._bounds = desk, tuple(bounds_ms)
        self._sums = Sums()
        self._quotas: tuple[LimitRules, dict[Person, Quota]] | None = None

    def snapshot(self) -> LedgerSnapshot:
        """Read the ledger.

        Raises
        ------
        LedgerUnavailable
            The next one then goes on from the last that succeeded.
        """
        desk = self._desk
        with desk.ledger.reading() as books:
            now = desk.clock()
            sums = advance(self._sums, books, now - desk.rules.window, self._bounds)
            found = self._read(books, sums, now)
        self._sums = sums
        return found

    def _read(self, books: Books, sums: Sums, now: datetime) -> LedgerSnapshot:
        leases, tickets = tuple(books.leases.open()), tuple(books.tickets.live())
        reservations = tuple(books.reservations.upcoming(now))
        users, groups, courses = Counter(sums.users), Counter(sums.groups), Counter(sums.courses)
        for lease in leases:
            gpu_ms = sure_ms(lease)
            users[lease.user] += gpu_ms
            for group in lease.groups or {""}:
                groups[group] += gpu_ms
            if lease.course:
                courses[lease.course] += gpu_ms
        return LedgerSnapshot(
            now,
            leases,
            tuple(books.gpus.all()),
            tuple(books.gpus.slots()),
            tickets,
            reservations,
            {one.id: seats_of(books, one) for one in reservations if one.starts_at <= now},
            tuple(books.loops.all()),
            users,
            groups,
            courses,
            self._allowances(books, sums, leases, tickets, now),
            sums.tickets,
            sums.offers_lapsed,
            sums.waits,
            sums.waited_ms,
            sums.actions[KEPT],
            sums.actions[BROKEN],
            {kind: sums.actions[action] for action, kind in REPAIRED.items()},
            *_classes(books, now),
        )

    def _allowances(
        self, books: Books, sums: Sums, leases: Iterable[Lease], tickets: Iterable[Ticket], now: datetime
    ) -> dict[str, Allowance]:
        begin = now - self._desk.rules.window
        used = dict(sums.late)
        groups = {user: names for user, (_, names) in sums.lately.items()}
        groups |= {ticket.user: ticket.request.groups for ticket in tickets}
        for lease in sorted(leases, key=lambda lease: lease.granted_at):
            groups[lease.user] = lease.groups
            if lease.course:
                continue  # costs nobody a budget
            start, end, slots = running_interval(lease, now)
            used[lease.user] = used.get(lease.user, 0) + overlap_ms(start, end, begin, now) * slots
        rules = self._desk.quotas.rules(books, now)
        return {
            user: _allowance(self._quota(rules, Person(user, names)), used.get(user, 0))
            for user, names in groups.items()
        }

    def _quota(self, rules: LimitRules, person: Person) -> Quota:
        if self._quotas is None or self._quotas[0] is not rules:
            self._quotas = rules, {}
        known = self._quotas[1]
        if person not in known:
            known[person] = quota_of(rules, person)
        return known[person]


def _classes(books: Books, now: datetime) -> tuple[Counter[Phase], Counter[SeatState]]:
    phases: Counter[Phase] = Counter()
    states: Counter[SeatState] = Counter()
    for session in books.sessions.live(now):
        phase = session.phase(now)
        # One that was called off while its seats ran is ending.
        phases[Phase.ENDING if phase is Phase.CANCELLED else phase] += 1
        if phase is Phase.PLANNED:
            continue
        known = {seat.user: seat for seat in books.sessions.seats(session.id)}
        students = {one.user for one in books.courses.members(session.course, [Role.STUDENT])}
        states.update(seat_state(seat, now) for seat in known.values())
        states[SeatState.NOT_STARTED] += len(students - known.keys())
    return phases, states


def _allowance(quota: Quota, used_ms: int) -> Allowance:
    home = None if quota.home == UNLIMITED else int(quota.home)
    return Allowance(quota.gpus, hours_to_ms(quota.gpu_hours), used_ms, home)
