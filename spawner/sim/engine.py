"""The hub, the janitor and the people of a simulated week: what they do when something happens.

Decisions are the policy's own (`decide`, `offers`, `extend`, `reserve`, `replan`). What is left out: the queue is
looked at 30 s after something became free instead of at once, and a server's time ends when its stop begins.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from ..policy.accounting import Interval
from ..policy.accounting import spent as summed_up
from ..policy.extension import extend
from ..policy.leases import (
    Allot,
    GpuRequest,
    Lease,
    LeaseState,
    Reservation,
    Spent,
    Ticket,
    TicketState,
)
from ..policy.leasing import decide, terms_by
from ..policy.model import Deny
from ..policy.pool import Pool
from ..policy.queue import Terms, TermsOf, offers
from ..policy.quota import Quota
from ..policy.reservations import Reserved, mend, replan, reserve
from .agenda import Agenda
from .behaviour import hours_for, is_taken_back, leaves_at, request_of, rest_of
from .disciplines import Discipline, split
from .log import Asked, Down, Hold, Log, Outcome
from .scenario import Demand, Outage, Session, Workload
from .upkeep import Budgets, DecayedUse

_LOOK = timedelta(seconds=30)
_LOOK_ANYWAY = timedelta(minutes=10)  # budgets come back by time alone
_MEND = timedelta(minutes=10)  # before a reservation starts
_ASK_FOR_MORE = timedelta(minutes=10)  # before the end
_CHECK_EVERY = 100  # requests


@dataclass(slots=True)
class _Server:
    """A server with GPUs, and the person behind it."""

    demand: Demand
    hold: Hold
    pool: Pool


class Simulation:
    """One run of a workload under a discipline."""

    def __init__(self, workload: Workload, discipline: Discipline) -> None:
        self.log = Log()
        self._workload = workload
        self._rules = discipline.rules
        self._agenda = Agenda()
        self._end = workload.scenario.ends_at
        self._shares = DecayedUse(self._rules.half_life, workload.scenario.starts_at)
        self._budgets = Budgets(self._rules.window, workload.past)
        self._booked: defaultdict[str, list[Interval]] = defaultdict(list)
        for user, intervals in workload.past.items():
            self._booked[user].extend(intervals)
            for start, end, slots in intervals:
                self._shares.started(user, slots, start)
                self._shares.ended(user, slots, end)
        parts = split(workload) if discipline.pinned else {"": list(workload.slots)}
        self._pools = {name: Pool(slots, shares=self._shares) for name, slots in parts.items()}
        self._pool_of_slot = {slot: pool for pool in self._pools.values() for slot in pool.slots}
        self._pinned = discipline.pinned
        self._servers: dict[str, _Server] = {}
        self._waiting: dict[str, Asked] = {}
        self._down: dict[str, datetime] = {}
        self._outages: Counter[str] = Counter()
        self._next_look: datetime | None = None
        self._sessions = workload.sessions if discipline.reserves else ()

    def run(self) -> Log:
        """Let the time pass; give what happened."""
        for demand in self._workload.demands:
            self._agenda.at(demand.at, partial(self._arrive, demand))
        for session in self._sessions:
            self._agenda.at(session.booked_at, partial(self._book, session))
        for outage in self._workload.outages:
            self._agenda.at(outage.starts_at, partial(self._break, outage))
        self._agenda.at(self._workload.scenario.starts_at, self._look_anyway)
        self.log.events = self._agenda.run(self._end)
        for asked in self._waiting.values():
            asked.until = self._end
        for slot, since in self._down.items():
            self.log.downs.append(Down(slot, since, self._end))
        return self.log

    # --- asking and waiting -----------------------------------------------------------------------------------

    def _arrive(self, demand: Demand, now: datetime) -> None:
        self._shares.set_time(now)
        pool, quota = self._pool(demand), self._workload.quotas[demand.group]
        spent = self._spent(demand.user, now)
        if len(self.log.asked) % _CHECK_EVERY == 0:
            self._compare(demand.user, spent, now)
        asked = Asked(demand, now, now, Outcome.WAITING)
        self.log.asked.append(asked)
        ticket = Ticket(
            f"t{len(self.log.asked):07d}",
            request_of(demand),
            TicketState.WAITING,
            now,
            quota.priority,
            moved_up=int(demand.first),
        )
        answer = decide(pool, ticket.request, quota, spent, self._rules, now, self._terms(pool, now), ticket)
        if isinstance(answer, Deny):
            asked.outcome, asked.code = Outcome.DENIED, answer.code
        elif isinstance(answer, Allot):
            self._grant(asked, pool, answer.slots, answer.until, now)
        elif demand.leaves:
            asked.outcome = Outcome.LEFT
        else:
            pool.put_ticket(ticket)
            self._waiting[ticket.id] = asked
            self._agenda.at(now + demand.waits, partial(self._give_up, pool, ticket))

    def _give_up(self, pool: Pool, ticket: Ticket, now: datetime) -> None:
        asked = self._waiting.pop(ticket.id, None)
        if asked is not None:
            asked.outcome, asked.until = Outcome.GAVE_UP, now
            pool.put_ticket(replace(ticket, state=TicketState.CANCELLED))
            self._something_changed(now)

    def _something_changed(self, now: datetime) -> None:
        if self._next_look is None and self._waiting:
            self._next_look = now + _LOOK
            self._agenda.at(self._next_look, self._look)

    def _look(self, now: datetime) -> None:
        self._next_look = None
        self._shares.set_time(now)
        for pool in self._pools.values():
            while pool.queue:
                servings = offers(pool, self._terms(pool, now), self._rules, now)
                for serving in servings:
                    if serving.placement is not None:
                        pool.put_ticket(replace(serving.ticket, state=TicketState.SERVED))
                        asked = self._waiting.pop(serving.ticket.id)
                        self._grant(asked, pool, serving.placement.slots, serving.placement.until, now)
                # Only who was passed over because they had just been served can get something now.
                users = {serving.ticket.user for serving in servings}
                if not any(ticket.user in users for ticket in pool.queue.values()):
                    break

    def _look_anyway(self, now: datetime) -> None:
        self._something_changed(now)
        self._agenda.at(now + _LOOK_ANYWAY, self._look_anyway)

    # --- a lease's life ---------------------------------------------------------------------------------------

    def _grant(self, asked: Asked, pool: Pool, slots: tuple[str, ...], until: datetime, now: datetime) -> None:
        demand = asked.demand
        asked.outcome, waited = Outcome.SERVED, asked.at < now
        asked.until = now
        offered = waited and demand.takes_after > timedelta(0)
        lease = Lease(
            f"l{len(self.log.holds):07d}",
            demand.user,
            str(demand.id),
            "gpu",
            LeaseState.OFFERED if offered else LeaseState.PENDING,
            slots,
            granted_at=now,
            ends_at=until,
            changed_at=now,
            groups=frozenset({demand.group}),
            course=demand.course,
            offered_until=min(now + self._rules.offer, until) if offered else None,
        )
        hold = Hold(lease.id, demand, slots, now, self._end)
        self.log.holds.append(hold)
        self._servers[lease.id] = _Server(demand, hold, pool)
        pool.put_lease(lease)
        if lease.offered_until is None:
            self._start(lease.id, now)
        elif now + demand.takes_after < lease.offered_until:
            self._agenda.at(now + demand.takes_after, partial(self._take, lease.id))
        else:
            self._agenda.at(lease.offered_until, partial(self._lapse, lease.id))

    def _lease(self, lease_id: str, *states: LeaseState) -> Lease | None:
        """Give an open lease if it is in one of these states."""
        server = self._servers.get(lease_id)
        lease = server.pool.leases[lease_id] if server else None
        return lease if lease is not None and lease.state in states else None

    def _put(self, lease: Lease) -> None:
        self._servers[lease.id].pool.put_lease(lease)

    def _take(self, lease_id: str, now: datetime) -> None:
        lease = self._lease(lease_id, LeaseState.OFFERED)
        if lease is not None:
            self._put(replace(lease, state=LeaseState.PENDING, granted_at=now, changed_at=now, offered_until=None))
            self._start(lease_id, now)

    def _lapse(self, lease_id: str, now: datetime) -> None:
        if self._lease(lease_id, LeaseState.OFFERED):
            self.log.lapsed_offers += 1
            self._servers[lease_id].hold.why = "offer_lapsed"
            self._close(lease_id, now)

    def _start(self, lease_id: str, now: datetime) -> None:
        self._agenda.at(now + self._servers[lease_id].demand.startup, partial(self._ready, lease_id))
        self._watch_end(lease_id)

    def _ready(self, lease_id: str, now: datetime) -> None:
        lease = self._lease(lease_id, LeaseState.PENDING)
        if lease is None:
            return
        server = self._servers[lease_id]
        demand = server.demand
        if demand.start_fails and demand.attempt == 0:
            self._release(lease_id, "start_failed", now)
            return
        self._put(replace(lease, state=LeaseState.ACTIVE, started_at=now, changed_at=now))
        server.hold.started_at = now
        self._shares.started(demand.user, demand.count, now)
        if demand.crashes_after is not None and demand.attempt == 0:
            self._agenda.at(now + demand.crashes_after, lambda at: self._release(lease_id, "crashed", at))
        why = "idle" if is_taken_back(demand) else "done"
        self._agenda.at(leaves_at(demand, now), lambda at: self._release(lease_id, why, at))

    def _watch_end(self, lease_id: str) -> None:
        lease = self._servers[lease_id].pool.leases[lease_id]
        self._agenda.at(lease.ends_at, partial(self._expire, lease_id))
        self._agenda.at(lease.ends_at - _ASK_FOR_MORE, partial(self._ask_for_more, lease_id, lease.ends_at))

    def _expire(self, lease_id: str, now: datetime) -> None:
        lease = self._lease(lease_id, LeaseState.OFFERED, LeaseState.PENDING, LeaseState.ACTIVE)
        if lease is not None and lease.ends_at <= now:
            self._release(lease_id, "expired", now)

    def _ask_for_more(self, lease_id: str, ends_at: datetime, now: datetime) -> None:
        lease = self._lease(lease_id, LeaseState.ACTIVE)
        if lease is None or lease.ends_at != ends_at or lease.started_at is None:
            return
        server = self._servers[lease_id]
        if server.demand.ends_at is not None:
            return  # the session's end is a seat's
        missing = leaves_at(server.demand, lease.started_at) - ends_at
        if missing <= timedelta(0):
            return
        self._shares.set_time(now)
        quota = self._workload.quotas[server.demand.group]
        for hours in (hours_for(missing), None):
            spent = self._spent(lease.user, now)
            answer = extend(server.pool, lease, hours, quota, spent, self._rules, now, self._terms(server.pool, now))
            self.log.extensions[answer.code if isinstance(answer, Deny) else "extended"] += 1
            if not isinstance(answer, Deny):
                self._put(replace(lease, ends_at=answer, changed_at=now))
                self._watch_end(lease_id)
            # As many hours as were asked for may be too many, though some are possible.
            if not isinstance(answer, Deny) or answer.code == "others_wait":
                return

    def _release(self, lease_id: str, why: str, now: datetime) -> None:
        lease = self._lease(lease_id, LeaseState.OFFERED, LeaseState.PENDING, LeaseState.ACTIVE)
        if lease is None:
            return
        server = self._servers[lease_id]
        demand, hold, worked = server.demand, server.hold, timedelta(0)
        self._put(replace(lease, state=LeaseState.RELEASING, changed_at=now, ending=why))
        hold.why = why
        if lease.started_at is not None:
            self._shares.ended(demand.user, demand.count, now)
            hold.ended_at, hold.worked_until = now, min(now, lease.started_at + demand.work)
            worked = hold.worked_until - lease.started_at
        self._agenda.at(now + demand.stop_takes, partial(self._close, lease_id))
        rest = rest_of(demand, worked, now)
        if rest is not None:
            self._agenda.at(rest.at, partial(self._arrive, rest))

    def _close(self, lease_id: str, now: datetime) -> None:
        server = self._servers.pop(lease_id)
        hold = server.hold
        lease = server.pool.leases[lease_id]
        server.pool.put_lease(replace(lease, state=LeaseState.CLOSED, closed_at=now, changed_at=now))
        hold.until = now
        if hold.started_at is not None and hold.ended_at is not None and not lease.course:
            interval = (hold.started_at, hold.ended_at, len(hold.slots))
            self._budgets.book(lease.user, interval)
            self._booked[lease.user].append(interval)
        self._something_changed(now)

    # --- reservations and outages -----------------------------------------------------------------------------

    def _book(self, session: Session, now: datetime) -> None:
        for pool in self._pools.values():
            request = GpuRequest("", "", "", 1, kinds=session.kinds, memory=session.memory, course=session.course)
            answer = reserve(pool, request, session.seats, session.starts_at, session.ends_at, self._rules, now)
            if not isinstance(answer, Reserved):
                self.log.refused += session.seats
                continue
            pool.put_reservation(
                Reservation(session.id, session.course, answer.slots, session.starts_at, session.ends_at)
            )
            for lease, end in answer.shorten:
                self.log.shortened += 1
                self._put(replace(lease, ends_at=end, changed_at=now))
                self._watch_end(lease.id)
            self._agenda.at(session.starts_at - _MEND, self._mend)
            self._agenda.at(session.starts_at, partial(self._begin, pool, session))
            self._agenda.at(session.ends_at, partial(self._finish, pool, session))

    def _begin(self, pool: Pool, session: Session, _now: datetime) -> None:
        self.log.reservations.append(pool.reservations[session.id])

    def _finish(self, pool: Pool, session: Session, now: datetime) -> None:
        pool.put_reservation(replace(pool.reservations[session.id], cancelled=True))
        self._something_changed(now)

    def _mend(self, now: datetime) -> None:
        """Give reservations other slots for those that cannot be used; where none is free, somebody makes room."""
        for pool in self._pools.values():
            for reservation in list(pool.reservations.values()):
                if (moved := replan(pool, reservation, self._rules, now)) is not None:
                    pool.put_reservation(moved)
                kept = moved or reservation
                if (found := mend(pool, kept, self._rules, now)) is not None:
                    pool.put_reservation(replace(kept, slots=found.slots))
                    for lease, end in found.shorten:
                        self.log.shortened += 1
                        self._put(replace(lease, ends_at=end, changed_at=now))
                        self._watch_end(lease.id)

    def _break(self, outage: Outage, now: datetime) -> None:
        for slot_id in outage.slots:
            self._outages[slot_id] += 1
            if self._outages[slot_id] == 1:
                self._down[slot_id] = now
                self._set_usable(slot_id, usable=False)
            holder = self._pool_of_slot[slot_id].holder(slot_id)
            if outage.kills and holder is not None:
                self._release(holder.id, "lost", now)
        self._mend(now)
        self._agenda.at(outage.ends_at, partial(self._repair, outage))

    def _repair(self, outage: Outage, now: datetime) -> None:
        for slot_id in outage.slots:
            self._outages[slot_id] -= 1
            if not self._outages[slot_id]:
                self.log.downs.append(Down(slot_id, self._down.pop(slot_id), now))
                self._set_usable(slot_id, usable=True)
        self._mend(now)
        self._something_changed(now)

    def _set_usable(self, slot_id: str, *, usable: bool) -> None:
        pool = self._pool_of_slot[slot_id]
        pool.add_slot(replace(pool.slots[slot_id], usable=usable))

    # --- what the policy wants to know ------------------------------------------------------------------------

    def _pool(self, demand: Demand) -> Pool:
        return self._pools[demand.row if self._pinned else ""]

    def _leases_of(self, user: str) -> list[Lease]:
        return [lease for pool in self._pools.values() for lease in pool.leases_of(user)]

    def _spent(self, user: str, now: datetime) -> Spent:
        return self._budgets.spent(user, self._leases_of(user), now)

    def _terms(self, pool: Pool, now: datetime) -> TermsOf:
        def quota_of(ticket: Ticket) -> Quota:
            return self._workload.quotas[self._waiting[ticket.id].demand.group]

        found = terms_by(pool, quota_of, lambda user: self._spent(user, now), self._rules, now)

        def terms_of(ticket: Ticket) -> Terms | None:
            terms = found(ticket)
            if terms is None:
                self._waiting[ticket.id].blocked = True
            return terms

        return terms_of

    def _compare(self, user: str, spent: Spent, now: datetime) -> None:
        """Compare the sum that was kept up with the policy's own, made anew."""
        right = summed_up(self._booked[user], self._leases_of(user), now, self._rules.window)
        if replace(right, past=()) != replace(spent, past=()) or sorted(right.past) != sorted(spent.past):
            self.log.mismatches += 1
