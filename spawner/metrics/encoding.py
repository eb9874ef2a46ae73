"""From metrics to the text that Prometheus reads, as prometheus-client writes it.

A series' name and labels are the same at each scrape, and prometheus-client takes longer to write them than all else
takes. So it is asked once for each, and what it wrote before the value is remembered.
"""

import functools
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from prometheus_client import utils
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_number: Callable[[float], str] = utils.floatToGoString
_EOF = "# EOF\n"
_FORMATS = 8
_NO_MORE = [None] * (len(Sample._fields) - 3)  # of a sample but its name, labels and value
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
    series: dict[_Series, str]

    def without_others(self, wanted: Collection[_Series]) -> "_Family":
        """Forget series that are gone, once they are many."""
        if len(self.series) <= 2 * len(wanted):
            return self
        return _Family(self.head, {series: self.series[series] for series in wanted})


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
        values = _values(metric)
        family = self._known.get(metric.name)
        if values is not None and family is not None:
            before = family.series
            with suppress(KeyError):  # a new series
                lines = [f"{before[series]} {_number(value)}\n" for series, value in values.items()]
                return family.head + "".join(lines), family.without_others(values)
        text = self._library([metric]).decode().removesuffix(_EOF)
        return text, None if values is None else _taken_apart(text, values)


def _values(metric: Metric) -> dict[_Series, float] | None:
    """Give each series' value; None if the samples are more than values, or one comes twice."""
    if metric.type not in {"gauge", "counter"}:
        return None
    values = {}
    for name, labels, value, *more in metric.samples:
        if more != _NO_MORE:
            return None
        values[name, *labels.values()] = value
    return values if len(values) == len(metric.samples) else None


def _taken_apart(text: str, values: Collection[_Series]) -> _Family | None:
    """Find out of what the library wrote how it writes a metric; None if it is not a head and a line per series."""
    lines = text.split("\n")[:-1]
    head = [line for line in lines if line.startswith("#")]
    rest = lines[len(head) :]
    if len(rest) != len(values) or any(line.startswith("#") for line in rest):
        return None
    series = {name: line.rpartition(" ")[0] for name, line in zip(values, rest, strict=True)}
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
