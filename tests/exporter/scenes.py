"""Nodes made of plain values, and reading back what is said of them."""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from spawner.engine.running import Running, RunningContainer
from spawner.gpus.readings import GpuReading
from spawner.gpus.telemetry import GpuTelemetry, MigUse, ProcessUse, Telemetry

GIB = 1 << 30
ANN, BOB, EVE = "a" * 64, "b" * 64, "e" * 64


def container(id_: str = ANN, user: str = "ann", *slots: str, lease: str = "", **more: object) -> RunningContainer:
    values = {"name": f"berth-12345678-{user}", "pid": 100, "user": user, "slots": slots, "lease": lease}
    return RunningContainer(id=id_, **{**values, **more})  # type: ignore[arg-type]


def running(*containers: RunningContainer, known: bool = True, fresh: bool = True) -> Running:
    return Running({one.id: one for one in containers}, known, fresh)


def gpu(
    number: int,
    *processes: ProcessUse,
    sm: float | None = None,
    mig: Sequence[MigUse] = (),
    unread: bool = False,
    up: bool = True,
) -> GpuTelemetry:
    reading = GpuReading(f"GPU-{number}", number, "A100", 40 * GIB, mig_mode=bool(mig))
    return GpuTelemetry(reading, up=up, sm=sm, mig=tuple(mig), processes=None if unread else processes)


def process(pid: int, memory: int | None = GIB, sm: float | None = None, mig: str = "") -> ProcessUse:
    return ProcessUse(pid, mig, memory, sm)


def host(*gpus: GpuTelemetry) -> Telemetry:
    return Telemetry(gpus, "550.54.15", "12.4")


class Scrape:
    """What a scrape told, by metric and labels; every sample once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.samples, f"twice: {sample}"
                self.samples[key] = sample.value

    @classmethod
    def of(cls, metrics: Iterable[Metric]) -> "Scrape":
        return cls(generate_latest(_Registry(list(metrics))).decode())

    def values(self, name: str, **labels: str) -> list[float]:
        wanted = set(labels.items())
        return [value for (metric, told), value in self.samples.items() if metric == name and wanted <= told]

    def one(self, name: str, **labels: str) -> float:
        found = self.values(name, **labels)
        assert len(found) == 1, (name, labels, found)
        return found[0]

    def labels(self, name: str, **labels: str) -> list[Mapping[str, str]]:
        wanted = set(labels.items())
        return [dict(told) for metric, told in self.samples if metric == name and wanted <= told]


class _Registry:
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics
