"""A book of leases, as the operations keep it: what can be done to it, and one that is kept in memory."""

import abc
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from spawner.policy.accounting import (
    Interval,
    booked_end,
    decayed_ms,
    idle_ms,
    idle_noted,
    length_ms,
    running_interval,
    spent,
)
from spawner.policy.extension import extend
from spawner.policy.gpus import Gpu, GpuState, Slot
from spawner.policy.leases import (
    Allot,
    GpuRequest,
    Lease,
    LeaseRules,
    LeaseState,
    Reservation,
    Spent,
    Ticket,
    TicketState,
    UsageRow,
    Wait,
)
from spawner.policy.leasing import decide, terms_by
from spawner.policy.model import Deny
from spawner.policy.pool import Pool
from spawner.policy.queue import TermsOf, offers
from spawner.policy.quota import Quota
from spawner.policy.reconcile import Activate, Adopt, Quarantine, Release, Repair, Seen, Withdraw
from spawner.policy.reservations import Reserved, replan, reserve


@dataclass
class Clock:
    """A clock that stands still until it is set."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class Hub:
    """What a book is about: inventory, rules, and the quota of all."""

    gpus: Sequence[Gpu]
    slots: Sequence[Slot]
    rules: LeaseRules
    quota: Quota


class LeaseBook(abc.ABC):
    """What the hub, the janitor and admins do with leases. Times are the clock's."""

    @abc.abstractmethod
    def acquire(self, request: GpuRequest) -> Lease | Ticket | Deny:
        """Ask for GPUs: a lease, a place in the queue, or a refusal."""

    @abc.abstractmethod
    def activate(self, lease: str, container: str, started_at: datetime, answered_at: datetime | None = None) -> bool:
        """Note that a server is ready; false if its lease has ended meanwhile."""

    @abc.abstractmethod
    def release(self, lease: str, why: str) -> None: ...

    @abc.abstractmethod
    def close(self, lease: str, ended_at: datetime | None) -> None: ...

    @abc.abstractmethod
    def extend(self, lease: str, hours: float | None) -> Lease | Deny: ...

    @abc.abstractmethod
    def offer(self) -> None:
        """Offer what is free to those who wait."""

    @abc.abstractmethod
    def cancel(self, user: str, server: str) -> bool:
        """Leave the queue, or decline an offer."""

    @abc.abstractmethod
    def reserve(self, wish: GpuRequest, seats: int, starts_at: datetime, ends_at: datetime) -> Reservation | Deny:
        """Reserve seats for the wish's course; who is in the way gets an earlier end."""

    @abc.abstractmethod
    def set_gpu_state(self, uuid: str, state: GpuState) -> None: ...

    @abc.abstractmethod
    def set_quota(self, user: str, dimension: str, value: float) -> None: ...

    @abc.abstractmethod
    def apply(self, repair: Repair) -> None:
        """Carry out a repair, but for removals of containers."""

    @abc.abstractmethod
    def note_idle(self, lease: str, since: datetime | None) -> None:
        """Note since when an active lease does nothing."""

    @abc.abstractmethod
    def open_leases(self) -> list[Lease]: ...

    @abc.abstractmethod
    def quarantined(self) -> frozenset[str]: ...

    @abc.abstractmethod
    def queue(self) -> list[Ticket]:
        """List the tickets that wait."""

    @abc.abstractmethod
    def booked(self) -> list[UsageRow]: ...

    @abc.abstractmethod
    def reservations(self) -> list[Reservation]:
        """List those that are not over."""

    @abc.abstractmethod
    def quota(self, user: str) -> Quota: ...

    @abc.abstractmethod
    def slots(self) -> list[Slot]: ...


