"""Kill -9 of hub, janitor, engine and containers at random moments under load, and the truth afterwards.

``CHAOS_KILLS`` says how many (5), ``CHAOS_SEED`` which (printed; another each time). The users' choices come from the
seed, the moments at which they meet the machine's other work do not: a seed repeats a run's kind, not each step.

What must be true after every kill, within 60 s of quiet, stands in `truth`.
"""

import os
import random
import secrets
import time
from pathlib import Path

import pytest

from ..support import own_engine
from .truth import check
from .world import world

pytestmark = [pytest.mark.docker, pytest.mark.hub]

KILLS = int(os.environ.get("CHAOS_KILLS", "5"))
SEED = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))


def order_of_kills(count: int, dice: random.Random) -> list[str]:
    """Give every part its turns, in no order."""
    kinds = ["hub", "janitor", "dockerd", "container", "container"]
    order: list[str] = []
    while len(order) < count:
        order += dice.sample(kinds, len(kinds))
    return order[:count]


@pytest.mark.timeout(240 + 90 * KILLS)
def test_after_any_kill_the_ledger_tells_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if lacking := own_engine.why_not():
        pytest.skip(lacking)

    def say(what: str) -> None:
        with capsys.disabled():
            print(f"\n  {what}", end="", flush=True)

    say(f"chaos: CHAOS_SEED={SEED} CHAOS_KILLS={KILLS}")
    with world(tmp_path, SEED) as (made, people):
        for part in order_of_kills(KILLS, random.Random(SEED)):
            people.act()
            time.sleep(made.dice.uniform(2, 7))
            outage = made.kill(part)
            people.rest()
            took = made.settle()
            say(f"{part}: back after {outage.seconds:.1f} s, settled {took:.1f} s later")
            check(made)
        made.drain(people)
        check(made)
        say(f"{len(made.lives.all())} containers with GPUs; leases ended: {made.books.endings()}")
        say(f"the hub said: {dict(sorted(people.said.items()))}\n")
