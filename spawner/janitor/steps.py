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
    """Carry out steps in order, slow ones side by side at the end; gives how many did something.

    One that fails keeps no other from being carried out; the first failure is raised in the end.
    """
    failures: list[Exception] = []

    def attempt(step: Step) -> bool:
        try:
            return step.carry_out()
        except Exception as error:  # noqa: BLE001  whatever it is, it is about this step
            failures.append(error)
            return False

    done = sum(attempt(step) for step in steps if not step.slow)
    slow = [step for step in steps if step.slow]
    if slow:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="slow-step") as threads:
            done += sum(threads.map(attempt, slow))
    if failures:
        raise failures[0]
    return done
