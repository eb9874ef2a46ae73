"""A node with real containers, compared with what the engine says of them."""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from spawner.engine import containers
from spawner.engine.running import running_from_inspect
from spawner.exporter.cgroups import UseReader
from spawner.exporter.looking import REASONS
from spawner.exporter.opening import _utc_now
from spawner.gpus.probes import open_probe
from spawner.policy.names import home_volume_name

from ..engine.conftest import LIMITS, Specify
from ..support.crowded_engine import crowded_engine
from ..support.flaky_engine import FlakyEngine
from ..support.tiny_image import PORT, run_inside
from ..support.waiting import eventually
from .conftest import Open
from .scenes import Scrape

pytestmark = pytest.mark.docker

Run = Callable[..., str]


@pytest.fixture
def run(client: docker.APIClient, specify: Specify, hub_id: str) -> Iterator[Run]:
    """Start containers that end with the test; give their ids."""
    started: list[str] = []

    def run(user: str, **about: Any) -> str:
        spec = specify(user, **{"home_volume": home_volume_name(hub_id, user), **about})
        started.append(containers.create(client, spec))
        containers.start(client, started[-1])
        return started[-1]

    yield run
    for one in started:
        containers.remove(client, one)


def name_of(client: docker.APIClient, container: str) -> str:
    return str(client.inspect_container(container)["Name"]).lstrip("/")


