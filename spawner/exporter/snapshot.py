"""All that one scrape tells: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..engine.running import RunningContainer
from ..gpus.telemetry import Telemetry
from .attribution import GpuUse, Holding
from .cgroups import Use
from .homes import Home

PROBES = ("gpus", "engine", "cgroups", "homes")


@dataclass(frozen=True, slots=True)
class ProbeState:
    """How a probe's last look went.

    Attributes
    ----------
    up
        Whether it brought all there is.
    seconds
        How long it took.
    """

    up: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """A container and what it uses; None where nothing could be read."""

    container: RunningContainer
    use: Use | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A node at one moment.

    Attributes
    ----------
    telemetry
        None if the GPUs could not be read.
    gpu_use
        None if that could not be told.
    containers
        Those that run, as far as is known.
    errors
        Absent readings since the exporter's start, by probe and reason.
    """

    telemetry: Telemetry | None = None
    gpu_use: GpuUse | None = None
    holdings: tuple[Holding, ...] = ()
    containers: tuple[ContainerUse, ...] = ()
    homes: tuple[Home, ...] = ()
    probes: Mapping[str, ProbeState] = field(default_factory=dict)
    errors: Mapping[tuple[str, str], int] = field(default_factory=dict)
