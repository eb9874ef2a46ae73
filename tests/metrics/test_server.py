import gzip
import logging
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from pydantic import SecretStr

from spawner.errors import PortTaken, SettingsInvalid
from spawner.metrics.catalog import ALL_METRICS
from spawner.metrics.metric import Histogram, Kind, Samples
from spawner.metrics.server import Collect, MetricsServer, PatientServer, serve
from spawner.metrics.settings import MetricsSettings

from ..support.ports import free_ports
from ..support.waiting import eventually

TOKEN = "a token of this test"
SERVES = MetricsSettings()
Serve = Callable[..., MetricsServer]


def everything() -> Iterable[Metric]:
    samples = Samples()
    for number, metric in enumerate(ALL_METRICS):
        labels = tuple(f'{label} "é\\\n' for label in metric.labels)
        if metric.kind is Kind.HISTOGRAM:
            counts = tuple(range(len(metric.buckets) + 1))
            samples.put_histogram(metric, Histogram(counts, 1.5), *labels)
        else:
            samples.put(metric, 1 if metric.kind is Kind.INFO else number, *labels)
    return samples


@pytest.fixture
def served() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(settings: MetricsSettings, collect: Collect = everything) -> MetricsServer:
            server = serve(settings, 0, collect)
            stack.callback(server.close)
            return server

        yield start


