"""Telemetry of this machine's own GPUs, beside what ``nvidia-smi`` says of them."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from ..support import nvidia_smi, nvml

pytestmark = pytest.mark.gpu

MIB, MHZ = 1 << 20, 10**6

# In a child, since other tests load the stub of the library into this process.
READ = """
import dataclasses, json, time
from spawner.gpus.nvml import NvmlProbe
probe = NvmlProbe(120)
telemetry = probe.telemetry()
end = time.monotonic() + 20
while time.monotonic() < end and not all(
    gpu.pcie or any(absence.what == "pcie" for absence in telemetry.absences) for gpu in telemetry.gpus
):
    time.sleep(0.1)
    telemetry = probe.telemetry()
again = probe.telemetry()
print(json.dumps([dataclasses.asdict(reading) for reading in (telemetry, again)]))
"""

Gpu = Mapping[str, Any]


@dataclass(frozen=True)
class Beside:
    """A value of ours, the same one of ``nvidia-smi``, and how far they may be apart in the latter's unit."""

    field: str
    ours: Callable[[Gpu], float | str | None]
    apart: float = 0.0


def _over(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


# What is measured at another moment may have moved; `_between` also allows for whatever it did meanwhile.
VALUES = (
    Beside("index", lambda gpu: gpu["gpu"]["index"]),
    Beside("name", lambda gpu: gpu["gpu"]["model"]),
    Beside("compute_cap", lambda gpu: gpu["gpu"]["compute_capability"]),
    Beside("memory.total", lambda gpu: _over(gpu["memory_total"], MIB), 1),
    Beside("memory.used", lambda gpu: _over(gpu["memory_used"], MIB), 64),
    Beside("memory.free", lambda gpu: _over(gpu["memory_free"], MIB), 64),
    Beside("utilization.gpu", lambda gpu: _over(gpu["sm"], 0.01), 100),
    Beside("utilization.memory", lambda gpu: _over(gpu["memory_io"], 0.01), 100),
    Beside("power.draw", lambda gpu: gpu["power"], 150),
    Beside("enforced.power.limit", lambda gpu: gpu["power_limit"], 0.01),
    Beside("temperature.gpu", lambda gpu: gpu["temperatures"].get("gpu"), 5),
    Beside("temperature.memory", lambda gpu: gpu["temperatures"].get("memory"), 5),
    Beside("clocks.current.graphics", lambda gpu: _over(gpu["clocks"].get("graphics"), MHZ), 2500),
    Beside("clocks.current.sm", lambda gpu: _over(gpu["clocks"].get("sm"), MHZ), 2500),
    Beside("clocks.current.memory", lambda gpu: _over(gpu["clocks"].get("memory"), MHZ), 5000),
    Beside("clocks.current.video", lambda gpu: _over(gpu["clocks"].get("video"), MHZ), 2500),
    Beside("clocks.max.graphics", lambda gpu: _over(gpu["clocks_max"].get("graphics"), MHZ), 0.5),
    Beside("clocks.max.sm", lambda gpu: _over(gpu["clocks_max"].get("sm"), MHZ), 0.5),
    Beside("clocks.max.memory", lambda gpu: _over(gpu["clocks_max"].get("memory"), MHZ), 0.5),
    Beside("ecc.errors.corrected.volatile.total", lambda gpu: gpu["ecc"].get("corrected"), 2),
    Beside("ecc.errors.uncorrected.volatile.total", lambda gpu: gpu["ecc"].get("uncorrected"), 0),
)
_ABSENT = {"[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "[GPU requires reset]"}


@dataclass(frozen=True)
class Look:
    """The same GPUs, seen by `nvidia-smi`, by us twice, and by `nvidia-smi` again."""

    before: Mapping[str, Mapping[str, str]]
    gpus: Mapping[str, Gpu]
    again: Mapping[str, Gpu]
    after: Mapping[str, Mapping[str, str]]
    telemetry: Mapping[str, Any]


@pytest.fixture(scope="module")
def look() -> Look:
    fields = ["driver_version", "mig.mode.current", *(value.field for value in VALUES)]
    before = nvidia_smi.query_gpus(fields)
    telemetry, again = json.loads(nvml.run_python(READ, os.environ))
    first, second = ({gpu["gpu"]["uuid"]: gpu for gpu in reading["gpus"]} for reading in (telemetry, again))
    return Look(before, first, second, nvidia_smi.query_gpus(fields), telemetry)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.field)
def test_a_value_is_what_nvidia_smi_says(look: Look, value: Beside) -> None:
    if not all(value.field in row for row in look.before.values()):
        pytest.skip(f"this nvidia-smi does not know {value.field}")
    for uuid, gpu in look.gpus.items():
        told = [row[uuid][value.field] for row in (look.before, look.after)]
        ours = value.ours(gpu)
        if set(told) & _ABSENT:
            assert ours is None, f"nvidia-smi: {told}"
        elif isinstance(ours, str):
            assert ours in told
        else:
            assert ours is not None, f"nvidia-smi: {told}"
            low, *_, high = sorted(map(float, told))
            assert low - value.apart <= ours <= high + value.apart


def test_the_gpus_are_those_of_nvidia_smi(look: Look) -> None:
    assert set(look.gpus) == set(look.before)
    assert {row["driver_version"] for row in look.before.values()} == {look.telemetry["driver"]}
    assert all(gpu["up"] for gpu in look.gpus.values())
    for uuid, gpu in look.gpus.items():
        assert gpu["gpu"]["mig_mode"] == (look.before[uuid].get("mig.mode.current") == "Enabled")


def test_what_can_be_is_read_and_counters_do_not_fall(look: Look) -> None:
    print(*look.telemetry["absences"], sep="\n")  # what this GPU does not have is worth knowing
    for uuid, gpu in look.gpus.items():
        missing = {absence["what"] for absence in look.telemetry["absences"] if absence["gpu"] == uuid}
        for name in ("sm", "memory_io", "encoder", "decoder"):
            assert (gpu[name] is None) == (name in missing)
            assert gpu[name] is None or 0 <= gpu[name] <= 1
        later = look.again[uuid]
        if "energy" not in missing:
            assert 0 < gpu["energy"] <= later["energy"]
        if gpu["nvlink"] and gpu["nvlink"]["transmit"] is not None:
            assert gpu["nvlink"]["transmit"] <= later["nvlink"]["transmit"]
        assert (gpu["pcie"] is None) == ("pcie" in missing)
        assert bool(gpu["throttled"]) == ("throttled" not in missing)
        assert gpu["memory_used"] + gpu["memory_free"] <= gpu["memory_total"]


def test_processes_are_those_of_nvidia_smi(look: Look) -> None:
    before = nvidia_smi.query_processes()
    (again,) = json.loads(nvml.run_python(READ, os.environ))[:1]
    ours = {(gpu["gpu"]["uuid"], use["pid"]) for gpu in again["gpus"] for use in gpu["processes"] or ()}
    lasting = before & nvidia_smi.query_processes()
    assert {one for one in lasting if one[0] in look.gpus} <= ours
