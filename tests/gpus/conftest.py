from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spawner.gpus.nvml import NvmlProbe

from ..support import nvml
from ..support.nvml import StubScript

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stub, loaded into this process too."""
    built = nvml.build(tmp_path_factory.mktemp("nvml"))
    nvml.preload(built)
    return built


@pytest.fixture
def script(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubScript:
    """What the stub tells; a change counts once it is written."""
    made = StubScript(tmp_path / "nvml.script")
    made.write()
    monkeypatch.setenv(nvml.SCRIPT_VARIABLE, str(made.path))
    return made


@pytest.fixture
def open_nvml(script: StubScript) -> Iterator[Callable[..., NvmlProbe]]:
    """Open probes of the stub."""
    opened: list[NvmlProbe] = []

    def open_nvml(timeout: float = 30) -> NvmlProbe:
        opened.append(NvmlProbe(timeout))
        return opened[-1]

    yield open_nvml
    for probe in opened:
        probe.close()


@pytest.fixture
def probe(open_nvml: Callable[..., NvmlProbe]) -> NvmlProbe:
    return open_nvml()
