"""``python -m tests.bench.exporter``: what a scrape costs, with 8 GPUs, 400 processes on them and 200 containers."""

import contextlib
import http.client
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import docker
from rich.console import Console
from rich.progress import track
from rich.table import Table

from spawner.engine.containers import LEASE_LABEL, SERVER_LABEL, SLOTS_LABEL, USER_LABEL
from spawner.engine.view import HUB_LABEL
from spawner.gpus.cgroups import container_ids

from ..support import nvml
from ..support.nvml import GIB, StubScript
from ..support.ports import free_ports
from ..support.processes import process, wait_for_http
from ..support.tiny_image import ensure_tiny_image, remove_traces
from .clocks import process_seconds

ROOT = Path(__file__).parents[2]
INTERVAL = 15  # seconds between two scrapes, for the share of a core
P99, SHARE, MEMORY = 50.0, 0.01, 80.0  # the budget: milliseconds, of a core, MiB
PER_GPU = 50  # processes
# As Prometheus 2.42 asks.
HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}
# The settings know no variable of the stub's, so it is set once they are read.
SERVE = """
import os, sys
from pathlib import Path
from spawner.exporter.process import find_node, log_to_stderr, run
from spawner.settings_file import load_settings
settings = load_settings(Path(sys.argv[1]))
os.environ["BERTH_NVML_SCRIPT"] = sys.argv[3]
log_to_stderr()
run(settings, find_node(settings, sys.argv[2]))
"""


@dataclass(frozen=True)
class Line:
    """One scene's figures.

    Attributes
    ----------
    p50, p99
        Milliseconds until a scrape is answered.
    cpu
        Milliseconds of CPU time for one.
    share
        Of a core, at a scrape every 15 seconds, what the exporter does in between included.
    memory
        MiB, resident, at the most.
    """

    gpus: int
    processes: int
    containers: int
    samples: int
    p50: float
    p99: float
    cpu: float
    share: float
    memory: float


def most_memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def sleepers(client: docker.APIClient, image: str, hub_id: str, first: int, count: int, gpus: Sequence[str]) -> None:
    """Start containers that sleep in two processes; the first ones hold a GPU each."""

    def start(number: int) -> None:
        held = {LEASE_LABEL: f"lease{number}", SLOTS_LABEL: gpus[number]} if number < len(gpus) else {}
        made = client.create_container(
            image,
            ["sh", "-c", "sleep 100000 & exec sleep 100000"],
            name=f"berth-{hub_id}-user{number}-{secrets.token_hex(10)}",
            labels={HUB_LABEL: hub_id, USER_LABEL: f"user{number}", SERVER_LABEL: "", **held},
            host_config=client.create_host_config(mem_limit=64 << 20, pids_limit=50, cpu_quota=50_000),
        )
        client.start(made["Id"])

    with ThreadPoolExecutor(4) as pool:
        started = pool.map(start, range(first, first + count))
        for _ in track(started, "containers", count, transient=True, console=Console(stderr=True)):
            pass


def pids_in(client: docker.APIClient, hub_id: str) -> list[int]:
    ours = {one["Id"] for one in client.containers(filters={"label": f"{HUB_LABEL}={hub_id}"})}
    everybody = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in everybody if ours.intersection(container_ids(pid))] if ours else []


@contextlib.contextmanager
def strangers(count: int) -> Iterator[list[int]]:
    """Run processes that are in no container."""
    started = [subprocess.Popen(["sleep", "100000"]) for _ in range(count)]
    try:
        yield [one.pid for one in started]
    finally:
        for one in started:
            one.kill()
            one.wait()


def script_of(path: Path, gpus: int, pids: Sequence[int]) -> StubScript:
    """Describe GPUs with processes; the pids are gone through again where there are too few."""
    script = StubScript(path)
    for number in range(gpus):
        values: dict[str, nvml.Value] = {"utilization_gpu": 70, "memory_used": 20 * GIB}
        gpu = script.add_gpu(**values)
        here = [pids[(number * PER_GPU + each) % len(pids)] for each in range(min(PER_GPU, len(pids)))]
        gpu.lines += [f"process {pid} {GIB // 4}" for pid in here]
        gpu.lines += [f"process_utilization {pid} 2 1 0 0 -200000" for pid in here]
    script.write()
    return script


@contextlib.contextmanager
def exporter(directory: Path, hub_id: str, script: StubScript) -> Iterator[tuple[int, int]]:
    """Start one; gives its process and its port."""
    port, log = free_ports(1)[0], directory / "log"
    settings = {"BERTH_GPUS": "nvml", "BERTH_METRICS__EXPORTER_PORT": str(port), "BERTH_METRICS__HOME_MINUTES": "0"}
    library = {"LD_LIBRARY_PATH": str(directory)}
    command: list[str | Path] = [sys.executable, "-c", SERVE, ROOT, hub_id, script.path]
    with process(command, log, cwd=ROOT, env={**settings, **library}) as started:
        wait_for_http(f"http://127.0.0.1:{port}/metrics", started, log)
        yield started.pid, port


