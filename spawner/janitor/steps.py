"""What a turn of a loop finds to be done: steps that can be shown, and carried out."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

_AT_ONCE = 8  # servers that are ended at the same time


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to be done.

    Attributes
    ----------
    text
        What it is, for people: an infinitive.
    carry_out
        Does it; False where it was not needed any more.
    slow
        Whether it waits for something, so that others are not to wait for it.
    """

    text: str
    carry_out: Callable[[], bool]
    slow: bool = False


def carry_out_all(steps: Sequence[Step]) -> int:
    """Carry out steps in order, slow ones side by side at the end; gives how many did something."""
    done = sum(step.carry_out() for step in steps if not step.slow)
    slow = [step for step in steps if step.slow]
    if slow:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="slow-step") as threads:
            done += sum(threads.map(lambda step: step.carry_out(), slow))
    return done
