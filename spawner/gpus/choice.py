"""The setting `gpus`: which GPUs a deployment has."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MOST_GPUS = 1024
EXPECTED = f"auto, none, nvml, sim:N with N from 1 to {MOST_GPUS}, or sim:PATH of a file that describes simulated GPUs"


@dataclass(frozen=True, slots=True)
class GpuChoice:
    """The setting, read.

    Attributes
    ----------
    count
        Of plain simulated GPUs, where `path` is None.
    """

    source: Literal["auto", "none", "nvml", "sim"]
    count: int = 0
    path: Path | None = None


def parse_choice(text: str, base: Path | None = None) -> GpuChoice:
    """Read the setting.

    Parameters
    ----------
    base
        Directory that a relative path counts from; the current one if left out.

    Raises
    ------
    ValueError
        What was expected.
    """
    match text.strip():
        case "auto" | "none" | "nvml" as source:
            return GpuChoice(source)
        case simulated if simulated.startswith("sim:"):
            what = simulated.removeprefix("sim:").strip()
            if re.fullmatch(r"\d+", what):
                if not 1 <= int(what) <= MOST_GPUS:
                    raise ValueError(EXPECTED)
                return GpuChoice("sim", count=int(what))
            if what:
                return GpuChoice("sim", path=(base or Path()) / Path(what).expanduser())
    raise ValueError(EXPECTED)
