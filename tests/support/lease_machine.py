"""A hub where everything happens that can happen to leases, on any book of them."""

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spawner.policy.accounting import decayed_ms, hours_to_ms, length_ms, running_interval, spent
from spawner.policy.gpus import Gpu, GpuState, Isolation, Slot, SlotKind
from spawner.policy.leases import GpuRequest, Lease, LeaseRules, LeaseState, Reservation, Spent, Ticket
from spawner.policy.leasing import terms_by
from spawner.policy.model import Deny
from spawner.policy.observed import ObservedContainer
from spawner.policy.pool import Pool
from spawner.policy.queue import TermsOf, offers
from spawner.policy.quota import Quota
from spawner.policy.reconcile import Grace, Remove, Repair, Seen, reconcile

from .lease_book import Clock, Hub, LeaseBook

START = datetime(2026, 3, 4, 12, tzinfo=UTC)
MS = timedelta(milliseconds=1)
RULES = LeaseRules(
    window=timedelta(days=2),
    half_life=timedelta(days=1),
    patience=timedelta(hours=3),
    offer=timedelta(minutes=5),
    shortest=timedelta(minutes=10),
    turnover=timedelta(minutes=2),
    depth=2,
)
GRACE = Grace(start=timedelta(minutes=5), stop=timedelta(minutes=1))
QUOTA = Quota(cpu=4, memory=1 << 34, processes=4096, shm=1 << 32, open_files=4096, gpus=3, gpu_hours=20, lease_hours=6)


def _hub() -> Hub:
    """Make two hosts: whole GPUs of one model and a shared one, whole ones of another."""
    gpus = [Gpu(f"n0-{index}", "n0", index, "T4", 16 << 30) for index in range(3)]
    gpus += [Gpu(f"n1-{index}", "n1", index, "A100", 40 << 30) for index in range(2)]

    def slot(gpu: Gpu, slot_id: str, kind: SlotKind, memory: int) -> Slot:
        isolation = Isolation.HARDWARE if kind is SlotKind.EXCLUSIVE else Isolation.MPS
        return Slot(slot_id, gpu.uuid, gpu.node, kind, gpu.model, memory, isolation, gpu.uuid)

    slots = [slot(gpu, gpu.uuid, SlotKind.EXCLUSIVE, gpu.memory) for gpu in gpus if gpu.uuid != "n0-2"]
    slots += [slot(gpus[2], f"n0-2:{part}", SlotKind.SHARED, 8 << 30) for part in range(2)]
    return Hub(gpus, slots, RULES, QUOTA)


HUB = _hub()
RUNNING = LeaseState.ACTIVE, LeaseState.PENDING
USERS = st.sampled_from(["ann", "bob", "eve"])
SERVERS = st.sampled_from(["", "two"])
NUMBERS = st.integers(0, 9)


@dataclass
class Run:
    """A container's run, or a spell of idleness, as it truly was."""

    started: datetime
    ended: datetime | None = None
    unseen: bool = False  # nobody knows when it ended


class LeaseMachine(RuleBasedStateMachine):
    """Commands on a book, on containers and on the clock; invariants after each.

    Subclasses give the book.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(START)
        self.book = self.make_book()
        self.containers: dict[str, ObservedContainer] = {}
        self.runs: dict[str, Run] = {}
        self.known: set[str] = set()
        self.asked: dict[tuple[str, str], GpuRequest] = {}
        self.reserved_at: dict[tuple[str, tuple[str, ...]], datetime] = {}
        self.idle: dict[str, list[Run]] = {}
        self.stepped_back = timedelta(0)
        self.numbers = itertools.count()

    def make_book(self) -> LeaseBook:
        """Give an empty book of `HUB`, with this machine's clock."""
        raise NotImplementedError

    # --- users ------------------------------------------------------------------------------------------------

    @rule(
        user=USERS,
        server=SERVERS,
        count=st.sampled_from([1, 1, 1, 2]),
        hours=st.sampled_from([0.2, 1, 4, None]),
        models=st.sampled_from([(), ("T4",), ("A100",)]),
        course=st.sampled_from(["", "", "class"]),
    )
    def request(
        self, user: str, server: str, count: int, hours: float | None, models: tuple[str, ...], course: str
    ) -> None:
        wish = GpuRequest(user, server, "gpu", count, hours, frozenset(models), course=course)
        self.asked[user, server] = wish
        answer = self.book.acquire(wish)
        if isinstance(answer, Lease):
            assert answer.state is LeaseState.PENDING
            assert answer.ends_at > self.clock.now
        elif isinstance(answer, Ticket):
            held = self._held_by(user, server)  # who left a place for this one may have made room at once
            assert answer in self.book.queue() or (held is not None and held.state is LeaseState.OFFERED)

    @rule(users=st.permutations(["ann", "bob", "eve"]), counts=st.lists(st.integers(1, 2), min_size=3, max_size=6))
    def a_class_begins(self, users: list[str], counts: list[int]) -> None:
        """Many ask at once, and start what they get."""
        for number, count in enumerate(counts):
            user, server = users[number % 3], ["", "two"][number // 3]
            self.request(user, server, count, 1, (), "")
            held = self._held_by(user, server)
            if held is not None and held.state is LeaseState.PENDING:
                its = self._container_of(held) or self._make_container(held)
                self.book.activate(held.id, its.id, its.started_at or self.clock.now)

    @rule(number=NUMBERS)
    @precondition(lambda self: self._some(LeaseState.OFFERED))
    def take_offer(self, number: int) -> None:
        held = self._pick(number, LeaseState.OFFERED)
        if held is not None:
            taken = self.book.acquire(self.asked[held.user, held.server])
            stands = held.offered_until is not None and min(held.offered_until, held.ends_at) > self.clock.now
            assert not stands or (isinstance(taken, Lease) and taken.id == held.id)

    @rule(user=USERS, server=SERVERS)
    @precondition(lambda self: self.book.queue() or self._some(LeaseState.OFFERED))
    def cancel(self, user: str, server: str) -> None:
        self.book.cancel(user, server)
        assert not any((one.user, one.request.server) == (user, server) for one in self.book.queue())

    @rule(number=NUMBERS, hours=st.sampled_from([0.5, 2, None]))
    @precondition(lambda self: self._some(*RUNNING))
    def extend(self, number: int, hours: float | None) -> None:
        held = self._pick(number, *RUNNING)
        if held is None:
            return
        answer = self.book.extend(held.id, hours)
        if not isinstance(answer, Deny):
            assert held.ends_at < answer.ends_at
            self._check_quota(answer, self.clock.now)

    # --- servers ----------------------------------------------------------------------------------------------

    @rule(number=NUMBERS)
    @precondition(lambda self: self._some(LeaseState.PENDING))
    def start(self, number: int) -> None:
        held = self._pick(number, LeaseState.PENDING)
        if held is not None:
            its = self._container_of(held) or self._make_container(held)
            assert its.started_at is not None
            assert self.book.activate(held.id, its.id, its.started_at)

    @rule(number=NUMBERS)
    @precondition(lambda self: self._some(LeaseState.PENDING))
    def start_fails(self, number: int) -> None:
        held = self._pick(number, LeaseState.PENDING)
        if held is not None:
            self._stop(held, "start_failed")

    @rule(number=NUMBERS)
    @precondition(lambda self: self._some(LeaseState.PENDING))
    def start_is_cut_off(self, number: int) -> None:
        held = self._pick(number, LeaseState.PENDING)
        if held is not None and self._container_of(held) is None:
            self._make_container(held)

    @rule(number=NUMBERS)
    @precondition(lambda self: self._some(*RUNNING, LeaseState.RELEASING))
    def stop(self, number: int) -> None:
        held = self._pick(number, *RUNNING, LeaseState.RELEASING)
        if held is not None:
            self._stop(held, "stopped")

    @rule(number=NUMBERS)
    @precondition(lambda self: self._some(*RUNNING))
    def stop_is_cut_off(self, number: int) -> None:
        held = self._pick(number, *RUNNING)
        if held is not None:
            self.book.release(held.id, "stopped")

    @rule(number=NUMBERS, vanishes=st.booleans())
    @precondition(lambda self: any(one.running for one in self.containers.values()))
    def crash(self, number: int, *, vanishes: bool) -> None:
        running = sorted(one.id for one in self.containers.values() if one.running)
        if not running:
            return
        its = self.containers[running[number % len(running)]]
        run = self.runs[its.lease]
        run.ended, run.unseen = self.clock.now, vanishes
        if vanishes:
            del self.containers[its.id]
        else:
            self.containers[its.id] = replace(its, running=False, finished_at=self.clock.now, exit_code=137)

    # --- the janitor ------------------------------------------------------------------------------------------

    @rule()
    @precondition(lambda self: self._some(*RUNNING))
    def expire(self) -> None:
        for held in self.book.open_leases():
            if held.state in RUNNING and held.ends_at <= self.clock.now:
                self._stop(held, "expired")

    @rule()
    @precondition(lambda self: self.book.queue())
    def offer(self) -> None:
        self.book.offer()
        # Nobody is left who could be served: worked out anew from what the book says.
        found = offers(self._pool(), self._terms_of(), RULES, self.clock.now)
        assert not found, f"waits while it could be served: {found[0]}"

    @rule(restarted=st.booleans())
    def reconcile(self, *, restarted: bool) -> None:
        self.clock.now += MS
        grace = replace(GRACE, hub_began=self.clock.now) if restarted else GRACE
        moving = any(lease.changed_at >= self.clock.now for lease in self.book.open_leases())
        for repair in self._look(grace):
            if isinstance(repair, Remove):
                self._end(repair.container.id)
            else:
                self.book.apply(repair)
        second = [repair for repair in self._look(grace) if not isinstance(repair, Seen)]
        assert second == [] or moving, "what a clock that stepped back puts into the future waits for a later look"

    @rule(number=NUMBERS)
    @precondition(lambda self: self._some(LeaseState.ACTIVE))
    def begin_to_idle_or_work(self, number: int) -> None:
        held = self._pick(number, LeaseState.ACTIVE)
        if held is None:
            return
        spells = self.idle.setdefault(held.id, [])
        if held.idle_since is None:
            spells.append(Run(self.clock.now))
            self.book.note_idle(held.id, self.clock.now)
        else:
            spells[-1].ended = self.clock.now
            self.book.note_idle(held.id, None)

    # --- admins -----------------------------------------------------------------------------------------------

    @rule(
        seats=st.integers(1, 3),
        count=st.sampled_from([1, 1, 2]),
        models=st.sampled_from([(), ("T4",)]),
        starts=st.integers(-10, 600),
        minutes=st.integers(10, 300),
        course=st.sampled_from(["class", "lab"]),
    )
    @precondition(lambda self: len(self.book.reservations()) < 2)
    def reserve(self, seats: int, count: int, models: tuple[str, ...], starts: int, minutes: int, course: str) -> None:
        wish = GpuRequest("", "", "", count, models=frozenset(models), course=course)
        begins = self.clock.now + timedelta(minutes=starts)
        answer = self.book.reserve(wish, seats, begins, begins + timedelta(minutes=minutes))
        if isinstance(answer, Reservation):
            self.reserved_at[answer.id, answer.slots] = self.clock.now

    @rule(gpu=st.sampled_from(HUB.gpus), state=st.sampled_from([GpuState.IN_SERVICE] * 3 + [*GpuState]))
    def drain_or_resume(self, gpu: Gpu, state: GpuState) -> None:
        self.book.set_gpu_state(gpu.uuid, state)

    @rule(
        user=USERS,
        change=st.sampled_from(
            [("gpus", 0), ("gpus", 1), ("gpus", 4), ("gpu_hours", 0.5), ("gpu_hours", 8.0), ("lease_hours", 2.0)]
        ),
    )
    def change_quota(self, user: str, change: tuple[str, float]) -> None:
        self.book.set_quota(user, *change)

    # --- time -------------------------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([1, 6, 25, 70, 400]), milliseconds=st.integers(0, 999))
    def time_passes(self, minutes: int, milliseconds: int) -> None:
        self.clock.now += timedelta(minutes=minutes, milliseconds=milliseconds)

    @rule(seconds=st.sampled_from([1, 20, 90]))
    @precondition(lambda self: self.stepped_back < timedelta(minutes=3))
    def clock_steps_back(self, seconds: int) -> None:
        self.clock.now -= timedelta(seconds=seconds)
        self.stepped_back += timedelta(seconds=seconds)

    # --- what always holds ------------------------------------------------------------------------------------

    @invariant()
    def no_slot_is_held_twice(self) -> None:
        held = [slot for lease in self.book.open_leases() for slot in lease.slots]
        assert len(held) == len(set(held))
        servers = [(lease.user, lease.server) for lease in self.book.open_leases()]
        assert len(servers) == len(set(servers))

    @invariant()
    def no_grant_exceeds_a_quota(self) -> None:
        for lease in self.book.open_leases():
            if lease.id not in self.known:
                self.known.add(lease.id)
                self._check_quota(lease, lease.granted_at)
                usable = {slot.id for slot in self.book.slots() if slot.usable}
                assert set(lease.slots) <= usable

    @invariant()
    def seats_are_there_when_their_hour_comes(self) -> None:
        for reservation in self.book.reservations():
            # Other seats take the place of lost ones late, if need be.
            since = self.reserved_at.setdefault((reservation.id, reservation.slots), self.clock.now)
            room = max(reservation.starts_at - RULES.turnover, since)
            for lease in self.book.open_leases():
                if lease.state is LeaseState.RELEASING or lease.course == reservation.course:
                    continue
                if set(lease.slots) & set(reservation.slots) and lease.granted_at < reservation.ends_at:
                    assert lease.ends_at <= room, (lease, reservation)

    @invariant()
    def what_is_booked_is_what_ran(self) -> None:
        rows = self.book.booked()
        assert len({(row.lease, row.slot) for row in rows}) == len(rows)
        still_open = {lease.id for lease in self.book.open_leases()}
        for row in rows:
            assert row.lease not in still_open
            assert row.gpu_ms == length_ms(row.started_at, row.ended_at)
            run = self.runs[row.lease]
            assert run.ended is not None, "booked while it runs"
            slack = self.stepped_back + MS * 5
            assert abs(row.started_at - run.started) <= slack
            assert row.ended_at <= run.ended + slack
            assert run.unseen or row.ended_at >= run.ended - slack
            if not self.stepped_back and not run.unseen:
                assert (row.started_at, row.ended_at) == (run.started, run.ended)

    @invariant()
    def idle_time_is_what_was_idle_of_what_is_booked(self) -> None:
        for row in self.book.booked():
            assert 0 <= row.idle_ms <= row.gpu_ms
            spells = [(one.started, one.ended or row.ended_at) for one in self.idle.get(row.lease, [])]
            if not self.stepped_back and all(end <= row.ended_at for _, end in spells):
                assert row.idle_ms == sum(length_ms(start, end) for start, end in spells)

    def teardown(self) -> None:
        """Let time pass until nobody is left who could be served: nobody waits for ever."""
        for gpu in HUB.gpus:
            self.book.set_gpu_state(gpu.uuid, GpuState.IN_SERVICE)
        for _ in range(2 * len(self.book.queue()) + 3):
            self.clock.now += RULES.window
            self.expire()
            self.reconcile(restarted=True)
            self.offer()
        for ticket in self.book.queue():
            terms = self._terms_of()(ticket)
            assert terms is None, f"waits for ever: {ticket}"
        super().teardown()

    # --- tools ------------------------------------------------------------------------------------------------

    def _pick(self, number: int, *states: LeaseState) -> Lease | None:
        found = sorted((one for one in self.book.open_leases() if one.state in states), key=lambda one: one.id)
        return found[number % len(found)] if found else None

    def _held_by(self, user: str, server: str) -> Lease | None:
        return next((one for one in self.book.open_leases() if (one.user, one.server) == (user, server)), None)

    def _some(self, *states: LeaseState) -> bool:
        return any(one.state in states for one in self.book.open_leases())

    def _container_of(self, lease: Lease) -> ObservedContainer | None:
        return next((one for one in self.containers.values() if one.lease == lease.id), None)

    def _make_container(self, lease: Lease) -> ObservedContainer:
        name, now = f"c{next(self.numbers)}", self.clock.now
        its = ObservedContainer(
            name, name, lease.user, lease.server, lease.id, lease.slots, running=True, created_at=now, started_at=now
        )
        self.containers[name] = its
        self.runs[lease.id] = Run(max(now, lease.granted_at))
        return its

    def _end(self, container: str) -> None:
        """Remove a container."""
        its = self.containers.pop(container)
        run = self.runs[its.lease]
        run.ended = run.ended or self.clock.now

    def _stop(self, lease: Lease, why: str) -> None:
        """Stop a server, as the hub does."""
        self.book.release(lease.id, why)
        its = self._container_of(lease)
        if its is not None:
            self._end(its.id)
        run = self.runs.get(lease.id)
        self.book.close(lease.id, run.ended if run and not run.unseen else None)

    def _look(self, grace: Grace) -> list[Repair]:
        looked_at = self.clock.now
        self.clock.now += MS
        return reconcile(
            self.book.open_leases(),
            list(self.containers.values()),
            grace,
            looked_at,
            self.clock.now,
            self.book.quarantined(),
        )

    def _check_quota(self, lease: Lease, granted_at: datetime) -> None:
        quota, used = self.book.quota(lease.user), self._spent(lease.user)
        assert used.gpus_held <= quota.gpus
        assert lease.ends_at - granted_at <= timedelta(hours=quota.lease_hours)
        budget = hours_to_ms(quota.gpu_hours)
        assert budget is None or used.used_ms + used.committed_ms <= budget

    def _spent(self, user: str) -> Spent:
        past = [(row.started_at, row.ended_at, 1) for row in self.book.booked() if row.user == user and not row.course]
        own = [lease for lease in self.book.open_leases() if lease.user == user]
        return spent(past, own, self.clock.now, RULES.window)

    def _pool(self) -> Pool:
        pool = Pool(self.book.slots(), self.book.open_leases(), self.book.queue(), self.book.reservations())
        now, rows = self.clock.now, self.book.booked()
        pool.shares = {
            user: decayed_ms(
                [
                    *((row.started_at, row.ended_at, 1) for row in rows if row.user == user),
                    *(running_interval(lease, now) for lease in pool.leases_of(user)),
                ],
                now,
                RULES.half_life,
            )
            for user in {ticket.user for ticket in pool.queue.values()}
        }
        return pool

    def _terms_of(self) -> TermsOf:
        return terms_by(self._pool(), lambda ticket: self.book.quota(ticket.user), self._spent, RULES, self.clock.now)
