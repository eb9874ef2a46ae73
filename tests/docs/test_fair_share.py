"""The examples of the page about fair share, computed anew by the policy."""

import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from spawner.policy.accounting import decayed_ms
from spawner.policy.gpus import Isolation, Slot, SlotKind
from spawner.policy.leases import Allot, GpuRequest, Lease, LeaseRules, LeaseState, Spent, Ticket, TicketState, Wait
from spawner.policy.leasing import decide, terms_by
from spawner.policy.pool import Pool
from spawner.policy.queue import order
from spawner.policy.quota import UNLIMITED, Quota
from spawner.sim.people import GROUPS
from spawner.sim.scenario import MONDAY, Scenario

PAGE = (Path(__file__).parents[2] / "docs/explanation/fair-share.md").read_text(encoding="utf-8")
RULES = LeaseRules()
NOW = MONDAY + timedelta(hours=12)
HOUR = timedelta(hours=1)


def table(heading: str) -> list[dict[str, str]]:
    """Read the rows of the first table under a heading."""
    found = re.search(rf"^## {heading}\n.*?^(\|.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)
    assert found, heading
    names, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines())
    return [dict(zip(names, row, strict=True)) for row in rows]


def span(text: str) -> timedelta:
    number, unit = text.removesuffix(" ago").split()
    return timedelta(**{unit if unit.endswith("s") else f"{unit}s": float(number)})


def test_the_order_of_the_example_is_the_policys() -> None:
    shares, tickets, places, weights = {}, [], {}, {}
    for row in table("The order, by an example"):
        user, used = row["who"], row["used"]
        intervals: list[tuple[datetime, datetime, int]] = []
        if used != "nothing":
            gpus, hours = (float(number) for number in re.findall(r"[\d.]+", used))
            end = NOW - span(row["until"])
            intervals = [(end - hours * HOUR, end, int(gpus))]
        shares[user] = decayed_ms(intervals, NOW, RULES.half_life)
        weights[user] = float(row["weighs"].split()[0])
        request = GpuRequest(user, "", "gpu", 1)
        waited = span(row["waits for"])
        tickets.append(Ticket(user, request, TicketState.WAITING, NOW - waited, int(row["priority"])))
        places[user] = int(row["place"])
    pool = Pool((), queue=tickets, shares=shares)
    right = {ticket.user: place for place, ticket in enumerate(order(tickets, pool, RULES, NOW), start=1)}
    assert places == right
    assert weights == {user: pytest.approx(share / 3_600_000, abs=0.05) for user, share in shares.items()}


def test_the_rules_of_the_page_are_the_defaults() -> None:
    assert f"half-life is {RULES.half_life.days} days" in PAGE
    assert f"after {RULES.patience // HOUR} hours" in PAGE
    assert f"the first {RULES.depth} who wait" in PAGE


QUOTA = Quota(cpu=8, memory=1, processes=1, shm=1, open_files=1, gpus=8, gpu_hours=UNLIMITED, lease_hours=24.0)


def test_who_may_pass_is_as_the_example_says() -> None:
    slots = [
        Slot(f"gpu{number}", f"gpu{number}", "n", SlotKind.EXCLUSIVE, "A100", 1, Isolation.HARDWARE, f"gpu{number}")
        for number in range(2)
    ]
    ann = Lease("ann", "ann", "", "gpu", LeaseState.ACTIVE, ("gpu0",), NOW, NOW + 3 * HOUR, NOW, started_at=NOW)
    bob = Ticket("bob", GpuRequest("bob", "", "gpu", 2, hours=8), TicketState.WAITING, NOW - HOUR)
    pool = Pool(slots, [ann], [bob])
    terms_of = terms_by(pool, lambda _: QUOTA, lambda _: Spent(), RULES, NOW)
    rows = table("Nobody is passed at their cost")
    assert len(rows) >= 3
    for row in rows:
        request = GpuRequest("eve", "", "gpu", 1, hours=span(row["Eve asks for"]) / HOUR)
        newcomer = Ticket("eve", request, TicketState.WAITING, NOW)
        answer = decide(pool, request, QUOTA, Spent(), RULES, NOW, terms_of, newcomer)
        assert type(answer) is {"gets it at once": Allot, "waits": Wait}[row["answer"]], row


def test_the_bound_of_the_page_is_the_formula() -> None:
    found = re.search(r"longest lease of (\d+) hours.*?at most (\d+) hours and (\d+) minutes", PAGE, re.DOTALL)
    assert found
    longest, hours, minutes = map(int, found.groups())
    bound = RULES.patience + longest * HOUR + RULES.turnover
    assert bound == hours * HOUR + timedelta(minutes=minutes)


def test_the_simulated_week_is_described_as_it_is() -> None:
    scenario = Scenario()
    assert f"{scenario.users:,} users" in PAGE
    assert f"{scenario.gpus:,} GPUs" in PAGE
    assert f"{scenario.load:.0%} of".replace("%", " %") in PAGE
    for group in GROUPS:
        assert f"| {group.name} |" in PAGE
