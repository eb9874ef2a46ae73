"""What simulated GPUs are and do: the file that ``BERTH_GPUS=sim:PATH`` names.

::

    driver: "550.54.15"
    gpus:
      - model: A100            # shown as "Simulated A100"
        memory: 40 GiB
        count: 2
        island: left
        load: {pattern: leased, busy: 0.9}
      - name: divided          # keeps its UUID wherever it stands in the file
        model: A100
        memory: 40 GiB
        mig: [1g.5gb, {profile: 3g.20gb, load: 0.4}]
        events:
          - {at: 600, what: lost}
          - {at: 900, what: back}
"""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from ..errors import GpuProbeFailed
from ..strict_yaml import StrictLoader
from ..units import Bytes
from .choice import MOST_GPUS
from .loads import A_LOAD, PATTERNS, Described, Leased, Load
from .telemetry import ThrottleReason

LABEL = "Simulated"

_Seconds = Annotated[float, Field(ge=0)]
_Size = Annotated[Bytes, Field(ge=1 << 20)]
_PROFILE = re.compile(r"(?:\d+c\.)?\d+g\.(\d+)gb(?:\+\S+)?")


def _pid(value: object) -> object:
    if value == "holder" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError("a process number, or holder")


class ProcessSpec(Described):
    """A process with GPU memory.

    Attributes
    ----------
    pid
        A number, or ``holder``: the first process of each container that holds the GPU, or a share of it.
    """

    pid: Annotated[int | Literal["holder"], BeforeValidator(_pid)]
    memory: _Size
    begin: _Seconds = 0.0
    end: _Seconds | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end is not None and self.end <= self.begin:
            raise ValueError("an end after its begin")
        return self

    def runs(self, seconds: float) -> bool:
        return self.begin <= seconds and (self.end is None or seconds < self.end)


_KEYS_OF_EVENTS = {
    "ecc": {"count", "corrected"},
    "xid": {"xid"},
    "hot": {"temperature", "lasts"},
    "throttle": {"reason", "lasts"},
    "slow": {"delay", "lasts"},
    "hang": {"lasts"},
}


class Event(Described):
    """Something that happens to a GPU.

    ``lost``: it does not answer; ``ecc``: memory errors; ``xid``: an error of the driver; ``hot``: it is at a
    temperature; ``throttle``: its clocks are held down; ``slow``: readings of the host take longer; ``hang``: they do
    not return; ``back``: all is well again.

    Attributes
    ----------
    lasts
        Seconds; left out, until the next ``back``.
    corrected
        Whether the memory errors could be corrected, which does not speak against a GPU.
    temperature
        Celsius.
    delay
        Seconds that each reading takes longer.
    """

    at: _Seconds
    what: Literal["lost", "ecc", "xid", "hot", "throttle", "slow", "hang", "back"]
    count: Annotated[int, Field(gt=0)] = 1
    corrected: bool = False
    xid: Annotated[int, Field(gt=0)] = 79
    temperature: Annotated[float, Field(ge=0, le=150)] = 95.0
    reason: ThrottleReason = "power_cap"
    delay: Annotated[float, Field(gt=0, le=600)] = 1.0
    lasts: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        extra = sorted(self.model_fields_set - {"at", "what"} - _KEYS_OF_EVENTS.get(self.what, set()))
        if extra:
            raise ValueError(f"no {' and no '.join(extra)} for what is {self.what}")
        return self


def _profile_only(value: object) -> object:
    return {"profile": value} if isinstance(value, str) else value


def _known_profile(value: str) -> str:
    if not _PROFILE.fullmatch(value):
        raise ValueError("a MIG profile such as 1g.5gb")
    return value


class MigSpec(Described):
    profile: Annotated[str, AfterValidator(_known_profile)]
    memory: _Size | None = None
    load: Load = Leased(pattern="leased")
    processes: tuple[ProcessSpec, ...] = ()

    @property
    def size(self) -> int:
        match = _PROFILE.fullmatch(self.profile)
        return self.memory if self.memory is not None else int(match[1] if match else 0) << 30


