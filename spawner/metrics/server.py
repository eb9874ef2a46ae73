"""Serving metrics to Prometheus: one address, a token and TLS where they are set."""

import errno
import gzip
import hmac
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs

from prometheus_client.core import Metric

from ..errors import BerthError, PortTaken, SettingsInvalid
from ..processes import listener
from .encoding import Encoders
from .settings import MetricsSettings
from .tls import Tls

_LOG = logging.getLogger("berth.metrics")
_CLIENT_SECONDS = 10.0  # for each thing that a client says or takes
_AT_ONCE = 32  # clients; whoever comes beyond them is hung up on
_AGAIN_SECONDS = 15.0

Collect = Callable[[], Iterable[Metric]]


class MetricsServer:
    """A server that runs until `close`.

    Attributes
    ----------
    port
        On which it listens.
    """

    def __init__(self, server: "_Server") -> None:
        self._server = server
        self.port: int = server.server_address[1]
        self._thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; an answer under way is not waited for."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class PatientServer:
    """A server that never fails to be made: where its port is taken the log says so, and it is tried again.

    Parameters
    ----------
    settings, port, collect
        As for `serve`.
    again
        Seconds between two attempts.
    """

    def __init__(
        self, settings: MetricsSettings, port: int, collect: Collect, *, again: float = _AGAIN_SECONDS
    ) -> None:
        self._settings, self._port, self._collect, self._again = settings, port, collect, again
        self._server: MetricsServer | None = None
        self._said = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_trying, name="metrics-port", daemon=True)
        if not self._try():
            self._thread.start()

    @property
    def port(self) -> int | None:
        """On which it listens; None as long as it cannot."""
        return None if self._server is None else self._server.port

    def close(self) -> None:
        """Stop listening, or trying to."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._server is not None:
            self._server.close()

    def _keep_trying(self) -> None:
        while not self._over.wait(self._again):
            if self._try():
                return

    def _try(self) -> bool:
        try:
            self._server = serve(self._settings, self._port, self._collect)
        except BerthError as error:
            if error.code != self._said:
                _LOG.error("No metrics until this is mended: %s [%s]", error, error.code)
            self._said = error.code
            return False
        _LOG.info("Metrics are served on port %d of %s", self._server.port, self._settings.bind_address)
        return True


def serve(settings: MetricsSettings, port: int, collect: Collect) -> MetricsServer:
    """Serve metrics at ``/metrics``, in threads of their own.

    Parameters
    ----------
    port
        0 for any that is free.
    collect
        Called once per scrape, by several threads at once where several ask.

    Raises
    ------
    PortTaken
        Says by whom.
    SettingsInvalid
        If the address is not this machine's, or the certificate cannot be used.
    """
    token = settings.token.get_secret_value() if settings.token else ""
    tls = Tls(settings.certificate, settings.key) if settings.certificate and settings.key else None
    try:
        return MetricsServer(_Server(settings.bind_address, port, collect, token, tls))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise SettingsInvalid(
                f"metrics: port {port} of {settings.bind_address} cannot be listened on: {error.strerror}."
            ) from None
        by = listener(port)
        whose = f"pid {by.pid} ({by.command[:80]})" if by else "a process that this user may not see"
        raise PortTaken(
            f"Port {port}, on which metrics are to be served, is taken by {whose}. Stop that, or set another port in "
            "`metrics`."
        ) from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str, port: int, collect: Collect, token: str, tls: Tls | None) -> None:
        if ip_address(address).version == 6:
            self.address_family = socket.AF_INET6
        self.collect, self._tls = collect, tls
        self.encoders = Encoders()
        self.encoders_of_some = Encoders()  # apart, for what was written last is remembered
        self.authorization = f"Bearer {token}".encode() if token else b""
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the name service for this machine's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            request.settimeout(_CLIENT_SECONDS)
            if self._tls is not None:
                # Here and not on accepting, where a client that says nothing would hold up all others.
                request = self._tls.context.wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except OSError:  # of the handshake: a client without TLS, or one that went away
            self.shutdown_request(request)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: these are clients that went away, for what goes wrong here is logged where it does."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "Berth", ""
    timeout = _CLIENT_SECONDS

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._say(HTTPStatus.NOT_FOUND, "There is nothing here; the metrics are at /metrics.")
        elif not self._may():
            self._say(HTTPStatus.UNAUTHORIZED, "These metrics want the bearer token of Berth's setting metrics.token.")
        else:
            self._metrics()

    do_HEAD = do_GET  # noqa: N815

    def _may(self) -> bool:
        expected = self.server.authorization
        said = self.headers.get("Authorization", "").encode("latin-1", "replace")
        return not expected or hmac.compare_digest(said, expected)

    def _metrics(self) -> None:
        wanted = set(parse_qs(self.path.partition("?")[2]).get("name[]", []))
        encoders = self.server.encoders_of_some if wanted else self.server.encoders
        encoder = encoders.choose(self.headers.get("Accept", ""))
        try:
            metrics = self.server.collect()
            body = encoder.write([one for one in metrics if _named(one, wanted)] if wanted else metrics)
        except Exception:  # noqa: BLE001  whatever it is, whoever asks gets an answer
            _LOG.exception("The metrics could not be gathered")
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, "The metrics could not be gathered; Berth's log says why.")
            return
        headers = {"Content-Type": encoder.content_type, "Vary": "Accept, Accept-Encoding"}
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        self._answer(HTTPStatus.OK, body, headers)

    def _say(self, status: HTTPStatus, sentence: str) -> None:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if status is HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        self._answer(status, f"{sentence}\n".encode(), headers)

    def _answer(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing of requests, which come every few seconds."""


def _named(metric: Metric, wanted: set[str]) -> bool:
    """Tell whether a metric is one of those asked for; a counter by its whole name, too."""
    return metric.name in wanted or f"{metric.name}_total" in wanted