def scrape(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics", headers=HEADERS)
    with connection.getresponse() as answer:
        body = answer.read()
    connection.close()
    return body


def samples_of(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    with connection.getresponse() as answer:
        lines = answer.read().splitlines()
    connection.close()
    return sum(not line.startswith(b"#") for line in lines)


def measure(directory: Path, client: docker.APIClient, hub_id: str, gpus: int, rounds: int) -> Line:
    inside = pids_in(client, hub_id)
    listed = len(client.containers(filters={"label": f"{HUB_LABEL}={hub_id}"}))
    took: list[float] = []
    with contextlib.ExitStack() as opened:
        pids = inside or opened.enter_context(strangers(PER_GPU))
        script = script_of(directory / "script", gpus, pids)
        pid, port = opened.enter_context(exporter(directory, hub_id, script))
        for _ in range(10):
            scrape(port)
        idle, idle_since = process_seconds(pid), time.monotonic()
        time.sleep(10)
        idle_rate = (process_seconds(pid) - idle) / (time.monotonic() - idle_since)
        before = process_seconds(pid)
        for _ in range(rounds):
            began = time.perf_counter()
            scrape(port)
            took.append((time.perf_counter() - began) * 1e3)
            time.sleep(0.02)
        cpu = (process_seconds(pid) - before) / rounds
        cuts = statistics.quantiles(took, n=100)
        on_gpus = gpus * min(PER_GPU, len(pids))
        return Line(
            *(gpus, on_gpus, listed, samples_of(port), cuts[49], cuts[98]),
            *(cpu * 1e3, idle_rate + cpu / INTERVAL, most_memory(pid)),
        )


def marginal(lines: Sequence[Line], what: str, figure: str) -> float:
    """Give what one more costs: the slope between the scenes with the fewest and the most, the other thing full."""
    other = "gpus" if what == "containers" else "containers"
    full = [line for line in lines if getattr(line, other) == max(getattr(each, other) for each in lines)]
    full.sort(key=lambda line: int(getattr(line, what)))
    few, many = full[0], full[-1]
    count: int = getattr(many, what) - getattr(few, what)
    return float(getattr(many, figure) - getattr(few, figure)) / count if count else 0.0


@click.command()
@click.option("--containers", default=200, show_default=True)
@click.option("--gpus", default=8, show_default=True)
@click.option("--rounds", default=300, show_default=True, help="Scrapes per scene.")
@click.option("--json", "as_json", is_flag=True)
def main(*, containers: int, gpus: int, rounds: int, as_json: bool) -> None:
    """Scrape an exporter of real containers that sleep, and of GPUs of a stub of NVIDIA's library."""
    client, hub_id = docker.APIClient(version="auto", timeout=300), secrets.token_hex(4)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as text:
        directory = Path(text)
        nvml.build(directory)
        uuids = [gpu.uuid for gpu in script_of(directory / "script", gpus, [os.getpid()]).gpus]
        try:
            image, half = ensure_tiny_image(client), containers // 2
            lines.append(measure(directory, client, hub_id, gpus, rounds))
            sleepers(client, image, hub_id, 0, half, uuids)
            lines.append(measure(directory, client, hub_id, gpus, rounds))
            sleepers(client, image, hub_id, half, containers - half, uuids)
            lines += [measure(directory, client, hub_id, some, rounds) for some in (0, gpus // 2, gpus)]
        finally:
            remove_traces(client, hub_id)
            client.close()
    if as_json:
        click.echo(json.dumps([asdict(line) for line in lines], indent=2))
        return
    show(lines)


def show(lines: Sequence[Line]) -> None:
    console = Console(highlight=False)
    table = Table(
        *("GPUs", "processes", "containers", "samples", "p50 ms", "p99 ms", "CPU ms", "% of a core", "MiB at most")
    )
    for line in lines:
        figures = f"{line.p50:.1f}", f"{line.p99:.1f}", f"{line.cpu:.1f}", f"{line.share:.2%}", f"{line.memory:.0f}"
        table.add_row(*map(str, (line.gpus, line.processes, line.containers, line.samples)), *figures)
    console.print(table)
    for what in ("gpus", "containers"):
        console.print(
            f"One more of the {what}: {marginal(lines, what, 'p50'):.3f} ms, "
            f"{marginal(lines, what, 'cpu'):.3f} ms of CPU, {marginal(lines, what, 'memory') * 1024:.0f} KiB."
        )
    last = lines[-1]
    met = last.p99 <= P99 and last.share <= SHARE and last.memory <= MEMORY
    console.print(
        f"The budget: p99 {P99:g} ms, {SHARE:.0%} of a core at a scrape every {INTERVAL} s, {MEMORY:g} MiB: "
        f"{'met' if met else 'missed'}."
    )


if __name__ == "__main__":
    main()
