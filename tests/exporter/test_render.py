"""What a scrape says."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from spawner.engine.running import RunningContainer
from spawner.exporter.attribution import attribute_use, holdings
from spawner.exporter.cgroups import Use
from spawner.exporter.counters import Counters
from spawner.exporter.homes import Home
from spawner.exporter.names import Naming
from spawner.exporter.render import Renderer
from spawner.exporter.snapshot import ContainerUse, ProbeState, Snapshot
from spawner.gpus.readings import GpuReading
from spawner.gpus.telemetry import GpuTelemetry, MigUse, ProcessUse, Telemetry, Throughput
from spawner.metrics.catalog import ALL_METRICS
from spawner.metrics.metric import Source
from spawner.metrics.pseudonyms import Pseudonyms

from .scenes import ANN, BOB, GIB, Scrape, _Registry, container, process, running

USE = Use(
    {
        "cpu_user": 3.5,
        "cpu_system": 1.5,
        "throttled": 2.25,
        "memory": 100,
        "working_set": 70,
        "processes": 17,
        "oom_kills": 2,
        "read": 5096,
        "written": 8193,
        "received": 1501,
        "sent": 702,
    }
)
FULL = GpuTelemetry(
    GpuReading("GPU-0", 0, "NVIDIA A100", 40 * GIB, "8.0", "", "0000:3b:00.0"),
    sm=0.5,
    memory_io=0.25,
    encoder=0.0,
    decoder=0.1,
    memory_used=GIB,
    memory_free=39 * GIB,
    memory_total=40 * GIB,
    power=250.5,
    power_limit=400.0,
    energy=1e6,
    temperatures={"gpu": 60, "memory": 70},
    slowdown=90,
    clocks={"sm": 1.41e9},
    clocks_max={"sm": 1.98e9},
    throttled={"power_cap": True, "hw_slowdown": False},
    pcie=Throughput(1e6, None),
    nvlink=Throughput(5, 6),
    ecc={"corrected": 3, "uncorrected": 0},
    xids={79: 1},
    processes=(process(1, GIB, 0.5), ProcessUse(2, "", None, None)),
)
DIVIDED = GpuTelemetry(
    GpuReading("GPU-1", 1, "NVIDIA A100", 40 * GIB, mig_mode=True),
    mig=(MigUse("MIG-1", "1g.5gb", 100, 5 * GIB),),
    processes=(ProcessUse(3, "MIG-1", 100, None),),
)
LOST = GpuTelemetry(GpuReading("GPU-2", 2, "NVIDIA A100", 40 * GIB), up=False)


def ann(**more: object) -> RunningContainer:
    made = container(ANN, "ann", "GPU-0", "MIG-1", lease="A", course="ml", image="i:1", started_at=5.0, cpu_limit=0.5)
    return replace(made, **{"memory_limit": 64, "processes_limit": 50, **more})  # type: ignore[arg-type]


def scene(who: RunningContainer | None = None, use: Use | None = USE) -> Snapshot:
    who = who or ann()
    other = container(BOB, "bob", pid=200)
    telemetry = Telemetry((FULL, DIVIDED, LOST), "550.54.15", "12.4")
    there = running(who, other)
    held = holdings([who, other], {"MIG-1": "GPU-1"})
    return Snapshot(
        telemetry,
        attribute_use(telemetry, there, held, {1: (who.id,), 2: (), 3: (who.id,)}),
        held,
        (ContainerUse(who, use), ContainerUse(other, None)),
        (Home(who.user, 4096, 7.0),),
        {"gpus": ProbeState(up=True, seconds=0.01), "homes": ProbeState(up=False, seconds=2.0)},
        {("gpus", "lost"): 1, ("gpus", "failed"): 0},
    )


def renderer(key: bytes | None = None, *, processes: bool = True) -> Renderer:
    naming = Naming(Pseudonyms(key), hashed=key is not None)
    return Renderer(version="0.1.0", node="local", hub="12345678", naming=naming, processes=processes)


def test_every_metric_of_the_exporter_is_told_with_its_own_labels() -> None:
    said = Scrape.of(renderer().render(scene()))
    declared = {metric.name: metric for metric in ALL_METRICS if metric.source is Source.EXPORTER}
    assert {name for name, _ in said.samples} == declared.keys()
    for name, labels in said.samples:
        assert {key for key, _ in labels} == set(declared[name].labels), name


@pytest.mark.parametrize(
    ("metric", "labels", "value"),
    [
        ("gpu_up", {"gpu": "GPU-0"}, 1),
        ("gpu_up", {"gpu": "GPU-2"}, 0),
        ("gpu_sm_utilization_ratio", {}, 0.5),
        ("gpu_power_watts", {}, 250.5),
        ("gpu_energy_joules_total", {"gpu": "GPU-0"}, 1e6),
        ("gpu_temperature_celsius", {"sensor": "memory"}, 70),
        ("gpu_clock_max_hertz", {"clock": "sm"}, 1.98e9),
        ("gpu_throttled", {"reason": "power_cap"}, 1),
        ("gpu_throttled", {"reason": "hw_slowdown"}, 0),
        ("gpu_pcie_throughput_bytes_per_second", {}, 1e6),  # one way only
        ("gpu_nvlink_bytes_total", {"direction": "receive"}, 6),
        ("gpu_ecc_errors_total", {"severity": "corrected"}, 3),
        ("gpu_xid_errors_total", {"xid": "79"}, 1),
        ("gpu_mig_memory_used_bytes", {"mig": "MIG-1"}, 100),
        ("gpu_foreign_processes", {"gpu": "GPU-0"}, 1),
        ("gpu_process_memory_bytes", {"pid": "1"}, GIB),
        ("lease_gpu_memory_used_bytes", {"slot": "MIG-1", "lease": "A"}, 100),
        ("lease_gpu_processes", {"slot": "GPU-0"}, 1),
        ("container_cpu_seconds_total", {"mode": "system"}, 1.5),
        ("container_memory_working_set_bytes", {}, 70),
        ("container_oom_kills_total", {}, 2),
        ("container_block_write_bytes_total", {}, 8193),
        ("container_cpu_limit_cores", {}, 0.5),
        ("home_used_bytes", {"user": "ann"}, 4096),
        ("probe_up", {"probe": "homes"}, 0),
        ("probe_errors_total", {"probe": "gpus", "reason": "lost"}, 1),
    ],
)
def test_values(metric: str, labels: dict[str, str], value: float) -> None:
    assert Scrape.of(renderer().render(scene())).one(f"berth_{metric}", **labels) == value


def test_a_reading_that_there_is_not_is_absent_and_never_zero() -> None:
    said = Scrape.of(renderer().render(scene(use=None)))
    assert not [
        name
        for name, labels in said.samples
        if ("gpu", "GPU-2") in labels and name not in {"berth_gpu_info", "berth_gpu_up"}
    ]
    assert said.values("berth_container_cpu_seconds_total") == []
    assert said.values("berth_gpu_process_memory_bytes", pid="2") == []
    assert said.one("berth_gpu_foreign_processes", gpu="GPU-0") == 1
    assert said.values("berth_gpu_foreign_memory_bytes", gpu="GPU-0") == []
    empty = Scrape.of(renderer().render(Snapshot()))
    assert {name for name, _ in empty.samples} == {"berth_exporter_info"}
    assert "# HELP berth_gpu_power_watts" in empty.text


def test_a_slot_has_one_info_sample() -> None:
    said = Scrape.of(renderer().render(scene()))
    assert [labels["slot"] for labels in said.labels("berth_lease_info")] == ["GPU-0", "MIG-1"]
    assert said.one(
        "berth_lease_info",
        lease="A",
        gpu="GPU-1",
        slot="MIG-1",
        user="ann",
        server="",
        course="ml",
        container="berth-12345678-ann",
    )


def test_hashed_names_leak_nowhere() -> None:
    key = b"k" * 32
    who = ann(user="annabel-lee", name="berth-12345678-annabel-lee-0123")
    said = Scrape.of(renderer(key).render(scene(who)))
    assert "annabel" not in said.text
    assert "bob" not in said.text
    assert said.one("berth_home_used_bytes", user=Pseudonyms(key).of("annabel-lee")) == 4096
    assert said.one("berth_container_start_time_seconds", container=ANN[:12]) == 5


def test_processes_may_be_left_out() -> None:
    said = Scrape.of(renderer(processes=False).render(scene()))
    assert not [name for name, _ in said.samples if name.startswith("berth_gpu_process_")]
    assert said.one("berth_gpu_foreign_processes", gpu="GPU-0") == 1


@given(st.text(), st.text(), st.text())
def test_whatever_people_and_things_are_called_it_can_be_read_back(user: str, server: str, image: str) -> None:
    # The engine room lets no halves of characters in.
    user, server, image = (text.encode("utf-8", "replace").decode() for text in (user, server, image))
    metrics = list(renderer().render(scene(ann(user=user, server=server, image=image))))
    Scrape.of(metrics)
    written = openmetrics(_Registry(metrics)).decode()  # type: ignore[no-untyped-call]
    # As it is served.
    assert written == openmetrics(_Registry(metrics), ALLOWUTF8).decode()  # type: ignore[no-untyped-call]
    families = text_string_to_metric_families(written)  # type: ignore[no-untyped-call]
    infos = [sample.labels for family in families for sample in family.samples if family.name == "berth_container_info"]
    assert infos[0]["user"] == user
    assert infos[0]["image"] == image


def test_counters_go_on_where_readings_begin_anew() -> None:
    made = renderer()

    def sent(reading: float) -> float:
        said = Scrape.of(made.render(scene(use=Use({"sent": reading}))))
        return said.one("berth_container_network_transmit_bytes_total")

    assert [sent(reading) for reading in (100, 250, 10, 30)] == [100, 250, 260, 280]


@given(st.lists(st.floats(0, 1e15)))
def test_no_counter_goes_backwards(readings: list[float]) -> None:
    counters = Counters()
    told = [counters.value("thing", "what", reading) for reading in readings]
    assert all(before <= after for before, after in itertools.pairwise(told))
    assert all(map(math.isfinite, told))


def test_counters_of_what_is_gone_are_forgotten() -> None:
    counters = Counters()
    counters.value("a", "what", 10)
    counters.keep({"b"})
    assert counters.value("a", "what", 3) == 3