def stats(client: docker.APIClient, container: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.stats(container, stream=False, one_shot=True)
    return answer


def counted(told: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Give the engine's counters by metric and mode."""
    cpu, network = told["cpu_stats"], told["networks"].values()
    io = told["blkio_stats"]["io_service_bytes_recursive"] or []
    return {
        ("cpu_seconds", "user"): cpu["cpu_usage"]["usage_in_usermode"] / 1e9,
        ("cpu_seconds", "system"): cpu["cpu_usage"]["usage_in_kernelmode"] / 1e9,
        ("cpu_throttled_seconds", ""): cpu["throttling_data"]["throttled_time"] / 1e9,
        ("network_receive_bytes", ""): sum(one["rx_bytes"] for one in network),
        ("network_transmit_bytes", ""): sum(one["tx_bytes"] for one in network),
        ("block_read_bytes", ""): sum(one["value"] for one in io if one["op"].lower() == "read"),
        ("block_write_bytes", ""): sum(one["value"] for one in io if one["op"].lower() == "write"),
    }


def memory_of(told: dict[str, Any]) -> tuple[float, float]:
    """Give what the engine says of the memory in use, and of the working set."""
    memory = told["memory_stats"]
    inactive = memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file"))
    return memory["usage"], memory["usage"] - inactive


def told_of(said: Scrape, name: str, metric: str, mode: str = "") -> float:
    return said.one(f"berth_container_{metric}", container=name, **({"mode": mode} if mode else {}))


def test_what_a_busy_container_uses_is_what_the_engine_says(
    client: docker.APIClient, run: Run, open_exporter: Open, hub_id: str
) -> None:
    busy = run("ann", limits=replace(LIMITS, cpu=0.2))
    node = open_exporter(home_minutes=1e-3)
    home = "/home/jovyan/data"
    run_inside(client, busy, "timeout", "1", "sh", "-c", "while :; do :; done")
    run_inside(client, busy, "dd", "if=/dev/zero", f"of={home}", "bs=1M", "count=8", "conv=fsync")
    run_inside(client, busy, "dd", f"if={home}", "of=/dev/null", "bs=1M")
    address = next(iter(client.inspect_container(busy)["NetworkSettings"]["Networks"].values()))["IPAddress"]
    for _ in range(5):
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://{address}:{PORT}/nothing", timeout=20)
    name = name_of(client, busy)
    before_stats = stats(client, busy)
    before = counted(before_stats)
    said = node.scrape()
    after_stats = stats(client, busy)
    after = counted(after_stats)
    for (metric, mode), least in before.items():
        value = told_of(said, name, f"{metric}_total", mode)
        assert least <= value <= after[metric, mode], (metric, mode)
    assert told_of(said, name, "cpu_throttled_seconds_total") > 0.1
    assert told_of(said, name, "cpu_seconds_total", "user") > 0.05
    assert told_of(said, name, "network_transmit_bytes_total") > 500
    memory = after_stats["memory_stats"]
    # What an ended process held is given back bit by bit.
    both = [memory_of(told) for told in (before_stats, after_stats)]
    for number, metric in enumerate(("memory_usage_bytes", "memory_working_set_bytes")):
        values = [found[number] for found in both]
        assert min(values) - (1 << 20) <= told_of(said, name, metric) <= max(values) + (1 << 20), metric
    assert told_of(said, name, "processes") == after_stats["pids_stats"]["current"]
    assert told_of(said, name, "cpu_limit_cores") == 0.2
    assert told_of(said, name, "memory_limit_bytes") == memory["limit"]
    assert told_of(said, name, "processes_limit") == after_stats["pids_stats"]["limit"]
    assert said.values("berth_probe_up", probe="cgroups") == [1]
    eventually(lambda: node.scrape().values("berth_home_used_bytes", user="ann")[-1:] > [8 << 20])


def test_processes_of_a_container_are_known(client: docker.APIClient, run: Run) -> None:
    busy = run("ann")
    container = running_from_inspect(client.inspect_container(busy))
    assert container is not None
    run_inside(client, busy, "sh", "-c", "sleep 1000 >/dev/null 2>&1 &")
    processes = client.top(busy)["Processes"]
    reader = UseReader()
    for _ in range(2):
        use = reader.read(container)
        assert use is not None
        assert sorted(use.pids) == sorted(int(columns[1]) for columns in processes)
    reader.keep(())


def test_the_network_of_an_ended_container_is_let_go(client: docker.APIClient, run: Run, open_exporter: Open) -> None:
    stays, ends = run("ann"), run("bob")
    pids = {one: int(client.inspect_container(one)["State"]["Pid"]) for one in (stays, ends)}
    node = open_exporter()
    node.scrape()
    assert networks_kept() == set(pids.values())
    containers.remove(client, ends)
    eventually(lambda: networks_kept() == {pids[stays]})  # and nobody scrapes
    assert told_of(node.scrape(), name_of(client, stays), "network_receive_bytes_total") >= 0


def networks_kept() -> set[int]:
    """Give the containers' first processes whose networks this process keeps alive by an open file."""
    found = set()
    for opened in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if kept := re.fullmatch(r"/proc/(\d+)/net/dev.*", str(opened.readlink())):
                found.add(int(kept[1]))
    return found


def test_kills_for_want_of_memory_are_counted(client: docker.APIClient, run: Run, open_exporter: Open) -> None:
    greedy = run("bob")
    node = open_exporter()
    name = name_of(client, greedy)
    assert told_of(node.scrape(), name, "oom_kills_total") == 0
    status, _ = run_inside(client, greedy, "tail", "/dev/zero")
    assert status == 137
    assert told_of(node.scrape(), name, "oom_kills_total") == 1


def test_simulated_gpus_are_used_by_who_holds_them(run: Run, open_exporter: Open) -> None:
    probe = open_probe("sim:2", demo=True, clock=_utc_now)
    assert probe is not None
    first, second = (gpu.uuid for gpu in probe.inventory().gpus)
    run("cleo", lease="L1", slots=(first,), environment={"BERTH_COURSE": "ml"})
    said = open_exporter(gpus="sim:2").scrape()
    assert said.one("berth_lease_info", lease="L1", gpu=first, slot=first, user="cleo", course="ml") == 1
    assert said.one("berth_lease_gpu_utilization_ratio", lease="L1") == 0.85
    assert said.one("berth_lease_gpu_processes", lease="L1") == 1
    assert said.one("berth_gpu_sm_utilization_ratio", gpu=second) == 0
    assert said.values("berth_gpu_foreign_processes") == [0, 0]


def test_while_the_engine_is_away_containers_are_still_read_and_ended_ones_go(
    client: docker.APIClient, flaky: FlakyEngine, run: Run, open_exporter: Open
) -> None:
    stays, ends = run("dan", lease="L2", slots=("GPU-0",)), run("eve", lease="L3", slots=("GPU-1",))
    node = open_exporter(flaky.url)
    assert node.scrape().values("berth_probe_up", probe="engine") == [1]
    name = name_of(client, stays)
    flaky.drop(".")
    flaky.cut()
    eventually(lambda: node.scrape().values("berth_probe_up", probe="engine") == [0])
    run_inside(client, stays, "timeout", "0.3", "sh", "-c", "while :; do :; done")
    containers.remove(client, ends)
    said = node.scrape()
    assert said.one("berth_container_info", user="dan") == 1
    assert told_of(said, name, "cpu_seconds_total", "user") > 0
    assert said.values("berth_container_info", user="eve") == []
    assert [labels["lease"] for labels in said.labels("berth_lease_info")] == ["L2"]
    assert said.one("berth_probe_errors_total", probe="engine", reason="unavailable") >= 1
    assert said.one("berth_probe_errors_total", probe="cgroups", reason="gone") >= 1
    assert said.one("berth_probe_up", probe="cgroups") == 1
    flaky.heal()
    eventually(lambda: node.scrape().values("berth_probe_up", probe="engine") == [1])
    assert node.scrape().one("berth_container_info", user="dan") == 1


def test_an_engine_that_hangs_delays_no_answer_for_long(flaky: FlakyEngine, run: Run, open_exporter: Open) -> None:
    run("fay")
    node = open_exporter(flaky.url)
    node.scrape()
    flaky.hold(".")
    for _ in range(3):
        said = node.scrape()  # while it hangs
        assert said.one("berth_probe_up", probe="engine") == 0
        assert said.one("berth_container_info", user="fay") == 1
    assert said.one("berth_probe_errors_total", probe="engine", reason="timeout") == 3
    flaky.heal()
    eventually(lambda: node.scrape().values("berth_probe_up", probe="engine") == [1])


def test_before_the_engine_was_ever_heard_of_there_is_an_answer(tmp_path: Path, open_exporter: Open) -> None:
    said = open_exporter(f"unix://{tmp_path}/nothing.sock", gpus="sim:1").scrape()
    assert said.one("berth_probe_up", probe="engine") == 0
    assert said.one("berth_probe_up", probe="gpus") == 1
    assert said.values("berth_gpu_foreign_processes") == []
    counted = {labels["reason"] for labels in said.labels("berth_probe_errors_total", probe="engine")}
    assert counted == set(REASONS)


def test_ten_thousand_ended_containers_cost_a_scrape_nothing(open_exporter: Open) -> None:
    with crowded_engine() as engine:
        for number in range(10_000):
            engine.add(f"{number:064x}", "exited")
        node = open_exporter(engine.url)
        assert node.scrape().one("berth_probe_up", probe="engine") == 1
        asked = len(engine.seen)
        node.scrape()
        assert [path.rpartition("/")[2] for path in engine.seen[asked:]] == ["_ping"]


def test_a_clock_that_jumps_harms_nothing(run: Run, open_exporter: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    run("gil")
    node = open_exporter(gpus="sim:1")
    before, real = node.scrape(), time.time
    for jump in (86400, -86400):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        said = node.scrape()
        assert said.values("berth_probe_up") == [1, 1, 1]
        assert all(0 <= seconds < 60 for seconds in said.values("berth_probe_duration_seconds"))
        started = said.one("berth_container_start_time_seconds")
        assert started == before.one("berth_container_start_time_seconds")


def test_hashed_users_leak_nowhere(run: Run, open_exporter: Open) -> None:
    probe = open_probe("sim:1", demo=True, clock=_utc_now)
    assert probe is not None
    held = run("henrietta", lease="L4", slots=(probe.inventory().gpus[0].uuid,))
    node = open_exporter(gpus="sim:1", key=b"k" * 32, home_minutes=1e-3)
    eventually(lambda: node.scrape().values("berth_home_used_bytes"))
    said = node.scrape()
    assert "henrietta" not in said.text
    assert said.one("berth_lease_info", lease="L4", container=held[:12]) == 1
