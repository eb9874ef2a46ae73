"""GPUs and times in words for people."""

import math
from collections.abc import Sequence
from datetime import timedelta

from ..policy.gpus import Isolation, Slot, SlotKind
from ..policy.leasing import describe

_SHARE = "A share of a GPU"


def isolation_words(kind: str, isolation: str) -> str:
    """Say what a slot is, and what keeps its holders apart."""
    if isolation == Isolation.HARDWARE:
        if kind == SlotKind.EXCLUSIVE:
            return "A whole GPU, yours alone"
        return "A part of a GPU, kept apart by the hardware (MIG)"
    if isolation == Isolation.KERNEL:
        return f"{_SHARE}; the kernel bounds its memory"
    if isolation == Isolation.MPS:
        return f"{_SHARE}; NVIDIA's MPS bounds its memory"
    return f"{_SHARE}, kept by agreement: who takes too much memory is stopped, after a warning"


def models_words(slots: Sequence[Slot]) -> str:
    """Name the models of a lease's slots: ``2 × NVIDIA A100``."""
    counts: dict[str, int] = {}
    for slot in slots:
        counts[slot.model] = counts.get(slot.model, 0) + 1
    return ", ".join(f"{count} × {model}" if count > 1 else model for model, count in counts.items())


def hours_words(hours: float) -> str:
    """Write a length in hours for people: ``1 h 30 min``."""
    return describe(timedelta(hours=hours))


def wait_words(seconds: int) -> str:
    """Write a likely wait, no more exact than anybody can know it."""
    minutes = math.ceil(seconds / 60)
    if minutes <= 1:
        return "about a minute"
    step = 1 if minutes <= 10 else 5 if minutes <= 120 else 15 if minutes <= 480 else 60
    return f"about {describe(timedelta(minutes=math.ceil(minutes / step) * step))}"


def gpus_words(count: int) -> str:
    return f"{count} GPU{'' if count == 1 else 's'}"
