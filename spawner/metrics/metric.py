"""What a metric is, and how its samples become what prometheus-client writes."""

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.samples import Sample


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


Series = tuple[str, ...]  # the values of a metric's labels, in their order


class Family(Metric):
    """Values of a gauge or a counter; samples are made of them when somebody asks, for that takes a while.

    Attributes
    ----------
    series, values
        Of each sample, in the same order.
    """

    def __init__(self, metric: Declaration) -> None:
        super().__init__(metric.base_name, metric.text, "counter" if metric.kind is Kind.COUNTER else "gauge")
        self._metric = metric
        self.series: list[Series] = []
        self.values: list[float] = []

    def of(self, series: list[Series], values: list[float]) -> "Family":
        """Give the same metric with other samples."""
        other = Family(self._metric)
        other.series, other.values = series, values
        return other

    @property
    def samples(self) -> list[Sample]:
        metric = self._metric
        return [
            Sample(metric.name, dict(zip(metric.labels, series, strict=True)), value)
            for series, value in zip(self.series, self.values, strict=True)
        ]

    @samples.setter
    def samples(self, samples: list[Sample]) -> None:
        """Take none: the library's constructor sets an empty list."""


class Samples:
    """Values of metrics at one moment, in the order in which the metrics are first named."""

    def __init__(self) -> None:
        self._families: dict[str, Family | HistogramMetricFamily] = {}

    def put(self, metric: Declaration, value: float | None, *labels: str) -> None:
        """Add a value; none for a reading that there is not, so that it is absent and never looks like 0.

        Parameters
        ----------
        labels
            Values of the metric's labels, in their order.
        """
        if value is None:
            return
        _check(metric, len(labels))
        family = self._family(metric)
        family.series.append(labels)
        family.values.append(value + 0.0)  # a number that compares as equal is one that is written equally, also -0.0

    def put_all(self, metric: Declaration, series: Sequence[Series], values: Iterable[float | None]) -> None:
        """Add the values of many series, as `put` would one after the other."""
        for count in set(map(len, series)):
            _check(metric, count)
        family = self._family(metric)
        there = [(one, value + 0.0) for one, value in zip(series, values, strict=True) if value is not None]
        family.series += [one for one, _ in there]
        family.values += [value for _, value in there]

    def put_histogram(self, metric: Declaration, value: Histogram, *labels: str) -> None:
        _check(metric, len(labels))
        running, buckets = 0, []
        for bound, count in zip((*map(str, metric.buckets), "+Inf"), value.counts, strict=True):
            running += count
            buckets.append((bound, running))
        family = self._families.setdefault(metric.name, _make(metric))
        if not isinstance(family, HistogramMetricFamily):
            raise TypeError(f"{metric.name} is a {metric.kind}, no histogram")
        family.add_metric(labels, buckets, value.total)

    def info(self, metric: Declaration, *labels: str) -> None:
        self.put(metric, 1, *labels)

    def declare(self, metrics: Iterable[Declaration]) -> None:
        """Name metrics that may have no sample, so that their help is told all the same."""
        for metric in metrics:
            self._families.setdefault(metric.name, _make(metric))

    def __iter__(self) -> Iterator[Metric]:
        return iter(list(self._families.values()))

    def _family(self, metric: Declaration) -> Family:
        found = self._families.get(metric.name)
        if found is None:
            found = self._families[metric.name] = _make(metric)
        if not isinstance(found, Family):
            raise TypeError(f"{metric.name} is a histogram")
        return found


def _check(metric: Declaration, count: int) -> None:
    if count != len(metric.labels):
        raise ValueError(f"{metric.name} has the labels {', '.join(metric.labels) or 'none'}, not {count} values")


def _make(metric: Declaration) -> Family | HistogramMetricFamily:
    if metric.kind is Kind.HISTOGRAM:
        return HistogramMetricFamily(metric.base_name, metric.text, labels=metric.labels)
    return Family(metric)
