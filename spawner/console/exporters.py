"""Asking the nodes' exporters what their GPUs do, every ten seconds."""

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from ipaddress import ip_address
from math import isfinite
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ..metrics import of_containers, of_gpus
from ..metrics.settings import ExporterSettings, MetricsSettings
from .readings import INTERVAL, HeldReading, Holding, Reading, Readings, Trouble

_LOG = logging.getLogger("berth.console")
_SECONDS = 5.0  # for one answer
_MOST_BYTES = 32 << 20
_AT_ONCE = 16

# The first tells that there is something; the others are the fields of `Reading` and `HeldReading`, in their order.
_OF_GPU = (
    of_gpus.GPU_UP.name,
    of_gpus.SM_UTILIZATION.name,
    of_gpus.MEMORY_USED.name,
    of_gpus.MEMORY_TOTAL.name,
    of_gpus.TEMPERATURE.name,
    of_gpus.POWER.name,
    of_gpus.FOREIGN_PROCESSES.name,
)
_OF_HOLDING = (of_gpus.LEASE_INFO.name, of_gpus.LEASE_SM.name, of_gpus.LEASE_MEMORY.name)
WANTED = (of_containers.EXPORTER_INFO.name, *_OF_GPU, *_OF_HOLDING)
_QUERY = urlencode([("name[]", name) for name in WANTED])


@dataclass(frozen=True)
class Source:
    """An exporter.

    Attributes
    ----------
    trusted
        PEM file that its certificate is checked with; None for the usual authorities.
    pinned
        Whether that file is the certificate itself, so that names do not matter.
    """

    url: str
    token: str = ""
    trusted: Path | None = None
    pinned: bool = False

    @property
    def where(self) -> str:
        return urlsplit(self.url).netloc


def sources(metrics: MetricsSettings) -> tuple[Source, ...]:
    """Tell which exporters there are: those of the settings, or this host's own."""
    token = metrics.token.get_secret_value() if metrics.token else ""
    if metrics.exporters:
        return tuple(_source(one, token) for one in metrics.exporters)
    address = ip_address(metrics.bind_address)
    if address.is_unspecified:
        address = ip_address("127.0.0.1" if address.version == 4 else "::1")
    host = f"[{address}]" if address.version == 6 else str(address)
    scheme = "https" if metrics.certificate else "http"
    return (Source(f"{scheme}://{host}:{metrics.exporter_port}", token, metrics.certificate, pinned=True),)


def _source(one: ExporterSettings, token: str) -> Source:
    own = one.token.get_secret_value() if one.token else token
    return Source(one.url, own, one.certificate_authority)


class Exporters:
    """Asks them in a thread of its own, from `start` to `close`."""

    def __init__(self, metrics: MetricsSettings, readings: Readings, clock: Callable[[], datetime]) -> None:
        self._sources, self._readings, self._clock = sources(metrics), readings, clock
        self._over = threading.Event()
        self._said: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="exporters", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ask no more; an answer under way is not waited for."""
        self._over.set()

    def ask_all(self) -> None:
        """Ask each exporter once."""
        with ThreadPoolExecutor(min(_AT_ONCE, len(self._sources)), "exporter") as pool:
            list(pool.map(self._ask, self._sources))

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due, time.monotonic() - INTERVAL.total_seconds()) + INTERVAL.total_seconds()
            try:
                self.ask_all()
            except Exception:  # noqa: BLE001  whatever it is, the next turn may do better
                _LOG.exception("The exporters could not be asked")

    def _ask(self, source: Source) -> None:
        try:
            gpus, holdings = measured(fetch(source), self._clock())
        except (_Troubled, ValueError) as error:
            trouble = error.trouble if isinstance(error, _Troubled) else Trouble("unreadable", source.where, str(error))
            self._readings.fail(source.url, trouble)
            if self._said.get(source.url) != trouble.kind:
                _LOG.warning("No readings of GPUs for the console: %s", trouble)
            self._said[source.url] = trouble.kind
        else:
            self._said.pop(source.url, None)
            self._readings.put(gpus, holdings, source.url)


class _Troubled(Exception):
    def __init__(self, trouble: Trouble) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


def fetch(source: Source) -> str:
    """Read an exporter's text: those metrics only that are shown, where it can tell them apart."""
    headers = {"User-Agent": "Berth", **({"Authorization": f"Bearer {source.token}"} if source.token else {})}
    asked = Request(f"{source.url}/metrics?{_QUERY}", headers=headers)  # noqa: S310  the settings allow http(s) only
    opener, until = _opener(source), time.monotonic() + _SECONDS
    try:
        with opener.open(asked, timeout=_SECONDS) as answer:
            parts, size = [], 0
            while part := answer.read1(1 << 20):
                parts.append(part)
                size += len(part)
                if size > _MOST_BYTES or time.monotonic() > until:
                    raise _Troubled(Trouble("unreadable", source.where, "its answer does not end"))
        return b"".join(parts).decode(errors="replace")
    except HTTPError as error:
        error.close()
        if error.code in {401, 403}:
            raise _Troubled(Trouble("refused", source.where)) from None
        raise _Troubled(Trouble("unreadable", source.where, str(error))) from None
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise _Troubled(Trouble("untrusted", source.where, error.reason.verify_message)) from None
        raise _Troubled(Trouble("away", source.where, str(error.reason))) from None
    except (OSError, HTTPException) as error:
        raise _Troubled(Trouble("away", source.where, str(error))) from None


class _NoDetours(HTTPRedirectHandler):
    """Follows nobody elsewhere, for the token goes along."""

    def redirect_request(self, *_: object) -> None:
        return None


def _opener(source: Source) -> OpenerDirector:
    """Go straight to the exporter; a certificate that was renewed meanwhile counts."""
    context = None
    if source.url.startswith("https:"):
        try:
            context = ssl.create_default_context(cafile=None if source.trusted is None else str(source.trusted))
        except OSError as error:
            raise _Troubled(Trouble("untrusted", source.where, f"{source.trusted}: {error.strerror}")) from None
        if source.pinned:
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return build_opener(ProxyHandler({}), HTTPSHandler(context=context), _NoDetours())


def measured(text: str, at: datetime) -> tuple[dict[str, Reading], dict[Holding, HeldReading]]:
    """Read what an exporter says.

    Raises
    ------
    ValueError
        If it is no exporter's text.
    """
    of_gpu: dict[str, dict[str, float]] = {}
    of_holding: dict[Holding, dict[str, float]] = {}
    known = False
    try:
        for sample in _samples(text):
            labels, told = sample.labels, None
            known = known or sample.name == of_containers.EXPORTER_INFO.name
            if sample.name in _OF_HOLDING:
                told = of_holding.setdefault(Holding(labels["lease"], labels["gpu"], labels["slot"]), {})
            elif sample.name in _OF_GPU:
                told = of_gpu.setdefault(labels["gpu"], {})
            # Of the temperatures the chip's, and not its memory's.
            if told is not None and isfinite(sample.value) and labels.get("sensor", "gpu") == "gpu":
                told[sample.name] = sample.value
    except Exception as error:  # noqa: BLE001  the parser raises this and that
        raise ValueError(f"it cannot be read ({type(error).__name__})") from None
    if not known:
        raise ValueError("it has no berth_exporter_info")
    gpus = {gpu: Reading(at, *map(told.get, _OF_GPU[1:])) for gpu, told in of_gpu.items()}
    holdings = {one: HeldReading(at, *map(told.get, _OF_HOLDING[1:])) for one, told in of_holding.items()}
    return gpus, holdings


def _samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        yield from family.samples
