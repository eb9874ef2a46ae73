"""From metrics to the text that Prometheus reads, as prometheus-client writes it.

A series' name and labels are the same at each scrape, and prometheus-client takes longer to write them than all else
takes. So it is asked once for each, and what it wrote before the value is remembered.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prometheus_client import utils
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_number: Callable[[float], str] = utils.floatToGoString
_EOF = "# EOF\n"
_FORMATS = 8
_Series = tuple[str, ...]  # a sample's name, and the values of its labels


class _Registry(Collector):
    """What the encoders of prometheus-client take."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


@dataclass(slots=True)
class _Family:
    """How a metric is written: its head, and what stands before the value of each of its series."""

    head: str
    series: dict[_Series, str] = field(default_factory=dict)


class Encoder:
    """Writes metrics in one format; thread-safe.

    Parameters
    ----------
    encode
        The library's.

    Attributes
    ----------
    content_type
        Of the format.
    """

    def __init__(self, encode: Callable[[Collector], bytes], content_type: str) -> None:
        self._encode, self.content_type = encode, content_type
        self._known: dict[str, _Family] = {}

    def write(self, metrics: Iterable[Metric]) -> bytes:
        """Write what the library would."""
        known, written = {}, []
        for metric in metrics:
            text, family = self._written(metric)
            written.append(text)
            if family is not None:
                known[metric.name] = family
        self._known = known
        return ("".join(written) + self._library([]).decode()).encode()

    def _library(self, metrics: Iterable[Metric]) -> bytes:
        return self._encode(_Registry(metrics))

    def _written(self, metric: Metric) -> tuple[str, _Family | None]:
        """Give a metric's text, and how it is written; None for one to be left to the library."""
        if metric.type not in {"gauge", "counter"} or not all(map(_plain, metric.samples)):
            return self._afresh(metric), None
        family = self._known.get(metric.name)
        if family is not None:
            series = {_series(sample): sample.value for sample in metric.samples}
            if family.series.keys() >= series.keys() and len(series) == len(metric.samples):
                before = {key: family.series[key] for key in series}
                lines = [f"{before[key]} {_number(value)}\n" for key, value in series.items()]
                return family.head + "".join(lines), _Family(family.head, before)
        text = self._afresh(metric)
        return text, _taken_apart(text, metric.samples)

    def _afresh(self, metric: Metric) -> str:
        return self._library([metric]).decode().removesuffix(_EOF)


def _plain(sample: Sample) -> bool:
    return sample.timestamp is None and sample.exemplar is None and sample.native_histogram is None


def _series(sample: Sample) -> _Series:
    return sample.name, *sample.labels.values()


def _taken_apart(text: str, samples: list[Sample]) -> _Family | None:
    """Find out of what the library wrote how it writes a metric; None if it is not a head and a line per sample."""
    lines = text.split("\n")[:-1]
    head = [line for line in lines if line.startswith("#")]
    rest = lines[len(head) :]
    if len(rest) != len(samples) or any(line.startswith("#") for line in rest):
        return None
    series = {_series(sample): line.rpartition(" ")[0] for sample, line in zip(samples, rest, strict=True)}
    return _Family("".join(f"{line}\n" for line in head), series)


class Encoders:
    """The encoder for what each client accepts."""

    def __init__(self) -> None:
        self._encoders: dict[str, Encoder] = {}

    def choose(self, accept: str) -> Encoder:
        """Choose by a header ``Accept``."""
        encode, content_type = choose_encoder(accept)
        if isinstance(encode, functools.partial):
            # Our names need no escaping, and to find that out anew for each letter takes as long as all the rest.
            encode = functools.partial(encode, escaping=ALLOWUTF8)
        if content_type not in self._encoders and len(self._encoders) >= _FORMATS:
            self._encoders.clear()  # a format's version is the client's to name
        return self._encoders.setdefault(content_type, Encoder(encode, content_type))
