"""Opening the probe that the setting `gpus` names."""

from pathlib import Path

from ..policy.gpus import LOCAL_NODE
from .choice import GpuChoice, parse_choice
from .nvml import NvmlProbe
from .readings import Clock, Holders, Probe
from .scenario import plain_scenario, read_scenario
from .simulated import SimulatedProbe, nobody
from .worker import TIMEOUT

DEMO_GPUS = 2


def open_probe(
    text: str,
    *,
    demo: bool,
    clock: Clock,
    node: str = LOCAL_NODE,
    holders: Holders = nobody,
    base: Path | None = None,
    timeout: float = TIMEOUT,
) -> Probe | None:
    """Open what the setting names; None for no GPUs.

    ``auto`` is NVML where a driver is loaded; without one, two simulated GPUs in a demo, else none.

    Parameters
    ----------
    demo
        Whether this deployment is for trying Berth out.
    holders
        Who holds which slot, for simulated load.
    timeout
        Seconds that one reading may take.

    Raises
    ------
    ValueError
        If the setting is none that there is.
    GpuProbeFailed
        If a file of simulated GPUs is missing or wrong, or the driver hangs.
    """
    choice = parse_choice(text, base)
    if choice.source in {"auto", "nvml"}:
        probe = NvmlProbe(timeout)
        if choice.source == "nvml" or probe.driver_there():
            return probe
        probe.close()
        if demo:
            choice = GpuChoice("sim", count=DEMO_GPUS)
    if choice.source != "sim":
        return None
    scenario = plain_scenario(choice.count) if choice.path is None else read_scenario(choice.path)
    return SimulatedProbe(scenario, clock, node=node, holders=holders, timeout=timeout)
