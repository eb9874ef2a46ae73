"""A stub of NVIDIA's management library, compiled from `stub.c`, and the script that it follows.

The real nvidia-ml-py loads it: in a child with `environment`, or in this process once `preload` has run.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..compiling import compile_c

SOURCE = Path(__file__).with_name("stub.c")
NAME = "libnvidia-ml.so.1"
SCRIPT_VARIABLE = "BERTH_NVML_SCRIPT"
NODES_VARIABLE = "BERTH_NVML_DEV"
VERSION = "550.54.15"

GIB = 1 << 30
LOST = 15

Value = str | int

# What a GPU tells of itself beyond `StubScript.add_gpu`'s values; the keys' units are NVML's.
INSTRUMENTS: Mapping[str, Value] = {
    "utilization_gpu": 87,
    "utilization_memory": 41,
    "encoder_utilization": 12,
    "decoder_utilization": 7,
    "memory_used": 3 * GIB,
    "power_usage": 251337,
    "power_limit_enforced": 390000,
    "field_83": 123456789012345,  # energy
    "temperature_0": 64,
    "field_82": 71,  # of the memory
    "temperature_threshold_1": 92,
    "clock_0": 1410,
    "clock_1": 1395,
    "clock_2": 1215,
    "clock_3": 1275,
    "clock_max_0": 1980,
    "clock_max_1": 1965,
    "clock_max_2": 1593,
    "clock_max_3": 1785,
    "clocks_event_reasons": 0,
    "pcie_throughput_0": 12000,
    "pcie_throughput_1": 34000,
    "field_138": 5000,  # NVLink
    "field_139": 7000,
    "ecc_0_0": 17,
    "ecc_1_0": 0,
}


def why_not() -> str:
    """Give the reason why it cannot be compiled here; empty if it can."""
    there = shutil.which("gcc") and Path("/usr/include/stdio.h").exists()
    return "" if there else "no C compiler: apt-get install gcc libc6-dev"


def build(directory: Path, version: str = VERSION) -> Path:
    """Compile the stub.

    Parameters
    ----------
    version
        The driver's that it belongs to.

    Returns
    -------
    path
        Of the library; it replaces one that is there in one step, as a driver's package does.
    """
    directory.mkdir(parents=True, exist_ok=True)
    made = directory / f"{NAME}.new"
    flags = ["-Wextra", "-O1", "-fPIC", "-shared", "-pthread", f"-Wl,-soname,{NAME}", f'-DSTUB_VERSION="{version}"']
    compile_c(SOURCE, made, *flags)
    return made.replace(directory / NAME)


def preload(library: Path) -> None:
    """Load it into this process, so that whoever asks for the library by its name finds this one."""
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def environment(library: Path, script: Path | None = None) -> dict[str, str]:
    """Give the environment of a child that is to find the stub."""
    made = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    if script is not None:
        made[SCRIPT_VARIABLE] = str(script)
    return made


def run_python(code: str, env: Mapping[str, str]) -> str:
    """Run code in a child and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(env), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Section:
    """Keys of the host, of a GPU or of a MIG instance; what they are called stands in `stub.c`.

    Attributes
    ----------
    values
        One line each.
    lines
        Further lines, for keys that stand there several times.
    """

    values: dict[str, Value] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def fail(self, function: str, code: int) -> None:
        self.lines.append(f"fail {function} {code}")

    def text(self) -> str:
        return "".join(f"{line}\n" for line in [*(f"{key} {value}" for key, value in self.values.items()), *self.lines])


@dataclass
class StubMig(Section):
    uuid: str = ""


@dataclass
class StubGpu(Section):
    uuid: str = ""
    migs: list[StubMig] = field(default_factory=list)

    def add_mig(self, uuid: str, profile: str, memory: int) -> StubMig:
        self.values["mig_mode"] = 1
        name = f"{self.values['name']} MIG {profile}"
        mig = StubMig({"name": name, "memory_total": memory, "memory_used": 0}, uuid=uuid)
        self.migs.append(mig)
        return mig


class StubScript(Section):
    """The stub's script; `write` after each change."""

    def __init__(self, path: Path) -> None:
        super().__init__({"driver_version": VERSION, "cuda_version": 12040})
        self.path = path
        self.gpus: list[StubGpu] = []

    def add_gpu(self, **values: Value) -> StubGpu:
        """Add a GPU like an A100 that nothing is wrong with."""
        number = len(self.gpus)
        made: dict[str, Value] = {
            "name": "NVIDIA A100-SXM4-40GB",
            "minor_number": number,
            "memory_total": 40 * GIB,
            "memory_reserved": GIB // 2,
            "memory_used": 0,
            "compute_capability": "8.0",
            "pci_bus_id": f"00000000:{0x10 + number:02X}:00.0",
            "numa": 0,
            "mig_mode": 0,
            "utilization_gpu": 0,
            "ecc_mode": 1,
            "ecc_1_0": 0,
            "remapped_rows": "0 0 0 0",
            "event_types": 0x1F,
        }
        gpu = StubGpu({**made, **values}, uuid=f"GPU-0000000{number}-aaaa-bbbb-cccc-000000000000")
        self.gpus.append(gpu)
        return gpu

    def add_full_gpu(self, **values: Value) -> StubGpu:
        """Add a GPU that has everything that can be read, as `INSTRUMENTS` has it."""
        return self.add_gpu(**{**INSTRUMENTS, **values})

    def write(self) -> None:
        parts = [self.text()]
        for gpu in self.gpus:
            parts += [f"gpu {gpu.uuid}\n", gpu.text()]
            for mig in gpu.migs:
                parts += [f"mig {mig.uuid}\n", mig.text()]
        made = self.path.with_suffix(".new")
        made.write_text("".join(parts))
        made.replace(self.path)