class MemoryBook(LeaseBook):
    """The policy and a pool, without any database."""

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self._hub, self._rules, self._clock = hub, hub.rules, clock
        self._pool = Pool(hub.slots)
        self._quotas: dict[str, Quota] = {}
        self._tickets: dict[tuple[str, str], Ticket] = {}
        self._usage: list[UsageRow] = []
        self._states: dict[str, GpuState] = {}
        self._quarantined: set[str] = set()
        self._numbers = itertools.count()

    # --- the hub ----------------------------------------------------------------------------------------------

    def acquire(self, request: GpuRequest) -> Lease | Ticket | Deny:
        now, key = self._clock(), (request.user, request.server)
        held = next((one for one in self._pool.leases_of(request.user) if one.server == request.server), None)
        ticket = self._tickets.get(key)
        if held is not None and held.state is not LeaseState.OFFERED:
            return Deny("unfinished", "The server's last lease is still open.")
        had = held is not None or ticket is not None
        if held is not None:
            stands = held.offered_until is not None and held.offered_until > now and held.ends_at > now
            if ticket is not None and stands and ticket.request == request:
                taken = replace(held, state=LeaseState.PENDING, granted_at=now, changed_at=now, offered_until=None)
                self._pool.put_lease(taken)
                del self._tickets[key]
                return taken
            self._close(held, None)
            self._tickets.pop(key, None)
            ticket = None
        if ticket is not None and ticket.request != request:
            self._leave(ticket)
            ticket = None
        self._renew_shares(request.user)
        quota = self.quota(request.user)
        place = ticket or Ticket(self._new_id(), request, TicketState.WAITING, now, quota.priority)
        answer = decide(
            self._pool, request, quota, self._spent(request.user), self._rules, now, self._terms_of(), place
        )
        left = had and (ticket is None or isinstance(answer, Deny))
        made: Lease | Ticket | Deny
        if isinstance(answer, Wait):
            self._tickets[key] = made = place
            self._pool.put_ticket(place)
        else:
            if ticket is not None:
                self._leave(ticket)
            its = ticket.id if ticket is not None else ""
            made = answer if isinstance(answer, Deny) else self._grant(request, answer, ticket=its)
        if left:
            self.offer()
        return made

    def _grant(self, request: GpuRequest, answer: Allot, **more: Any) -> Lease:
        now = self._clock()
        lease = Lease(
            self._new_id(),
            request.user,
            request.server,
            request.profile,
            more.pop("state", LeaseState.PENDING),
            answer.slots,
            granted_at=now,
            ends_at=answer.until,
            changed_at=now,
            course=request.course,
            at_end=request.at_end,
            **more,
        )
        self._pool.put_lease(lease)
        return lease

    def activate(self, lease: str, container: str, started_at: datetime, answered_at: datetime | None = None) -> bool:
        now, held = self._clock(), self._pool.leases.get(lease)
        if held is None or held.state is not LeaseState.PENDING:
            return held is not None and held.state is LeaseState.ACTIVE
        started = min(max(started_at, held.granted_at), now)
        seen = max(started, min(answered_at or started, now))
        self._pool.put_lease(
            replace(
                held, state=LeaseState.ACTIVE, container=container, started_at=started, seen_at=seen, changed_at=now
            )
        )
        return True

    def release(self, lease: str, why: str) -> None:
        held = self._pool.leases.get(lease)
        if held is not None and held.state is not LeaseState.RELEASING:
            self._pool.put_lease(
                replace(held, state=LeaseState.RELEASING, changed_at=self._clock(), ending=held.ending or why)
            )

    def close(self, lease: str, ended_at: datetime | None) -> None:
        held = self._pool.leases.get(lease)
        if held is not None:
            self._close(held, ended_at)
            self.offer()

    def _close(self, held: Lease, ended_at: datetime | None) -> None:
        self._pool.drop_lease(held.id)
        if held.started_at is None:
            return
        end = booked_end(held, ended_at, self._clock())
        idle = idle_ms(held, end)
        for slot in held.slots:
            self._usage.append(
                UsageRow(
                    held.id,
                    held.user,
                    held.groups,
                    held.course,
                    slot,
                    self._pool.slots[slot].model,
                    held.started_at,
                    end,
                    length_ms(held.started_at, end),
                    idle,
                )
            )

    def extend(self, lease: str, hours: float | None) -> Lease | Deny:
        held = self._pool.leases[lease]
        self._renew_shares(held.user)
        end = extend(
            self._pool,
            held,
            hours,
            self.quota(held.user),
            self._spent(held.user),
            self._rules,
            self._clock(),
            self._terms_of(),
        )
        if isinstance(end, Deny):
            return end
        self._pool.put_lease(replace(held, ends_at=end))
        return self._pool.leases[lease]

    # --- the queue --------------------------------------------------------------------------------------------

    def offer(self) -> None:
        now = self._clock()
        while self._pool.queue:
            self._renew_shares()
            servings = offers(self._pool, self._terms_of(), self._rules, now)
            if not servings:
                return
            for serving in servings:
                ticket, placement = serving.ticket, serving.placement
                assert placement is not None
                lease = self._grant(
                    ticket.request,
                    Allot(placement.slots, placement.until),
                    state=LeaseState.OFFERED,
                    offered_until=min(now + self._rules.offer, placement.until),
                    ticket=ticket.id,
                )
                offered = replace(ticket, state=TicketState.OFFERED, lease=lease.id)
                self._tickets[ticket.user, ticket.request.server] = offered
                self._pool.put_ticket(offered)

    def cancel(self, user: str, server: str) -> bool:
        ticket = self._tickets.get((user, server))
        if ticket is None:
            return False
        self._leave(ticket)
        held = self._pool.leases.get(ticket.lease)
        if held is not None and held.state is LeaseState.OFFERED:
            self._close(held, None)
        self.offer()
        return True

    def _leave(self, ticket: Ticket) -> None:
        del self._tickets[ticket.user, ticket.request.server]
        self._pool.put_ticket(replace(ticket, state=TicketState.CANCELLED))

    # --- admins -----------------------------------------------------------------------------------------------

    def reserve(self, wish: GpuRequest, seats: int, starts_at: datetime, ends_at: datetime) -> Reservation | Deny:
        answer = reserve(self._pool, wish, seats, starts_at, ends_at, self._rules, self._clock())
        if not isinstance(answer, Reserved):
            return answer
        for held, end in answer.shorten:
            self._pool.put_lease(replace(held, ends_at=end))
        made = Reservation(self._new_id(), wish.course, answer.slots, starts_at, ends_at)
        self._pool.put_reservation(made)
        return made

    def set_gpu_state(self, uuid: str, state: GpuState) -> None:
        self._states[uuid] = state
        of_gpu = [slot for slot in self._pool.slots.values() if slot.gpu == uuid]
        if state is GpuState.IN_SERVICE:
            self._quarantined -= {slot.id for slot in of_gpu}
        for slot in of_gpu:
            self._show(slot)
        for reservation in self.reservations():
            moved = replan(self._pool, reservation, self._rules, self._clock())
            if moved is not None:
                self._pool.put_reservation(moved)
        self.offer()

    def _show(self, slot: Slot) -> None:
        in_service = self._states.get(slot.gpu, GpuState.IN_SERVICE) is GpuState.IN_SERVICE
        self._pool.add_slot(replace(slot, usable=in_service and slot.id not in self._quarantined))

    def set_quota(self, user: str, dimension: str, value: float) -> None:
        self._quotas[user] = replace(self.quota(user), **{dimension: value})  # type: ignore[arg-type]
        self.offer()

    # --- the janitor ------------------------------------------------------------------------------------------

    def apply(self, repair: Repair) -> None:
        now = self._clock()
        match repair:
            case Seen(lease, container, at):
                held = self._pool.leases[lease.id]
                seen = max(held.seen_at or at, min(at, now))
                self._pool.put_lease(replace(held, seen_at=seen, container=container.id))
            case Activate(lease, container, at):
                self.activate(lease.id, container.id, container.started_at or lease.granted_at, at)
            case Release(lease, ended_at, why):
                self.release(lease.id, why)
                self.close(lease.id, ended_at)
            case Withdraw(lease):
                self._close(self._pool.leases[lease.id], None)
                ticket = self._tickets.get((lease.user, lease.server))
                if ticket is not None and ticket.lease == lease.id:
                    self._leave(ticket)
                self.offer()
            case Quarantine(slots):
                self._quarantined |= set(slots)
                for slot in slots:
                    self._show(self._pool.slots[slot])
            case Adopt():
                raise AssertionError("the machine makes no containers without a lease")

    def note_idle(self, lease: str, since: datetime | None) -> None:
        self._pool.put_lease(idle_noted(self._pool.leases[lease], since, self._clock()))

    # --- questions --------------------------------------------------------------------------------------------

    def open_leases(self) -> list[Lease]:
        return list(self._pool.leases.values())

    def quarantined(self) -> frozenset[str]:
        return frozenset(self._quarantined)

    def queue(self) -> list[Ticket]:
        return list(self._pool.queue.values())

    def booked(self) -> list[UsageRow]:
        return list(self._usage)

    def reservations(self) -> list[Reservation]:
        now = self._clock()
        for over in [one for one in self._pool.reservations.values() if one.ends_at <= now]:
            self._pool.put_reservation(replace(over, cancelled=True))
        return list(self._pool.reservations.values())

    def quota(self, user: str) -> Quota:
        return self._quotas.get(user, self._hub.quota)

    def slots(self) -> list[Slot]:
        return list(self._pool.slots.values())

    # --- what a decision needs --------------------------------------------------------------------------------

    def _intervals(self, user: str) -> list[Interval]:
        return [(row.started_at, row.ended_at, 1) for row in self._usage if row.user == user]

    def _spent(self, user: str) -> Spent:
        own = [(row.started_at, row.ended_at, 1) for row in self._usage if row.user == user and not row.course]
        return spent(own, self._pool.leases_of(user), self._clock(), self._rules.window)

    def _terms_of(self) -> TermsOf:
        return terms_by(self._pool, lambda ticket: self.quota(ticket.user), self._spent, self._rules, self._clock())

    def _renew_shares(self, *users: str) -> None:
        now = self._clock()
        self._pool.shares = {
            user: decayed_ms(
                [*self._intervals(user), *(running_interval(one, now) for one in self._pool.leases_of(user))],
                now,
                self._rules.half_life,
            )
            for user in {ticket.user for ticket in self._pool.queue.values()} | set(users)
        }

    def _new_id(self) -> str:
        return f"{next(self._numbers):04}"
