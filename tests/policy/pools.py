"""Small pools of GPUs: built by hand, or by hypothesis."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from spawner.policy.gpus import Isolation, Slot, SlotKind
from spawner.policy.leases import (
    GpuRequest,
    Lease,
    LeaseRules,
    LeaseState,
    Reservation,
    Spent,
    Ticket,
    TicketState,
)
from spawner.policy.leasing import terms_by
from spawner.policy.model import Deny
from spawner.policy.pool import Pool
from spawner.policy.queue import TermsOf
from spawner.policy.quota import ALL, Quota

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
RULES = LeaseRules()
GIB = 1 << 30
MEMORY = {"T4": 16, "A100": 40, "H100": 80}
HELD = {LeaseState.PENDING, LeaseState.ACTIVE, LeaseState.OFFERED, LeaseState.RELEASING}


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def slot(
    gpu: int,
    *,
    node: str = "n0",
    model: str = "T4",
    kind: SlotKind = SlotKind.EXCLUSIVE,
    share: int | None = None,
    parts: int = 1,
    island: str = "",
    usable: bool = True,
) -> Slot:
    uuid = f"{node}-{gpu}"
    slot_id = uuid if share is None else f"{uuid}:{share}"
    memory = MEMORY[model] * GIB // parts
    return Slot(slot_id, uuid, node, kind, model, memory, Isolation.HARDWARE, uuid, island, usable=usable)


def gpus(count: int, *, node: str = "n0", model: str = "T4", islands: int = 1) -> list[Slot]:
    """Give the slots of a node with whole GPUs, in islands of equal size."""
    return [slot(gpu, node=node, model=model, island=f"i{gpu * islands // count}") for gpu in range(count)]


def shared(gpu: int, parts: int = 2, *, node: str = "n0", model: str = "T4") -> list[Slot]:
    return [slot(gpu, node=node, model=model, kind=SlotKind.SHARED, share=part, parts=parts) for part in range(parts)]


def lease(
    lease_id: str,
    slots: Iterable[str],
    ends: float = 60,
    *,
    user: str = "ann",
    state: LeaseState = LeaseState.ACTIVE,
    course: str = "",
    started: float = -60,
) -> Lease:
    """Give a lease; times in minutes from now."""
    return Lease(
        lease_id,
        user,
        lease_id,
        "gpu",
        state,
        tuple(slots),
        granted_at=at(started),
        ends_at=at(ends),
        changed_at=at(started),
        course=course,
        started_at=at(started) if state in {LeaseState.ACTIVE, LeaseState.RELEASING} else None,
    )


def request(
    count: int = 1,
    *,
    user: str = "ann",
    server: str = "",
    hours: float | None = 1,
    models: Iterable[str] = (),
    kinds: Iterable[SlotKind] = (),
    memory: int = 0,
    course: str = "",
) -> GpuRequest:
    return GpuRequest(
        user, server, "gpu", count, hours, frozenset(models), frozenset(kinds), memory=memory, course=course
    )


def ticket(
    ticket_id: str, wish: GpuRequest | None = None, arrived: float = -10, *, priority: int = 0, moved_up: int = 0
) -> Ticket:
    wish = wish or request(user=ticket_id)
    return Ticket(ticket_id, wish, TicketState.WAITING, at(arrived), priority, moved_up)


def reservation(name: str, slots: Iterable[str], starts: float, ends: float, course: str = "class") -> Reservation:
    return Reservation(name, course, tuple(slots), at(starts), at(ends))


def quota(
    gpus: int = 8,
    *,
    gpu_hours: float = float("inf"),
    lease_hours: float = 24.0,
    models: frozenset[str] = ALL,
    priority: int = 0,
) -> Quota:
    return Quota(
        cpu=8,
        memory=64 * GIB,
        processes=4096,
        shm=8 * GIB,
        open_files=4096,
        gpus=gpus,
        gpu_hours=gpu_hours,
        lease_hours=lease_hours,
        models=models,
        priority=priority,
    )


def generous(pool: Pool) -> TermsOf:
    """Give terms by a quota that allows all."""
    return terms_by(pool, lambda _ticket: quota(), lambda _user: Spent(), RULES, NOW)


def refused(answer: object, code: str) -> str:
    """Check that an answer is a refusal of this code, in whole sentences; gives its text."""
    assert isinstance(answer, Deny), answer
    assert answer.code == code, answer
    assert answer.reason[0].isupper() or answer.reason[0].isdigit()
    assert answer.reason.endswith((".", "?"))
    return answer.reason


# --- for hypothesis -------------------------------------------------------------------------------------------

MINUTES = st.integers(1, 40).map(lambda quarter: quarter * 15)


@st.composite
def inventories(draw: st.DrawFn, most_nodes: int = 2, most_gpus: int = 4) -> list[Slot]:
    """Draw the slots of a few nodes: whole GPUs of one or two models, shares, MIG instances; some out of service."""
    slots: list[Slot] = []
    for node in range(draw(st.integers(1, most_nodes))):
        model = draw(st.sampled_from(["T4", "A100"]))
        for gpu in range(draw(st.integers(1, most_gpus))):
            kind = draw(st.sampled_from([SlotKind.EXCLUSIVE] * 3 + [SlotKind.SHARED, SlotKind.MIG]))
            parts = 1 if kind is SlotKind.EXCLUSIVE else 2
            usable = draw(st.integers(0, 7)) > 0
            slots += [
                slot(
                    gpu,
                    node=f"n{node}",
                    model=model,
                    kind=kind,
                    share=None if parts == 1 else part,
                    parts=parts,
                    island=f"i{gpu // 2}",
                    usable=usable,
                )
                for part in range(parts)
            ]
    return slots


@st.composite
def pools(draw: st.DrawFn, most_nodes: int = 2, most_gpus: int = 4, *, reserved: bool = True) -> Pool:
    """Draw a pool with leases and reservations that do not contradict each other."""
    pool = Pool(draw(inventories(most_nodes, most_gpus)))
    ids = list(pool.slots)
    for number, slot_id in enumerate(ids):
        state = draw(st.sampled_from([None, None, *sorted(HELD)]))
        if state is not None:
            user = draw(st.sampled_from(["ann", "bob", "eve"]))
            # Since when it is being released: the turnover is over by now, or not.
            started = draw(st.sampled_from([-60, -1])) if state is LeaseState.RELEASING else -60
            pool.put_lease(lease(f"l{number}", [slot_id], draw(MINUTES), user=user, state=state, started=started))
    if reserved:
        for number in range(draw(st.integers(0, 3))):
            seats = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=4, unique=True))
            starts = draw(st.integers(-4, 20)) * 15
            ends = starts + draw(MINUTES)
            course = draw(st.sampled_from(["class", "lab"]))
            taken = any(
                begin < at(ends) + RULES.turnover and at(starts) < finish + RULES.turnover
                for seat in seats
                for begin, finish in pool.reserved(seat, "")
            )
            if not taken:
                pool.put_reservation(reservation(f"r{number}", seats, starts, ends, course))
    return pool


@st.composite
def wishes(draw: st.DrawFn, user: str | None = None) -> GpuRequest:
    return request(
        draw(st.sampled_from([1, 1, 1, 2, 2, 3])),
        user=user or draw(st.sampled_from(["ann", "bob", "eve"])),
        hours=draw(st.sampled_from([0.1, 0.5, 1, 2, 4])),
        models=draw(st.sampled_from([(), (), ("T4",), ("A100",), ("T4", "A100")])),
        kinds=draw(st.sampled_from([(), (), (), (SlotKind.EXCLUSIVE,), (SlotKind.SHARED, SlotKind.MIG)])),
        course=draw(st.sampled_from(["", "", "class"])),
    )


@st.composite
def queues(draw: st.DrawFn, most: int = 6) -> list[Ticket]:
    return [
        ticket(
            f"t{number}",
            draw(wishes(user=draw(st.sampled_from([f"u{number}", "ann"])))),
            -draw(st.integers(0, 200)) * 15,
            priority=draw(st.sampled_from([0, 0, 5])),
        )
        for number in range(draw(st.integers(0, most)))
    ]
