"""GPUs of NVIDIA's library, as the stub tells of them, with processes of real containers."""

import subprocess
import threading

import docker
import pytest

from ..support.nvml import GIB, StubScript
from ..support.waiting import eventually
from .conftest import Open
from .test_node import Run, run  # noqa: F401  a fixture

pytestmark = [pytest.mark.docker, pytest.mark.nvml]


def pid_of(client: docker.APIClient, container: str) -> int:
    return int(client.inspect_container(container)["State"]["Pid"])


def test_processes_belong_to_the_containers_they_are_in(
    client: docker.APIClient,
    script: StubScript,
    run: Run,  # noqa: F811
    open_exporter: Open,
) -> None:
    whole, shared, divided = script.add_gpu(utilization_gpu=70), script.add_gpu(utilization_gpu=50), script.add_gpu()
    mig = divided.add_mig("MIG-11111111-aaaa-bbbb-cccc-000000000000", "1g.5gb", 5 * GIB)
    ann = run("ann", lease="A", slots=(whole.uuid,))
    bob = run("bob", lease="B", slots=(f"{shared.uuid}:0", mig.uuid))
    eve = run("eve", hub_id="ffffffff")  # another hub's
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        whole.lines.append(f"process {pid_of(client, ann)} {3 * GIB}")
        shared.lines += [f"process {pid_of(client, bob)} {GIB}", f"process {pid_of(client, eve)} {2 * GIB}"]
        shared.lines += [f"process {stranger.pid} {GIB}", f"process {pid_of(client, ann)} {GIB}"]
        mig.lines.append(f"process {pid_of(client, bob)} {4 * GIB}")
        script.write()
        said = open_exporter(gpus="nvml").scrape()
        assert said.one("berth_lease_gpu_memory_used_bytes", lease="A", gpu=whole.uuid) == 3 * GIB
        assert said.one("berth_lease_gpu_utilization_ratio", lease="A") == 0.7
        assert said.one("berth_lease_gpu_memory_used_bytes", lease="B", slot=f"{shared.uuid}:0") == GIB
        assert said.one("berth_lease_gpu_memory_used_bytes", lease="B", gpu=divided.uuid, slot=mig.uuid) == 4 * GIB
        assert said.one("berth_gpu_foreign_processes", gpu=shared.uuid) == 3
        assert said.one("berth_gpu_foreign_memory_bytes", gpu=shared.uuid) == 4 * GIB
        assert said.one("berth_gpu_foreign_processes", gpu=whole.uuid) == 0
        outside = {"container": "", "lease": ""}
        assert said.one("berth_gpu_process_memory_bytes", pid=str(stranger.pid), **outside) == GIB
        assert said.one("berth_gpu_process_memory_bytes", pid=str(pid_of(client, eve)), **outside) == 2 * GIB
        assert {labels["lease"] for labels in said.labels("berth_gpu_process_memory_bytes", gpu=divided.uuid)} == {"B"}
        # One sample for each slot that is held.
        assert len(said.values("berth_lease_info")) == 3
    finally:
        stranger.kill()
        stranger.wait()


def test_a_driver_that_hangs_delays_no_answer_for_long_and_comes_back(
    client: docker.APIClient,
    script: StubScript,
    run: Run,  # noqa: F811
    open_exporter: Open,
) -> None:
    gpu = script.add_gpu(utilization_gpu=70)
    run("ann", lease="A", slots=(gpu.uuid,))
    script.write()
    node = open_exporter(gpus="nvml")
    assert node.scrape().one("berth_probe_up", probe="gpus") == 1
    gpu.lines.append("block nvmlDeviceGetUtilizationRates")
    script.write()
    for _ in range(3):
        said = node.scrape()  # while it hangs
        assert said.one("berth_probe_up", probe="gpus") == 0
        assert said.values("berth_gpu_up") == []
        # What the containers say does not depend on the driver.
        assert said.one("berth_lease_info", lease="A", gpu=gpu.uuid) == 1
        assert said.one("berth_container_info", user="ann") == 1
    assert said.one("berth_probe_errors_total", probe="gpus", reason="timeout") == 3
    gpu.lines.clear()
    script.write()
    eventually(lambda: node.scrape().values("berth_probe_up", probe="gpus") == [1])
    assert node.scrape().one("berth_lease_gpu_utilization_ratio", lease="A") == 0.7


def test_those_who_ask_at_once_share_one_look(script: StubScript, open_exporter: Open) -> None:
    gpu = script.add_gpu()
    script.write()
    node = open_exporter(gpus="nvml")
    node.scrape()
    gpu.lines.append("block nvmlDeviceGetUtilizationRates")
    script.write()
    said: list[float] = []

    def ask() -> None:
        said.append(node.scrape().one("berth_probe_errors_total", probe="gpus", reason="timeout"))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [1] * 5
    gpu.lines.clear()
    script.write()
