import subprocess
import sys
from pathlib import Path

import pytest

from spawner.errors import GpuProbeFailed
from spawner.gpus.choice import GpuChoice, parse_choice
from spawner.gpus.nvml import NvmlProbe
from spawner.gpus.probes import open_probe
from spawner.gpus.simulated import SimulatedProbe

from ..support.nvml import StubScript
from .conftest import Clock

DRIVER_NOT_LOADED, VERSION_MISMATCH = 9, 18


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", GpuChoice("auto")),
        (" none ", GpuChoice("none")),
        ("nvml", GpuChoice("nvml")),
        ("sim:4", GpuChoice("sim", 4)),
        ("sim:1024", GpuChoice("sim", 1024)),
        ("sim:gpus.yaml", GpuChoice("sim", path=Path("/base/gpus.yaml"))),
        ("sim:./4", GpuChoice("sim", path=Path("/base/4"))),
        ("sim:/etc/gpus.yaml", GpuChoice("sim", path=Path("/etc/gpus.yaml"))),
    ],
)
def test_choices(text: str, choice: GpuChoice) -> None:
    assert parse_choice(text, Path("/base")) == choice


@pytest.mark.parametrize("text", ["", "all", "sim", "sim:", "sim:0", "sim:1025", "SIM:4", "4", "nvml:0"])
def test_what_is_no_choice(text: str) -> None:
    with pytest.raises(ValueError, match=r"^auto, none, nvml, sim:N with N from 1 to 1024, or sim:PATH"):
        parse_choice(text)


def test_checking_the_setting_loads_no_driver() -> None:
    """Every command reads the settings."""
    code = "import sys, spawner.gpus.choice; print([m for m in ('pynvml', 'yaml', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_simulated(clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "gpus.yaml").write_text("gpus: [{count: 3, model: T4}]")
    for text, models in (("sim:2", ["Simulated GPU"] * 2), ("sim:gpus.yaml", ["Simulated T4"] * 3)):
        probe = open_probe(text, demo=False, clock=clock, base=tmp_path)
        assert isinstance(probe, SimulatedProbe)
        assert [gpu.model for gpu in probe.inventory().gpus] == models
    with pytest.raises(GpuProbeFailed, match=r"other\.yaml: cannot be read"):
        open_probe("sim:other.yaml", demo=False, clock=clock, base=tmp_path)
    with pytest.raises(ValueError, match="auto, none"):
        open_probe("many", demo=True, clock=clock)


def test_none(clock: Clock) -> None:
    assert open_probe("none", demo=True, clock=clock) is None


@pytest.mark.nvml
def test_auto_takes_the_driver_where_one_is_loaded(script: StubScript, clock: Clock) -> None:
    gpu = script.add_gpu()
    script.write()
    for demo in (True, False):
        probe = open_probe("auto", demo=demo, clock=clock)
        assert isinstance(probe, NvmlProbe)
        assert [one.uuid for one in probe.inventory().gpus] == [gpu.uuid]
        probe.close()


@pytest.mark.nvml
def test_auto_without_a_driver(script: StubScript, clock: Clock) -> None:
    script.fail("nvmlInitWithFlags", DRIVER_NOT_LOADED)
    script.write()
    assert open_probe("auto", demo=False, clock=clock) is None
    probe = open_probe("auto", demo=True, clock=clock, node="laptop")
    assert isinstance(probe, SimulatedProbe)
    assert len(probe.inventory().gpus) == 2
    named = open_probe("nvml", demo=True, clock=clock)
    assert named is not None
    with pytest.raises(GpuProbeFailed, match="not loaded"):
        named.inventory()
    named.close()


@pytest.mark.nvml
def test_auto_does_not_replace_a_broken_driver_by_a_simulation(script: StubScript, clock: Clock) -> None:
    script.fail("nvmlInitWithFlags", VERSION_MISMATCH)
    script.write()
    probe = open_probe("auto", demo=True, clock=clock)
    assert isinstance(probe, NvmlProbe)
    with pytest.raises(GpuProbeFailed, match="was updated"):
        probe.inventory()
    probe.close()


@pytest.mark.nvml
def test_auto_says_that_the_driver_hangs(script: StubScript, clock: Clock) -> None:
    script.lines.append("block nvmlInitWithFlags")
    script.write()
    with pytest.raises(GpuProbeFailed, match="did not answer"):
        open_probe("auto", demo=True, clock=clock, timeout=0.2)
    script.lines.clear()
    script.write()