def ask(
    port: int, path: str = "/metrics", method: str = "GET", context: ssl.SSLContext | None = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = (
        HTTPConnection("127.0.0.1", port, timeout=10)
        if context is None
        else HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    )
    with closing(connection):
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()


def values(families: Iterable[Metric]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_all_metrics_come_back_in_both_formats(served: Serve) -> None:
    server = served(SERVES)
    answer, text = ask(server.port)
    assert answer.status == 200
    assert str(answer.getheader("Content-Type")).startswith("text/plain; version=0.0.4")
    read = values(parse_text(text.decode()))
    assert read == values(everything())
    openmetrics, text = ask(server.port, Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert str(openmetrics.getheader("Content-Type")).startswith("application/openmetrics-text")
    assert values(parse_openmetrics(text.decode())) == read  # type: ignore[no-untyped-call]
    helps = {family.name: family.documentation for family in parse_text(ask(server.port)[1].decode())}
    assert helps == {metric.base_name: metric.text for metric in ALL_METRICS}


def test_it_is_packed_for_who_can_unpack(served: Serve) -> None:
    server = served(SERVES)
    answer, packed = ask(server.port, Accept_Encoding="gzip")
    assert answer.getheader("Content-Encoding") == "gzip"
    assert gzip.decompress(packed) == ask(server.port)[1]


def test_head_says_how_much_there_is(served: Serve) -> None:
    server = served(SERVES)
    answer, body = ask(server.port, method="HEAD")
    assert (answer.status, body) == (200, b"")
    assert int(str(answer.getheader("Content-Length"))) == len(ask(server.port)[1])


def test_elsewhere_there_is_nothing(served: Serve) -> None:
    answer, body = ask(served(SERVES).port, "/")
    assert answer.status == 404
    assert body.decode() == "There is nothing here; the metrics are at /metrics.\n"


@pytest.mark.parametrize("said", [None, "", TOKEN, f"Basic {TOKEN}", "Bearer another one", f"Bearer {TOKEN}é"])
def test_without_the_token_nothing_is_told(served: Serve, said: str | None) -> None:
    server = served(MetricsSettings(token=SecretStr(TOKEN)))
    headers: dict[str, Any] = {} if said is None else {"Authorization": said}
    answer, body = ask(server.port, **headers)
    assert answer.status == 401
    assert answer.getheader("WWW-Authenticate") == "Bearer"
    assert body.decode() == "These metrics want the bearer token of Berth's setting metrics.token.\n"
    assert ask(server.port, Authorization=f"Bearer {TOKEN}")[0].status == 200


def test_a_failure_is_told_and_logged(served: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Iterable[Metric]:
        raise RuntimeError("the reason")

    answer, body = ask(served(SERVES, fail).port)
    assert answer.status == 500
    assert body.decode() == "The metrics could not be gathered; Berth's log says why.\n"
    assert "the reason" in caplog.text


def test_requests_are_not_logged(served: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(served(SERVES).port)[0].status == 200
    assert capfd.readouterr() == ("", "")


# --- TLS ----------------------------------------------------------------------------------------------------------


def certify(directory: Path, name: str = "127.0.0.1") -> MetricsSettings:
    directory.mkdir(exist_ok=True)
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-subj", "/CN=berth", "-addext", f"subjectAltName=IP:{name}", "-days", "2"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return MetricsSettings(certificate=certificate, key=key)


def trusting(settings: MetricsSettings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(settings.certificate))


def test_with_a_certificate_it_speaks_tls_only(served: Serve, tmp_path: Path) -> None:
    settings = certify(tmp_path)
    server = served(settings)
    answer, text = ask(server.port, context=trusting(settings))
    assert answer.status == 200
    assert values(parse_text(text.decode())) == values(everything())
    with pytest.raises(ConnectionResetError):
        ask(server.port)


def test_a_renewed_certificate_is_taken_up(served: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = certify(tmp_path)
    server = served(settings)
    assert ask(server.port, context=trusting(settings))[0].status == 200
    old = trusting(settings)
    certify(tmp_path)
    assert ask(server.port, context=trusting(settings))[0].status == 200
    with pytest.raises(ssl.SSLError):
        ask(server.port, context=old)
    now = trusting(settings)
    assert settings.certificate is not None
    settings.certificate.write_text("half of it")
    assert ask(server.port, context=now)[0].status == 200
    assert "The former certificate stays in use" in caplog.text


def test_a_silent_client_holds_up_nobody(served: Serve, tmp_path: Path) -> None:
    settings = certify(tmp_path)
    for kind, context in ((SERVES, None), (settings, trusting(settings))):
        server = served(kind)
        with ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(closing(socket.create_connection(("127.0.0.1", server.port))))
            assert ask(server.port, context=context)[0].status == 200


def test_a_slow_gathering_holds_up_nobody(served: Serve) -> None:
    going_on, first, over = threading.Event(), threading.Event(), threading.Event()

    def collect() -> Iterable[Metric]:
        if not first.is_set():
            first.set()
            going_on.wait(20)
        return everything()

    server = served(SERVES, collect)

    def ask_slowly() -> None:
        ask(server.port)
        over.set()

    slow = threading.Thread(target=ask_slowly)
    slow.start()
    eventually(first.is_set)
    assert ask(server.port)[0].status == 200
    assert not over.is_set()
    going_on.set()
    slow.join(20)
    assert over.is_set()


def test_more_clients_than_there_is_room_for_are_hung_up_on(served: Serve) -> None:
    server = served(SERVES)
    before = threading.active_count()
    with ExitStack() as stack:
        for _ in range(32):
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", server.port))))
        eventually(lambda: threading.active_count() >= before + 32)
        with pytest.raises(ConnectionResetError):
            ask(server.port)
    eventually(lambda: threading.active_count() <= before)
    assert ask(server.port)[0].status == 200


# --- what cannot be -----------------------------------------------------------------------------------------------


def test_a_taken_port_is_told_with_who_has_it(served: Serve) -> None:
    port = served(SERVES).port
    with pytest.raises(PortTaken, match=rf"Port {port}, .* taken by pid \d+ \(.*\)\. Stop that, or set another port"):
        serve(SERVES, port, everything)


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(SettingsInvalid, match=r"port 0 of 192\.0\.2\.1 cannot be listened on: "):
        serve(MetricsSettings(bind_address="192.0.2.1"), 0, everything)


def test_certificates_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    good, other = certify(tmp_path / "one"), certify(tmp_path / "two")
    missing = tmp_path / "missing.pem"
    encrypted = tmp_path / "encrypted.pem"
    subprocess.run(
        ["openssl", "pkey", "-in", str(good.key), "-aes256", "-passout", "pass:secret", "-out", str(encrypted)],
        check=True,
        capture_output=True,
    )
    for settings in (
        MetricsSettings(certificate=missing, key=good.key),
        MetricsSettings(certificate=good.key, key=good.key),
        MetricsSettings(certificate=good.certificate, key=other.key),
        MetricsSettings(certificate=good.certificate, key=encrypted),
    ):
        with pytest.raises(SettingsInvalid, match=r"^metrics: the certificate .* cannot be used \(.+\)\. Name two PEM"):
            serve(settings, 0, everything)


def test_ipv6_is_served() -> None:
    with closing(serve(MetricsSettings(bind_address="::1"), 0, everything)) as server:
        connection = HTTPConnection("::1", server.port, timeout=10)
        with closing(connection):
            connection.request("GET", "/metrics")
            assert connection.getresponse().status == 200


def test_after_closing_the_port_is_free(served: Serve) -> None:
    [port] = free_ports(1)
    for _ in range(2):
        with closing(serve(SERVES, port, everything)):
            assert ask(port)[0].status == 200
        with pytest.raises(ConnectionRefusedError):
            ask(port)


def test_a_patient_server_takes_its_port_when_it_is_free(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first = serve(SERVES, 0, everything)
    with closing(PatientServer(SERVES, first.port, everything, again=0.01)) as patient:
        assert patient.port is None
        first.close()
        eventually(lambda: patient.port == first.port)
        assert ask(first.port)[0].status == 200
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]  # however often it was tried


def test_a_patient_server_may_be_closed_while_it_waits(served: Serve) -> None:
    PatientServer(SERVES, served(SERVES).port, everything).close()
