"""What a metric is, and how its samples become what prometheus-client writes."""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric


class Kind(enum.StrEnum):
    """As Prometheus has them; an info is a gauge that is always 1."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"


class Source(enum.StrEnum):
    """Which process serves a metric."""

    EXPORTER = "exporter"
    JANITOR = "janitor"
    HUB = "hub"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A metric.

    Attributes
    ----------
    name
        As in a query: a counter's ends in ``_total``, an info's in ``_info``.
    text
        One sentence for people; says the unit where the name does not.
    buckets
        Upper bounds of a histogram's buckets but for the last, which has none.
    """

    name: str
    kind: Kind
    text: str
    source: Source
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def base_name(self) -> str:
        """The name as prometheus-client wants it, which writes a counter's ``_total`` itself."""
        return self.name.removesuffix("_total") if self.kind is Kind.COUNTER else self.name


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram's value.

    Attributes
    ----------
    counts
        Per bucket of the declaration, and of the last one: how many were in this bucket alone.
    total
        Of all values.
    """

    counts: tuple[int, ...]
    total: float


class Samples:
    """Values of metrics at one moment, in the order in which the metrics are first named."""

    def __init__(self) -> None:
        self._families: dict[str, Any] = {}  # whose classes share no type for what takes values

    def put(self, metric: Declaration, value: float | None, *labels: str) -> None:
        """Add a value; none for a reading that there is not, so that it is absent and never looks like 0.

        Parameters
        ----------
        labels
            Values of the metric's labels, in their order.
        """
        if value is None:
            return
        self._family(metric, labels).add_metric(labels, value)

    def put_histogram(self, metric: Declaration, value: Histogram, *labels: str) -> None:
        running, buckets = 0, []
        for bound, count in zip((*map(str, metric.buckets), "+Inf"), value.counts, strict=True):
            running += count
            buckets.append((bound, running))
        self._family(metric, labels).add_metric(labels, buckets, value.total)

    def info(self, metric: Declaration, *labels: str) -> None:
        self.put(metric, 1, *labels)

    def declare(self, metrics: Iterable[Declaration]) -> None:
        """Name metrics that may have no sample, so that their help is told all the same."""
        for metric in metrics:
            self._families.setdefault(metric.name, _make(metric))

    def __iter__(self) -> Iterator[Metric]:
        return iter(list(self._families.values()))

    def _family(self, metric: Declaration, labels: tuple[str, ...]) -> Any:
        if len(labels) != len(metric.labels):
            raise ValueError(
                f"{metric.name} has the labels {', '.join(metric.labels) or 'none'}, not {len(labels)} values"
            )
        found = self._families.get(metric.name)
        if found is None:
            found = self._families[metric.name] = _make(metric)
        return found


def _make(metric: Declaration) -> Metric:
    match metric.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(metric.base_name, metric.text, labels=metric.labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(metric.base_name, metric.text, labels=metric.labels)
        case _:
            return GaugeMetricFamily(metric.base_name, metric.text, labels=metric.labels)