class GpuSpec(Described):
    """One or several GPUs that are alike.

    Attributes
    ----------
    power
        Watts that it draws at most.
    """

    name: str = Field("", pattern=r"^[A-Za-z0-9._-]*$")
    model: str = Field("GPU", min_length=1, max_length=60)
    memory: _Size = 16 << 30
    count: int = Field(1, ge=1, le=MOST_GPUS)
    island: str = ""
    compute_capability: str = Field("8.0", pattern=r"^\d+\.\d+$")
    power: Annotated[float, Field(gt=0)] = 300.0
    mig: tuple[Annotated[MigSpec, BeforeValidator(_profile_only)], ...] | None = None
    load: Load = Leased(pattern="leased")
    processes: tuple[ProcessSpec, ...] = ()
    events: tuple[Event, ...] = ()

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.mig is not None:
            if self.processes:
                raise ValueError("processes of each MIG instance instead of the GPU's: it is in MIG mode")
            if sum(instance.size for instance in self.mig) > self.memory:
                raise ValueError("MIG instances that have no more memory together than the GPU")
        return self

    @property
    def label(self) -> str:
        return self.model if self.model.startswith(LABEL) else f"{LABEL} {self.model}"

    def events_at(self, seconds: float) -> list[Event]:
        """Give what has happened by then and is not over, in order."""
        happened: list[Event] = []
        for event in sorted(self.events, key=lambda event: event.at):
            if event.at > seconds:
                break
            happened = [] if event.what == "back" else [*happened, event]
        return [event for event in happened if event.lasts is None or seconds < event.at + event.lasts]

    def xids_until(self, seconds: float) -> dict[int, int]:
        """Count all errors of the driver by then, by number."""
        return dict(Counter(event.xid for event in self.events if event.what == "xid" and event.at <= seconds))


def _aware(value: datetime | None) -> datetime | None:
    if value is not None and value.tzinfo is None:
        raise ValueError("a time with its zone, such as 2026-11-21T08:00:00Z")
    return value


class Scenario(Described):
    """The simulated GPUs of a host.

    Attributes
    ----------
    starts_at
        What the seconds count from; left out, the moment at which a process begins to read.
    """

    driver: str = Field("550.54.15", pattern=r"^\d+(\.\d+)*$")
    cuda: str = Field("12.4", pattern=r"^\d+\.\d+$")
    starts_at: Annotated[datetime | None, AfterValidator(_aware)] = None
    gpus: tuple[GpuSpec, ...]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [gpu.name for gpu in self.gpus if gpu.name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"one entry per name; {', '.join(twice)} stands there twice")
        if sum(gpu.count for gpu in self.gpus) > MOST_GPUS:
            raise ValueError(f"at most {MOST_GPUS} GPUs")
        return self


def plain_scenario(count: int) -> Scenario:
    """Give what ``sim:COUNT`` stands for: GPUs of 16 GiB that are busy while somebody holds them."""
    return Scenario(gpus=(GpuSpec(count=count),))


def read_scenario(path: Path) -> Scenario:
    """Read a description of simulated GPUs.

    Raises
    ------
    GpuProbeFailed
        A line for each mistake: the file, the key, what was expected and what was found.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)  # noqa: S506  a SafeLoader
    except OSError as error:
        raise GpuProbeFailed(f"{path}: cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GpuProbeFailed(f"{path}: not YAML: {error}") from None
    if not isinstance(values, dict):
        raise GpuProbeFailed(f"{path}: expected a key `gpus` with a list, such as `gpus: [{{model: A100}}]`.")
    try:
        return Scenario.model_validate(values)
    except ValidationError as error:
        raise GpuProbeFailed("\n".join(_explain(path, detail) for detail in error.errors())) from None


def _explain(path: Path, detail: Any) -> str:
    location: Sequence[str | int] = [part for part in detail["loc"] if part not in PATTERNS]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    where = f"{path}: {key}: " if key else f"{path}: "
    if detail["type"] == "extra_forbidden":
        return f"{where}no such key."
    if detail["type"] == "missing":
        return f"{where}is missing."
    if detail["type"].startswith("union_tag"):
        return f"{where}expected: {A_LOAD}."
    expected = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    found = detail["input"]
    shown = "" if isinstance(found, dict | list) else f" (found: {found!r})"
    return f"{where}expected: {expected}{shown}."
