"""``python -m tests.bench.decide``: how long one decision about GPUs takes, on a hub of 1,000 of them."""

import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

import click
from rich.console import Console
from rich.table import Table

from spawner.policy.gpus import Isolation, Slot, SlotKind
from spawner.policy.leases import GpuRequest, Lease, LeaseRules, LeaseState, Reservation, Spent, Ticket, TicketState
from spawner.policy.leasing import decide, terms_by
from spawner.policy.pool import Pool
from spawner.policy.queue import offers
from spawner.policy.quota import Quota

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULES = LeaseRules()
MODELS = {"T4": 16, "A100": 40, "H100": 80}  # GiB
NODES, GPUS, USERS, QUEUED = 125, 8, 10_000, 500


@dataclass(frozen=True)
class Line:
    """One scene's figures, milliseconds."""

    scene: str
    answers: dict[str, int]
    p50: float
    p99: float
    most: float


def slots() -> Iterator[Slot]:
    models = list(MODELS)
    for node in range(NODES):
        model = models[node % len(models)]
        for gpu in range(GPUS):
            uuid = f"SIM-{node:03}-{gpu}"
            yield Slot(
                uuid,
                uuid,
                f"node{node:03}",
                SlotKind.EXCLUSIVE,
                model,
                MODELS[model] << 30,
                Isolation.HARDWARE,
                uuid,
                island=str(gpu // 4),
                simulated=True,
            )


def requests(chance: random.Random, models: Sequence[str]) -> Iterator[GpuRequest]:
    """Give wishes without end, for some of the models."""
    while True:
        count = chance.choices([1, 2, 4, 8], [70, 15, 10, 5])[0]
        wanted = frozenset(chance.choices([models, [chance.choice(models)], models[-2:]], [20, 65, 15])[0])
        hours = chance.choice([None, 1.0, 2.0, 4.0, 8.0, 24.0])
        yield GpuRequest(f"user{chance.randrange(USERS)}", "", "gpu", count, hours, wanted)


def scene(chance: random.Random, free: int, queue_for: Sequence[str], *, classes: bool = False) -> Pool:
    """Make a hub that is full but for some GPUs, and a queue of 500 who cannot be served."""
    pool = Pool(slots(), shares={f"user{number}": chance.expovariate(1 / 3.6e7) for number in range(USERS)})
    if classes:
        for number in range(3):
            seats = tuple(f"SIM-{node:03}-{gpu}" for node in chance.sample(range(NODES), 5) for gpu in range(GPUS))
            begins = NOW + timedelta(hours=chance.randrange(-1, 12))
            pool.put_reservation(Reservation(f"{number}", f"course{number}", seats, begins, begins + 3 * HOUR))
    seated = {slot for reservation in pool.reservations.values() for slot in reservation.slots}
    lent = [slot for slot in pool.slots if slot not in seated or chance.random() < 0.5]
    for slot in chance.sample(lent, min(len(lent), len(pool.slots) - free)):
        _lend(pool, f"user{chance.randrange(USERS)}", (slot,), NOW + timedelta(minutes=chance.randrange(1, 24 * 60)))
    for number, request in enumerate(requests(chance, queue_for)):
        arrived = NOW - timedelta(minutes=chance.randrange(36 * 60))
        priority = chance.choice([0, 0, 0, 5, 10])
        pool.put_ticket(Ticket(f"{number}", request, TicketState.WAITING, arrived, priority))
        if len(pool.queue) == QUEUED:
            _serve(pool)
            if len(pool.queue) == QUEUED:
                return pool
    raise AssertionError


def _serve(pool: Pool) -> None:
    """Give those who wait what they can have now."""
    quota = Quota(cpu=8, memory=1 << 35, processes=4096, shm=1 << 33, open_files=4096, gpus=16)
    while servings := offers(pool, terms_by(pool, lambda _: quota, lambda _: Spent(), RULES, NOW), RULES, NOW):
        for serving in servings:
            pool.put_ticket(replace(serving.ticket, state=TicketState.SERVED))
            if serving.placement is not None:
                _lend(pool, serving.ticket.user, serving.placement.slots, serving.placement.until)


def _lend(pool: Pool, user: str, slots: tuple[str, ...], until: datetime) -> None:
    lease = Lease(f"lease {slots[0]}", user, "", "gpu", LeaseState.ACTIVE, slots, NOW, until, NOW, started_at=NOW)
    pool.put_lease(lease)


def measure(name: str, pool: Pool, chance: random.Random, rounds: int) -> Line:
    quotas = {
        f"user{number}": Quota(
            cpu=8,
            memory=1 << 35,
            processes=4096,
            shm=1 << 33,
            open_files=4096,
            gpus=chance.choice([8, 16]),
            gpu_hours=chance.choice([200.0, 1000.0]),
            priority=chance.choice([0, 5]),
        )
        for number in range(USERS)
    }
    past = {
        user: tuple((NOW - timedelta(hours=hours), NOW - timedelta(hours=hours - 1), 1) for hours in range(10, 170, 16))
        for user in quotas
    }
    held = Counter(lease.user for lease in pool.leases.values())

    def quota_of(ticket: Ticket) -> Quota:
        return quotas[ticket.user]

    def spent_of(user: str) -> Spent:
        return Spent(3_600_000 * 10, 0, held[user], past[user])

    took: list[float] = []
    answers: Counter[str] = Counter()
    for request, _ in zip(requests(chance, list(MODELS)), range(rounds), strict=False):
        # Between two decisions the pool changes, and what it keeps of its answers is void.
        changed = chance.choice(list(pool.leases.values()))
        pool.put_lease(replace(changed, ends_at=changed.ends_at + timedelta(minutes=1)))
        newcomer = Ticket("new", request, TicketState.WAITING, NOW, priority=chance.choice([0, 5]))
        begun = time.thread_time()
        # With everything that is kept for one decision only.
        answer = decide(
            pool,
            request,
            quotas[request.user],
            spent_of(request.user),
            RULES,
            NOW,
            terms_by(pool, quota_of, spent_of, RULES, NOW),
            newcomer,
        )
        took.append((time.thread_time() - begun) * 1e3)
        answers[type(answer).__name__] += 1
    cuts = statistics.quantiles(took, n=100)
    return Line(name, dict(sorted(answers.items())), cuts[49], cuts[98], max(took))


ALL, SOME = ["T4", "A100", "H100"], ["A100", "H100"]
SCENES: dict[str, Callable[[random.Random], Pool]] = {
    "40 free, all wanted": lambda chance: scene(chance, 40, ALL),
    "200 free, all wanted": lambda chance: scene(chance, 200, ALL),
    "200 free, all wanted, 3 classes": lambda chance: scene(chance, 200, ALL, classes=True),
    "200 free, T4 not wanted": lambda chance: scene(chance, 200, SOME),
    "200 free, T4 not wanted, 3 classes": lambda chance: scene(chance, 200, SOME, classes=True),
    "none free": lambda chance: scene(chance, 0, ALL),
}


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--rounds", default=2000, show_default=True, help="Decisions per scene.")
@click.option("--json", "as_json", is_flag=True)
def main(*, seed: int, rounds: int, as_json: bool) -> None:
    """Time `decide`: 1,000 GPUs of 3 models, 10,000 users, 500 who wait. The budget: p99 at most 1 ms of CPU time."""
    lines = []
    for name, make in SCENES.items():
        chance = random.Random(f"{seed} {name}")
        lines.append(measure(name, make(chance), chance, rounds))
    if as_json:
        click.echo(json.dumps([asdict(line) for line in lines], indent=2))
        return
    table = Table("scene", "answers", "p50 ms", "p99 ms", "most ms")
    for line in lines:
        answers = ", ".join(f"{name} {count}" for name, count in line.answers.items())
        table.add_row(line.scene, answers, *(f"{figure:.3f}" for figure in (line.p50, line.p99, line.most)))
    Console().print(table)


if __name__ == "__main__":
    main()
