"""What the console knows of the GPUs' last quarter of an hour, and how it asks the exporters."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from prometheus_client.core import Metric
from pydantic import SecretStr

from spawner.console.exporters import WANTED, Exporters, Source, measured, sources
from spawner.console.readings import INTERVAL, KEPT, HeldReading, Holding, Reading, Readings, Trouble
from spawner.metrics import of_containers, of_gpus
from spawner.metrics.metric import Samples
from spawner.metrics.server import MetricsServer, serve
from spawner.metrics.settings import ExporterSettings, MetricsSettings

from ..metrics.test_server import ask, certify
from ..support.lease_book import Clock
from ..support.office import NOW
from ..support.ports import free_ports

TOKEN = "a token of this test"
HELD = Holding("lease-1", "GPU-1", "GPU-1")


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def readings(clock: Clock) -> Readings:
    return Readings(clock)


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_gpu_has_its_last_quarter_of_an_hour(readings: Readings, clock: Clock) -> None:
    for step in range(200):
        readings.put({"GPU-1": Reading(clock.now, sm=step / 200, memory_used=None)}, {HELD: HeldReading(clock.now)})
        clock.now += INTERVAL
    series = readings.series("GPU-1")
    assert len(series) == KEPT // INTERVAL - 1
    assert [one.at for one in series] == sorted(one.at for one in series)
    assert series[0].at > clock.now - KEPT
    assert (series[-1].sm, series[-1].memory_used) == (199 / 200, None)
    assert len(readings.of_lease("lease-1")[0].points) == len(series)
    assert readings.series("GPU-2") == ()
    assert readings.of_lease("another") == ()


def test_what_nobody_has_said_for_a_while_is_not_shown_as_if_it_were_so_now(readings: Readings, clock: Clock) -> None:
    readings.put({"GPU-1": Reading(clock.now, sm=0.5)})
    clock.now += 3 * INTERVAL
    assert readings.latest("GPU-1") == Reading(NOW, sm=0.5)
    assert readings.age == 3 * INTERVAL
    clock.now += 2 * INTERVAL
    assert readings.latest("GPU-1") is None
    assert readings.all_latest() == {}
    assert [one.sm for one in readings.series("GPU-1")] == [0.5]


def test_what_is_gone_is_forgotten(readings: Readings, clock: Clock) -> None:
    other = Holding("lease-1", "GPU-2", "GPU-2")
    readings.put({"GPU-1": Reading(clock.now)}, {HELD: HeldReading(clock.now), other: HeldReading(clock.now)})
    clock.now += timedelta(minutes=10)
    readings.put({}, {other: HeldReading(clock.now)})
    assert [one.holding for one in readings.of_lease("lease-1")] == [HELD, other]
    clock.now += timedelta(minutes=6)
    readings.put({"GPU-2": Reading(clock.now)})
    assert [one.holding for one in readings.of_lease("lease-1")] == [other]
    assert readings.series("GPU-1") == ()
    clock.now += timedelta(minutes=16)
    readings.put({})
    assert readings.of_lease("lease-1") == ()


def test_memory_is_bounded(readings: Readings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"GPU-{number}": Reading(clock.now) for number in range(10_050)}
    readings.put(many, {Holding(f"{number}", "GPU-1", "x"): HeldReading(clock.now) for number in range(40_050)})
    assert len(readings.all_latest()) == 10_000
    assert readings.of_lease("39999") != ()
    assert readings.of_lease("40000") == ()


def test_trouble_lasts_until_there_is_an_answer(readings: Readings) -> None:
    assert readings.problem == Trouble("starting")
    readings.fail("b", Trouble("away", "b:9410", "timed out"))
    readings.put({}, source="a")
    assert str(readings.problem) == "The exporter at b:9410 does not answer: timed out."
    readings.put({}, source="b")
    assert readings.problem is None


# --- how exporters are asked ------------------------------------------------------------------------------------------


def node() -> Iterable[Metric]:
    """Two GPUs of a node; one is shared by two leases, and some of its values cannot be read."""
    samples = Samples()
    samples.info(of_containers.EXPORTER_INFO, "1", "here", "hub")
    for gpu, sm in (("GPU-1", 0.25), ("GPU-2", None)):
        samples.put(of_gpus.GPU_UP, 1, gpu)
        samples.put(of_gpus.SM_UTILIZATION, sm, gpu)
        samples.put(of_gpus.MEMORY_USED, 2 << 30, gpu)
        samples.put(of_gpus.MEMORY_TOTAL, 8 << 30, gpu)
        samples.put(of_gpus.TEMPERATURE, 61, gpu, "gpu")
        samples.put(of_gpus.TEMPERATURE, 80, gpu, "memory")
        samples.put(of_gpus.POWER, float("nan"), gpu)
    for lease, slot in (("lease-1", "GPU-1:0"), ("lease-2", "GPU-1:1")):
        samples.info(of_gpus.LEASE_INFO, lease, "GPU-1", slot, "u-hashed", "", "", "berth-x")
    samples.put(of_gpus.LEASE_SM, 0.2, "GPU-1", "GPU-1:0", "lease-1")
    samples.put(of_gpus.LEASE_MEMORY, 1 << 30, "GPU-1", "GPU-1:0", "lease-1")
    samples.put(of_containers.PROCESSES, 5, "berth-x")
    return samples


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def served(stack: ExitStack, settings: MetricsSettings) -> MetricsServer:
    server = serve(settings, 0, node)
    stack.callback(server.close)
    return server


def asked(settings: MetricsSettings, readings: Readings, clock: Clock) -> Readings:
    Exporters(settings, readings, clock).ask_all()
    return readings


def test_an_exporter_is_read(stack: ExitStack, readings: Readings, clock: Clock) -> None:
    port = served(stack, MetricsSettings()).port
    asked(MetricsSettings(exporter_port=port), readings, clock)
    assert readings.problem is None
    one = Reading(NOW, 0.25, 2 << 30, 8 << 30, 61)
    assert readings.all_latest() == {"GPU-1": one, "GPU-2": Reading(NOW, None, 2 << 30, 8 << 30, 61)}
    assert one.memory == 0.25
    [first] = readings.of_lease("lease-1")
    assert first.points == (HeldReading(NOW, 0.2, 1 << 30),)
    assert readings.of_lease("lease-2")[0].latest == HeldReading(NOW)


def test_it_is_asked_for_no_more_than_is_shown(stack: ExitStack) -> None:
    port = served(stack, MetricsSettings()).port
    query = "&".join(f"name[]={name}" for name in WANTED)
    some, everything = (ask(port, f"/metrics{more}")[1].decode() for more in (f"?{query}", ""))
    assert "berth_container_processes" in everything
    assert "berth_container_processes" not in some
    assert measured(some, NOW) == measured(everything, NOW)


def test_several_nodes_with_tokens_and_certificates(
    stack: ExitStack, readings: Readings, clock: Clock, tmp_path: Path
) -> None:
    own = certify(tmp_path).model_copy(update={"token": SecretStr(TOKEN)})
    port, away = served(stack, own).port, free_ports(1)[0]
    good = ExporterSettings(
        url=f"https://127.0.0.1:{port}", token=SecretStr(TOKEN), certificate_authority=own.certificate
    )
    assert asked(MetricsSettings(exporters=(good,)), readings, clock).problem is None
    wrong = {
        "refused": good.model_copy(update={"token": SecretStr("another token")}),
        "untrusted": good.model_copy(update={"certificate_authority": None}),
        "away": ExporterSettings(url=f"http://127.0.0.1:{away}"),
    }
    for kind, one in wrong.items():
        problem = asked(MetricsSettings(exporters=(one,)), Readings(clock), clock).problem
        assert problem is not None
        assert problem.kind == kind
        assert TOKEN not in str(problem)
    both = asked(MetricsSettings(exporters=(wrong["away"], good)), Readings(clock), clock)
    assert both.latest("GPU-1") is not None
    assert both.problem is not None
    missing = good.model_copy(update={"certificate_authority": tmp_path / "none.pem"})
    trouble = asked(MetricsSettings(exporters=(missing,)), Readings(clock), clock).problem
    assert trouble is not None
    assert "none.pem" in str(trouble)


def test_this_hosts_own_exporter_is_known_by_its_certificate(
    stack: ExitStack, readings: Readings, clock: Clock, tmp_path: Path
) -> None:
    """Whatever name it is for."""
    own = certify(tmp_path / "one", "192.0.2.7").model_copy(update={"token": SecretStr(TOKEN)})
    settings = own.model_copy(update={"exporter_port": served(stack, own).port, "bind_address": "0.0.0.0"})
    assert asked(settings, readings, clock).problem is None
    other = certify(tmp_path / "two", "192.0.2.7")
    trouble = asked(settings.model_copy(update={"certificate": other.certificate}), Readings(clock), clock).problem
    assert trouble is not None
    assert trouble.kind == "untrusted"


@pytest.mark.parametrize(
    ("address", "url"), [("::", "http://[::1]:9410"), ("10.1.2.3", "http://10.1.2.3:9410")], ids=["any", "one"]
)
def test_where_this_hosts_own_is(address: str, url: str) -> None:
    assert sources(MetricsSettings(bind_address=address)) == (Source(url, pinned=True),)


@pytest.mark.parametrize("body", [b"<html>", b"a 1\n", b"\xff\xfe{", b'berth_gpu_up{gpu="x" 1\n', b""])
def test_what_is_no_exporter(stack: ExitStack, readings: Readings, clock: Clock, body: bytes) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    asked(MetricsSettings(exporter_port=server.server_port), readings, clock)
    assert readings.problem is not None
    assert readings.problem.kind == "unreadable"
    assert readings.age is None


def test_a_token_goes_nowhere_else(stack: ExitStack, readings: Readings, clock: Clock) -> None:
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    asked(MetricsSettings(exporter_port=server.server_port, token=SecretStr(TOKEN)), readings, clock)
    assert len(seen) == 1
    assert readings.problem is not None
